"""Training on a GPU, from `MLP.fit` to the kernels, with the stand-in for CuPy: `tests/stand_in_gpu`."""

from __future__ import annotations

import inspect
import logging
import pickle
import shutil
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_gpu_kernels import all_kinds, options

import backends
import mlp
from backends import formulas
from backends.cupy_backend.device import EXECUTIONS
from backends.cupy_backend.kernel_source import kernel_source
from backends.loop import Execution
from backends.plan import Control, EpochPlan
from backends.row_orders import Shuffle

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in needs g++")

rng = np.random.default_rng(0)
X, Y, WEIGHT = rng.normal(size=(150, 20)), rng.integers(0, 4, 150), rng.uniform(0.5, 2, 150)
IMAGES = rng.integers(0, 256, (150, 20), dtype=np.uint8)


def network(device="cuda", **settings):
    where = {"backend": "numpy"} if device == "cpu" else {"device": device}
    return mlp.MLP([20, 12, 4], **({"seed": 1, "dtype": "float64"} | settings), **where)


def fit(net, x=X, y=Y, *, epochs=2, batch_size=16, optimizer=None, **settings):
    net.fit(x, y, epochs=epochs, batch_size=batch_size, optimizer=optimizer or mlp.SGD(0.05), **settings)
    return parameters(net)


def parameters(net):
    return np.concatenate([p.ravel() for p in (*net.weights, *net.biases)])


@pytest.fixture
def gpu(stand_in_gpu):
    """The backend on the first device, whose `execution` is set back afterwards."""
    return backends.get_backend("cupy")


# -- the ways of running an epoch ---------------------------------------------------------------------------

# a row whose loss overflows, but whose weight is zero
HUGE, IGNORED = X.copy(), WEIGHT.copy()
HUGE[7], IGNORED[7] = 1e200, 0

EVERYTHING = {
    "plain": ({}, {}),
    "images": ({"input_scale": 1 / 255}, {"x": IMAGES}),
    "dropout": ({"dropout": 0.3, "input_dropout": 0.2, "activation": "gelu"}, {"optimizer": mlp.Adam(0.01)}),
    "penalties": ({"l1": 1e-3, "l2": 1e-2}, {"sample_weight": WEIGHT, "optimizer": mlp.SGD(0.05, momentum=0.9)}),
    "clipped": ({"l2": 1e-2}, {"optimizer": mlp.AdamW(0.01, clip_norm=0.5, clip_value=0.1)}),
    "largest seed": ({"seed": 2**64 - 1, "dropout": 0.5}, {}),
    "ignored row": ({"loss": "mse"}, {"x": HUGE, "sample_weight": IGNORED}),
    "wide batch": ({}, {"batch_size": 100}),  # the biases' gradients are sums of many rows
}


@pytest.mark.parametrize("settings", EVERYTHING.values(), ids=EVERYTHING)
def test_every_execution_trains_like_numpy(gpu, settings):
    configuration, training = settings
    reference = network("cpu", **configuration)
    expected, found, losses = fit(reference, **training), {}, {}
    for execution in EXECUTIONS:
        gpu.execution = execution
        net = network(**configuration)
        found[execution], losses[execution] = fit(net, **training), net.history.loss
        assert_allclose(found[execution], expected, rtol=0, atol=1e-11)
        assert_allclose(losses[execution], reference.history.loss, rtol=1e-11)
    assert_array_equal(found["graphs"], found["launches"])
    assert losses["graphs"] == losses["launches"]


def test_an_unknown_execution_is_refused(gpu):
    with pytest.raises(mlp.ConfigurationError, match="graphs, launches, loop, persistent, not 'graph'"):
        gpu.execution = "graph"


def test_the_order_in_which_streams_work_does_not_matter(stand_in_gpu):
    results = []
    for seed in range(5):
        stand_in_gpu.seed(seed)
        results.append(fit(network(dropout=0.2, l2=1e-2), sample_weight=WEIGHT))
    for result in results[1:]:
        assert_array_equal(result, results[0])


def test_a_network_goes_on_training_with_another_batch_size_and_rule(gpu):
    nets = [network(), network("cpu")]
    for net in nets:
        for batch_size, optimizer in (
            (16, mlp.SGD(0.05)),
            (64, mlp.SGD(0.05)),
            (64, mlp.Adam(0.01)),
            (16, mlp.SGD(0.1)),
        ):
            fit(net, batch_size=batch_size, optimizer=optimizer)
    assert_allclose(parameters(nets[0]), parameters(nets[1]), rtol=0, atol=1e-11)


