"""Everything to run where a CUDA GPU is: its description, training against NumPy, the benchmark, and the test suite.

    python benchmarks/on_gpu.py OUT                        # ten minutes at most; needs no network
    python benchmarks/on_gpu.py OUT --backend numba        # the same without a GPU, to try the script itself
    python benchmarks/on_gpu.py OUT --only device,training
    python benchmarks/on_gpu.py OUT --only tf32,compile,adam,sanitizer    # what ten minutes may not suffice for
    python benchmarks/on_gpu.py OUT --only tilings         # which tilings of the persistent kernel are fastest
    python benchmarks/on_gpu.py OUT --only device,grid     # the persistent kernel on grids, for larger networks
    python benchmarks/on_gpu.py OUT --then "COMMAND"       # one more stage, at the end

Each stage is a process of its own with a time limit, so that one which fails or hangs does not stop the others.  The
folder OUT receives ``results.json``, ``log.txt`` and the plots, and all of it again as ``on_gpu.tar.gz``.  The exit
status is 0 if every stage passed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

NETS = "784-128-10,784-512-512-10,784-2500-2000-1500-1000-500-10,784-30-10"  # the last ones may find no time left
LARGE_NETS = "784-512-512-10,784-2500-2000-1500-1000-500-10"
BATCH_SIZES = "16,64,256,1024,4096"
GPU_PEERS = "PyTorch CUDA,PyTorch CUDA graph,JAX CUDA"
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}  # after 60 steps, relative to the largest parameter


@dataclass
class Stage:
    """A command with a time limit, and what came of it."""

    name: str
    seconds: float
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    status: str = "not run"
    took: float = 0.0

    def run(self, log: Any, deadline: float) -> None:
        limit = min(self.seconds, deadline - time.monotonic())
        if limit < 5:
            self.status = "no time left"
            return
        log.write(f"\n===== {self.name}: {shlex.join(self.command)}\n")
        log.flush()
        start = time.monotonic()
        try:
            done = subprocess.run(
                self.command,
                cwd=ROOT,
                env=os.environ
                | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "STAGE_SECONDS": str(limit)}
                | self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            )
            self.status = "passed" if done.returncode == 0 else f"failed with status {done.returncode}"
        except subprocess.TimeoutExpired:
            self.status = f"stopped after {limit:.0f} s"
        except OSError as error:
            self.status = f"could not start: {error}"
        self.took = time.monotonic() - start


# -- the parts that run in processes of their own --------------------------------------------------------


def describe_device(backend: str) -> dict[str, Any]:
    """The GPU's attributes, and the versions of everything between it and this project."""
    import backends

    status = backends.probe(backend)
    found: dict[str, Any] = {
        "backend": backend,
        "usable": status.usable,
        "reason": status.reason,
        "devices": status.devices,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: _version(name) for name in ("numpy", "numba", "cupy", "torch", "jax", "sklearn")},
    }
    if not status.usable:
        raise RuntimeError(f"backend {backend!r} cannot be used: {status.reason}")
    if backend == "cupy":
        import cupy

        runtime = cupy.cuda.runtime
        properties = runtime.getDeviceProperties(0)
        names = ("name", "multiProcessorCount", "sharedMemPerBlockOptin", "l2CacheSize", "major", "minor", "clockRate")
        found |= {
            "gpu": {name: _plain(properties.get(name)) for name in names},
            "memory": dict(zip(("free", "total"), runtime.memGetInfo(), strict=True)),
            "driver": runtime.driverGetVersion(),
            "runtime": runtime.runtimeGetVersion(),
        }
    return found


