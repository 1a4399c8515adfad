"""Toy data sets: small, generated from a seed, and hard for a model without a hidden layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, UnknownNameError
from mlp.data.dataset import Dataset


def toy(name: str, *, n: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Generate a toy data set, without a test part.

    Two inputs and two classes, which alternate from row to row: ``xor`` (the corners of the unit square, one class per
    diagonal), ``moons`` (two interleaved half circles), ``circles`` (radius 1 and 0.5), ``spirals`` (two spirals of
    one and a half turns).  Regression with one input: ``sine`` (sin x for x from -pi to pi).

    Parameters
    ----------
    name : str
        ``"xor"``, ``"moons"``, ``"circles"``, ``"spirals"`` or ``"sine"``.
    n : int
        Number of rows.
    noise : float
        Standard deviation of the normal noise that is added to the inputs (for ``sine``: to the target).
    seed : int
        Seed of the noise, 0 or more.

    Returns
    -------
    Dataset
        With `X` of shape (n, 2) or (n, 1), float64, and `y` of shape (n,), int64 or float64.

    Raises
    ------
    UnknownNameError
        If `name` is unknown.
    ConfigurationError
        If `n` is less than 2, or `noise` or `seed` is negative.

    Examples
    --------
    >>> data = toy("xor", n=4, noise=0.0)
    >>> data.X.tolist(), data.y.tolist()
    ([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], [0, 1, 0, 1])
    """
    if name != "sine" and name not in _SHAPES:
        raise UnknownNameError.among("toy set", name, TOY_NAMES)
    if n < 2 or not 0 <= noise < np.inf or seed < 0:
        raise ConfigurationError(
            f"n={n}, noise={noise}, seed={seed}: expected n of 2 or more, and noise and seed of 0 or more"
        )
    generator = np.random.Generator(np.random.Philox(seed))
    if name == "sine":
        x = np.linspace(-np.pi, np.pi, n)
        return Dataset(name, x[:, np.newaxis], np.sin(x) + noise * generator.standard_normal(n), task="regression")
    y = np.arange(n) % 2
    # position of each row along the curve of its class, from 0 to 1
    position = np.arange(n) // 2 / max(1, (n - 1) // 2)
    points = np.column_stack(_SHAPES[name](position, y))
    return Dataset(name, points + noise * generator.standard_normal((n, 2)), y.astype(np.int64), classes=(0, 1))


_Shape = Callable[[NDArray[np.float64], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]


def _xor(_: NDArray[np.float64], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    first = np.arange(len(y)) // 2 % 2
    return first, first ^ y


def _moons(position: NDArray[np.float64], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    angle = np.pi * position
    return np.where(y, 1 - np.cos(angle), np.cos(angle)), np.where(y, 0.5 - np.sin(angle), np.sin(angle))


def _circles(position: NDArray[np.float64], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    angle, radius = 2 * np.pi * position, np.where(y, 0.5, 1.0)
    return radius * np.cos(angle), radius * np.sin(angle)


def _spirals(position: NDArray[np.float64], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    radius = 0.5 + 2.5 * position
    angle = 3 * np.pi * position + np.pi * y
    return radius * np.cos(angle), radius * np.sin(angle)


_SHAPES: dict[str, _Shape] = {"xor": _xor, "moons": _moons, "circles": _circles, "spirals": _spirals}

TOY_NAMES = (*_SHAPES, "sine")
