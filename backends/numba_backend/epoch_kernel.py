"""A whole epoch of training as one compiled call for each thread.

The steps, and the numbers, are those of `backends.loop`; `panels` defines the memory layout.  First come the
pieces of a step, each on a rectangle of its data, then the epoch.  It runs the pieces in phases separated by
barriers (see `threads`): no weight may change before all gradients that need it are computed, and none may be
used before all have changed.  The shapes decide how threads divide the work of a phase:

- by rows of the batch: a thread computes its rows forward and backward through all layers, and reads all weights;
- by panels, in the first `Panels.shared` layers: a thread computes some columns of the outputs and, in the backward
  pass, updates some of the weights.  This takes more phases, but each core keeps its part of the weights in its
  own cache.

Every number is computed by one thread, in an order that depends neither on the division nor on the number of
threads.  Therefore the results have the same bits for any number of threads.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numba
import numpy as np
from numba.core import types

from backends.numba_backend.cache import kernel
from backends.numba_backend.kernels import blocks

from backends.numba_backend.panels import (  # isort: skip
    ACTIVATION, BLOCK, CHUNK, CHUNKS, DELTA, FIELDS, FIRST_CHUNK, INPUT, INPUT_ROW, N_IN, N_OUT, NUMBER, PADDED,
    PANELS, ROW, SAVED, SAVES_Z, SCALE, SECOND, THRESHOLD, WEIGHTS, WIDTH,
)  # fmt: skip
from backends.numba_backend.parts import part
from backends.numba_backend.threads import atomic_load, atomic_store, end_phase, is_last_share, next_share, take_share
from backends.numba_backend.tiles import ROWS, lanes, multiply_panel, offset, pointer, stay_a_call, transpose
from backends.numba_backend.vector_math import abs as absolute
from backends.numba_backend.vector_math import maximum, minimum, sign

CLASS, DISTRIBUTION, FUSED, ENTRIES, SOFTMAX = range(5)
"""Kinds of loss: cross-entropy for class numbers; for rows of probabilities; a formula fused with its output's
activation; a formula on any other output; on softmax."""

IN_PLACE, BY_CHUNK, WHOLE_GRADIENT = range(3)
"""Update modes: the gradient is added to the weights directly; it is stored chunk by chunk; it is stored whole."""

SHRINK, DECAY, L2, UPDATES = range(4)
"""Columns of the batch factors: factor of the weights with and without the l2 penalty; l2; whether to update."""

DONE, FAILED, LAST = range(3)
"""The kernel's report: losses written; first batch whose loss was not finite, or -1; the last batch to run."""