def _version(name: str) -> str:
    if importlib.util.find_spec(name) is None:
        return ""
    module = importlib.import_module(name)
    return str(getattr(module, "__version__", "?"))


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def training_cases() -> Iterator[tuple[str, dict[str, Any], Callable[[Any], Any]]]:
    """Name, arguments of `mlp.MLP`, and optimizer; from the simplest to those with everything."""
    import mlp

    yield "sgd", {"activation": "relu"}, lambda: mlp.SGD(0.05)
    yield "momentum, tanh, l2", {"activation": "tanh", "l2": 1e-3}, lambda: mlp.SGD(0.05, momentum=0.9)
    yield "adam, gelu, dropout", {"activation": "gelu", "dropout": 0.3, "input_dropout": 0.1}, lambda: mlp.Adam(0.002)
    yield "adamw, clip_norm", {"activation": "silu"}, lambda: mlp.AdamW(0.002, clip_norm=0.5)
    yield "rmsprop, l1, clip_value", {"activation": "elu", "l1": 1e-4}, lambda: mlp.RMSprop(0.001, clip_value=0.1)
    yield "two layers", {"sizes": [20, 32, 16, 4], "activation": "sigmoid"}, lambda: mlp.Adam(0.002)
    several = {"sizes": [20, 32, 16, 8, 4], "activation": "gelu", "dropout": 0.3, "input_dropout": 0.1, "l2": 1e-3}
    yield "three layers, dropout, l2, clip_norm", several, lambda: mlp.Adam(0.002, clip_norm=0.5)
    yield "batches of 200", {"batch_size": 200}, lambda: mlp.SGD(0.05)
    yield "images", {"input_scale": 1 / 255}, lambda: mlp.SGD(0.05)
    bent = mlp.custom_activation(
        "bent", lambda xp, z: (xp.sqrt(z * z + 1) - 1) / 2 + z, lambda xp, z: z / (2 * xp.sqrt(z * z + 1)) + 1
    )
    yield "user-defined activation", {"activation": bent}, lambda: mlp.SGD(0.05)


EXECUTIONS = ("graphs", "launches", "loop")
"""The ways in which a GPU backend runs an epoch: as CUDA graphs, as single launches of the same kernels, and as the
portable loop over operations, which has other kernels and so other rounding errors.  The persistent kernel has a stage
of its own."""

PERSISTENT_NETS = ((784, 30, 10), (784, 128, 10), (784, 16, 16, 10), (784, 128, 64, 10))
PERSISTENT_BATCH_SIZES = (16, 32, 128)

GRID_NETS = ((784, 512, 10), (784, 1024, 10), (784, 512, 64, 10), (784, 512, 512, 10))
GRID_BATCH_SIZES = (16, 32, 64)
GRID_BLOCKS = (3, 20)
"""Blocks of the grids on which small networks train, to compare their weights."""


@contextlib.contextmanager
def execution_of(xp: Any, way: str) -> Iterator[None]:
    """Set the way in which a backend runs an epoch; `way` is "" for a backend that has only one."""
    if not way:
        yield
        return
    before, xp.execution = xp.execution, way
    try:
        yield
    finally:
        xp.execution = before


