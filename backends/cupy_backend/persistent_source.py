"""`persistent_source`: the CUDA C++ text of the persistent kernel for one network, rule, kind of data and tiling."""

from __future__ import annotations

import functools

from backends.cupy_backend.arguments import arguments_dtype
from backends.cupy_backend.kernel_source import TYPES, KernelOptions, definitions, epoch_kernels, text_of
from backends.cupy_backend.tilings import Tiling

_FILES = ("cluster.cuh", "persistent_thread.cuh", "persistent_step.cuh", "persistent.cuh")
_CALL = """\
    extern __shared__ persistent::Bytes16 shared_memory[];
    unsigned char* const memory = shared_memory[0].value;
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
    n_in, n_hidden, n_out = network.layout.sizes
    real, source = TYPES[options.dtype], TYPES[options.X_dtype]
    quads = -(-n_in // 4)
    numbers = {
        "N_IN": n_in, "N_HIDDEN": n_hidden, "N_OUT": n_out, "QUADS": quads, "BATCH_ROWS": tiling.rows,
        "BLOCKS": tiling.blocks, "BLOCK_THREADS": tiling.threads, "GROUP_THREADS": tiling.group_threads,
        "UNITS": tiling.units, "PADDED_UNITS": tiling.padded_units, "UNITS_OF_THREAD": tiling.units_of_thread,
        "QUADS_OF_THREAD": tiling.quads_of_thread, "TILE_ROWS": tiling.tile_rows, "TALL": tiling.tall,
        "X_BUFFERS": tiling.x_buffers, "ROW_BYTES": tiling.row_bytes, "PIECE": piece,
        "PIECES": -(-quads * 4 * options.X_dtype.itemsize // piece), "LANES": tiling.lanes,
        "OWN_GROUPS": tiling.own_groups,
    }  # fmt: skip
    flags = {
        "CLASS_NUMBERS": options.class_numbers, "WEIGHTED": options.weighted, "PENALIZED": options.penalized,
        "CLIPPED": clipped, "BY_NORM": options.by_norm,
        "INPUT_DROPOUT": network.dropout[0] > 0, "HIDDEN_DROPOUT": network.dropout[1] > 0,
        "SCALED": source != real or network.dropout[0] > 0,
    }  # fmt: skip
    target = "long long" if options.class_numbers else real
    constants = [f"typedef {real} REAL;", f"typedef {source} SOURCE;", f"typedef {target} TARGET;"]
    constants += [f"const int {name} = {value};" for name, value in numbers.items()]
    constants += [f"const int AT_{name.upper()} = {place};" for name, place in tiling.places]
    constants += [f"const bool {name} = {'true' if value else 'false'};" for name, value in flags.items()]
    kernel = (
        f'extern "C" __global__ void __cluster_dims__({tiling.blocks}, 1, 1) __launch_bounds__({tiling.threads}, 1) '
        f"train(const unsigned char* networks, int count) {{\n{_CALL}}}\n"
        f'static_assert(sizeof(persistent::Arguments) == {arguments_dtype(options).itemsize}, "as in Python");\n'
    )
    files = [text_of(name) for name in _FILES]
    return "\n".join([definitions(options), *constants, *files, kernel, *epoch_kernels(options)])
