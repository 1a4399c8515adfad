"""`shared_arrays`: what a block of the persistent kernel has in shared memory."""

from __future__ import annotations

import itertools

from backends.cupy_backend.arguments import arguments_dtype
from backends.cupy_backend.kernel_source import KernelOptions, n_scalars


def shared_arrays(
    options: KernelOptions, rows: int, in_parts: bool, blocks: int, threads: int, group_threads: int, units: int,
    padded_units: int, weights: int, x_bytes: int, tall: int, by_owners: bool, on_grid: bool,
) -> dict[str, int]:  # fmt: skip
    """Bytes of each array in the shared memory of a block, for the constants ``AT_...`` of the kernel.

    `rows` are those of a part.
    """
    n_in, _, n_second, *_ = options.network.layout.sizes
    n_out, several = options.network.layout.sizes[-1], options.network.layout.n_layers > 2
    real, logits, warps = options.dtype.itemsize, rows * n_out, threads // 32
    states, scalars = len(options.rule.state), 1 + n_scalars(options.rule)
    remembered = weights * threads + n_others(options, padded_units) + n_above(options)
    weights2 = padded_units * (odd(n_second) if several else n_second)
    sides = 1 if on_grid else 2  # of what blocks receive: those of a grid copy it to where they need it
    sizes = {
        "x": x_bytes,
        "partial": group_threads // 32 * tall * padded_units * real,
        "saved": rows * padded_units * real,
        "output": rows * padded_units * real,
        "delta1": rows * padded_units * real,
        "w2": weights2 * real,
        "gradient2": weights2 * real,
        "gradient_biases": (padded_units + n_second) * real * in_parts,
        "b1": padded_units * real,
        "b2": n_second * real,
        "shares": (-(-rows * n_second // blocks) if by_owners else sides * rows * n_second) * blocks * real,
        "logits": logits * real,
        "delta": logits * real,
        "state": states * remembered * real,
        "x_order": 3 * rows * 8,
        "order": 3 * rows * 8,
        "target": 2 * rows * (8 if options.class_numbers else n_out * real),
        "weight": 2 * rows * real * options.weighted,
        "scalars": 2 * scalars * real,
        "normalizers": 16,
        "l2": 16,
        "arguments": arguments_dtype(options).itemsize,
        "parts_of_launch": 8,
        "warp_losses": warps * 8,
        "warp_weights": 2 * warps * 8 * options.penalized,
        "block_weights": 2 * sides * blocks * 8 * options.penalized,
        "kept_inputs": 2 * rows * -(-n_in // 8) * bool(options.network.dropout[0]),
        "kept_hidden": 2 * rows * ((units + 14) // 8) * bool(options.network.dropout[1]),
        "warp_norms": warps * 8 * options.by_norm,
        "block_norms": blocks * 8 * options.by_norm,
        "mbarriers": 24 + 8 * by_owners,
        **(_arrays_above(options, rows, in_parts) if several else {}),
    }
    if not on_grid:
        return sizes
    # instead of mbarriers, a pointer and a number; and those first of which there is a copy in global memory
    exchanged = "shares", *(("saved2",) if by_owners else ()), "block_weights", "block_norms"
    sizes |= {"exchange": 8, "meeting": 8}
    del sizes["mbarriers"]
    return {name: sizes[name] for name in exchanged} | sizes


def odd(n: int) -> int:
    """Numbers from one row to the next of an array with n columns: so a column is in all banks of shared memory."""
    return n | 1


def n_others(options: KernelOptions, padded_units: int) -> int:
    """Numbers of W2, b1 and b2 of a block."""
    n_second = options.network.layout.sizes[2]
    stride = odd(n_second) if options.network.layout.n_layers > 2 else n_second
    return padded_units * stride + padded_units + n_second


def layers_above(options: KernelOptions) -> list[tuple[int, int]]:
    """Inputs and units of the third and higher layers, which every block has."""
    return list(itertools.pairwise(options.network.layout.sizes[2:]))


def n_above(options: KernelOptions) -> int:
    """Numbers of the parameters of these."""
    return sum(below * odd(n) + n for below, n in layers_above(options))


def _arrays_above(options: KernelOptions, rows: int, in_parts: bool) -> dict[str, int]:
    """Bytes of the arrays that several hidden layers need besides."""
    layout, dropout, real = options.network.layout, options.network.dropout, options.dtype.itemsize
    found: dict[str, int] = {}
    for layer, n in enumerate(layout.sizes[2:-1], start=2):
        found |= {f"{name}{layer}": rows * odd(n) * real for name in ("saved", "output", "delta")}
        found[f"kept{layer}"] = 2 * rows * -(-n // 8) * bool(dropout[layer])
    for layer, (below, n) in enumerate(layers_above(options), start=3):
        found |= {f"{name}{layer}": below * odd(n) * real for name in ("w", "gradient")}
        found |= {f"b{layer}": n * real, f"gradient_biases{layer}": n * real * in_parts}
    return found