def check_training(backend: str, ways: tuple[str, ...] = EXECUTIONS) -> dict[str, Any]:
    """Train on the backend in each of these ways, and on NumPy.

    The weights must be the same within rounding, and have the same bits in a second run, and as graphs and as launches.
    """
    import backends
    import mlp

    xp = backends.get_backend(backend)
    ways = ways if hasattr(xp, "execution") else ("",)
    rng = np.random.default_rng(0)
    numbers, y = rng.normal(size=(480, 20)), rng.integers(0, 4, 480)
    images, weight = rng.integers(0, 256, (480, 20), dtype=np.uint8), rng.uniform(0.5, 2, 480)
    results, failures = [], []
    for name, arguments, optimizer in training_cases():
        for dtype, tolerance in TOLERANCE.items():
            settings = {"sizes": [20, 32, 4], "seed": 1} | arguments | {"dtype": dtype}
            size, X = settings.pop("batch_size", 16), images if "input_scale" in settings else numbers

            def trained(
                where: str, settings: Any = settings, optimizer: Any = optimizer, size: int = size, X: Any = X
            ) -> Any:
                net = mlp.MLP(**settings, backend=where)
                start = time.perf_counter()
                net.fit(X, y, epochs=2, batch_size=size, optimizer=optimizer(), sample_weight=weight)
                return np.concatenate([p.ravel() for p in (*net.weights, *net.biases)]), time.perf_counter() - start

            expected, _ = trained("numpy")
            largest = np.abs(expected).max()
            of_way: dict[str, Any] = {}
            for way in ways:
                label = f"{name}, {dtype}{', ' if way else ''}{way}"
                try:
                    with execution_of(xp, way):
                        (found, seconds), (again, warm) = trained(backend), trained(backend)
                except Exception as error:  # the other ways and cases are still worth knowing
                    failures.append(f"{label}: {type(error).__name__}: {error}")
                    continue
                of_way[way] = found
                error = float(np.abs(found - expected).max() / largest)
                repeats = bool(np.array_equal(found, again))
                passed = error <= tolerance and repeats and math.isfinite(error)
                results.append({
                    "case": name, "dtype": dtype, "execution": way, "error": error, "same bits": repeats,
                    "passed": passed, "first seconds": seconds, "microseconds a step": 1e6 * warm / (960 / size),
                })  # fmt: skip
                print(json.dumps(results[-1]), flush=True)
                if not passed:
                    failures.append(label)
            if {"graphs", "launches"} <= set(of_way) and not np.array_equal(of_way["graphs"], of_way["launches"]):
                failures.append(f"{name}, {dtype}: graphs and launches differ")
            for other in {"loop", "persistent"} & set(of_way):
                if "graphs" in of_way:
                    error = float(np.abs(of_way["graphs"] - of_way[other]).max() / largest)
                    if not error <= tolerance:
                        failures.append(f"{name}, {dtype}: graphs and {other} differ by {error:.1e}")
    if failures:
        raise AssertionError(f"{len(failures)} of the comparisons failed: {'; '.join(failures)}")
    return {"cases": results, "executions": list(ways)}


def check_persistent(backend: str) -> dict[str, Any]:
    """Check the persistent kernel like the other ways, and time it beside graphs: is it to be the default?

    The plans for which it has no tiling run as graphs in both cases; ``how`` says so.
    """
    found = check_training(backend, ("graphs", "persistent"))
    return found | _compare_with_graphs(backend, "the persistent kernel", PERSISTENT_NETS, PERSISTENT_BATCH_SIZES)


def check_grid(backend: str) -> dict[str, Any]:
    """Check the persistent kernel on cooperative grids, and time it beside graphs: is the estimate right?

    First every training case of small networks, which clusters would hold, on grids of `GRID_BLOCKS`.
    """
    cases = []
    for blocks in GRID_BLOCKS:
        with _on_grids(backend, blocks):
            cases += check_training(backend, ("graphs", "persistent"))["cases"]
    found = _compare_with_graphs(backend, "the persistent kernel on grids", GRID_NETS, GRID_BATCH_SIZES)
    return {"cases": cases} | found


@contextlib.contextmanager
def _on_grids(backend: str, blocks: int) -> Iterator[None]:
    """Let the persistent kernel run on grids of about so many blocks, whatever their time."""
    if backend != "cupy":
        yield
        return
    from backends.cupy_backend import grid_tilings, persistent

    before = persistent.tiling_for, persistent.grid_tiling_for
    persistent.tiling_for = lambda *_: "a cluster is not asked for"
    persistent.grid_tiling_for = lambda options, rows, limit, *_: grid_tilings.grid_of(options, rows, limit, blocks)
    try:
        yield
    finally:
        persistent.tiling_for, persistent.grid_tiling_for = before


