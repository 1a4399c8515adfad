"""A network for a data set: its widths, output, loss and the scaling of its targets follow from the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlp.configuration import OUTPUT_FOR
from mlp.data import Dataset, StreamedDataset
from mlp.initializers import TABLE_INIT
from mlp.model import MLP


def default_width(n_inputs: int, *, table: bool) -> int:
    """The width of the hidden layer: that of the input, but at least 32, for tables 100, and at most 128."""
    return min(max(n_inputs, 100 if table else 32), 128)


def network_for(
    dataset: Dataset | StreamedDataset,
    hidden: Sequence[int] | None = None,
    *,
    loss: str | None = None,
    output_activation: str = "auto",
    init: str | Sequence[str] = "auto",
    **settings: Any,
) -> MLP:
    """A network for `dataset`, with its classes and preprocessing, that is not trained.

    Parameters
    ----------
    dataset : Dataset or StreamedDataset
    hidden : sequence of int, optional
        Widths of the hidden layers.  Default: one layer, see `default_width`.
    loss : str, optional
        Default: cross-entropy for classes, mean squared error for numbers.
    output_activation : str
    init : str or sequence of str
        ``"auto"`` is `TABLE_INIT` for tables, and elsewhere as in `MLP`.
    **settings
        Further arguments of `MLP`.

    Returns
    -------
    MLP
        Targets that are numbers are standardised for the training if the output is unbounded (identity).

    Raises
    ------
    ConfigurationError
        If an argument is invalid.

    Examples
    --------
    >>> from mlp import data
    >>> network_for(data.load("moons")).sizes
    (2, 32, 2)
    """
    classes = dataset.classes
    if loss is None:
        loss = "mse" if classes is None else "cross_entropy"
    table = dataset.preprocessing is not None
    if hidden is None:
        hidden = [default_width(dataset.n_inputs, table=table)]
    one_output = loss == "binary_cross_entropy" and classes is not None and len(classes) == 2
    return MLP(
        [dataset.n_inputs, *hidden, 1 if one_output else dataset.n_outputs],
        loss=loss,
        output_activation=output_activation,
        init=TABLE_INIT if table and init == "auto" else init,
        input_scale=dataset.input_scale,
        classes=classes,
        preprocessing=dataset.preprocessing,
        target_scaling=_target_scaling(dataset, loss, output_activation),
        **settings,
    )


def _target_scaling(
    dataset: Dataset | StreamedDataset, loss: str, output: str
) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of regression targets, if the output activation is unbounded (identity)."""
    if dataset.classes is not None or (OUTPUT_FOR.get(loss, "identity") if output == "auto" else output) != "identity":
        return None
    if isinstance(dataset, StreamedDataset):
        assert dataset.target_statistics is not None
        mean, deviation = dataset.target_statistics.mean, dataset.target_statistics.std
    else:
        y = dataset.y.reshape(len(dataset.y), -1)
        mean, deviation = y.mean(axis=0), y.std(axis=0)
    return mean.tolist(), [float(std) if std > 0 else 1.0 for std in deviation]
