"""Plots of networks and of their training. The public module is `mlp.plots`."""

from mlp.inspection.plots.boundary import boundary
from mlp.inspection.plots.callbacks import LayerRecord, LayerRecorder, Snapshots, layer_outputs, spread_epochs
from mlp.inspection.plots.classification import confusion, mistakes
from mlp.inspection.plots.curves import curves
from mlp.inspection.plots.images import image_shape
from mlp.inspection.plots.layers import layers
from mlp.inspection.plots.learning_rates import learning_rates
from mlp.inspection.plots.regression import predictions
from mlp.inspection.plots.style import check_path, save
from mlp.inspection.plots.weights import network, weights

__all__ = [
    "LayerRecord",
    "LayerRecorder",
    "Snapshots",
    "boundary",
    "check_path",
    "confusion",
    "curves",
    "image_shape",
    "layer_outputs",
    "layers",
    "learning_rates",
    "mistakes",
    "network",
    "predictions",
    "save",
    "spread_epochs",
    "weights",
]
