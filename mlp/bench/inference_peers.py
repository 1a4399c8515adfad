"""Who predicts in `mlp bench --predict`: our backends, our estimator, and other libraries.

Each gets a network and rows, and returns a function without arguments that computes the probabilities as a NumPy array,
with everything that a user's call does.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import get_backend, limit_threads
from mlp.bench.availability import choose_backends, choose_peers, why_not_importable
from mlp.bench.torch_peers import torch_threads
from mlp.model import MLP

Call = Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class PredictionPeer:
    """An implementation of predictions.

    Attributes
    ----------
    name : str
    start : callable (net, X, threads)
        Returns the function to measure.
    ours : bool
    device : str
    limit_threads : callable (number), optional
        Returns a context manager in which so many threads are used.
    sets_threads : bool
        Whether the number of threads can be set, by `start` or by `limit_threads`.
    """

    name: str
    start: Callable[[MLP, NDArray[np.float32], int | None], Call]
    ours: bool = False
    device: str = "cpu"
    limit_threads: Callable[[int], contextlib.AbstractContextManager[object]] | None = None
    sets_threads: bool = True

    def limit(self, threads: int | None) -> contextlib.AbstractContextManager[object]:
        """Return the context for a call with so many threads; None means that the implementation chooses."""
        if threads is None or self.limit_threads is None:
            return contextlib.nullcontext()
        return self.limit_threads(threads)


def find_prediction_peers(
    backends: Sequence[str] | None = None, peers: Sequence[str] | None = None
) -> tuple[list[PredictionPeer], dict[str, str]]:
    """Find the implementations that can be used on this machine, and the reasons for the others.

    Parameters
    ----------
    backends : sequence of str, optional
        Names of our backends; default: all usable ones.
    peers : sequence of str, optional
        Names in `PREDICTION_PEERS`; default: all.

    Raises
    ------
    BackendUnavailableError, UnknownNameError
        If a requested backend cannot be used, or a requested peer is unknown.

    Examples
    --------
    >>> found, missing = find_prediction_peers(["numpy"], ["scikit-learn"])
    >>> [peer.name for peer in found], missing
    (['mlp numpy', 'mlp.MLPClassifier', 'scikit-learn'], {})
    """
    names, missing = choose_backends(backends)
    ours = [_our_backend(name) for name in names]
    classifier = partial(_classifier, "mlp")
    ours.append(PredictionPeer("mlp.MLPClassifier", classifier, ours=True, limit_threads=limit_threads))
    found, missing_peers = choose_peers(peers, PREDICTION_PEERS, _why_missing)
    return ours + found, missing | missing_peers


def _our_backend(backend: str) -> PredictionPeer:
    device = get_backend(backend).device

    def start(net: MLP, X: NDArray[np.float32], threads: int | None) -> Call:
        own = net.copy().to(backend)
        return lambda: own.predict_proba(X)

    limit = limit_threads if device == "cpu" else None
    return PredictionPeer(f"mlp {backend}", start, ours=True, device=device, limit_threads=limit)


def _classifier(library: str, net: MLP, X: NDArray[np.float32], threads: int | None) -> Call:
    """`MLPClassifier` of mlp or of sklearn.neural_network, with the weights of the network."""
    model = importlib.import_module(library).MLPClassifier(net.sizes[1:-1], random_state=0)
    classes = np.arange(net.sizes[-1])
    model.partial_fit(np.zeros((len(classes), net.sizes[0]), np.float32), classes, classes=classes)
    model.coefs_, model.intercepts_ = [W.copy() for W in net.weights], [b.copy() for b in net.biases]
    return lambda: model.predict_proba(X)


def _onnxruntime(net: MLP, X: NDArray[np.float32], threads: int | None) -> Call:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory(prefix="mlp-bench-") as folder:
        path = Path(folder) / "net.onnx"
        net.to_onnx(path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["probabilities"], {"X": X})[0]


def _pytorch(net: MLP, X: NDArray[np.float32], threads: int | None) -> Call:
    torch: Any = importlib.import_module("torch")
    module = net.to_torch()

    def call() -> NDArray[Any]:
        with torch.inference_mode():
            return module(torch.from_numpy(X)).numpy()  # type: ignore[no-any-return]

    return call


def _jax(net: MLP, X: NDArray[np.float32], threads: int | None) -> Call:
    jax: Any = importlib.import_module("jax")
    put = partial(jax.device_put, device=jax.devices("cpu")[0])
    layers = [(put(W), put(b)) for W, b in zip(net.weights, net.biases, strict=True)]

    @jax.jit  # type: ignore[untyped-decorator]
    def forward(layers: Any, x: Any) -> Any:
        for W, b in layers[:-1]:
            x = jax.numpy.maximum(x @ W + b, 0)
        W, b = layers[-1]
        return jax.nn.softmax(x @ W + b)

    return lambda: np.asarray(forward(layers, put(X)))


PREDICTION_PEERS: dict[str, PredictionPeer] = {
    peer.name: peer
    for peer in (
        PredictionPeer("ONNX Runtime", _onnxruntime),
        PredictionPeer("PyTorch", _pytorch, limit_threads=torch_threads),
        PredictionPeer("JAX", _jax, sets_threads=False),
        PredictionPeer("scikit-learn", partial(_classifier, "sklearn.neural_network"), limit_threads=limit_threads),
    )
}
"""All peers by name."""

_NEEDS = {"ONNX Runtime": ("onnxruntime", "onnx"), "PyTorch": ("torch",), "JAX": ("jax",)}


def _why_missing(name: str) -> str:
    """Return why a peer is not available, or "".  Its libraries are imported here, before the measurement."""
    reasons = map(why_not_importable, _NEEDS.get(name, ()))
    return next(filter(None, reasons), "")
