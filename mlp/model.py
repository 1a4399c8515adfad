"""`MLP`: a multilayer perceptron, its parameters on a backend, and what can be done with it."""

from __future__ import annotations

import copy
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp import custom, optimizers, training
from mlp._backends import (
    Activation,
    Backend,
    BackendUnavailableError,
    ConfigurationError,
    DataError,
    Layout,
    NetworkPlan,
    ShapeError,
    formulas,
    get_backend,
    loop,
    random,
    resolve,
)
from mlp.initializers import draw_layer, initializer_for
from mlp.optimizers import Optimizer
from mlp.training import Callback, EarlyStopping, Examples, History, Run, TrainingState
from mlp.validation import (
    as_array,
    cast,
    check_batch_size,
    check_classes,
    check_dtype,
    check_inputs,
    check_sizes,
    check_target_scaling,
    check_targets,
    check_weight,
    for_each_layer,
    require_count,
    require_finite,
    require_fraction,
    require_nonnegative,
    require_positive,
)

if TYPE_CHECKING:
    from os import PathLike

    from mlp.data import Preprocessing
    from mlp.gradcheck import GradientCheck
    from mlp.trace import Trace

logger = logging.getLogger("mlp")

OUTPUT_FOR = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exp"}
"""The output that ``"auto"`` stands for, by the loss; identity for the others."""


