"""The implementations to measure: our usable backends and the installed peers; and the reasons for missing ones."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numpy.typing import NDArray

from mlp._backends import get_backend, limit_threads
from mlp.bench import jax_peers, torch_peers
from mlp.bench import peers as peer_functions
from mlp.bench.availability import choose_backends, choose_peers, why_not_importable
from mlp.bench.cases import SEED, Case
from mlp.bench.peers import Epoch
from mlp.model import MLP
from mlp.optimizers import SGD, Adam, Optimizer
from mlp.training import Examples, Run, TrainingState, train

Prepare = Callable[[Case, NDArray[Any], NDArray[Any]], Epoch]
Limit = Callable[[int], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class Implementation:
    """A backend or peer that can train a `Case`.

    Attributes
    ----------
    name : str
    prepare : callable (case, X, y)
        Returns a function that trains for one epoch and returns its mean loss.
    ours : bool
        True for our backends, False for peers.
    device : str
    limit_threads : callable (number), optional
        Returns a context manager that sets the number of threads.  If the case does not set it, our backends choose
        it; for peers one thread and all threads are tried, and the faster one is used.  Large steps use all without a
        trial.
    max_parameters, max_rows : float
        Larger networks and epochs are skipped, because they would take minutes.
    takes_number : bool
        Whether the function that `prepare` returns takes a number of epochs, to train them in one call.
    """

    name: str
    prepare: Prepare
    ours: bool = False
    device: str = "cpu"
    limit_threads: Limit | None = None
    max_parameters: float = math.inf
    max_rows: float = math.inf
    takes_number: bool = False

    def start(self, case: Case, X: NDArray[Any], y: NDArray[Any]) -> Callable[[int], float]:
        """Prepare, and return a function that trains for a number of epochs and returns the mean loss of the last."""
        epoch: Callable[..., float] = self.prepare(case, X, y)
        if self.takes_number:
            return epoch

        def epochs(number: int) -> float:
            return [epoch() for _ in range(number)][-1]

        return epochs


@dataclass(frozen=True)
class Selection:
    """The implementations to measure, and those that are not available.

    Attributes
    ----------
    implementations : list of Implementation
    missing : dict
        Reason by name.
    """

    implementations: list[Implementation]
    missing: dict[str, str] = field(default_factory=dict)


def find_implementations(backends: Sequence[str] | None = None, peers: Sequence[str] | None = None) -> Selection:
    """Find the implementations that can be used on this machine.

    Parameters
    ----------
    backends : sequence of str, optional
        Names of our backends; default: all usable ones.
    peers : sequence of str, optional
        Names in `PEERS`; default: all.

    Raises
    ------
    BackendUnavailableError, UnknownNameError
        If a requested backend cannot be used, or a requested peer is unknown.

    Examples
    --------
    >>> [implementation.name for implementation in find_implementations(["numpy"], []).implementations]
    ['mlp numpy']
    """
    names, missing = choose_backends(backends)
    ours = [our_backend(name) for name in names]
    found, missing_peers = choose_peers(peers, PEERS, _why_missing)
    return Selection(ours + found, missing | missing_peers)


def our_backend(backend: str) -> Implementation:
    """`mlp.MLP` on the first device of a backend, with the training loop of `MLP.fit` after its argument checks."""
    device = get_backend(backend).device

    def prepare(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
        # only GPUs have other precisions than float32
        settings: dict[str, Any] = (
            {} if case.precision == "float32" or device == "cpu" else {"precision": case.precision}
        )
        net = MLP(case.sizes, backend=backend, seed=SEED, **settings)
        optimizer: Optimizer = {"sgd": SGD, "adam": Adam}[case.optimizer](case.learning_rate)
        state = TrainingState.begin(net, optimizer)
        examples = Examples(net.xp.asarray(X), net.xp.asarray(y), None)

        def epochs(number: int = 1) -> float:
            train(Run(net, state, state.epoch + number), examples, batch_size=case.batch_size)
            return state.history.loss[-1]

        return epochs

    limit = limit_threads if device == "cpu" else None
    return Implementation(f"mlp {backend}", prepare, ours=True, device=device, limit_threads=limit, takes_number=True)


PEERS: dict[str, Implementation] = {
    implementation.name: implementation
    for implementation in (
        Implementation("NumPy by hand", peer_functions.numpy_by_hand, limit_threads=limit_threads),
        Implementation("PyTorch", torch_peers.torch_eager, limit_threads=torch_peers.torch_threads),
        Implementation("torch.compile", torch_peers.torch_compiled, limit_threads=torch_peers.torch_threads),
        Implementation("JAX", jax_peers.jax_scan),
        Implementation("scikit-learn", peer_functions.scikit_learn, limit_threads=limit_threads),
        Implementation(
            "Nielsen",
            peer_functions.nielsen,
            limit_threads=limit_threads,
            max_parameters=50_000,
            max_rows=20_000,
        ),
        Implementation("PyTorch CUDA", partial(torch_peers.torch_eager, device="cuda"), device="cuda:0"),
        Implementation("torch.compile CUDA", partial(torch_peers.torch_compiled, device="cuda"), device="cuda:0"),
        Implementation("PyTorch CUDA graph", partial(torch_peers.torch_graph, device="cuda"), device="cuda:0"),
        Implementation(
            "JAX CUDA",
            partial(jax_peers.jax_scan, platform="cuda", unroll=jax_peers.GPU_UNROLL),
            device="cuda:0",
        ),
    )
}
"""All peers by name."""

_NEEDS = {"PyTorch": "torch", "torch.compile": "torch", "JAX": "jax", "scikit-learn": "sklearn.neural_network"}
_NEEDS |= {name: _NEEDS[name.partition(" CUDA")[0]] for name in PEERS if " CUDA" in name}


def _why_missing(name: str) -> str:
    """Return why a peer is not available, or "".  Its library is imported here, before the measurement."""
    package = _NEEDS.get(name, "numpy")
    if package == "jax":  # else it takes three quarters of the GPU's memory, which others share
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    reason = why_not_importable(package)
    if reason or "CUDA" not in name:
        return reason
    if package == "jax":
        return jax_peers.why_no_gpu()
    library = importlib.import_module(package)
    return "" if library.cuda.is_available() else f"this PyTorch ({library.__version__}) sees no GPU"
