"""Tools to inspect networks: traces, gradient checks, classification metrics, plots and reports."""
