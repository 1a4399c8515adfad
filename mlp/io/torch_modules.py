"""PyTorch modules for parts of a network that torch.nn does not have.

They are defined at module level so that they can be pickled; without PyTorch they exist but cannot be used.
"""

from __future__ import annotations

from typing import Any

try:
    import torch
    from torch.nn import Module
except ImportError:
    Module = object


class Exp(Module):  # type: ignore[misc]  # PyTorch is optional, so mypy does not read it
    """The exponential function, the output activation for the Poisson loss."""

    def forward(self, z: Any) -> Any:
        return z.exp()


class Step(Module):  # type: ignore[misc]
    """1 where z >= 0, else 0; its derivative is 0."""

    def forward(self, z: Any) -> Any:
        return torch.heaviside(z, z.new_ones(()))


class ScaleBytes(Module):  # type: ignore[misc]
    """Converts inputs of dtype uint8 to `dtype` and multiplies them by `scale`; does not change other inputs.

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