@part
def _share(count, unit, t, threads):  # type: ignore[no-untyped-def]
    """First and last + 1 of the items of thread t, of `count` items in groups of `unit` that are not divided."""
    groups = (count + unit - 1) // unit
    return min(groups * t // threads * unit, count), min(groups * (t + 1) // threads * unit, count)


@functools.cache
def epoch_kernel(dtype: np.dtype[Any]) -> Any:
    """The kernel for float32 or float64, compiled or read from the cache."""
    real = dtype.type
    zero, one, infinity = real(0), real(1), real(math.inf)
    n_fields = len(FIELDS)
    block = blocks(dtype)
    apply_activation, apply_slope, apply_rule = block.apply_activation, block.apply_slope, block.apply_rule
    softmax_row, softmax_slope_row, drop_row = block.softmax_row, block.softmax_slope_row, block.drop_row
    class_loss, distribution_loss, entries_loss = block.class_loss, block.distribution_loss, block.entries_loss

    # In what follows `layer` points to a layer's row of the table and `space` to the buffer; i counts rows of
    # the batch, k inputs of a layer, j its outputs, p its panels.

    @part
    def columns_of(layer, p):  # type: ignore[no-untyped-def]
        return min(layer[WIDTH], layer[PADDED] - p * layer[WIDTH])

    @part
    def drop(layer, space, x, row, i0, i1, first, last, counter):  # type: ignore[no-untyped-def]
        """Dropout on inputs `first` to `last` of a layer, or on their gradients."""
        stay_a_call()
        seed, epoch, step, first_row = counter
        threshold, scale, number = np.uint64(layer[THRESHOLD]), space[layer[SCALE]], np.uint64(layer[NUMBER])
        for i in range(i0, i1):
            at = offset(x, i * row)
            drop_row(at, at, first_row + i, layer[N_IN], first, last, threshold, scale, seed, epoch, step, number)

    # -- forward ------------------------------------------------------------------------------------

    @part
    def gather(layer, space, source, order, start, i0, i1, parity, counter):  # type: ignore[no-untyped-def]
        """Copy rows of the batch to the input of the first layer."""
        stay_a_call()
        X, X_row, X_bytes, bytes_row, are_bytes, input_scale = source
        n, row = layer[N_IN], layer[INPUT_ROW]
        inputs = offset(space, layer[INPUT] + parity * layer[SECOND])
        for i in range(i0, i1):
            x = offset(inputs, i * row)
            if are_bytes:
                bytes_ = offset(X_bytes, order[start + i] * bytes_row)
                for k in range(n):
                    x[k] = real(bytes_[k]) * input_scale
            else:
                numbers = offset(X, order[start + i] * X_row)
                for k in range(n):
                    x[k] = numbers[k]
        if layer[THRESHOLD]:
            drop(layer, space, inputs, row, i0, i1, 0, n, counter)

    @part
    def forward(layer, is_last, space, i0, i1, p0, p1, parity, counter):  # type: ignore[no-untyped-def]
        """Rows i0 to i1 of the outputs in panels p0 to p1, activated and written as the next layer's input."""
        stay_a_call()
        x_row, row, depth = layer[INPUT_ROW], layer[ROW], layer[N_IN] + 1
        x = offset(space, layer[INPUT] + parity * layer[SECOND] + i0 * x_row)
        z = offset(space, layer[SAVED] + i0 * row)
        for p in range(p0, p1):
            first, width = p * layer[WIDTH], columns_of(layer, p)
            W = offset(space, layer[WEIGHTS] + first * depth)
            multiply_panel(x, x_row, 1, W, width, offset(z, first), row, i1 - i0, width, depth, one, False)
        if is_last:
            return
        above = offset(layer, n_fields)
        y = offset(space, above[INPUT] + i0 * row)
        copies = above[INPUT] != layer[SAVED]
        first, last = p0 * layer[WIDTH], min(p1 * layer[WIDTH], layer[PADDED])
        pieces, length = i1 - i0, last - first
        if p1 - p0 == layer[PANELS]:  # whole rows, which are contiguous
            pieces, length = 1, (i1 - i0) * row
        for piece in range(pieces):
            source, target = offset(z, piece * row + first), offset(y, piece * row + first)
            if not layer[SAVES_Z]:
                apply_activation(layer[ACTIVATION], source, length)
            if copies:
                for j in range(length):
                    target[j] = source[j]
            if layer[SAVES_Z]:
                apply_activation(layer[ACTIVATION], target, length)
        if above[THRESHOLD]:
            y_all, last = offset(space, above[INPUT]), min(last, layer[N_OUT])
            drop(above, space, y_all, row, i0, i1, first, last, counter)
        if p1 == layer[PANELS]:
            for i in range(i1 - i0):
                y[i * row + layer[N_OUT]] = one

    # -- loss ---------------------------------------------------------------------------------------

    @part
    def losses(  # type: ignore[no-untyped-def]
        layer, space, kind, code, delta_factor, ceiling, order, targets_of, start, rows, i0, i1, sums_scratch, result
    ):
        """Losses of rows i0 to i1, and their gradients with respect to z."""
        stay_a_call()
        numbers, targets, row_shares, weighted = targets_of
        n, row, y = layer[N_OUT], layer[ROW], offset(sums_scratch, layer[N_OUT])
        for i in range(i0, i1):
            z, delta = offset(space, layer[SAVED] + i * row), offset(space, layer[DELTA] + i * row)
            row_share = row_shares[start + i] if weighted else real(1.0 / rows)
            if kind == CLASS:
                result[i] = class_loss(z, numbers[order[start + i]], row_share, ceiling, delta, n)
                continue
            target = offset(targets, order[start + i] * n)
            if kind == DISTRIBUTION:
                result[i] = distribution_loss(z, target, row_share, ceiling, delta, n)
            elif kind == FUSED:
                result[i] = entries_loss(code, z, target, sums_scratch, row_share, delta_factor, ceiling, delta, n)
            elif kind == SOFTMAX:
                softmax_row(z, y, n)
                result[i] = entries_loss(code, y, target, sums_scratch, row_share, delta_factor, ceiling, delta, n)
                softmax_slope_row(delta, y, delta, n)
            else:
                for j in range(n):
                    y[j] = z[j]
                apply_activation(layer[ACTIVATION], y, n)
                result[i] = entries_loss(code, y, target, sums_scratch, row_share, delta_factor, ceiling, delta, n)
                apply_slope(layer[ACTIVATION], delta, z if layer[SAVES_Z] else y, n)

    # -- backward -----------------------------------------------------------------------------------

    @part
    def transpose_delta(layer, space, i0, i1, transposed):  # type: ignore[no-untyped-def]
        """Transpose the gradients of rows i0 to i1: strips of two vectors of rows, ``[strip][output][row]``."""
        stay_a_call()
        n, row, strip = layer[N_OUT], layer[ROW], 2 * lanes(space)
        delta = offset(space, layer[DELTA])
        for i in range(i0, i1, strip):
            transpose(offset(delta, i * row), row, offset(transposed, (i - i0) * n), strip, min(strip, i1 - i), n)

    @part
    def input_delta(layer, space, i0, i1, k0, k1, transposed, tile):  # type: ignore[no-untyped-def]
        """``dx.T = W @ dz.T`` for inputs k0 to k1: W is read in memory order, by rows of panels."""
        stay_a_call()
        below = offset(layer, -n_fields)
        n, depth, row, strip = layer[N_OUT], layer[N_IN] + 1, below[ROW], 2 * lanes(space)
        for i in range(i0, i1, strip):
            rows = min(strip, i1 - i)
            columns = strip if rows > lanes(space) else lanes(space)
            for p in range(layer[PANELS]):
                first, width = p * layer[WIDTH], columns_of(layer, p)
                W = offset(space, layer[WEIGHTS] + first * depth + k0 * width)
                dz = offset(transposed, (i - i0) * n + first * strip)
                multiply_panel(W, width, 1, dz, strip, tile, strip, k1 - k0, columns, min(width, n - first), one, p > 0)
            transpose(tile, strip, offset(space, below[DELTA] + i * row + k0), row, k1 - k0, rows)

    @part
    def activation_backward(layer, space, i0, i1, k0, k1, counter):  # type: ignore[no-untyped-def]
        """Backward pass through the dropout and the activation that produced inputs k0 to k1."""
        stay_a_call()
        below = offset(layer, -n_fields)
        row = below[ROW]
        if layer[THRESHOLD]:
            drop(layer, space, offset(space, below[DELTA]), row, i0, i1, k0, k1, counter)
        pieces, length = i1 - i0, (below[PADDED] if k1 == layer[N_IN] else k1) - k0
        if k1 - k0 == layer[N_IN]:
            pieces, length = 1, (i1 - i0) * row
        for piece in range(pieces):
            at = (i0 + piece) * row + k0
            delta, saved = offset(space, below[DELTA] + at), offset(space, below[SAVED] + at)
            apply_slope(below[ACTIVATION], delta, saved, length)

    # -- update: the chunks of a layer are numbered panel by panel ----------------------------------

    @part
    def rows_of(layer, chunk):  # type: ignore[no-untyped-def]
        """Panel of a chunk, and its first row and the one after its last."""
        first = chunk % layer[CHUNKS] * CHUNK
        return chunk // layer[CHUNKS], first, min(first + CHUNK, layer[N_IN] + 1)

    @part
    def chunk_extent(layer, chunk):  # type: ignore[no-untyped-def]
        """Start of a chunk, number of its elements, number of those before the biases, width of its panel."""
        p, k0, k1 = rows_of(layer, chunk)
        width = columns_of(layer, p)
        at = layer[WEIGHTS] + p * layer[WIDTH] * (layer[N_IN] + 1) + k0 * width
        return at, (k1 - k0) * width, (min(k1, layer[N_IN]) - k0) * width, width

    @part
    def add_gradient(layer, space, rows, chunk, parity, factor, target, accumulate):  # type: ignore[no-untyped-def]
        """A chunk of ``factor * x.T @ dz``, summed over blocks of the batch in order."""
        x_row, row = layer[INPUT_ROW], layer[ROW]
        p, k0, k1 = rows_of(layer, chunk)
        width = columns_of(layer, p)
        x = offset(space, layer[INPUT] + parity * layer[SECOND] + k0)
        dz = offset(space, layer[DELTA] + p * layer[WIDTH])
        for i in range(0, rows, BLOCK):
            multiply_panel(
                offset(x, i * x_row), 1, x_row, offset(dz, i * row), row, target, width,
                k1 - k0, width, min(BLOCK, rows - i), factor, accumulate or i > 0,
            )  # fmt: skip

    @part
    def gradient(layer, space, rows, chunk, parity, l2, l1, clip_value, g):  # type: ignore[no-untyped-def]
        """Gradient of a chunk, with that of the penalties, clipped by value."""
        stay_a_call()
        at, n, n_weights, _ = chunk_extent(layer, chunk)
        W = offset(space, at)
        add_gradient(layer, space, rows, chunk, parity, one, g, False)
        if l2 != zero:
            for j in range(n_weights):
                g[j] += l2 * W[j]
        if l1 != zero:
            for j in range(n_weights):
                g[j] += l1 * sign(W[j])
        if clip_value < infinity:
            for j in range(n):
                g[j] = minimum(maximum(g[j], -clip_value), clip_value)

    @part
    def update(  # type: ignore[no-untyped-def]
        layer,
        space,
        rows,
        chunk,
        parity,
        mode,
        rule,
        scalars,
        factors,
        l1,
        clip_value,
        factor,
        part_size,
        gradient_at,
        chunk_scratch,
    ):
        """Update the parameters and the state of a chunk."""
        stay_a_call()
        at, n, n_weights, _ = chunk_extent(layer, chunk)
        W, g = offset(space, at), chunk_scratch
        if mode == IN_PLACE:
            shrink = real(factors[SHRINK])
            if shrink != one:
                for j in range(n_weights):
                    W[j] *= shrink
            add_gradient(layer, space, rows, chunk, parity, -scalars[0], W, True)
            return
        if mode == WHOLE_GRADIENT:
            g = offset(space, gradient_at + at)
            for j in range(n):
                g[j] *= factor
        else:
            gradient(layer, space, rows, chunk, parity, real(factors[L2]), l1, clip_value, g)
        decay = real(factors[DECAY])
        if decay != one:
            for j in range(n_weights):
                W[j] *= decay
        apply_rule(rule, W, g, offset(space, part_size + at), part_size, scalars, n)

    @part
    def sums(x, n, width, sums_scratch, result):  # type: ignore[no-untyped-def]
        """Sums of the squares and of the absolute values of n elements, in double precision, `width` at a time."""
        stay_a_call()
        squares, magnitudes = sums_scratch, offset(sums_scratch, width)
        for j in range(width):
            squares[j] = magnitudes[j] = 0.0
        for i in range(0, n, width):
            for j in range(width):
                squares[j] += x[i + j] * x[i + j]
                magnitudes[j] += absolute(x[i + j])
        result[0] = result[1] = 0.0
        for j in range(width):
            result[0] += squares[j]
            result[1] += magnitudes[j]

    @part
    def sum_weights(layer, space, chunk, sums_scratch, chunk_sums):  # type: ignore[no-untyped-def]
        """Store the sums over a chunk's weights that the penalties need."""
        at, _, n_weights, width = chunk_extent(layer, chunk)
        sums(offset(space, at), n_weights, width, sums_scratch, offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk)))

    @part
    def total_loss(row_losses, rows, loss_factor):  # type: ignore[no-untyped-def]
        loss = 0.0
        for i in range(rows):
            loss += row_losses[i]
        return loss * loss_factor

    @part
    def penalty(chunk_sums, chunks, l2, l1):  # type: ignore[no-untyped-def]
        value = 0.0
        for chunk in range(chunks):
            value += 0.5 * l2 * chunk_sums[4 * chunk] + l1 * chunk_sums[4 * chunk + 1]
        return value

    @part
    def clip_factor(chunk_sums, chunks, clip_norm):  # type: ignore[no-untyped-def]
        """Factor of the gradient that keeps its norm within the bound."""
        squares = 0.0
        for chunk in range(chunks):
            squares += chunk_sums[4 * chunk + 2]
        factor = clip_norm / (math.sqrt(squares) + 1e-6)
        return real(1.0 if factor > 1 else factor)

    # -- how threads divide the work ----------------------------------------------------------------

    @part
    def forward_shared(layer, is_last, space, rows, t, threads, parity, counter):  # type: ignore[no-untyped-def]
        """This thread's part of a layer's output: whole panels, and tiles of a panel that threads share."""
        groups = (rows + ROWS - 1) // ROWS
        task, end = _share(layer[PANELS] * groups, 1, t, threads)
        while task < end:
            p, group = task // groups, task % groups
            if group == 0 and end - task >= groups:
                p1, count, i0, i1 = end // groups, (end // groups - p) * groups, 0, rows
            else:
                count = min(groups - group, end - task)
                p1, i0, i1 = p + 1, group * ROWS, min(rows, (group + count) * ROWS)
            for i in range(i0, i1, BLOCK):
                forward(layer, is_last, space, i, min(i + BLOCK, i1), p, p1, parity, counter)
            task += count

    @part
    def chunks_of(layer, t, threads):  # type: ignore[no-untyped-def]
        """First and last + 1 of the chunks of a layer that this thread updates."""
        return _share(layer[PANELS] * layer[CHUNKS], 1, t, threads)

    # -- the epoch ----------------------------------------------------------------------------------

    @kernel
    def epoch(  # type: ignore[no-untyped-def]
        t, threads, phases, control, result, batch_losses,
        table, space, sizes, scratch_offsets, double_scratch,
        X, X_bytes, input_scale, order, numbers, targets, row_shares,
        kind, loss_code, loss_factor, delta_factor, ceiling,
        rule, mode, scalars, factors, l1, clip_value, clip_norm,
        seed, epoch_number, first_batch, batches_before, row_offset, halt,
    ):  # fmt: skip
        # from here on only pointers: reference counts of shared arrays would be contended between threads
        batch_size, shared, part_size = sizes[0], sizes[1], sizes[2]
        gradient_at, chunks, penalised = sizes[3], sizes[4], sizes[5]
        space_at, n_layers, n_batches, n_rows = pointer(space), table.shape[0], batch_losses.size, order.size
        bottom, top = pointer(table), offset(pointer(table), (n_layers - 1) * n_fields)
        phase_words, request = pointer(phases), pointer(control)
        report, loss_of = pointer(result), pointer(batch_losses)
        order_at, all_scalars, all_factors = pointer(order), pointer(scalars), pointer(factors)
        n_scalars, n_factors = scalars.shape[1], factors.shape[1]
        source = (
            pointer(X), X.strides[0] // X.itemsize, pointer(X_bytes), X_bytes.strides[0], X_bytes.size > 0, input_scale
        )  # fmt: skip
        targets_of = pointer(numbers), pointer(targets), pointer(row_shares), row_shares.size > 0
        transposed, chunk_scratch = offset(space_at, scratch_offsets[t, 0]), offset(space_at, scratch_offsets[t, 1])
        row_scratch = offset(space_at, scratch_offsets[t, 2])
        row_losses = pointer(double_scratch)
        chunk_sums = offset(row_losses, batch_size)  # four of each: of weights, then of gradients
        sums_scratch = offset(chunk_sums, 4 * chunks + t * 4 * lanes(space_at))
        l1_slope, bound = real(l1), real(clip_value)

        counter = seed, epoch_number, np.uint64(batches_before), row_offset
        phase = 1
        share = take_share(phase_words, phase, t, threads)
        while share >= 0:
            if penalised:
                for l in range(n_layers):
                    layer = offset(bottom, l * n_fields)
                    first, last = chunks_of(layer, share, threads)
                    for chunk in range(first, last):
                        sum_weights(layer, space_at, chunk, sums_scratch, chunk_sums)
            if shared:
                first, last = _share(min(batch_size, n_rows), 1, share, threads)
                gather(bottom, space_at, source, order_at, 0, first, last, 0, counter)
            share = next_share(phase_words, phase, t, threads)

        for batch in range(n_batches):
            start, parity = batch * batch_size, batch & 1
            counter = seed, epoch_number, np.uint64(batches_before + batch), row_offset
            rows = min(batch_size, n_rows - start)
            batch_factors, rule_scalars = offset(all_factors, batch * n_factors), offset(all_scalars, batch * n_scalars)
            updates = batch_factors[UPDATES] != 0

            # Forward through the shared layers.
            for l in range(shared):
                layer = offset(bottom, l * n_fields)
                phase += 1
                share = take_share(phase_words, phase, t, threads)
                while share >= 0:
                    forward_shared(layer, l == n_layers - 1, space_at, rows, share, threads, parity, counter)
                    share = next_share(phase_words, phase, t, threads)

            # The other layers, forward and backward: there the rows of the batch are independent of each other.
            phase += 1
            share = take_share(phase_words, phase, t, threads)
            while share >= 0:
                first, last = _share(rows, ROWS, share, threads)
                for i0 in range(first, last, BLOCK):
                    i1 = min(i0 + BLOCK, last)
                    if not shared:
                        gather(bottom, space_at, source, order_at, start, i0, i1, 0, counter)
                    for l in range(shared, n_layers):
                        layer = offset(bottom, l * n_fields)
                        forward(layer, l == n_layers - 1, space_at, i0, i1, 0, layer[PANELS], parity, counter)
                    losses(
                        top, space_at, kind, loss_code, delta_factor, ceiling, order_at, targets_of, start, rows,
                        i0, i1, row_scratch, row_losses,
                    )  # fmt: skip
                    for l in range(n_layers - 1, max(shared, 1) - 1, -1):
                        layer = offset(bottom, l * n_fields)
                        transpose_delta(layer, space_at, i0, i1, transposed)
                        for k0 in range(0, layer[N_IN], CHUNK):
                            k1 = min(k0 + CHUNK, layer[N_IN])
                            input_delta(layer, space_at, i0, i1, k0, k1, transposed, chunk_scratch)
                        activation_backward(layer, space_at, i0, i1, 0, layer[N_IN], counter)
                if is_last_share(phase_words, phase, threads):
                    loss = total_loss(row_losses, rows, loss_factor)
                    if penalised:
                        loss += penalty(chunk_sums, chunks, batch_factors[L2], l1)
                    loss_of[batch] = loss
                    report[DONE] = batch + 1
                    if not math.isfinite(loss):
                        if report[FAILED] < 0:
                            report[FAILED] = batch
                        if halt:
                            atomic_store(report, LAST, batch)
                    end_phase(phase_words, phase)
                share = take_share(phase_words, phase, t, threads)
            if atomic_load(report, LAST) <= batch:
                return

            # Backward through the shared layers.  A chunk of all panels is updated as soon as it has been used.
            for l in range(shared - 1, 0, -1):
                layer = offset(bottom, l * n_fields)
                phase += 1
                share = take_share(phase_words, phase, t, threads)
                while share >= 0:
                    transpose_delta(layer, space_at, 0, rows, transposed)
                    first, last = _share(layer[CHUNKS], 1, share, threads)
                    for c in range(first, last):
                        k0, k1 = c * CHUNK, min((c + 1) * CHUNK, layer[N_IN])
                        if k0 < k1:
                            input_delta(layer, space_at, 0, rows, k0, k1, transposed, chunk_scratch)
                        if updates and mode != WHOLE_GRADIENT:
                            for chunk in range(c, layer[PANELS] * layer[CHUNKS], layer[CHUNKS]):
                                update(
                                    layer, space_at, rows, chunk, parity, mode, rule, rule_scalars, batch_factors,
                                    l1_slope, bound, one, part_size, gradient_at, chunk_scratch,
                                )  # fmt: skip
                                if penalised:
                                    sum_weights(layer, space_at, chunk, sums_scratch, chunk_sums)
                    k0, k1 = first * CHUNK, min(last * CHUNK, layer[N_IN])
                    if k0 < k1:
                        activation_backward(layer, space_at, 0, rows, k0, k1, counter)
                    share = next_share(phase_words, phase, t, threads)

            # The rest of the update; all of it where the gradient is clipped by its norm.
            factor = one
            if updates and mode == WHOLE_GRADIENT:
                phase += 1
                share = take_share(phase_words, phase, t, threads)
                while share >= 0:
                    for l in range(n_layers):
                        layer = offset(bottom, l * n_fields)
                        first, last = chunks_of(layer, share, threads)
                        for chunk in range(first, last):
                            at, n, _, width = chunk_extent(layer, chunk)
                            g = offset(space_at, gradient_at + at)
                            gradient(layer, space_at, rows, chunk, parity, real(batch_factors[L2]), l1_slope, bound, g)
                            sums_of_chunk = offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk) + 2)
                            sums(g, n, width, sums_scratch, sums_of_chunk)
                    share = next_share(phase_words, phase, t, threads)
                factor = clip_factor(chunk_sums, chunks, clip_norm)
            phase += 1
            share = take_share(phase_words, phase, t, threads)
            while share >= 0:
                for l in range(n_layers):
                    if not updates or (0 < l < shared and mode != WHOLE_GRADIENT):
                        continue
                    layer = offset(bottom, l * n_fields)
                    first, last = chunks_of(layer, share, threads)
                    for chunk in range(first, last):
                        update(
                            layer, space_at, rows, chunk, parity, mode, rule, rule_scalars, batch_factors,
                            l1_slope, bound, factor, part_size, gradient_at, chunk_scratch,
                        )  # fmt: skip
                        if penalised:
                            sum_weights(layer, space_at, chunk, sums_scratch, chunk_sums)
                if shared and batch + 1 < n_batches:
                    counter = seed, epoch_number, np.uint64(batches_before + batch + 1), row_offset
                    after = start + batch_size
                    first, last = _share(min(batch_size, n_rows - after), 1, share, threads)
                    gather(bottom, space_at, source, order_at, after, first, last, 1 - parity, counter)
                if is_last_share(phase_words, phase, threads):
                    atomic_store(request, 1, first_batch + batch + 1)
                    if atomic_load(request, 0) != 0:
                        atomic_store(report, LAST, batch)
                    end_phase(phase_words, phase)
                share = take_share(phase_words, phase, t, threads)
            if atomic_load(report, LAST) <= batch:
                return

    f, size, word, double, flag = numba.from_dtype(dtype), types.intp, types.uint64, types.float64, types.boolean

    def read(kind: Any, ndim: int, layout: Any = "C") -> Any:
        return types.Array(kind, ndim, layout, readonly=True)

    def write(kind: Any) -> Any:
        return types.Array(kind, 1, "C")

    epoch.compile(
        (
            size, size, write(size), write(size), write(size), write(double),
            read(size, 2), write(f), read(size, 1), read(size, 2), write(double),
            read(f, 2, "A"), read(types.uint8, 2, "A"), f, read(size, 1), read(size, 1), read(f, 2), read(f, 1),
            size, size, f, f, f,
            size, size, read(f, 2), read(double, 2), double, double, double,
            word, word, size, size, size, flag,
        )
    )  # fmt: skip
    epoch.disable_compile()
    return epoch
