"""`Predictor`: the outputs of a network for given rows, by the operations of a backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from backends import formulas
from backends.errors import DtypeError, ShapeError
from backends.float_warnings import no_float_warnings
from backends.formulas import Activation
from backends.operations import Operations
from backends.plan import Array

BYTES = np.dtype(np.uint8)


class Predictor:
    """Computes the outputs of a network, without dropout; made by `Backend.predictor`.

    It uses the present values of the layers' arrays in each call, so they may change in place.  Several threads may
    call it at the same time.

    Parameters
    ----------
    xp : Operations
    layers : sequence of (W, b, activation)
        Arrays of the backend, W (n_in, n_out) and b (n_out,), and a name or an `Activation`.
    factors : array, shape (n_in,), optional
        Of a scaling layer, which multiplies each column of the input.
    input_scale : float
        Factor of inputs that are bytes.

    Attributes
    ----------
    n_in, n_out : int
        Number of inputs and outputs of the network.
    in_blocks : bool
        Whether it needs little memory for any number of rows.  Otherwise callers give it a few thousand at a time.

    Raises
    ------
    ShapeError, DtypeError
        If the arrays do not fit each other.
    """

    in_blocks: bool = False

    def __init__(
        self,
        xp: Operations,
        layers: Sequence[tuple[Array, Array, str | Activation]],
        factors: Array | None = None,
        input_scale: float = 1.0,
    ) -> None:
        self.xp, self.factors, self.input_scale = xp, factors, input_scale
        self.layers = [(W, b, formulas.activation(activation)) for W, b, activation in layers]
        self._check_layers()
        first, last = self.layers[0][0], self.layers[-1][0]
        self.n_in, self.n_out, self.dtype = first.shape[0], last.shape[1], first.dtype

    def __call__(self, x: Array, *, logits: bool = False) -> Array:
        """Compute the outputs.

        Parameters
        ----------
        x : array, shape (n, n_in)
            Of the layers' dtype, or uint8, which is multiplied by `input_scale`.
        logits : bool
            Whether to leave out the activation of the last layer.

        Returns
        -------
        array, shape (n, n_out)
            A new array.

        Raises
        ------
        ShapeError, DtypeError
            If x does not fit the network.
        WrongDeviceError
            If x is not an array of the backend.
        """
        self._check_rows(x)
        with no_float_warnings(), self.xp.current_device():
            x = self._as_floats(x)
            if self.factors is not None:
                x = self.xp.scale_columns(x, self.factors)
            for W, b, activation in self.layers[:-1]:
                x = self._layer(x, W, b, activation)
            W, b, activation = self.layers[-1]
            z = self._layer(x, W, b, formulas.ACTIVATIONS["identity"])
            return z if logits else self._activate(z, activation)

    def checked(self, x: Array) -> tuple[Array, bool]:
        """Compute the outputs, and find out whether all numbers are finite.

        Parameters
        ----------
        x : array, shape (n, n_in)
            As in a call.

        Returns
        -------
        outputs : array, shape (n, n_out)
        finite : bool
            True only if neither x nor the outputs have NaN or infinity.  It may be False for finite numbers that are so
            large that their sum overflows.
        """
        with no_float_warnings():
            y = self(x)
            return y, self._sum_is_finite(x) and self._sum_is_finite(y)

    def _layer(self, x: Array, W: Array, b: Array, activation: Activation) -> Array:
        return self.xp.dense(x, W, b, activation)

    def _activate(self, z: Array, activation: Activation) -> Array:
        return self.xp.activate(z, activation)

    def _sum_is_finite(self, x: Array) -> bool:
        return x.dtype == BYTES or math.isfinite(float(self.xp.sum(x)))

    def _as_floats(self, x: Array) -> Array:
        if x.dtype == self.dtype:
            return x
        out = self.xp.empty(x.shape, self.dtype)
        return self.xp.take_rows(x, self.xp.namespace.arange(x.shape[0]), out=out, scale=self.input_scale)

    # -- checks -------------------------------------------------------------------------------------

    def _check_layers(self) -> None:
        if not self.layers:
            raise ShapeError("predictor: a network needs at least one layer.")
        arrays = {f"W{l}": W for l, (W, _, _) in enumerate(self.layers, start=1)}
        arrays |= {f"b{l}": b for l, (_, b, _) in enumerate(self.layers, start=1)}
        if self.factors is not None:
            arrays["factors"] = self.factors
        self.xp._check_floats("predictor", **arrays)
        for l, (W, b, _) in enumerate(self.layers, start=1):
            if W.ndim != 2 or b.shape != W.shape[1:]:
                raise ShapeError(
                    f"predictor: W {W.shape} and b {b.shape} of layer {l} must be (n_in, n_out), (n_out,)."
                )
        for l, ((W, _, _), (V, _, _)) in enumerate(pairwise(self.layers), start=1):
            if W.shape[1] != V.shape[0]:
                raise ShapeError(
                    f"predictor: the {W.shape[1]} outputs of layer {l}, W {W.shape}, must equal the {V.shape[0]} "
                    f"inputs of layer {l + 1}, W {V.shape}."
                )
        if self.factors is not None and self.factors.shape != self.layers[0][0].shape[:1]:
            raise ShapeError(
                f"predictor: factors {self.factors.shape} must have one entry for each row of W {W.shape} of layer 1."
            )

    def _check_rows(self, x: Array) -> None:
        if not isinstance(x, self.xp.namespace.ndarray):
            self.xp._check_device("predictor", x)
        if x.ndim != 2 or x.shape[1] != self.n_in:
            raise ShapeError(f"predictor: x {x.shape} must have shape (n, {self.n_in}), one column for each input.")
        if x.dtype != self.dtype and x.dtype != BYTES:
            raise DtypeError(
                f"predictor: x has dtype {x.dtype}, but must have the dtype of the layers, {self.dtype}, or be uint8. "
                "Convert it before the call: xp.asarray(x, dtype)."
            )
