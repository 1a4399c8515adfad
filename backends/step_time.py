"""Estimates of the time of a training on a CPU and on a GPU, by which ``device="auto"`` chooses.

The model adds up what a step must do: arithmetic, memory traffic, and on a GPU the start of its kernels.  Its numbers
were published, recorded in ``benchmarks/results``, counted in the code, or are estimates; each says which.  Nothing is
timed, so the choice does not change between two runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# -- a CPU, with the Numba backend ---------------------------------------------------------------------------------

CPU_OPERATIONS = 257e9
"""Operations in float32 of a thread in a second.  This number and the next two are the least-squares fit of the
logarithms of the times of ``mlp numba`` in ``benchmarks/results/cpu.json`` and ``cpu-adam.json``; the estimates differ
from those times by less than a factor of 1.7.  A constant time of a step was fitted too, and was zero.

Their machine has AVX-512 and two cores.  With narrower vectors or more cores, the model is an extrapolation."""

CPU_PREDICTION = 110e9
"""Operations in float32 of a thread in a second, in a prediction with NumPy: ``roofs`` in ``cpu.json``, half of it."""

CPU_ENTRY = 0.73e-9
"""Seconds of a thread for each entry of the layers' inputs and outputs: copies, activations, the loss."""

CPU_BYTES = 155e9
"""Bytes a second of parameters, gradient and optimizer state, for each thread: they are in a cache."""

CPU_SHARED_STEP = 1.5e6
"""Operations of a step from which on more than one thread works: `numba_backend.panels.THREAD_WORK`."""

CPU_LOADING = 0.5
"""Seconds to load the compiled kernels: ``startup`` of the first result in each of those two files."""

# -- an NVIDIA GPU, with CUDA graphs --------------------------------------------------------------------------------

NODE = 1.3e-6
"""Seconds from the end of a kernel to the start of the next one in a graph, on an H100: Spector et al., "Look Ma, No
Bubbles!", hazyresearch.stanford.edu, 2025.  (Only 0.58 between empty kernels on an RTX 5070 Ti: ahrefs/ocannl#488.)"""

L2_CYCLES = 263
"""Latency of the L2 cache of an H100 in cycles: Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU
Architecture", arXiv:2402.13499, table of memory latencies."""

ACCESSES = 4
"""Memory accesses of a kernel that wait for each other, counted in ``kernels/step.cuh``: the number of the batch, the
number of a row, the row, and the store for which the next kernel waits."""

DIRECT_ROWS = 64
"""Rows of a batch above which one more kernel adds up the gradients of the biases: `cupy_backend.step.DIRECT_ROWS`."""

TILE = 32
"""Rows and columns of a product that one multiprocessor computes, at least.  An estimate: the smallest tiles of cuBLAS
are of about this size."""

EFFICIENCY = 0.7
"""Part of its peak that a multiprocessor reaches in a product.  An estimate."""

MULTIPLY_ADDS = {
    75: {"float64": 2, "float32": 64},
    80: {"float64": 32, "float32": 64, "tf32": 512, "bf16": 1024},
    86: {"float64": 2, "float32": 128, "tf32": 128, "bf16": 256},
    90: {"float64": 64, "float32": 128, "tf32": 1024, "bf16": 2048},
    100: {"float64": 64, "float32": 128, "tf32": 2048, "bf16": 4096},
    120: {"float64": 2, "float32": 128, "tf32": 128, "bf16": 256},
}
"""Multiplications with addition of a multiprocessor in a cycle, by ten times the compute capability and by precision.
float64 and float32: CUDA Programming Guide, "Throughput of Native Arithmetic Instructions".  tf32 and bf16, without
sparsity: the peaks in NVIDIA's data sheets of A100, RTX 3090, H100, B200 and RTX 5090, divided by multiprocessors and
clock.  A capability between two of these has the numbers of the lower one."""

LAUNCH = 10e-6
"""Seconds of the host to start a kernel outside a graph, or to capture it: 6 to 11 microseconds, cupy/cupy#3341."""

COPY = 6e9
"""Bytes a second of a copy from pageable memory to the device: about half of the 12 GB/s of pinned memory on PCIe 3.0
("How to Optimize Data Transfers in CUDA C/C++", developer.nvidia.com, says why pageable memory is slower)."""

