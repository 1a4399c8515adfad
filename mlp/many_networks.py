"""`fit_many`: train several networks of one architecture in one call, each exactly as `MLP.fit` does."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp import optimizers, training
from mlp._backends import Backend, ConfigurationError, DataError, DivergenceError, EpochResult, ShapeError, Trainer
from mlp.array_checks import as_array
from mlp.checks import require_count
from mlp.model import MLP
from mlp.optimizers import Optimizer
from mlp.training import EarlyStopping, Examples, History, Part, Parts, Run, TrainingState, stop_on_ctrl_c

logger = logging.getLogger("mlp")


def fit_many(
    nets: Sequence[MLP],
    X: Any,
    y: Any,
    *,
    rows: Sequence[Any] | None = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    validation_data: tuple[Any, ...] | list[tuple[Any, ...]] | None = None,
    early_stopping: EarlyStopping | bool = False,
    epochs: int = 10,
    batch_size: int | None = 32,
    optimizer: str | Optimizer | list[str | Optimizer] | None = None,
    progress: bool = False,
) -> list[History]:
    """Train several networks of one architecture, such as the folds of a cross-validation or a parameter search.

    Parameters
    ----------
    nets : sequence of MLP
        Networks with the same sizes, activations, loss, dtype, precision and backend.  Seeds, dropout and penalties may
        differ.
    X : array_like, shape (n, n_in)
    y : array_like, shape (n,) or (n, n_out)
        As in `MLP.fit`.
    rows : sequence of array_like, optional
        ``rows[i]`` selects the rows of X and y that network i is trained on: indices or a boolean mask.
        Default: all rows.
    sample_weight : array_like, shape (n,), optional
        Weights of the rows of X in the mean loss.
    label_smoothing : float
        As in `MLP.fit`.
    validation_data : tuple (X, y) or (X, y, sample_weight), or a list of them, optional
        One for all networks, or a list with one for each.
    early_stopping : EarlyStopping or bool
        As in `MLP.fit`, applied to each network separately.
    epochs : int
    batch_size : int
    optimizer : str or Optimizer, or a list of them, optional
        One for all networks, or a list with one for each.  Default: Adam.
    progress : bool
        Show a progress bar on stderr if that is a terminal.

    Returns
    -------
    list of History
        One for each network, also in `MLP.history`.

    Raises
    ------
    DivergenceError
        At the end, if a network has diverged: the first such error, with a note on the others.  The other networks
        are trained.  `History.error` is the error message of each network, empty if there is none.
    KeyboardInterrupt
        After Ctrl-C, with a note on how many networks are trained; they keep their weights.  Those in training end
        after their current batch.
    ConfigurationError, DataError, ShapeError, DtypeError
        Before any training.  Rows that no network is trained on are not checked.

    Notes
    -----
    Each result is bit for bit that of ``net.fit(X[rows[i]], y[rows[i]], ...)``.  The rows are not copied: the networks
    share X.

    With the Numba backend, networks are trained at the same time, on one thread each, if that is faster: if one network
    has too little work for several threads, or if its parameters need 1 MiB or less, so that they fit in the cache of a
    core.  Larger ones, and those with user-defined functions, are trained one after the other, on all threads.

    With the CuPy backend, they are trained at the same time if its `execution` is ``"persistent"`` and the persistent
    kernel runs them on clusters of blocks; else one after the other, as with the NumPy backend.  The logger ``mlp``
    says which, and why.

    Examples
    --------
    Two folds of a cross-validation:

    >>> import numpy as np, mlp
    >>> digits = mlp.data.load("digits")
    >>> fold = np.arange(len(digits.X)) % 2
    >>> nets = [mlp.MLP([64, 16, 10], input_scale=digits.input_scale, seed=seed) for seed in (0, 1)]
    >>> histories = mlp.fit_many(nets, digits.X, digits.y, rows=[fold != 0, fold != 1], epochs=20)
    >>> [net.score(digits.X[fold == i], digits.y[fold == i]) > 0.85 for i, net in enumerate(nets)]
    [True, True]
    """
    nets = _check_networks(nets)
    settings = _check_settings(
        nets, X, y, rows, sample_weight, label_smoothing, validation_data, early_stopping, epochs, batch_size, optimizer
    )
    call = _Call(nets, settings)
    with stop_on_ctrl_c(call.stop), _progress_bar(len(nets), shown=progress) as call.advance:
        call.train()
    call.raise_errors()
    return [net.history for net in nets if net.history is not None]


@dataclass(frozen=True)
class _Settings:
    """How to train one of the networks, checked."""

    optimizer: Optimizer
    examples: Examples
    rows: NDArray[np.int64] | None
    class_numbers: bool
    batch_size: int
    epochs: int
    validation: Examples | None
    early_stopping: EarlyStopping | None
    label_smoothing: float

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.examples.rows if self.rows is None else len(self.rows)


class _Call:
    """One call of `fit_many`: its trainings, which may run in several threads."""

    def __init__(self, nets: list[MLP], settings: list[_Settings]) -> None:
        self._nets, self._settings = nets, settings
        self._runs: dict[int, Run] = {}
        self._done: set[int] = set()
        self._errors: dict[int, DivergenceError] = {}
        self._stop_reason = ""
        self.advance: Callable[[], object] = lambda: None

    def stop(self, reason: str) -> None:
        """Stop all networks after their current batch, and begin no other."""
        self._stop_reason = reason
        for run in list(self._runs.values()):
            run.stop(reason)

    def train(self) -> None:
        """Train the networks, those on one backend together."""
        for net, settings in zip(self._nets, self._settings, strict=True):
            net.choose_backend(settings.n, settings.epochs, settings.batch_size)
        on_backends: dict[Any, list[int]] = {}
        for i, net in enumerate(self._nets):
            on_backends.setdefault(net.xp, []).append(i)
        on_device = _Shared(lambda xp, examples: self._nets[on_backends[xp][0]].on_device(examples))
        for xp, numbers in on_backends.items():
            with xp.current_device():
                for i in numbers:
                    one = self._settings[i]
                    validation = None if one.validation is None else on_device(xp, one.validation)
                    self._settings[i] = replace(one, examples=on_device(xp, one.examples), validation=validation)
                first = self._settings[numbers[0]]
                net = self._nets[numbers[0]]
                trainer = training.trainer_for(net, first.optimizer, first.examples, first.batch_size)
                at_once, reason = trainer.at_once()
                if reason:
                    logger.info("fit_many trains the networks one after the other: %s", reason)
                else:
                    logger.info("fit_many trains up to %d networks at the same time", at_once)
                if at_once > 1 and trainer.in_lockstep:
                    self._train_in_lockstep(trainer, numbers, at_once)
                else:
                    trainer.run_at_once(functools.partial(self._train_one, numbers), len(numbers), self._stop_early)

    def _train_one(self, numbers: list[int], position: int) -> None:
        training.complete(self._parts(numbers[position]))

    def _stop_early(self) -> None:
        self.stop(self._stop_reason or "the call of fit_many ended early")

    def _train_in_lockstep(self, trainer: Trainer, numbers: list[int], at_once: int) -> None:
        """Train `at_once` networks, an epoch of each at a time; when one is trained, the next begins."""
        waiting, active = deque(numbers), list[tuple[Parts, Part]]()
        with contextlib.ExitStack() as trainings:
            while waiting or active:
                while waiting and len(active) < at_once:
                    i = waiting.popleft()
                    parts = trainings.enter_context(contextlib.closing(self._parts(i)))
                    part = next(parts, None)
                    if part is None:
                        continue
                    if reason := part.trainer.why_alone(part.plans[0]):
                        logger.info("fit_many trains network %d alone: %s", i, reason)
                        training.complete(parts, part)
                    else:
                        active.append((parts, part))
                # the parts of such trainers have a single plan
                results = trainer.train_together([(part.trainer, part.plans[0], part.control) for _, part in active])
                following = [(parts, _send(parts, result)) for (parts, _), result in zip(active, results, strict=True)]
                active = [(parts, part) for parts, part in following if part is not None]

    def _parts(self, i: int) -> Parts:
        """The training of network i; its divergence is noted, and not raised."""
        net, settings = self._nets[i], self._settings[i]
        state = TrainingState.begin(net, settings.optimizer)
        run = self._runs[i] = Run(net, state, settings.epochs)
        if self._stop_reason:  # checked after `stop` knows this run, or it could miss it
            del self._runs[i]
            return state.history
        net.class_numbers |= settings.class_numbers
        net.training_state = state
        state.history.backend, state.history.backend_reason = net.backend, net.backend_reason
        state.history.planned_epochs, state.history.planned_reason = settings.epochs, "as asked"
        try:
            yield from training.in_parts(
                run,
                settings.examples,
                batch_size=settings.batch_size,
                rows=settings.rows,
                validation=settings.validation,
                early_stopping=settings.early_stopping,
                label_smoothing=settings.label_smoothing,
                catch_interrupt=False,  # it concerns all networks
            )
        except DivergenceError as error:
            self._errors[i] = error
            state.history.error = str(error)
        if not state.history.interrupted:
            self._done.add(i)
        self.advance()
        return state.history

    def raise_errors(self) -> None:
        """Raise the error that `fit_many` announces, if there is one."""
        nets, errors = self._nets, dict(sorted(self._errors.items()))
        if self._stop_reason:
            interrupt = KeyboardInterrupt("fit_many was interrupted by Ctrl-C")
            partly = sorted(set(self._runs) - self._done)
            text = f"{len(self._done)} of {len(nets)} networks are trained"
            if partly:
                which = "network" if len(partly) == 1 else "networks"
                text += f", and {which} {', '.join(map(str, partly))} up to the batch at that time"
            interrupt.add_note(f"{text}.")
            raise interrupt
        if errors:
            first, first_error = next(iter(errors.items()))
            first_error.add_note(
                f"This is network {first} of {len(nets)}, counted from 0. {len(errors)} of them diverged "
                f"({', '.join(map(str, errors))}); the others are trained. net.history.error has the message of each."
            )
            raise first_error


def _send(parts: Parts, result: EpochResult) -> Part | None:
    """The next part of a training after this result; None at its end."""
    try:
        return parts.send([result])
    except StopIteration:
        return None


class _Shared:
    """A function whose result is computed once for the same objects: networks share what they have in common."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._results: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        key = tuple(map(id, arguments))
        if key not in self._results:
            self._results[key] = self._function(*arguments), arguments  # which keeps the identities from being reused
        return self._results[key][0]


