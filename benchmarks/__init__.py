"""The pytest-benchmark suite, on the contestants of `mlp.bench`; it needs the extra `bench`, and gains by `peers`."""
