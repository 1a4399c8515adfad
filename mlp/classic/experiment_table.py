"""A table of experiments: the same network, trained with every combination of some settings."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mlp import data
from mlp._backends import ConfigurationError
from mlp.checks import counted, require_count
from mlp.classic.text_table import text_table
from mlp.model import MLP
from mlp.optimizers import SGD


@dataclass(frozen=True)
class Experiment:
    """One line of the table.

    Attributes
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    learning_rate : float
    batch_size, epochs : int
    accuracy : float
        Share of the test rows that are classified correctly after these epochs.
    seconds : float
        Time of these epochs, without compilation.
    """

    hidden: tuple[int, ...]
    learning_rate: float
    batch_size: int
    epochs: int
    accuracy: float
    seconds: float


@dataclass(frozen=True, repr=False)
class ExperimentTable:
    """All experiments, in the order of the settings.

    Attributes
    ----------
    experiments : tuple of Experiment
    """

    experiments: tuple[Experiment, ...]

    @property
    def best(self) -> Experiment:
        """The experiment with the highest accuracy; of several, the one with the fewest epochs."""
        return max(self.experiments, key=lambda each: (each.accuracy, -each.epochs))

    def __repr__(self) -> str:
        accuracy = self.best.accuracy
        return f"<ExperimentTable: {counted(len(self.experiments), 'experiment')}, best accuracy {accuracy:.1%}>"

    def __str__(self) -> str:
        header = ("hidden", "learning rate", "batch size", "epochs", "test accuracy", "seconds")
        rows = [
            (
                "-".join(map(str, each.hidden)) or "none",
                f"{each.learning_rate:g}",
                f"{each.batch_size:,}",
                str(each.epochs),
                f"{100 * each.accuracy:.1f} %",
                f"{each.seconds:.2f}",
            )
            for each in self.experiments
        ]
        return text_table(header, rows)


def experiment_table(
    dataset: data.Dataset | None = None,
    *,
    hidden: Sequence[Sequence[int]] = ((16, 16), (30,)),
    learning_rates: Sequence[float] = (1.0, 3.0),
    batch_sizes: Sequence[int] = (16, 32),
    epochs: Sequence[int] = (5, 20),
    seed: int = 0,
    backend: str = "auto",
) -> ExperimentTable:
    """Train a network of sigmoid neurons with the quadratic cost and SGD for every combination of the settings.

    Every network of the same size begins with the same weights. One training gives the results for all numbers of
    epochs, because the learning rate is constant.

    Parameters
    ----------
    dataset : mlp.data.Dataset, optional
        A classification with a test part; by default ``mlp.data.load("digits")``.
    hidden : sequence of sequences of int
        Widths of the hidden layers; an empty one is a network without hidden layers.
    learning_rates : sequence of float
    batch_sizes : sequence of int
    epochs : sequence of int
    seed : int
        For the weights and the order of the rows.
    backend : str

    Returns
    -------
    ExperimentTable

    Raises
    ------
    ConfigurationError
        If a sequence is empty, or the dataset has no classes or no test part.

    Examples
    --------
    >>> table = experiment_table(hidden=[(30,)], learning_rates=[0.1, 3.0], batch_sizes=[16], epochs=[5])
    >>> [(each.learning_rate, each.accuracy > 0.9) for each in table.experiments]
    [(0.1, False), (3.0, True)]
    """
    dataset = data.load("digits") if dataset is None else dataset
    if dataset.classes is None or dataset.X_test is None:
        raise ConfigurationError(
            "the experiments need a classification with a test part, such as mlp.data.load('digits')."
        )
    for name, values in (
        ("hidden", hidden), ("learning_rates", learning_rates), ("batch_sizes", batch_sizes), ("epochs", epochs),
    ):  # fmt: skip
        if not len(values):
            raise ConfigurationError(f"{name} must have at least one entry.")
    counts = [require_count("every number of epochs", count) for count in epochs]
    experiments: list[Experiment] = []
    for widths, rate, size in itertools.product(hidden, learning_rates, batch_sizes):
        sizes = [dataset.n_inputs, *widths, len(dataset.classes)]

        def trained(n_epochs: int, sizes: list[int] = sizes, rate: float = rate, size: int = size) -> MLP:
            net = MLP(
                sizes, "sigmoid", output_activation="sigmoid", loss="quadratic", seed=seed,
                dtype="float64", input_scale=dataset.input_scale, classes=dataset.classes, backend=backend,
            )  # fmt: skip
            test = (dataset.X_test, dataset.y_test)
            net.fit(dataset.X, dataset.y, epochs=n_epochs, batch_size=size, optimizer=SGD(rate), validation_data=test)
            return net

        with _without_advice():
            trained(1)  # what is compiled or read from the cache now does not count as time of the experiment
            history = trained(max(counts)).history
        assert history is not None
        experiments += [
            Experiment(tuple(widths), rate, size, n, history.val_score[n - 1], sum(history.seconds[:n])) for n in counts
        ]
    return ExperimentTable(tuple(experiments))


@contextmanager
def _without_advice() -> Iterator[None]:
    """Leave out the advice to train longer: the number of epochs is what is tried."""

    def is_other(record: logging.LogRecord) -> bool:
        return record.module != "advice"

    logger = logging.getLogger("mlp")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
