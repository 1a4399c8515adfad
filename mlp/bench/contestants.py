"""Who is measured: every usable backend of ours, and the peers that are installed; and who is missing, and why."""

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
from mlp.bench import peers as others
from mlp.bench.cases import Case
from mlp.bench.peers import Epoch
from mlp.model import MLP
from mlp.optimizers import SGD, Adam, Optimizer
from mlp.training import Examples, TrainingState, train

Prepare = Callable[[Case, NDArray[Any], NDArray[Any]], Epoch]
Limit = Callable[[int], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class Contestant:
    """One who takes part.

    Attributes
    ----------
    name : str
    prepare : function of a case, X and y
        Gives the function that trains for one epoch and returns its mean loss.
    ours : bool
        Whether it is a backend of ours, and not a peer.
    device : str
    limit_threads : function of a number, optional
        A context in which it uses so many threads; it is then given the number that suits it best.
    most_weights : float
        Larger networks would take it minutes.
    """

    name: str
    prepare: Prepare
    ours: bool = False
    device: str = "cpu"
    limit_threads: Limit | None = None
    most_weights: float = math.inf


@dataclass(frozen=True)
class Field:
    """The contestants, and those who could not come.

    Attributes
    ----------
    contestants : list of Contestant
    missing : dict
        By name the reason.
    """

    contestants: list[Contestant]
    missing: dict[str, str] = field(default_factory=dict)


def find_contestants(backends: Sequence[str] | None = None, peers: Sequence[str] | None = None) -> Field:
    """Those who can take part on this machine.

    Parameters
    ----------
    backends : sequence of str, optional
        Of ours; default: all that can be used.
    peers : sequence of str, optional
        Names as in `PEERS`; default: all.

    Raises
    ------
    BackendUnavailableError, UnknownNameError
        If a backend was named that cannot be used, or a peer that nobody knows.

    Examples
    --------
    >>> [contestant.name for contestant in find_contestants(["numpy"], []).contestants]
    ['mlp numpy']
    """
    missing: dict[str, str] = {}
    if backends is None:
        backends = available()
        missing |= {f"mlp {name}": found.reason for name, found in status().items() if not found.usable}
    contestants = [ours(name) for name in backends]
    for name in PEERS if peers is None else peers:
        if name not in PEERS:
            raise UnknownNameError.among("peer", name, PEERS)
        contestant, reason = PEERS[name], _why_missing(name)
        if reason:
            missing[name] = reason
        elif name == "JAX":
            contestants.append(replace(contestant, device=_jax_device()))
        else:
            contestants.append(contestant)
    return Field(contestants, missing)


def ours(backend: str) -> Contestant:
    """`mlp.MLP` on a backend's first device, by the loop that `MLP.fit` runs once it has checked its arguments."""
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

    return Contestant(f"mlp {backend}", prepare, ours=True, device=device)


@contextlib.contextmanager
def _blas_threads(number: int) -> Iterator[None]:
    with _blas().limit(limits=number):
        yield


@cache
def _blas() -> Any:
    """The BLAS libraries that NumPy and SciPy loaded; to look for them takes milliseconds, so it is done once."""
    import scipy.linalg  # noqa: F401 - scikit-learn's products may go through SciPy's own BLAS
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


PEERS: dict[str, Contestant] = {
    contestant.name: contestant
    for contestant in (
        Contestant("NumPy by hand", others.numpy_by_hand, limit_threads=_blas_threads),
        Contestant("PyTorch", others.torch_eager, limit_threads=_torch_threads),
        Contestant("torch.compile", others.torch_compiled, limit_threads=_torch_threads),
        Contestant("JAX", others.jax_scan),
        Contestant("scikit-learn", others.scikit_learn, limit_threads=_blas_threads),
        Contestant("Nielsen", others.nielsen, limit_threads=_blas_threads, most_weights=50_000),
        Contestant("PyTorch CUDA", others.torch_cuda, device="cuda:0"),
        Contestant("PyTorch CUDA graph", others.torch_cuda_graph, device="cuda:0"),
    )
}
"""Every peer by name."""

_NEEDS = {"PyTorch": "torch", "PyTorch CUDA": "torch", "PyTorch CUDA graph": "torch", "torch.compile": "torch"}
_NEEDS |= {"JAX": "jax", "scikit-learn": "sklearn.neural_network"}


def _why_missing(name: str) -> str:
    """Why a peer cannot take part; empty where it can.  What it needs is imported here, outside all measurements."""
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
