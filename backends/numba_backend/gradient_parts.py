"""The parts of training steps by the epoch kernel: gradients of some rows of a batch, and the update.

Parameters, state and gradients stay in the layout of `panels` between the steps, also while gradients are summed.  So
this file works on whole segments of the buffer; only the penalties and the weight decay must leave out the biases.
"""

from __future__ import annotations

import math

import numpy as np

from backends.float_warnings import no_float_warnings
from backends.loop import StepParts, Trainer, all_finite
from backends.numba_backend import threads as thread_pool
from backends.numba_backend.batch_tables import EPOCH, NUMBER, PLAN, POSITION, ROWS_OF_BATCH, START, _row_shares
from backends.numba_backend.epoch_kernel import LAST, epoch_kernel
from backends.numba_backend.panels import N_IN, PADDED, PANELS, WEIGHTS, WIDTH
from backends.numba_backend.register_tiles import ROWS
from backends.numba_backend.step_kernels import DECAY, GRADIENT_ONLY, SHRINK, UPDATES
from backends.numba_backend.step_parts import CLASS, LOSSES, step_part
from backends.numba_backend.synchronization import phase_counters
from backends.numba_backend.trainer import FusedTrainer, _kind, _loading, _set_addresses, _threads_for
from backends.plan import Array, Control, EpochPlan


class DivisibleTrainer(FusedTrainer):
    """A `FusedTrainer` that also computes the parts of steps in the kernel's layout."""

    def step_parts(self, plan: EpochPlan, largest: int, gradients: int) -> StepParts:
        # the update below has one rate for all parameters, and knows weights and biases only
        if self._unsupported_reason(plan) or plan.rate_factors or self.network.layout.scaling_layer:
            return super().step_parts(plan, largest, gradients)
        self._check_plan(plan)
        return FusedStepParts(self, plan, largest, gradients)

    def save(self) -> None:
        """Copy `params` and `state` for `roll_back`, before they are brought up to date."""
        Trainer._use_arrays(self)