GPU_LOADING = 0.5
"""Seconds to load the kernels and cuBLAS.  An estimate, not measured."""

CAPTURED_STEPS = 41
"""Steps that are captured: graphs of 32, 8 and 1; see `cupy_backend.graphs`."""

PREDICTION_LAUNCHES = 2
"""Kernels of a layer in a prediction: a product, and the activation."""


@dataclass(frozen=True)
class Work:
    """The size of a training, or of a prediction.

    Attributes
    ----------
    sizes : tuple of int
        Width of the input, of each hidden layer, and of the output.
    rows, batch_size : int
        Rows of an epoch and of a step; of a prediction, its rows and those that are computed at once.
    epochs, trainings : int
        Number of epochs of a training, and of such trainings; each copies its data to the device.
    itemsize : int
        Bytes of a parameter, and of an entry of X.
    precision : {"float32", "tf32", "bf16"}
        See `NetworkPlan.precision`.
    states : int
        Numbers that the update rule keeps for each parameter.
    prediction : bool
        Whether only the outputs are computed.

    Examples
    --------
    >>> work = Work((784, 30, 10), rows=60_000, batch_size=16, epochs=2)
    >>> work.steps, work.step_operations
    (7500, 2286720.0)
    """

    sizes: tuple[int, ...]
    rows: int
    batch_size: int
    epochs: int = 1
    trainings: int = 1
    itemsize: int = 4
    precision: str = "float32"
    states: int = 0
    prediction: bool = False

    @property
    def steps(self) -> int:
        return self.trainings * self.epochs * -(-self.rows // self.batch_size)

    @property
    def step_operations(self) -> float:
        """Floating-point operations of the matrix products of a step."""
        return (2.0 if self.prediction else 6.0) * self.batch_size * self.n_weights

    @property
    def operations(self) -> float:
        """Floating-point operations of all matrix products."""
        return self.step_operations / self.batch_size * self.rows * self.epochs * self.trainings

    @property
    def n_weights(self) -> int:
        return sum(n_in * n_out for n_in, n_out in pairwise(self.sizes))

    @property
    def n_parameters(self) -> int:
        return self.n_weights + sum(self.sizes[1:])

    @property
    def products(self) -> list[tuple[int, int, int]]:
        """Rows, columns and inner dimension of each matrix product of a step."""
        n, layers = self.batch_size, list(pairwise(self.sizes))
        forward = [(n, n_out, n_in) for n_in, n_out in layers]
        if self.prediction:
            return forward
        gradients = [(n_in, n_out, n) for n_in, n_out in layers]
        return forward + gradients + [(n, n_in, n_out) for n_in, n_out in layers[1:]]


@dataclass(frozen=True)
class Gpu:
    """What the model must know of a GPU.

    Attributes
    ----------
    compute_capability : int
        Ten times the number that NVIDIA writes.
    multiprocessors : int
    cycles, bytes : float
        Cycles, and bytes that its memory can read or write, in a second.
    """

    compute_capability: int
    multiprocessors: int
    cycles: float
    bytes: float

    def multiply_adds(self, precision: str) -> int:
        """Of a multiprocessor in a cycle."""
        known = [capability for capability in MULTIPLY_ADDS if capability <= self.compute_capability]
        table = MULTIPLY_ADDS[max(known, default=min(MULTIPLY_ADDS))]
        return table.get(precision, table["float32"])


@dataclass(frozen=True)
class Estimate:
    """The estimated time of a training on one device, in seconds.

    Attributes
    ----------
    parts : dict
        Seconds of each part of a step.
    steps : int
    copying : float
        Copies of the data to the device.
    loading : float
        The first use in a process: loading kernels that were compiled before, capturing graphs.  Compiling them, the
        first time on a machine, takes longer and is not in it: ten to twenty seconds for a CPU, a few for a GPU.
    """

    parts: dict[str, float]
    steps: int
    copying: float
    loading: float

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return sum(self.parts.values())

    @property
    def seconds(self) -> float:
        """Of everything together."""
        return self.loading + self.copying + self.steps * self.step

    def to_dict(self) -> dict[str, Any]:
        """As a JSON-compatible dict."""
        return {
            "microseconds_per_step": 1e6 * self.step,
            "parts_in_microseconds": {name: 1e6 * seconds for name, seconds in self.parts.items()},
            "copying_seconds": self.copying,
            "loading_seconds": self.loading,
            "seconds": self.seconds,
        }


def on_cpu(work: Work, threads: int) -> Estimate:
    """Estimate the time with the Numba backend, or of a prediction with NumPy.

    Examples
    --------
    >>> estimate = on_cpu(Work((784, 128, 10), rows=60_000, batch_size=128), threads=2)
    >>> round(1e6 * estimate.step)  # 150 in benchmarks/results/cpu.json
    201
    """
    threads = threads if work.step_operations >= CPU_SHARED_STEP else 1
    # reading and writing parameters and states, and the gradient; the backward pass reads the parameters once more
    traffic = work.n_parameters * work.itemsize * (1 if work.prediction else 5 + 2 * work.states)
    speed = CPU_PREDICTION if work.prediction else CPU_OPERATIONS
    parts = {
        "products": work.step_operations / speed * work.itemsize / 4,
        "rows": work.batch_size * sum(work.sizes) * CPU_ENTRY * work.itemsize / 4,
        "parameters": traffic / CPU_BYTES,
    }
    loading = 0.0 if work.prediction else CPU_LOADING
    return Estimate({name: seconds / threads for name, seconds in parts.items()}, work.steps, 0.0, loading)


def on_gpu(work: Work, gpu: Gpu) -> Estimate:
    """Estimate the time with CUDA graphs, or of a prediction with single kernels.

    Examples
    --------
    >>> h200 = Gpu(90, multiprocessors=132, cycles=1.98e9, bytes=4.8e12)
    >>> estimate = on_gpu(Work((784, 128, 10), rows=60_000, batch_size=128), h200)
    >>> {name: round(1e6 * seconds, 1) for name, seconds in estimate.parts.items()}
    {'start of 11 kernels': 20.1, 'products': 6.8, 'memory': 0.9}
    """
    nodes = launches_of_step(work)
    start = LAUNCH if work.prediction else NODE + ACCESSES * L2_CYCLES / gpu.cycles
    precision = "float64" if work.itemsize == 8 else work.precision
    speed = 2 * gpu.multiply_adds(precision) * gpu.cycles * EFFICIENCY  # of a multiprocessor
    products = 0.0
    for rows, columns, inner in work.products:
        tiles = -(-rows // TILE) * -(-columns // TILE)
        products += 2 * TILE * TILE * inner * -(-tiles // gpu.multiprocessors) / speed
    parts = {
        f"start of {nodes} kernels": nodes * start,
        "products": products,
        "memory": _traffic(work) / gpu.bytes,
    }
    data = (work.rows * work.sizes[0] + work.n_parameters) * work.itemsize
    captures = 0.0 if work.prediction else CAPTURED_STEPS * nodes * LAUNCH
    return Estimate(parts, work.steps, work.trainings * data / COPY, GPU_LOADING + captures)


def launches_of_step(work: Work) -> int:
    """Kernels of a step, without clipping by the norm or dropout of the input; counted in `cupy_backend.step`.

    Examples
    --------
    >>> launches_of_step(Work((784, 30, 10), rows=60_000, batch_size=16))
    10
    """
    layers = len(work.sizes) - 1
    if work.prediction:
        return PREDICTION_LAUNCHES * layers
    # each layer: two products and one for the loss or an activation; all but the first: a product and an activation for
    # the gradient of its input; gather and update; partial sums of the biases' gradients
    return 3 * layers + 2 * (layers - 1) + 2 + (work.batch_size > DIRECT_ROWS)


def _traffic(work: Work) -> float:
    """Bytes that the kernels of a step read from and write to the memory of the device."""
    inner = sum(work.sizes[1:])
    if work.prediction:
        return work.itemsize * (work.n_parameters + work.batch_size * (work.sizes[0] + 3 * inner))
    # parameters: read forward and backward, read and written by the update; the gradient: written and read; states
    parameters = work.n_parameters * work.itemsize * (6 + 2 * work.states)
    # a row: read, written, and read by two products; inner activations and gradients: three times each
    return parameters + work.batch_size * work.itemsize * (4 * work.sizes[0] + 6 * inner)