def test_validation_callbacks_and_early_stopping_work(gpu):
    class Halve(mlp.Callback):
        def on_epoch_end(self, run):
            run.net.weights = [W / 2 for W in run.net.weights]

    histories = []
    for net in (network(), network("cpu")):
        histories.append(
            net.fit(X, Y, epochs=4, batch_size=32, validation_data=(X[:50], Y[:50]), callbacks=[Halve()],
                    early_stopping=mlp.EarlyStopping(patience=1))
        )  # fmt: skip
    assert_allclose(histories[0].val_loss, histories[1].val_loss, rtol=1e-10)
    assert_allclose(histories[0].loss, histories[1].loss, rtol=1e-10)


# -- every formula ------------------------------------------------------------------------------------------

HIDDEN = [row for row in formulas.ACTIVATIONS.values() if row.role == "any" and row.backward is not None]
EDGES = [0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, np.inf, -np.inf, np.nan]
APPLY = """
extern "C" __global__ void forward_{number}(const REAL* z, REAL* y, int n) {{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = Activation{number}::forward(z[i]);
}}
extern "C" __global__ void backward_{number}(const REAL* dy, const REAL* s, REAL* dz, int n) {{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) dz[i] = Activation{number}::backward(dy[i], s[i]);
}}
"""


@pytest.mark.parametrize(("real", "dtype"), [("float", "float32"), ("double", "float64")])
def test_activations_are_those_of_numpy_entry_by_entry(gpu, real, dtype):
    import cupy

    source = kernel_source(options([row.name for row in HIDDEN], dtype=dtype, X_dtype=dtype))
    source += "".join(APPLY.format(number=i) for i in range(1, len(HIDDEN) + 1)).replace("REAL", real)
    module, xp = cupy.RawModule(code=source, options=("-std=c++17",)), backends.get_backend("numpy")
    z = np.concatenate([np.linspace(-30, 30, 241), np.logspace(-20, 2, 45), -np.logspace(-20, 2, 45), EDGES]).astype(
        dtype
    )
    dy = rng.normal(size=len(z)).astype(dtype)
    count, grid = np.int32(len(z)), (-(-len(z) // 64),)
    # the C library and NumPy differ by some ULP; in the tail of erfc by more
    eps = np.finfo(dtype).eps
    for number, row in enumerate(HIDDEN, 1):
        with np.errstate(all="ignore"):
            y = xp.activate(z[None], row)[0]
            saved = z if row.saves == "z" else y
            dz = xp.activate_backward(dy[None], saved[None], row)[0]
        found = cupy.empty(len(z), dtype)
        module.get_function(f"forward_{number}")(grid, (64,), (cupy.asarray(z), found, count))
        tolerance = {"rtol": 1e4 * eps if row.name == "gelu" else 64 * eps, "atol": 1e3 * np.finfo(dtype).tiny}
        assert_allclose(found.get(), y, **tolerance, err_msg=row.name)
        module.get_function(f"backward_{number}")(grid, (64,), (cupy.asarray(dy), cupy.asarray(saved), found, count))
        assert_allclose(found.get(), dz, **tolerance, err_msg=row.name)


def one_step(net, y, rule=None, scale=1.0):
    """Weights and loss after the first and after the third step."""
    rule = rule or mlp.SGD(0.05).rule
    xp, n = net.xp, net.plan.layout.n_parameters
    x = (scale * X[:32]).astype(net.dtype)
    state = xp.zeros((len(rule.row.state), n), net.dtype)
    trainer = xp.trainer(net.plan, rule, xp.asarray(x), xp.asarray(y), None, net.parameters, state, 16)
    found = []
    for epoch in range(2):
        rates, l2 = np.full(2, 0.01), np.zeros(2)
        (result,) = trainer.epochs(
            [EpochPlan(net.plan, rule, 16, Shuffle(0, epoch, 32), rates, l2, first_step=2 * epoch)]
        )
        trainer.read_back()
        found.append((result.losses, xp.to_numpy(net.parameters).copy(), xp.to_numpy(state).copy()))
    return found


def assert_same_steps(found, expected):
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.name + "-bounded" * kind.loss.bounded)
def test_every_loss_gives_the_steps_of_numpy(gpu, kind):
    y = np.random.default_rng(1).dirichlet(np.ones(4), 32)
    y[::3] = np.eye(4)[rng.integers(0, 4, len(y[::3]))]
    nets = [network(device, output_activation=kind.output, loss=kind.loss) for device in ("cuda", "cpu")]
    assert_same_steps(*(one_step(net, y) for net in nets))


@pytest.mark.parametrize("name", formulas.RULES)
def test_every_rule_gives_the_steps_of_numpy(gpu, name):
    names = inspect.signature(formulas.RULES[name].scalars).parameters
    values = {"momentum": 0.9, "rho": 0.9, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-4}
    rule = formulas.Rule(name, {key: value for key, value in values.items() if key in names})
    assert_same_steps(*(one_step(network(device), Y[:32], rule) for device in ("cuda", "cpu")))


def squash(z):
    return z / (1 + np.abs(z))


def squash_backward(dy, y):
    r = 1 - np.abs(y)
    return dy * (r * r)


def test_a_new_row_of_the_table_needs_no_other_change(gpu, caplog):
    caplog.set_level(logging.INFO, "mlp")
    row = formulas.Activation("squash", squash, squash_backward)
    assert_same_steps(*(one_step(network(device, activation=row), Y[:32]) for device in ("cuda", "cpu")))
    assert "step by step" not in caplog.text


# -- without waits ------------------------------------------------------------------------------------------


def plan_for(net, epoch=0, n=1600, batch_size=16):
    rates = np.full(-(-n // batch_size), 0.05)
    return EpochPlan(
        net.plan, mlp.SGD(0.05).rule, batch_size, Shuffle(0, epoch, n), rates, np.zeros(len(rates)), epoch=epoch
    )


def trainer_for(net, n=1600, x=None):
    x = np.tile(X, (n // 150 + 1, 1))[:n] if x is None else x
    y = np.tile(Y, n // 150 + 1)[:n]
    xp = net.xp
    state = xp.zeros((0, net.plan.layout.n_parameters), net.dtype)
    return xp.trainer(net.plan, mlp.SGD(0.05).rule, xp.as_rows(x), xp.asarray(y), None, net.parameters, state, 16)


def test_the_host_waits_once_an_epoch(stand_in_gpu):
    net = network()
    trainer = trainer_for(net)
    for epoch in range(2):
        stand_in_gpu.counters.reset()
        (result,) = trainer.epochs([plan_for(net, epoch)])
        assert len(result.losses) == 100
        # 100 batches: one by itself, three graphs of 32 steps, and three of one step; then three graphs and four
        assert stand_in_gpu.counters.graph_launches == (6 if epoch == 0 else 7)
        assert stand_in_gpu.counters.synchronizations == 1
        assert stand_in_gpu.counters.copies_to_host == 1
        if epoch:
            assert stand_in_gpu.counters.allocations == 0
            assert stand_in_gpu.counters.launches < 10


def test_losses_are_those_of_the_loop(gpu):
    nets, results = (network(), network("cpu")), []
    for net in nets:
        results.append(trainer_for(net).epochs([plan_for(net)])[0])
    assert_allclose(results[0].losses, results[1].losses, rtol=1e-10)
    assert_array_equal(results[0].weights, results[1].weights)
    assert results[0].finite


def test_weights_that_overflow_in_the_last_update_are_reported(gpu):
    for device in ("cuda", "cpu"):
        net = network(device, activation="identity", loss="mse")
        y, state = np.full((16, 4), 1e100), net.xp.zeros((0, net.plan.layout.n_parameters), net.dtype)
        rule = mlp.SGD(1.0).rule
        trainer = net.xp.trainer(
            net.plan, rule, net.xp.asarray(X[:16]), net.xp.asarray(y), None, net.parameters, state, 16
        )
        plan = EpochPlan(net.plan, rule, 16, np.arange(16), np.full(1, 1e250), np.zeros(1))
        (result,) = trainer.epochs([plan])
        assert np.isfinite(result.losses).all()
        assert result.failed is None
        assert not result.finite


class StopAfter(Control):
    """Requests a stop when it has been asked some times."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    @property
    def stop_requested(self):
        self.times -= 1
        return self.times < 0


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_a_stop_is_answered_between_graphs(gpu, times):
    net, reference = network(), network("cpu")
    control = StopAfter(times + 1)
    (result,) = trainer_for(net).epochs([plan_for(net)], control)
    done = len(result.losses)
    assert done == (0, 1, 33, 65, 97)[times]
    assert control.batches_done == done
    plan = plan_for(reference)
    few = EpochPlan(
        plan.network, plan.rule, plan.batch_size, plan.order, plan.learning_rates, plan.l2, n_batches=done
    )  # fmt: skip
    trainer_for(reference).epochs([few])
    assert_allclose(parameters(net), parameters(reference), rtol=0, atol=1e-11)


def test_training_that_diverges_ends_as_on_the_cpu(gpu):
    errors = []
    for net in (network(activation="identity", loss="mse"), network("cpu", activation="identity", loss="mse")):
        with pytest.raises(mlp.DivergenceError) as error:
            fit(net, X, rng.normal(size=(150, 4)) * 1e3, optimizer=mlp.SGD(1e6), epochs=9)
        errors.append(error.value)
    assert (errors[0].epoch, errors[0].batch, errors[0].layer) == (errors[1].epoch, errors[1].batch, errors[1].layer)


# -- memory and devices -------------------------------------------------------------------------------------


def test_rows_that_do_not_fit_are_copied_in_windows(stand_in_gpu, monkeypatch, caplog):
    from backends.cupy_backend import host_rows

    monkeypatch.setattr(host_rows, "WINDOW_BYTES", 20_000)
    caplog.set_level(logging.INFO, "mlp")
    x = np.tile(X, (20, 1)) + rng.normal(size=(3000, 20)) / 10
    y = np.tile(Y, 20)
    settings = {"dropout": 0.2, "dtype": "float32"}
    whole = fit(network(**settings), x, y)
    assert "stay on the host" not in caplog.text
    for seed in range(3):
        stand_in_gpu.seed(seed)
        stand_in_gpu.set_memory((40 << 20) + (seed << 9))
        backends.get_backend("cupy")._device.free_bytes = lambda: 200_000  # X takes 288,000 bytes as float32
        net = network(**settings)
        assert_array_equal(fit(net, x, y), whole)
        assert "its rows stay on the host" in caplog.text
        assert_allclose(net.evaluate(x, y), net.copy().to("numpy").evaluate(x, y), rtol=1e-5)


def test_rows_that_are_not_aligned_are_copied(gpu):
    import cupy

    from backends.cupy_backend.device_arrays import padded_rows

    for dtype in ("uint8", "float32", "float64"):
        whole = cupy.asarray(rng.integers(0, 9, (7, 48)).astype(dtype))
        views = {
            "whole": whole, "last": whole[3:], "left": whole[:, :40], "middle": whole[:, 16:41],
            "odd": whole[:, 1:41], "end": whole[:, 20:], "columns": whole.T[:7], "every other": whole[:, ::2],
        }  # fmt: skip
        for name, view in views.items():
            result = padded_rows(cupy, view)
            assert (result is view) == (name in ("whole", "last", "left", "middle")), name
            assert result.data.ptr % min(16, 8 * result.itemsize) == 0
            assert_array_equal(result.get(), view.get())
            weights = [
                fit(mlp.MLP([view.shape[1], 5, 4], dtype="float64", backend=where), x, Y[: len(view)], batch_size=3)
                for where, x in (("cupy", view), ("numpy", view.get()))
            ]
            assert_allclose(*weights, rtol=0, atol=1e-11)


def test_lack_of_memory_is_explained(stand_in_gpu):
    net = network()
    stand_in_gpu.set_memory(4 << 20)  # less than the workspace of cuBLAS
    with pytest.raises(mlp.DeviceMemoryError) as error:
        fit(net)
    message = str(error.value)
    assert "cuda:0 has no memory for batches of 16 rows" in message
    assert "of 4.0 MiB free" in message
    assert "batch_size" in message
    stand_in_gpu.set_memory(1 << 30)
    fit(net)  # afterwards it works


def test_lack_of_memory_for_the_copy_to_roll_back_is_explained(stand_in_gpu):
    net = network()
    trainer = trainer_for(net)
    stand_in_gpu.set_memory(stand_in_gpu.machine.used[0])
    with pytest.raises(mlp.DeviceMemoryError, match="no memory for copies of the parameters"):
        trainer.epochs([plan_for(net)])
    stand_in_gpu.set_memory(1 << 30)
    assert len(trainer.epochs([plan_for(net)])[0].losses) == 100


def test_an_array_that_does_not_fit_is_explained(stand_in_gpu):
    xp = backends.get_backend("cupy")
    stand_in_gpu.set_memory(1 << 20)
    with pytest.raises(mlp.DeviceMemoryError, match=r"array of shape \(1000, 1000\): 7.6 MiB needed.* of 1.0 MiB free"):
        xp.zeros((1000, 1000), "float64")
    with pytest.raises(MemoryError, match=r"an array: 7.6 MiB needed"):
        xp.asarray(np.zeros((1000, 1000)))


def test_a_second_device_gives_the_same_and_leaves_the_current_one_alone(stand_in_gpu):
    import cupy

    first, second = network("cuda:0"), network("cuda:1")
    results = [fit(net, validation_data=(X, Y)) for net in (first, second)]
    assert_array_equal(*results)
    assert second.parameters.device.id == 1
    assert_array_equal(first.predict(X), second.predict(X))
    assert cupy.cuda.Device().id == 0


def test_an_amd_gpu_runs_the_portable_loop_and_says_so(stand_in_gpu, caplog):
    import cupy

    cupy.cuda.runtime.is_hip = True
    caplog.set_level(logging.INFO, "mlp")
    found = fit(network())
    assert "without CUDA graphs: the kernels are for NVIDIA GPUs, and this is an AMD GPU" in caplog.text
    assert_allclose(found, fit(network("cpu")), rtol=0, atol=1e-11)


def test_a_network_trained_on_a_gpu_loads_where_there_is_none(stand_in_gpu, monkeypatch, tmp_path):
    net = network()
    fit(net)
    text, expected = pickle.dumps(net), net.predict_proba(X)
    net.save(tmp_path / "net.safetensors")
    monkeypatch.setattr("cupy.cuda.runtime.getDeviceCount", lambda: 0)
    monkeypatch.setattr("cupy.is_available", lambda: False)
    stand_in_gpu.forget_backends()
    for loaded in (pickle.loads(text), mlp.load(tmp_path / "net.safetensors")):
        assert loaded.backend == "numpy"
        assert_allclose(loaded.predict_proba(X), expected, rtol=1e-12)


@pytest.mark.parametrize("columns", [slice(1, 9), slice(3, 8), slice(8, 16)])
def test_columns_of_a_device_array_are_inputs(gpu, columns):
    import cupy

    whole = rng.normal(size=(150, 24)).astype(np.float32)
    nets = [mlp.MLP([columns.stop - columns.start, 4], seed=1, device="cuda") for _ in range(2)]
    assert_array_equal(fit(nets[0], cupy.asarray(whole)[:, columns]), fit(nets[1], whole[:, columns]))


@pytest.mark.parametrize("width", [16, 20])
def test_rows_are_copied_in_parts(stand_in_gpu, monkeypatch, width):
    xp = backends.get_backend("cupy")
    monkeypatch.setattr("backends.cupy_backend.backend.COPIED_BYTES", 5000)
    for x in (rng.normal(size=(150, width)), rng.integers(0, 256, (150, width), dtype=np.uint8)):
        stand_in_gpu.counters.reset()
        for host, dtype in ((x, None), (x, np.float32), (x[::-2], np.float32), (np.asfortranarray(x), None)):
            rows = xp.as_rows(host, dtype)
            assert rows.dtype == dtype or rows.dtype == x.dtype
            assert_array_equal(xp.to_numpy(rows), host.astype(dtype or x.dtype))
        assert stand_in_gpu.counters.staged_bytes == 0


def test_each_training_uses_the_stream_of_one_that_has_ended(gpu):
    net, used = network(), []
    for _ in range(3):
        trainer = trainer_for(net)
        trainer.epochs([plan_for(net)])
        used.append((trainer.stream.ptr, trainer._own_stream.cublas._handle.value))
        del trainer
    assert len(set(used)) == 1
    both = [trainer_for(net) for _ in range(2)]
    for trainer in both:
        trainer.epochs([plan_for(net)])
    assert both[0].stream.ptr != both[1].stream.ptr


def test_the_parts_of_a_step_use_the_device_of_the_trainer(stand_in_gpu):
    results = []
    for device in ("cuda:1", "cpu"):
        net = network(device)
        trainer, plan = trainer_for(net), plan_for(net)
        loss, gradient = trainer.gradient(plan, 3)
        loss += trainer.add_penalty(plan, 3, gradient)
        trainer.update(plan, 3, gradient)
        results.append((loss, parameters(net)))
    assert results[0][0] == pytest.approx(results[1][0])
    assert_allclose(results[0][1], results[1][1], rtol=0, atol=1e-12)


def test_an_epoch_can_be_repeated_after_an_interrupt_at_its_beginning(gpu, monkeypatch):
    net = network()
    trainer, interrupted = trainer_for(net), []
    trainer.epochs([plan_for(net)])
    launch = type(trainer)._launch

    def interrupt(self, name, *arguments):
        launch(self, name, *arguments)
        if name == "rows_of_keys" and not interrupted:
            interrupted.append(name)
            raise KeyboardInterrupt

    monkeypatch.setattr(type(trainer), "_launch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.epochs([plan_for(net, 1)])
    trainer.roll_back()
    trainer.refresh()
    (found,) = trainer.epochs([plan_for(net)])
    other = network()
    (expected,) = trainer_for(other).epochs([plan_for(other)])
    assert_array_equal(found.losses, expected.losses)


def test_another_thread_may_wait_for_the_device_during_a_capture(gpu, monkeypatch):
    from backends.cupy_backend.graphs import RepeatedStep
    from backends.cupy_backend.step import Step

    capture, run, waiting, failures = RepeatedStep._capture, Step.run, [], []

    def synchronize():
        try:
            gpu.synchronize()
        except Exception as error:
            failures.append(error)

    def run_with_a_waiter(step):
        if not waiting:
            waiting.append(threading.Thread(target=synchronize))
            waiting[0].start()
            waiting[0].join(0.1)
        run(step)

    def capture_with_a_waiter(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(Step, "run", run_with_a_waiter)
            return capture(*arguments)

    monkeypatch.setattr(RepeatedStep, "_capture", capture_with_a_waiter)
    fit(network())
    waiting[0].join()
    assert not failures


@pytest.mark.parametrize("seed", range(4))
def test_no_copy_of_rows_is_under_way_after_a_stop(stand_in_gpu, monkeypatch, seed):
    from backends.cupy_backend import host_rows

    stand_in_gpu.seed(seed)
    monkeypatch.setattr(host_rows, "WINDOW_BYTES", 20_000)
    net = network()
    backends.get_backend("cupy")._device.free_bytes = lambda: 100_000
    trainer = trainer_for(net)
    (result,) = trainer.epochs([plan_for(net)], StopAfter(2))
    assert len(result.losses) == 1
    assert not trainer._windows._stream._queue.work


def test_rows_are_gathered_while_the_device_works(stand_in_gpu, monkeypatch):
    from backends.cupy_backend import host_rows

    gather, counters, began, during = host_rows.gather, stand_in_gpu.counters, [], []

    def slow_gather(host, rows, out):
        if not began:
            began.append(counters.launches + counters.graph_launches)
        elif len(during) < 3:  # later windows: the steps of the one before start meanwhile
            before, limit = counters.launches + counters.graph_launches, time.monotonic() + 2
            while counters.launches + counters.graph_launches == before and time.monotonic() < limit:
                time.sleep(0.001)
            during.append(counters.launches + counters.graph_launches > before)
        gather(host, rows, out)

    monkeypatch.setattr(host_rows, "WINDOW_BYTES", 50_000)
    monkeypatch.setattr(host_rows, "MOST_THREADS", 1)
    monkeypatch.setattr(host_rows, "gather", slow_gather)
    backends.get_backend("cupy")._device.free_bytes = lambda: 100_000
    net = network()
    trainer_for(net).epochs([plan_for(net)])
    # not each time: the steps of a window may all have started before the next one begins to be gathered
    assert any(during)


# -- precision ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "bits"), [("tf32", 10), ("bf16", 7)])
def test_products_are_rounded_as_the_precision_says(gpu, precision, bits):
    exact = fit(network("cpu", dtype="float64"))
    error = {}
    for name in ("float32", precision):
        found = fit(network(dtype="float32", precision=name), x=X)
        error[name] = np.abs(found - exact).max() / np.abs(exact).max()
    assert error["float32"] < 1e-6
    assert 2.0 ** -(bits + 7) < error[precision] < 2.0 ** -(bits - 2)


def test_weights_in_bfloat16_follow_those_in_float32(gpu):
    # the weights grow by less than a bit of bfloat16 in each step, so they must be kept in float32
    net = mlp.MLP([1, 1], loss="mse", init="zeros", precision="bf16", device="cuda")
    net.weights = [[[1.0]]]
    net.fit(np.ones((64, 1)), np.full(64, 2.0), epochs=20, batch_size=1, optimizer=mlp.SGD(1e-4))
    assert 1.2 < net.weights[0].item() < 1.4


# -- user-defined functions ---------------------------------------------------------------------------------

BENT = mlp.custom_activation(
    "bent", lambda xp, z: (xp.sqrt(z * z + 1) - 1) / 2 + z, lambda xp, z: z / (2 * xp.sqrt(z * z + 1)) + 1
)
CUBIC = mlp.custom_activation("cubic", lambda xp, z: z**3 / 3 + z, lambda xp, z: z**2 + 1)
LOG_COSH = mlp.custom_loss(
    "log_cosh", lambda xp, y, t: xp.log(0.5 * (xp.exp(y - t) + xp.exp(t - y))), lambda xp, y, t: xp.tanh(y - t)
)


def test_user_defined_functions_are_compiled(gpu, caplog):
    caplog.set_level(logging.INFO, "mlp")
    settings = {"activation": BENT, "loss": LOG_COSH}
    y = rng.normal(size=(150, 4))
    assert_allclose(fit(network(**settings), X, y), fit(network("cpu", **settings), X, y), rtol=0, atol=1e-11)
    assert "step by step" not in caplog.text


def test_user_defined_functions_that_cannot_be_compiled_run_by_arrays(gpu, caplog):
    caplog.set_level(logging.INFO, "mlp")
    found = fit(network(activation=CUBIC))
    assert "step by step, without CUDA graphs: a user-defined function cannot be compiled for the GPU: " in caplog.text
    assert "z ** 3" in caplog.text
    assert_allclose(found, fit(network("cpu", activation=CUBIC)), rtol=0, atol=1e-11)


# -- barriers -----------------------------------------------------------------------------------------------


def barriers():
    """Lines of the barriers in the text of the kernels, and the kernel or function that each is in."""
    text = kernel_source(options(penalized=True, by_norm=True)).splitlines()
    return [number for number, line in enumerate(text, 1) if "__syncthreads" in line]


@pytest.mark.parametrize("line", barriers())
def test_a_missing_barrier_is_noticed(stand_in_gpu, line):
    # rows of more than one block, so that every barrier has something to wait for
    settings, training = EVERYTHING["clipped"][0], {"batch_size": 100, "optimizer": mlp.SGD(0.05, clip_norm=0.5)}
    expected = fit(network(**settings), **training)
    for seed in range(4):
        stand_in_gpu.seed(seed)
        stand_in_gpu.compile_with(f"-DWITHOUT_BARRIER={line}")
        try:
            found = fit(network(**settings), **training)
        except (mlp.MLPError, RuntimeError):
            return
        if not np.array_equal(found, expected):
            return
    pytest.fail(f"nothing happens without the barrier on line {line}")


# -- what the plan says -------------------------------------------------------------------------------------


def test_the_execution_names_graphs_and_reasons(gpu):
    net = network()
    trainer = trainer_for(net)
    assert trainer.execution(plan_for(net)).method == "CUDA graphs of 32 steps"
    assert trainer.execution(plan_for(net), on_batch=True).reason == "a callback runs after each batch"
    gpu.execution = "launches"
    assert trainer.execution(plan_for(net)).method == "launches of single kernels"
    gpu.execution = "loop"
    assert trainer.execution(plan_for(net)) == Execution("step by step", "the backend's execution is 'loop'")


def test_large_steps_are_few_in_a_graph(gpu):
    net = mlp.MLP([784, 512, 512, 10], device="cuda", init="zeros")
    plan = plan_for(net, n=4096, batch_size=1024)
    x = np.zeros((4096, 784), np.uint8)
    assert trainer_for(net, 4096, x).execution(plan).method == "CUDA graphs of 4 steps"
