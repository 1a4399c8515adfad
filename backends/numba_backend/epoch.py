"""A whole epoch of training as one compiled call for each thread.

The steps are those of `backends.loop`, and so are the numbers; `panels` says where they lie.  Between two
batches the threads need to agree on two things, which are two barriers: that all slopes are known before
weights change, and that all weights have changed before they are used.  What they divide is chosen by shape:

- by rows of the batch: each thread takes its rows forward and back through all layers, and reads all weights;
- by panels, for the first `Panels.shared` layers: each thread computes some columns of the outputs (and on
  the way back some rows of the weights), and meets the others after each layer.  This costs barriers, but a
  processor keeps its part of the weights in its own cache.

Every number is computed by one thread, in an order that depends on neither the division nor the number of
threads, so that these do not change a bit.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numba
import numpy as np
from numba.core import types

from backends.formulas import OutputLoss
from backends.numba_backend import threads as team
from backends.numba_backend.cache import kernel
from backends.numba_backend.kernels import LOSS_CODE, RULE_CODE, blocks
from backends.numba_backend.panels import (
    ACTIVATION,
    BLOCK,
    CHUNK,
    CHUNKS,
    DELTA,
    FIELDS,
    FIRST_CHUNK,
    INPUT,
    INPUT_ROW,
    N_IN,
    N_OUT,
    NUMBER,
    PADDED,
    PANELS,
    ROW,
    SAVED,
    SAVES_Z,
    SCALE,
    SECOND,
    THRESHOLD,
    WEIGHTS,
    WIDTH,
    Panels,
)  # fmt: skip
from backends.numba_backend.threads import atomic_load, atomic_store, barrier
from backends.numba_backend.tiles import ROWS, lanes, multiply_panel, offset, pointer, stay_a_call, transpose
from backends.numba_backend.vector_math import abs as absolute
from backends.numba_backend.vector_math import maximum, minimum, sign
from backends.plan import Array, Control, EpochPlan, EpochResult, NetworkPlan

CLASS, DISTRIBUTION, FUSED, ENTRIES, SOFTMAX = range(5)
"""Kinds of loss: cross-entropy for class numbers, and for rows; fused formulas; others on an output; on softmax."""

THREAD_WORK = 1.5e6
"""Floating-point operations of a step from which a second thread gives more than its barriers take."""

DIRECT, AT_ONCE, KEPT = range(3)
"""Ways of an update: the gradient goes straight into the weights; a chunk of it is kept; all of it is."""

SHRINK, DECAY, L2, COUNTS = range(4)
"""Columns of the numbers of each batch: factors of the weights (penalty included; without), l2, whether to update."""

ARRIVALS, STOP = 0, 8
"""Words that the threads share, in cache lines of their own: arrivals at the barrier, and whether to stop."""

_compiled = numba.njit(nogil=True, error_model="numpy", boundscheck=False)


@_compiled
def _share(count, unit, t, threads):  # type: ignore[no-untyped-def]
    """First and last + 1 of what thread t does of `count` things that stay together in groups of `unit`."""
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

    @_compiled
    def columns_of(layer, p):  # type: ignore[no-untyped-def]
        return min(layer[WIDTH], layer[PADDED] - p * layer[WIDTH])

    @_compiled
    def drop(layer, space, x, row, i0, i1, first, last, seed, epoch, step):  # type: ignore[no-untyped-def]
        """Dropout on some of the layer's inputs, or on their slopes."""
        stay_a_call()
        threshold, scale = np.uint64(layer[THRESHOLD]), space[layer[SCALE]]
        number = np.uint64(layer[NUMBER])
        for i in range(i0, i1):
            at = offset(x, i * row)
            drop_row(at, at, i, layer[N_IN], first, last, threshold, scale, seed, epoch, step, number)

    # -- forward ------------------------------------------------------------------------------------

    @_compiled
    def gather(layer, space, X, X_bytes, input_scale, order, start, i0, i1, odd, seed, epoch, step):  # type: ignore[no-untyped-def]
        """Rows of the batch into the input of the first layer."""
        stay_a_call()
        n, row = layer[N_IN], layer[INPUT_ROW]
        inputs = offset(space, layer[INPUT] + odd * layer[SECOND])
        for i in range(i0, i1):
            x = offset(inputs, i * row)
            if X_bytes.size:
                bytes_ = offset(pointer(X_bytes), order[start + i] * X_bytes.strides[0])
                for k in range(n):
                    x[k] = real(bytes_[k]) * input_scale
            else:
                numbers = offset(pointer(X), order[start + i] * (X.strides[0] // X.itemsize))
                for k in range(n):
                    x[k] = numbers[k]
        if layer[THRESHOLD]:
            drop(layer, space, inputs, row, i0, i1, 0, n, seed, epoch, step)

    @_compiled
    def forward(layer, is_last, space, i0, i1, p0, p1, odd, seed, epoch, step):  # type: ignore[no-untyped-def]
        """Rows i0 to i1 of the columns of panels p0 to p1 of the output, ready as the next layer's input."""
        stay_a_call()
        x_row, row, depth = layer[INPUT_ROW], layer[ROW], layer[N_IN] + 1
        x = offset(space, layer[INPUT] + odd * layer[SECOND] + i0 * x_row)
        z = offset(space, layer[SAVED] + i0 * row)
        for p in range(p0, p1):
            first, width = p * layer[WIDTH], columns_of(layer, p)
            W = offset(space, layer[WEIGHTS] + first * depth)
            multiply_panel(x, x_row, 1, W, width, offset(z, first), row, i1 - i0, width, depth, one, False)
        if is_last:
            return
        above = offset(layer, n_fields)
        y = offset(space, above[INPUT] + i0 * row)
        keep = above[INPUT] != layer[SAVED]
        first, last = p0 * layer[WIDTH], min(p1 * layer[WIDTH], layer[PADDED])
        pieces, length = i1 - i0, last - first
        if p1 - p0 == layer[PANELS]:  # whole rows, side by side
            pieces, length = 1, (i1 - i0) * row
        for piece in range(pieces):
            source, target = offset(z, piece * row + first), offset(y, piece * row + first)
            if not layer[SAVES_Z]:
                apply_activation(layer[ACTIVATION], source, length)
            if keep:
                for j in range(length):
                    target[j] = source[j]
            if layer[SAVES_Z]:
                apply_activation(layer[ACTIVATION], target, length)
        if above[THRESHOLD]:
            y_all, last = offset(space, above[INPUT]), min(last, layer[N_OUT])
            drop(above, space, y_all, row, i0, i1, first, last, seed, epoch, step)
        if p1 == layer[PANELS]:
            for i in range(i1 - i0):
                y[i * row + layer[N_OUT]] = one

    # -- loss ---------------------------------------------------------------------------------------

    @_compiled
    def losses(  # type: ignore[no-untyped-def]
        layer, space, kind, code, of_slope, order, numbers, targets, portions, start, rows, i0, i1, room, result
    ):
        """Losses of rows i0 to i1, and their slopes in z."""
        stay_a_call()
        n, row, y = layer[N_OUT], layer[ROW], offset(room, layer[N_OUT])
        for i in range(i0, i1):
            z, delta = offset(space, layer[SAVED] + i * row), offset(space, layer[DELTA] + i * row)
            share = portions[start + i] if portions.size else real(1.0 / rows)
            if kind == CLASS:
                result[i] = class_loss(z, numbers[order[start + i]], share, delta, n)
                continue
            target = offset(pointer(targets), order[start + i] * n)
            if kind == DISTRIBUTION:
                result[i] = distribution_loss(z, target, share, delta, n)
            elif kind == FUSED:
                result[i] = entries_loss(code, z, target, room, share, of_slope, delta, n)
            elif kind == SOFTMAX:
                softmax_row(z, y, n)
                result[i] = entries_loss(code, y, target, room, share, of_slope, delta, n)
                softmax_slope_row(delta, y, delta, n)
            else:
                for j in range(n):
                    y[j] = z[j]
                apply_activation(layer[ACTIVATION], y, n)
                result[i] = entries_loss(code, y, target, room, share, of_slope, delta, n)
                apply_slope(layer[ACTIVATION], delta, z if layer[SAVES_Z] else y, n)

    # -- backward -----------------------------------------------------------------------------------

    @_compiled
    def turn(layer, space, i0, i1, turned):  # type: ignore[no-untyped-def]
        """Transpose the slopes of rows i0 to i1: strips of two vectors of rows, ``[strip][output][row]``."""
        stay_a_call()
        n, row, strip = layer[N_OUT], layer[ROW], 2 * lanes(space)
        delta = offset(space, layer[DELTA])
        for i in range(i0, i1, strip):
            transpose(offset(delta, i * row), row, offset(turned, (i - i0) * n), strip, min(strip, i1 - i), n)

    @_compiled
    def slopes_of_inputs(layer, space, i0, i1, k0, k1, turned, tile):  # type: ignore[no-untyped-def]
        """``dx.T = W @ dz.T`` for inputs k0 to k1: W is read as it lies, by rows of panels."""
        stay_a_call()
        below = offset(layer, -n_fields)
        n, depth, row, strip = layer[N_OUT], layer[N_IN] + 1, below[ROW], 2 * lanes(space)
        for i in range(i0, i1, strip):
            rows = min(strip, i1 - i)
            columns = strip if rows > lanes(space) else lanes(space)
            for p in range(layer[PANELS]):
                first, width = p * layer[WIDTH], columns_of(layer, p)
                W = offset(space, layer[WEIGHTS] + first * depth + k0 * width)
                dz = offset(turned, (i - i0) * n + first * strip)
                multiply_panel(W, width, 1, dz, strip, tile, strip, k1 - k0, columns, min(width, n - first), one, p > 0)
            transpose(tile, strip, offset(space, below[DELTA] + i * row + k0), row, k1 - k0, rows)

    @_compiled
    def through_activation(layer, space, i0, i1, k0, k1, seed, epoch, step):  # type: ignore[no-untyped-def]
        """Take the slopes in inputs k0 to k1 through the dropout and the activation that made them."""
        stay_a_call()
        below = offset(layer, -n_fields)
        row = below[ROW]
        if layer[THRESHOLD]:
            drop(layer, space, offset(space, below[DELTA]), row, i0, i1, k0, k1, seed, epoch, step)
        pieces, length = i1 - i0, (below[PADDED] if k1 == layer[N_IN] else k1) - k0
        if k1 - k0 == layer[N_IN]:
            pieces, length = 1, (i1 - i0) * row
        for piece in range(pieces):
            at = (i0 + piece) * row + k0
            delta, saved = offset(space, below[DELTA] + at), offset(space, below[SAVED] + at)
            apply_slope(below[ACTIVATION], delta, saved, length)

    # -- update: a layer's chunks are numbered along its panels -------------------------------------

    @_compiled
    def rows_of(layer, chunk):  # type: ignore[no-untyped-def]
        """Panel of a chunk, and its first row and the one after its last."""
        first = chunk % layer[CHUNKS] * CHUNK
        return chunk // layer[CHUNKS], first, min(first + CHUNK, layer[N_IN] + 1)

    @_compiled
    def extent(layer, chunk):  # type: ignore[no-untyped-def]
        """Where a chunk begins, its elements, those before the biases, and the width of its panel."""
        p, k0, k1 = rows_of(layer, chunk)
        width = columns_of(layer, p)
        at = layer[WEIGHTS] + p * layer[WIDTH] * (layer[N_IN] + 1) + k0 * width
        return at, (k1 - k0) * width, (min(k1, layer[N_IN]) - k0) * width, width

    @_compiled
    def add_gradient(layer, space, rows, chunk, odd, factor, target, accumulate):  # type: ignore[no-untyped-def]
        """A chunk of ``factor * x.T @ dz``, summed over blocks of the batch in their order."""
        x_row, row = layer[INPUT_ROW], layer[ROW]
        p, k0, k1 = rows_of(layer, chunk)
        width = columns_of(layer, p)
        x = offset(space, layer[INPUT] + odd * layer[SECOND] + k0)
        dz = offset(space, layer[DELTA] + p * layer[WIDTH])
        for i in range(0, rows, BLOCK):
            multiply_panel(
                offset(x, i * x_row), 1, x_row, offset(dz, i * row), row, target, width,
                k1 - k0, width, min(BLOCK, rows - i), factor, accumulate or i > 0,
            )  # fmt: skip

    @_compiled
    def gradient(layer, space, rows, chunk, odd, l2, l1, clip_value, g):  # type: ignore[no-untyped-def]
        """Gradient of a chunk, with the slopes of the penalties and the bound on each entry."""
        stay_a_call()
        at, n, n_weights, _ = extent(layer, chunk)
        W = offset(space, at)
        add_gradient(layer, space, rows, chunk, odd, one, g, False)
        if l2 != zero:
            for j in range(n_weights):
                g[j] += l2 * W[j]
        if l1 != zero:
            for j in range(n_weights):
                g[j] += l1 * sign(W[j])
        if clip_value < infinity:
            for j in range(n):
                g[j] = minimum(maximum(g[j], -clip_value), clip_value)

    @_compiled
    def update(  # type: ignore[no-untyped-def]
        layer, space, rows, chunk, odd, way, rule, scalars, terms, l1, clip_value, factor, packed, kept, own
    ):
        """Update the parameters and the state of a chunk."""
        stay_a_call()
        at, n, n_weights, _ = extent(layer, chunk)
        W, g = offset(space, at), own
        if way == DIRECT:
            shrink = real(terms[SHRINK])
            if shrink != one:
                for j in range(n_weights):
                    W[j] *= shrink
            add_gradient(layer, space, rows, chunk, odd, -scalars[0], W, True)
            return
        if way == KEPT:
            g = offset(space, kept + at)
            for j in range(n):
                g[j] *= factor
        else:
            gradient(layer, space, rows, chunk, odd, real(terms[L2]), l1, clip_value, g)
        decay = real(terms[DECAY])
        if decay != one:
            for j in range(n_weights):
                W[j] *= decay
        apply_rule(rule, W, g, offset(space, packed + at), packed, scalars, n)

    @_compiled
    def sums(x, n, width, squares, magnitudes, result):  # type: ignore[no-untyped-def]
        """Sums of squares and of magnitudes of n elements, in double precision and `width` at a time."""
        stay_a_call()
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

    # -- what threads divide ------------------------------------------------------------------------

    @_compiled
    def forward_shared(layer, is_last, space, rows, t, threads, odd, seed, epoch, step):  # type: ignore[no-untyped-def]
        """This thread's part of a layer's output: whole panels, and some tiles of a panel that it shares."""
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
                forward(layer, is_last, space, i, min(i + BLOCK, i1), p, p1, odd, seed, epoch, step)
            task += count

    @_compiled
    def chunks_of(layer, t, threads):  # type: ignore[no-untyped-def]
        """The chunks of a layer that are this thread's to update."""
        return _share(layer[PANELS] * layer[CHUNKS], 1, t, threads)

    # -- the epoch ----------------------------------------------------------------------------------

    @kernel
    def epoch(  # type: ignore[no-untyped-def]
        t, threads, meeting, words, result, batch_losses,
        table, space, sizes, scratch, doubles,
        X, X_bytes, input_scale, order, numbers, targets, portions,
        kind, loss_code, of_value, of_slope,
        rule, way, scalars, terms, l1, clip_value, clip_norm,
        seed, number, halt,
    ):  # fmt: skip
        batch_size, shared, packed, kept, chunks, penalised = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
        buffer, n_layers, n_batches = pointer(space), table.shape[0], batch_losses.size
        bottom, top = pointer(table), offset(pointer(table), (n_layers - 1) * n_fields)
        turned, own, row_room = (
            offset(buffer, scratch[t, 0]),
            offset(buffer, scratch[t, 1]),
            offset(buffer, scratch[t, 2]),
        )
        row_losses = pointer(doubles)
        chunk_sums = offset(row_losses, batch_size)  # of each: squares and magnitudes of weights, the same of slopes
        squares = offset(chunk_sums, 4 * chunks + t * 4 * lanes(buffer))
        magnitudes = offset(squares, 2 * lanes(buffer))
        l1_slope, bound = real(l1), real(clip_value)

        if penalised:
            for l in range(n_layers):
                layer = offset(bottom, l * n_fields)
                first, last = chunks_of(layer, t, threads)
                for chunk in range(first, last):
                    at, n, n_weights, width = extent(layer, chunk)
                    of_chunk = offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk))
                    sums(offset(buffer, at), n_weights, width, squares, magnitudes, of_chunk)
        if shared:
            first, last = _share(min(batch_size, order.size), 1, t, threads)
            gather(bottom, buffer, X, X_bytes, input_scale, order, 0, first, last, 0, seed, number, np.uint64(0))
        barrier(meeting, ARRIVALS, threads)

        for batch in range(n_batches):
            start, step, odd = batch * batch_size, np.uint64(batch), batch & 1
            rows = min(batch_size, order.size - start)
            of_batch, values = offset(pointer(terms), batch * terms.shape[1]), scalars[batch]
            penalty = 0.0
            if penalised:  # of the weights as they are now; after the next barrier they may change
                for chunk in range(chunks):
                    of_chunk = offset(chunk_sums, 4 * chunk)
                    penalty += 0.5 * of_batch[L2] * of_chunk[0] + l1 * of_chunk[1]

            # Forward: the shared layers together, the others each thread for its own rows, and these back again.
            for l in range(shared):
                layer = offset(bottom, l * n_fields)
                forward_shared(layer, layer[NUMBER] == n_layers - 1, buffer, rows, t, threads, odd, seed, number, step)
                barrier(meeting, ARRIVALS, threads)
            first, last = _share(rows, ROWS, t, threads)
            for i0 in range(first, last, BLOCK):
                i1 = min(i0 + BLOCK, last)
                if not shared:
                    gather(bottom, buffer, X, X_bytes, input_scale, order, start, i0, i1, 0, seed, number, step)
                for l in range(shared, n_layers):
                    layer = offset(bottom, l * n_fields)
                    forward(layer, l == n_layers - 1, buffer, i0, i1, 0, layer[PANELS], odd, seed, number, step)
                losses(
                    top, buffer, kind, loss_code, of_slope, order, numbers, targets, portions, start, rows, i0, i1,
                    row_room, row_losses,
                )  # fmt: skip
                for l in range(n_layers - 1, max(shared, 1) - 1, -1):
                    layer = offset(bottom, l * n_fields)
                    turn(layer, buffer, i0, i1, turned)
                    for k0 in range(0, layer[N_IN], CHUNK):
                        k1 = min(k0 + CHUNK, layer[N_IN])
                        slopes_of_inputs(layer, buffer, i0, i1, k0, k1, turned, own)
                    through_activation(layer, buffer, i0, i1, 0, layer[N_IN], seed, number, step)
            barrier(meeting, ARRIVALS, threads)

            # Every thread adds up all losses, so that all come to the same decision.
            loss = 0.0
            for i in range(rows):
                loss += row_losses[i]
            loss = loss * of_value + penalty
            finite = math.isfinite(loss)
            if t == 0:
                batch_losses[batch] = loss
                result[0] = batch + 1
                if result[1] < 0 and not finite:
                    result[1] = batch
            if halt and not finite:
                return
            counts = of_batch[COUNTS] != 0

            # Back through the shared layers.  A chunk of all panels is updated once it has been used.
            for l in range(shared - 1, 0, -1):
                layer = offset(bottom, l * n_fields)
                turn(layer, buffer, 0, rows, turned)
                first, last = _share(layer[CHUNKS], 1, t, threads)
                for c in range(first, last):
                    k0, k1 = c * CHUNK, min((c + 1) * CHUNK, layer[N_IN])
                    if k0 < k1:
                        slopes_of_inputs(layer, buffer, 0, rows, k0, k1, turned, own)
                    if counts and way != KEPT:
                        for chunk in range(c, layer[PANELS] * layer[CHUNKS], layer[CHUNKS]):
                            update(
                                layer, buffer, rows, chunk, odd, way, rule, values, of_batch, l1_slope, bound, one,
                                packed, kept, own,
                            )  # fmt: skip
                            if penalised:
                                at, n, n_weights, width = extent(layer, chunk)
                                of_chunk = offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk))
                                sums(offset(buffer, at), n_weights, width, squares, magnitudes, of_chunk)
                k0, k1 = first * CHUNK, min(last * CHUNK, layer[N_IN])
                if k0 < k1:
                    through_activation(layer, buffer, 0, rows, k0, k1, seed, number, step)
                barrier(meeting, ARRIVALS, threads)

            # The rest of the update; where the whole gradient's norm is bounded, all of it.
            factor = one
            if counts and way == KEPT:
                for l in range(n_layers):
                    layer = offset(bottom, l * n_fields)
                    first, last = chunks_of(layer, t, threads)
                    for chunk in range(first, last):
                        at, n, n_weights, width = extent(layer, chunk)
                        g = offset(buffer, kept + at)
                        gradient(layer, buffer, rows, chunk, odd, real(of_batch[L2]), l1_slope, bound, g)
                        of_chunk = offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk) + 2)
                        sums(g, n, width, squares, magnitudes, of_chunk)
                barrier(meeting, ARRIVALS, threads)
                total = 0.0
                for chunk in range(chunks):
                    total += chunk_sums[4 * chunk + 2]
                ratio = clip_norm / (math.sqrt(total) + 1e-6)
                factor = real(1.0 if ratio > 1 else ratio)
            for l in range(n_layers):
                if not counts or (0 < l < shared and way != KEPT):
                    continue
                layer = offset(bottom, l * n_fields)
                first, last = chunks_of(layer, t, threads)
                for chunk in range(first, last):
                    update(
                        layer, buffer, rows, chunk, odd, way, rule, values, of_batch, l1_slope, bound, factor, packed,
                        kept, own,
                    )  # fmt: skip
                    if penalised:
                        at, n, n_weights, width = extent(layer, chunk)
                        of_chunk = offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk))
                        sums(offset(buffer, at), n_weights, width, squares, magnitudes, of_chunk)

            if shared and batch + 1 < n_batches:
                start += batch_size
                step += np.uint64(1)
                first, last = _share(min(batch_size, order.size - start), 1, t, threads)
                gather(bottom, buffer, X, X_bytes, input_scale, order, start, first, last, 1 - odd, seed, number, step)
            if t == 0:
                atomic_store(meeting, STOP, atomic_load(words, 0))
            barrier(meeting, ARRIVALS, threads)
            if t == 0:
                atomic_store(words, 1, batch + 1)
            if atomic_load(meeting, STOP) != 0:
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
            size, size, f, f,
            size, size, read(f, 2), read(double, 2), double, double, double,
            word, word, flag,
        )
    )  # fmt: skip
    epoch.disable_compile()
    return epoch


