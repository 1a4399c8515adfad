"""Draws the pictures of docs/guide/notes.md: ``python docs/guide/draw_notes.py [FOLDER]``.

Each function draws one picture, of the same name.  The default folder is docs/_static/notes.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

import mlp
from mlp import classic
from mlp.inspection.plots import style

FOLDER = Path(__file__).resolve().parents[1] / "_static" / "notes"
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
COLOURS = 64  # of a PNG
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#6B6B6B"
BOX = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "black"}


def figure(n_panels: int, height: float = 2.3):
    """Panels one below the other, so that the text can be read on a phone."""
    drawn = Figure(figsize=(style.WIDTH, n_panels * height), layout="constrained")
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
            axes.plot(x, -(model.bias + w1 * x) / w2, color="black", label=f"{w1:g} x1 + {w2:g} x2\n= {-model.bias:g}")
            title = f"{name}: learnt in {len(learning.mistakes)} epochs"
        else:
            title = f"{name}: no line separates the classes"
        axes.set(xlabel="x1", ylabel="x2", xlim=(-0.4, 1.4), ylim=(-0.4, 1.4), xticks=[0, 1], yticks=[0, 1])
        axes.set_title(title, fontsize="medium")
        axes.set_aspect("equal")
        axes.legend(loc="center left", bbox_to_anchor=(1.05, 0.5), frameon=False)
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
        side = {"xytext": (-8, -12), "ha": "right"} if name == "too high" else {"xytext": (8, 2)}
        axes.annotate("start", (steps[0], steps[0] ** 2), textcoords="offset points", **side)
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


def experiments() -> Figure:
    """Test accuracy by epochs for each line of the table."""
    table = classic.experiment_table(epochs=range(1, 21)).experiments
    drawn, panels = figure(2, 2.9)
    for axes, hidden in zip(panels, dict.fromkeys(each.hidden for each in table), strict=True):
        settings = dict.fromkeys((each.learning_rate, each.batch_size) for each in table)
        for (rate, size), colour, line in zip(settings, style.COLOURS, style.LINES, strict=False):
            shown = [
                each for each in table if (each.hidden, each.learning_rate, each.batch_size) == (hidden, rate, size)
            ]
            accuracy = [100 * each.accuracy for each in shown]
            axes.plot(range(1, 21), accuracy, line, color=colour, label=f"rate {rate:g}, batches of {size}")
        name = "-".join(map(str, hidden))
        axes.set(xlabel="epoch", ylabel="test accuracy, %", ylim=(0, 101), xticks=(1, 5, 10, 15, 20))
        axes.set_title(f"64-{name}-10", fontsize="medium")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=1, frameon=False)
    return drawn


def neuron() -> Figure:
    """A neuron with three inputs, its sum and its output."""
    model, x = classic.Neuron([0.5, 1.5, 0.7], threshold=2), [0, 1, 1]
    drawn, [axes] = figure(1, 2.1)
    axes.set(xlim=(-0.3, 4.2), ylim=(-1.5, 1.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for value, weight, height in zip(x, model.weights, (1.1, 0.0, -1.1), strict=True):
        axes.annotate("", (1.45, 0.28 * height), (0.2, height), arrowprops={"arrowstyle": "->", "linewidth": 1.5})
        axes.text(0, height, f"{value:g}", ha="center", va="center", bbox=BOX)
        place = {"ha": "center", "va": "center", "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}}
        axes.text(0.85, 0.62 * height, f"· {weight:g}", **place)
    axes.text(1.95, 0, f"sum\n{model.weighted_sum(x):g}", ha="center", va="center", bbox=BOX)
    axes.annotate("", (3.65, 0), (2.45, 0), arrowprops={"arrowstyle": "->", "linewidth": 1.5})
    axes.text(3.05, 0.2, f"≥ {model.threshold:g}", ha="center")
    axes.text(3.9, 0, f"{model(x)}", ha="center", va="center", bbox=BOX)
    return drawn


def mp_neuron() -> Figure:
    """AND and OR: which of the four inputs make the neuron fire."""
    drawn, panels = figure(2, 2.4)
    for axes, name, model in zip(panels, ("AND", "OR"), (classic.MPNeuron.AND(2), classic.MPNeuron.OR()), strict=True):
        for point in CORNERS:
            fires = model(point)
            colour = VERMILION if fires else "white"
            axes.plot(*point, "s" if fires else "o", color=colour, markeredgecolor="black", markersize=12)
            side = {"xytext": (11, 0), "ha": "left"} if point[0] else {"xytext": (-11, 0), "ha": "right"}
            axes.annotate(f"output {fires}", point, textcoords="offset points", va="center", **side)
        middle = model.threshold / 2 - 0.25
        axes.plot([middle - 0.6, middle + 0.6], [middle + 0.6, middle - 0.6], "--", color=GREY)
        axes.set(xlabel="x1", ylabel="x2", xlim=(-1.1, 2.1), ylim=(-0.4, 1.5), xticks=[0, 1], yticks=[0, 1])
        axes.set_title(f"{name}: at least {model.threshold:g} of the inputs must be 1", fontsize="medium")
        axes.set_aspect("equal")
    return drawn


def layer() -> Figure:
    """The shapes in the product of a batch with the weights, and in the one that is not defined."""
    drawn, panels = figure(2, 1.9)
    products = (
        ("defined: 4 columns meet 4 rows", [("batch", 3, 4), ("weightsᵀ", 4, 3), ("result", 3, 3)], "·="),
        ("not defined: 4 columns meet 3 rows", [("batch", 3, 4), ("weights", 3, 4)], "·"),
    )
    for axes, (title, matrices, signs) in zip(panels, products, strict=True):
        left = 0.0
        for number, (name, rows, columns) in enumerate(matrices):
            for i in range(rows):
                for j in range(columns):
                    meets = (number == 0 and i == rows - 1) or (number == 1 and j == 0)
                    face = VERMILION if meets else "white"
                    axes.add_patch(Rectangle((left + j, -rows / 2 + i), 1, 1, facecolor=face, edgecolor="black"))
            axes.text(left + columns / 2, -2.3, f"{name} ({rows}, {columns})", ha="center", va="top")
            if number < len(signs):
                axes.text(left + columns + 1.3, 0, signs[number], ha="center", va="center", fontsize="x-large")
            left += columns + 2.6
        axes.set(xlim=(-1.5, 16), ylim=(-3.4, 2.2), xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize="medium")
    return drawn


def cost_terms() -> Figure:
    """The squared difference of each output neuron."""
    output = [0.43, 0.28, 0.19, 0.88, 0.72, 0.01, 0.64, 0.86, 0.99, 0.63]
    squares = [(value - (number == 3)) ** 2 for number, value in enumerate(output)]
    drawn, [axes] = figure(1, 2.7)
    bars = axes.bar(range(10), squares, color=[BLUE if number == 3 else VERMILION for number in range(10)])
    bars[3].set_hatch("//")
    axes.set(xlabel="output neuron (3 is hatched: it should be 1)", ylabel="(output − wanted)²", xticks=range(10))
    axes.set_title(f"the terms of the cost; their sum is {sum(squares):.4f}", fontsize="medium")
    return drawn


def twelve_steps() -> Figure:
    """The twelve steps: forward down on the left, backward up on the right."""
    forward, backward, update = range(1, 6), range(6, 11), (11, 12)
    names = {step.number: step.name for step in classic.twelve_steps()}
    drawn, [axes] = figure(1, 4.6)
    places = {number: (0.0, -row) for row, number in enumerate(forward)}
    places |= {number: (1.0, row - 4.0) for row, number in enumerate(backward)}
    places |= {number: (1.0, row + 1.0) for row, number in enumerate(update)}
    for number, place in places.items():
        colour = BLUE if number in forward else VERMILION if number in backward else "black"
        text = textwrap.fill(f"{number} {names[number]}", 21)
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": colour, "linewidth": 1.5}
        axes.text(*place, text, ha="center", va="center", bbox=box)
    for number in range(1, 12):
        (x0, y0), (x1, y1) = places[number], places[number + 1]
        ends = ((x1, y1 + np.sign(y0 - y1) * 0.3), (x0, y0 + np.sign(y1 - y0) * 0.3))
        if x0 != x1:
            ends = ((x1 - 0.4, y1), (x0 + 0.35, y0))
        axes.annotate("", *ends, arrowprops={"arrowstyle": "->", "linewidth": 1.5})
    axes.set(xlim=(-0.5, 1.6), ylim=(-4.6, 2.6), xticks=[], yticks=[])
    axes.text(0, 0.55, "forward", ha="center", color=BLUE)
    axes.text(1.5, -2, "backward", ha="center", va="center", rotation=90, color=VERMILION)
    axes.text(1.5, 1.5, "update", ha="center", va="center", rotation=90)
    axes.spines[:].set_visible(False)
    return drawn


PICTURES = {
    "neuron.svg": neuron,
    "mp-neuron.svg": mp_neuron,
    "perceptron.svg": perceptron,
    "layer.svg": layer,
    "hidden-layer.png": hidden_layer,
    "two-two-one.svg": two_two_one,
    "digits-network.png": digits_network,
    "cost-terms.svg": cost_terms,
    "one-dimension.svg": one_dimension,
    "descents.png": descents,
    "sine.png": sine,
    "noise.svg": noise,
    "normalisation.svg": normalisation,
    "twelve-steps.svg": twelve_steps,
    "experiments.svg": experiments,
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
