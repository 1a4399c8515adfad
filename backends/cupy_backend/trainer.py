"""`GraphTrainer`: trains with CUDA graphs of whole steps or a persistent kernel, or else with `backends.loop`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backends.cupy_backend.device import IN_FLIGHT, Device, TrainingStream
from backends.cupy_backend.device_arrays import Buffers, EpochTables, HostResults, padded, padded_rows
from backends.cupy_backend.graphs import RepeatedStep, steps_of_graph
from backends.cupy_backend.host_rows import HostRows, RowWindows
from backends.cupy_backend.kernel_source import THREADS, KernelOptions, kernel_source
from backends.cupy_backend.persistent import PersistentKernel, batches_of_launch, module_source, persistent_tiling
from backends.cupy_backend.step import LOSS_BLOCKS, EpochArrays, Step, StepArrays, settings_of
from backends.cupy_backend.tiling import Tiling
from backends.cupy_backend.tilings import MOST_BLOCKS
from backends.cupy_backend.together import train_together
from backends.formulas.translator import TranslationError
from backends.loop import Execution, Trainer, all_finite
from backends.plan import Array, BatchHook, Control, EpochPlan, EpochResult
from backends.row_orders import Shuffle

logger = logging.getLogger("mlp")

BLOCKS_PER_MULTIPROCESSOR = 4
"""Blocks of the kernels that go through all parameters, for each multiprocessor: they hide each other's waits."""


