"""What looks inside networks: traces, gradient checks, figures of classifiers, pictures and reports."""
