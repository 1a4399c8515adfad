"""`persistent_source`: the CUDA C++ text of the persistent kernel for one network, rule, kind of data and tiling."""

from __future__ import annotations

import functools

from backends.cupy_backend.arguments import arguments_dtype
from backends.cupy_backend.kernel_source import TYPES, KernelOptions, definitions, epoch_kernels, text_of
from backends.cupy_backend.shared_arrays import odd
from backends.cupy_backend.tiling import Tiling
from backends.random import dropout_threshold

_FIRST = {False: "persistent_first.cuh", True: "persistent_tensor.cuh"}
"""The first layer without tensor cores, and on them."""

COPIES_AT = 128
"""Where the numbers that blocks of a grid exchange begin in global memory, behind the counter of their arrivals."""

BLOCKS_AT_ONCE = 8
"""Numbers of as many blocks of a grid are read at once before they are added up; in a cluster, those of all blocks."""

_MEMORY = """\
    extern __shared__ persistent::Bytes16 shared_memory[];
    unsigned char* const memory = shared_memory[0].value;
"""
_KEEP_EXCHANGE = "    if (threadIdx.x == 0) *(unsigned char**)(memory + AT_EXCHANGE) = exchange;\n"
_CALL = """\
    persistent::fetch_arguments(networks, count, memory);
    // Any thread reads what others have copied, and nobody writes it again.
    __syncthreads();
    persistent::Launch launch(*(const persistent::Arguments*)(memory + AT_ARGUMENTS), memory);
    launch.run();
"""