class MLP:
    """A multilayer perceptron.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input, of each hidden layer, and of the output: ``[784, 128, 10]``.
    activation : str, Activation, or a sequence of them
        Of the hidden layers; one for all, or one for each.
    output_activation : str or Activation
        ``"auto"`` follows the loss: softmax for cross-entropy, sigmoid for binary cross-entropy, exp for Poisson,
        identity for the others.
    loss : str or Loss
        ``cross_entropy``, ``binary_cross_entropy``, ``mse``, ``quadratic``, ``mae``, ``huber``, ``poisson``, or your
        own (`mlp.custom_loss`).
    dropout : float or sequence of float
        Probability with which each unit of the hidden layers is dropped; one for all, or one for each.
    input_dropout : float
        The same for the inputs.
    l2, l1 : float
        Add ``l2/2 * sum(w**2)`` and ``l1 * sum(|w|)`` to the mean loss; weights only, not biases.
    init : str or sequence of str
        Initial weights: ``"auto"`` (by activation), or names of `mlp.initializers`; one for all layers, or one for
        each, the output's included.
    seed : int or None
        Of weights, shuffles and dropout.  None draws one, which `seed` then tells.
    dtype : {"float32", "float64"}
    backend : str
        ``"numpy"``, ``"numba"``, ``"cupy"``, or ``"auto"``: chosen when training starts, by the work there is.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:i"``; may not contradict `backend`.
    input_scale : float, optional
        What uint8 inputs are multiplied by, such as 1/255 for images; other inputs are taken as they are.
    classes : sequence, optional
        Names of the classes, kept with the model; the network itself counts them from 0.
    preprocessing : Preprocessing, optional
        What turns a table into inputs, kept with the model; the network itself takes inputs that went through it.
    target_scaling : tuple (shift, scale), optional
        For regression with an identity output: the network learns ``(y - shift) / scale``, one number for each output,
        and its outputs are scaled back.  Losses are those of the scaled targets.

    Attributes
    ----------
    sizes : tuple of int
    task : {"classes", "labels", "numbers"}
        What `predict` gives.
    class_numbers : bool
        Whether it was trained on class numbers, which makes its outputs classes under any loss.
    backend, backend_reason : str
        Where the network lives, and why.
    history : History or None
        Of the last training.

    Examples
    --------
    >>> import numpy as np, mlp
    >>> X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    >>> net = mlp.MLP([2, 8, 2], activation="tanh", seed=1)
    >>> history = net.fit(X, y, epochs=200, optimizer=mlp.Adam(0.05))
    >>> net.predict(X)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output_activation: str | Activation = "auto",
        loss: str | formulas.Loss = "cross_entropy",
        *,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        l2: float = 0.0,
        l1: float = 0.0,
        init: str | Sequence[str] = "auto",
        seed: int | None = 0,
        dtype: Any = "float32",
        backend: str = "auto",
        device: str = "auto",
        input_scale: float | None = None,
        classes: Sequence[Any] | None = None,
        preprocessing: Preprocessing | None = None,
        target_scaling: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        self.sizes = check_sizes(sizes)
        n_hidden = len(self.sizes) - 2
        cost = formulas.loss(loss)
        output = OUTPUT_FOR.get(cost.name, "identity") if output_activation == "auto" else output_activation
        self.kind = formulas.pair(output, cost)
        if cost.name == "cross_entropy" and self.sizes[-1] == 1:
            raise ConfigurationError(
                "cross_entropy chooses one of several outputs, and this network has one, which softmax always makes 1. "
                "For two classes give it 2 outputs, or loss='binary_cross_entropy'; for numbers, loss='mse'."
            )
        hidden = [formulas.activation(name) for name in for_each_layer("activation", activation, n_hidden)]
        for row in hidden:
            if row.role == "output":
                raise ConfigurationError(f"activation {row.name!r} is for the output layer only.")
        rates = for_each_layer("dropout", dropout, n_hidden)
        for rate in (input_dropout, *rates):
            require_fraction("dropout", rate)
        require_nonnegative("l2", l2)
        require_nonnegative("l1", l1)
        if input_scale is not None:
            require_positive("input_scale", input_scale)
        self.l2, self.l1 = float(l2), float(l1)
        self.dtype = check_dtype(dtype)
        self.seed = secrets.randbits(64) if seed is None else random.check_seed(seed)
        self.input_scale = None if input_scale is None else float(input_scale)
        self.plan = NetworkPlan(
            Layout(self.sizes),
            (*hidden, self.kind.output),
            self.kind,
            (float(input_dropout), *map(float, rates)),
            self.input_scale or 1.0,
        )
        self.classes = check_classes(classes, self.sizes[-1])
        if preprocessing is not None and preprocessing.n_outputs != self.sizes[0]:
            raise ConfigurationError(
                f"preprocessing gives {preprocessing.n_outputs} columns, and the network has {self.sizes[0]} inputs: "
                "they must be equal."
            )
        self.preprocessing = preprocessing
        self.target_scaling = check_target_scaling(target_scaling, self.kind, self.sizes[-1])
        self.init = tuple(
            initializer_for(name, row)
            for name, row in zip(for_each_layer("init", init, n_hidden + 1), self.plan.activations, strict=True)
        )
        self._check_custom()

        self._requested = backend, device
        name, place, self.backend_reason = resolve(backend, device)
        self.xp: Backend = get_backend(name, place)
        self.class_numbers: bool
        self.training_state: TrainingState | None
        self.parameters = self.xp.empty((self.plan.layout.n_parameters,), self.dtype)
        self.reset()

    def __repr__(self) -> str:
        hidden = ", ".join(row.name for row in self.plan.activations[:-1])
        return (
            f"<MLP {'-'.join(map(str, self.sizes))}, {hidden or 'no hidden layer'}, {self.kind.name}, "
            f"{self.plan.layout.n_parameters} parameters of {self.dtype}, {self.backend} on {self.xp.device}>"
        )

    # -- parameters ---------------------------------------------------------------------------------

    def reset(self) -> None:
        """Draw the initial weights again and forget what training has left behind."""
        flat = np.empty(self.plan.layout.n_parameters)
        for layer, (W, b) in enumerate(self.plan.layout.layers(flat)):
            W[...], b[...] = draw_layer(self.init[layer], self.seed, layer, *W.shape)
        self.parameters[...] = self.xp.asarray(flat, dtype=self.dtype)
        self.training_state = None
        self.class_numbers = False

    @property
    def weights(self) -> list[NDArray[Any]]:
        """W of each layer, shape (n_in, n_out), as read-only host arrays; assign a list to replace them."""
        return [W for W, _ in self._host_layers()]

    @weights.setter
    def weights(self, values: Sequence[Any]) -> None:
        self._assign("weights", 0, values)

    @property
    def biases(self) -> list[NDArray[Any]]:
        """b of each layer, shape (n_out,), as read-only host arrays; assign a list to replace them."""
        return [b for _, b in self._host_layers()]

    @biases.setter
    def biases(self, values: Sequence[Any]) -> None:
        self._assign("biases", 1, values)

    def _host_layers(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        flat = self.xp.to_numpy(self.parameters).copy()
        flat.flags.writeable = False  # a change to this copy would be lost
        return self.plan.layout.layers(flat)

    def _assign(self, name: str, part: int, values: Sequence[Any]) -> None:
        if not isinstance(values, Iterable):
            raise ShapeError(f"{name} are a list of arrays, one for each layer, not {values!r}.")
        values = list(values)
        views = [layer[part] for layer in self.plan.layout.layers(self.parameters)]
        if len(values) != len(views):
            raise ShapeError(f"{name} of a network of {len(views)} layers are {len(views)} arrays, not {len(values)}.")
        arrays = []
        for number, (view, value) in enumerate(zip(views, values, strict=True), start=1):
            array = as_array(f"{name}[{number - 1}]", value, self.xp)
            if array.shape != view.shape:
                raise ShapeError(f"{name} of layer {number} have shape {view.shape}, not {array.shape}.")
            require_finite(f"{name}[{number - 1}]", array, "Parameters must be finite.")
            arrays.append(cast(f"{name}[{number - 1}]", array, self.dtype, self.xp))
        for view, array in zip(views, arrays, strict=True):  # only now: all or nothing
            view[...] = array
        if self.training_state is not None and self.training_state.restored:
            self.training_state.forget_best()

    # -- where it lives -----------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        """Name of the backend the parameters live on."""
        return self.xp.name

    def to(self, backend: str = "auto", device: str = "auto") -> MLP:
        """Move the network, and what training remembers, to another backend; returns the network itself.

        Examples
        --------
        >>> MLP([2, 3, 1], loss="mse").to("numpy").backend
        'numpy'
        """
        name, place, reason = resolve(backend, device)
        self._requested = backend, device
        self._move(name, place, reason)
        return self

    def _move(self, name: str, device: str, reason: str) -> None:
        target = get_backend(name, device)
        self.backend_reason = reason
        if target is self.xp:
            return
        source, self.xp = self.xp, target
        self.parameters = target.asarray(source.to_numpy(self.parameters))
        if self.training_state is not None:
            state = self.training_state
            state.slots = target.asarray(source.to_numpy(state.slots))
            if state.other_weights is not None:
                state.other_weights = target.asarray(source.to_numpy(state.other_weights))

    def _choose_backend(self, n: int, epochs: int, batch_size: int) -> None:
        """Settle ``"auto"`` now that the work is known."""
        if self._requested[0] != "auto":
            return
        work = 6.0 * self.plan.layout.n_weights  # a product and a sum, forward and twice backward
        name, device, reason = resolve(*self._requested, step_flops=work * batch_size, run_flops=work * n * epochs)
        self._move(name, device, reason)
        logger.info("backend %s on %s: %s", name, device, reason)

    # -- training -----------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 10,
        batch_size: int | None = None,
        optimizer: str | Optimizer | None = None,
        shuffle: bool = True,
        validation_data: tuple[Any, ...] | None = None,
        validation_fraction: float | None = None,
        sample_weight: Any = None,
        early_stopping: EarlyStopping | bool = False,
        callbacks: Iterable[Callback | Callable[[Run], object]] = (),
        progress: bool = False,
        resume: bool = False,
    ) -> History:
        """Train on X and y, from the weights the network has.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        y : array_like, shape (n,) or (n, n_out)
            Class numbers from 0 or one row of probabilities for each sample; numbers for regression.
        epochs : int
            Passes over the data; with `resume`, how many there are to be in all.
        batch_size : int, optional
            1 to n; the last batch takes what is left.  Default: 32, or n where that is less.
        optimizer : str or Optimizer
            Default: Adam; with `resume` always that of the last training.
        shuffle : bool
            Visit the rows in another order each epoch.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
        validation_fraction : float, optional
            Split this part of the rows off, at random by the network's seed, as validation data.
        sample_weight : array_like, shape (n,), optional
            The mean loss weighs the rows by these.
        early_stopping : EarlyStopping or bool
            True stands for ``EarlyStopping()``.
        callbacks : iterable of Callback or of functions
        progress : bool
            Show a progress bar on stderr if that is a terminal.
        resume : bool
            Go on with the last training, its optimizer's memory included, instead of beginning a new one.

        Returns
        -------
        History

        Raises
        ------
        DivergenceError
            If a loss is not finite; the network keeps the weights with which that epoch began.
        DataError, ShapeError, DtypeError, ConfigurationError
            Before any work is done.

        Notes
        -----
        The first Ctrl-C ends training after the batch at hand and keeps the network.
        """
        self._require_trainable()
        epochs = require_count("epochs", epochs)
        if resume and optimizer is not None:
            raise ConfigurationError(
                "resume=True goes on with the optimizer of the last training; do not give another."
            )
        chosen = self._continued(epochs).optimizer if resume else optimizers.optimizer(optimizer or "adam")
        X = check_inputs(X, self.sizes[0], self.dtype, self.xp)
        examples, class_numbers = self._examples(X, y, sample_weight, whole=True)
        examples, validation = self._split_validation(validation_data, validation_fraction, examples)
        n = examples.rows
        if isinstance(chosen, optimizers.GradientDescent):
            if batch_size not in (None, n):
                raise ConfigurationError(
                    f"GradientDescent takes all {n} rows at once, so batch_size={batch_size} contradicts it; use SGD."
                )
            batch_size = n
        batch_size = check_batch_size(batch_size, n)
        patience = training.check_early_stopping(early_stopping, validated=validation is not None)
        hooks = training.check_callbacks(callbacks)
        self._choose_backend(n, epochs, batch_size)
        self.class_numbers |= class_numbers
        if not resume or self.training_state is None:
            self.training_state = self._new_state(chosen)
        state = self.training_state
        state.history.backend, state.history.backend_reason = self.backend, self.backend_reason
        return training.train(
            self,
            self._on_device(examples),
            state,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            validation=None if validation is None else self._on_device(validation),
            early_stopping=patience,
            callbacks=hooks,
            progress=progress,
        )

    def partial_fit(
        self,
        X: Any,
        y: Any,
        *,
        batch_size: int | None = None,
        optimizer: str | Optimizer | None = None,
        sample_weight: Any = None,
        shuffle: bool = False,
    ) -> float:
        """Go once over a portion of the data, with the optimizer's memory kept from one call to the next.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`; one class alone is no mistake here.
        batch_size : int, optional
            Default: all rows at once.
        optimizer : str or Optimizer, optional
            Given anew, it starts without memory.  Default: the last one, or Adam.
        shuffle : bool

        Returns
        -------
        float
            Mean loss of the portion as it was visited.
        """
        self._require_trainable()
        X = check_inputs(X, self.sizes[0], self.dtype, self.xp)
        examples, class_numbers = self._examples(X, y, sample_weight, whole=False)
        n = examples.rows
        batch_size = n if batch_size is None else check_batch_size(batch_size, n)
        if self.training_state is None or optimizer is not None:
            chosen = optimizers.optimizer(optimizer or "adam")
            self._choose_backend(n, 1, batch_size)
            self.training_state = self._new_state(chosen)
        self.class_numbers |= class_numbers
        state = self.training_state
        state.forget_best()  # it goes on from the weights that the network shows
        history = training.train(
            self,
            self._on_device(examples),
            state,
            epochs=state.epoch + 1,
            batch_size=batch_size,
            shuffle=shuffle,
            catch_interrupt=False,  # the loop is the caller's, and so is the decision to end it
        )
        return history.loss[-1]

    @property
    def history(self) -> History | None:
        """`History` of the last training."""
        return None if self.training_state is None else self.training_state.history

    def _new_state(self, optimizer: Optimizer) -> TrainingState:
        optimizer = copy.deepcopy(optimizer)  # schedules have a memory, which is this run's
        slots = self.xp.zeros((len(optimizer.rule.row.state), self.plan.layout.n_parameters), self.dtype)
        return TrainingState(optimizer, slots)

    def _continued(self, epochs: int) -> TrainingState:
        if self.training_state is None:
            raise ConfigurationError("there is no training to resume: this network has not been trained yet.")
        if epochs <= self.training_state.epoch:
            raise ConfigurationError(
                f"the training to resume has {self.training_state.epoch} epochs behind it; epochs={epochs} counts them "
                "in, so ask for more."
            )
        return self.training_state

    def _require_trainable(self) -> None:
        for row in self.plan.activations:
            formulas.require_derivative(row)

    def _examples(self, X: Any, y: Any, sample_weight: Any, *, whole: bool) -> tuple[Examples, bool]:
        """Checked examples, and whether the targets are class numbers."""
        n = X.shape[0]
        if self.target_scaling is not None:
            shift, scale = (np.array(part) for part in self.target_scaling)
            y = as_array("y", y, self.xp)
            y = (y - shift if y.ndim > 1 else y - shift[0]) / (scale if y.ndim > 1 else scale[0])
        target, class_numbers = check_targets(y, n, self.kind, self.sizes[-1], self.dtype, self.xp, whole=whole)
        weight = None if sample_weight is None else check_weight(sample_weight, n, self.dtype, self.xp)
        return Examples(X, target, weight), class_numbers

    def _split_validation(
        self, data: tuple[Any, ...] | None, fraction: float | None, examples: Examples
    ) -> tuple[Examples, Examples | None]:
        """Examples to train on, and to validate with if there are to be any."""
        if data is not None and fraction is not None:
            raise ConfigurationError("give validation_data or validation_fraction, not both.")
        if data is not None:
            if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
                raise ConfigurationError("validation_data is a tuple (X, y), or (X, y, sample_weight).")
            X = check_inputs(data[0], self.sizes[0], self.dtype, self.xp)
            return examples, self._examples(X, data[1], data[2] if len(data) == 3 else None, whole=False)[0]
        if fraction is None:
            return examples, None
        require_positive("validation_fraction", fraction)
        require_fraction("validation_fraction", fraction)
        n = examples.rows
        held_out = max(round(n * fraction), 1)
        if held_out >= n:
            raise DataError(f"validation_fraction={fraction} of {n} rows leaves nothing to train on.")
        order = self.xp.asarray(random.permutation(self.seed, 0, n, stream=random.SPLIT))
        training_part, validation_part = order[held_out:], order[:held_out]
        return _pick(examples, training_part), _pick(examples, validation_part)

    def _on_device(self, examples: Examples) -> Examples:
        """The examples where the network now lives: choosing a backend may have moved it after they came in."""
        return Examples(*(None if a is None else self.xp.asarray(a) for a in examples))

    # -- use ----------------------------------------------------------------------------------------

    @property
    def task(self) -> str:
        """What the network answers: one of several ``"classes"``, several yes/no ``"labels"``, or ``"numbers"``."""
        if self.kind.loss.name == "cross_entropy" or self.class_numbers:
            return "classes" if self.sizes[-1] > 1 else "labels"
        return "labels" if self.kind.loss.name == "binary_cross_entropy" else "numbers"

    def _as_floats(self, x: Any) -> Any:
        """A device array of inputs in the network's dtype: uint8 is scaled by `input_scale`."""
        if x.dtype == self.dtype:
            return x
        out = self.xp.empty(x.shape, self.dtype)
        return self.xp.take_rows(x, self.xp.namespace.arange(x.shape[0]), out=out, scale=self.plan.input_scale)

    def _logits(self, X: Any) -> Any:
        """What enters the output's activation, for checked rows on the device; a device array."""
        with np.errstate(all="ignore"):
            return loop.logits(self.xp, self.plan, self.parameters, self._as_floats(X))

    def feedforward(self, X: Any) -> NDArray[Any]:
        """The network's output for each row of X, without dropout.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            Real numbers, cast to the network's dtype; uint8 is multiplied by `input_scale`.

        Returns
        -------
        ndarray, shape (n, n_out)
            Of the network's dtype, on the host.

        Raises
        ------
        ShapeError, DtypeError, DataError

        Examples
        --------
        >>> MLP([2, 3], init="zeros").feedforward([[1.0, 2.0]])
        array([[0.33333334, 0.33333334, 0.33333334]], dtype=float32)
        """
        X = check_inputs(X, self.sizes[0], self.dtype, self.xp)
        chunks = [
            self.xp.to_numpy(self.xp.activate(self._logits(X[first : first + training.CHUNK]), self.kind.output))
            for first in range(0, X.shape[0], training.CHUNK)
        ]
        y = np.concatenate(chunks)
        if self.target_scaling is not None:
            shift, scale = (np.array(part, dtype=self.dtype) for part in self.target_scaling)
            y = y * scale + shift
        return y

    def predict(self, X: Any) -> NDArray[Any]:
        """The network's answer to each row of X.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            As in `feedforward`.

        Returns
        -------
        ndarray, shape (n,), or (n, n_out) for several answers a row
            By `task`: class numbers, labels 0 and 1 (an output above 1/2), or the outputs themselves.

        Examples
        --------
        >>> net = MLP([1, 2], init="zeros")
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
            For a single sigmoid output the columns are no and yes.

        Raises
        ------
        ConfigurationError
            If the outputs are no probabilities.
        """
        if self.kind.output.name not in ("softmax", "sigmoid"):
            raise ConfigurationError(
                f"outputs of {self.kind.output.name!r} are no probabilities; predict_proba needs a softmax or sigmoid "
                "output, and feedforward gives the outputs as they are."
            )
        y = self.feedforward(X)
        return np.hstack([1 - y, y]) if y.shape[1] == 1 else y

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, float]:
        """Mean loss and score on X and y.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        y : array_like, shape (n,) or (n, n_out)
            As in `fit`.
        sample_weight : array_like, shape (n,), optional

        Returns
        -------
        loss : float
            Without penalties.
        score : float
            As `score` gives it.
        """
        X = check_inputs(X, self.sizes[0], self.dtype, self.xp)
        examples, class_numbers = self._examples(X, y, sample_weight, whole=False)
        return training.evaluate(self, examples, "classes" if class_numbers else self.task)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """How good the answers are; arguments as in `evaluate`.

        Returns
        -------
        float
            For classes and labels the share of rows that are answered rightly in all labels; for numbers the
            coefficient of determination R^2, mean over the outputs: scikit-learn's ``accuracy_score`` and
            ``r2_score``.
        """
        return self.evaluate(X, y, sample_weight)[1]

    def loss_and_gradients(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[float, list[tuple[NDArray[Any], NDArray[Any]]]]:
        """Mean loss of the rows, penalties included, and its slopes by back-propagation; without dropout.

        Parameters
        ----------
        X, y, sample_weight
            As in `evaluate`.

        Returns
        -------
        loss : float
        gradients : list of (dW, db)
            Shapes (n_in, n_out) and (n_out,), one pair for each layer; host arrays of the network's dtype.

        Examples
        --------
        For one neuron and half the squared error, dW = (y - t) x and db = y - t:

        >>> net = MLP([2, 1], loss="quadratic", init="zeros")
        >>> loss, [(dW, db)] = net.loss_and_gradients([[3.0, 4.0]], [2.0])
        >>> loss, dW.ravel().tolist(), db.tolist()
        (2.0, [-6.0, -8.0], [-2.0])
        """
        self._require_trainable()
        X = self._as_floats(check_inputs(X, self.sizes[0], self.dtype, self.xp))
        examples, _ = self._examples(X, y, sample_weight, whole=False)
        space = loop.Workspace(self.xp, self.plan, X.shape[0], self.dtype)
        loss, gradient = loop.loss_and_gradient(
            self.xp, self.plan, self.parameters, space, *examples, l2=self.l2, l1=self.l1
        )
        return loss, self.plan.layout.layers(self.xp.to_numpy(gradient))

    # -- looking inside -----------------------------------------------------------------------------

    def trace(
        self,
        X: Any,
        y: Any,
        *,
        optimizer: str | Optimizer | None = None,
        steps: int = 1,
        batch_size: int | None = None,
        sample_weight: Any = None,
    ) -> Trace:
        """Training in numbers: every quantity of the next steps with its formula, without taking them.

        A copy is trained as `partial_fit` would train the network, on the operations of its backend; the network
        itself stays as it is.

        Parameters
        ----------
        X, y, sample_weight
            As in `partial_fit`; the rows are visited in the order given, over and over.
        optimizer : str or Optimizer, optional
            Given anew, it starts without memory.  Default: the last one, or Adam.
        steps : int
            How many batches to follow.
        batch_size : int, optional
            Default: all rows at once.

        Returns
        -------
        Trace
            Frozen data, with `to_text`, `to_markdown`, `to_html`, `to_json` and `to_numpy_program`.

        Raises
        ------
        ConfigurationError
            If the trace would not fit in memory.
        DivergenceError
            If a loss is not finite.

        Notes
        -----
        The loop spelled out in `backends.loop` is what runs.  A backend that trains whole epochs faster (Numba's)
        arrives at the same numbers but for rounding: to 1e-12 a step in float64.

        Examples
        --------
        >>> net = MLP([2, 1], loss="quadratic", init="zeros", dtype="float64")
        >>> trace = net.trace([[3.0, 4.0]], [2.0], optimizer=optimizers.SGD(0.1))
        >>> trace.steps[0].loss, trace.steps[0]["new_W1"].tolist()
        (2.0, [[0.6000000000000001], [0.8]])
        """
        from mlp.trace.recording import record

        return record(self, X, y, optimizer=optimizer, steps=steps, batch_size=batch_size, sample_weight=sample_weight)

    def gradient_check(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        epsilon: float = 1e-5,
        parameters: int | str = 1000,
        tolerance: float = 1e-5,
    ) -> GradientCheck:
        """Compare back-propagation with central differences of the loss, parameter by parameter.

        Both are computed in float64, on a copy of the network, by the operations of its backend and without dropout.

        Parameters
        ----------
        X, y, sample_weight
            As in `evaluate`.
        epsilon : float
            Each parameter p is moved to p - epsilon and p + epsilon; 1e-10 or more.
        parameters : int or "all"
            How many parameters to check at most, drawn by the network's seed and spread over the layers.
        tolerance : float
            The relative error that is taken for rounding; 1e-9 or more.

        Returns
        -------
        GradientCheck
            Its `passed` and `verdict`, the largest error of each layer's weights and biases, the worst offenders, and
            what makes the check unreliable where it is.

        Raises
        ------
        NotDifferentiableError
            For ``step``, which has no slope to check.

        Examples
        --------
        >>> net = MLP([3, 4, 2], activation="tanh", seed=0)
        >>> net.gradient_check([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], [0, 1]).passed
        True
        """
        from mlp.gradcheck import check_gradient

        return check_gradient(
            self, X, y, sample_weight=sample_weight, epsilon=epsilon, parameters=parameters, tolerance=tolerance
        )

    # -- keeping ------------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a safetensors file, complete or not at all; `mlp.load` reads it.

        Parameters
        ----------
        path : path-like
            Replaced if it is there.

        Raises
        ------
        StorageError
            If it cannot be written; what was there stays.
        """
        from mlp import persistence

        persistence.save(self, path)

    def to_torch(self, *, logits: bool = False) -> Any:
        """The network as a torch.nn.Sequential, to go on with in PyTorch; `mlp.from_torch` reads it back.

        Parameters
        ----------
        logits : bool
            Leave the output's activation out, as torch.nn.CrossEntropyLoss, BCEWithLogitsLoss and PoissonNLLLoss
            want it.

        Returns
        -------
        torch.nn.Sequential
            On the CPU, of the network's dtype, in evaluation mode: ``module(x)`` is `feedforward` of x.  In training
            mode it drops units as the network does.  It shares no memory with the network.

        Raises
        ------
        ConfigurationError
            If PyTorch is not installed, or an activation is a function of your own.

        Notes
        -----
        A first module scales uint8 inputs by `input_scale`; `target_scaling` becomes part of the last layer.  The
        module takes rows that went through `preprocessing`, as the network does; a warning reminds of it.  Names of
        classes stay behind, and so do `l2` and `l1`, which are up to the optimizer in PyTorch.
        """
        from mlp import interchange

        return interchange.to_torch(self, logits=logits)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this network again, as plain data; a user's own functions by their names."""
        names = [row.name for row in self.plan.activations]
        return {
            "sizes": list(self.sizes),
            "activation": names[:-1],
            "output_activation": names[-1],
            "loss": self.kind.loss.name,
            "dropout": list(self.plan.dropout[1:]),
            "input_dropout": self.plan.dropout[0],
            "l2": self.l2,
            "l1": self.l1,
            "init": list(self.init),
            "seed": self.seed,
            "dtype": str(self.dtype),
            "input_scale": self.input_scale,
            "classes": None if self.classes is None else list(self.classes),
            "target_scaling": None if self.target_scaling is None else [list(part) for part in self.target_scaling],
        }

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"xp": None, "parameters": self.xp.to_numpy(self.parameters)}
        state["_place"] = self.xp.name, self.xp.device
        if self.training_state is not None:
            held = copy.copy(self.training_state)
            held.slots = self.xp.to_numpy(held.slots)
            held.other_weights = None if held.other_weights is None else self.xp.to_numpy(held.other_weights)
            state["training_state"] = held
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        name, device = state.pop("_place")
        self.__dict__.update(state)
        self.xp = get_backend("numpy")
        if not self.parameters.flags.writeable:  # joblib hands large arrays to its workers as read-only maps
            self.parameters = self.parameters.copy()
        if self.training_state is not None and not self.training_state.slots.flags.writeable:
            self.training_state.slots = self.training_state.slots.copy()
        try:
            self._move(name, device, state["backend_reason"])
        except (BackendUnavailableError, ConfigurationError) as error:
            logger.warning("a network pickled on %s was loaded to numpy instead: %s", device, error)
            self._requested = "auto", "auto"

    def _check_custom(self) -> None:
        for row in self.plan.activations:
            if row.custom:
                custom.check_activation(row)
        if self.kind.loss.custom:
            custom.check_loss(self.kind.loss)


def _pick(examples: Examples, rows: Any) -> Examples:
    return Examples(*(None if array is None else array[rows] for array in examples))
