"""Draws the pictures of docs/guide/notes.md: ``python docs/guide/draw_notes.py [FOLDER]``.

Each function draws one picture, of the same name.  The default folder is docs/_static/notes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import mlp
from mlp import classic

FOLDER = Path(__file__).resolve().parents[1] / "_static" / "notes"
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
COLOURS = 64  # of a PNG
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#6B6B6B"


def figure(n_panels: int, height: float = 2.3):
    """Panels one below the other, so that the text can be read on a phone."""
    drawn = Figure(figsize=(4.8, n_panels * height), layout="constrained")
    panels = drawn.subplots(n_panels, 1, squeeze=False)[:, 0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return drawn, panels


def perceptron() -> Figure:
    """The line of a perceptron for AND, and the four points of XOR."""
    drawn, panels = figure(2, 2.8)
    for axes, name, target in zip(panels, ("AND", "XOR"), ([0, 0, 0, 1], [0, 1, 1, 0]), strict=True):
        model = classic.Perceptron(2)
        learning = model.fit(CORNERS, target)
        for value, marker, colour in ((0, "o", BLUE), (1, "s", VERMILION)):
            axes.plot(*CORNERS[np.equal(target, value)].T, marker, color=colour, markersize=10, label=f"target {value}")
        if learning.converged:
            w1, w2 = model.weights
            x = np.array([-0.5, 1.5])
            axes.plot(
                x, -(model.bias + w1 * x) / w2, color="black", label=f"{w1:g} x1 + {w2:g} x2 − {-model.bias:g} = 0"
            )
            title = f"{name}: learnt in {len(learning.mistakes)} epochs"
        else:
            title = f"{name}: no line separates the classes"
        axes.set(xlabel="x1", ylabel="x2", xlim=(-0.4, 1.4), ylim=(-0.4, 1.4), xticks=[0, 1], yticks=[0, 1])
        axes.set_title(title, fontsize="medium")
        axes.set_aspect("equal")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")
    return drawn


def hidden_layer() -> Figure:
    """The outputs of the network with one hidden layer over the plane, after it has learnt XOR."""
    net = classic.one_hidden_layer(2, 3)
    snapshots = mlp.plots.Snapshots([0, 500])
    net.fit(CORNERS, [0, 1, 1, 0], epochs=500, optimizer=mlp.Adam(0.05), callbacks=[snapshots])
    return mlp.plots.boundary(snapshots.nets, CORNERS, [0, 1, 1, 0])


def two_two_one() -> Figure:
    """The 2-2-1 network."""
    return mlp.plots.network(classic.two_two_one())


def digits_network() -> Figure:
    """The network 784-16-16-10 with random weights."""
    np.random.seed(0)  # noqa: NPY002 - the generator of the book's program
    drawn = mlp.plots.network(classic.Network([784, 16, 16, 10]).to_mlp())
    drawn.set_dpi(64)  # so many thin lines make a large file
    return drawn


def one_dimension() -> Figure:
    """Three descents on a parabola."""
    drawn, panels = figure(3)
    for axes, (name, run) in zip(panels, classic.one_dimension().items(), strict=True):
        steps = run.x[: 9 if name == "too high" else None]
        reach = max(1.15, 1.05 * abs(steps).max())
        x = np.linspace(-reach, reach, 100)
        axes.plot(x, x * x, color=GREY, linewidth=1)
        axes.plot(steps, steps**2, "o-", color=BLUE, markersize=4, linewidth=1)
        axes.plot(steps[0], steps[0] ** 2, "s", color=VERMILION, markersize=7)
        axes.annotate("start", (steps[0], steps[0] ** 2), (8, 2), textcoords="offset points", fontsize="small")
        axes.set(xlabel="x", ylabel="cost x²")
        axes.set_title(f"α = {run.learning_rate:g}: {name}", fontsize="medium")
    return drawn


def descents() -> Figure:
    """Descents with four batch sizes on the cost surface of a neuron."""
    return mlp.plots.descent(classic.compare_descents())


def sine() -> Figure:
    """ReLU networks fitted to a sine."""
    return mlp.plots.sine(classic.sine_fits())


def noise() -> Figure:
    """How confident a digit classifier is: test images and noise."""
    answers = classic.confidence_on_noise()
    drawn, panels = figure(2)
    for axes, confidence, colour, name in zip(
        panels,
        (answers.test_confidence, answers.confidence),
        (BLUE, VERMILION),
        (f"{len(answers.test_probabilities)} test images", f"{len(answers.images):,} noise images"),
        strict=True,
    ):
        share = np.full(len(confidence), 100 / len(confidence))
        axes.hist(confidence, bins=np.linspace(0, 1, 21), weights=share, color=colour)
        sure = 100 * np.mean(confidence > 0.9)
        axes.set_title(f"{name}: {sure:.0f} % above 0.9", fontsize="medium")
        axes.set(xlabel="largest probability", ylabel="% of the images", xlim=(0, 1))
    return drawn


def normalisation() -> Figure:
    """Loss over the epochs for raw and scaled inputs."""
    result = classic.normalisation()
    drawn, panels = figure(2)
    for axes, run, colour, name in zip(
        panels, (result.raw, result.scaled), (VERMILION, BLUE), ("0 to 1 and 0 to 1000", "both 0 to 1"), strict=True
    ):
        axes.plot(np.arange(1, len(run.loss) + 1), run.loss, color=colour, linewidth=1.2)
        axes.set(xlabel="epoch", ylabel="mean loss", ylim=(0, None))
        axes.set_title(f"inputs {name}: accuracy {100 * run.score:.1f} %", fontsize="medium")
    return drawn


PICTURES = {
    "perceptron.svg": perceptron,
    "hidden-layer.png": hidden_layer,
    "two-two-one.svg": two_two_one,
    "digits-network.png": digits_network,
    "one-dimension.svg": one_dimension,
    "descents.png": descents,
    "sine.png": sine,
    "noise.svg": noise,
    "normalisation.svg": normalisation,
}


def save(drawn: Figure, path: Path) -> None:
    """Write a picture; the colours of a PNG are reduced, which makes it three to eight times as small."""
    if path.suffix == ".svg":
        drawn.savefig(path, metadata={"Date": None})
        return
    drawn.savefig(path, dpi=drawn.dpi)
    with Image.open(path) as image:
        reduced = image.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "mlp"}):  # so that the same picture is the same file
        for name, draw in PICTURES.items():
            save(draw(), folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