# -- checks -------------------------------------------------------------------------------------------------------


def _check_settings(
    nets: list[MLP], X: Any, y: Any, rows: Any, sample_weight: Any, label_smoothing: Any, validation_data: Any,
    early_stopping: Any, epochs: Any, batch_size: Any, optimizer: Any,
) -> list[_Settings]:  # fmt: skip
    """The checked arguments of `fit_many` for each network; those that are equal share their arrays."""
    count = len(nets)
    choices = _one_per_network("optimizer", optimizer, count)
    chosen = [optimizers.optimizer("adam" if choice is None else choice) for choice in choices]
    validation_sets = _one_per_network("validation_data", validation_data, count)
    epochs = require_count("epochs", epochs)
    for net, rule in zip(nets, chosen, strict=True):
        net.require_trainable()
        rule.rate_factors(net.plan.layout)  # raises an error if they do not fit
    smoothing = training.check_label_smoothing(label_smoothing, nets[0].kind)
    # devices and the scaling of targets may differ; everything else that the arrays depend on is equal
    alike = [
        next(other for other in nets if other.xp is net.xp and other.target_scaling == net.target_scaling)
        for net in nets
    ]

    @_Shared
    def check_validation(net: MLP, data: Any) -> training.AnyExamples:
        with net.xp.current_device():
            return training.validation_examples(net, data)

    validations = [
        None if data is None else check_validation(net, data) for net, data in zip(alike, validation_sets, strict=True)
    ]
    X, y = (as_array(name, value, nets[0].xp) for name, value in (("X", X), ("y", y)))
    if X.shape[:1] != y.shape[:1]:
        raise ShapeError(f"X {X.shape} and y {y.shape} must have the same number of rows.")
    weight = None if sample_weight is None else as_array("sample_weight", sample_weight, nets[0].xp)
    if weight is not None and weight.shape != X.shape[:1]:
        raise ShapeError(f"sample_weight {weight.shape} must have one weight for each of the {len(X)} rows of X.")
    selections = [None] * count if rows is None else _check_rows(rows, count, len(X))
    if rows is not None:
        used, selections = _used_rows(len(X), selections)
        X, y, weight = (array if array is None or used is None else array[used] for array in (X, y, weight))

    @_Shared
    def check_inputs(xp: Backend) -> Any:
        return next(net for net in nets if net.xp is xp).check_inputs(X)

    @_Shared
    def check_examples(net: MLP) -> tuple[Examples, bool]:
        with net.xp.current_device():
            return net.check_examples(check_inputs(net.xp), y, weight, require_two_classes=rows is None)

    settings = []
    for i, (net, selection) in enumerate(zip(alike, selections, strict=True)):
        examples, class_numbers = check_examples(net)
        if class_numbers and selection is not None:
            _require_two_classes(y, selection, i)
        n = examples.rows if selection is None else len(selection)
        settings.append(
            _Settings(
                optimizer=chosen[i],
                examples=examples,
                rows=selection,
                class_numbers=class_numbers,
                batch_size=training.batch_size_for(chosen[i], batch_size, n),
                epochs=epochs,
                validation=validations[i],
                early_stopping=training.check_early_stopping(early_stopping, has_validation=validations[i] is not None),
                label_smoothing=smoothing,
            )
        )
    return settings


