"""`FusedTrainer`: trains with the kernel of `epoch_kernel`, or with `backends.loop` if the kernel cannot run a plan."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.formulas import OutputLoss
from backends.loop import Execution, Trainer, all_finite
from backends.numba_backend import threads as thread_pool
from backends.numba_backend.batch_tables import BatchTables, Rates, alike
from backends.numba_backend.epoch_kernel import DONE, LAST, epoch_kernel
from backends.numba_backend.formula_loops import activation_loop, derivative_loop, loss_loop, rule_loop
from backends.numba_backend.nonzero_lists import DENSE_COLUMNS, column_share
from backends.numba_backend.scaling_parts import factor_squares, scale_gradient, scale_inputs, update_factors
from backends.numba_backend.step_kernels import BY_CHUNK, IN_PLACE, L2, WHOLE_GRADIENT
from backends.numba_backend.step_parts import (
    CLASS,
    DISTRIBUTION,
    ENTRIES,
    FUSED,
    LOSSES,
    SOFTMAX,
    dropout,
    penalties,
    step_part,
    sums,
)
from backends.numba_backend.tiles import ROWS
from backends.plan import Array, BatchHook, Control, EpochPlan, EpochResult, NetworkPlan

from backends.numba_backend.panels import (  # isort: skip
    ACTIVATION, BIAS_RATE, DERIVATIVE, DROPOUT, FACTOR_RATE, FACTOR_SQUARES, PENALTIES, SCALE_GRADIENT, SCALE_INPUTS,
    SUMS, UPDATE_FACTORS, WEIGHT_DECAY, WEIGHT_RATE, Panels, is_shared,
)  # fmt: skip

logger = logging.getLogger("mlp")

SPARSE_INPUTS = 64
"""Inputs of a network from which on it may be faster to leave out zeros."""

SHORT_CALL = 0.02
"""Seconds for which the main thread may be in the kernel, where it does not notice Ctrl-C.  A call that takes longer
runs in other threads, which takes the time to wake them."""

CORE_CACHE = 1 << 20
"""Bytes of parameters up to which networks train faster at the same time, on one thread each, than one after the other
on all threads: each core then has its network in its own cache, and waits for no other."""

_loading = threading.Lock()


class FusedTrainer(Trainer):
    """Trains a copy of the parameters in the kernel's layout (`Panels`), which is reused from epoch to epoch."""

    _panels: Panels | None = None
    _panels_key: Any = None
    _needs: Any = None  # what the addresses and rates in the table of the panels are for
    _views: Sequence[tuple[Array, Array]] = ()
    _packed = False  # whether the panels contain the current parameters and state
    _outdated = False  # whether params and state are older than the panels
    _smoothed: tuple[float, Array] | None = None
    _rates: tuple[Any, Rates | None] = (None, None)  # the factors of the last plan, and what follows from them
    _data_reason: str | None = None
    _adjacent_X: Array | None = None
    _sparse: bool | None = None
    _logged = False
    _seconds_of_row: float | None = None  # measured in the last call of the kernel

    def read_back(self) -> None:
        if self._outdated:
            self._copy_back()
            self._outdated = False
        super().read_back()

    def roll_back(self) -> None:
        super().roll_back()
        self._packed = self._outdated = False

    def current(self, out: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        if not self._outdated or self._panels is None:
            return super().current(out)
        params, state = self._host_arrays(out)
        for flat, panel in self._panels.views(params, state):
            flat[...] = panel
        return params, state

    def refresh(self) -> None:
        super().refresh()
        self._packed = self._outdated = False
        self._panels = self._panels_key = self._smoothed = self._data_reason = self._adjacent_X = None
        self._sparse = None

    def write_rows(self, first: int, X: Array, target: Array, weight: Array | None = None) -> None:
        super().write_rows(first, X, target, weight)
        self._smoothed = self._adjacent_X = None

    def _use_arrays(self) -> None:
        super()._use_arrays()
        if self._outdated:
            self._copy_back()
        self._packed = self._outdated = False

    def execution(self, plan: EpochPlan, on_batch: bool = False) -> Execution:
        step_by_step = super().execution(plan, on_batch)
        reason = "a callback runs after each batch" if on_batch else self._unsupported_reason(plan)
        if reason:
            return replace(step_by_step, reason=reason)
        threads = _threads_for(self.network, plan.batch_size)
        return Execution(f"epoch kernel, {threads} {'thread' if threads == 1 else 'threads'}")

    def at_once(self) -> tuple[int, str]:
        if thread_pool.in_worker() or thread_pool.get_num_threads() == 1:
            return 1, "there is one thread"
        if reason := _unsupported_data(self):
            return 1, f"{reason}, so that they run step by step in Python"
        if is_shared(self.network, self.batch_size) and self.params.nbytes > CORE_CACHE:
            return 1, f"their parameters need {self.params.nbytes:,} bytes each, and the cache of a core may be smaller"
        return thread_pool.get_num_threads(), ""

    def run_at_once(self, task: Callable[[int], object], count: int, on_interrupt: Callable[[], object]) -> None:
        at_once, _ = self.at_once()
        if min(at_once, count) > 1:
            thread_pool.run_divided(task, count, at_once, on_interrupt)
        else:
            super().run_at_once(task, count, on_interrupt)

    def _unsupported_reason(self, plan: EpochPlan) -> str:
        """Why the kernel cannot run a plan, so that `backends.loop` runs it; empty if it can."""
        if self._data_reason is None:
            self._data_reason = _unsupported_data(self)
        if self._data_reason:
            return self._data_reason
        # again in each epoch, since the kernel writes where they point and their owner may have changed them
        target, n_outputs = self.target, self.network.layout.sizes[-1]
        if target.ndim == 1 and len(target) and not 0 <= target.min() <= target.max() < n_outputs:
            return "a class number is outside the range of the outputs"
        if self._rates_of(plan) is None:
            return "parts of a layer's weights or biases have different learning rates"
        return ""

    def epochs_of_call(self, rows: int) -> int:
        seconds = self._seconds_of_row
        return 1 if seconds is None else max(1, int(SHORT_CALL / max(seconds * rows, 1e-9)))

    def _run(self, plans: Sequence[EpochPlan], control: Control, on_batch: BatchHook | None) -> list[EpochResult]:
        first = plans[0]
        reason = self.execution(first, on_batch is not None).reason
        if reason:
            if not self._logged:
                logger.info("training runs step by step, without the epoch kernel: %s", reason)
                self._logged = True
            return super()._run(plans, control, on_batch)
        if not first.batches or control.stop_requested:
            return [EpochResult(np.empty(0), np.empty(0), finite=self._is_finite())]
        together = list(itertools.takewhile(functools.partial(alike, first), plans))
        for plan in together:
            self._check_plan(plan)
        return self._fused_epochs(together, control)

    # -- the kernel ---------------------------------------------------------------------------------

    def _fused_epochs(self, plans: list[EpochPlan], control: Control) -> list[EpochResult]:
        """Train for plans that are `alike` in one call of the kernel."""
        network, rule, dtype, plan = self.network, self.rule, self.params.dtype, plans[0]
        batch_size, mode = min(plan.batch_size, len(plan.order)), _update_mode(plan)
        threads = _threads_for(network, plan.batch_size)
        panels = self._panels_for(batch_size, plan.batch_size, threads, mode == WHOLE_GRADIENT)
        rows = [self._rows(plan) for plan in plans]
        weights = None if self._host_weight is None else [self._host_weight[numbers] for numbers in rows]
        rates = self._rates_of(plan)
        assert rates is not None
        tables = BatchTables(plans, rows, weights, dtype, rates)
        gradient_start, penalized = (1 + len(self.state)) * panels.packed, bool(plan.l1 or tables.factors[:, L2].any())
        needs = mode, penalized, plan.clip_value is not None, plan.rate_factors
        if needs != self._needs:
            _set_addresses(panels.table, network, dtype, *needs[:3])
            _set_rates(panels.table, rates, tables)
            self._needs = needs
        sizes = np.array([batch_size, panels.shared, panels.packed, gradient_start, panels.chunks, penalized])
        double_scratch = np.zeros(batch_size + 4 * (panels.chunks + threads * panels.lanes))
        target = self._target_for(plan)
        kind, loss = _kind(network.kind, network.layout.sizes[-1], target, dtype)
        losses_part = step_part(LOSSES[kind], dtype)
        loss_factor, delta_factor = map(dtype.type, network.kind.shares(network.layout.sizes[-1]))
        ceiling = dtype.type(network.kind.ceiling(dtype))
        empty, X = np.empty((0, 0), dtype), self._X_with_adjacent_entries()
        numbers, bytes_ = (empty, X) if X.dtype == np.uint8 else (X, np.empty((0, 0), np.uint8))
        classes = np.ascontiguousarray(target, np.int64) if kind == CLASS else np.empty(0, np.int64)
        targets = empty if kind == CLASS else np.ascontiguousarray(target)
        clip_value, clip_norm = (math.inf if bound is None else bound for bound in (plan.clip_value, plan.clip_norm))
        phases, losses = thread_pool.phase_counters(threads), np.empty(len(tables.batches))
        result = np.zeros(LAST + 1 + len(plans), np.int64)
        result[LAST] = len(losses)
        bounds = np.zeros(1 + 2 * -(-batch_size // ROWS))  # of the weights at the start, and of tiles of the input
        with _loading:  # trainings that begin together would compile it once each
            kernel = epoch_kernel(dtype)
        rule_address = 0 if mode == IN_PLACE else rule_loop(rule.name, dtype)

        def work(t: int) -> None:
            kernel(
                t, team.size, phases, control.words, result, losses,
                panels.table, panels.space, sizes, panels.scratch, double_scratch,
                panels.lists, panels.list_places, bounds,
                numbers, bytes_, dtype.type(network.input_scale), tables.order, classes, targets, tables.row_shares,
                losses_part, loss, loss_factor, delta_factor, ceiling,
                rule_address, mode, tables.scalars, tables.factors, plan.l1, clip_value, clip_norm,
                tables.batches, plan.seed, plan.row_offset, plan.halt,
            )  # fmt: skip

        self._pack()
        if self._leaves_out_zeros():
            bounds[0] = np.abs(panels.space[: panels.packed]).max()
        n_rows, seconds = len(tables.order), self._seconds_of_row
        is_short = seconds is not None and seconds * n_rows <= SHORT_CALL
        start = time.perf_counter()
        with thread_pool.reserve(threads, training=True) as team:  # fewer are enough: the panels fit any number
            team.run(work, team.size, on_interrupt=None if is_short else control.request_stop)
        done = int(result[DONE])
        self._seconds_of_row = (time.perf_counter() - start) / min(n_rows, done * batch_size)
        return _results(plans, losses[:done], tables, result[LAST + 1 :])

    def _is_finite(self) -> bool:
        current = self._panels.space[: self._panels.packed] if self._outdated and self._panels else self.params
        return all_finite(self.xp, current)

    def _pack(self) -> None:
        """Bring the panels up to date, to train in them."""
        if not self._packed:
            for flat, panel in self._views:
                panel[...] = flat
            self._packed = True
        self._outdated = True

    def _panels_for(self, rows: int, batch_size: int, threads: int, gradients: int) -> Panels:
        """The panels of the previous epoch, or new ones if this epoch needs another layout; see `Panels`."""
        key = rows, batch_size, threads, gradients, self._leaves_out_zeros()
        if self._panels is None or key != self._panels_key:
            if self._outdated:
                self._use_arrays()
            self._packed = False
            self._panels_key = self._needs = None  # until views and panels belong together
            self._panels = Panels(
                self.network, self.params.dtype, rows, threads, len(self.state), gradients, batch_size,
                self._leaves_out_zeros(),
            )  # fmt: skip
            self._views = self._panels.views(self.params, self.state)
            self._panels_key = key
        return self._panels

    def _rates_of(self, plan: EpochPlan) -> Rates | None:
        if self._rates[0] != plan.rate_factors:
            self._rates = plan.rate_factors, Rates.of_plan(plan)
        return self._rates[1]

    def _leaves_out_zeros(self) -> bool:
        """Whether products with zeros of X are left out; the results are the same."""
        if self._sparse is None:
            wide = self.network.layout.sizes[0] >= SPARSE_INPUTS
            self._sparse = wide and column_share(self.X) < DENSE_COLUMNS
        return self._sparse

    def _X_with_adjacent_entries(self) -> Array:
        """X, or a copy in which the entries of each row are adjacent, as the kernel requires."""
        if self._adjacent_X is None:
            X = self.X
            adjacent = X.strides[1] == X.itemsize and X.strides[0] % X.itemsize == 0
            self._adjacent_X = X if adjacent else np.ascontiguousarray(X)
        return self._adjacent_X

    def _copy_back(self) -> None:
        for flat, panel in self._views:
            flat[...] = panel

    def _target_for(self, plan: EpochPlan) -> Array:
        if not plan.label_smoothing:
            return self.target
        if self._smoothed is None or self._smoothed[0] != plan.label_smoothing:
            smoothed = self.xp.smooth_labels(
                self.network.kind, self.target, self.network.layout.sizes[-1], plan.label_smoothing, self.params.dtype
            )
            self._smoothed = plan.label_smoothing, smoothed
        return self._smoothed[1]


def _unsupported_data(trainer: Trainer) -> str:
    """Why the kernel cannot train this network on these data; empty if it can."""
    network, X, target, weight = trainer.network, trainer.X, trainer.target, trainer.weight
    params, state = trainer.params, trainer.state
    sizes, n, dtype = network.layout.sizes, len(X), params.dtype
    if network.kind.loss.custom or any(row.custom for row in (network.kind.output, *network.activations)):
        return "an activation or the loss is user-defined"
    if any(row.backward is None or row.rowwise for row in network.activations[:-1]):
        return "the activation of a hidden layer has no elementwise derivative"
    if network.kind.output.backward is None:
        return "the output activation has no derivative"
    if dtype not in (np.float32, np.float64) or X.dtype not in (dtype, np.uint8):
        return f"X has dtype {X.dtype} and the parameters {dtype}"
    classes = network.kind.loss.name == "cross_entropy" and target.ndim == 1
    fits = (
        state.dtype == dtype
        and (weight is None or (weight.ndim == 1 and weight.dtype == dtype))
        and (target.dtype.kind in "iu" if classes else target.shape == (n, sizes[-1]) and target.dtype == dtype)
    )
    return "" if fits else "the shapes or dtypes of the arrays do not match the network"


def _threads_for(network: NetworkPlan, batch_size: int) -> int:
    """Number of threads for a step; 1 if the caller is itself a worker of the thread pool."""
    shared = is_shared(network, batch_size) and not thread_pool.in_worker()
    return thread_pool.get_num_threads() if shared else 1


def _update_mode(plan: EpochPlan) -> int:
    if plan.clip_norm is not None:
        return WHOLE_GRADIENT
    other = plan.l1 or plan.clip_value is not None or plan.rate_factors or plan.network.layout.scaling_layer
    return IN_PLACE if plan.rule.name == "sgd" and not other else BY_CHUNK


def _results(
    plans: list[EpochPlan], losses: Array, tables: BatchTables, finite: NDArray[np.int64]
) -> list[EpochResult]:
    """The result of each plan that began."""
    per_plan, results = len(plans[0].batches), []
    all_finite_losses = bool(np.isfinite(losses).all())
    for i in range(-(-len(losses) // per_plan)):
        own = losses[i * per_plan : (i + 1) * per_plan]
        failed = None if all_finite_losses or np.isfinite(own).all() else int(np.argmin(np.isfinite(own)))
        results.append(
            EpochResult(
                own,
                tables.weights[i][: len(own)],
                None if failed is None else plans[i].first_batch + failed,
                bool(finite[i]),
            )
        )
    return results


def _kind(kind: OutputLoss, n_out: int, target: Array, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Kind of loss, and the address of the loop of its formula."""
    if kind.loss.name == "cross_entropy":
        return (CLASS if target.ndim == 1 else DISTRIBUTION), 0
    return (FUSED if kind.fused is not None else SOFTMAX if kind.rowwise else ENTRIES), loss_loop(kind, n_out, dtype)


def _set_addresses(
    table: Array, network: NetworkPlan, dtype: np.dtype[Any], mode: int, penalized: bool, clips: bool
) -> None:
    """Write the addresses of what an epoch needs to the table of `panels`: compiled, or loaded, the first time."""
    kind, last = network.kind, network.layout.n_layers - 1
    for l, (row, rate) in enumerate(zip(network.activations, network.dropout, strict=True)):
        # a formula of the loss may include the output activation
        if l < last or (kind.fused is None and not kind.rowwise):
            table[l, [ACTIVATION, DERIVATIVE]] = activation_loop(row, dtype), derivative_loop(row, dtype)
        table[l, DROPOUT] = step_part(dropout, dtype) if rate else 0
    table[:, PENALTIES] = step_part(penalties, dtype) if mode != IN_PLACE and (penalized or clips) else 0
    table[:, SUMS] = step_part(sums, dtype) if penalized or mode == WHOLE_GRADIENT else 0
    if network.layout.scaling_layer:
        table[0, SCALE_INPUTS], table[0, SCALE_GRADIENT] = (
            step_part(part, dtype) for part in (scale_inputs, scale_gradient)
        )
        table[0, UPDATE_FACTORS] = step_part(update_factors, dtype)
        table[0, FACTOR_SQUARES] = step_part(factor_squares, dtype) if mode == WHOLE_GRADIENT else 0


def _set_rates(table: Array, rates: Rates, tables: BatchTables) -> None:
    """Write where the scalars and factors of each layer are in those of a batch."""
    weights, n_scalars = np.array(rates.weights), tables.n_scalars
    table[:, WEIGHT_RATE], table[:, BIAS_RATE] = n_scalars * weights, n_scalars * np.array(rates.biases)
    table[:, WEIGHT_DECAY] = tables.factors.shape[1] // len(rates.factors) * weights
    table[0, FACTOR_RATE] = n_scalars * rates.scaling
