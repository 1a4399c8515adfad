"""`PersistentKernel`: trains many batches of a network with hidden layers in each launch."""

from __future__ import annotations

import math

import numpy as np

from backends.cupy_backend.arguments import arguments_dtype
from backends.cupy_backend.clusters import allow_large_clusters
from backends.cupy_backend.device import Device
from backends.cupy_backend.grid_tilings import graph_microseconds, grid_tiling_for, why_neither
from backends.cupy_backend.kernel_source import KernelOptions
from backends.cupy_backend.persistent_source import exchange_bytes, persistent_source
from backends.cupy_backend.step import EpochArrays
from backends.cupy_backend.tiling import Tiling
from backends.cupy_backend.tilings import MOST_BLOCKS, expected_microseconds, measured_choice, tiling_for
from backends.plan import Array, EpochPlan
from backends.random import dropout_threshold

LAUNCH_MICROSECONDS = 5000
"""Estimated time of a launch.  The host starts up to nine ahead: a request to stop is answered in about 50 ms."""

LEAST_CAPABILITY = 90
"""Ten times the compute capability of the first GPUs with clusters of blocks."""


def persistent_tiling(device: Device, options: KernelOptions, plan: EpochPlan) -> Tiling | str:
    """The tiling by which the persistent kernel can run a plan, or a sentence that says why it cannot.

    Parameters
    ----------
    device : Device
    options : KernelOptions
        Of the plan.
    plan : EpochPlan
    """
    network = options.network
    hidden_layers = network.layout.n_layers - 1
    if device.compute_capability < LEAST_CAPABILITY:
        return f"the persistent kernel needs compute capability 9.0, and this GPU has {device.compute_capability / 10}"
    if not hidden_layers:
        return "the persistent kernel is for networks with a hidden layer, and this one has none"
    if network.layout.scaling_layer:
        return "the persistent kernel has no scaling layer"
    if network.precision != "float32":
        return f"the products of the persistent kernel are in float32, not {network.precision}"
    if len(plan.segments()) > 1:
        return "the persistent kernel has one learning rate for all parameters"
    if len(plan.order) >= 2**31:
        return "the persistent kernel counts the rows of an epoch in 32 bits"
    # not by the rows of the order, which may be fewer: a part of an epoch must have the bits of the whole
    return fastest_way(options, plan.batch_size, device.shared_bytes, device.multiprocessors, device.most_blocks)


def fastest_way(
    options: KernelOptions, rows: int, shared_limit: int, multiprocessors: int, most_blocks: int
) -> Tiling | str:
    """The tiling that is estimated to be fastest, of a cluster or of a grid, or a sentence that says why it is neither.

    A cluster must be at least as fast as CUDA graphs, if it has not been measured; a grid is only taken where it is
    faster than both by a factor (`grid_tilings.FASTER`).

    Parameters
    ----------
    options : KernelOptions
        Of a network with one hidden layer or more.
    rows : int
        Of a batch.
    shared_limit : int
        Bytes of shared memory that a block can have.
    multiprocessors : int
        Of the GPU.
    most_blocks : int
        Blocks that a cluster can have.
    """
    cluster = tiling_for(options, rows, shared_limit, most_blocks)
    if isinstance(cluster, Tiling) and cluster.choice == measured_choice(options, rows):
        return cluster
    others = {"CUDA graphs": graph_microseconds(options, rows, multiprocessors)}
    if isinstance(cluster, Tiling):
        others["a cluster"] = expected_microseconds(options, cluster)
    grid = grid_tiling_for(options, rows, shared_limit, multiprocessors, others)
    if isinstance(grid, Tiling):
        return grid
    if isinstance(cluster, Tiling):
        if others["a cluster"] <= others["CUDA graphs"]:
            return cluster
        cluster = (
            f"a step on a cluster of {cluster.blocks} blocks is estimated to take {others['a cluster']:.1f} "
            f"microseconds, more than CUDA graphs with {others['CUDA graphs']:.1f}"
        )
    return f"the persistent kernel has no tiling: {why_neither(cluster, grid)}"


def batches_of_launch(tiling: Tiling) -> int:
    """Batches of a launch."""
    return max(1, int(LAUNCH_MICROSECONDS / tiling.microseconds))


