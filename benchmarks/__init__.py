"""The benchmark suite; it needs the extras `bench` and, for comparison, `peers`."""
