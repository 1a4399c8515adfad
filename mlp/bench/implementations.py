"""The implementations to measure: our usable backends and the installed peers; and the reasons for missing ones."""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from numpy.typing import NDArray

from mlp._backends import UnknownNameError, available, get_backend, status
from mlp.bench import peers as peer_functions
from mlp.bench.cases import Case
from mlp.bench.peers import Epoch
from mlp.model import MLP
from mlp.optimizers import SGD, Adam, Optimizer
from mlp.training import Examples, TrainingState, train

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
        Returns a context manager that sets the number of threads.  One thread and all threads are tried, and the
        faster one is used.
    max_parameters : float
        Larger networks are skipped, because they would take minutes.
    """

    name: str
    prepare: Prepare
    ours: bool = False
    device: str = "cpu"
    limit_threads: Limit | None = None
    max_parameters: float = math.inf


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
    missing: dict[str, str] = {}
    if backends is None:
        backends = available()
        missing |= {f"mlp {name}": backend.reason for name, backend in status().items() if not backend.usable}
    implementations = [our_backend(name) for name in backends]
    for name in PEERS if peers is None else peers:
        if name not in PEERS:
            raise UnknownNameError.among("peer", name, PEERS)
        implementation, reason = PEERS[name], _why_missing(name)
        if reason:
            missing[name] = reason
        elif name == "JAX":
            implementations.append(replace(implementation, device=_jax_device()))
        else:
            implementations.append(implementation)
    return Selection(implementations, missing)


def our_backend(backend: str) -> Implementation:
    """`mlp.MLP` on the first device of a backend, with the training loop of `MLP.fit` after its argument checks."""
    device = get_backend(backend).device

    def prepare(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
        net = MLP(case.sizes, backend=backend)
        optimizer: Optimizer = {"sgd": SGD, "adam": Adam}[case.optimizer](case.learning_rate)
        state = TrainingState.begin(net, optimizer)
        examples = Examples(net.xp.asarray(X), net.xp.asarray(y), None)

        def epoch() -> float:
            train(net, examples, state, epochs=state.epoch + 1, batch_size=case.batch_size, shuffle=False)
            return state.history.loss[-1]

        return epoch

    return Implementation(f"mlp {backend}", prepare, ours=True, device=device)


@contextlib.contextmanager
def _blas_threads(number: int) -> Iterator[None]:
    with _blas().limit(limits=number):
        yield


@cache
def _blas() -> Any:
    """The BLAS libraries of NumPy and SciPy; cached, because the search takes milliseconds."""
    import scipy.linalg  # noqa: F401 - scikit-learn may use the BLAS of SciPy
    import threadpoolctl

    return threadpoolctl.ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _jax_device() -> str:
    import jax

    return "cpu" if jax.default_backend() == "cpu" else "cuda:0"


PEERS: dict[str, Implementation] = {
    implementation.name: implementation
    for implementation in (
        Implementation("NumPy by hand", peer_functions.numpy_by_hand, limit_threads=_blas_threads),
        Implementation("PyTorch", peer_functions.torch_eager, limit_threads=_torch_threads),
        Implementation("torch.compile", peer_functions.torch_compiled, limit_threads=_torch_threads),
        Implementation("JAX", peer_functions.jax_scan),
        Implementation("scikit-learn", peer_functions.scikit_learn, limit_threads=_blas_threads),
        Implementation("Nielsen", peer_functions.nielsen, limit_threads=_blas_threads, max_parameters=50_000),
        Implementation("PyTorch CUDA", peer_functions.torch_cuda, device="cuda:0"),
        Implementation("PyTorch CUDA graph", peer_functions.torch_cuda_graph, device="cuda:0"),
    )
}
"""All peers by name."""

_NEEDS = {"PyTorch": "torch", "PyTorch CUDA": "torch", "PyTorch CUDA graph": "torch", "torch.compile": "torch"}
_NEEDS |= {"JAX": "jax", "scikit-learn": "sklearn.neural_network"}


def _why_missing(name: str) -> str:
    """Return why a peer is not available, or "".  Its library is imported here, before the measurement."""
    package = _NEEDS.get(name, "numpy")
    try:
        library = importlib.import_module(package)
    except ModuleNotFoundError:
        distribution = "scikit-learn" if package.startswith("sklearn") else package
        return f"{package} is not installed: pip install {distribution}"
    except Exception as error:
        return f"{package} cannot be imported: {type(error).__name__}: {error}"
    if "CUDA" in name and not library.cuda.is_available():
        return f"this PyTorch ({library.__version__}) sees no GPU"
    return ""
