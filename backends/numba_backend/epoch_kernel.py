"""A whole epoch of training as one compiled call for each thread.

The steps are those of `backends.loop`, and so are the numbers; `panels` says where they lie.  What is below
are first the pieces of a step, each on a rectangle of its data, and then the epoch, which goes through them in
phases (see `threads`): weights may not change before all slopes are known, nor be used before all have changed.
What threads divide in a phase is chosen by shape:

- rows of the batch: a thread takes its rows forward and back through all layers, and reads all weights;
- panels, in the first `Panels.shared` layers: a thread computes some columns of the outputs, and on the way
  back updates some of the weights.  This takes more phases, but a processor keeps its part of the weights in
  its own cache.

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
"""Kinds of loss: cross-entropy for class numbers, and for rows; fused formulas; others on an output; on softmax."""

DIRECT, AT_ONCE, KEPT = range(3)
"""Ways of an update: the gradient goes straight into the weights; a chunk of it is kept; all of it is."""

SHRINK, DECAY, L2, COUNTS = range(4)
"""Columns of the numbers of each batch: factors of the weights (penalty included; without), l2, whether to update."""

DONE, FAILED, LAST = range(3)
"""What the kernel reports: losses written, first batch whose loss was not finite or -1; and which batch is the last."""


@part
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

    @part
    def columns_of(layer, p):  # type: ignore[no-untyped-def]
        return min(layer[WIDTH], layer[PADDED] - p * layer[WIDTH])

    @part
    def drop(layer, space, x, row, i0, i1, first, last, dice):  # type: ignore[no-untyped-def]
        """Dropout on inputs `first` to `last` of a layer, or on their slopes."""
        stay_a_call()
        seed, epoch, step = dice
        threshold, scale, number = np.uint64(layer[THRESHOLD]), space[layer[SCALE]], np.uint64(layer[NUMBER])
        for i in range(i0, i1):
            at = offset(x, i * row)
            drop_row(at, at, i, layer[N_IN], first, last, threshold, scale, seed, epoch, step, number)

    # -- forward ------------------------------------------------------------------------------------

    @part
    def gather(layer, space, source, order, start, i0, i1, odd, dice):  # type: ignore[no-untyped-def]
        """Rows of the batch into the input of the first layer."""
        stay_a_call()
        X, X_row, X_bytes, bytes_row, are_bytes, input_scale = source
        n, row = layer[N_IN], layer[INPUT_ROW]
        inputs = offset(space, layer[INPUT] + odd * layer[SECOND])
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
            drop(layer, space, inputs, row, i0, i1, 0, n, dice)

    @part
    def forward(layer, is_last, space, i0, i1, p0, p1, odd, dice):  # type: ignore[no-untyped-def]
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
            drop(above, space, y_all, row, i0, i1, first, last, dice)
        if p1 == layer[PANELS]:
            for i in range(i1 - i0):
                y[i * row + layer[N_OUT]] = one

    # -- loss ---------------------------------------------------------------------------------------

    @part
    def losses(  # type: ignore[no-untyped-def]
        layer, space, kind, code, of_slope, ceiling, order, truth, start, rows, i0, i1, room, result
    ):
        """Losses of rows i0 to i1, and their slopes in z."""
        stay_a_call()
        numbers, targets, portions, weighed = truth
        n, row, y = layer[N_OUT], layer[ROW], offset(room, layer[N_OUT])
        for i in range(i0, i1):
            z, delta = offset(space, layer[SAVED] + i * row), offset(space, layer[DELTA] + i * row)
            share = portions[start + i] if weighed else real(1.0 / rows)
            if kind == CLASS:
                result[i] = class_loss(z, numbers[order[start + i]], share, ceiling, delta, n)
                continue
            target = offset(targets, order[start + i] * n)
            if kind == DISTRIBUTION:
                result[i] = distribution_loss(z, target, share, ceiling, delta, n)
            elif kind == FUSED:
                result[i] = entries_loss(code, z, target, room, share, of_slope, ceiling, delta, n)
            elif kind == SOFTMAX:
                softmax_row(z, y, n)
                result[i] = entries_loss(code, y, target, room, share, of_slope, ceiling, delta, n)
                softmax_slope_row(delta, y, delta, n)
            else:
                for j in range(n):
                    y[j] = z[j]
                apply_activation(layer[ACTIVATION], y, n)
                result[i] = entries_loss(code, y, target, room, share, of_slope, ceiling, delta, n)
                apply_slope(layer[ACTIVATION], delta, z if layer[SAVES_Z] else y, n)

    # -- backward -----------------------------------------------------------------------------------

    @part
    def turn(layer, space, i0, i1, turned):  # type: ignore[no-untyped-def]
        """Transpose the slopes of rows i0 to i1: strips of two vectors of rows, ``[strip][output][row]``."""
        stay_a_call()
        n, row, strip = layer[N_OUT], layer[ROW], 2 * lanes(space)
        delta = offset(space, layer[DELTA])
        for i in range(i0, i1, strip):
            transpose(offset(delta, i * row), row, offset(turned, (i - i0) * n), strip, min(strip, i1 - i), n)

    @part
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

    @part
    def through_activation(layer, space, i0, i1, k0, k1, dice):  # type: ignore[no-untyped-def]
        """Take the slopes in inputs k0 to k1 through the dropout and the activation that made them."""
        stay_a_call()
        below = offset(layer, -n_fields)
        row = below[ROW]
        if layer[THRESHOLD]:
            drop(layer, space, offset(space, below[DELTA]), row, i0, i1, k0, k1, dice)
        pieces, length = i1 - i0, (below[PADDED] if k1 == layer[N_IN] else k1) - k0
        if k1 - k0 == layer[N_IN]:
            pieces, length = 1, (i1 - i0) * row
        for piece in range(pieces):
            at = (i0 + piece) * row + k0
            delta, saved = offset(space, below[DELTA] + at), offset(space, below[SAVED] + at)
            apply_slope(below[ACTIVATION], delta, saved, length)

    # -- update: a layer's chunks are numbered along its panels -------------------------------------

    @part
    def rows_of(layer, chunk):  # type: ignore[no-untyped-def]
        """Panel of a chunk, and its first row and the one after its last."""
        first = chunk % layer[CHUNKS] * CHUNK
        return chunk // layer[CHUNKS], first, min(first + CHUNK, layer[N_IN] + 1)

    @part
    def extent(layer, chunk):  # type: ignore[no-untyped-def]
        """Where a chunk begins, its elements, those before the biases, and the width of its panel."""
        p, k0, k1 = rows_of(layer, chunk)
        width = columns_of(layer, p)
        at = layer[WEIGHTS] + p * layer[WIDTH] * (layer[N_IN] + 1) + k0 * width
        return at, (k1 - k0) * width, (min(k1, layer[N_IN]) - k0) * width, width

    @part
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

    @part
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

    @part
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

    @part
    def sums(x, n, width, room, result):  # type: ignore[no-untyped-def]
        """Sums of the squares and of the magnitudes of n elements, in double precision, `width` at a time."""
        stay_a_call()
        squares, magnitudes = room, offset(room, width)
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
    def weigh(layer, space, chunk, room, chunk_sums):  # type: ignore[no-untyped-def]
        """Note what the penalties need to know of a chunk's weights."""
        at, _, n_weights, width = extent(layer, chunk)
        sums(offset(space, at), n_weights, width, room, offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk)))

    @part
    def total_loss(row_losses, rows, of_value):  # type: ignore[no-untyped-def]
        loss = 0.0
        for i in range(rows):
            loss += row_losses[i]
        return loss * of_value

    @part
    def penalty(chunk_sums, chunks, l2, l1):  # type: ignore[no-untyped-def]
        value = 0.0
        for chunk in range(chunks):
            value += 0.5 * l2 * chunk_sums[4 * chunk] + l1 * chunk_sums[4 * chunk + 1]
        return value

    @part
    def clip_factor(chunk_sums, chunks, clip_norm):  # type: ignore[no-untyped-def]
        """What the gradient is multiplied by so that its norm keeps to the bound."""
        squares = 0.0
        for chunk in range(chunks):
            squares += chunk_sums[4 * chunk + 2]
        factor = clip_norm / (math.sqrt(squares) + 1e-6)
        return real(1.0 if factor > 1 else factor)

    # -- what threads divide ------------------------------------------------------------------------

    @part
    def forward_shared(layer, is_last, space, rows, t, threads, odd, dice):  # type: ignore[no-untyped-def]
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
                forward(layer, is_last, space, i, min(i + BLOCK, i1), p, p1, odd, dice)
            task += count

    @part
    def chunks_of(layer, t, threads):  # type: ignore[no-untyped-def]
        """The chunks of a layer that are this thread's to update."""
        return _share(layer[PANELS] * layer[CHUNKS], 1, t, threads)

    # -- the epoch ----------------------------------------------------------------------------------

    @kernel
    def epoch(  # type: ignore[no-untyped-def]
        t, threads, phases, words, result, batch_losses,
        table, space, sizes, scratch, doubles,
        X, X_bytes, input_scale, order, numbers, targets, portions,
        kind, loss_code, of_value, of_slope, ceiling,
        rule, way, scalars, terms, l1, clip_value, clip_norm,
        seed, number, halt,
    ):  # fmt: skip
        # from here on pointers only: threads that count references to the same arrays would hinder each other
        batch_size, shared, packed, kept, chunks, penalised = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
        buffer, n_layers, n_batches, n_rows = pointer(space), table.shape[0], batch_losses.size, order.size
        bottom, top = pointer(table), offset(pointer(table), (n_layers - 1) * n_fields)
        shares, request, report, loss_of = pointer(phases), pointer(words), pointer(result), pointer(batch_losses)
        order_at, all_scalars, all_terms = pointer(order), pointer(scalars), pointer(terms)
        n_scalars, n_terms = scalars.shape[1], terms.shape[1]
        source = (
            pointer(X), X.strides[0] // X.itemsize, pointer(X_bytes), X_bytes.strides[0], X_bytes.size > 0, input_scale
        )  # fmt: skip
        truth = pointer(numbers), pointer(targets), pointer(portions), portions.size > 0
        turned, own = offset(buffer, scratch[t, 0]), offset(buffer, scratch[t, 1])
        row_room = offset(buffer, scratch[t, 2])
        row_losses = pointer(doubles)
        chunk_sums = offset(row_losses, batch_size)  # of each: squares and magnitudes of weights, the same of slopes
        room = offset(chunk_sums, 4 * chunks + t * 4 * lanes(buffer))
        l1_slope, bound = real(l1), real(clip_value)

        phase = 1
        who = take_share(shares, phase, t, threads)
        while who >= 0:
            if penalised:
                for l in range(n_layers):
                    layer = offset(bottom, l * n_fields)
                    first, last = chunks_of(layer, who, threads)
                    for chunk in range(first, last):
                        weigh(layer, buffer, chunk, room, chunk_sums)
            if shared:
                first, last = _share(min(batch_size, n_rows), 1, who, threads)
                gather(bottom, buffer, source, order_at, 0, first, last, 0, (seed, number, np.uint64(0)))
            who = next_share(shares, phase, t, threads)

        for batch in range(n_batches):
            start, odd, dice = batch * batch_size, batch & 1, (seed, number, np.uint64(batch))
            rows = min(batch_size, n_rows - start)
            of_batch, values = offset(all_terms, batch * n_terms), offset(all_scalars, batch * n_scalars)
            counts = of_batch[COUNTS] != 0

            # Forward through the shared layers.
            for l in range(shared):
                layer = offset(bottom, l * n_fields)
                phase += 1
                who = take_share(shares, phase, t, threads)
                while who >= 0:
                    forward_shared(layer, l == n_layers - 1, buffer, rows, who, threads, odd, dice)
                    who = next_share(shares, phase, t, threads)

            # The other layers forward and back: what a row needs of them does not depend on other rows.
            phase += 1
            who = take_share(shares, phase, t, threads)
            while who >= 0:
                first, last = _share(rows, ROWS, who, threads)
                for i0 in range(first, last, BLOCK):
                    i1 = min(i0 + BLOCK, last)
                    if not shared:
                        gather(bottom, buffer, source, order_at, start, i0, i1, 0, dice)
                    for l in range(shared, n_layers):
                        layer = offset(bottom, l * n_fields)
                        forward(layer, l == n_layers - 1, buffer, i0, i1, 0, layer[PANELS], odd, dice)
                    losses(
                        top, buffer, kind, loss_code, of_slope, ceiling, order_at, truth, start, rows, i0, i1,
                        row_room, row_losses,
                    )  # fmt: skip
                    for l in range(n_layers - 1, max(shared, 1) - 1, -1):
                        layer = offset(bottom, l * n_fields)
                        turn(layer, buffer, i0, i1, turned)
                        for k0 in range(0, layer[N_IN], CHUNK):
                            k1 = min(k0 + CHUNK, layer[N_IN])
                            slopes_of_inputs(layer, buffer, i0, i1, k0, k1, turned, own)
                        through_activation(layer, buffer, i0, i1, 0, layer[N_IN], dice)
                if is_last_share(shares, phase, threads):
                    loss = total_loss(row_losses, rows, of_value)
                    if penalised:
                        loss += penalty(chunk_sums, chunks, of_batch[L2], l1)
                    loss_of[batch] = loss
                    report[DONE] = batch + 1
                    if not math.isfinite(loss):
                        if report[FAILED] < 0:
                            report[FAILED] = batch
                        if halt:
                            atomic_store(report, LAST, batch)
                    end_phase(shares, phase)
                who = take_share(shares, phase, t, threads)
            if atomic_load(report, LAST) <= batch:
                return

            # Back through the shared layers.  A chunk of all panels is updated once it has been used.
            for l in range(shared - 1, 0, -1):
                layer = offset(bottom, l * n_fields)
                phase += 1
                who = take_share(shares, phase, t, threads)
                while who >= 0:
                    turn(layer, buffer, 0, rows, turned)
                    first, last = _share(layer[CHUNKS], 1, who, threads)
                    for c in range(first, last):
                        k0, k1 = c * CHUNK, min((c + 1) * CHUNK, layer[N_IN])
                        if k0 < k1:
                            slopes_of_inputs(layer, buffer, 0, rows, k0, k1, turned, own)
                        if counts and way != KEPT:
                            for chunk in range(c, layer[PANELS] * layer[CHUNKS], layer[CHUNKS]):
                                update(
                                    layer, buffer, rows, chunk, odd, way, rule, values, of_batch, l1_slope, bound,
                                    one, packed, kept, own,
                                )  # fmt: skip
                                if penalised:
                                    weigh(layer, buffer, chunk, room, chunk_sums)
                    k0, k1 = first * CHUNK, min(last * CHUNK, layer[N_IN])
                    if k0 < k1:
                        through_activation(layer, buffer, 0, rows, k0, k1, dice)
                    who = next_share(shares, phase, t, threads)

            # The rest of the update; where the whole gradient's norm is bounded, all of it.
            factor = one
            if counts and way == KEPT:
                phase += 1
                who = take_share(shares, phase, t, threads)
                while who >= 0:
                    for l in range(n_layers):
                        layer = offset(bottom, l * n_fields)
                        first, last = chunks_of(layer, who, threads)
                        for chunk in range(first, last):
                            at, n, _, width = extent(layer, chunk)
                            g = offset(buffer, kept + at)
                            gradient(layer, buffer, rows, chunk, odd, real(of_batch[L2]), l1_slope, bound, g)
                            of_chunk = offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk) + 2)
                            sums(g, n, width, room, of_chunk)
                    who = next_share(shares, phase, t, threads)
                factor = clip_factor(chunk_sums, chunks, clip_norm)
            phase += 1
            who = take_share(shares, phase, t, threads)
            while who >= 0:
                for l in range(n_layers):
                    if not counts or (0 < l < shared and way != KEPT):
                        continue
                    layer = offset(bottom, l * n_fields)
                    first, last = chunks_of(layer, who, threads)
                    for chunk in range(first, last):
                        update(
                            layer, buffer, rows, chunk, odd, way, rule, values, of_batch, l1_slope, bound, factor,
                            packed, kept, own,
                        )  # fmt: skip
                        if penalised:
                            weigh(layer, buffer, chunk, room, chunk_sums)
                if shared and batch + 1 < n_batches:
                    dice = (seed, number, np.uint64(batch + 1))
                    after = start + batch_size
                    first, last = _share(min(batch_size, n_rows - after), 1, who, threads)
                    gather(bottom, buffer, source, order_at, after, first, last, 1 - odd, dice)
                if is_last_share(shares, phase, threads):
                    atomic_store(request, 1, batch + 1)
                    if atomic_load(request, 0) != 0:
                        atomic_store(report, LAST, batch)
                    end_phase(shares, phase)
                who = take_share(shares, phase, t, threads)
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
            word, word, flag,
        )
    )  # fmt: skip
    epoch.disable_compile()
    return epoch
