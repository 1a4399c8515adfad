"""Pictures of networks and of their training, each a function that returns a matplotlib figure.

They need the extra `plot`, which is imported when the first picture is drawn.  A figure belongs to whoever asked for
it: nothing here touches pyplot, its windows or its settings.

>>> import mlp
>>> digits = mlp.data.load("digits")
>>> net = mlp.MLP([64, 16, 10], input_scale=digits.input_scale)
>>> history = net.fit(digits.X, digits.y, epochs=2)
>>> figure = mlp.plots.confusion(net, digits.X_test, digits.y_test)
>>> mlp.plots.save(figure, "confusion.png")  # doctest: +SKIP
"""

from mlp.plots.boundary import boundary
from mlp.plots.classes import confusion, mistakes
from mlp.plots.curves import curves
from mlp.plots.experiments import descent, sine
from mlp.plots.images import image_shape
from mlp.plots.layers import layers
from mlp.plots.numbers import predictions
from mlp.plots.recorders import LayerRecord, LayerRecorder, Snapshots, layer_outputs, spread_epochs
from mlp.plots.style import check_path, save
from mlp.plots.weights import network, weights

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
    "mistakes",
    "network",
    "predictions",
    "save",
    "sine",
    "spread_epochs",
    "weights",
]
