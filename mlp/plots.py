"""Plots of networks, of their training, and of the experiments of `mlp.classic`.

Each function returns a matplotlib figure.  None of them uses pyplot, opens windows or changes settings of matplotlib.
They need the extra `plot`; matplotlib is imported when the first figure is drawn.

>>> import mlp
>>> digits = mlp.data.load("digits")
>>> net = mlp.MLP([64, 16, 10], input_scale=digits.input_scale)
>>> history = net.fit(digits.X, digits.y, epochs=2)
>>> figure = mlp.plots.confusion(net, digits.X_test, digits.y_test)
>>> mlp.plots.save(figure, "confusion.png")  # doctest: +SKIP
"""

from mlp.classic.plots import descent, sine
from mlp.inspection.plots import (
    LayerRecord,
    LayerRecorder,
    Snapshots,
    boundary,
    check_path,
    confusion,
    curves,
    image_shape,
    layer_outputs,
    layers,
    learning_rates,
    mistakes,
    network,
    predictions,
    save,
    spread_epochs,
    weights,
)

__all__ = [
    "LayerRecord",
    "LayerRecorder",
    "Snapshots",
    "boundary",
    "check_path",
    "confusion",
    "curves",
    "descent",
    "image_shape",
    "layer_outputs",
    "layers",
    "learning_rates",
    "mistakes",
    "network",
    "predictions",
    "save",
    "sine",
    "spread_epochs",
    "weights",
]
