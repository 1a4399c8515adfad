"""The training in PyTorch: eager, compiled, and as a CUDA graph.

The functions take the device as an argument, so that all but the capture of a graph can be tested without a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray

from mlp.bench.cases import Case
from mlp.bench.peers import BETA1, BETA2, EPSILON, Epoch, initial_parameters

GRAPH_STEPS = 32
"""Steps of a CUDA graph: enough to hide the start of a graph, few enough to capture it in a moment."""


def torch_eager(case: Case, X: NDArray[Any], y: NDArray[Any], device: str = "cpu") -> Epoch:
    """PyTorch with rows of two tensors instead of a data loader, and with fused optimizers."""
    model, optimizer, data, target = _parts(case, X, y, device)
    return _epoch(case, model, optimizer, data, target)


def torch_compiled(case: Case, X: NDArray[Any], y: NDArray[Any], device: str = "cpu") -> Epoch:
    """`torch_eager` with torch.compile for the forward and backward pass of the network and its loss.

    On a GPU with ``mode="reduce-overhead"``, which replays each of the two passes as a CUDA graph.
    """
    import torch

    torch.compiler.reset()  # otherwise a new case would count as a recompilation
    model, optimizer, data, target = _parts(case, X, y, device)
    if device == "cpu":
        return _epoch(case, torch.compile(model, dynamic=False), optimizer, data, target)
    compiled = torch.compile(model, dynamic=False, mode="reduce-overhead")
    # tells it that the outputs of the last step are no longer needed
    return _epoch(case, compiled, optimizer, data, target, torch.compiler.cudagraph_mark_step_begin)


def torch_graph(case: Case, X: NDArray[Any], y: NDArray[Any], device: str = "cuda") -> Epoch:
    """Up to `GRAPH_STEPS` whole steps, captured as a CUDA graph; one copy brings their rows into the graph's input.

    On ``device="cpu"`` the function that would be captured runs directly.
    """
    import torch

    _set_precision(case, device)
    model, optimizer, data, target = _parts(case, X, y, device, capturable=device != "cpu")
    size, steps = case.batch_size, min(GRAPH_STEPS, case.steps)
    # a graph reads and writes fixed addresses
    x, t = data[: steps * size].clone(), target[: steps * size].clone()
    total = torch.zeros((), device=device)
    parameters = list(model.parameters())
    before = [p.detach().clone() for p in parameters]

    def run(count: int) -> None:
        losses = []
        for first in range(0, count * size, size):
            # the gradients get new memory from the graph, which needs neither zeros nor an addition
            optimizer.zero_grad(set_to_none=True)
            loss = model(x[first : first + size], t[first : first + size])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        total.add_(torch.stack(losses).sum())

    with _side_stream(device):
        for _ in range(3):
            run(1)
    # an epoch may end with fewer steps than a graph has
    replay = {count: _capture(run, count, device) for count in {steps, case.steps % steps} if count}
    with torch.no_grad():  # restore the initial state in place, because the graphs refer to these tensors
        for p, value in zip(parameters, before, strict=True):
            p.copy_(value)
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    value.zero_()

    orders = case.orders()

    def epoch() -> float:
        total.zero_()
        for rows in torch.from_numpy(next(orders)).to(data.device).split(steps * size):
            torch.index_select(data, 0, rows, out=x[: len(rows)])
            torch.index_select(target, 0, rows, out=t[: len(rows)])
            replay[len(rows) // size]()
        return float(total) / case.steps  # waits for the device

    return epoch


@contextlib.contextmanager
def _side_stream(device: str) -> Iterator[None]:
    """The stream for the steps before a capture: PyTorch wants them to run, and not on the default stream."""
    if device == "cpu":
        yield
        return
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


def _capture(run: Callable[[int], None], count: int, device: str) -> Callable[[], None]:
    """Return a function that repeats ``run(count)``; on a GPU as a graph, whose capture runs nothing."""
    if device == "cpu":
        return lambda: run(count)
    import torch

    graph = torch.cuda.CUDAGraph()
    # the threads of other libraries in this process must not disturb the capture
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        run(count)
    replay: Callable[[], None] = graph.replay  # keeps the graph alive
    return replay


def _set_precision(case: Case, device: str) -> None:
    """Set the precision of products, which is a setting of the process that also other implementations change."""
    import torch

    torch.set_float32_matmul_precision("high" if case.precision == "tf32" and device != "cpu" else "highest")


def _parts(
    case: Case, X: NDArray[Any], y: NDArray[Any], device: str, capturable: bool = False
) -> tuple[Any, Any, Any, Any]:
    """Return the network with its loss as one module, the optimizer, and the data, on `device`."""
    import torch

    layers: list[Any] = []
    for W, b in zip(*initial_parameters(case), strict=True):
        linear = torch.nn.Linear(*W.shape)
        linear.weight.data, linear.bias.data = torch.tensor(W.T.copy()), torch.tensor(b)
        layers += [linear, torch.nn.ReLU()]

    class Loss(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(*layers[:-1])

        def forward(self, x: Any, t: Any) -> Any:
            return torch.nn.functional.cross_entropy(self.net(x), t)

    model = Loss().to(device)
    settings: dict[str, Any] = {"lr": case.learning_rate, "fused": True}
    if case.optimizer == "adam":
        settings |= {"betas": (BETA1, BETA2), "eps": EPSILON, "capturable": capturable}
    optimizer_class = torch.optim.Adam if case.optimizer == "adam" else torch.optim.SGD
    optimizer = optimizer_class(model.parameters(), **settings)
    return model, optimizer, torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)


def _epoch(
    case: Case,
    model: Any,
    optimizer: Any,
    data: Any,
    target: Any,
    before_step: Callable[[], object] = lambda: None,
) -> Epoch:
    import torch

    orders = case.orders()

    def epoch() -> float:
        _set_precision(case, data.device.type)
        losses = torch.zeros((), device=data.device)
        for rows in torch.from_numpy(next(orders)).to(data.device).split(case.batch_size):
            optimizer.zero_grad(set_to_none=True)
            before_step()
            loss = model(data[rows], target[rows])
            loss.backward()
            optimizer.step()
            losses += loss.detach()
        return float(losses) / case.steps  # waits for the device

    return epoch


@contextlib.contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Set the number of threads of PyTorch."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