# ---------------------------------------------------------------------------------------------------
# The way in
# ---------------------------------------------------------------------------------------------------


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
    nothing, X = np.empty((0, 0), dtype), _rows_adjacent(X)
    numbers, bytes_ = (nothing, X) if X.dtype == np.uint8 else (X, np.empty((0, 0), np.uint8))
    is_class = kind == CLASS
    classes = np.ascontiguousarray(target, np.int64) if is_class else np.empty(0, np.int64)
    targets = nothing if is_class else np.ascontiguousarray(target)
    clip_value, clip_norm = (math.inf if bound is None else bound for bound in (plan.clip_value, plan.clip_norm))
    meeting, result, losses = np.zeros(16, np.int64), np.array([0, -1]), np.empty(plan.n_batches)
    kernel = epoch_kernel(dtype)

    def work(t: int) -> None:
        kernel(
            t, threads, meeting, control.words, result, losses,
            panels.table, panels.space, sizes, panels.own, doubles,
            numbers, bytes_, dtype.type(network.input_scale), order, classes, targets, portions,
            kind, loss_code, of_value, of_slope,
            RULE_CODE[rule.name], way, scalars, terms, plan.l1, clip_value, clip_norm,
            plan.seed, plan.epoch, plan.halt,
        )  # fmt: skip

    order = np.ascontiguousarray(plan.order, np.int64)
    panels.pack(params, state)
    try:
        team.run(work, threads, on_interrupt=control.request_stop)
    finally:
        panels.unpack(params, state)
    done, failed = map(int, result)
    return EpochResult(losses[:done], failed if failed >= 0 else None)


def _threads_for(network: NetworkPlan, batch_size: int) -> int:
    """Threads for a step; one where this call is part of a task that threads already share."""
    work = 6.0 * batch_size * network.layout.n_weights
    return 1 if work < THREAD_WORK or team.inside() else team.get_num_threads()


def _scalars(plan: EpochPlan, dtype: np.dtype[Any]) -> Array:
    """The update rule's scalars of each batch, shape (n_batches, n_scalars)."""
    scalars = functools.partial(plan.rule.row.scalars, **plan.rule.hyper)
    rates = enumerate(plan.learning_rates[: plan.n_batches].tolist(), plan.first_step + 1)
    return np.array([scalars(step, rate) for step, rate in rates], dtype)


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
