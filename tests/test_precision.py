"""The precision of the matrix products in training: where it is set, kept and refused."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import safetensors
from click.testing import CliRunner

import backends
import mlp
from backends import formulas
from backends.plan import PRECISIONS, Layout, NetworkPlan
from mlp import persistence
from mlp.cli import cli

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)
CPU = [name for name in backends.available() if backends.probe(name).devices == ("cpu",)]


def make(precision="tf32", **options):
    return mlp.MLP([4, 5, 3], **{"precision": precision, "backend": "numpy"} | options)


@pytest.fixture
def capable(monkeypatch):
    """Let the NumPy backend accept every precision, which it does not have: what is tested is that it is asked."""
    monkeypatch.setattr(type(backends.get_backend("numpy")), "precisions", PRECISIONS)


def run(*arguments, status=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


# -- setting it ----------------------------------------------------------------------------------------


def test_it_is_float32_unless_asked():
    assert mlp.MLP([4, 3]).precision == "float32"
    assert mlp.MLP([4, 3], dtype="float64").precision == "float32"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_part_of_the_plan_and_of_the_configuration(precision):
    net = make(precision)
    assert net.precision == net.plan.precision == net.get_config()["precision"] == precision
    assert mlp.MLP(**net.get_config()).precision == precision


def test_the_repr_names_it_only_if_it_is_not_float32():
    assert "products in bf16" in repr(make("bf16"))
    assert "products" not in repr(make("float32"))


@pytest.mark.parametrize("wrong", ["tf23", "float64", "TF32", None, 32, ["tf32"]])
def test_an_unknown_name_is_refused_with_the_valid_ones(wrong):
    with pytest.raises(mlp.UnknownNameError, match=r"unknown precision .*Valid: float32, tf32, bf16"):
        make(wrong)
    kind = formulas.pair("identity", "mse")
    with pytest.raises(mlp.UnknownNameError, match="Valid: float32, tf32, bf16"):
        NetworkPlan(Layout((2, 1)), (kind.output,), kind, (0.0,), precision=wrong)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_float64_and_a_lower_precision_contradict_each_other(precision):
    with pytest.raises(mlp.ConfigurationError, match=f"'{precision}'.*'float64'.*dtype='float32'"):
        make(precision, dtype="float64")
    net = make("float32", dtype="float64")
    with pytest.raises(mlp.ConfigurationError, match="'float64'"):
        net.precision = precision
    assert net.precision == "float32"


# -- keeping it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, mlp.MLP.copy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_copies_keep_it(duplicate):
    assert duplicate(make("bf16")).precision == "bf16"


def test_a_float64_copy_has_none():
    net = make()
    assert net.copy("float64").precision == "float32"
    assert net.copy("float64").configuration.to_dict()["dtype"] == "float64"
    assert (net.copy("float32").precision, net.precision) == ("tf32", "tf32")


def stored_config(path):
    with safetensors.safe_open(path, framework="np") as handle:
        return json.loads(handle.metadata()["mlp"])["config"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_model_files_keep_it(tmp_path, precision):
    path = tmp_path / "net.safetensors"
    make(precision).save(path)
    assert mlp.load(path, backend="numpy").precision == precision
    # without it, a file can be read by versions that do not know it; files of those versions have none
    assert stored_config(path).get("precision", "float32") == precision
    assert ("precision" in stored_config(path)) == (precision != "float32")


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_training_states_keep_it(tmp_path, capable, precision):
    path = tmp_path / "training.safetensors"
    net = make(precision)
    net.fit(X, Y, epochs=2)
    persistence.save_training_state(net, path)
    other = make(precision)
    persistence.load_training_state(other, path)
    assert other.fit(X, Y, epochs=3, resume=True).loss[:2] == net.history.loss
    assert mlp.load(path, backend="numpy").precision == precision
    with pytest.raises(mlp.ConfigurationError, match="its precision is"):
        persistence.load_training_state(make("bf16"), path)


# -- refusing it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", CPU)
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_trainer_on_a_cpu_refuses_it(backend, precision):
    xp, net = backends.get_backend(backend), make("float32")
    params = np.zeros(net.plan.layout.n_parameters, np.float32)
    arrays = X.astype(np.float32), Y, None, params, np.zeros((0, params.size), np.float32)
    xp.trainer(net.plan, formulas.Rule("sgd", {}), *arrays, 8)
    with pytest.raises(mlp.ConfigurationError) as caught:
        xp.trainer(replace(net.plan, precision=precision), formulas.Rule("sgd", {}), *arrays, 8)
    for part in (backend, "cpu", precision, "it has float32", "device='cuda'", "precision='float32'"):
        assert part in str(caught.value)


@pytest.mark.parametrize("backend", ["auto", *CPU])
def test_fit_on_a_cpu_refuses_it_before_any_work(backend):
    net = make(backend=backend, device="cpu")
    before, called = net.get_config(), []
    with pytest.raises(mlp.ConfigurationError, match=r"precision='tf32'.*device='cuda'.*precision='float32'"):
        net.fit(X, Y, epochs=10**6, callbacks=[called.append])
    assert net.history is None
    assert not called
    assert not net.class_numbers
    assert net.get_config() == before
    assert net.backend == ("numpy" if backend == "auto" else backend)


def test_partial_fit_and_fit_many_refuse_it():
    with pytest.raises(mlp.ConfigurationError, match="precision='tf32'"):
        make().partial_fit(X, Y)
    with pytest.raises(mlp.ConfigurationError, match="precision='tf32'"):
        mlp.fit_many([make(seed=0), make(seed=1)], X, Y)
    with pytest.raises(mlp.ConfigurationError, match="the precision of network 1 is tf32"):
        mlp.fit_many([make("float32"), make()], X, Y)


def test_a_training_that_moves_to_a_cpu_stops(capable):
    net = make()
    net.fit(X, Y, epochs=1)
    if "numba" in CPU:
        net.to("numba")
        with pytest.raises(mlp.ConfigurationError, match=r"'numba'.*precision='tf32'"):
            net.fit(X, Y, epochs=2, resume=True)
        with pytest.raises(mlp.ConfigurationError, match=r"'numba'.*precision='tf32'"):
            net.partial_fit(X, Y)
        net.precision = "float32"
        assert len(net.fit(X, Y, epochs=2, resume=True).loss) == 2


# -- what it does not change ---------------------------------------------------------------------------


@pytest.mark.parametrize("backend", CPU)
def test_only_training_needs_it(backend, tmp_path):
    net, reference = make("bf16", backend=backend), make("float32", backend=backend)
    np.testing.assert_array_equal(net.predict(X), reference.predict(X))
    assert net.evaluate(X, Y) == reference.evaluate(X, Y)
    assert net.loss_and_gradients(X, Y)[0] == reference.loss_and_gradients(X, Y)[0]
    assert net.gradient_check(X[:4], Y[:4]).passed
    trace = net.trace(X[:4], Y[:4], optimizer=mlp.SGD(0.1))
    assert trace.steps[0].loss == reference.trace(X[:4], Y[:4], optimizer=mlp.SGD(0.1)).steps[0].loss
    assert net.precision == "bf16"


# -- the command line ----------------------------------------------------------------------------------


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_line_sets_records_and_resumes_it(in_an_empty_folder, capable):
    shown = run("train", "moons", "--precision", "tf32", "--backend", "numpy", "--epochs", 2).stdout
    assert "float32 parameters, products in tf32" in shown
    folder = in_an_empty_folder / "runs" / "moons-1"
    assert json.loads((folder / "config.json").read_text())["model"]["precision"] == "tf32"
    assert mlp.load(folder / "model.safetensors").precision == "tf32"
    run("train", "--resume", folder, "--epochs", 3)
    assert mlp.load(in_an_empty_folder / "runs" / "moons-2" / "model.safetensors").precision == "tf32"
    run("report", folder, "--output", "page.html")
    assert "--precision tf32" in (in_an_empty_folder / "page.html").read_text()
    again = run("train", "--resume", folder, "--epochs", 3, "--precision", "bf16", status=2)
    assert "--resume takes --precision from the run" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "tf32", "--device", "cpu"], "cannot train with precision='tf32'"),
        (["--precision", "tf32", "--backend", "numpy"], "backend 'numpy' on cpu cannot train"),
        (["--precision", "half"], "unknown precision 'half'"),
        (["--precision", "bf16", "--dtype", "float64"], "dtype='float64'"),
    ],
)
def test_the_command_line_refuses_it_in_one_line_and_writes_nothing(in_an_empty_folder, arguments, message):
    result = run("train", "moons", *arguments, status=2)
    assert result.stdout == ""
    assert message in result.stderr.splitlines()[-1]
    assert list(in_an_empty_folder.iterdir()) == []