def _used_rows(n: int, selections: list[Any]) -> tuple[NDArray[np.bool_] | None, list[Any]]:
    """The rows that some network uses, and the selections among these: others are not checked, and may be invalid.

    None stands for all rows.
    """
    used = np.zeros(n, bool)
    for selection in selections:
        used[selection] = True
    if used.all():
        return None, selections
    position = np.cumsum(used) - 1
    return used, [position[selection] for selection in selections]


def _require_two_classes(y: Any, selection: NDArray[np.int64], i: int) -> None:
    numbers = y[selection]
    lowest = float(numbers.min())
    if lowest == float(numbers.max()):
        raise DataError(
            f"y contains only the class {int(lowest)} in rows[{i}]: a classifier needs two classes or more."
        )


def _check_networks(nets: Iterable[MLP]) -> list[MLP]:
    nets = list(nets) if isinstance(nets, Iterable) else []
    if not nets or not all(isinstance(net, MLP) for net in nets):
        raise ConfigurationError("fit_many needs a sequence of one or more mlp.MLP networks.")
    if len({id(net) for net in nets}) < len(nets):
        raise ConfigurationError("fit_many was given the same network twice: pass a copy, net.copy(), instead.")
    for name in ("sizes", "scaling layer", "activations", "loss", "dtype", "precision", "backend"):
        first, *others = (_property(net, name) for net in nets)
        for i, other in enumerate(others, start=1):
            if other != first:
                raise ConfigurationError(
                    f"fit_many trains networks of one architecture on one backend, but the {name} of network {i} is "
                    f"{other}, and that of network 0 is {first}."
                )
    return nets