def module_source(options: KernelOptions, tiling: Tiling, X: Array, plan: EpochPlan) -> str:
    """The text of the kernels for a plan, and for rows that begin where those of X do."""
    whole = X.data.ptr % 16 == 0 and X.strides[0] % 16 == 0
    return persistent_source(options, tiling, 16 if whole else 8, plan.clip_value is not None)


class PersistentKernel:
    """Launches of the persistent kernel.

    Parameters
    ----------
    arrays : EpochArrays
    plan : EpochPlan
        Its numbers that hold for all batches become arguments.
    tiling : Tiling

    Attributes
    ----------
    source : str
        The text of its module: a launch can train networks with the same text and tiling.
    record : ndarray of uint8
        What the kernel must know of the network: its ``Arguments``.
    """

    def __init__(self, arrays: EpochArrays, plan: EpochPlan, tiling: Tiling) -> None:
        network, tables = arrays.options.network, arrays.tables
        kind, n_outputs = network.kind, network.layout.sizes[-1]
        loss_factor, delta_factor = kind.shares(n_outputs)
        input_rate, hidden_rate = network.dropout[:2]  # those of higher layers are in the text of the kernel
        x_factor = (network.input_scale if arrays.X.dtype == np.uint8 else 1.0) / (1 - input_rate)
        values = n_outputs if kind.loss.name == "cross_entropy" else 2  # as in `Operations.smooth_labels`
        smoothing = plan.label_smoothing
        self.source, self.tiling = arrays.source, tiling
        self._kernel = arrays.kernel("train")
        self._kernel.max_dynamic_shared_size_bytes = tiling.shared_bytes
        if tiling.blocks > MOST_BLOCKS and not tiling.on_grid:
            allow_large_clusters(self._kernel)
        record = np.zeros(1, arguments_dtype(arrays.options))
        for name, array in {
            "words": tables.words, "X_order": arrays.X_order, "order": tables.order, "X": arrays.X,
            "target": arrays.target, "weight": arrays.params if arrays.weight is None else arrays.weight,
            "normalizers": tables.normalizers, "l2": tables.l2, "scalars": tables.scalars, "losses": tables.losses,
            "params": arrays.params, "state": arrays.state,
        }.items():  # fmt: skip
            record[name] = array.data.ptr
        for name, value in {
            "X_stride": arrays.X.strides[0] // arrays.X.itemsize,
            "n_rows": len(plan.order),
            "x_factor": x_factor,
            "loss": (1 - smoothing, smoothing / values, delta_factor, kind.ceiling(arrays.options.dtype)),
            "loss_factor": loss_factor,
            "l1": plan.l1,
            "clip_norm": math.inf if plan.clip_norm is None else plan.clip_norm,
            "clip_value": math.inf if plan.clip_value is None else plan.clip_value,
            "input_dropout": (0, dropout_threshold(input_rate), 1),
            "hidden_dropout": (1, dropout_threshold(hidden_rate), 1 / (1 - hidden_rate)),
        }.items():
            record[name] = value
        self.record = record.view(np.uint8)
        self._arrays = arrays  # they live as long as the record has their addresses
        self._networks = arrays.cupy.asarray(self.record)
        # the counter in it begins at zero; the same array for all launches
        self._exchange = arrays.cupy.zeros(exchange_bytes(tiling), np.uint8) if tiling.on_grid else None

    def start(self, most: int) -> int:
        """Start up to `most` steps without waiting for them; return how many."""
        return self.start_all(self._networks, 1, most)

    def start_all(self, networks: Array, count: int, most: int) -> int:
        """Start up to `most` steps of each of `count` networks whose records are in an array; return how many.

        A network that has fewer steps left in its epoch ends with it.
        """
        tiling, steps = self.tiling, min(most, batches_of_launch(self.tiling))
        grid, arguments = (count * tiling.blocks,), (networks, np.int32(steps))
        if self._exchange is None:
            self._kernel(grid, (tiling.threads,), arguments, shared_mem=tiling.shared_bytes)
            return steps
        # all blocks of a cooperative launch run at the same time, as they must to wait for each other.  CuPy launches a
        # kernel of a module in this way only through `kernel`, unless all kernels of the module are to be so
        self._kernel.kernel(
            grid, (tiling.threads,), (*arguments, self._exchange), shared_mem=tiling.shared_bytes,
            enable_cooperative_groups=True,
        )  # fmt: skip
        return steps