class GraphTrainer(Trainer):
    """Starts all steps of an epoch without waiting for the device, and reads their losses at its end."""

    _own_stream: TrainingStream | None = None
    _data: tuple[Any, Any] | None = None
    _data_changed = False
    _own: tuple[Any, ...] = (None,) * 5
    _windows: RowWindows | None = None
    _arrays: EpochArrays | None = None
    _key: Any = None
    _steps: dict[int, RepeatedStep]
    _persistent: PersistentKernel | None = None
    _order_on_device: Any = None
    _logged = False

    def __init__(self, device: Device, *arguments: Any) -> None:
        self._device = device
        super().__init__(*arguments)

    # -- the portable loop, one step at a time ---------------------------------------------------------

    def gradient(self, plan: EpochPlan, batch: int, first: int = 0, last: int | None = None) -> tuple[float, Array]:
        with self._device.cuda:
            return super().gradient(plan, batch, first, last)

    def add_penalty(self, plan: EpochPlan, batch: int, gradient: Array) -> float:
        with self._device.cuda:
            return super().add_penalty(plan, batch, gradient)

    def update(self, plan: EpochPlan, batch: int, gradient: Array) -> None:
        with self._device.cuda:
            super().update(plan, batch, gradient)

    @property
    def stream(self) -> Any:
        """The stream of this trainer's work."""
        if self._own_stream is None:
            self._own_stream = self._device.stream_for(self)
        return self._own_stream.stream

    # -- which plans --------------------------------------------------------------------------------

    def execution(self, plan: EpochPlan, on_batch: bool = False) -> Execution:
        step_by_step = super().execution(plan, on_batch)
        reason = self._unsupported_reason(plan, on_batch)
        if reason:
            precision = self.network.precision
            products = "" if precision == "float32" else f" (the products are in float32, not {precision})"
            return replace(step_by_step, reason=reason + products)
        tiling = self._tiling(plan)
        if isinstance(tiling, Tiling):
            blocks, count = tiling.blocks, batches_of_launch(tiling)
            where = f"a grid of {blocks}" if tiling.on_grid else str(blocks)
            return Execution(f"persistent kernel on {where} {_plural('block', blocks)}, {count} batches a launch")
        count = self._steps_of_graph(plan)
        if not count:
            return Execution("launches of single kernels")
        return Execution(f"CUDA graphs of {count} {_plural('step', count)}", tiling)

    def at_once(self) -> tuple[int, str]:
        if reason := self._no_launches_to_share():
            return 1, reason
        # not more than have a multiprocessor for each block: the others begin when one is trained
        return max(1, self._device.multiprocessors // MOST_BLOCKS), ""

    in_lockstep = True

    def train_together(self, epochs: Sequence[tuple[Trainer, EpochPlan, Control]]) -> list[EpochResult]:
        return train_together(self._device, epochs)  # type: ignore[arg-type]  # they are trainers of this backend

    def why_alone(self, plan: EpochPlan) -> str:
        super().why_alone(plan)
        reason = self._no_launches_to_share() or self._unsupported_reason(plan, on_batch=False)
        if reason:
            return reason
        if isinstance(self.X, HostRows):
            return "X does not fit in the memory of the GPU"
        tiling = self._tiling(plan)
        if isinstance(tiling, Tiling) and tiling.on_grid:
            return f"a grid of {tiling.blocks} blocks trains one network"
        return "" if isinstance(tiling, Tiling) else tiling

    def _no_launches_to_share(self) -> str:
        execution = self._device.execution
        if execution == "persistent":
            return ""
        return f"the backend's execution is {execution!r}, and only 'persistent' trains several networks in a launch"

    def _tiling(self, plan: EpochPlan) -> Tiling | str:
        """The tiling of the persistent kernel if it is to run a plan; else the reason, empty if it is not asked for."""
        return (
            persistent_tiling(self._device, self._options(plan), plan) if self._device.execution == "persistent" else ""
        )

    def _steps_of_graph(self, plan: EpochPlan) -> int:
        """Steps of a graph; 0 without graphs."""
        rows = min(plan.batch_size, len(plan.order))
        return 0 if self._device.execution == "launches" else steps_of_graph(6.0 * self.network.layout.n_weights * rows)

    def _unsupported_reason(self, plan: EpochPlan, on_batch: bool) -> str:
        """Why the kernels cannot run a plan, so that `backends.loop` runs it; empty if they can."""
        if on_batch:
            return "a callback runs after each batch"
        if self._device.execution == "loop":
            return "the backend's execution is 'loop'"
        if self._device.is_hip:
            return "the kernels are for NVIDIA GPUs, and this is an AMD GPU"
        reason = _unsupported_data(self)
        if reason:
            return reason
        try:
            kernel_source(self._options(plan))
        except TranslationError as error:
            return f"a user-defined function cannot be compiled for the GPU: {error}"
        return ""

    def _options(self, plan: EpochPlan) -> KernelOptions:
        return KernelOptions(
            self.network,
            self.rule.row,
            np.dtype(self.params.dtype),
            np.dtype(self.X.dtype),
            class_numbers=_are_class_numbers(self),
            weighted=self.weight is not None,
            penalized=bool(plan.l1 or plan.l2.any()),
            by_norm=plan.clip_norm is not None,
        )

    # -- an epoch -----------------------------------------------------------------------------------

    def epochs(
        self, plans: Sequence[EpochPlan], control: Control | None = None, on_batch: BatchHook | None = None
    ) -> list[EpochResult]:
        with self._device.cuda:
            return super().epochs(plans, control, on_batch)

    def _epoch(self, plan: EpochPlan, control: Control, on_batch: BatchHook | None) -> EpochResult:
        how = self.execution(plan, on_batch is not None)
        step_by_step = bool(self._unsupported_reason(plan, on_batch is not None))
        if how.reason and not self._logged:
            words = "step by step, without CUDA graphs" if step_by_step else f"as {how.method}"
            logger.info("training runs %s: %s", words, how.reason)
            self._logged = True
        if step_by_step:
            return super()._epoch(plan, control, on_batch)
        if not plan.batches or control.stop_requested:
            return EpochResult(np.empty(0), np.empty(0), finite=all_finite(self.xp, self.params))
        try:
            self.begin(plan)
            with self.stream:
                self._run_batches(plan, control)
            return self.end(plan, control)
        except BaseException:
            self.stream.synchronize()  # the caller may roll back, which must not run beside the training
            raise

    def begin(self, plan: EpochPlan) -> PersistentKernel | None:
        """Prepare an epoch on `stream`, and return the persistent kernel if it is to run the batches."""
        if not isinstance(plan.order, Shuffle) or plan.order.n_rows > self.X.shape[0]:
            self._rows(plan)  # raises an error for rows that X does not have
        self._use_arrays()
        cuda = self._device.cupy.cuda
        self.stream.wait_event(cuda.get_current_stream().record())  # the caller's work on the arrays
        with self.stream:
            self._prepare(plan)
        return self._persistent

    def end(self, plan: EpochPlan, control: Control) -> EpochResult:
        """Wait for the epoch on `stream`, and read its results."""
        with self.stream:
            return self._result_of(plan, control)

    def _prepare(self, plan: EpochPlan) -> None:
        """Bring everything that the steps read to the device."""
        arrays = self._arrays_for(plan)
        tables, params = arrays.tables, self.params
        tables.fill(plan, self.stream)
        self._prepare_order(plan, tables)
        batches, n = plan.batches, self.network.layout.n_weights
        own = slice(batches.start, batches.stop)
        if self.weight is None:
            tables.send(tables.weights[own], plan.batch_weights(None), self.stream)
        else:
            warps = THREADS // 32
            self._launch(
                "weigh_batches", -(-len(batches) // warps), tables.order, self.weight, np.int64(len(plan.order)),
                np.int32(plan.batch_size), np.int32(batches.start), np.int32(batches.stop), tables.weights,
            )  # fmt: skip
        if plan.batch_weight is None:
            tables.normalizers[...] = tables.weights
        else:
            tables.send(tables.normalizers, plan.batch_weight, self.stream)
        if not isinstance(arrays, StepArrays):
            return
        if arrays.options.rounded:
            self._launch("round_weights", arrays.update_blocks, params, np.int32(n), arrays.buffers.weights)
        if arrays.options.penalized:
            self._launch("sum_weights", arrays.update_blocks, tables.words, params, np.int32(n), arrays.block_sums)

    def _prepare_order(self, plan: EpochPlan, tables: EpochTables) -> None:
        order = plan.order
        last = self._order_on_device
        if last is order or (isinstance(order, Shuffle) and last == order):
            return
        self._order_on_device = None  # if an exception ends this method, the order is partly that of another epoch
        if isinstance(order, Shuffle):
            n, shift = order.n_rows, np.int32(max(order.n_rows - 1, 1).bit_length())
            seed, epoch = np.uint64(order.seed), np.uint64(order.epoch)
            self._launch("shuffle_keys", -(-n // (4 * THREADS)), seed, epoch, np.int64(n), shift, tables.keys)
            tables.keys.sort()
            self._launch("rows_of_keys", -(-n // THREADS), tables.keys, np.int64(n), shift, tables.order)
        else:
            tables.send(tables.order, plan.row_numbers(), self.stream)
        self._order_on_device = order

    def _run_batches(self, plan: EpochPlan, control: Control) -> None:
        """Start all steps; before each graph, see whether a stop was requested."""
        if self._windows is None:
            self._start_steps(plan, control)
            return
        try:
            self._windows.begin(plan, self._rows(plan), self.stream)
            self._start_steps(plan, control)
        finally:
            self._windows.end(self.stream)

    def _start_steps(self, plan: EpochPlan, control: Control) -> None:
        started, in_flight = plan.batches.start, deque[tuple[Any, int]]()
        last_is_shorter = plan.batches.stop * plan.batch_size > len(plan.order)
        first_shorter = plan.batches.stop - last_is_shorter
        while started < plan.batches.stop and not control.stop_requested:
            rows = plan.batch_rows(started)
            same = max(first_shorter - started, 1)  # batches that follow with as many rows
            if self._persistent is not None:
                same = plan.batches.stop - started  # it takes a shorter one, too
            if self._windows is not None:
                self._windows.before(started, self.stream)
                same = min(same, self._windows.batches_left(started))
            started += (self._persistent or self._step_of(plan, rows.stop - rows.start)).start(same)
            in_flight.append((self.stream.record(), started))
            if len(in_flight) > IN_FLIGHT:
                event, control.batches_done = in_flight.popleft()
                event.synchronize()

    def _result_of(self, plan: EpochPlan, control: Control) -> EpochResult:
        """Wait for the epoch, and read its results."""
        arrays = self._arrays
        assert arrays is not None
        n = np.int32(self.network.layout.n_parameters)
        self._launch("check_finite", arrays.update_blocks, arrays.tables.words, self.params, n)
        results = HostResults(arrays.tables.results.get(stream=self.stream))
        failed, stop = results.words["failed"], results.words["next_batch"]
        if failed >= 0 and plan.halt:
            stop = failed + 1
        done = slice(plan.batches.start, stop)
        control.batches_done = failed if failed >= 0 and plan.halt else stop
        return EpochResult(
            results.losses[done], results.weights[done], failed if failed >= 0 else None, bool(results.words["finite"])
        )

    # -- arrays and steps ---------------------------------------------------------------------------

    def _arrays_for(self, plan: EpochPlan) -> EpochArrays:
        """The arrays of the previous epoch, or new ones if this plan needs others."""
        options, rows, tiling = self._options(plan), min(plan.batch_size, len(plan.order)), self._tiling(plan)
        key = options, rows, settings_of(plan), self._device.execution, tiling
        arrays = self._arrays
        own = self.X, self.target, self.weight, self.params, self.state
        replaced = any(now is not before for now, before in zip(own, self._own, strict=True))
        if replaced:
            self._data = None
        if arrays is None or replaced or key != self._key or not arrays.tables.serve(plan):
            self._arrays = self._windows = self._key = self._order_on_device = self._persistent = None
            self._steps = {}  # with the arrays, so that their memory is free for the new ones
            needed = 0 if isinstance(tiling, Tiling) else Buffers.n_bytes(options, rows)
            advice = "Use a smaller batch_size, float32 instead of float64, or narrower layers."
            with self._device.allocating(f"batches of {rows} rows", needed, advice):
                self._arrays = self._make_arrays(options, plan, rows, tiling)
            if isinstance(tiling, Tiling):
                self._persistent = PersistentKernel(self._arrays, plan, tiling)
            self._key, self._own = key, own
        elif self._data_changed:
            self._copy_data()
        assert self._arrays is not None
        return self._arrays

    def _make_arrays(self, options: KernelOptions, plan: EpochPlan, rows: int, tiling: Tiling | str) -> EpochArrays:
        assert self._own_stream is not None
        cupy = self._device.cupy
        if self._data is None or self._data_changed:
            self._copy_data()
        assert self._data is not None
        X, target = self._data
        tables = EpochTables(cupy, options, len(plan.l2), len(plan.order), len(plan.segments()))
        order = tables.order
        if isinstance(self.X, HostRows):
            self._windows = RowWindows(cupy, self.X, plan.batch_size, len(plan.order))
            X, order = self._windows.X, self._windows.order
        n_parameters = self.network.layout.n_parameters
        blocks = min(-(-n_parameters // THREADS), BLOCKS_PER_MULTIPROCESSOR * self._device.multiprocessors)
        persistent = isinstance(tiling, Tiling)
        source = module_source(options, tiling, X, plan) if isinstance(tiling, Tiling) else kernel_source(options)
        arrays = EpochArrays(
            cupy, options, self._device.module(source).get_function, source, X, order, target, self.weight, self.params,
            self.state, tables, blocks,
        )  # fmt: skip
        if persistent:
            return arrays
        return StepArrays(
            **vars(arrays),
            cublas=self._own_stream.cublas,
            buffers=Buffers(cupy, options, self.params, rows),
            block_losses=cupy.zeros(LOSS_BLOCKS, dtype=np.float64),
            block_squares=cupy.zeros(blocks, dtype=np.float64),
            block_sums=cupy.zeros(4 * blocks, dtype=np.float64),
        )

    def _copy_data(self) -> None:
        """The data as the kernels read them: the arrays themselves where possible, else copies."""
        cupy, dtype = self._device.cupy, np.int64 if _are_class_numbers(self) else self.params.dtype
        if self._data is None:
            X = self.X if isinstance(self.X, HostRows) else padded_rows(cupy, self.X)
            self._data = X, cupy.ascontiguousarray(self.target, dtype=dtype)
        else:
            for known, array in zip(self._data, (self.X, self.target), strict=True):
                if known is not array:  # the launches contain the address of the first copy
                    known[...] = array
        self._data_changed = False

    def _step_of(self, plan: EpochPlan, rows: int) -> RepeatedStep:
        if rows not in self._steps:
            assert isinstance(self._arrays, StepArrays)
            needed = Buffers.n_bytes(self._arrays.options, rows)
            with self._device.allocating(f"batches of {rows} rows", needed, "Use a smaller batch_size."):
                step = Step(self._arrays, plan, rows)
            self._steps[rows] = RepeatedStep(step, self.stream, self._steps_of_graph(plan), self._device.captures)
        return self._steps[rows]

    def _launch(self, name: str, blocks: int, *arguments: Any) -> None:
        assert self._arrays is not None
        self._arrays.kernel(name)((blocks,), (THREADS,), arguments)

    # -- parameters and state -----------------------------------------------------------------------

    def _use_arrays(self) -> None:
        needed = self.params.nbytes + self.state.nbytes
        with self._device.allocating("copies of the parameters", needed, "Use narrower layers, or float32."):
            super()._use_arrays()

    def refresh(self) -> None:
        with self._device.cuda:
            super().refresh()
        self._data_changed = True

    def write_rows(self, first: int, X: Array, target: Array, weight: Array | None = None) -> None:
        with self._device.cuda:
            super().write_rows(first, X, target, weight)
        self._data_changed = True

    def roll_back(self) -> None:
        with self._device.cuda:
            super().roll_back()

    def current(self, out: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        with self._device.cuda:
            return super().current(out)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _are_class_numbers(trainer: Trainer) -> bool:
    return bool(trainer.network.kind.loss.name == "cross_entropy" and trainer.target.ndim == 1)


def _unsupported_data(trainer: Trainer) -> str:
    """Why the kernels cannot train this network on these data; empty if they can."""
    network, X, target, weight = trainer.network, trainer.X, trainer.target, trainer.weight
    params, state, sizes = trainer.params, trainer.state, network.layout.sizes
    if any(row.backward is None or row.rowwise for row in network.activations[:-1]):
        return "the activation of a hidden layer has no elementwise derivative"
    if network.kind.output.backward is None:
        return "the output activation has no derivative"
    if params.dtype not in (np.float32, np.float64) or X.dtype not in (params.dtype, np.uint8):
        return f"X has dtype {X.dtype} and the parameters {params.dtype}"
    # the kernels count in 32 bits
    if network.layout.n_parameters >= 2**30 or trainer.batch_size * max(map(padded, sizes)) >= 2**33:
        return "the network has 2**30 parameters or more, or a batch 2**33 entries"
    fits = (
        state.dtype == params.dtype
        and params.flags.c_contiguous
        and state.flags.c_contiguous
        and (weight is None or (weight.ndim == 1 and weight.dtype == params.dtype and weight.flags.c_contiguous))
        and (
            target.dtype.kind in "iu"
            if _are_class_numbers(trainer)
            else target.shape == (X.shape[0], sizes[-1]) and target.dtype == params.dtype
        )
    )
    return "" if fits else "the shapes or dtypes of the arrays do not match the network"
