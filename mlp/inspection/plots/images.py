"""The shape of images that are given as rows of numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlp._backends import ShapeError

if TYPE_CHECKING:
    from mlp.network import FeedForward


def image_shape(net: FeedForward, shape: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """Height and width of a network's input images, or None if its inputs are not images.

    Without a `shape`, the inputs count as square images if the network scales its inputs (`MLP.input_scale`) and
    their number is a square.

    Raises
    ------
    ShapeError
        If the number of pixels of `shape` differs from the number of inputs.

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
            raise ShapeError(
                f"images of {'x'.join(map(str, shape))} pixels do not fit a network of {n} input{'s' * (n != 1)}."
            )
        return shape
    side = math.isqrt(n)
    return (side, side) if net.input_scale is not None and side * side == n else None
