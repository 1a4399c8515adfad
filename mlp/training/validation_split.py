"""Split validation data from the training data."""

from __future__ import annotations

from typing import Any

from mlp._backends import ConfigurationError, DataError, random
from mlp.checks import require_fraction, require_positive
from mlp.network import Examples, FeedForward


def split_validation(
    net: FeedForward, examples: Examples, data: tuple[Any, ...] | None, fraction: float | None
) -> tuple[Examples, Examples | None]:
    """Return the training examples and the validation examples, which are None without validation.

    Parameters
    ----------
    net : FeedForward
    examples : Examples
    data, fraction
        The arguments `validation_data` and `validation_fraction` of `MLP.fit`.

    Raises
    ------
    ConfigurationError
        If both are given, or one is invalid.
    DataError, ShapeError, DtypeError
        If the validation data are invalid, or no training rows remain.
    """
    if data is not None and fraction is not None:
        raise ConfigurationError("give validation_data or validation_fraction, not both.")
    if data is not None:
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            raise ConfigurationError("validation_data must be a tuple (X, y) or (X, y, sample_weight).")
        return examples, net.check_examples(*data)[0]
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


def _select(examples: Examples, rows: Any) -> Examples:
    return Examples(*(None if array is None else array[rows] for array in examples))
