"""Benchmarks with pytest-benchmark; they need the extra `bench`, and `peers` for the other libraries."""
