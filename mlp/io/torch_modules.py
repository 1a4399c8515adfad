"""What a network of ours has and torch.nn lacks, as modules.

They stand in a file of their own so that they can be pickled; without PyTorch they are there, and of no use.
"""

from __future__ import annotations

from typing import Any

try:
    import torch
    from torch.nn import Module
except ImportError:
    Module = object


class Exp(Module):  # type: ignore[misc]  # type checkers are not shown PyTorch, which is optional
    """The exponential function: the rates of a Poisson loss."""

    def forward(self, z: Any) -> Any:
        return z.exp()


class Step(Module):  # type: ignore[misc]
    """1 where z >= 0, else 0; its slope is 0."""

    def forward(self, z: Any) -> Any:
        return torch.heaviside(z, z.new_ones(()))


class ScaleBytes(Module):  # type: ignore[misc]
    """Turns inputs of dtype uint8 into `dtype` and multiplies them by `scale`; passes others on as they are.

    Parameters
    ----------
    scale : float
    dtype : torch.dtype
    """

    def __init__(self, scale: float, dtype: Any) -> None:
        super().__init__()
        self.scale, self.dtype = scale, dtype

    def forward(self, x: Any) -> Any:
        return x.to(self.dtype) * self.scale if x.dtype == torch.uint8 else x

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}, dtype={self.dtype}"
