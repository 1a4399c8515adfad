"""`Checkpoint`: a file with the state of a training, from which it can be resumed exactly after any batch."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError
from mlp.checks import difference, quoted
from mlp.io import machine_info
from mlp.io.atomic_write import make_folder
from mlp.io.model_files import Snapshot, opened, read_training_state
from mlp.network import FeedForward
from mlp.training import AnyExamples, Interval, Run, StreamedExamples, TrainingState

FILE = "training.safetensors"
"""Name of the file in the folder of a checkpoint or a run."""

_MACHINE = ("backend", "device", "cpu", "cpu_features", "versions", "blas_threads")


class Checkpoint:
    """Writes the state of a training to a file, from which the training can be resumed exactly.

    It is passed to `MLP.fit`, which writes the file at the end of the training, and with `every` also during it.  After
    SIGTERM, by which batch systems end a job, `MLP.fit` writes the file and raises SystemExit.

    A training that was ended at any batch and is resumed has the same results, bit for bit, as one that was not.  This
    holds with the same data and arguments, on the same type of processor, and with the same versions of the libraries.
    The file records all of them, and `MLP.fit` refuses to resume if one differs.

    Parameters
    ----------
    folder : path-like
        The folder of the file ``training.safetensors``; it is created when training starts.
    every : str, optional
        Time between two checkpoints, such as ``"30s"``, ``"5min"`` or ``"500steps"``.  The training goes on while the
        file is written, and the time counts from then.  Default: only at the end of the training.
    allow_different_machine : bool
        Allow to resume a training on another type of processor, on another backend or with other versions of the
        libraries.  The results may then differ in the last digits.

    Attributes
    ----------
    file : Path

    Raises
    ------
    ConfigurationError
        If `folder` is not a path, or `every` is not an interval.

    Examples
    --------
    This program can be ended at any time.  When it is started again, it continues:

    >>> import mlp, pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> moons = mlp.data.load("moons")
    >>> checkpoint = mlp.Checkpoint(pathlib.Path(folder.name) / "moons", every="30s")
    >>> net = mlp.MLP([2, 16, 2])
    >>> resume = checkpoint.restore(net)
    >>> history = net.fit(moons.X, moons.y, epochs=5, checkpoint=checkpoint, resume=resume)
    >>> resume, mlp.load(checkpoint.file).history.loss == history.loss
    (False, True)
    >>> folder.cleanup()
    """

    def __init__(
        self, folder: str | os.PathLike[str], every: str | None = None, *, allow_different_machine: bool = False
    ) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise ConfigurationError(f"the folder of a checkpoint must be a path, not {quoted(folder)}.")
        self.file = Path(folder) / FILE
        self.every = None if every is None else Interval.parse(every)
        self.allow_different_machine = allow_different_machine

    def restore(self, net: Any) -> bool:
        """Load the weights and the training state of the file into `net`, if the file exists.

        Parameters
        ----------
        net : MLP
            A network with the same configuration as the one in the file.

        Returns
        -------
        bool
            Whether the file exists.

        Raises
        ------
        FileFormatError
            If the file is damaged.
        ConfigurationError
            If it is of a network with another configuration.
        """
        if not os.path.exists(self.file):
            return False
        net.training_state = read_training_state(net, self.file)
        return True

    # -- called by `mlp.training.train` ---------------------------------------------------------------------

    def conditions(self, net: FeedForward, examples: AnyExamples, validation: AnyExamples | None) -> dict[str, Any]:
        """What a training that is resumed from the file must have in common with this one."""
        return {
            "data": digest(examples, net),
            "validation": None if validation is None else digest(validation, net),
            **machine(net),
        }

    def require_same(self, recorded: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        """Raise an error that names the first condition of the training to resume that differs and may not."""
        require_same_conditions(recorded, present, allow_different_machine=self.allow_different_machine)

    def begin(self, net: FeedForward, state: TrainingState) -> None:
        """Create the folder.

        Raises
        ------
        ConfigurationError
            If there is a file already, and the training does not continue it; or if the state cannot be written.
        FileFormatError
            If the file is damaged.
        """
        if os.path.exists(self.file) and not self._is_continued_by(state):
            raise ConfigurationError(
                f"{str(self.file)!r} exists already, and a training that does not continue it would overwrite it. To "
                "continue its training, call fit with resume=checkpoint.restore(net); otherwise choose another folder, "
                "or delete the file."
            )
        Snapshot.of(net, state).to_chunks()
        make_folder(self.file.parent)

    def _is_continued_by(self, state: TrainingState) -> bool:
        """Whether the updates of the file are the first ones of `state`, by the losses of their epochs."""
        with opened(self.file) as file:
            saved = file.description.get("training")
        if saved is None or saved["step"] > state.step:
            return False
        done = saved["epoch"]
        return bool(saved["history"]["loss"][:done] == state.history.loss[:done])

    def capture(self, net: FeedForward, state: TrainingState, parameters: NDArray[Any]) -> Callable[[], None]:
        """Return a function that writes the file; `state` and `parameters` will not change."""
        snapshot = Snapshot.made_of(net, state, parameters)
        return lambda: snapshot.save(self.file)

    def finish(self, run: Run) -> None:
        """End the process if SIGTERM asked for it."""
        if run.history.terminated:
            raise SystemExit(128 + signal.SIGTERM)


def machine(net: FeedForward) -> dict[str, Any]:
    """What the last digits of results depend on, besides the backend."""
    libraries = {"numba": ("numba", "llvmlite"), "cupy": ("cupy", "cupy-cuda12x", "cupy-cuda13x")}
    names = ("mlp", "numpy", *libraries.get(net.backend, ()))
    description, versions = machine_info.describe(), machine_info.versions()
    blas = machine_info.threads()["blas"] if net.backend == "numpy" else []
    return {
        "device": net.xp.device,
        "cpu": description["cpu"],
        "cpu_features": description["cpu_features"],
        "versions": {name: versions[name] for name in names if name in versions},
        "blas_threads": max((library["threads"] for library in blas), default=0),  # the results of NumPy depend on them
    }


def digest(examples: AnyExamples, net: FeedForward) -> str:
    """SHA-256 of the values, shapes and dtypes of examples; the fingerprint of a stream."""
    if isinstance(examples, StreamedExamples):
        return examples.fingerprint
    result = hashlib.sha256()
    for array in net.on_device(examples):
        if array is None:
            result.update(b"none")
            continue
        host = np.ascontiguousarray(net.xp.to_numpy(array))
        result.update(f"{host.dtype.str} {host.shape} ".encode())
        result.update(host.data)
    return result.hexdigest()


def require_same_conditions(
    recorded: Mapping[str, Any], present: Mapping[str, Any], *, allow_different_machine: bool
) -> None:
    """Raise an error that names the first condition that differs.

    Raises
    ------
    DataError
        If the data differ.
    ConfigurationError
        If anything else differs.
    """
    for key, before in recorded.items():
        now = present.get(key, before)
        if now == before:
            continue
        if key in ("data", "validation"):
            part = "training" if key == "data" else "validation"
            raise DataError(
                f"the {part} data differ from those of the training to resume, so it cannot be continued exactly: give "
                "the same data, or start a new training."
            )
        if key in _MACHINE:
            if allow_different_machine:
                continue
            raise ConfigurationError(
                f"the training to resume ran with {key.replace('_', ' ')} {difference(before, now)}. Here the results "
                "could differ in the last digits; allow_different_machine=True (--allow-different-machine) permits it."
            )
        raise ConfigurationError(
            f"the training to resume had {key}={quoted(before)}, and this one has {key}={quoted(now)}: give the same, "
            "or start a new training."
        )