def _property(net: MLP, name: str) -> Any:
    if name == "activations":
        return [activation.name for activation in net.plan.activations]
    if name == "scaling layer":
        return net.plan.layout.scaling_layer
    if name == "loss":
        return " ".join([net.kind.loss.name, *map(str, net.kind.loss.levels)])
    return getattr(net, name)


def _one_per_network(name: str, value: Any, count: int) -> list[Any]:
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise ConfigurationError(f"{name} has {len(value)} entries, but there are {count} networks: give one for each.")
    return value


def _check_rows(rows: Sequence[Any], count: int, n: int) -> list[NDArray[Any]]:
    rows = list(rows)
    if len(rows) != count:
        raise ConfigurationError(f"rows has {len(rows)} entries, but there are {count} networks: give one for each.")
    checked = []
    for i, selection in enumerate(rows):
        indices = np.asarray(selection)
        if indices.dtype == bool:
            if indices.shape != (n,):
                raise ShapeError(f"rows[{i}] is a mask of shape {indices.shape}; for {n} rows of X it must be ({n},).")
            indices = np.flatnonzero(indices)
        if indices.size and (indices.dtype.kind not in "iu" or indices.ndim != 1):
            raise DataError(f"rows[{i}] must be 1-d integers or a boolean mask, not {indices.ndim}-d {indices.dtype}.")
        if indices.size and not 0 <= indices.min() <= indices.max() < n:
            wrong = indices.min() if indices.min() < 0 else indices.max()
            raise DataError(f"rows[{i}] contains row {wrong}, but X has {n} rows, numbered from 0.")
        if not indices.size:
            raise DataError(f"rows[{i}] is empty: network {i} needs at least one row.")
        checked.append(indices)
    return checked


@contextlib.contextmanager
def _progress_bar(count: int, *, shown: bool) -> Iterator[Callable[[], object]]:
    """Show how many networks are trained; gives the function to call after each."""
    if not shown or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("networks", total=count)
        yield lambda: bar.advance(task)
