"""The functions of a training step, each for a rectangle of its data; `epoch_kernel` runs them for a whole epoch.

The memory layout is that of `panels`.  A function does not depend on how threads divide the work.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from backends.numba_backend.formula_loops import apply_activation, apply_derivative, apply_rule
from backends.numba_backend.integers import smaller
from backends.numba_backend.nonzero_lists import largest, list_columns, list_length, list_rows

from backends.numba_backend.panels import (  # isort: skip
    ACTIVATION, BIAS_RATE, BLOCK, CHUNK, CHUNKS, DELTA, DERIVATIVE, DROPOUT, FIELDS, FIRST_CHUNK, INPUT, INPUT_ROW,
    N_IN, N_OUT, NUMBER, PADDED, PANELS, PENALTIES, ROW, SAVED, SAVES_Z, SCALE_GRADIENT, SCALE_INPUTS, SECOND, SUMS,
    UNSCALED, WEIGHT_DECAY, WEIGHT_RATE, WEIGHTS, WIDTH,
)  # fmt: skip
from backends.numba_backend.pointers import offset
from backends.numba_backend.register_tiles import ROWS
from backends.numba_backend.step_parts import call
from backends.numba_backend.subroutine import noinline, subroutine
from backends.numba_backend.tiles import multiply_panel, multiply_panel_listed
from backends.numba_backend.transposition import transpose
from backends.numba_backend.vectors import lanes

IN_PLACE, BY_CHUNK, WHOLE_GRADIENT, GRADIENT_ONLY = range(4)
"""Update modes: the gradient is added to the weights directly; it is stored chunk by chunk; it is stored whole; it is
stored whole, and there is no update."""

SHRINK, DECAY, L2, UPDATES = range(4)
"""Columns of the batch factors: factor of the weights with and without the l2 penalty; l2; whether to update."""


@subroutine
def divide(count, unit, t, threads):  # type: ignore[no-untyped-def]
    """Divide `count` items among threads, in multiples of `unit`; return the first and last + 1 item of thread t."""
    groups = (count + unit - 1) // unit
    return smaller(groups * t // threads * unit, count), smaller(groups * (t + 1) // threads * unit, count)


class StepFunctions(NamedTuple):
    """The functions of a step that the epoch kernel calls."""

    gather: Any
    list_inputs: Any
    list_chunk: Any
    forward: Any
    forward_shared: Any
    transpose_delta: Any
    input_delta: Any
    activation_backward: Any
    gradient: Any
    update: Any
    sum_weights: Any
    total_loss: Any
    penalty: Any
    clip_factor: Any
    chunk_extent: Any
    chunks_of: Any
    panels_of: Any
    all_finite: Any
    largest_delta: Any


@functools.cache
def step_functions(dtype: np.dtype[Any]) -> StepFunctions:
    """The functions for float32 or float64."""
    real = dtype.type
    zero, one, infinity = real(0), real(1), real(math.inf)
    n_fields, row_list = len(FIELDS), list_length(BLOCK)
    block_lists = CHUNK // ROWS * row_list
    # Arguments: `layer` points to a layer's row of the table, `space` to the buffer, `counter` is (seed, epoch, step,
    # first row) of the dropout masks, `lists` is (buffer, length of a list of columns, offset for odd batches, start of
    # this thread's lists of rows), with length 0 if no zeros are left out.
    # Indices: i rows of the batch, k inputs of a layer, j its outputs, p its panels.

    @subroutine
    def columns_of(layer, p):  # type: ignore[no-untyped-def]
        return smaller(layer[WIDTH], layer[PADDED] - p * layer[WIDTH])

    @subroutine
    def drop(layer, space, x, row, i0, i1, first, last, counter):  # type: ignore[no-untyped-def]
        """The part `dropout`, if the layer has dropout on its input."""
        if layer[DROPOUT]:
            seed, epoch, step, first_row = counter
            call(layer[DROPOUT], (layer, space, x, row, i0, i1, first, last, seed, epoch, step, first_row))

    @subroutine
    def chunk_rows(layer, chunk):  # type: ignore[no-untyped-def]
        """Panel of a chunk, and its first row and the one after its last."""
        first = chunk % layer[CHUNKS] * CHUNK
        return chunk // layer[CHUNKS], first, smaller(first + CHUNK, layer[N_IN] + 1)

    # -- forward ------------------------------------------------------------------------------------

    @subroutine
    def gather(layer, space, source, order, start, i0, i1, parity, counter):  # type: ignore[no-untyped-def]
        """Copy rows of the batch to the input of the first layer."""
        noinline()
        X, X_row, X_bytes, bytes_row, are_bytes, input_scale = source
        n, row = layer[N_IN], layer[INPUT_ROW]
        inputs = offset(space, layer[UNSCALED] + parity * layer[SECOND])
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
        drop(layer, space, inputs, row, i0, i1, 0, n, counter)
        if layer[SCALE_INPUTS]:
            call(layer[SCALE_INPUTS], (layer, space, i0, i1))

    @subroutine
    def list_inputs(layer, space, i0, i1, parity, lists, bounds):  # type: ignore[no-untyped-def]
        """List the columns of rows i0 to i1 of the first layer's input, and write the largest entry of each tile.

        i0 is a multiple of `ROWS`.
        """
        buffer, length, second, _ = lists
        row = layer[INPUT_ROW]
        if length:
            x = offset(space, layer[INPUT] + parity * layer[SECOND])
            target = offset(buffer, parity * second + i0 // ROWS * length)
            list_columns(offset(x, i0 * row), row, i1 - i0, layer[N_IN] + 1, target, length)
            for i in range(i0, i1, ROWS):
                bounds[i // ROWS] = largest(offset(x, i * row), smaller(ROWS, i1 - i) * row)

    @subroutine
    def list_chunk(layer, space, rows, chunk, parity, lists):  # type: ignore[no-untyped-def]
        """List the rows of the batch for the inputs of a chunk, in each block of the batch."""
        buffer, length, _, start = lists
        if not length:
            return
        _, k0, k1 = chunk_rows(layer, chunk)
        x = offset(space, layer[UNSCALED] + parity * layer[SECOND] + k0)
        for i in range(0, rows, BLOCK):
            target = offset(buffer, start + i // BLOCK * block_lists)
            list_rows(
                offset(x, i * layer[INPUT_ROW]), layer[INPUT_ROW], smaller(BLOCK, rows - i), k1 - k0, target, row_list
            )

    @subroutine
    def forward(layer, is_last, space, i0, i1, p0, p1, parity, counter, lists):  # type: ignore[no-untyped-def]
        """Rows i0 to i1 of the outputs in panels p0 to p1, activated and written as the next layer's input."""
        noinline()
        x_row, row, depth = layer[INPUT_ROW], layer[ROW], layer[N_IN] + 1
        x = offset(space, layer[INPUT] + parity * layer[SECOND] + i0 * x_row)
        z = offset(space, layer[SAVED] + i0 * row)
        for p in range(p0, p1):
            first, width = p * layer[WIDTH], columns_of(layer, p)
            W = offset(space, layer[WEIGHTS] + first * depth)
            buffer, length, second, _ = lists
            if length and layer[NUMBER] == 0:
                columns = offset(buffer, parity * second + i0 // ROWS * length)
                multiply_panel_listed(
                    x, x_row, 1, W, width, offset(z, first), row, i1 - i0, width, columns, length, one, False
                )
            else:
                multiply_panel(x, x_row, 1, W, width, offset(z, first), row, i1 - i0, width, depth, one, False)
        if is_last:
            return
        next_layer = offset(layer, n_fields)
        y = offset(space, next_layer[INPUT] + i0 * row)
        copies = next_layer[INPUT] != layer[SAVED]
        first, last = p0 * layer[WIDTH], smaller(p1 * layer[WIDTH], layer[PADDED])
        pieces, length = i1 - i0, last - first
        if p1 - p0 == layer[PANELS]:  # whole rows are contiguous
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
        y_all, last = offset(space, next_layer[INPUT]), smaller(last, layer[N_OUT])
        drop(next_layer, space, y_all, row, i0, i1, first, last, counter)
        if p1 == layer[PANELS]:
            for i in range(i1 - i0):
                y[i * row + layer[N_OUT]] = one

    # -- backward -----------------------------------------------------------------------------------

    @subroutine
    def transpose_delta(layer, space, i0, i1, transposed):  # type: ignore[no-untyped-def]
        """Transpose the gradients of rows i0 to i1: strips of two vectors of rows, ``[strip][output][row]``."""
        noinline()
        n, row, strip = layer[N_OUT], layer[ROW], 2 * lanes(space)
        delta = offset(space, layer[DELTA])
        for i in range(i0, i1, strip):
            transpose(offset(delta, i * row), row, offset(transposed, (i - i0) * n), strip, smaller(strip, i1 - i), n)

    @subroutine
    def input_delta(layer, space, i0, i1, k0, k1, transposed, tile):  # type: ignore[no-untyped-def]
        """``dx.T = W @ dz.T`` for inputs k0 to k1: W is read in memory order, by rows of panels."""
        noinline()
        previous = offset(layer, -n_fields)
        n, depth, row, strip = layer[N_OUT], layer[N_IN] + 1, previous[ROW], 2 * lanes(space)
        for i in range(i0, i1, strip):
            rows = smaller(strip, i1 - i)
            columns = strip if rows > lanes(space) else lanes(space)
            for p in range(layer[PANELS]):
                first, width = p * layer[WIDTH], columns_of(layer, p)
                W = offset(space, layer[WEIGHTS] + first * depth + k0 * width)
                dz = offset(transposed, (i - i0) * n + first * strip)
                multiply_panel(
                    W, width, 1, dz, strip, tile, strip, k1 - k0, columns, smaller(width, n - first), one, p > 0
                )
            transpose(tile, strip, offset(space, previous[DELTA] + i * row + k0), row, k1 - k0, rows)

    @subroutine
    def activation_backward(layer, space, i0, i1, k0, k1, counter):  # type: ignore[no-untyped-def]
        """Backward pass through the dropout and the activation that produced inputs k0 to k1."""
        noinline()
        previous = offset(layer, -n_fields)
        row = previous[ROW]
        drop(layer, space, offset(space, previous[DELTA]), row, i0, i1, k0, k1, counter)
        pieces, length = i1 - i0, (previous[PADDED] if k1 == layer[N_IN] else k1) - k0
        if k1 - k0 == layer[N_IN]:
            pieces, length = 1, (i1 - i0) * row
        for piece in range(pieces):
            start = (i0 + piece) * row + k0
            delta, saved = offset(space, previous[DELTA] + start), offset(space, previous[SAVED] + start)
            apply_derivative(previous[DERIVATIVE], delta, saved, length)

    # -- update: the chunks of a layer are numbered panel by panel ----------------------------------

    @subroutine
    def chunk_extent(layer, chunk):  # type: ignore[no-untyped-def]
        """Start of a chunk, number of its elements, number of those before the biases, width of its panel."""
        p, k0, k1 = chunk_rows(layer, chunk)
        width = columns_of(layer, p)
        start = layer[WEIGHTS] + p * layer[WIDTH] * (layer[N_IN] + 1) + k0 * width
        return start, (k1 - k0) * width, (smaller(k1, layer[N_IN]) - k0) * width, width

    @subroutine
    def add_gradient(layer, space, rows, chunk, parity, factor, target, accumulate, lists):  # type: ignore[no-untyped-def]
        """A chunk of ``factor * x.T @ dz``, summed over blocks of the batch in order; x without a scaling layer."""
        buffer, length, _, first_list = lists
        x_row, row = layer[INPUT_ROW], layer[ROW]
        p, k0, k1 = chunk_rows(layer, chunk)
        width = columns_of(layer, p)
        x = offset(space, layer[UNSCALED] + parity * layer[SECOND] + k0)
        dz = offset(space, layer[DELTA] + p * layer[WIDTH])
        for i in range(0, rows, BLOCK):
            if length and layer[NUMBER] == 0:
                multiply_panel_listed(
                    offset(x, i * x_row), 1, x_row, offset(dz, i * row), row, target, width,
                    k1 - k0, width, offset(buffer, first_list + i // BLOCK * block_lists), row_list,
                    factor, accumulate or i > 0,
                )  # fmt: skip
            else:
                multiply_panel(
                    offset(x, i * x_row), 1, x_row, offset(dz, i * row), row, target, width,
                    k1 - k0, width, smaller(BLOCK, rows - i), factor, accumulate or i > 0,
                )  # fmt: skip

    @subroutine
    def gradient(layer, space, rows, chunk, parity, l2, l1, clip_value, g, lists):  # type: ignore[no-untyped-def]
        """Gradient of a chunk, with that of the penalties, clipped by value."""
        noinline()
        start, n, n_weights, width = chunk_extent(layer, chunk)
        W = offset(space, start)
        add_gradient(layer, space, rows, chunk, parity, one, g, False, lists)
        if layer[SCALE_GRADIENT]:
            p, k0, _ = chunk_rows(layer, chunk)
            call(layer[SCALE_GRADIENT], (layer, space, W, g, p, k0, k0 + n_weights // width, width))
        if l2 != zero or l1 != zero or clip_value < infinity:
            call(layer[PENALTIES], (W, g, n_weights, n, l2, l1, clip_value))

    @subroutine
    def update(  # type: ignore[no-untyped-def]
        layer, space, rows, chunk, parity, mode, rule_loop, scalars, factors, l1, clip_value, factor, segment_size,
        gradient_start, chunk_scratch, lists,
    ):  # fmt: skip
        """Update the parameters and the state of a chunk."""
        noinline()
        start, n, n_weights, _ = chunk_extent(layer, chunk)
        W, g = offset(space, start), chunk_scratch
        if mode == IN_PLACE:
            shrink = real(factors[SHRINK])
            if shrink != one:
                for j in range(n_weights):
                    W[j] *= shrink
            add_gradient(layer, space, rows, chunk, parity, -scalars[0], W, True, lists)
            return
        if mode == WHOLE_GRADIENT:
            g = offset(space, gradient_start + start)
            for j in range(n):
                g[j] *= factor
        else:
            gradient(layer, space, rows, chunk, parity, real(factors[L2]), l1, clip_value, g, lists)
        decay = real(factors[layer[WEIGHT_DECAY] + DECAY])
        if decay != one:
            for j in range(n_weights):
                W[j] *= decay
        state, rate, alike = offset(space, segment_size + start), offset(scalars, layer[WEIGHT_RATE]), n
        if layer[BIAS_RATE] != layer[WEIGHT_RATE] and n_weights < n:
            alike, bias_rate = n_weights, offset(scalars, layer[BIAS_RATE])
            b, b_state = offset(W, n_weights), offset(state, n_weights)
            apply_rule(rule_loop, b, offset(g, n_weights), b_state, segment_size, bias_rate, n - n_weights)
        apply_rule(rule_loop, W, g, state, segment_size, rate, alike)

    @subroutine
    def sum_weights(layer, space, chunk, sums_scratch, chunk_sums):  # type: ignore[no-untyped-def]
        """Store the sums over a chunk's weights that the penalties need."""
        start, _, n_weights, width = chunk_extent(layer, chunk)
        sums_of_chunk = offset(chunk_sums, 4 * (layer[FIRST_CHUNK] + chunk))
        call(layer[SUMS], (offset(space, start), n_weights, width, sums_scratch, sums_of_chunk))

    @subroutine
    def total_loss(row_losses, rows, loss_factor):  # type: ignore[no-untyped-def]
        loss = 0.0
        for i in range(rows):
            loss += row_losses[i]
        return loss * loss_factor

    @subroutine
    def penalty(chunk_sums, chunks, l2, l1):  # type: ignore[no-untyped-def]
        value = 0.0
        for chunk in range(chunks):
            value += 0.5 * l2 * chunk_sums[4 * chunk] + l1 * chunk_sums[4 * chunk + 1]
        return value

    @subroutine
    def clip_factor(chunk_sums, chunks, squares, clip_norm):  # type: ignore[no-untyped-def]
        """Factor of the gradient that keeps its norm within the bound; `squares` is the sum for other parameters."""
        for chunk in range(chunks):
            squares += chunk_sums[4 * chunk + 2]
        factor = clip_norm / (math.sqrt(squares) + 1e-6)
        return real(1.0 if factor > 1 else factor)

    # -- how threads divide the work ----------------------------------------------------------------

    @subroutine
    def forward_shared(layer, is_last, space, rows, t, threads, parity, counter, lists):  # type: ignore[no-untyped-def]
        """Share t of a layer's output: whole panels, and tiles of a panel that is divided among threads."""
        groups = (rows + ROWS - 1) // ROWS
        task, end = divide(layer[PANELS] * groups, 1, t, threads)
        while task < end:
            p, group = task // groups, task % groups
            if group == 0 and end - task >= groups:
                p1, count, i0, i1 = end // groups, (end // groups - p) * groups, 0, rows
            else:
                count = smaller(groups - group, end - task)
                p1, i0, i1 = p + 1, group * ROWS, smaller(rows, (group + count) * ROWS)
            for i in range(i0, i1, BLOCK):
                forward(layer, is_last, space, i, smaller(i + BLOCK, i1), p, p1, parity, counter, lists)
            task += count

    @subroutine
    def chunks_of(layer, t, threads):  # type: ignore[no-untyped-def]
        """First and last + 1 of the chunks of a layer in share t."""
        return divide(layer[PANELS] * layer[CHUNKS], 1, t, threads)

    @subroutine
    def panels_of(layer, c, first, last):  # type: ignore[no-untyped-def]
        """First and last + 1 panel whose chunk number c is one of the chunks `first` to `last` of the layer."""
        chunks = layer[CHUNKS]
        return (first - c + chunks - 1) // chunks, (last - c + chunks - 1) // chunks

    # -- whether zeros may be left out: what they are multiplied with must be finite ------------------

    @subroutine
    def all_finite(layer, space, chunk):  # type: ignore[no-untyped-def]
        """Whether the weights of a chunk are finite."""
        start, n, _, _ = chunk_extent(layer, chunk)
        return largest(offset(space, start), n) < math.inf

    @subroutine
    def largest_delta(layer, space, rows):  # type: ignore[no-untyped-def]
        """Largest gradient of an output of the layer; infinity or NaN if one is not finite."""
        return largest(offset(space, layer[DELTA]), rows * layer[ROW])

    return StepFunctions(
        gather, list_inputs, list_chunk, forward, forward_shared, transpose_delta, input_delta,
        activation_backward, gradient, update,
        sum_weights, total_loss, penalty, clip_factor, chunk_extent, chunks_of, panels_of,
        all_finite, largest_delta,
    )  # fmt: skip