@functools.lru_cache(maxsize=64)
def persistent_source(options: KernelOptions, tiling: Tiling, piece: int, clipped: bool) -> str:
    """The text of one module: the kernel ``train``, and those that run once an epoch.

    Parameters
    ----------
    options : KernelOptions
    tiling : Tiling
    piece : {8, 16}
        Bytes of X that are copied at once: the addresses of its rows must be multiples of it.
    clipped : bool
        Whether the entries of the gradient are clipped.

    Raises
    ------
    TranslationError
        If a user-defined function cannot be translated.
    """
    network = options.network
    layout = network.layout
    n_in, n_hidden, n_second, *_ = layout.sizes
    hidden_layers, n_out = layout.n_layers - 1, layout.sizes[-1]
    real, source = TYPES[options.dtype], TYPES[options.X_dtype]
    quads = -(-n_in // 4)
    pieces = -(-quads * 4 * options.X_dtype.itemsize // piece)
    numbers = {
        "N_IN": n_in, "N_HIDDEN": n_hidden, "N_SECOND": n_second, "N_OUT": n_out, "HIDDEN_LAYERS": hidden_layers,
        "STRIDE2": odd(n_second) if hidden_layers > 1 else n_out, "WEIGHTS": layout.n_weights,
        "PARAMETERS": layout.n_parameters, "ABOVE": tiling.above, "QUADS": quads, "BATCH_ROWS": tiling.rows,
        "PARTS": tiling.parts, "PART_ROWS": tiling.part_rows, "BLOCKS": tiling.blocks,
        "BLOCKS_AT_ONCE": min(tiling.blocks, BLOCKS_AT_ONCE) if tiling.on_grid else tiling.blocks,
        "BLOCK_THREADS": tiling.threads, "GROUP_THREADS": tiling.group_threads,
        "WEIGHT_THREADS": tiling.groups * tiling.group_threads, "UNITS": tiling.units,
        "PADDED_UNITS": tiling.padded_units, "UNITS_OF_THREAD": tiling.units_of_thread,
        "QUADS_OF_THREAD": tiling.quads_of_thread, "TILE_ROWS": tiling.tile_rows, "TALL": tiling.tall,
        "X_BUFFERS": tiling.x_buffers, "ROW_BYTES": tiling.row_bytes, "PIECE": piece,
        "PIECES": pieces, "COPIERS": min(32, 1 << (pieces - 1).bit_length()), "UNROLLED_TILES": tiling.unrolled_tiles,
        "UNROLLED_ROWS": tiling.unrolled_rows,
        "LANES": tiling.lanes,
        "OWN_GROUPS": tiling.own_groups, "OWNED": tiling.owned, "MBARRIERS": 3 + tiling.by_owners,
    }  # fmt: skip
    if tiling.on_grid:
        numbers |= _exchange_sizes(tiling)
    flags = {
        "GRID": tiling.on_grid, "CLASS_NUMBERS": options.class_numbers, "WEIGHTED": options.weighted,
        "PENALIZED": options.penalized, "CLIPPED": clipped, "BY_NORM": options.by_norm,
        "INPUT_DROPOUT": network.dropout[0] > 0, "HIDDEN_DROPOUT": network.dropout[1] > 0,
        "SCALED": source != real or network.dropout[0] > 0, "BY_OWNERS": tiling.by_owners,
        "KEEPS_GRADIENT": tiling.keeps_gradient, "TENSOR": tiling.tensor,
    }  # fmt: skip
    target = "long long" if options.class_numbers else real
    constants = [f"typedef {real} REAL;", f"typedef {source} SOURCE;", f"typedef {target} TARGET;"]
    constants += [f"const int {name} = {value};" for name, value in numbers.items()]
    constants += [f"const int AT_{name.upper()} = {place};" for name, place in tiling.places]
    if hidden_layers == 1:
        constants.append("const int AT_DELTA2 = AT_DELTA;")
    constants += [f"const bool {name} = {'true' if value else 'false'};" for name, value in flags.items()]
    cluster = "" if tiling.on_grid else f"__cluster_dims__({tiling.blocks}, 1, 1) "
    exchange = ", unsigned char* exchange" if tiling.on_grid else ""
    call = f"{_KEEP_EXCHANGE}{_CALL}" if tiling.on_grid else _CALL
    kernel = (
        f'extern "C" __global__ void {cluster}__launch_bounds__({tiling.threads}, 1) '
        f"train(const unsigned char* networks, int count{exchange}) {{\n{_MEMORY}{call}}}\n"
        f'static_assert(sizeof(persistent::Arguments) == {arguments_dtype(options).itemsize}, "as in Python");\n'
    )
    files = [text_of(name) for name in files_of_kernel(tiling.on_grid, tiling.tensor)]
    layers = ["template <int LAYER> struct Layer;", *(_layers(options, tiling) if hidden_layers > 1 else [])]
    return "\n".join([definitions(options), *constants, *layers, *files, kernel, *epoch_kernels(options)])


def files_of_kernel(on_grid: bool, tensor: bool) -> tuple[str, ...]:
    """The files that the text contains, in their order."""
    exchange = ("grid.cuh", "grid_exchange.cuh") if on_grid else ("cluster_exchange.cuh",)
    steps = "persistent_step.cuh", "persistent_layers.cuh", "persistent.cuh"
    return "cluster.cuh", "persistent_thread.cuh", *exchange, _FIRST[tensor], *steps


def exchange_bytes(tiling: Tiling) -> int:
    """Bytes of global memory by which the blocks of a grid exchange numbers."""
    return COPIES_AT + 2 * _exchange_sizes(tiling)["COPY_BYTES"]


def _exchange_sizes(tiling: Tiling) -> dict[str, int]:
    """Sizes and places of the exchanged arrays of a grid; see ``grid_exchange.cuh``."""
    places = dict(tiling.places)
    ends = dict(zip(places, [*list(places.values())[1:], tiling.shared_bytes], strict=True))
    owner = ends["shares"] - places["shares"] if tiling.by_owners else 0
    received = places["saved2" if tiling.by_owners else "shares"]
    return {
        "COPIES_AT": COPIES_AT, "COPY_BYTES": ends["block_norms"] + tiling.blocks * owner,
        "OWNERS_AT": ends["block_norms"], "OWNER_BYTES": owner, "RECEIVED_AT": received,
        "RECEIVED_BYTES": places["block_weights"] - received, "NORM_BYTES": ends["block_norms"] - places["block_norms"],
        "WEIGHT_BYTES": places["block_norms"] - places["block_weights"],
    }  # fmt: skip


def _layers(options: KernelOptions, tiling: Tiling) -> list[str]:
    """What the kernel knows of the layers from the second on, if that is a hidden one: a structure for each.

    ``W_STRIDE`` and ``STRIDE`` are the distances of rows of W and of the arrays with a row for each row of the batch,
    ``PLACE`` is where the state of the layer's parameters begins, and ``FLAT_W`` and ``FLAT_B`` are the places of its
    parameters in the flat buffer.  Dropout rates are constants: with other rates the kernel is compiled again.
    """
    network, layout = options.network, options.network.layout
    flat_w, flat_b = 0, layout.n_weights
    place = tiling.remembered - tiling.above
    structures = []
    for layer in range(1, layout.n_layers + 1):
        below, n = layout.sizes[layer - 1 : layer + 1]
        if layer > 1:
            last = layer == layout.n_layers
            numbers = {"BELOW": below, "N": n, "STRIDE": n if last else odd(n), "B": f"AT_B{layer}", "FLAT_B": flat_b}
            numbers["DELTA"] = "AT_DELTA" if last else f"AT_DELTA{layer}"
            members = []
            if layer > 2:
                numbers |= {"W_STRIDE": odd(n), "W": f"AT_W{layer}", "GRADIENT": f"AT_GRADIENT{layer}"}
                numbers["GRADIENT_BIASES"] = f"AT_GRADIENT_BIASES{layer}"
                numbers |= {"FLAT_W": flat_w, "PLACE": place}
                place += below * odd(n) + n
            if not last:
                numbers |= {name: f"AT_{name}{layer}" for name in ("SAVED", "OUTPUT", "KEPT")}
                members = [f"typedef Activation{layer} Activation;", *_dropout(network.dropout[layer])]
            members += [f"static const int {name} = {value};" for name, value in numbers.items()]
            structures.append(f"template <> struct Layer<{layer}> {{\n    " + "\n    ".join(members) + "\n};")
        flat_w, flat_b = flat_w + below * n, flat_b + n
    return structures


def _dropout(rate: float) -> list[str]:
    return [
        f"static const bool DROPOUT = {'true' if rate else 'false'};",
        f"static const unsigned int THRESHOLD = {dropout_threshold(rate)}u;",
        f"static DEVICE REAL scale() {{ return REAL({float(1 / (1 - rate))!r}); }}",
    ]
