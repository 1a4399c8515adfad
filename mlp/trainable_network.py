"""`TrainableNetwork`: a network with the state of its training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from mlp import optimizers, ranks, training
from mlp._backends import ConfigurationError
from mlp.checks import check_batch_size, require_count
from mlp.data.streams import RowStream
from mlp.distributed import SERIAL, Communicator, check_shards
from mlp.network import FeedForward, on_its_device
from mlp.optimizers import Optimizer
from mlp.training import Callback, CheckpointWriter, EarlyStopping, History, Run, TrainingState


class TrainableNetwork(FeedForward):
    """A network that is trained and evaluated: its training state follows its parameters.

    Attributes
    ----------
    training_state : TrainingState or None
        Of the last training: the optimizer's state, the history, and where it stopped.
    """

    training_state: TrainingState | None

    @classmethod
    def of(cls, core: FeedForward, training_state: TrainingState | None = None) -> Self:
        """Make an `MLP` from a `FeedForward`, such as one read from a file; they share their parameters."""
        net = cls.__new__(cls)
        vars(net).update(vars(core), training_state=training_state)
        return net

    # -- the training state follows the parameters ----------------------------------------------------

    def reset(self) -> None:
        """Draw the initial weights again and discard the training state."""
        super().reset()
        self.training_state = None

    def move(self, name: str, device: str, reason: str) -> None:
        source = self.xp
        super().move(name, device, reason)
        if self.training_state is not None and self.xp is not source:
            self.training_state.move(source, self.xp)

    def copy(self, dtype: Any = None) -> Self:
        """An independent copy with the same parameters, converted to `dtype` if given, without the history.

        A copy in float64 has the precision ``"float32"``, which means no rounding of the factors.

        Examples
        --------
        >>> import mlp
        >>> net = mlp.MLP([2, 3, 1], loss="mse")
        >>> net.copy("float64").dtype, net.dtype
        (dtype('float64'), dtype('float32'))
        """
        net = super().copy(dtype)
        net.training_state = None
        return net

    def _assign(self, name: str, part: int, values: Sequence[Any]) -> None:
        super()._assign(name, part, values)
        self._forget_best_weights()

    def _assign_scaling(self, values: Any) -> None:
        super()._assign_scaling(values)
        self._forget_best_weights()

    def without_scaling_layer(self) -> Self:
        net = super().without_scaling_layer()
        net.training_state = None
        return net

    def _forget_best_weights(self) -> None:
        if self.training_state is not None and self.training_state.restored:
            self.training_state.reset_best()

    def __getstate__(self) -> dict[str, Any]:
        training_state = None if self.training_state is None else self.training_state.on_host(self.xp)
        return super().__getstate__() | {"training_state": training_state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        training_state = state["training_state"]
        if training_state is not None and not training_state.slots.flags.writeable:  # a read-only memory map
            training_state.slots = training_state.slots.copy()
        super().__setstate__(state)

    # -- training -----------------------------------------------------------------------------------

    @on_its_device
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        optimizer: str | Optimizer | None = None,
        shuffle: bool = True,
        validation_data: tuple[Any, ...] | RowStream | None = None,
        validation_fraction: float | None = None,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | str | None = None,
        label_smoothing: float | None = None,
        early_stopping: EarlyStopping | bool = False,
        metrics: Iterable[str | training.Metric] = (),
        callbacks: Iterable[Callback | Callable[[Run], object]] = (),
        progress: bool = False,
        resume: bool = False,
        checkpoint: CheckpointWriter | None = None,
        shards: int | None = None,
        comm: Communicator | None = None,
    ) -> History:
        """Train on X and y, starting from the current weights.

        Parameters
        ----------
        X : array_like, shape (n, n_in), or RowStream
            A stream has the targets too.  Its rows are read again in each epoch; see `mlp.data.stream`.
        y : array_like, shape (n,) or (n, n_out)
            Class numbers from 0 or one row of probabilities for each sample; numbers for regression.
        epochs : int, optional
            Passes over the data; with `resume`, the total including the epochs already done.  If all of them are done,
            that is an error, or with `checkpoint` the end of the training.  Default: 10, or as many as are needed for
            3,000 updates; with `resume` the total of the last training.  `History.planned_epochs` has the number.
        batch_size : int, optional
            1 to n; the last batch has the remaining rows.  Default: 32 or n, whichever is smaller; with `resume` that
            of the last training.
        optimizer : str or Optimizer
            Default: Adam; with `resume` always that of the last training.
        shuffle : bool
            Shuffle the rows before each epoch.
        validation_data : tuple (X, y) or (X, y, sample_weight), or RowStream, optional
        validation_fraction : float, optional
            Fraction of the rows to split off at random, by the network's seed, as validation data.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows in the mean loss.
        class_weight : mapping or "balanced", optional
            Weights of the classes, by number or by name in `classes`, which multiply those of the rows; classes that
            are left out have 1.  ``"balanced"`` gives all classes the same total weight: n / (number of classes * rows
            of the class), as in scikit-learn.
        label_smoothing : float, optional
            Weight s of the uniform distribution in the targets of classes, 0 <= s < 1 (Szegedy et al. 2016, section 7).
            It changes the losses of the training, but not those of the validation set.  Default: 0; with `resume` that
            of the last training.
        early_stopping : EarlyStopping or bool
            True means ``EarlyStopping()``.
        metrics : iterable of str or callable
            Computed on the validation set after each epoch, and stored in `History.metrics`: names of scikit-learn's
            scorers such as ``"roc_auc"``, or functions of the network, X and y.
        callbacks : iterable of Callback or of functions
        progress : bool
            Show a progress bar on stderr if that is a terminal.
        resume : bool
            Continue the last training, with its optimizer state, instead of starting a new one.  A training that was
            stopped within an epoch continues with its next batch.
        checkpoint : Checkpoint, optional
            Write the state of the training to a file, from time to time and at the end; see `mlp.Checkpoint`.
        shards : int, optional
            Cut each batch in so many shards, a power of two, and sum their gradients in a binary tree.  The results
            depend on it in the last digits, and not on the number of ranks that share the work.  Default: 1; with
            `resume` that of the last training.
        comm : Communicator, optional
            `mlp.distributed.mpi` gives that of the ranks that ``mpiexec`` has started.  All of them call `fit` with the
            same arguments, and have the same network afterwards.  Only rank 0 writes checkpoints and shows progress.
            Default: this process trains alone.

        Returns
        -------
        History

        Raises
        ------
        DivergenceError
            If a loss is not finite; the network has the weights from the start of that epoch.
        DataError, ShapeError, DtypeError, ConfigurationError
            If an argument is invalid, or the backend does not have the network's precision; then the network is not
            changed.
        StorageError
            If a checkpoint cannot be written.
        SystemExit
            After SIGTERM, if there is a `checkpoint`: when it is written, with the exit status 143.

        Notes
        -----
        The first Ctrl-C stops training after the current batch, or up to about 0.02 seconds later with the Numba
        backend, and keeps the trained weights; ``fit`` with ``resume=True`` continues exactly there.

        The log has a warning if inputs are far from 1, or if the loss was still falling at the end.
        """
        self.require_trainable()
        training.check_checkpoint(checkpoint)
        comm = SERIAL if comm is None else comm
        if epochs is not None:
            require_count("epochs", epochs)
        if resume and optimizer is not None:
            raise ConfigurationError("resume=True uses the optimizer of the last training: do not give an optimizer.")
        if resume:
            may_be_done = checkpoint is not None  # a program that was killed at its end is started again
            optimizer = training.require_resumable(self.training_state, epochs, may_be_done=may_be_done).optimizer
        else:
            optimizer = optimizers.optimizer("adam" if optimizer is None else optimizer)
        examples, validation, class_numbers = training.training_examples(
            self, X, y, sample_weight=sample_weight, class_weight=class_weight, validation_data=validation_data,
            validation_fraction=validation_fraction,
        )  # fmt: skip
        n = examples.rows
        resumed = self.training_state if resume else None
        previous = resumed.conditions if resumed else {}
        shards = check_shards(previous.get("shards", 1) if shards is None else shards, comm)
        batch_size = training.batch_size_for(optimizer, batch_size, n, previous.get("batch_size"))
        has_validation = validation is not None
        smoothing = training.check_label_smoothing(label_smoothing, self.kind, previous.get("label_smoothing", 0.0))
        chosen_metrics = training.check_metrics(metrics, validation)
        stopping_rule = training.check_early_stopping(early_stopping, chosen_metrics, has_validation=has_validation)
        callbacks = training.check_callbacks(callbacks)
        epochs, epochs_reason = training.choose_epochs(epochs, n, batch_size, resumed.history if resumed else None)
        if comm.rank == 0:
            training.advise_on_inputs(self, examples)
        states = len(optimizer.rule.row.state)
        self.choose_backend(n, epochs, batch_size, states=states, previous=previous.get("backend", ""))
        state = resumed or TrainingState.begin(self, optimizer)
        with ranks.threads_for_same_bits(self, shards):
            ranks.require_same_training(
                comm, self, state, examples, validation, checkpoint, stopping_rule, shards=shards, epochs=epochs,
                batch_size=batch_size, shuffle=bool(shuffle), label_smoothing=smoothing, metrics=list(chosen_metrics),
            )  # fmt: skip
        checkpoint = ranks.writer_of_rank(comm, checkpoint)
        if checkpoint:
            checkpoint.begin(self, state)
        self.class_numbers |= class_numbers
        self.training_state = state
        history = state.history
        history.backend, history.backend_reason = self.backend, self.backend_reason
        history.planned_epochs, history.planned_reason = epochs, epochs_reason
        with ranks.threads_for_same_bits(self, shards):
            training.train(
                Run(self, state, epochs, comm=comm),
                training.on_device(self, examples),
                batch_size=batch_size,
                shuffle=shuffle,
                label_smoothing=smoothing,
                shards=shards,
                validation=None if validation is None else training.on_device(self, validation),
                early_stopping=stopping_rule,
                metrics=chosen_metrics,
                callbacks=callbacks,
                progress=progress and comm.rank == 0,
                checkpoint=checkpoint,
            )
        if comm.rank == 0:
            training.advise_on_length(history)
        return history

    @on_its_device
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
        """Train for one epoch on a part of the data; the optimizer state is kept between calls.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`, but y may contain a single class.
        batch_size : int, optional
            Default: all rows.
        optimizer : str or Optimizer, optional
            If given, the optimizer state starts from zero.  Default: the last optimizer, or Adam.
        shuffle : bool

        Returns
        -------
        float
            Mean loss over the rows, each computed before the update of its batch.
        """
        self.require_trainable()
        examples, class_numbers = self.check_examples(X, y, sample_weight)
        n = examples.rows
        batch_size = n if batch_size is None else check_batch_size(batch_size, n)
        if self.training_state is None or optimizer is not None:
            optimizer = optimizers.optimizer("adam" if optimizer is None else optimizer)
            self.choose_backend(n, 1, batch_size, states=len(optimizer.rule.row.state))
            self.training_state = TrainingState.begin(self, optimizer)
        self.class_numbers |= class_numbers
        state = self.training_state
        state.leave_epoch()
        state.reset_best()  # training continues from the current weights, not from those before early stopping
        history = training.train(
            Run(self, state, state.epoch + 1),
            self.on_device(examples),
            batch_size=batch_size,
            shuffle=shuffle,
            catch_interrupt=False,  # the caller has the training loop and handles Ctrl-C
        )
        return history.loss[-1]

    @property
    def history(self) -> History | None:
        """`History` of the last training."""
        return None if self.training_state is None else self.training_state.history

    # -- evaluation ---------------------------------------------------------------------------------

    @on_its_device
    def evaluate(self, X: Any, y: Any = None, sample_weight: Any = None) -> tuple[float, float]:
        """Mean loss and score on X and y.

        Parameters
        ----------
        X : array_like, shape (n, n_in), or RowStream
        y : array_like, shape (n,) or (n, n_out)
            As in `fit`.
        sample_weight : array_like, shape (n,), optional

        Returns
        -------
        loss : float
            Without penalties.
        score : float
            As returned by `score`.

        Raises
        ------
        ShapeError, DtypeError
        DataError
            If the rows are invalid, or the network's outputs for one of them overflow; see `feedforward`.
        """
        if isinstance(X, RowStream):
            training.require_stream_alone(y, sample_weight)
            return training.evaluate_stream(self, training.StreamedExamples(self, X), require_finite=True)
        return training.evaluate_rows(self, X, y, sample_weight)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy or R^2 of the predictions; arguments as in `evaluate`.

        Returns
        -------
        float
            For classes and labels the fraction of rows in which all labels are predicted correctly; for numbers the
            coefficient of determination R^2, mean over the outputs, and for quantiles D^2.  As ``accuracy_score``,
            ``r2_score`` and ``d2_pinball_score`` of scikit-learn.
        """
        return self.evaluate(X, y, sample_weight)[1]
