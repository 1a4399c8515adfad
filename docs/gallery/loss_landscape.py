"""The loss around a minimum: ``python docs/gallery/loss_landscape.py [FILE.png]``.

A network has too many parameters for a picture of its loss, so the picture shows a plane through the minimum.  Two
random directions span it.  In each, the numbers of a neuron are scaled to the length of its own weights ("filter
normalisation": Li, Xu, Taylor, Studer and Goldstein, "Visualizing the loss landscape of neural nets", 2018), so that
networks with large and with small weights can be compared.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import mlp

PICTURE = Path(__file__).resolve().parents[1] / "_static" / "gallery" / "loss-landscape.png"
STEPS = np.linspace(-1, 1, 31)


def direction(net: mlp.MLP, random: np.random.Generator) -> list[np.ndarray]:
    """A random direction for the weights; each neuron's part is as long as its weights.  The biases stay."""
    drawn = [random.normal(size=W.shape) for W in net.weights]
    lengths = [np.linalg.norm(W, axis=0) for W in net.weights]
    return [D * length / np.linalg.norm(D, axis=0) for D, length in zip(drawn, lengths, strict=True)]


def landscape(net: mlp.MLP, X: np.ndarray, y: np.ndarray, seed: int = 0) -> np.ndarray:
    """The loss at each point of the plane, shape (len(STEPS), len(STEPS))."""
    random = np.random.default_rng(seed)
    first, second = direction(net, random), direction(net, random)
    minimum, moved = net.weights, net.copy()
    losses = np.empty((len(STEPS), len(STEPS)))
    for i, b in enumerate(STEPS):
        for j, a in enumerate(STEPS):
            moved.weights = [W + a * D + b * E for W, D, E in zip(minimum, first, second, strict=True)]
            losses[i, j] = moved.evaluate(X, y)[0]
    return losses


def draw(path: Path = PICTURE) -> None:
    digits = mlp.data.load("digits")
    X, y = digits.X[:300], digits.y[:300]
    figure = Figure(figsize=(7.2, 3.7), dpi=100, layout="constrained")
    levels = np.geomspace(0.01, 30, 15)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, n_hidden in zip(panels, (1, 8), strict=True):
        sizes = [64, *[32] * n_hidden, 10]
        net = mlp.MLP(sizes, "relu", input_scale=digits.input_scale, seed=1, dtype="float64", backend="numpy")
        net.fit(digits.X, digits.y, epochs=15, batch_size=50, optimizer=mlp.Adam(0.003))
        losses = np.clip(landscape(net, X, y), levels[0], levels[-1])
        filled = axes.contourf(STEPS, STEPS, losses, levels, cmap="cividis", norm="log")
        axes.contour(STEPS, STEPS, losses, levels, colors="white", linewidths=0.4, alpha=0.6)
        axes.plot(0, 0, "*", color="white", markeredgecolor="black", markersize=13)
        layers = "1 hidden layer" if n_hidden == 1 else f"{n_hidden} hidden layers"
        axes.set_title(f"{layers}\nloss {net.evaluate(X, y)[0]:.2g} at the star", fontsize="medium")
        axes.set(xlabel="first direction", aspect="equal")
    panels[0].set_ylabel("second direction")
    bar = figure.colorbar(filled, ax=panels, label="loss", shrink=0.85)
    bar.set_ticks([0.01, 0.1, 1, 10], labels=["≤ 0.01", "0.1", "1", "10"])
    bar.minorticks_off()
    figure.savefig(path)
    with Image.open(path) as image:  # fewer colours make a smaller file
        reduced = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
