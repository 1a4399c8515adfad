"""`Summary`: the layers of a network as a table, for terminals and notebooks."""

from __future__ import annotations

import html
from dataclasses import dataclass

from mlp.network import FeedForward

_COLUMNS = ("layer", "inputs", "outputs", "activation", "dropout", "weights", "biases")


@dataclass(frozen=True)
class Summary:
    """The layers of a network, and its totals; ``print(net.summary())`` prints it, and a notebook shows it as a table.

    Attributes
    ----------
    title : str
    layers : tuple of dict
        For each layer its number from 1, inputs, outputs, activation, dropout of its inputs, weights and biases.
    totals : tuple of str
        Lines about the whole network.

    Examples
    --------
    >>> import mlp
    >>> mlp.MLP([784, 16, 10], dropout=0.2, backend="numpy").summary()
    MLP 784-16-10
    layer  inputs  outputs  activation  dropout  weights  biases
        1     784       16        relu        0   12,544      16
        2      16       10     softmax      0.2      160      10
    12,730 parameters of float32, 50.9 kB
    loss cross_entropy, predicts classes
    not trained
    backend numpy on cpu (as asked)
    """

    title: str
    layers: tuple[dict[str, int | float | str], ...]
    totals: tuple[str, ...]

    def __repr__(self) -> str:
        rows = [_COLUMNS, *(tuple(_text(layer[name]) for name in _COLUMNS) for layer in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([self.title, *lines, *self.totals])

    def _repr_html_(self) -> str:
        header = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(_text(layer[name]))}</td>' for name in _COLUMNS)}</tr>"
            for layer in self.layers
        )
        scrolls = 'style="overflow-x: auto" role="group" tabindex="0" aria-label="Layers"'
        totals = "<br>".join(map(html.escape, self.totals))
        table = f"<table><caption>Layers</caption><tr>{header}</tr>{rows}</table>"
        return f"<p><b>{html.escape(self.title)}</b></p><div {scrolls}>{table}</div><p>{totals}</p>"


def summarize(net: FeedForward, trained: str) -> Summary:
    """Describe a network.

    Parameters
    ----------
    net : FeedForward
    trained : str
        What is known about its training.
    """
    layout, plan = net.plan.layout, net.plan
    layers: list[dict[str, int | float | str]] = [
        {
            "layer": number, "inputs": W.shape[0], "outputs": W.shape[1], "activation": activation.name,
            "dropout": rate, "weights": W.size, "biases": b.size,
        }
        for number, ((W, b), activation, rate) in enumerate(
            zip(layout.layers(net.parameters), plan.activations, plan.dropout, strict=True), start=1
        )
    ]  # fmt: skip
    penalties = "".join(f", {name} {value:g}" for name, value in (("l2", net.l2), ("l1", net.l1)) if value)
    levels = "".join(f" {level:g}" for level in net.kind.loss.levels)
    names = "" if net.classes is None else f": {', '.join(map(str, net.classes[:10]))}"
    more = ", ..." if net.classes is not None and len(net.classes) > 10 else ""
    scaling = f", {layout.sizes[0]:,} of them in a scaling layer of the inputs" if layout.scaling_layer else ""
    size = layout.n_parameters * net.dtype.itemsize
    return Summary(
        f"{type(net).__name__} {'-'.join(map(str, net.sizes))}",
        tuple(layers),
        (
            f"{layout.n_parameters:,} parameters of {net.dtype}, {_bytes(size)}{scaling}",
            f"loss {net.kind.loss.name}{levels}{penalties}, predicts {net.task}{names}{more}",
            trained,
            f"backend {net.backend} on {net.xp.device} ({net.backend_reason})",
        ),
    )


def _text(value: int | float | str) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else value


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
