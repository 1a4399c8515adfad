"""Search for good settings of a network: `tune`, and the `Tuning` that it returns."""

from mlp.tuning.results import Trial, Tuning
from mlp.tuning.search import tune

__all__ = ["Trial", "Tuning", "tune"]
