"""Splitting validation data off the examples to train on."""

from __future__ import annotations

from typing import Any

from mlp._backends import ConfigurationError, DataError, random
from mlp.network import Examples, FeedForward
from mlp.validation import require_fraction, require_positive


def split_validation(
    net: FeedForward, examples: Examples, data: tuple[Any, ...] | None, fraction: float | None
) -> tuple[Examples, Examples | None]:
    """Examples to train on, and to validate with if there are to be any.

    Parameters
    ----------
    net : FeedForward
    examples : Examples
    data, fraction
        As `validation_data` and `validation_fraction` of `MLP.fit`.
    """
    if data is not None and fraction is not None:
        raise ConfigurationError("give validation_data or validation_fraction, not both.")
    if data is not None:
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            raise ConfigurationError("validation_data is a tuple (X, y), or (X, y, sample_weight).")
        return examples, net.check_examples(*data)[0]
    if fraction is None:
        return examples, None
    require_positive("validation_fraction", fraction)
    require_fraction("validation_fraction", fraction)
    n = examples.rows
    held_out = max(round(n * fraction), 1)
    if held_out >= n:
        raise DataError(f"validation_fraction={fraction} of {n} rows leaves nothing to train on.")
    order = net.xp.asarray(random.permutation(net.seed, 0, n, stream=random.SPLIT))
    return _pick(examples, order[held_out:]), _pick(examples, order[:held_out])


def _pick(examples: Examples, rows: Any) -> Examples:
    return Examples(*(None if array is None else array[rows] for array in examples))
