"""The training in JAX, on a CPU or a GPU."""

from __future__ import annotations

from functools import partial
from typing import Any

from numpy.typing import NDArray

from mlp.bench.cases import Case
from mlp.bench.peers import BETA1, BETA2, EPSILON, Epoch, initial_parameters

GPU_UNROLL = 8
"""Steps in the body of the loop on a GPU, whose kernels XLA starts together as one CUDA graph."""


def jax_scan(case: Case, X: NDArray[Any], y: NDArray[Any], platform: str = "cpu", unroll: int = 1) -> Epoch:
    """JAX with the complete epoch in one jitted `lax.scan`, whose parameters are donated."""
    import jax
    import jax.numpy as jnp

    # without it, products of float32 matrices on a GPU are in TF32
    product = partial(jnp.matmul, precision="tensorfloat32" if case.precision == "tf32" else "highest")

    def mean_loss(params: Any, x: Any, target: Any) -> Any:
        for W, b in params[:-1]:
            x = jnp.maximum(product(x, W) + b, 0)
        W, b = params[-1]
        log_p = jax.nn.log_softmax(product(x, W) + b)
        return -jnp.take_along_axis(log_p, target[:, None], axis=1).mean()

    def sgd(p: Any, g: Any, m: Any, v: Any, step: Any) -> tuple[Any, Any, Any]:
        return p - case.learning_rate * g, m, v

    def adam(p: Any, g: Any, m: Any, v: Any, step: Any) -> tuple[Any, Any, Any]:
        m = m + (1 - BETA1) * (g - m)
        v = v + (1 - BETA2) * (g * g - v)
        root = jnp.sqrt(v / (1 - BETA2**step))
        return p - case.learning_rate * (m / (1 - BETA1**step)) / (root + EPSILON), m, v

    rule = adam if case.optimizer == "adam" else sgd

    def train_step(data: Any, state: Any, rows: Any) -> tuple[Any, Any]:
        params, means, squares, step = state
        step = step + 1
        loss, gradients = jax.value_and_grad(mean_loss)(params, *(array[rows] for array in data))
        leaves, tree = jax.tree.flatten(params)
        lists = (jax.tree.leaves(part) for part in (gradients, means, squares))
        updated = [rule(p, g, m, v, step) for p, g, m, v in zip(leaves, *lists, strict=True)]
        params, means, squares = (jax.tree.unflatten(tree, part) for part in zip(*updated, strict=True))
        return (params, means, squares, step), loss

    def train_epoch(state: Any, data: Any, order: Any) -> tuple[Any, Any]:
        state, losses = jax.lax.scan(partial(train_step, data), state, order, unroll=unroll)
        return state, losses.mean()

    # the computation runs where its arguments are
    put = partial(jax.device_put, device=jax.devices(platform)[0])
    params = [(put(W), put(b)) for W, b in zip(*initial_parameters(case), strict=True)]
    state = (params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), put(jnp.float32(0)))
    data, orders = (put(X), put(y.astype("int32"))), case.orders()
    compiled = jax.jit(train_epoch, donate_argnums=0)

    def epoch() -> float:
        nonlocal state
        order = put(next(orders).astype("int32").reshape(case.steps, case.batch_size))
        state, loss = compiled(state, data, order)
        return float(loss)  # waits for the device

    return epoch


def why_no_gpu() -> str:
    """Return why JAX has no GPU, or ""."""
    import jax

    try:
        jax.devices("cuda")
    except RuntimeError:
        return f"this JAX ({jax.__version__}) sees no GPU"
    return ""
