"""What the kernel must know of each batch, as arrays with a row for each, for one or several epochs in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.numba_backend.step_kernels import DECAY, L2, SHRINK, UPDATES
from backends.plan import Array, EpochPlan

START, ROWS_OF_BATCH, EPOCH, NUMBER, POSITION, PLAN = range(6)
"""Columns of the table of batches.

START, ROWS_OF_BATCH    position of its first row in the order of all rows that run, and number of its rows
EPOCH, NUMBER           epoch and batch in the counter of its dropout masks
POSITION                number of the batch in its plan
PLAN                    number of its plan in the call
"""


def alike(first: EpochPlan, plan: EpochPlan) -> bool:
    """Whether the kernel can run two plans of one trainer in one call: only rows, rates and counters differ."""
    return _common(first) == _common(plan)


def _common(plan: EpochPlan) -> tuple[Any, ...]:
    return (
        plan.batch_size, len(plan.order), plan.batches, plan.seed, plan.row_offset, plan.halt,
        plan.l1, plan.clip_value, plan.clip_norm, plan.label_smoothing, plan.rate_factors, plan.batch_weight is None,
    )  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """The factors of the learning rate that a plan has, and the number of its factor for each part of the parameters.

    Attributes
    ----------
    factors : tuple of float
        Different factors; ``(1.0,)`` without any.
    weights, biases : tuple of int
        One number for each layer.
    scaling : int
        Of the factors of the scaling layer; 0 without one.
    """

    factors: tuple[float, ...]
    weights: tuple[int, ...]
    biases: tuple[int, ...]
    scaling: int

    @classmethod
    def of_plan(cls, plan: EpochPlan) -> Rates | None:
        """The rates of a plan; None if a part of a layer's weights, or of its biases, has another rate than the rest.

        Examples
        --------
        >>> from backends import formulas
        >>> from backends.plan import Layout, NetworkPlan
        >>> kind = formulas.pair("identity", "mse")
        >>> network = NetworkPlan(Layout((2, 3, 1), True), (formulas.activation("tanh"), kind.output), kind, (0.0, 0.0))
        >>> rates = [(0, 6, 0.5), (9, 13, 0.1), (13, 15, 6.0)]
        >>> order, zero = np.arange(4), np.zeros(1)
        >>> def plan(*rates):
        ...     return EpochPlan(network, formulas.Rule("sgd", {}), 4, order, zero, zero, rate_factors=rates)
        >>> Rates.of_plan(plan(*rates))
        Rates(factors=(0.5, 1.0, 0.1, 6.0), weights=(0, 1), biases=(2, 2), scaling=3)
        >>> Rates.of_plan(plan()), Rates.of_plan(plan((0, 5, 0.5)))
        (Rates(factors=(1.0,), weights=(0, 0), biases=(0, 0), scaling=0), None)
        """
        layout = plan.network.layout
        n_layers, n_in = layout.n_layers, layout.sizes[0]
        if not plan.rate_factors:
            return cls((1.0,), (0,) * n_layers, (0,) * n_layers, 0)
        segments, numbers, position, parts = plan.segments(), dict[float, int](), 0, list[int]()
        sizes = [rows * columns for rows, columns in pairwise(layout.sizes)]
        for size in (*sizes, *layout.sizes[1:], *[n_in] * layout.scaling_layer):
            stop = position + size
            own = {factor for start, end, factor in segments if start < stop and position < end}
            if len(own) > 1:
                return None
            parts.append(numbers.setdefault(own.pop(), len(numbers)))
            position = stop
        scaling = parts.pop() if layout.scaling_layer else 0
        return cls(tuple(numbers), tuple(parts[:n_layers]), tuple(parts[n_layers:]), scaling)


class BatchTables:
    """The tables of plans that are `alike`.

    Parameters
    ----------
    plans : sequence of EpochPlan
    rows : sequence of ndarray of int64
        The row numbers of each plan, all of its order.
    row_weights : sequence of ndarray of float64, or None
        The weight of each of these rows.
    dtype : dtype
        Of the network.
    rates : Rates
        Of the first plan.

    Attributes
    ----------
    order : ndarray of int64
        The rows that run, one plan after the other.
    batches : ndarray of int64, shape (batches, 6)
        See `START`.
    weights : list of ndarray of float64
        The `EpochPlan.batch_weights` of each plan.
    scalars : ndarray, shape (batches, len(rates.factors) * n_scalars)
        The update rule's scalars for each factor of the learning rate.
    factors : ndarray of float64, shape (batches, len(rates.factors) * 4)
        See `step_kernels.SHRINK`; four for each factor of the learning rate.
    n_scalars : int
        Number of the update rule's scalars.
    row_shares : ndarray, shape (rows that run,) or (0,)
        Factor of each row in the mean over its batch; empty if all are equal.
    """

    def __init__(
        self,
        plans: Sequence[EpochPlan],
        rows: Sequence[NDArray[np.int64]],
        row_weights: Sequence[NDArray[np.float64]] | None,
        dtype: np.dtype[Any],
        rates: Rates,
    ) -> None:
        first, count = plans[0], len(plans)
        batches, size = first.batches, first.batch_size
        running = slice(batches.start * size, min(batches.stop * size, len(first.order)))
        own = slice(batches.start, batches.stop)
        self.order = _joined([numbers[running] for numbers in rows], np.int64)
        if row_weights is None:
            self.weights = [first.batch_weights(None)] * count
        else:
            self.weights = [plan.batch_weights(weight) for plan, weight in zip(plans, row_weights, strict=True)]
        totals = _joined([plan.normalizers(w) for plan, w in zip(plans, self.weights, strict=True)], np.float64)
        learning_rates = _joined([plan.learning_rates[own] for plan in plans], np.float64)
        l2 = _joined([plan.l2[own] for plan in plans], np.float64)
        positions = np.arange(batches.start, batches.stop)
        self.batches = _table(plans, positions, running)
        each_rate = learning_rates[:, None] * np.array(rates.factors)
        scalars = _rule_scalars(plans, positions, each_rate, dtype)
        self.n_scalars = scalars.shape[2]
        self.scalars = scalars.reshape(len(scalars), -1)
        self.factors = _batch_factors(plans, each_rate, l2, totals).reshape(len(scalars), -1)
        self.row_shares = np.empty(0, dtype)
        if row_weights is not None or first.batch_weight is not None:
            self.row_shares = np.concatenate(
                [
                    _row_shares(
                        plan.normalizers(self.weights[i]),
                        size,
                        running.stop - running.start,
                        None if row_weights is None else row_weights[i][running],
                        dtype,
                    )
                    for i, plan in enumerate(plans)
                ]
            )


def _joined(arrays: list[Array], dtype: Any) -> Array:
    """The arrays one after the other, contiguous."""
    return np.ascontiguousarray(arrays[0] if len(arrays) == 1 else np.concatenate(arrays), dtype)


def _column(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)[:, None]


def _table(plans: Sequence[EpochPlan], positions: NDArray[np.int64], running: slice) -> NDArray[np.int64]:
    size, n_rows = plans[0].batch_size, running.stop - running.start
    starts = (positions - positions[0]) * size
    table = np.empty((len(plans), len(positions), 6), np.int64)
    table[:, :, START] = np.arange(len(plans))[:, None] * n_rows + starts
    table[:, :, ROWS_OF_BATCH] = np.minimum(n_rows - starts, size)
    table[:, :, EPOCH] = _column([plan.epoch for plan in plans])
    table[:, :, NUMBER] = _column([plan.batches_before for plan in plans]) + positions
    table[:, :, POSITION] = positions
    table[:, :, PLAN] = np.arange(len(plans))[:, None]
    return table.reshape(-1, 6)


def _rule_scalars(plans: Sequence[EpochPlan], positions: NDArray[np.int64], rates: Array, dtype: Any) -> Array:
    """The update rule's scalars, shape (batches, factors, n_scalars), for rates (batches, factors)."""
    rule = plans[0].rule
    steps = (_column([plan.first_step for plan in plans]) + (1 + positions)).reshape(-1, 1)
    values = rule.row.scalars(steps, rates, **rule.hyper)
    scalars = np.empty((*rates.shape, len(values)), dtype)
    for number, value in enumerate(values):
        scalars[..., number] = value
    return scalars


def _batch_factors(plans: Sequence[EpochPlan], rates: Array, l2: Array, totals: Array) -> NDArray[np.float64]:
    """The factors of each batch, shape (batches, factors, 4), for rates (batches, factors)."""
    decays = np.repeat([plan.weight_decay for plan in plans], len(plans[0].batches))
    decay = rates * decays[:, None]
    factors = np.empty((*rates.shape, 4))
    factors[..., SHRINK] = 1 - decay - rates * l2[:, None]
    factors[..., DECAY] = 1 - decay
    factors[..., L2] = l2[:, None]
    factors[..., UPDATES] = totals[:, None] > 0
    return factors


def _row_shares(totals: Array, batch_size: int, n_rows: int, row_weights: Array | None, dtype: Any) -> Array:
    """Factor of each of the rows of a plan that run in the mean over its batch."""
    row_totals = np.repeat(np.where(totals > 0, totals, 1), batch_size)[:n_rows]
    if row_weights is None:
        row_weights = np.repeat(totals > 0, batch_size)[:n_rows]
    return (row_weights / row_totals).astype(dtype)
