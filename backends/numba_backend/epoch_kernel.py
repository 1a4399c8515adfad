"""One or more whole epochs of training as one compiled call for each thread.

The steps, and the numbers, are those of `backends.loop`; `panels` defines the memory layout, and `step_kernels` the
functions of a step.  `batch_tables` says which rows each batch has, and to which epoch it belongs; nothing else happens
between two epochs.  The kernel runs the steps in phases (see `threads`): no weight may change before all gradients that
need it are computed, and none may be used before all have changed.  The shapes determine how the work of a phase is
divided among the threads:

- by rows of the batch: a thread computes its rows forward and backward through all layers, and reads all weights;
- by panels, in the first `Panels.shared` layers: a thread computes some columns of the outputs and, in the backward
  pass, updates some of the weights.  This takes more phases, but each core keeps its part of the weights in its
  own cache.

Zeros of the input are left out of the products with the weights of the first layer, and with its gradients, if the
data have many (see `nonzero_lists`).  A product of zero and a number that is not finite would be lost.  So they are
left out only while a bound says that all those weights or gradients are finite.

Every number is computed by one thread, in an order that depends neither on the division nor on the number of
threads.  Therefore the results have the same bits for any number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import types
from numpy.typing import NDArray

from backends.numba_backend.batch_tables import EPOCH, NUMBER, PLAN, POSITION, ROWS_OF_BATCH, START
from backends.numba_backend.integers import larger, smaller
from backends.numba_backend.kernel_cache import function_of_c
from backends.numba_backend.nonzero_lists import largest

from backends.numba_backend.panels import (  # isort: skip
    BLOCK, CHUNK, CHUNKS, FACTOR_SQUARES, FIELDS, FIRST_CHUNK, N_IN, PANELS, SCALE_INPUTS, SUMS, UPDATE_FACTORS,
)  # fmt: skip
from backends.numba_backend.step_kernels import (  # isort: skip
    GRADIENT_ONLY, IN_PLACE, L2, SHRINK, UPDATES, WHOLE_GRADIENT, divide, step_functions,
)  # fmt: skip
from backends.numba_backend.pointers import offset
from backends.numba_backend.register_tiles import ROWS
from backends.numba_backend.step_parts import call
from backends.numba_backend.subnormals import flush_subnormals, restore_mode
from backends.numba_backend.synchronization import (
    atomic_load,
    atomic_store,
    end_phase,
    is_last_share,
    next_share,
    take_share,
)
from backends.numba_backend.vectors import lanes

Array = NDArray[Any]

DONE, LAST = range(2)
"""Entries of the kernel's result: losses written; last batch to run.  A flag for each plan follows: whether the
parameters are finite at its end."""


@functools.cache
def epoch_kernel(dtype: np.dtype[Any]) -> _EpochKernel:
    """The kernel for float32 or float64, compiled or loaded from the cache."""
    real = dtype.type
    one = real(1)
    n_fields = len(FIELDS)
    largest_sum = float(np.finfo(dtype).max) / 1000  # weights below are finite also after rounding errors
    (
        gather, list_inputs, list_chunk, forward, forward_shared, transpose_delta, input_delta,
        activation_backward, gradient, update, sum_weights, total_loss, penalty, clip_factor, chunk_extent,
        chunks_of, panels_of, all_finite, largest_delta,
    ) = step_functions(dtype)  # fmt: skip

    def epoch(  # type: ignore[no-untyped-def]
        t, threads, phase_counters, control_words, result_pointer, loss_pointer, n_batches,
        first_layer, n_layers, space, sizes, scratch, row_losses, list_buffer, list_places, weight_bound, tiles,
        X, X_row, X_bytes, bytes_row, are_bytes, input_scale, order,
        numbers, targets, row_shares, weighted, losses, loss_loop, loss_factor, delta_factor, ceiling,
        rule_loop, mode, all_scalars, n_scalars, all_factors, n_factors, l1, clip_value, clip_norm,
        all_batches, n_entries, seed, row_offset, halt,
    ):  # fmt: skip
        batch_size, shared, segment_size = sizes[0], sizes[1], sizes[2]
        gradient_start, chunks, penalized = sizes[3], sizes[4], sizes[5]
        finite = offset(result_pointer, LAST + 1)
        last_layer = offset(first_layer, (n_layers - 1) * n_fields)
        transposed, chunk_scratch = offset(space, scratch[0]), offset(space, scratch[1])
        row_scratch = offset(space, scratch[2])
        chunk_sums = offset(row_losses, batch_size)  # four for each chunk: two of the weights, two of the gradient
        sums_scratch = offset(chunk_sums, 4 * chunks + t * 4 * lanes(space))
        l1_factor, bound = real(l1), real(clip_value)
        source = X, X_row, X_bytes, bytes_row, are_bytes, input_scale
        all_lists = list_buffer, list_places[0], list_places[1], list_places[2 + t]
        no_lists = list_buffer, 0, 0, 0
        listed = list_places[0] > 0
        scaled = first_layer[SCALE_INPUTS] != 0
        # of the weights of the first layer, and of each tile of its input, in two buffers if there are two of these
        input_bounds = offset(weight_bound, 1)
        next_bounds = offset(input_bounds, tiles)

        mode_before = flush_subnormals()
        counter = seed, np.uint64(all_batches[EPOCH]), np.uint64(all_batches[NUMBER]), row_offset
        phase = 1
        share = take_share(phase_counters, phase, t, threads)
        while share >= 0:
            if penalized:
                for l in range(n_layers):
                    layer = offset(first_layer, l * n_fields)
                    first, last = chunks_of(layer, share, threads)
                    for chunk in range(first, last):
                        sum_weights(layer, space, chunk, sums_scratch, chunk_sums)
            if shared and not scaled:
                first, last = divide(all_batches[ROWS_OF_BATCH], ROWS, share, threads)
                gather(first_layer, space, source, order, all_batches[START], first, last, 0, counter)
                list_inputs(first_layer, space, first, last, 0, all_lists, input_bounds)
            share = next_share(phase_counters, phase, t, threads)

        for batch in range(n_batches):
            entry, parity = offset(all_batches, batch * n_entries), batch & 1
            start, rows = entry[START], entry[ROWS_OF_BATCH]
            counter = seed, np.uint64(entry[EPOCH]), np.uint64(entry[NUMBER]), row_offset
            if shared:
                input_bounds = offset(weight_bound, 1 + parity * tiles)
                next_bounds = offset(weight_bound, 1 + (1 - parity) * tiles)
            batch_factors, rule_scalars = offset(all_factors, batch * n_factors), offset(all_scalars, batch * n_scalars)
            updates = batch_factors[UPDATES] != 0
            forward_lists = all_lists if weight_bound[0] < largest_sum else no_lists

            # A scaling layer needs the factors after the last update.
            if shared and scaled:
                phase += 1
                share = take_share(phase_counters, phase, t, threads)
                while share >= 0:
                    first, last = divide(rows, ROWS, share, threads)
                    gather(first_layer, space, source, order, start, first, last, parity, counter)
                    list_inputs(first_layer, space, first, last, parity, all_lists, input_bounds)
                    share = next_share(phase_counters, phase, t, threads)

            # Forward through the shared layers.
            for l in range(shared):
                layer = offset(first_layer, l * n_fields)
                phase += 1
                share = take_share(phase_counters, phase, t, threads)
                while share >= 0:
                    forward_shared(
                        layer, l == n_layers - 1, space, rows, share, threads, parity, counter, forward_lists
                    )
                    share = next_share(phase_counters, phase, t, threads)

            # The other layers, forward and backward: the rows of the batch are independent of each other.
            phase += 1
            share = take_share(phase_counters, phase, t, threads)
            while share >= 0:
                first, last = divide(rows, ROWS, share, threads)
                for i0 in range(first, last, BLOCK):
                    i1 = smaller(i0 + BLOCK, last)
                    if not shared:
                        gather(first_layer, space, source, order, start, i0, i1, 0, counter)
                        list_inputs(first_layer, space, i0, i1, 0, all_lists, input_bounds)
                    for l in range(shared, n_layers):
                        layer = offset(first_layer, l * n_fields)
                        forward(
                            layer, l == n_layers - 1, space, i0, i1, 0, layer[PANELS], parity, counter, forward_lists
                        )
                    call(
                        losses,
                        (
                            last_layer, space, loss_loop, delta_factor, ceiling, order, numbers, targets, row_shares,
                            weighted, start, rows, i0, i1, row_scratch, row_losses,
                        ),
                    )  # fmt: skip
                    for l in range(n_layers - 1, larger(shared, 1) - 1, -1):
                        layer = offset(first_layer, l * n_fields)
                        transpose_delta(layer, space, i0, i1, transposed)
                        for k0 in range(0, layer[N_IN], CHUNK):
                            k1 = smaller(k0 + CHUNK, layer[N_IN])
                            input_delta(layer, space, i0, i1, k0, k1, transposed, chunk_scratch)
                        activation_backward(layer, space, i0, i1, 0, layer[N_IN], counter)
                if is_last_share(phase_counters, phase, threads):
                    loss = total_loss(row_losses, rows, loss_factor)
                    if penalized:
                        loss += penalty(chunk_sums, chunks, batch_factors[L2], l1)
                    loss_pointer[batch] = loss
                    result_pointer[DONE] = batch + 1
                    if halt and not math.isfinite(loss):
                        finite[entry[PLAN]] = largest(space, segment_size) < math.inf
                        atomic_store(result_pointer, LAST, batch)
                    end_phase(phase_counters, phase)
                share = take_share(phase_counters, phase, t, threads)
            if atomic_load(result_pointer, LAST) <= batch:
                break

            # Backward through the shared layers.  The same chunk of all panels is updated after its last use.
            for l in range(shared - 1, 0, -1):
                layer = offset(first_layer, l * n_fields)
                phase += 1
                share = take_share(phase_counters, phase, t, threads)
                while share >= 0:
                    transpose_delta(layer, space, 0, rows, transposed)
                    first, last = divide(layer[CHUNKS], 1, share, threads)
                    for c in range(first, last):
                        k0, k1 = c * CHUNK, smaller((c + 1) * CHUNK, layer[N_IN])
                        if k0 < k1:
                            input_delta(layer, space, 0, rows, k0, k1, transposed, chunk_scratch)
                        if updates and mode < WHOLE_GRADIENT:
                            for chunk in range(c, layer[PANELS] * layer[CHUNKS], layer[CHUNKS]):
                                update(
                                    layer, space, rows, chunk, parity, mode, rule_loop, rule_scalars, batch_factors,
                                    l1_factor, bound, one, segment_size, gradient_start, chunk_scratch, no_lists,
                                )  # fmt: skip
                                if penalized:
                                    sum_weights(layer, space, chunk, sums_scratch, chunk_sums)
                    k0, k1 = first * CHUNK, smaller(last * CHUNK, layer[N_IN])
                    if k0 < k1:
                        activation_backward(layer, space, 0, rows, k0, k1, counter)
                    share = next_share(phase_counters, phase, t, threads)

            # The other layers' update, or that of all layers if the gradient is clipped by its norm.
            factor, delta_bound = one, -1.0
            if updates and mode >= WHOLE_GRADIENT:
                phase += 1
                share = take_share(phase_counters, phase, t, threads)
                while share >= 0:
                    if listed and delta_bound < 0:
                        delta_bound = largest_delta(first_layer, space, rows)
                    lists = all_lists if delta_bound < math.inf else no_lists
                    for l in range(n_layers):
                        layer = offset(first_layer, l * n_fields)
                        first, last = chunks_of(layer, share, threads)
                        for c in range(layer[CHUNKS]):
                            p0, p1 = panels_of(layer, c, first, last)
                            if l == 0 and p0 < p1:
                                list_chunk(layer, space, rows, c, parity, lists)
                            for p in range(p0, p1):
                                chunk = p * layer[CHUNKS] + c
                                start_of_chunk, n, _, width = chunk_extent(layer, chunk)
                                g = offset(space, gradient_start + start_of_chunk)
                                gradient(
                                    layer, space, rows, chunk, parity, real(batch_factors[L2]), l1_factor, bound, g,
                                    lists,
                                )  # fmt: skip
                                sums_of_chunk = offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk) + 2)
                                if mode == WHOLE_GRADIENT:
                                    call(layer[SUMS], (g, n, width, sums_scratch, sums_of_chunk))
                    share = next_share(phase_counters, phase, t, threads)
                sums_scratch[0] = 0.0
                if scaled:
                    call(first_layer[FACTOR_SQUARES], (first_layer, space, bound, sums_scratch))
                factor = clip_factor(chunk_sums, chunks, sums_scratch[0], clip_norm)
            phase += 1
            share = take_share(phase_counters, phase, t, threads)
            while share >= 0:
                if listed and delta_bound < 0 and mode != WHOLE_GRADIENT:
                    delta_bound = largest_delta(first_layer, space, rows)
                lists = all_lists if delta_bound < math.inf and mode != WHOLE_GRADIENT else no_lists
                for l in range(n_layers):
                    if not updates or mode == GRADIENT_ONLY or (0 < l < shared and mode != WHOLE_GRADIENT):
                        continue
                    layer = offset(first_layer, l * n_fields)
                    first, last = chunks_of(layer, share, threads)
                    for c in range(layer[CHUNKS]):
                        p0, p1 = panels_of(layer, c, first, last)
                        if l == 0 and p0 < p1:
                            list_chunk(layer, space, rows, c, parity, lists)
                        for p in range(p0, p1):
                            chunk = p * layer[CHUNKS] + c
                            update(
                                layer, space, rows, chunk, parity, mode, rule_loop, rule_scalars, batch_factors,
                                l1_factor, bound, factor, segment_size, gradient_start, chunk_scratch, lists,
                            )  # fmt: skip
                            if penalized:
                                sum_weights(layer, space, chunk, sums_scratch, chunk_sums)
                            if l == 0 and listed and mode != IN_PLACE and not all_finite(layer, space, chunk):
                                weight_bound[0] = math.inf  # any thread may write this, and nothing else
                if shared and not scaled and batch + 1 < n_batches:
                    following = offset(entry, n_entries)
                    counter = seed, np.uint64(following[EPOCH]), np.uint64(following[NUMBER]), row_offset
                    first, last = divide(following[ROWS_OF_BATCH], ROWS, share, threads)
                    gather(first_layer, space, source, order, following[START], first, last, 1 - parity, counter)
                    list_inputs(first_layer, space, first, last, 1 - parity, all_lists, next_bounds)
                if is_last_share(phase_counters, phase, threads):
                    if scaled and updates:
                        call(
                            first_layer[UPDATE_FACTORS],
                            (first_layer, space, bound, factor, rule_loop, rule_scalars, segment_size, row_scratch),
                        )
                    if listed and updates and mode == IN_PLACE:
                        total = 0.0
                        for i in range(0, rows, ROWS):
                            total += ROWS * input_bounds[i // ROWS]
                        # at most this much is added to a weight; a little more for rounding errors
                        change = abs(float(rule_scalars[0])) * total * delta_bound
                        weight_bound[0] = (weight_bound[0] * abs(batch_factors[SHRINK]) + change) * 1.001
                    atomic_store(control_words, 1, entry[POSITION] + 1)
                    ends = batch + 1 == n_batches or offset(entry, n_entries)[PLAN] != entry[PLAN]
                    if atomic_load(control_words, 0) != 0:
                        ends = True
                        atomic_store(result_pointer, LAST, batch)
                    if ends and mode != GRADIENT_ONLY:
                        finite[entry[PLAN]] = largest(space, segment_size) < math.inf
                    end_phase(phase_counters, phase)
                share = take_share(phase_counters, phase, t, threads)
            if atomic_load(result_pointer, LAST) <= batch:
                break
        restore_mode(mode_before)

    return _EpochKernel(dtype, epoch)


class _EpochKernel:
    """Calls the compiled function for arrays.  Other Python threads can run meanwhile."""

    def __init__(self, dtype: np.dtype[Any], epoch: Callable[..., None]) -> None:
        self._dtype = dtype
        real, size, word, double = numba.from_dtype(dtype), types.intp, types.uint64, types.float64
        kinds = real, size, double, types.int32, types.uint8
        reals, sizes, doubles, integers, bytes_ = map(types.CPointer, kinds)  # type: ignore[attr-defined]
        self._run = function_of_c(
            epoch,
            (
                size, size, sizes, sizes, sizes, doubles, size,
                sizes, size, reals, sizes, sizes, doubles, integers, sizes, doubles, size,
                reals, size, bytes_, size, size, real, sizes,
                sizes, reals, reals, size, size, size, real, real, real,
                size, size, reals, size, doubles, size, double, double, double,
                sizes, size, word, size, size,
            ),
        )  # fmt: skip

    def __call__(
        self, t: int, threads: int, phases: Array, control: Array, result: Array, batch_losses: Array,
        table: Array, space: Array, sizes: Array, scratch: Array, double_scratch: Array,
        list_buffer: Array, list_places: Array, bounds: Array,
        X: Array, X_bytes: Array, input_scale: float, order: Array, numbers: Array, targets: Array, row_shares: Array,
        losses: int, loss_loop: int, loss_factor: float, delta_factor: float, ceiling: float,
        rule_loop: int, mode: int, scalars: Array, factors: Array, l1: float, clip_value: float, clip_norm: float,
        batches: Array, seed: int, row_offset: int, halt: bool,
    ) -> None:  # fmt: skip
        real = self._dtype
        self._run(
            t, threads, _at(phases, _SIZE), _at(control, _SIZE), _at(result, _SIZE),
            _at(batch_losses, _DOUBLE), batch_losses.size,
            _at(table, _SIZE), len(table), _at(space, real), _at(sizes, _SIZE), _at(scratch[t], _SIZE),
            _at(double_scratch, _DOUBLE), _at(list_buffer, _INT32), _at(list_places, _SIZE),
            _at(bounds, _DOUBLE), (bounds.size - 1) // 2,
            _at(X, real), X.strides[0] // X.itemsize, _at(X_bytes, _BYTE), X_bytes.strides[0],
            X_bytes.size > 0, input_scale, _at(order, _SIZE),
            _at(numbers, _SIZE), _at(targets, real), _at(row_shares, real), row_shares.size > 0,
            losses, loss_loop, loss_factor, delta_factor, ceiling,
            rule_loop, mode, _at(scalars, real), scalars.shape[1], _at(factors, _DOUBLE), factors.shape[1],
            l1, clip_value, clip_norm, _at(batches, _SIZE), batches.shape[1], seed, row_offset, halt,
        )  # fmt: skip


def _at(array: Array, kind: np.dtype[Any]) -> int:
    """Address of the first element; 0 if there is none."""
    if array.dtype != kind:
        raise TypeError(f"the kernel needs an array of {kind}, not of {array.dtype}")
    try:
        return _address_of(_of_buffer(array))  # type: ignore[arg-type]  # of Buffer, since Python 3.12
    except (TypeError, ValueError):  # read-only, not contiguous, or empty
        return array.__array_interface__["data"][0] if array.size else 0  # takes five times as long


_address_of, _of_buffer = ctypes.addressof, ctypes.c_byte.from_buffer
_SIZE, _DOUBLE, _INT32, _BYTE = map(np.dtype, (np.int64, np.float64, np.int32, np.uint8))