def _compare_with_graphs(
    backend: str, what: str, nets: Sequence[tuple[int, ...]], batch_sizes: Sequence[int]
) -> dict[str, Any]:
    """Errors and times of graphs and of the persistent kernel, and a sentence about them."""
    ways = ("graphs", "persistent")
    found: dict[str, Any] = {"times": [], "sentence": ""}
    for sizes in nets:
        for batch_size in batch_sizes:
            found["times"] += _times_of_ways(backend, ways, sizes, batch_size)
    wrong = [each for each in found["times"] if not (each["error"] <= TOLERANCE["float32"] and each["same bits"])]
    if wrong:
        raise AssertionError(f"other weights than those of NumPy, or other bits in a second run: {json.dumps(wrong)}")
    ratios = [
        graphs["microseconds a step"] / other["microseconds a step"]
        for graphs, other in zip(found["times"], found["times"][1:], strict=False)
        if (graphs["execution"], other["execution"]) == ways and not other["how"].startswith("CUDA graphs")
    ]
    if ratios:
        found["sentence"] = (
            f"{what} takes 1 / {min(ratios):.2f} to 1 / {max(ratios):.2f} of the time of CUDA graphs: "
            + ("make it the default" if min(ratios) > 1 else "the default remains graphs")
        )
    print(found["sentence"])
    return found


def _times_of_ways(
    backend: str, ways: tuple[str, ...], sizes: tuple[int, ...], batch_size: int
) -> list[dict[str, Any]]:
    """Error after some steps, and microseconds of a step, of each way on images of MNIST's size."""
    import backends
    import mlp
    from mlp.training import execution

    xp, rng = backends.get_backend(backend), np.random.default_rng(0)
    X, y = rng.integers(0, 256, (60_000, sizes[0]), dtype=np.uint8), rng.integers(0, sizes[-1], 60_000)
    few, found = 50 * batch_size + 3, []

    def trained(where: str, rows: int, epochs: int) -> tuple[Any, Any]:
        net = mlp.MLP(list(sizes), input_scale=1 / 255, seed=1, backend=where)
        net.fit(X[:rows], y[:rows], epochs=epochs, batch_size=batch_size, optimizer=mlp.SGD(0.05))
        return net, np.concatenate([p.ravel() for p in (*net.weights, *net.biases)])

    _, expected = trained("numpy", few, 1)
    for way in ways if hasattr(xp, "execution") else ("",):
        with execution_of(xp, way):
            (_, weights), (_, again) = trained(backend, few, 1), trained(backend, few, 1)
            net, _ = trained(backend, len(X), 4)
            how = execution(net, mlp.SGD(0.05), len(X), batch_size)
        rate = float(np.median(net.history.samples_per_second[1:]))
        found.append({
            "net": "-".join(map(str, sizes)), "batch size": batch_size, "execution": way, "how": how.method,
            "reason": how.reason, "error": float(np.abs(weights - expected).max() / np.abs(expected).max()),
            "same bits": bool(np.array_equal(weights, again)), "microseconds a step": 1e6 * batch_size / rate,
        })  # fmt: skip
        print(json.dumps(found[-1]), flush=True)
    return found


TILINGS_RESERVE = 20
"""Seconds of the stage of tilings to start, to finish the last one, and to write the results."""


def time_tilings(backend: str) -> dict[str, Any]:
    """Which tilings of the persistent kernel are fastest: the table for ``tilings.py``."""
    if backend != "cupy":
        return {"sentence": f"the backend {backend!r} has no tilings"}
    from benchmarks import tiling_times

    return tiling_times.measure(float(os.environ["STAGE_SECONDS"]) - TILINGS_RESERVE)


def check_precision(backend: str) -> dict[str, Any]:
    """Error of the weights after two epochs in each precision, relative to those in float64."""
    import backends
    import mlp

    digits = mlp.data.load("digits")
    exact = _digits_weights(digits, backend="numpy", dtype="float64")
    found = {}
    for precision in backends.get_backend(backend).precisions:
        weights = _digits_weights(digits, backend=backend, precision=precision)
        found[precision] = float(np.abs(weights - exact).max() / np.abs(exact).max())
    print(json.dumps(found))
    if not found["float32"] < 1e-4:
        raise AssertionError(f"the weights in float32 differ by {found['float32']:.1e} from those in float64")
    same = [name for name in found if name != "float32" and found[name] <= 2 * found["float32"]]
    if same:
        raise AssertionError(f"{', '.join(same)}: no less exact than float32, so the products were not rounded")
    return {"errors": found}