class FusedStepParts(StepParts):
    """Gradients by the epoch kernel, for a batch of `largest` rows or fewer, without the update.

    The order of the sums in a gradient follows from `largest` and the number of its rows.
    """

    def __init__(self, trainer: DivisibleTrainer, plan: EpochPlan, largest: int, count: int) -> None:
        self._trainer: DivisibleTrainer = trainer
        self._plan = plan
        network, dtype, slots = trainer.network, trainer.params.dtype, len(trainer.state)
        self._threads = _threads_for(network, largest)
        self._panels = panels = trainer._panels_for(largest, largest, self._threads, count)
        needs = GRADIENT_ONLY, False, False
        if trainer._needs != needs:
            _set_addresses(panels.table, network, dtype, *needs)
            trainer._needs = needs
        segments = panels.space[: (1 + slots + count) * panels.packed].reshape(-1, panels.packed)
        self._weights, self._state, self.gradients = segments[0], segments[1 : 1 + slots], list(segments[1 + slots :])
        self._bias_slices = _bias_slices(panels.table)
        self._penalized = np.empty(panels.packed if plan.l1 or plan.l2.any() else 0, dtype)

        rows = trainer._rows(plan)
        weight = trainer._weight_of(rows)
        running = slice(plan.batches.start * plan.batch_size, min(plan.batches.stop * plan.batch_size, len(rows)))
        self._first_row = running.start
        self._order = np.ascontiguousarray(rows[running], np.int64)
        totals = plan.normalizers(plan.batch_weights(weight))
        row_weights = None if weight is None else weight[running]
        self._row_shares = _row_shares(totals, plan.batch_size, len(self._order), row_weights, dtype)
        self._sizes = np.array([largest, panels.shared, panels.packed, 0, panels.chunks, False])
        self._double_scratch = np.zeros(largest + 4 * (panels.chunks + self._threads * panels.lanes))
        self._bounds = np.zeros(1 + 2 * -(-largest // ROWS))
        self._control, self._result, self._loss = Control(), np.zeros(LAST + 2, np.int64), np.empty(1)
        self._scalars, self._factors = np.zeros((1, 1), dtype), np.zeros((1, 4))
        self._factors[0, [SHRINK, DECAY, UPDATES]] = 1
        self._entry = np.zeros((1, 6), np.int64)
        target = trainer._target_for(plan)
        kind, self._loss_loop = _kind(network.kind, network.layout.sizes[-1], target, dtype)
        self._losses_part = step_part(LOSSES[kind], dtype)
        self._numbers = (*map(dtype.type, network.kind.shares(network.layout.sizes[-1])), network.kind.ceiling(dtype))
        empty, X = np.empty((0, 0), dtype), trainer._X_with_adjacent_entries()
        has_bytes = X.dtype == np.uint8
        self._inputs: Array = empty if has_bytes else X
        self._bytes: Array = X if has_bytes else np.empty((0, 0), np.uint8)
        self._classes = np.ascontiguousarray(target, np.int64) if kind == CLASS else np.empty(0, np.int64)
        self._targets = empty if kind == CLASS else np.ascontiguousarray(target)
        with _loading:
            self._kernel = epoch_kernel(dtype)
        trainer._pack()

    def gradient(self, batch: int, first: int, last: int, out: Array) -> float:
        plan, panels, dtype = self._plan, self._panels, self._weights.dtype
        self._sizes[3] = (out.ctypes.data - panels.space.ctypes.data) // dtype.itemsize  # where the kernel writes it
        entry = self._entry[0]
        entry[START] = batch * plan.batch_size + first - self._first_row
        entry[ROWS_OF_BATCH], entry[EPOCH] = last - first, plan.epoch
        entry[NUMBER], entry[POSITION], entry[PLAN] = plan.batches_before + batch, batch, 0
        if panels.list_places[0] > 0:  # zeros are left out
            with no_float_warnings():
                self._bounds[0] = max(self._weights.max(), -self._weights.min())
        self._result[:] = 0
        self._result[LAST] = 1
        loss_factor, delta_factor, ceiling = self._numbers
        phases = phase_counters(self._threads)

        def work(t: int) -> None:
            self._kernel(
                t, team.size, phases, self._control.words, self._result, self._loss,
                panels.table, panels.space, self._sizes, panels.scratch, self._double_scratch,
                panels.lists, panels.list_places, self._bounds,
                self._inputs, self._bytes, dtype.type(self._trainer.network.input_scale),
                self._order, self._classes, self._targets,
                self._row_shares, self._losses_part, self._loss_loop, loss_factor, delta_factor, dtype.type(ceiling),
                0, GRADIENT_ONLY, self._scalars, self._factors, 0.0, math.inf, math.inf,
                self._entry, plan.seed, plan.row_offset + first, False,
            )  # fmt: skip

        with thread_pool.reserve(self._threads, training=True) as team:
            team.run(work, team.size)
        return float(self._loss[0])

    def add_penalty(self, batch: int, gradient: Array) -> float:
        l2 = float(self._plan.l2[batch])
        if not l2 and not self._plan.l1:
            return 0.0
        np.copyto(self._penalized, self._weights)
        for biases in self._bias_slices:
            self._penalized[biases] = 0
        return self._trainer.xp.add_penalty(self._penalized, gradient, l2=l2, l1=self._plan.l1)

    def update(self, batch: int, gradient: Array) -> None:
        plan, xp = self._plan, self._trainer.xp
        xp.clip(gradient, by_value=plan.clip_value, by_norm=plan.clip_norm)
        rate = float(plan.learning_rates[batch])
        if plan.weight_decay:
            biases = [self._weights[own].copy() for own in self._bias_slices]
            xp.multiply(self._weights, 1 - rate * plan.weight_decay)
            for own, values in zip(self._bias_slices, biases, strict=True):
                self._weights[own] = values
        xp.update(plan.rule, self._weights, gradient, self._state, plan.first_step + batch + 1, rate)

    def write_back(self) -> None:
        self._trainer.save()
        self._trainer._copy_back()

    def is_finite(self) -> bool:
        return all_finite(self._trainer.xp, self._weights)


def _bias_slices(table: Array) -> list[slice]:
    """Where a segment of the buffer has biases: in the last row of each panel."""
    slices = []
    for layer in table:
        for p in range(layer[PANELS]):
            width = min(layer[WIDTH], layer[PADDED] - p * layer[WIDTH])
            start = layer[WEIGHTS] + p * layer[WIDTH] * (layer[N_IN] + 1) + layer[N_IN] * width
            slices.append(slice(int(start), int(start + width)))
    return slices
