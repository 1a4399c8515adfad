"""`fit_many`: train several networks of one architecture in one call, each exactly as `MLP.fit` does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp import optimizers
from mlp._backends import ConfigurationError, DataError, DivergenceError, ShapeError
from mlp.checks import as_array
from mlp.model import MLP
from mlp.optimizers import Optimizer
from mlp.training import EarlyStopping, Examples, History, split_validation


def fit_many(
    nets: Sequence[MLP],
    X: Any,
    y: Any,
    *,
    rows: Sequence[Any] | None = None,
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
        After Ctrl-C, with a note on how many networks are trained; they keep their weights.
    ConfigurationError, DataError, ShapeError, DtypeError
        Before any training, except for errors in the rows of a single network.

    Notes
    -----
    Each result is bit for bit that of ``net.fit(X[rows[i]], y[rows[i]], ...)``.

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
    choices = _one_per_network("optimizer", optimizer, len(nets))
    chosen = [optimizers.optimizer("adam" if choice is None else choice) for choice in choices]
    validation_sets = _one_per_network("validation_data", validation_data, len(nets))
    for validation_set in {id(one): one for one in validation_sets if one is not None}.values():
        split_validation(nets[0], Examples(None, None, None), validation_set, None)  # checks it
    X, y = (as_array(name, value, nets[0].xp) for name, value in (("X", X), ("y", y)))
    if X.shape[:1] != y.shape[:1]:
        raise ShapeError(f"X {X.shape} and y {y.shape} must have the same number of rows.")
    selections = [slice(None)] * len(nets) if rows is None else _check_rows(rows, len(nets), len(X))
    errors: dict[int, DivergenceError] = {}
    for i in _with_progress_bar(len(nets), shown=progress):
        net, selection = nets[i], selections[i]
        try:
            net.fit(
                X[selection],
                y[selection],
                epochs=epochs,
                batch_size=batch_size,
                optimizer=chosen[i],
                validation_data=validation_sets[i],
                early_stopping=early_stopping,
            )
        except DivergenceError as error:
            errors[i] = error
            assert net.history is not None
            net.history.error = str(error)
        if net.history is not None and net.history.interrupted:
            interrupt = KeyboardInterrupt("fit_many was interrupted by Ctrl-C")
            interrupt.add_note(
                f"{i} of {len(nets)} networks are trained, and network {i} up to the batch at that time."
            )
            raise interrupt
    if errors:
        first, first_error = next(iter(errors.items()))
        first_error.add_note(
            f"This is network {first} of {len(nets)}, counted from 0. {len(errors)} of them diverged "
            f"({', '.join(map(str, errors))}); the others are trained. net.history.error has the message of each."
        )
        raise first_error
    return [net.history for net in nets if net.history is not None]


def _check_networks(nets: Iterable[MLP]) -> list[MLP]:
    nets = list(nets) if isinstance(nets, Iterable) else []
    if not nets or not all(isinstance(net, MLP) for net in nets):
        raise ConfigurationError("fit_many needs a sequence of one or more mlp.MLP networks.")
    if len({id(net) for net in nets}) < len(nets):
        raise ConfigurationError("fit_many was given the same network twice: pass a copy, net.copy(), instead.")
    for name in ("sizes", "activations", "loss", "dtype", "precision", "backend"):
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
    if name == "loss":
        return net.kind.loss.name
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


def _with_progress_bar(count: int, *, shown: bool) -> Iterable[int]:
    if not shown or not sys.stderr.isatty():
        return range(count)
    from rich.console import Console
    from rich.progress import track

    return track(range(count), "networks", console=Console(stderr=True))