def _digits_weights(digits: Any, **settings: Any) -> Any:
    import mlp

    net = mlp.MLP([64, 128, 10], input_scale=digits.input_scale, seed=0, **settings)
    net.fit(digits.X, digits.y, epochs=2, batch_size=32, optimizer=mlp.SGD(0.1))
    return np.concatenate([W.ravel() for W in net.weights])


def check_windows(backend: str) -> dict[str, Any]:
    """Train with rows that stay on the host, as if they did not fit on the GPU: the weights must have the same bits."""
    import backends
    import mlp

    digits = mlp.data.load("digits")
    whole = _digits_weights(digits, backend=backend)
    if backend == "cupy":
        from backends.cupy_backend import host_rows

        device = backends.get_backend(backend)._device  # type: ignore[attr-defined]
        device.free_bytes = lambda: 50_000
        host_rows.WINDOW_BYTES = 20_000
    in_parts = _digits_weights(digits, backend=backend)
    if not np.array_equal(whole, in_parts):
        raise AssertionError(f"the weights differ by {np.abs(whole - in_parts).max():.1e}")
    return {"same bits": True}


def small_training(backend: str) -> dict[str, Any]:
    """A few steps, for a tool that checks every access to memory."""
    import mlp

    if backend == "cupy":  # memory from CuPy's pool is not separate for the tool
        import cupy

        cupy.cuda.set_allocator(None)
    X, y = np.random.default_rng(0).normal(size=(24, 5)), np.arange(24) % 3
    net = mlp.MLP([5, 7, 3], dropout=0.2, backend=backend)
    net.fit(X, y, epochs=1, batch_size=5, optimizer="adam")
    return {"loss": net.history.loss[-1]}


BENCHMARKS = ("bench", "first-use", "tf32", "compile", "adam")
PARTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "device": describe_device,
    "training": check_training,
    "persistent": check_persistent,
    "grid": check_grid,
    "precision": check_precision,
    "windows": check_windows,
    "tilings": time_tilings,
    "small": small_training,
}


# -- the whole -------------------------------------------------------------------------------------------


def plan_stages(folder: Path, backend: str, then: str | None) -> list[Stage]:
    """In the order of what one wants to know first."""
    python, this = sys.executable, str(Path(__file__).resolve())

    def part(name: str) -> list[str]:
        return [python, this, str(folder), "--backend", backend, "--part", name]

    def bench(name: str, *arguments: str) -> list[str]:
        """The command of a benchmark that writes NAME.json after each case, and stops by itself before its limit."""
        return [python, "-m", "mlp", "bench", "--json", str(folder / f"{name}.json"), *arguments]

    plot = ["--plot", str(folder / "bench.png")] if importlib.util.find_spec("matplotlib") else []
    parallel = ["-n", "8"] if importlib.util.find_spec("xdist") else []
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={folder / 'tests.xml'}", *parallel]
    one = ["--nets", "784-128-10", "--batch-sizes", "128", "--rounds", "3"]
    cpu_and_gpu = ["--backends", "numba" if backend == "numba" else f"numba,{backend}"]
    peers = ["--peers", f"PyTorch,JAX,{GPU_PEERS}"]
    compiled = ["--peers", f"torch.compile,torch.compile CUDA,{GPU_PEERS}"]
    gpu = ["--backends", backend, "--peers", GPU_PEERS]
    grid = ["--nets", NETS, "--batch-sizes", BATCH_SIZES, "--rounds", "3", "--max-seconds", "160", *plot]
    large = ["--nets", LARGE_NETS, "--batch-sizes", "1024,4096", "--rounds", "3", "--max-seconds", "40"]
    stages = [
        Stage("device", 60, part("device")),
        Stage("training", 90, part("training")),
        Stage("persistent", 190, part("persistent")),
        Stage("benchmark", 230, bench("bench", *grid, *cpu_and_gpu, *peers)),
        Stage(
            "first-use",
            60,
            bench("first-use", *one, "--quick", "--backends", backend, "--peers", "none", "--first-use"),
        ),
        Stage("precision", 30, part("precision")),
        Stage("windows", 30, part("windows")),
        Stage("tests", 220, tests, {"MLP_REQUIRE_BACKENDS": backend}),
        Stage("tf32", 70, bench("tf32", *large, *gpu, "--precision", "tf32")),
        Stage("compile", 90, bench("compile", *one, *cpu_and_gpu, *compiled)),
        Stage("adam", 60, bench("adam", *one, *cpu_and_gpu, *peers, "--optimizer", "adam")),
        Stage("tilings", 560, part("tilings")),
        Stage("grid", 200, part("grid")),
    ]
    if shutil.which("compute-sanitizer") and backend == "cupy":
        stages.append(Stage("sanitizer", 60, ["compute-sanitizer", "--error-exitcode", "9", *part("small")]))
    if then:
        stages.append(Stage("then", 300, shlex.split(then)))
    return stages


