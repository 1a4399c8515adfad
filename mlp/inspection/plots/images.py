"""Rows of numbers as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlp._backends import ShapeError

if TYPE_CHECKING:
    from mlp.network import FeedForward


def image_shape(net: FeedForward, shape: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """Height and width of the images that a network takes, or None if its inputs are no images.

    Without a `shape`, they are taken for square images if the network scales bytes (`MLP.input_scale`) and their
    number is a square.

    Raises
    ------
    ShapeError
        If `shape` is given and does not have as many pixels as the network has inputs.

    Examples
    --------
    >>> import mlp
    >>> image_shape(mlp.MLP([784, 10], input_scale=1 / 255))
    (28, 28)
    >>> image_shape(mlp.MLP([768, 10]), (24, 32))
    (24, 32)
    """
    n = net.sizes[0]
    if shape is not None:
        if len(shape) != 2 or shape[0] * shape[1] != n:
            raise ShapeError(f"images of {'x'.join(map(str, shape))} pixels do not fit a network of {n} inputs.")
        return shape
    side = math.isqrt(n)
    return (side, side) if net.input_scale is not None and side * side == n else None
