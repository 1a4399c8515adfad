"""Weights of the rows from weights of their classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.network import Examples, FeedForward


def with_class_weight(net: FeedForward, examples: Examples, class_weight: Any) -> Examples:
    """Return the examples with their weights multiplied by those of their classes.

    Parameters
    ----------
    net : FeedForward
    examples : Examples
    class_weight : mapping, "balanced" or None
        The argument of `MLP.fit`.

    Raises
    ------
    ConfigurationError
        If the network does not predict one class a row, or `class_weight` is invalid.
    """
    if class_weight is None:
        return examples
    target = net.xp.to_numpy(examples.target)
    weight = weights_of_classes(net, target, class_weight)[_class_numbers(net, target)].astype(net.dtype)
    if examples.weight is not None:
        weight *= net.xp.to_numpy(examples.weight)
    return examples._replace(weight=net.xp.asarray(weight))


def weights_of_classes(net: FeedForward, target: NDArray[Any], class_weight: Any) -> NDArray[np.float64]:
    """Return the weight of each class, shape (number of classes,).

    Parameters
    ----------
    net : FeedForward
    target : ndarray, shape (n,) or (n, n_out)
        Of all rows, as the loss takes them.
    class_weight : mapping or "balanced"
        As in `with_class_weight`, which describes the errors.
    """
    return _weights(net, _class_numbers(net, target), class_weight)


def _class_numbers(net: FeedForward, target: NDArray[Any]) -> NDArray[np.int64]:
    """The class of each row: also from rows of zeros with a one, and from 0 and 1 of a single output."""
    if target.ndim == 1:
        return target.astype(np.int64)
    single = target.shape[1] == 1
    one_class = ((target == 0) | (target == 1)).all() and (single or (target.sum(axis=1) == 1).all())
    if net.task == "numbers" or not one_class:
        raise ConfigurationError(
            f"class_weight needs one class for each row, but this network predicts {net.task}: give sample_weight."
        )
    return target[:, 0].astype(np.int64) if single else target.argmax(axis=1)


def _weights(net: FeedForward, numbers: NDArray[np.int64], class_weight: Any) -> NDArray[np.float64]:
    """The weight of each class."""
    count = max(net.sizes[-1], 2)
    if isinstance(class_weight, str) and class_weight == "balanced":
        rows = np.bincount(numbers, minlength=count)
        present = np.count_nonzero(rows)
        weights: NDArray[np.float64] = np.divide(len(numbers), present * rows, out=np.zeros(count), where=rows > 0)
        return weights
    if not isinstance(class_weight, Mapping):
        raise ConfigurationError(
            f"class_weight must be 'balanced' or a mapping from classes to weights, not {class_weight!r}."
        )
    names = {name: number for number, name in enumerate(net.classes or ())}
    weights = np.ones(count)
    for key, value in class_weight.items():
        number = names.get(key, key)
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < count:
            raise ConfigurationError(
                f"class_weight has the class {key!r}, expected numbers from 0 to {count - 1}"
                f"{f' or names in {net.classes}' if names else ''}."
            )
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < math.inf:
            raise ConfigurationError(f"class_weight[{key!r}] is {value!r}, expected a number of 0 or more.")
        weights[number] = value
    return weights
