"""The core: a network with its parameters on a backend, and what it computes.

Training, files and inspection use `FeedForward`; it imports none of them.
"""

from mlp.network.feedforward import Examples, FeedForward
from mlp.network.outputs import CHUNK
from mlp.network.placed_network import on_its_device

__all__ = ["CHUNK", "Examples", "FeedForward", "on_its_device"]
