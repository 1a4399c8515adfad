"""Split validation data from the training data."""

from __future__ import annotations

from typing import Any

from mlp._backends import ConfigurationError, DataError, random
from mlp.checks import require_fraction, require_positive
from mlp.network import Examples, FeedForward


def split_validation(net: FeedForward, examples: Examples, fraction: float | None) -> tuple[Examples, Examples | None]:
    """Return the training examples and the validation examples, which are None without a fraction.

    Parameters
    ----------
    net : FeedForward
    examples : Examples
    fraction : float or None
        The argument `validation_fraction` of `MLP.fit`.

    Raises
    ------
    ConfigurationError
        If the fraction is invalid.
    DataError
        If no training rows remain.
    """
    if fraction is None:
        return examples, None
    require_positive("validation_fraction", fraction)
    require_fraction("validation_fraction", fraction)
    n = examples.rows
    n_validation = max(round(n * fraction), 1)
    if n_validation >= n:
        raise DataError(f"validation_fraction={fraction} of {n} rows leaves no rows for training; use a smaller one.")
    order = net.xp.asarray(random.permutation(net.seed, 0, n, stream=random.SPLIT))
    return _select(examples, order[n_validation:]), _select(examples, order[:n_validation])


def check_validation_arguments(data: Any, fraction: float | None) -> None:
    """Raise `ConfigurationError` if there are both validation data and a fraction of the training data."""
    if data is not None and fraction is not None:
        raise ConfigurationError("give validation_data or validation_fraction, not both.")


def _select(examples: Examples, rows: Any) -> Examples:
    return Examples(*(None if array is None else array[rows] for array in examples))
