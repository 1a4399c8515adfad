"""The perceptron, its learning rule, and the upper bound of its mistakes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, ShapeError, UnknownNameError, formulas, get_backend
from mlp.array_checks import as_array, check_inputs
from mlp.checks import require_count, require_positive
from mlp.model import MLP
from mlp.optimizers import SGD

Array = NDArray[Any]
logger = logging.getLogger("mlp")


@dataclass(frozen=True)
class Learning:
    """Result of training a perceptron.

    Attributes
    ----------
    mistakes : tuple of int
        Misclassified rows of each epoch: counted at each row's visit for the step, after the epoch for the sigmoid.
    losses : tuple of float
        Mean log-loss of each epoch; empty for the step.
    bound : float or None
        `mistake_bound`, times m if each update is the mean over m rows; infinite if the classes are not separable.
        None if the theorem does not apply: for the sigmoid, and for initial weights other than zero.
    converged : bool
        Whether the last epoch made no mistake.
    verdict : str
        The result in one sentence.
    """

    mistakes: tuple[int, ...]
    losses: tuple[float, ...]
    bound: float | None
    converged: bool
    verdict: str

    def __repr__(self) -> str:
        return f"<Learning: {self.verdict.removesuffix('.')}>"


class Perceptron:
    """Rosenblatt's perceptron: z = w0 + Σ w x, and the output is 1 if z >= 0, else 0.

    Its weights start at zero. The learning rule is w <- w - (α/m) Σ (output - y) x over m rows; for the bias w0, x = 1.
    With a sigmoid instead of the step, (output - y) x is the gradient of the log-loss, and the rule is gradient
    descent.

    Parameters
    ----------
    n_inputs : int
    activation : {"step", "sigmoid"}
    learning_rate : float
        α.
    backend : str

    Attributes
    ----------
    weights : ndarray, shape (n_inputs,)
    bias : float
        w0.

    References
    ----------
    F. Rosenblatt, "The perceptron", Psychological Review 65, 1958.

    Examples
    --------
    AND can be learnt, within the bound of the perceptron theorem; XOR cannot:

    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> perceptron = Perceptron(2)
    >>> learning = perceptron.fit(X, [0, 0, 0, 1])
    >>> learning
    <Learning: converged: epoch 6 made no mistake, 11 in total; the theorem allows 51>
    >>> learning.mistakes, round(learning.bound, 1)
    ((2, 3, 3, 2, 1, 0), 51.0)
    >>> perceptron.predict(X), perceptron.weights, perceptron.bias
    (array([0, 0, 0, 1]), array([2., 1.]), -3.0)
    >>> print(Perceptron(2).fit(X, [0, 1, 1, 0]).verdict)
    not separable: no straight line (plane) separates the two classes, so the rule does not converge; epoch 100 made 4 \
