"""`tune`: search for the settings of a network with Optuna, and record every trial."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from mlp._backends import DivergenceError, random
from mlp.checks import require_count, require_fraction, require_positive
from mlp.data import Dataset
from mlp.io.run_folders import fingerprint
from mlp.training import Callback, Run, default_epochs
from mlp.tuning import space
from mlp.tuning.results import PRUNED, Tuning, as_trial
from mlp.tuning.study import n_done, opened, progress_bar, quiet, require_optuna
from mlp.tuning.training import train

REPORTS = 50
"""Epochs of a trial after which it may be pruned; each is written to the file, which takes milliseconds."""

PATIENCE, MIN_PATIENCE = 0.2, 5
"""A trial ends if the validation loss has not fallen for this share of the epochs, but at least for so many."""


def tune(
    dataset: Dataset,
    *,
    trials: int = 50,
    timeout: float | None = None,
    storage: str | os.PathLike[str] | None = None,
    seed: int = 0,
    epochs: int | None = None,
    validation_fraction: float = 0.2,
    class_weight: str | None = None,
    backend: str = "auto",
    device: str = "auto",
    progress: bool = False,
) -> Tuning:
    """Search for good settings: train networks, and compare them on a part of the training rows.

    The optimizer, learning rate, weight decay, number and widths of the hidden layers, activation, dropout, batch size
    and schedule vary.  The first trial has the defaults of ``mlp train``, ten are drawn at random, and the others by a
    tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms for hyper-parameter optimization", section 4).
    A trial that is worse than the median of the earlier ones at the same epoch is pruned.  The test part of `dataset`
    is not used.

    Parameters
    ----------
    dataset : Dataset
        From `mlp.data.load`.
    trials : int
        Number of trials, with those in `storage` that are finished or pruned.
    timeout : float, optional
        Seconds after which no further trial is begun.
    storage : path-like, optional
        A SQLite file for the trials, new or of an earlier call with the same data and arguments, which is continued.
        Default: the trials are only in memory.
    seed : int
        Seed of the search, of the validation part, and of each network.  With one process, the same seed gives the same
        trials, whether or not the search was interrupted.
    epochs : int, optional
        Epochs of each trial at most.  Default: 10, or as many as are needed for 3,000 updates of 32 rows.
    validation_fraction : float
        Fraction of the training rows on which the networks are compared.
    class_weight : "balanced", optional
    backend, device : str
        As in `MLP`.
    progress : bool
        Show a progress bar on stderr if that is a terminal.

    Returns
    -------
    Tuning

    Raises
    ------
    ConfigurationError
        If an argument is invalid, Optuna is not installed, or `storage` is of other data or arguments.
    FileFormatError
        If `storage` is another kind of file.
    StorageError
        If `storage` cannot be written.

    Examples
    --------
    >>> import mlp
    >>> result = mlp.tune(mlp.data.load("moons"), trials=3, epochs=5)
    >>> len(result.trials), result.best.state
    (3, 'finished')
    >>> net = result.train_best()
    """
    optuna = require_optuna()
    require_count("trials", trials)
    random.check_seed(seed)
    if timeout is not None:
        require_positive("timeout", timeout)
    require_fraction("validation_fraction", validation_fraction)
    require_positive("validation_fraction", validation_fraction)
    rows = len(dataset.X) - round(len(dataset.X) * validation_fraction)
    length = default_epochs(rows, 32) if epochs is None else require_count("epochs", epochs)
    fixed = {
        "epochs": length,
        "validation": validation_fraction,
        "early_stopping": min(max(round(PATIENCE * length), MIN_PATIENCE), length),
        "seed": seed,
    } | ({"class_weight": class_weight} if class_weight else {})
    conditions = {"search_space": space.VERSION, "data_sha256": fingerprint(dataset), **fixed}
    deadline = time.monotonic() + (np.inf if timeout is None else timeout)
    interrupted = False
    with quiet(optuna), opened(optuna, storage, conditions, length) as study:
        with progress_bar(study, trials, shown=progress) as advance:
            try:
                while (done := n_done(study)) < trials and time.monotonic() < deadline and not interrupted:
                    interrupted = not _run_trial(optuna, study, done, dataset, fixed, rows, backend, device)
                    advance()
            except KeyboardInterrupt:  # between two trials
                interrupted = True
        return Tuning(list(map(as_trial, study.trials)), interrupted, fixed, dataset, backend, device)


class _Pruning(Callback):
    """Tells Optuna the best validation loss so far, and stops the training if the trial is to be pruned."""

    def __init__(self, trial: Any, epochs: int) -> None:
        self.trial, self.interval = trial, -(-epochs // REPORTS)
        self.pruned = False

    def on_epoch_end(self, run: Run) -> None:
        epoch = len(run.history)
        losses = [loss for loss in run.history.val_loss if np.isfinite(loss)]
        if epoch % self.interval or epoch == run.epochs or not losses or not run.whole_epoch:
            return
        self.trial.report(min(losses), epoch)
        if self.trial.should_prune():
            self.pruned = True
            run.stop(PRUNED)


def _run_trial(
    optuna: Any, study: Any, done: int, dataset: Dataset, fixed: dict[str, Any], rows: int, backend: str, device: str
) -> bool:
    """Train one network; return False if Ctrl-C was pressed.  `done` trials were finished before."""
    states = optuna.trial.TrialState
    if not done and not study.get_trials(deepcopy=False, states=[states.WAITING]):
        study.enqueue_trial(space.usual(dataset.n_inputs, rows, table=dataset.preprocessing is not None))
    # a seed for each trial, so that a search that was interrupted goes on as if it had not been
    number = int(np.random.SeedSequence([fixed["seed"], done]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=number, multivariate=False, constant_liar=False)
    trial = study.ask()
    pruning = _Pruning(trial, fixed["epochs"])
    try:
        settings = space.suggest(trial, rows)
        trial.set_user_attr("settings", settings)
        started = time.perf_counter()
        try:
            net = train(dataset, settings | fixed, backend, device, pruning)
        except DivergenceError as error:
            trial.set_user_attr("reason", str(error))
            study.tell(trial, state=states.PRUNED)
            return True
        history = net.history
        assert history is not None
        if history.interrupted:
            study.tell(trial, state=states.FAIL)
            return False
        best = history.best_epoch
        trial.set_user_attr("epochs", len(history))
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
        if pruning.pruned or best is None:
            study.tell(trial, state=states.PRUNED)
            return True
        trial.set_user_attr("best_epoch", best)
        trial.set_user_attr("val_score", history.val_score[best - 1])
        study.tell(trial, history.val_loss[best - 1])
    except KeyboardInterrupt:  # between the training and the record of it
        study.tell(trial, state=states.FAIL, skip_if_finished=True)
        return False
    except BaseException:
        study.tell(trial, state=states.FAIL, skip_if_finished=True)
        raise
    return True
