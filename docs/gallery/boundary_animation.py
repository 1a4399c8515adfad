"""A decision boundary while it is learnt: ``python docs/gallery/boundary_animation.py [FILE.gif]``.

The network separates two spirals.  Each frame is the network after some epochs; `mlp.plots.Snapshots` keeps them.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import mlp

PICTURE = Path(__file__).resolve().parents[1] / "_static" / "gallery" / "boundary-animation.gif"
EPOCHS = (0, 1, 3, 7, 12, 18, 22, 25, 28, 31, 34, 38, 44, 60)
LEVELS = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
COLOURS = ("#66AAD1", "#99C7E0", "#E0EEF5", "#FAEADF", "#EEBE99", "#E69E66")  # blue to vermilion


def frame(net, epoch: int, spirals) -> Image.Image:
    """The probability of class 1 over the plane, with the rows as points."""
    figure = Figure(figsize=(3.2, 3.4), dpi=80, layout="constrained")
    axes = figure.subplots()
    edge = np.linspace(-1.15, 1.15, 121) * np.abs(spirals.X).max()
    points = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2)
    probability = net.predict_proba(points)[:, 1].reshape(121, 121)
    axes.contourf(edge, edge, probability, LEVELS, colors=COLOURS, antialiased=False)  # sharp edges compress well
    axes.contour(edge, edge, probability, [0.5], colors="black", linewidths=1.3, antialiased=False)
    for label, marker, colour in ((0, "o", "#0072B2"), (1, "s", "#A84300")):
        axes.plot(*spirals.X[spirals.y == label].T, marker, color=colour, markersize=3, antialiased=False)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.set_title(f"epoch {epoch}: accuracy {100 * net.score(spirals.X, spirals.y):.0f} %", fontsize="medium")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def draw(path: Path = PICTURE) -> None:
    spirals = mlp.data.toy("spirals", n=200, noise=0.02)
    net = mlp.MLP([2, 32, 32, 2], "relu", seed=0, dtype="float64", backend="numpy")
    snapshots = mlp.plots.Snapshots(EPOCHS)
    net.fit(spirals.X, spirals.y, epochs=EPOCHS[-1], batch_size=10, optimizer=mlp.Adam(0.01), callbacks=[snapshots])
    frames = [frame(snapshots.nets[epoch], epoch, spirals) for epoch in EPOCHS]
    palette = frames[-1].quantize(20, dither=Image.Dither.NONE)
    frames = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    # without `loop` the animation plays once, in four seconds, and stays at the last frame
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=280, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