def read_results(folder: Path) -> dict[str, Any]:
    """What the stages left in the folder."""
    found: dict[str, Any] = {}
    for name in (*PARTS, *BENCHMARKS):
        path = folder / f"{name}.json"
        if path.is_file():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    if (folder / "tests.xml").is_file():
        suites = list(ET.parse(folder / "tests.xml").getroot().iter("testsuite"))
        counts = {
            key: sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
        }
        failed = [
            f"{case.get('classname')}::{case.get('name')}"
            for suite in suites
            for case in suite.iter("testcase")
            if case.find("failure") is not None or case.find("error") is not None
        ]
        found["tests"] = counts | {"failed": failed}
    return found


def sentences(folder: Path) -> list[str]:
    """From which batch size on the GPU is faster, for each benchmark; whether the persistent kernel is; the tilings."""
    documents = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (folder / f"{name}.json" for name in BENCHMARKS)
        if path.is_file()
    ]
    found = [each["sentence"] for document in documents for each in document["gpu_and_cpu"]]
    for path in (folder / "persistent.json", folder / "grid.json", folder / "tilings.json"):
        if path.is_file():
            found.append(json.loads(path.read_text(encoding="utf-8"))["sentence"])
    return found


def main() -> int:
    """Run the stages, and pack what they wrote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="OUT")
    parser.add_argument("--backend", default="cupy")
    parser.add_argument("--only", metavar="STAGES", help="names of stages, separated by commas")
    parser.add_argument("--then", metavar="COMMAND", help="one more stage, at the end")
    parser.add_argument("--seconds", type=float, default=570, help="for all stages together; default %(default)g")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if options.part:
        result = PARTS[options.part](options.backend)
        print(json.dumps(result, indent=2, default=str))
        (folder / f"{options.part}.json").write_text(json.dumps(result, default=str), encoding="utf-8")
        return 1 if result.get("failures") else 0

    deadline = time.monotonic() + options.seconds
    stages = plan_stages(folder, options.backend, options.then)
    if options.only:
        stages = [stage for stage in stages if stage.name in options.only.split(",")]
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        for stage in stages:
            stage.run(log, deadline)
            print(f"{stage.name:<10} {stage.status:<28} {stage.took:6.1f} s", flush=True)
            outcome = {each.name: {"status": each.status, "seconds": round(each.took, 1)} for each in stages}
            # after every stage, so that a machine that goes away leaves what there is
            document = {"stages": outcome} | read_results(folder)
            (folder / "results.json").write_text(json.dumps(document, indent=1, default=str), encoding="utf-8")
    with tarfile.open(folder / "on_gpu.tar.gz", "w:gz") as archive:
        for path in sorted(folder.iterdir()):
            if path.name != "on_gpu.tar.gz":
                archive.add(path, path.name)
    for sentence in sentences(folder):
        print(sentence)
    print(f"written: {folder / 'on_gpu.tar.gz'}")
    return 0 if all(stage.status == "passed" for stage in stages) else 1


if __name__ == "__main__":
    sys.exit(main())