mistakes.

    With the sigmoid and the log-loss, with one update per epoch over all rows:

    >>> perceptron = Perceptron(2, activation="sigmoid", learning_rate=5.0)
    >>> learning = perceptron.fit(X, [0, 1, 1, 1], epochs=200, per_row=False)
    >>> perceptron.predict(X), learning.losses[-1] < 0.1 < learning.losses[0]
    (array([0, 1, 1, 1]), True)
    """

    def __init__(
        self, n_inputs: int, activation: str = "step", *, learning_rate: float = 1.0, backend: str = "numpy"
    ) -> None:
        if activation not in _LOSSES:
            raise UnknownNameError.among("activation of a perceptron", activation, _LOSSES)
        require_positive("learning_rate", learning_rate)
        self.activation, self.learning_rate = activation, float(learning_rate)
        self._net = MLP(
            [n_inputs, 1],
            output_activation=activation,
            loss=_LOSSES[activation],
            init="zeros",
            dtype="float64",
            backend=backend,
        )

    def __repr__(self) -> str:
        return f"Perceptron({self._net.sizes[0]}, {self.activation!r}, learning_rate={self.learning_rate:g})"

    @property
    def weights(self) -> Array:
        """w1 to wn."""
        return self._net.weights[0][:, 0]

    @property
    def bias(self) -> float:
        """w0."""
        return float(self._net.biases[0][0])

    def predict(self, X: Any) -> Array:
        """The outputs 0 or 1, shape (n,), for rows of inputs, shape (n, n_inputs)."""
        outputs: Array = (self._net.feedforward(X)[:, 0] >= 0.5).astype(np.int64)
        return outputs

    def fit(self, X: Any, y: Any, *, epochs: int = 100, per_row: bool = True) -> Learning:
        """Train; with the step, until an epoch makes no mistake.

        Parameters
        ----------
        X : array_like, shape (n, n_inputs)
        y : array_like of 0 and 1, shape (n,)
        epochs : int
            Maximum number of epochs.
        per_row : bool
            Update the weights after each row, or once per epoch with the mean over all rows.

        Returns
        -------
        Learning

        Raises
        ------
        DataError, ShapeError, DtypeError
        """
        epochs = require_count("epochs", epochs)
        X, y = _check(X, y, self._net.sizes[0])
        size = 1 if per_row else len(X)
        if self.activation == "sigmoid":
            return self._descend(X, y, epochs, size)
        starts_at_zero = not self.weights.any() and not self.bias
        bound: float | None = size * mistake_bound(X, y)
        if bound != np.inf and not starts_at_zero:
            bound = None
        mistakes: list[int] = []
        while len(mistakes) < epochs and 0 not in mistakes:
            mistakes.append(sum(self._correct(X[i : i + size], y[i : i + size]) for i in range(0, len(X), size)))
        verdict = _verdict(mistakes, bound)
        if bound == np.inf:
            logger.warning("perceptron: %s", verdict)
        return Learning(tuple(mistakes), (), bound, mistakes[-1] == 0, verdict)

    def _correct(self, X: Array, y: Array) -> int:
        """Take one step of the learning rule, and return the number of misclassified rows."""
        xp, layout, parameters = self._net.xp, self._net.plan.layout, self._net.parameters
        [(W, b)] = layout.layers(parameters)
        x = xp.asarray(X)
        output = xp.dense(x, W, b, "step")
        error = output - xp.asarray(y[:, None])
        gradient = xp.empty(parameters.shape, parameters.dtype)
        [(dW, db)] = layout.layers(gradient)
        xp.dense_backward(error / len(X), x, output, W, "identity", dW=dW, db=db, need_dx=False)
        no_state = xp.empty((0, len(parameters)), parameters.dtype)
        xp.update(formulas.Rule("sgd", {}), parameters, gradient, no_state, 1, self.learning_rate)
        return int(np.count_nonzero(xp.to_numpy(error)))

    def _descend(self, X: Array, y: Array, epochs: int, size: int) -> Learning:
        mistakes: list[int] = []
        history = self._net.fit(
            X,
            y,
            epochs=epochs,
            batch_size=size,
            optimizer=SGD(self.learning_rate),
            shuffle=False,
            callbacks=[lambda _: mistakes.append(int(np.count_nonzero(self.predict(X) != y)))],
        )
        return Learning(tuple(mistakes), tuple(history.loss), None, mistakes[-1] == 0, _verdict(mistakes, None))


def mistake_bound(X: Any, y: Any) -> float:
    """The bound R² / γ² of the perceptron theorem, for updates after each row and initial weights of zero.

    The rule cannot make more mistakes than this. R is the length of the longest row, including the 1 of the bias. The
    margin γ is the distance of the nearest row from the plane through the origin that separates the classes best.

    Parameters
    ----------
    X : array_like, shape (n, n_inputs)
    y : array_like of 0 and 1, shape (n,)

    Returns
    -------
    float
        Infinite if no plane separates the classes.

    References
    ----------
    A. Novikoff, "On convergence proofs on perceptrons", 1962.

    Examples
    --------
    For the rows -1 and 1 on a line, R² = 2 and γ = 1:

    >>> round(mistake_bound([[-1.0], [1.0]], [0, 1]), 9)
    2.0
    """
    X, y = _check(X, y, None)
    ones, sign = np.ones(len(X)), np.where(y == 1, 1, -1)[:, None]
    rows = np.column_stack([X, ones])
    radius = np.linalg.norm(rows, axis=1).max()
    _, margin = _separating_plane(sign * rows / radius)
    if margin:
        return float(1 / margin**2)
    # for rows far from the origin, the margin is lost in rounding; so find the plane for centred and scaled rows
    centre, spread = X.mean(axis=0), X.std(axis=0)
    spread[spread == 0] = 1
    normal, margin = _separating_plane(sign * np.column_stack([(X - centre) / spread, ones]))
    weights = normal[:-1] / spread
    length = np.linalg.norm(np.append(weights, normal[-1] - centre @ weights))
    return float((radius * length / margin) ** 2) if margin else np.inf


def _separating_plane(signed: Array) -> tuple[Array, float]:
    """Unit normal of the plane through the origin with the largest margin to all rows, and the margin; 0 if none."""
    from scipy.optimize import nnls

    # the normal is the point of the convex hull of the signed rows that is nearest to the origin; non-negative least
    # squares finds it, with "the coefficients sum to 1" as an additional equation
    coefficients, _ = nnls(np.vstack([signed.T, np.ones(len(signed))]), np.append(np.zeros(signed.shape[1]), 1.0))
    normal = coefficients @ signed / coefficients.sum()
    normal /= max(np.linalg.norm(normal), np.finfo(float).tiny)
    margin = float((signed @ normal).min())
    return normal, margin if margin > 1e-9 else 0.0


_LOSSES = {"step": "mse", "sigmoid": "binary_cross_entropy"}


def _check(X: Any, y: Any, n_inputs: int | None) -> tuple[Array, Array]:
    xp = get_backend("numpy")
    X = as_array("X", X, xp)
    X = check_inputs(X.astype(np.float64), X.shape[-1] if n_inputs is None else n_inputs, np.float64, xp)
    y = as_array("y", y, xp)
    if y.shape != X.shape[:1]:
        raise ShapeError(f"y {y.shape} must have the shape ({len(X)},): one target for each row of X.")
    if not np.isin(y, (0, 1)).all():
        raise DataError("y contains numbers other than 0 and 1, the two outputs of a perceptron.")
    return X, y.astype(np.float64)


def _verdict(mistakes: list[int], bound: float | None) -> str:
    if bound == np.inf:
        return (
            "not separable: no straight line (plane) separates the two classes, so the rule does not converge; "
            f"epoch {len(mistakes)} made {mistakes[-1]} mistakes."
        )
    total = "" if bound is None else f", {sum(mistakes)} in total; the theorem allows {bound:.6g}"
    if mistakes[-1] == 0:
        return f"converged: epoch {len(mistakes)} made no mistake{total}."
    return f"not converged: epoch {len(mistakes)} made {mistakes[-1]} mistakes{total}."
