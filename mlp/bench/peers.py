"""The same training in other libraries: same data, same initial weights, same updates.

A peer is a function ``prepare(case, X, y) -> epoch``.  A call of ``epoch()`` trains for one epoch and returns the mean
loss of the batches.  `prepare` builds objects and moves data; its time does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.bench.cases import Case
from mlp.model import MLP

Epoch = Callable[[], float]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def initial_parameters(case: Case) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Return the initial weights W (n_in, n_out) and biases of every implementation."""
    net = MLP(case.sizes, backend="numpy")
    return [W.copy() for W in net.weights], [b.copy() for b in net.biases]


# -- NumPy ---------------------------------------------------------------------------------------------


def numpy_by_hand(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """Back-propagation in a few lines of NumPy, without a framework."""
    weights, biases = initial_parameters(case)
    update = _numpy_update(case, [*weights, *biases])
    size = case.batch_size

    def epoch() -> float:
        total = 0.0
        for first in range(0, len(X), size):
            activations, target = [X[first : first + size]], y[first : first + size]
            for W, b in zip(weights, biases, strict=True):
                z = activations[-1] @ W + b
                activations.append(np.maximum(z, 0))
            loss, delta = _softmax_cross_entropy(z, target)
            total += loss
            dW: list[NDArray[Any]] = []
            db: list[NDArray[Any]] = []
            for layer in reversed(range(len(weights))):
                dW.insert(0, activations[layer].T @ delta)
                db.insert(0, delta.sum(axis=0))
                if layer:
                    delta = (delta @ weights[layer].T) * (activations[layer] > 0)
            update([*dW, *db])
        return total / case.steps

    return epoch


def nielsen(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """The loops of Nielsen's network.py: one row at a time, as column vectors, gradients summed over the batch."""
    initial_weights, initial_biases = initial_parameters(case)
    weights, biases = [W.T.copy() for W in initial_weights], [b[:, None] for b in initial_biases]
    update = _numpy_update(case, [*weights, *biases])
    rows = [(x[:, None], label) for x, label in zip(X, y, strict=True)]
    size = np.float32(case.batch_size)

    def backprop(x: NDArray[Any], label: int) -> tuple[float, list[NDArray[Any]], list[NDArray[Any]]]:
        activations = [x]
        for W, b in zip(weights, biases, strict=True):
            z = W @ activations[-1] + b
            activations.append(np.maximum(z, 0))
        e = np.exp(z - z.max())
        delta = e / e.sum()
        loss = -float(np.log(delta[label, 0]))
        delta[label] -= 1
        dW, db = [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]
        for layer in reversed(range(len(weights))):
            dW[layer], db[layer] = delta @ activations[layer].T, delta
            if layer:
                delta = (weights[layer].T @ delta) * (activations[layer] > 0)
        return loss, dW, db

    def epoch() -> float:
        total = 0.0
        for first in range(0, len(rows), case.batch_size):
            dW, db = [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]
            for x, label in rows[first : first + case.batch_size]:
                loss, row_dW, row_db = backprop(x, label)
                total += loss
                dW = [a + b for a, b in zip(dW, row_dW, strict=True)]
                db = [a + b for a, b in zip(db, row_db, strict=True)]
            update([gradient / size for gradient in (*dW, *db)])
        return total / len(rows)

    return epoch


def _softmax_cross_entropy(z: NDArray[Any], target: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    """Return the mean loss of the rows and its gradient with respect to z."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(target))
    loss = -float(np.log(p[rows, target]).mean())
    p[rows, target] -= 1
    p /= np.float32(len(target))
    return loss, p


def _numpy_update(case: Case, params: Sequence[NDArray[Any]]) -> Callable[[Sequence[NDArray[Any]]], None]:
    """Return a function that updates `params` in place, given their gradients."""
    rate = np.float32(case.learning_rate)
    means, squares = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    step = 0

    def sgd(gradients: Sequence[NDArray[Any]]) -> None:
        for p, g in zip(params, gradients, strict=True):
            p -= rate * g

    def adam(gradients: Sequence[NDArray[Any]]) -> None:
        nonlocal step
        step += 1
        root = np.float32(np.sqrt(1 - BETA2**step))
        size = np.float32(case.learning_rate / (1 - BETA1**step))
        for p, g, m, v in zip(params, gradients, means, squares, strict=True):
            m += np.float32(1 - BETA1) * (g - m)
            v += np.float32(1 - BETA2) * (g * g - v)
            p -= size * m / (np.sqrt(v) / root + np.float32(EPSILON))

    return adam if case.optimizer == "adam" else sgd


# -- scikit-learn --------------------------------------------------------------------------------------


def scikit_learn(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """MLPClassifier of scikit-learn, with one `partial_fit` per epoch."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        case.sizes[1:-1],
        solver=case.optimizer,
        learning_rate_init=case.learning_rate,
        momentum=0.0,
        alpha=0.0,
        batch_size=case.batch_size,
        shuffle=False,
        random_state=0,
    )
    model.partial_fit(X[: case.batch_size], y[: case.batch_size], classes=np.arange(case.sizes[-1]))
    # the first call created the arrays: set them to the initial parameters, and the optimizer state to zero
    weights, biases = initial_parameters(case)
    for parameter, value in zip([*model.coefs_, *model.intercepts_], [*weights, *biases], strict=True):
        parameter[...] = value
    for name in ("velocities", "ms", "vs"):
        for array in getattr(model._optimizer, name, []):
            array[...] = 0
    model._optimizer.t = 0

    def epoch() -> float:
        model.partial_fit(X, y)
        return float(model.loss_)

    return epoch


# -- PyTorch -------------------------------------------------------------------------------------------


def torch_eager(case: Case, X: NDArray[Any], y: NDArray[Any], device: str = "cpu") -> Epoch:
    """PyTorch with slices of two tensors instead of a data loader, and with fused optimizers."""
    model, optimizer, data, target = _torch_parts(case, X, y, device)
    return _torch_epoch(case, model, optimizer, data, target)


def torch_compiled(case: Case, X: NDArray[Any], y: NDArray[Any], device: str = "cpu") -> Epoch:
    """`torch_eager` with torch.compile for the forward and backward pass of the network and its loss."""
    import torch

    torch.compiler.reset()  # otherwise a new case would count as a recompilation
    model, optimizer, data, target = _torch_parts(case, X, y, device)
    return _torch_epoch(case, torch.compile(model, dynamic=False), optimizer, data, target)


def torch_cuda(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """`torch_eager` on the first GPU; the data are copied before the first epoch."""
    return torch_eager(case, X, y, "cuda")


def torch_cuda_graph(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """A step captured as a CUDA graph and replayed for each batch, which is copied to the input of the graph."""
    import torch

    model, optimizer, data, target = _torch_parts(case, X, y, "cuda", graph=True)
    size = case.batch_size
    x, t = data[:size].clone(), target[:size].clone()
    losses = torch.zeros((), device="cuda")
    parameters = list(model.parameters())
    before = [p.detach().clone() for p in parameters]

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        loss = model(x, t)
        loss.backward()
        optimizer.step()
        losses.add_(loss.detach())

    warm_up_stream = torch.cuda.Stream()
    warm_up_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up_stream):  # PyTorch requires a few steps on another stream before a capture
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(warm_up_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    with torch.no_grad():  # restore the initial parameters in place, because the graph refers to these tensors
        for p, value in zip(parameters, before, strict=True):
            p.copy_(value)
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    value.zero_()

    def epoch() -> float:
        losses.zero_()
        for first in range(0, len(data), size):
            x.copy_(data[first : first + size])
            t.copy_(target[first : first + size])
            graph.replay()
        return float(losses) / case.steps

    return epoch


def _torch_parts(case: Case, X: NDArray[Any], y: NDArray[Any], device: str, graph: bool = False) -> tuple[Any, ...]:
    """Return the network with its loss as one module, the optimizer and the data, on `device`."""
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
        settings |= {"betas": (BETA1, BETA2), "eps": EPSILON, "capturable": graph}
    optimizer_class = torch.optim.Adam if case.optimizer == "adam" else torch.optim.SGD
    optimizer = optimizer_class(model.parameters(), **settings)
    return model, optimizer, torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)


def _torch_epoch(case: Case, model: Any, optimizer: Any, data: Any, target: Any) -> Epoch:
    import torch

    size = case.batch_size

    def epoch() -> float:
        losses = torch.zeros((), device=data.device)
        for first in range(0, len(data), size):
            optimizer.zero_grad(set_to_none=True)
            loss = model(data[first : first + size], target[first : first + size])
            loss.backward()
            optimizer.step()
            losses += loss.detach()
        return float(losses) / case.steps  # waits for the device

    return epoch


# -- JAX -----------------------------------------------------------------------------------------------


def jax_scan(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """JAX with the complete epoch in one jitted `lax.scan`, whose parameters are donated."""
    import jax
    import jax.numpy as jnp

    def mean_loss(params: Any, x: Any, target: Any) -> Any:
        for W, b in params[:-1]:
            x = jnp.maximum(x @ W + b, 0)
        W, b = params[-1]
        log_p = jax.nn.log_softmax(x @ W + b)
        return -jnp.take_along_axis(log_p, target[:, None], axis=1).mean()

    def sgd(p: Any, g: Any, m: Any, v: Any, step: Any) -> tuple[Any, Any, Any]:
        return p - case.learning_rate * g, m, v

    def adam(p: Any, g: Any, m: Any, v: Any, step: Any) -> tuple[Any, Any, Any]:
        m = m + (1 - BETA1) * (g - m)
        v = v + (1 - BETA2) * (g * g - v)
        root = jnp.sqrt(v / (1 - BETA2**step))
        return p - case.learning_rate * (m / (1 - BETA1**step)) / (root + EPSILON), m, v

    rule = adam if case.optimizer == "adam" else sgd

    def train_step(state: Any, batch: Any) -> tuple[Any, Any]:
        params, means, squares, step = state
        step = step + 1
        loss, gradients = jax.value_and_grad(mean_loss)(params, *batch)
        leaves, tree = jax.tree.flatten(params)
        lists = (jax.tree.leaves(part) for part in (gradients, means, squares))
        updated = [rule(p, g, m, v, step) for p, g, m, v in zip(leaves, *lists, strict=True)]
        params, means, squares = (jax.tree.unflatten(tree, part) for part in zip(*updated, strict=True))
        return (params, means, squares, step), loss

    def train_epoch(state: Any, batches: Any) -> tuple[Any, Any]:
        state, losses = jax.lax.scan(train_step, state, batches)
        return state, losses.mean()

    params = [(jnp.asarray(W), jnp.asarray(b)) for W, b in zip(*initial_parameters(case), strict=True)]
    state = (params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.float32(0))
    batches = (
        jnp.asarray(X).reshape(case.steps, case.batch_size, -1),
        jnp.asarray(y, dtype=jnp.int32).reshape(case.steps, case.batch_size),
    )
    compiled = jax.jit(train_epoch, donate_argnums=0)

    def epoch() -> float:
        nonlocal state
        state, loss = compiled(state, batches)
        return float(loss)  # waits for the device

    return epoch
