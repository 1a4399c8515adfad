"""`MLP`: the public class, which adds training, answers, files and inspection to the core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from mlp import optimizers, training
from mlp._backends import Activation, ConfigurationError, formulas
from mlp.configuration import configure
from mlp.network import FeedForward
from mlp.optimizers import Optimizer
from mlp.training import Callback, EarlyStopping, History, Run, TrainingState
from mlp.validation import check_batch_size, require_count

if TYPE_CHECKING:
    from os import PathLike

    from mlp.data import Preprocessing
    from mlp.inspection.gradcheck import GradientCheck
    from mlp.inspection.trace import Trace


class MLP(FeedForward):
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
        Where the network is, and why.
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
        configuration = configure(
            sizes,
            activation,
            output_activation,
            loss,
            dropout=dropout,
            input_dropout=input_dropout,
            l2=l2,
            l1=l1,
            init=init,
            seed=seed,
            dtype=dtype,
            input_scale=input_scale,
            classes=classes,
            preprocessing=preprocessing,
            target_scaling=target_scaling,
        )
        self.training_state: TrainingState | None = None
        super().__init__(configuration, backend, device)

    @classmethod
    def of(cls, core: FeedForward, training_state: TrainingState | None = None) -> Self:
        """The public class around a core, such as one read from a file; they share their parameters."""
        net = cls.__new__(cls)
        vars(net).update(vars(core), training_state=training_state)
        return net

    # -- what training remembers goes where the parameters go -----------------------------------------

    def reset(self) -> None:
        """Draw the initial weights again and forget what training has left behind."""
        super().reset()
        self.training_state = None

    def move(self, name: str, device: str, reason: str) -> None:
        source = self.xp
        super().move(name, device, reason)
        if self.training_state is not None and self.xp is not source:
            self.training_state.move(source, self.xp)

    def copy(self, dtype: Any = None) -> Self:
        """A network of its own with the same parameters, in another `dtype` if one is given, without the history.

        Examples
        --------
        >>> net = MLP([2, 3, 1], loss="mse")
        >>> net.copy("float64").dtype, net.dtype
        (dtype('float64'), dtype('float32'))
        """
        net = super().copy(dtype)
        net.training_state = None
        return net

    def _assign(self, name: str, part: int, values: Sequence[Any]) -> None:
        super()._assign(name, part, values)
        if self.training_state is not None and self.training_state.restored:
            self.training_state.forget_best()

    def __getstate__(self) -> dict[str, Any]:
        held = None if self.training_state is None else self.training_state.on_host(self.xp)
        return super().__getstate__() | {"training_state": held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        held = state["training_state"]
        if held is not None and not held.slots.flags.writeable:  # a read-only map, as the parameters may be
            held.slots = held.slots.copy()
        super().__setstate__(state)

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
        self.require_trainable()
        epochs = require_count("epochs", epochs)
        if resume and optimizer is not None:
            raise ConfigurationError(
                "resume=True goes on with the optimizer of the last training; do not give another."
            )
        if resume:
            chosen = training.require_resumable(self.training_state, epochs).optimizer
        else:
            chosen = optimizers.optimizer(optimizer or "adam")
        examples, class_numbers = self.check_examples(X, y, sample_weight, whole=True)
        examples, validation = training.split_validation(self, examples, validation_data, validation_fraction)
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
        self.choose_backend(n, epochs, batch_size)
        self.class_numbers |= class_numbers
        if not resume or self.training_state is None:
            self.training_state = TrainingState.begin(self, chosen)
        state = self.training_state
        state.history.backend, state.history.backend_reason = self.backend, self.backend_reason
        return training.train(
            self,
            self.on_device(examples),
            state,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            validation=None if validation is None else self.on_device(validation),
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
        self.require_trainable()
        examples, class_numbers = self.check_examples(X, y, sample_weight)
        n = examples.rows
        batch_size = n if batch_size is None else check_batch_size(batch_size, n)
        if self.training_state is None or optimizer is not None:
            chosen = optimizers.optimizer(optimizer or "adam")
            self.choose_backend(n, 1, batch_size)
            self.training_state = TrainingState.begin(self, chosen)
        self.class_numbers |= class_numbers
        state = self.training_state
        state.forget_best()  # it goes on from the weights that the network shows
        history = training.train(
            self,
            self.on_device(examples),
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

    # -- how good it is -----------------------------------------------------------------------------

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
        return training.evaluate_rows(self, X, y, sample_weight)

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
        from mlp.inspection.trace import record

        return record(
            self,
            self.training_state,
            X,
            y,
            optimizer=optimizer,
            steps=steps,
            batch_size=batch_size,
            sample_weight=sample_weight,
        )

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
        from mlp.inspection.gradcheck import check_gradient

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
        from mlp.io import persistence

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
        from mlp.io.pytorch import to_torch

        return to_torch(self, logits=logits)
