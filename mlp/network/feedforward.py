"""`FeedForward`: what a network computes: outputs, predictions, the loss and its gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp._backends import Backend, ConfigurationError, formulas, loop, no_float_warnings
from mlp.checks import as_array, check_inputs, check_targets, check_weight
from mlp.network.outputs import Outputs, as_floats
from mlp.network.placed_network import PlacedNetwork, on_its_device


class Examples(NamedTuple):
    """Checked inputs, targets and sample weights on the device."""

    X: Any
    target: Any
    weight: Any

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])


class FeedForward(PlacedNetwork):
    """A feedforward network: what it computes with its parameters; see `PlacedNetwork` for the parameters."""

    _made: Outputs | None = None

    # -- examples -----------------------------------------------------------------------------------

    @on_its_device
    def check_inputs(self, X: Any) -> Any:
        """Return inputs as a device array, shape (n, n_in), of the network's dtype; uint8 stays uint8."""
        return check_inputs(X, self.sizes[0], self.dtype, self.xp)

    @on_its_device
    def check_examples(
        self, X: Any, y: Any, sample_weight: Any = None, *, require_two_classes: bool = False, xp: Backend | None = None
    ) -> tuple[Examples, bool]:
        """Return checked examples, and whether the targets are class numbers.

        Parameters
        ----------
        X, y, sample_weight : array_like
            As in `MLP.fit`.
        require_two_classes : bool
            Whether class numbers that are all equal are an error.
        xp : Backend, optional
            Where the examples are to be.  Default: on the device of the network.
        """
        xp = xp or self.xp
        X = check_inputs(X, self.sizes[0], self.dtype, xp)
        n = X.shape[0]
        if self.target_scaling is not None:
            shift, scale = (np.array(values) for values in self.target_scaling)
            y = as_array("y", y, xp)
            y = (y - shift if y.ndim > 1 else y - shift[0]) / (scale if y.ndim > 1 else scale[0])
        target, class_numbers = check_targets(
            y, n, self.kind, self.sizes[-1], self.dtype, xp, require_two_classes=require_two_classes
        )
        weight = None if sample_weight is None else check_weight(sample_weight, n, self.dtype, xp)
        return Examples(X, target, weight), class_numbers

    def on_device(self, examples: Examples) -> Examples:
        """The examples on the current device; the network may have moved since they were checked."""
        target, weight = (None if array is None else self.xp.asarray(array) for array in examples[1:])
        return Examples(self.xp.as_rows(examples.X), target, weight)

    @on_its_device
    def as_floats(self, x: Any) -> Any:
        """Convert checked inputs on the device to the network's dtype; uint8 is scaled by `input_scale`."""
        return as_floats(self.xp, x, self.dtype, self.plan.input_scale)

    # -- outputs ------------------------------------------------------------------------------------

    def _outputs(self) -> Outputs:
        """Computes the outputs of this network; made once."""
        made, parts = self._made, (self.plan, self.xp, self.parameters, self.target_scaling)
        if made is None or not made.is_of(*parts):
            made = self._made = Outputs(*parts)
        return made

    def move(self, name: str, device: str, reason: str) -> None:
        super().move(name, device, reason)
        self._made = None  # it holds arrays of the device

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_made": None}

    @on_its_device
    def logits(self, X: Any) -> Any:
        """The logits (inputs of the output activation) of checked rows on the device; a device array."""
        return self._outputs().predictor(X, logits=True)

    def feedforward(self, X: Any) -> NDArray[Any]:
        """The network's output for each row of X, without dropout.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            Real numbers, converted to the network's dtype; uint8 is multiplied by `input_scale`.

        Returns
        -------
        ndarray, shape (n, n_out)
            Outputs in the network's dtype, on the host.

        Raises
        ------
        ShapeError, DtypeError
        DataError
            If X is not finite, or an output is not: then the message names the first such row and the layer where its
            values overflow.  What a user-defined output activation returns for finite values is not checked.

        Examples
        --------
        >>> import mlp
        >>> mlp.MLP([2, 3], init="zeros").feedforward([[1.0, 2.0]])
        array([[0.33333334, 0.33333334, 0.33333334]], dtype=float32)
        """
        return self._outputs()(X)

    def unchecked_outputs(self, X: Any) -> NDArray[Any]:
        """As `feedforward`, but outputs that overflow are returned as they are: infinite or NaN."""
        return self._outputs().unchecked(X)

    def require_finite_outputs(self, outputs: NDArray[Any], X: Any) -> None:
        """Raise `DataError` if an output for checked rows is NaN or infinite; see `feedforward`."""
        self._outputs().require_finite(outputs, X)

    def transform(self, X: Any) -> NDArray[Any]:
        """The activations of the last hidden layer, without dropout: features that the network has learned.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            As in `feedforward`.

        Returns
        -------
        ndarray, shape (n, width of the last hidden layer)

        Raises
        ------
        ConfigurationError
            If there is no hidden layer.
        DataError
            As in `feedforward`.

        Examples
        --------
        >>> import mlp
        >>> mlp.MLP([2, 4, 3, 1], loss="mse").transform([[1.0, 2.0]]).shape
        (1, 3)
        """
        if len(self.sizes) == 2:
            raise ConfigurationError("this network has no hidden layer, so there is nothing to transform X to.")
        return Outputs(self.plan, self.xp, self.parameters, last=-1).checked(X)

    # -- predictions --------------------------------------------------------------------------------

    @property
    def task(self) -> str:
        """What the network predicts: one of several ``"classes"``, several 0/1 ``"labels"``, or ``"numbers"``."""
        if self.kind.loss.name == "cross_entropy" or self.class_numbers:
            return "classes" if self.sizes[-1] > 1 else "labels"
        return "labels" if self.kind.loss.name == "binary_cross_entropy" else "numbers"

    @property
    def score_name(self) -> str:
        """Name of the score of `MLP.evaluate`: ``"accuracy"``, ``"R^2"``, or for quantiles ``"D^2"``."""
        if self.kind.loss.levels:
            return "D^2"
        return "R^2" if self.task == "numbers" else "accuracy"

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the class, the labels or the numbers for each row of X.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            As in `feedforward`.

        Returns
        -------
        ndarray, shape (n,), or (n, n_out) for several labels or numbers
            Depends on `task`: class numbers, labels 0 and 1 (1 if the output is above 1/2), or the outputs.

        Examples
        --------
        >>> import mlp
        >>> net = mlp.MLP([1, 2], init="zeros")
        >>> net.biases = [[0.0, 1.0]]
        >>> net.predict([[5.0]])
        array([1])
        """
        y = self.feedforward(X)
        if self.task == "classes":
            return np.asarray(y.argmax(axis=1))
        if self.task == "labels":
            y = (y > 0.5).astype(np.int64)
        return y[:, 0] if y.shape[1] == 1 else y

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probability of each class.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            As in `feedforward`.

        Returns
        -------
        ndarray, shape (n, number of classes)
            For a single sigmoid output, the columns are the probabilities of 0 and 1.

        Raises
        ------
        ConfigurationError
            If the outputs are not probabilities.
        """
        if self.kind.output.name not in ("softmax", "sigmoid"):
            raise ConfigurationError(
                f"outputs of {self.kind.output.name!r} are not probabilities: predict_proba needs a softmax or sigmoid "
                "output. Use feedforward for the outputs."
            )
        y = self.feedforward(X)
        return np.hstack([1 - y, y]) if y.shape[1] == 1 else y

    # -- gradients ----------------------------------------------------------------------------------

    def require_trainable(self) -> None:
        """Raise `NotDifferentiableError` if an activation has no useful derivative."""
        for activation in self.plan.activations:
            formulas.require_derivative(activation)

    @on_its_device
    def loss_and_gradients(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[float, list[tuple[NDArray[Any], NDArray[Any]]]]:
        """Mean loss of the rows, including penalties, and its gradient by back-propagation, without dropout.

        Parameters
        ----------
        X, y, sample_weight
            As in `MLP.evaluate`.

        Returns
        -------
        loss : float
        gradients : list of (dW, db)
            Shapes (n_in, n_out) and (n_out,), one pair for each layer; host arrays of the network's dtype.  Those of a
            scaling layer are not among them.

        Examples
        --------
        For one neuron and half the squared error, dW = (y - t) x and db = y - t:

        >>> import mlp
        >>> net = mlp.MLP([2, 1], loss="quadratic", init="zeros")
        >>> loss, [(dW, db)] = net.loss_and_gradients([[3.0, 4.0]], [2.0])
        >>> loss, dW.ravel().tolist(), db.tolist()
        (2.0, [-6.0, -8.0], [-2.0])
        """
        self.require_trainable()
        (X, target, weight), _ = self.check_examples(X, y, sample_weight)
        workspace = loop.Workspace(self.xp, self.plan, X.shape[0], self.dtype)
        x = self.as_floats(X)
        with no_float_warnings():
            loss, gradient = loop.loss_and_gradient(
                self.xp, self.plan, self.parameters, workspace, x, target, weight, l2=self.l2, l1=self.l1
            )
        return loss, self.plan.layout.layers(self.xp.to_numpy(gradient))
