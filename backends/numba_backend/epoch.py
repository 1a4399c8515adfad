"""`Backend.train_epoch` by the one kernel of `epoch_kernel`: what it can run, what it is given, what comes back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backends.formulas import OutputLoss
from backends.numba_backend import threads as team
from backends.numba_backend.epoch_kernel import (
    AT_ONCE,
    CLASS,
    DIRECT,
    DISTRIBUTION,
    ENTRIES,
    FUSED,
    KEPT,
    SOFTMAX,
    epoch_kernel,
)
from backends.numba_backend.kernels import LOSS_CODE, RULE_CODE
from backends.numba_backend.panels import Panels, is_shared
from backends.plan import Array, Control, EpochPlan, EpochResult, NetworkPlan


def obstacle(plan: EpochPlan, X: Array, target: Array, weight: Array | None, params: Array, state: Array) -> str:
    """Why the kernel cannot run a plan, or nothing: the readable loop can run it, or say what is wrong with it."""
    network, dtype = plan.network, params.dtype
    sizes, n, rule = network.layout.sizes, len(X), plan.rule.row
    if network.kind.loss.custom or any(row.custom for row in (network.kind.output, *network.activations)):
        return "an activation or the loss is a user's own"
    if any(row.backward is None or row.rowwise for row in network.activations[:-1]):
        return "a hidden layer's activation has no slope of its own"
    if network.kind.output.backward is None:
        return "the output has no slope"
    if dtype not in (np.float32, np.float64) or X.dtype not in (dtype, np.uint8):
        return f"X is {X.dtype} and the parameters are {dtype}"
    classes = network.kind.loss.name == "cross_entropy" and target.ndim == 1
    fits = (
        X.shape == (n, sizes[0])
        and params.shape == (network.layout.n_parameters,)
        and state.shape == (len(rule.state), params.size)
        and state.dtype == dtype
        and (weight is None or (weight.shape == (n,) and weight.dtype == dtype))
        and (target.shape == (n,) and target.dtype.kind in "iu" if classes else target.shape == (n, sizes[-1]))
        and (classes or target.dtype == dtype)
    )
    if not fits:
        return "the shapes or the types of the arrays do not fit"
    if len(plan.order) and not 0 <= plan.order.min() <= plan.order.max() < n:
        return "the order names rows that X does not have"
    if classes and n and not 0 <= target.min() <= target.max() < sizes[-1]:
        return "a class number is not among the outputs"
    return ""


def run_epoch(
    plan: EpochPlan, X: Array, target: Array, weight: Array | None, params: Array, state: Array, control: Control
) -> EpochResult:
    """`Backend.train_epoch` for the plans in whose way there is no `obstacle`."""
    if not plan.n_batches or control.stop_requested:
        return EpochResult(np.empty(0), None)
    network, rule, dtype = plan.network, plan.rule, params.dtype
    batch_size = min(plan.batch_size, len(plan.order))
    if plan.clip_norm is not None:
        way = KEPT
    else:
        way = DIRECT if rule.name == "sgd" and not plan.l1 and plan.clip_value is None else AT_ONCE
    threads = _threads_for(network, batch_size)
    panels = Panels(network, dtype, batch_size, threads, len(state), way == KEPT)
    kept, penalised = (1 + len(state)) * panels.packed, bool(plan.l1 or plan.l2.any())
    sizes = np.array([batch_size, panels.shared, panels.packed, kept, panels.chunks, penalised])
    doubles = np.zeros(batch_size + 4 * (panels.chunks + threads * panels.lanes))
    scalars, terms, portions = _scalars(plan, dtype), *_weighing(plan, weight, dtype)
    kind, loss_code = _kind(network.kind, target)
    of_value, of_slope = map(dtype.type, network.kind.shares(network.layout.sizes[-1]))
    ceiling = dtype.type(network.kind.ceiling(dtype))
    nothing, X = np.empty((0, 0), dtype), _rows_adjacent(X)
    numbers, bytes_ = (nothing, X) if X.dtype == np.uint8 else (X, np.empty((0, 0), np.uint8))
    is_class = kind == CLASS
    classes = np.ascontiguousarray(target, np.int64) if is_class else np.empty(0, np.int64)
    targets = nothing if is_class else np.ascontiguousarray(target)
    clip_value, clip_norm = (math.inf if bound is None else bound for bound in (plan.clip_value, plan.clip_norm))
    phases, losses = team.phases(threads), np.empty(plan.n_batches)
    result = np.array([0, -1, plan.n_batches])  # batches done, the first that failed, the last one to run
    kernel = epoch_kernel(dtype)

    def work(t: int) -> None:
        kernel(
            t, threads, phases, control.words, result, losses,
            panels.table, panels.space, sizes, panels.own, doubles,
            numbers, bytes_, dtype.type(network.input_scale), order, classes, targets, portions,
            kind, loss_code, of_value, of_slope, ceiling,
            RULE_CODE[rule.name], way, scalars, terms, plan.l1, clip_value, clip_norm,
            plan.seed, plan.epoch, plan.halt,
        )  # fmt: skip

    order = np.ascontiguousarray(plan.order, np.int64)
    panels.pack(params, state)
    try:
        team.run(work, threads, on_interrupt=control.request_stop)
    finally:
        panels.unpack(params, state)
    done, failed, _ = map(int, result)
    return EpochResult(losses[:done], failed if failed >= 0 else None)


def _threads_for(network: NetworkPlan, batch_size: int) -> int:
    """Threads for a step; one where this call is part of a task that threads already share."""
    return team.get_num_threads() if is_shared(network, batch_size) and not team.inside() else 1


def _scalars(plan: EpochPlan, dtype: np.dtype[Any]) -> Array:
    """The update rule's scalars of each batch, shape (n_batches, n_scalars)."""
    steps = np.arange(plan.first_step + 1, plan.first_step + 1 + plan.n_batches)
    values = plan.rule.row.scalars(steps, plan.learning_rates[: plan.n_batches], **plan.rule.hyper)
    return np.stack(np.broadcast_arrays(*values), axis=1).astype(dtype)


def _weighing(plan: EpochPlan, weight: Array | None, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """The numbers of each batch, and what each row of the order counts in its batch (empty: all the same)."""
    totals, portions = np.ones(plan.n_batches), np.empty(0, dtype)
    if weight is not None:
        weights = weight[plan.order].astype(np.float64)
        totals = np.add.reduceat(weights, np.arange(0, len(weights), plan.batch_size))
        of_row = np.repeat(np.where(totals > 0, totals, 1), plan.batch_size)[: len(weights)]
        portions = (weights / of_row).astype(dtype)
    rates, l2 = plan.learning_rates[: plan.n_batches], plan.l2[: plan.n_batches]
    decay = rates * plan.weight_decay
    return np.stack([1 - decay - rates * l2, 1 - decay, l2, totals > 0], axis=1).astype(np.float64), portions


def _kind(kind: OutputLoss, target: Array) -> tuple[int, int]:
    """Kind of loss, and the code of its formula."""
    if kind.loss.name == "cross_entropy":
        return (CLASS if target.ndim == 1 else DISTRIBUTION), 0
    if kind.fused is not None:
        return FUSED, LOSS_CODE[kind.fused]
    assert kind.loss.formula is not None
    return (SOFTMAX if kind.rowwise else ENTRIES), LOSS_CODE[kind.loss.formula]


def _rows_adjacent(X: Array) -> Array:
    """X itself if the entries of a row lie side by side, which is all that the kernel asks for."""
    adjacent = X.strides[1] == X.itemsize and X.strides[0] % X.itemsize == 0
    return X if adjacent else np.ascontiguousarray(X)
