"""ONNX files, out and in: what ONNX Runtime computes, what other programs write, and what is refused."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import mlp
from backends import formulas
from mlp.cli import cli
from mlp.data import Preprocessing
from mlp.io.onnx_files import activation_nodes, export

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx onnxruntime")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnx onnxruntime")
helper, numpy_helper, FLOAT = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT

THOROUGH = settings().max_examples >= 1000
RNG = np.random.default_rng(5)
HIDDEN = [name for name, row in formulas.ACTIVATIONS.items() if row.role == "any"]
OUTPUTS = [
    ("identity", "mse"), ("sigmoid", "binary_cross_entropy"), ("sigmoid", "quadratic"), ("tanh", "mse"),
    ("relu", "mae"), ("leaky_relu", "huber"), ("elu", "mse"), ("selu", "mse"), ("gelu", "mse"), ("gelu_tanh", "mse"),
    ("silu", "mse"), ("mish", "mse"), ("softplus", "poisson"), ("step", "mse"), ("exp", "poisson"),
    ("softmax", "cross_entropy"),
]  # fmt: skip
CLOSE = {"float32": 3e-6, "float64": 1e-13}


def session(path: Path | bytes) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    source = path if isinstance(path, bytes) else str(path)
    return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(path: Path | bytes, feeds: Any) -> dict[str, Any]:
    """The outputs of a file by name; `feeds` are columns by name, or X."""
    model = session(path)
    feeds = feeds if isinstance(feeds, dict) else {"X": feeds}
    return dict(zip([output.name for output in model.get_outputs()], model.run(None, feeds), strict=True))


def described(values: Any) -> list[tuple[str, str, list[Any]]]:
    return [(value.name, value.type, value.shape) for value in values]


def exact_outputs(net: mlp.MLP, X: Any) -> Any:
    """The outputs by the reference for the tests, in float64."""
    a = np.asarray(X, dtype=np.float64)
    for W, b, activation in zip(net.weights, net.biases, net.plan.activations, strict=True):
        z = a @ W.astype(np.float64) + b.astype(np.float64)
        a = np.where(z >= 0, 1.0, 0.0) if activation.name == "step" else oracle.activate(activation.name, z)
    if net.target_scaling is not None:
        a = a * np.array(net.target_scaling[1]) + np.array(net.target_scaling[0])
    return a


def random_network(sizes: list[int], *arguments: Any, **settings: Any) -> mlp.MLP:
    """A network whose biases are random, too."""
    net = mlp.MLP(sizes, *arguments, **settings)
    rng = np.random.default_rng(len(sizes))
    net.biases = [rng.normal(size=b.shape) for b in net.biases]
    return net


def require_same(net: mlp.MLP, other: mlp.MLP) -> None:
    """Equal structures, and equal bits of all weights."""
    assert other.sizes == net.sizes
    assert other.dtype == net.dtype
    assert [row.name for row in other.plan.activations] == [row.name for row in net.plan.activations]
    assert (other.task, other.classes) == (net.task, net.classes)
    columns = None if net.preprocessing is None else net.preprocessing.columns
    assert (None if other.preprocessing is None else other.preprocessing.columns) == columns
    for found, expected in zip((*other.weights, *other.biases), (*net.weights, *net.biases), strict=True):
        assert_array_equal(found, expected)


# -- out: every activation ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "loss"), OUTPUTS)
def test_every_pair_of_activations_computes_the_same(output: str, loss: str, dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    X = RNG.normal(size=(40, 5)).astype(dtype)
    for hidden in HIDDEN if dtype == "float32" or output == "identity" else ["tanh", "gelu"]:
        net = random_network([5, 6, 3], hidden, output, loss, dtype=dtype, seed=2)
        net.to_onnx(path)
        found = run(path, X)
        outputs = net.predict_proba(X) if "probabilities" in found else net.unchecked_outputs(X)
        scores = found["probabilities" if "probabilities" in found else "variable"]
        scale = 1 + np.abs(outputs).max()
        assert scores.dtype == dtype
        assert_allclose(scores, outputs, rtol=0, atol=CLOSE[dtype] * scale)
        if hidden != "step" and output != "step":  # rounding may move a step
            assert_allclose(scores, exact_outputs(net, X), rtol=0, atol=CLOSE[dtype] * scale)
        if "label" in found:
            assert_array_equal(found["label"], net.predict(X))
        require_same(net, mlp.from_onnx(path))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*HIDDEN, "exp"])
def test_activations_are_stable_for_all_inputs(name: str, dtype: str) -> None:
    """Compared at inputs from zero to near the largest number, one by one."""
    net = mlp.MLP([1, 1], output_activation=name, loss="poisson" if name == "exp" else "mse", dtype=dtype)
    net.weights, net.biases = [[[1.0]]], [[0.0]]
    largest = float(np.finfo(dtype).max)
    z = np.concatenate([np.append(np.logspace(-30, np.log10(largest) - 0.1, 400), largest), np.linspace(0, 40, 401)])
    z = np.concatenate([z, -z]).astype(dtype)[:, None]
    with np.errstate(over="ignore"):
        expected = net.unchecked_outputs(z)
    found = run(export.to_bytes(net, ["variable"]), z)["variable"]
    assert not np.isnan(found[~np.isnan(expected)]).any()
    finite = np.isfinite(expected)
    assert_array_equal(np.isfinite(found), finite)
    error = np.abs(found[finite].astype(float) - expected[finite]) / (1 + np.abs(expected[finite].astype(float)))
    assert error.max() < {"float32": 5e-7, "float64": 2e-15}[dtype]


@pytest.mark.parametrize("name", ["elu", "selu", "softplus", "silu", "mish", "gelu", "gelu_tanh"])
def test_small_values_are_accurate_in_float64(name: str) -> None:
    """Near zero and in the tails, where a formula that cancels would lose digits."""
    net = mlp.MLP([1, 1], output_activation=name, loss="mse", dtype="float64")
    net.weights, net.biases = [[[1.0]]], [[0.0]]
    z = np.logspace(-30, 1, 300)
    z = np.concatenate([-z, z])[:, None]
    assert_allclose(run(export.to_bytes(net, ["variable"]), z)["variable"], net.feedforward(z), rtol=1e-13, atol=0)


def test_a_softmax_of_huge_logits_is_no_nan(tmp_path: Path) -> None:
    net = mlp.MLP([2, 2])
    net.weights = [np.eye(2)]
    found = run(export.to_bytes(net, ["label", "probabilities"]), np.array([[3e38, -3e38], [1e30, 1e30]], np.float32))
    assert_array_equal(found["probabilities"], [[1, 0], [0.5, 0.5]])


@st.composite
def networks(draw: Any) -> mlp.MLP:
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=6))
    output, loss = draw(st.sampled_from(OUTPUTS))
    sizes[-1] += output == "softmax"
    scaled = output == "identity" and draw(st.booleans())
    n_classes = 2 if sizes[-1] == 1 else sizes[-1]
    names = [
        [f"class {i} é" for i in range(n_classes)],
        list(range(-3, n_classes - 3)),
        [i / 2 for i in range(n_classes)],
    ]
    named = output == "softmax" or (loss == "binary_cross_entropy" and sizes[-1] == 1)
    net = random_network(
        sizes,
        [draw(st.sampled_from(HIDDEN)) for _ in sizes[2:]],
        output,
        loss,
        dropout=0.5,
        input_scale=draw(st.sampled_from([None, 1 / 255])),
        target_scaling=([3.0] * sizes[-1], [0.5] * sizes[-1]) if scaled else None,
        classes=draw(st.sampled_from([None, *names])) if named else None,
        dtype=draw(st.sampled_from(["float32", "float64"])),
        seed=draw(st.integers(0, 1000)),
    )
    net.weights = [W * draw(st.sampled_from([0.1, 1.0, 10.0])) for W in net.weights]
    return net


@given(net=networks())
def test_any_network_goes_out_and_comes_back(tmp_path_factory: Any, net: mlp.MLP) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    net.to_onnx(path)  # compares, with a bound for rounding
    back = mlp.from_onnx(path, backend="numpy")
    require_same(net, back)
    assert back.target_scaling == net.target_scaling
    X = np.random.default_rng(0).integers(0, 255, (9, net.sizes[0])).astype(np.uint8 if net.input_scale else net.dtype)
    assert back.input_scale == (None if net.input_scale is None else pytest.approx(net.input_scale))
    with np.errstate(over="ignore"):
        assert_allclose(back.feedforward(X), net.feedforward(X), rtol=1e-4)


# -- out: inputs and outputs ----------------------------------------------------------------------------


def test_names_types_and_shapes_are_those_of_skl2onnx(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    net = mlp.MLP([4, 3], classes=["ash", "beech", "oak"])
    net.to_onnx(path)
    model = onnx.load(path)
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", 17), ("ai.onnx.ml", 3)}
    assert described(session(path).get_inputs()) == [("X", "tensor(float)", ["batch", 4])]
    assert described(session(path).get_outputs()) == [
        ("label", "tensor(string)", ["batch"]), ("probabilities", "tensor(float)", ["batch", 3]),
    ]  # fmt: skip
    X = RNG.normal(size=(7, 4)).astype(np.float32)
    assert run(path, X)["label"].tolist() == [net.classes[number] for number in net.predict(X)]


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        (None, "int64"), ([5, -7, 2], "int64"), (["b", "a", "c"], "object"), ([0.5, 2, 1e300], "float64"),
    ],
)  # fmt: skip
def test_labels_have_the_type_of_the_classes(classes: Any, kind: str, tmp_path: Path) -> None:
    net = mlp.MLP([4, 3], classes=classes)
    net.to_onnx(tmp_path / "net.onnx")
    X = RNG.normal(size=(20, 4)).astype(np.float32)
    label = run(tmp_path / "net.onnx", X)["label"]
    label = np.array(label) if isinstance(label, list) else label
    assert (label.dtype, label.shape) == (kind, (20,))
    assert label.tolist() == [number if classes is None else classes[number] for number in net.predict(X)]
    require_same(net, mlp.from_onnx(tmp_path / "net.onnx"))


@pytest.mark.parametrize("classes", [None, ["no", "yes"], [False, True], [3, 9]])
def test_two_classes_of_one_output_have_two_columns(classes: Any, tmp_path: Path) -> None:
    net = mlp.MLP([4, 3, 1], loss="binary_cross_entropy", classes=classes)
    net.to_onnx(tmp_path / "net.onnx")
    X = RNG.normal(size=(20, 4)).astype(np.float32)
    found = run(tmp_path / "net.onnx", X)
    assert_allclose(found["probabilities"], net.predict_proba(X), atol=1e-6)
    names = [0, 1] if classes is None else classes
    assert np.array(found["label"]).tolist() == [names[number] for number in net.predict(X)]
    require_same(net, mlp.from_onnx(tmp_path / "net.onnx"))


def test_several_labels_are_rows_of_zeros_and_ones(tmp_path: Path) -> None:
    net = mlp.MLP([4, 3], loss="binary_cross_entropy")
    net.to_onnx(tmp_path / "net.onnx")
    X = RNG.normal(size=(20, 4)).astype(np.float32)
    found = run(tmp_path / "net.onnx", X)
    assert_array_equal(found["label"], net.predict(X))
    assert found["label"].dtype == np.int64
    assert mlp.from_onnx(tmp_path / "net.onnx").task == "labels"


def test_several_targets_are_scaled_back(tmp_path: Path) -> None:
    net = random_network([4, 3, 2], "tanh", loss="mse", target_scaling=([100.0, -3.0], [20.0, 0.1]))
    net.to_onnx(tmp_path / "net.onnx")
    X = RNG.normal(size=(20, 4)).astype(np.float32)
    assert_allclose(run(tmp_path / "net.onnx", X)["variable"], net.predict(X), rtol=1e-6)
    assert_allclose(run(tmp_path / "net.onnx", X)["variable"], exact_outputs(net, X), rtol=1e-5)
    back = mlp.from_onnx(tmp_path / "net.onnx")
    assert_allclose(back.target_scaling, net.target_scaling, rtol=1e-7)


def test_bytes_are_scaled_inside(tmp_path: Path) -> None:
    net = mlp.MLP([6, 5, 3], input_scale=1 / 255)
    net.to_onnx(tmp_path / "net.onnx")
    assert described(session(tmp_path / "net.onnx").get_inputs()) == [("X", "tensor(uint8)", ["batch", 6])]
    X = RNG.integers(0, 256, (20, 6)).astype(np.uint8)
    assert_allclose(run(tmp_path / "net.onnx", X)["probabilities"], net.predict_proba(X), atol=1e-6)
    assert_allclose(run(tmp_path / "net.onnx", X)["probabilities"], exact_outputs(net, X / 255), atol=1e-6)


def test_outputs_of_a_classifier_that_are_no_probabilities_are_scores(tmp_path: Path) -> None:
    net = mlp.MLP([2, 3], loss="quadratic", classes=["a", "b", "c"])
    net.fit(RNG.normal(size=(30, 2)), np.arange(30) % 3, epochs=1)
    net.to_onnx(tmp_path / "net.onnx")
    X = RNG.normal(size=(20, 2)).astype(np.float32)
    found = run(tmp_path / "net.onnx", X)
    assert_allclose(found["scores"], net.feedforward(X), atol=1e-6)
    assert mlp.from_onnx(tmp_path / "net.onnx").task == net.task == "classes"


# -- out: tables ----------------------------------------------------------------------------------------

CITIES = np.array(["Bergen", "Oslo", None, "Ålesund"], dtype=object)


def table(n: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    age = rng.integers(1, 99, n).astype(np.float64)
    age[rng.random(n) < 0.2] = np.nan
    return {
        "age": age,
        "city": CITIES[rng.integers(0, 4, n)],
        "income": np.round(rng.lognormal(5, 1, n)),
        "rooms": rng.integers(1, 9, n),
        "owner": rng.random(n) < 0.5,
        "insured": np.array([True, False, None], dtype=object)[rng.integers(0, 3, n)],
    }


def as_tensors(columns: dict[str, Any], dtype: str = "float32") -> dict[str, Any]:
    """The columns of a table as a user would give them to ONNX Runtime."""
    feeds = {}
    for name, column in columns.items():
        if name == "city":
            column = np.array(["" if value is None else value for value in column], dtype=object)
        elif name != "owner":
            column = np.array([np.nan if value is None else float(value) for value in column], dtype=dtype)
        feeds[name] = column.reshape(-1, 1)
    return feeds


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", ["standard", "minmax", "none"])
def test_a_table_is_prepared_inside(scale: Any, dtype: str, tmp_path: Path) -> None:
    preprocessing = Preprocessing.fit(table(200, 0), scale=scale)
    net = random_network(
        [preprocessing.n_outputs, 8, 3], "tanh", preprocessing=preprocessing, classes=["hus", "hytte", "båt"],
        dtype=dtype,
    )  # fmt: skip
    path = tmp_path / "net.onnx"
    net.to_onnx(path)
    number = {"float32": "tensor(float)", "float64": "tensor(double)"}[dtype]
    assert described(session(path).get_inputs()) == [
        ("age", number, ["batch", 1]), ("city", "tensor(string)", ["batch", 1]), ("income", number, ["batch", 1]),
        ("rooms", number, ["batch", 1]), ("owner", "tensor(bool)", ["batch", 1]), ("insured", number, ["batch", 1]),
    ]  # fmt: skip
    rows = table(60, 1)
    rows["city"][:3] = ["unknown", "oslo", "Oslo "]
    found = run(path, as_tensors(rows, dtype))
    X = preprocessing.transform(rows)
    assert_allclose(found["probabilities"], net.predict_proba(X), atol=1e-6)
    assert list(found["label"]) == [net.classes[number] for number in net.predict(X)]
    require_same(net, mlp.from_onnx(path))


def test_a_smoothly_clipped_table_is_prepared_inside(tmp_path: Path) -> None:
    preprocessing = Preprocessing.fit(table(200, 0), scale="robust")
    net = random_network([preprocessing.n_outputs, 8, 3], "tanh", preprocessing=preprocessing, dtype="float64")
    path = tmp_path / "net.onnx"
    net.to_onnx(path)
    rows = table(60, 1)
    rows["age"] = rows["age"] * np.resize([1, 1e5, -1e300], 60)
    found = run(path, as_tensors(rows, "float64"))
    assert_allclose(found["probabilities"], net.predict_proba(preprocessing.transform(rows)), atol=1e-9)


def test_a_table_prepared_by_hand_gives_the_same(tmp_path: Path) -> None:
    """The preparation is written out, without `Preprocessing.transform`."""
    columns = {"size": np.array([1.0, 2.0, np.nan, 6.0]), "kind": np.array(["a", "b", "a", "b"])}
    preprocessing = Preprocessing.fit(columns)
    net = random_network([3, 1], loss="mse", preprocessing=preprocessing, target_scaling=([5.0], [2.0]))
    net.to_onnx(tmp_path / "net.onnx")
    feeds = {"size": np.array([[4.0], [np.nan]], np.float32), "kind": np.array([["b"], ["c"]], dtype=object)}
    filled = np.array([1.0, 2.0, 2.0, 6.0])
    sizes = (np.array([4.0, 2.0]) - filled.mean()) / filled.std()
    X = np.array([[sizes[0], 0, 1], [sizes[1], 0, 0]])
    expected = (X @ net.weights[0] + net.biases[0]) * 2 + 5
    assert_allclose(run(tmp_path / "net.onnx", feeds)["variable"], expected, rtol=1e-6)


def test_a_column_may_have_the_name_of_an_output(tmp_path: Path, caplog: Any) -> None:
    columns = {"label": np.array([1.0, 2.0]), "X": np.array([1.0, 4.0]), "layers.0.weight": np.array([2.0, 4.0])}
    net = mlp.MLP([3, 2], preprocessing=Preprocessing.fit(columns))
    net.to_onnx(tmp_path / "net.onnx")
    assert [output.name for output in session(tmp_path / "net.onnx").get_outputs()] == ["output_label", "probabilities"]
    assert "'output_label'" in caplog.text
    require_same(net, mlp.from_onnx(tmp_path / "net.onnx"))


def test_empty_texts_beside_missing_values(tmp_path: Path, caplog: Any) -> None:
    columns = {"kind": np.array(["", "a", None, "a"], dtype=object)}
    net = mlp.MLP([3, 2], preprocessing=Preprocessing.fit(columns))
    net.to_onnx(tmp_path / "net.onnx")
    assert "'kind' has both empty texts and missing values" in caplog.text
    found = run(tmp_path / "net.onnx", {"kind": np.array([[""]], dtype=object)})["probabilities"]
    assert_allclose(found, net.predict_proba([[1.0, 0.0, 0.0]]), atol=1e-6)
    require_same(net, mlp.from_onnx(tmp_path / "net.onnx"))


def test_a_column_near_the_largest_number(tmp_path: Path) -> None:
    net = mlp.MLP([1, 2], preprocessing=Preprocessing.fit({"mass": np.array([1e38, 2e38, 3e38])}))
    net.to_onnx(tmp_path / "net.onnx")
    found = run(tmp_path / "net.onnx", {"mass": np.array([[2e38]], np.float32)})
    assert_allclose(found["probabilities"], net.predict_proba([[0.0]]), atol=1e-6)


def test_a_column_that_float32_rounds_too_much_is_named(tmp_path: Path, caplog: Any) -> None:
    columns = {"time": 1.7e9 + np.arange(50.0), "size": np.arange(50.0)}
    net = mlp.MLP([2, 2], preprocessing=Preprocessing.fit(columns))
    net.to_onnx(tmp_path / "net.onnx")
    assert "column 'time' has values around 1.7e+09 that spread by 14.4" in caplog.text
    assert "'size'" not in caplog.text
    caplog.clear()
    net.copy("float64").to_onnx(tmp_path / "net.onnx")
    assert not caplog.text


# -- out: estimators and the command line ----------------------------------------------------------------

ROWS = RNG.normal(size=(60, 4))
LABELS = {
    "words": RNG.choice(np.array(["ash", "beech", "oak"]), 60),
    "two words": np.where(ROWS[:, 0] > 0, "yes", "no"),
    "numbers": RNG.choice([-1, 5, 7], 60),
    "several labels": (ROWS[:, :3] > 0).astype(int),
}


def fitted(kind: Any, X: Any, y: Any, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # not converged
        return kind(**{"hidden_layer_sizes": (6, 5), "max_iter": 8, "random_state": 0} | settings).fit(X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("labels", LABELS)
def test_a_classifier_is_exported(labels: str, dtype: str, tmp_path: Path) -> None:
    estimator = fitted(mlp.MLPClassifier, ROWS, LABELS[labels], dtype=dtype)
    estimator.to_onnx(tmp_path / "net.onnx")
    X = ROWS.astype(dtype)
    found = run(tmp_path / "net.onnx", X)
    assert list(found) == ["label", "probabilities"]
    assert_allclose(found["probabilities"], estimator.predict_proba(X), atol=CLOSE[dtype])
    assert_array_equal(np.array(found["label"]), estimator.predict(X))


@pytest.mark.parametrize("y", [ROWS[:, 0], ROWS[:, :2] ** 2], ids=["one target", "two targets"])
def test_a_regressor_is_exported(y: Any, tmp_path: Path) -> None:
    estimator = fitted(mlp.MLPRegressor, ROWS, y)
    estimator.to_onnx(tmp_path / "net.onnx")
    found = run(tmp_path / "net.onnx", ROWS)
    assert list(found) == ["variable"]
    assert_allclose(found["variable"], estimator.predict(ROWS).reshape(60, -1), atol=1e-12)


def test_an_estimator_that_is_not_fitted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not fitted yet"):
        mlp.MLPClassifier().to_onnx(tmp_path / "net.onnx")


def test_the_command_exports_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("polars", reason="reading a CSV file needs polars")
    rng = np.random.default_rng(0)
    lines = ["size,colour,kind"]
    for _ in range(80):
        size, colour = rng.normal(), rng.choice(["red", "green", ""])
        lines.append(f"{size if rng.random() > 0.1 else ''},{colour},{'apple' if colour == 'red' else 'pear'}")
    Path("fruit.csv").write_text("\n".join(lines))
    runner = CliRunner()
    arguments = ["train", "fruit.csv", "--target", "kind", "--epochs", "3", "--quiet", "--backend", "numpy"]
    assert runner.invoke(cli, arguments).exit_code == 0
    result = runner.invoke(cli, ["export", "runs/fruit-1", "fruit.onnx"])
    assert result.exit_code == 0, result.output
    net = mlp.load("runs/fruit-1/model.safetensors")
    feeds = {"size": np.array([[0.5], [np.nan]], np.float32), "colour": np.array([["red"], [""]], dtype=object)}
    X = net.preprocessing.transform({"size": np.array([0.5, np.nan]), "colour": np.array(["red", None], dtype=object)})
    found = run(Path("fruit.onnx"), feeds)
    assert_allclose(found["probabilities"], net.predict_proba(X), atol=1e-6)
    assert set(found["label"]) <= {"apple", "pear"}
    result = runner.invoke(cli, ["export", "runs/fruit-1", "fruit.onnx"])
    assert result.exit_code == 2
    assert "already exists" in result.output
    result = runner.invoke(cli, ["export", "runs/fruit-1", "fruit.text"])
    assert result.exit_code == 2
    assert "must end in" in result.output
    assert ".onnx" in result.output


# -- out: what is not written ---------------------------------------------------------------------------


def test_a_custom_activation_is_refused_by_name(tmp_path: Path) -> None:
    wave = mlp.custom_activation("wave", lambda xp, z: 2 * z, lambda xp, z: 2 + 0 * z)
    with pytest.raises(mlp.ConfigurationError, match="'wave' is a custom function"):
        mlp.MLP([2, 3, 2], wave).to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_classes_of_several_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(mlp.ConfigurationError, match="must be all strings"):
        mlp.MLP([2, 2], classes=["a", 1]).to_onnx(tmp_path / "net.onnx")
    with pytest.raises(mlp.ConfigurationError, match="64 bits"):
        mlp.MLP([2, 2], classes=[2**80, 1]).to_onnx(tmp_path / "net.onnx")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    columns = Preprocessing.fit({"\ud800": np.arange(3.0)})
    for net in (mlp.MLP([1, 2], classes=["\ud800", "b"]), mlp.MLP([1, 2], preprocessing=columns)):
        with pytest.raises(mlp.ConfigurationError, match="not valid Unicode"):
            net.to_onnx(tmp_path / "net.onnx")


@pytest.mark.parametrize("fault", ["other operator", "transposed weights", "no scaling", "other class", "no bias"])
def test_a_graph_that_computes_something_else_is_not_written(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant = export.GraphWriter.constant

    def faulty(self: Any, array: Any, name: str) -> str:
        if fault == "transposed weights" and name == "layers.0.weight":
            array = array.T
        if fault == "no scaling" and name == "scale":
            array = np.ones_like(array)
        if fault == "other class" and name == "classes":
            array = array[::-1]
        if fault == "no bias" and name == "layers.1.bias":
            array = 0 * array
        return constant(self, array, name)

    monkeypatch.setattr(export.GraphWriter, "constant", faulty)
    if fault == "other operator":
        monkeypatch.setattr(activation_nodes, "_OPERATORS", activation_nodes._OPERATORS | {"tanh": ("Sigmoid", {})})
    preprocessing = Preprocessing.fit({f"x{i}": RNG.normal(size=9) for i in range(3)})
    net = random_network([3, 3, 2], "tanh", preprocessing=preprocessing, classes=["a", "b"])
    path = tmp_path / "net.onnx"
    path.write_bytes(b"as before")
    with pytest.raises(mlp.ConfigurationError, match=r"no file was written, because ONNX Runtime .* does not agree"):
        net.to_onnx(path)
    assert path.read_bytes() == b"as before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_model_that_the_runtime_refuses_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_nodes, "_OPERATORS", activation_nodes._OPERATORS | {"tanh": ("Tangent", {})})
    with pytest.raises(mlp.ConfigurationError, match="does not agree with this network: it cannot run it"):
        mlp.MLP([2, 2, 2], "tanh").to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(mlp.StorageError, match="cannot be written"):
        mlp.MLP([2, 2]).to_onnx(tmp_path / "nowhere" / "net.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = mlp.MLP([2, 2])
    net.to_onnx(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(mlp.ConfigurationError, match=f"need {package}, .*: pip install onnx onnxruntime"):
        net.to_onnx(tmp_path / "other.onnx")
    if package == "onnx":
        with pytest.raises(mlp.ConfigurationError, match="pip install onnx"):
            mlp.from_onnx(tmp_path / "net.onnx")
    else:
        assert mlp.from_onnx(tmp_path / "net.onnx").sizes == (2, 2)


def test_importing_the_library_does_not_import_onnx() -> None:
    code = "import sys, mlp; mlp.from_onnx, mlp.MLP; assert not {'onnx', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


# -- in: other programs ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch() -> Any:
    module = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    module.set_num_threads(1)
    module.manual_seed(0)
    return module


def torch_module(torch: Any, name: str) -> Any:
    nn = torch.nn
    activations = (
        nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Softplus(),
        nn.Sigmoid(), nn.Tanh(),
    )  # fmt: skip
    hidden = [part for activation in activations for part in (nn.Linear(6, 6), activation)]

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 1)
            self.register_buffer("mean", torch.arange(6.0))
            self.register_buffer("deviation", torch.arange(6.0) + 2)

        def forward(self, x: Any) -> Any:
            return (self.layer((x - self.mean) / self.deviation) * 3.5 + 12).squeeze(-1)

    class Image(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return torch.softmax(self.layer(x.view(x.size(0), -1).float() / 255), -1)

    modules = {
        "all activations": lambda: nn.Sequential(
            nn.Flatten(), *hidden, nn.Dropout(0.1), nn.Linear(6, 3), nn.Softmax(1)
        ),
        "no bias": lambda: nn.Sequential(nn.Linear(6, 3, bias=False), nn.ReLU(), nn.Linear(3, 2), nn.LogSoftmax(1)),
        "float64": lambda: nn.Sequential(nn.Linear(6, 3), nn.GELU(), nn.Linear(3, 1), nn.Sigmoid()).double(),
        "scaled": Scaled,
        "image": Image,
    }
    return modules[name]().eval()


TORCH = [(name, False) for name in ("all activations", "no bias", "float64", "scaled", "image")]
TORCH += [(name, True) for name in ("all activations", "image")]  # this exporter takes longer


@pytest.mark.parametrize(("name", "dynamo"), TORCH)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_what_pytorch_exports_is_read(torch: Any, name: str, dynamo: bool, tmp_path: Path, caplog: Any) -> None:
    module, path = torch_module(torch, name), tmp_path / "module.onnx"
    x = torch.randn(8, 6, dtype=torch.float64 if name == "float64" else torch.float32)
    if name == "image":
        x = torch.randint(0, 255, (8, 2, 3), dtype=torch.uint8)
    if dynamo:
        pytest.importorskip("onnxscript", reason="this exporter needs onnxscript: pip install onnxscript")
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(module, (x,), path, dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False)
    else:
        names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
        torch.onnx.export(module, (x,), str(path), dynamo=False, opset_version=17, **names)
    net = mlp.from_onnx(path)
    X = x.numpy().reshape(8, -1)
    X = X if net.preprocessing is None else net.preprocessing.transform(X)
    expected = module(x).detach().numpy()
    expected = np.exp(expected) if name == "no bias" else expected.reshape(8, -1)
    assert_allclose(net.feedforward(X), expected, rtol=1e-5, atol=1e-6)
    if name in ("all activations", "float64"):
        linear = [part for part in module if isinstance(part, torch.nn.Linear)]
        for layer, W, b in zip(linear, net.weights, net.biases, strict=True):
            assert_array_equal(W, layer.weight.detach().numpy().T)
            assert_array_equal(b, layer.bias.detach().numpy())
    if name == "image":
        assert net.input_scale == pytest.approx(1 / 255)
    if name == "scaled":
        assert net.target_scaling == ((12.0,), (3.5,))
    if name == "no bias":
        assert "no bias; these layers get biases of zeros" in caplog.text


def test_logits_get_the_output_activation_of_the_loss(tmp_path: Path) -> None:
    path = tmp_path / "logits.onnx"
    save_graph(path, [helper.make_node("Gemm", ["X", "W", "b"], ["logits"], name="last")], output="logits")
    X = RNG.normal(size=(5, 3)).astype(np.float32)
    logits = mlp.from_onnx(path)
    net = mlp.from_onnx(path, loss="cross_entropy")
    assert (logits.kind.name, net.kind.name) == ("identity+mse", "softmax+cross_entropy")
    e = np.exp(logits.feedforward(X))
    assert_allclose(net.feedforward(X), e / e.sum(axis=1, keepdims=True), rtol=1e-5)
    with pytest.raises(mlp.UnknownNameError, match="cross_entropy"):
        mlp.from_onnx(path, loss="crossentropy")


def sklearn_cases() -> dict[str, tuple[Any, Any, Any]]:
    import pandas
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    X = (ROWS * 3 + 5).astype(np.float32)
    small = {"max_iter": 20, "hidden_layer_sizes": (5,), "random_state": 0}
    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.where(X[:, 2] > 5, "x", "y")})
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer((numbers, ["a", "b"]), (OneHotEncoder(handle_unknown="ignore"), ["c"]))
    words, scaled = LABELS["words"], StandardScaler()
    return {
        **{name: (MLPClassifier(**small, activation="logistic"), X, y) for name, y in LABELS.items()},
        "float64": (MLPClassifier(**small, activation="tanh"), X.astype(float), words),
        "one target": (MLPRegressor(**small), X, X[:, 0]),
        "two targets": (MLPRegressor(**small, activation="identity"), X, X[:, :2]),
        "standard": (make_pipeline(scaled, MLPRegressor(**small)), X, X[:, 0]),
        "minmax": (make_pipeline(MinMaxScaler(), MLPClassifier(**small)), X.astype(float), words),
        "table": (make_pipeline(columns, MLPClassifier(**small)), frame, words),
    }


SKLEARN = [*LABELS, "float64", "one target", "two targets", "standard", "minmax", "table"]


@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.parametrize("zipmap", [False, True], ids=["tensor", "zipmap"])
@pytest.mark.filterwarnings("ignore")
def test_what_skl2onnx_exports_is_read(name: str, zipmap: bool, tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed: pip install skl2onnx")
    pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    estimator, X, y = sklearn_cases()[name]
    estimator.fit(X, y)
    classifier = hasattr(estimator, "predict_proba")
    if zipmap and not classifier:
        pytest.skip("a regressor has no probabilities")
    path = tmp_path / "net.onnx"
    model = skl2onnx.to_onnx(estimator, X[:1], options={"zipmap": zipmap} if classifier else None)
    path.write_bytes(model.SerializeToString())
    net = mlp.from_onnx(path)
    rows = X if net.preprocessing is None else net.preprocessing.transform(X)
    if not classifier:
        assert_allclose(net.predict(rows), estimator.predict(X), rtol=1e-5, atol=1e-5)
        return
    assert_allclose(net.predict_proba(rows), estimator.predict_proba(X), atol=1e-6)
    predicted = net.predict(rows)
    predicted = predicted if predicted.ndim > 1 else np.array(net.classes)[predicted]
    assert_array_equal(predicted, estimator.predict(X))


SPELLINGS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "gelu by erf": ("gelu", [
        ("Div", ["z", 1.4142135], "s"), ("Erf", ["s"], "e"), ("Add", ["e", 1.0], "f"), ("Mul", ["z", "f"], "g"),
        ("Mul", ["g", 0.5], "a"),
    ]),
    "silu": ("silu", [("Sigmoid", ["z"], "s"), ("Mul", ["s", "z"], "a")]),
    "mish": ("mish", [("Softplus", ["z"], "s"), ("Tanh", ["s"], "t"), ("Mul", ["z", "t"], "a")]),
    "sigmoid by exp": ("sigmoid", [
        ("Neg", ["z"], "n"), ("Exp", ["n"], "e"), ("Add", [1.0, "e"], "s"), ("Reciprocal", ["s"], "a"),
    ]),
    "softplus by log": ("softplus", [("Exp", ["z"], "e"), ("Add", ["e", 1.0], "s"), ("Log", ["s"], "a")]),
    "relu by max": ("relu", [("Max", ["z", 0.0], "a")]),
    "relu by clip": ("relu", [("Clip", ["z", 0.0], "a")]),
    "leaky_relu by where": ("leaky_relu", [
        ("Greater", ["z", 0.0], "c"), ("Mul", ["z", 0.01], "s"), ("Where", ["c", "z", "s"], "a"),
    ]),
    "tanh by sigmoid": ("tanh", [
        ("Mul", ["z", 2.0], "d"), ("Sigmoid", ["d"], "s"), ("Mul", ["s", 2.0], "t"), ("Sub", ["t", 1.0], "a"),
    ]),
    "step": ("step", [("GreaterOrEqual", ["z", 0.0], "c"), ("Cast", ["c"], "a", {"to": 1})]),
    "celu": ("elu", [("Celu", ["z"], "a")]),
}  # fmt: skip
NOT_OURS: dict[str, list[tuple[Any, ...]]] = {
    "relu6": [("Clip", ["z", 0.0, 6.0], "a")],
    "another slope": [("LeakyRelu", ["z"], "a", {"alpha": 0.2})],
    "quick gelu": [("Mul", ["z", 1.702], "s"), ("Sigmoid", ["s"], "t"), ("Mul", ["t", "z"], "a")],
    "a wider clip": [("Clip", ["z", 0.0, 1000.0], "a")],
    "an almost equal slope": [("LeakyRelu", ["z"], "a", {"alpha": 0.01001})],
}


def nodes_of(spelling: list[tuple[Any, ...]], constants: dict[str, Any]) -> list[Any]:
    """The nodes between ``z`` and ``a``; numbers become constants."""
    nodes = []
    for operator, inputs, output, *attributes in spelling:
        names = []
        for entry in inputs:
            if isinstance(entry, float):
                constants[f"c{len(constants)}"] = np.array(entry, np.float32)
                entry = list(constants)[-1]
            names.append(entry)
        nodes.append(helper.make_node(operator, names, [output], name=f"my {output}", **(attributes or [{}])[0]))
    return nodes


def save_graph(
    path: Path, nodes: list[Any], constants: dict[str, Any] | None = None, *, output: str = "y", inputs: Any = None
) -> Any:
    """Write a graph with an input X of 3 columns, and constants W (3, 3) and b (3,)."""
    rng = np.random.default_rng(1)
    arrays = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in (("W", (3, 3)), ("V", (3, 3)), ("b", 3))
    }
    arrays |= constants or {}
    inputs = inputs or [helper.make_tensor_value_info("X", FLOAT, ["batch", 3])]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    outputs = [helper.make_tensor_value_info(name, FLOAT, None) for name in output.split()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return model


def chain(spelling: list[tuple[Any, ...]], constants: dict[str, Any]) -> list[Any]:
    return [
        helper.make_node("Gemm", ["X", "W", "b"], ["z"], name="first"),
        *nodes_of(spelling, constants),
        helper.make_node("MatMul", ["a", "V"], ["m"], name="second"),
        helper.make_node("Add", ["m", "b"], ["y"], name="bias"),
    ]


@pytest.mark.parametrize("name", SPELLINGS)
def test_activations_are_recognised_however_they_are_spelled(name: str, tmp_path: Path) -> None:
    activation, spelling = SPELLINGS[name]
    constants: dict[str, Any] = {}
    save_graph(tmp_path / "net.onnx", chain(spelling, constants), constants)
    net = mlp.from_onnx(tmp_path / "net.onnx")
    assert net.plan.activations[0].name == activation
    X = RNG.normal(size=(9, 3)).astype(np.float32)
    assert_allclose(run(tmp_path / "net.onnx", X)["y"], net.feedforward(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NOT_OURS)
def test_another_activation_is_refused_by_the_name_of_its_node(name: str, tmp_path: Path) -> None:
    constants: dict[str, Any] = {}
    save_graph(tmp_path / "net.onnx", chain(NOT_OURS[name], constants), constants)
    with pytest.raises(mlp.FileFormatError, match=r"node 'my a' \((Clip|LeakyRelu|Mul)\) ends .* no activation"):
        mlp.from_onnx(tmp_path / "net.onnx")


# -- in: what is refused --------------------------------------------------------------------------------


def node(operator: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), [output], name=f"my {operator}", **attributes)


FIRST = helper.make_node("Gemm", ["X", "W", "b"], ["z"], name="first")
REFUSED: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "convolution": ([node("Conv", "X W")], {}, r"node 'my Conv' \(Conv\): .*no convolutions"),
    "normalization": ([FIRST, node("BatchNormalization", "z b b b b")], {}, "my BatchNormalization.*fuse_linear_bn"),
    "a loop": ([node("Loop", "X W")], {}, r"node 'my Loop' \(Loop\): this operator is not supported"),
    "foreign domain": ([node("Gemm", "X W b", domain="org.example")], {}, "node 'my Gemm'.*not supported"),
    "skip connection": (
        [FIRST, node("MatMul", "z V", "v"), node("Add", "z v")], {}, r"node 'my Add' \(Add\): .*no skip connections",
    ),
    "shared weights": ([FIRST, node("Gemm", "z W b")], {}, "my Gemm.*shares its weights"),
    "product of layers": ([FIRST, node("MatMul", "z z")], {}, "my MatMul.*constant matrix"),
    "softmax inside": ([FIRST, node("Softmax", "z", "s"), node("Gemm", "s V b")], {}, "no activation of this library"),
    "exp inside": ([FIRST, node("Exp", "z", "s"), node("Gemm", "s V b")], {}, "'exp' follows node 'first'.*output"),
    "wrong width": ([node("Gemm", "X big")], {"big": np.ones((4, 2), np.float32)}, "4 rows, but there are 3 inputs"),
    "empty matrix": ([node("MatMul", "X none")], {"none": np.ones((3, 0), np.float32)}, "my MatMul.*shape"),
    "integers": ([node("MatMul", "X whole")], {"whole": np.ones((3, 2), np.int64)}, "weights are int64"),
    "two types": ([FIRST, node("MatMul", "z double")], {"double": np.ones((3, 2))}, "float32 and float64"),
    "weights that are not finite": (
        [node("MatMul", "X nan")], {"nan": np.full((3, 2), np.nan, np.float32)}, "invalid network: .*nan",
    ),
    "different slopes": ([FIRST, node("Max", "z b", "s"), node("Gemm", "s V b")], {}, "my Max.*different constants"),
    "transposed rows": ([FIRST, node("Transpose", "z")], {}, "my Transpose.*constant matrices only"),
    "rows are mixed": (
        [FIRST, node("Reshape", "z shape")], {"shape": np.array([-1, 9])}, r"my Reshape.*\[-1, 9\] does not keep rows",
    ),
    "last class of equal ones": ([FIRST, node("ArgMax", "z", axis=1, select_last_index=1)], {}, "my ArgMax.*first"),
    "a value that does not exist": ([node("Gemm", "X W nothing")], {}, "my Gemm.*'nothing' is computed by no"),
    "a circle": ([node("Add", "u b", "v"), node("Add", "v b", "u")], {}, "my Add.*'u' is computed by no earlier node"),
    "twice": ([FIRST, node("Relu", "z", "z")], {}, "my Relu.*computed twice"),
    "an output that nothing computes": ([FIRST], {}, "output 'y' is computed by no node"),
    "no layer": ([node("Relu", "X")], {}, "my Relu.*only scaling of inputs"),
    "the input as output": ([node("Identity", "X")], {}, "output 'y' is not that of a layer"),
    "training mode": (
        [FIRST, node("Dropout", "z rate yes")], {"rate": np.float32(0.5), "yes": np.array(True)}, "my Dropout.*eval",
    ),
    "an attribute of another type": ([node("Gemm", "X W b", alpha="much")], {}, "my Gemm.*'alpha' has a type"),
    "columns of one output that are not those of two classes": (
        [node("Gemm", "X one", "z"), node("Sigmoid", "z", "p"), node("Concat", "p p", axis=1)],
        {"one": np.ones((3, 1), np.float32)}, r"my Concat.*1 - y and y",
    ),
    "the class of the smallest output": (
        [FIRST, node("Neg", "z", "n"), node("ArgMax", "n", axis=1)], {}, "my Neg.*no activation",
    ),
    "the class of a single output": (
        [node("Gemm", "X one", "z"), node("ArgMax", "z", axis=1)], {"one": np.ones((3, 1), np.float32)}, "my ArgMax",
    ),
    "an input left out": (
        [FIRST, helper.make_node("Clip", ["z", "", "zero"], ["y"], name="my Clip")], {"zero": np.float32(0)},
        "my Clip.*leaves out an input",
    ),
    "a bias for each row": ([node("Gemm", "X W column")], {"column": np.ones((3, 1), np.float32)}, "my Gemm.*constant"),
    "negative scale": ([FIRST, node("Mul", "z minus")], {"minus": np.full(3, -2, np.float32)}, "network: .*scale"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_that_is_no_perceptron_is_refused_with_the_node(name: str, tmp_path: Path) -> None:
    nodes, constants, message = REFUSED[name]
    save_graph(tmp_path / "net.onnx", nodes, constants)
    with pytest.raises(mlp.FileFormatError, match=message) as raised:
        mlp.from_onnx(tmp_path / "net.onnx")
    assert len(str(raised.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize("operators", ["Sub Div", "Mul Add", "Add Mul", "Div Sub"])
def test_any_scaling_of_outputs_and_inputs_is_read(operators: str, tmp_path: Path, caplog: Any) -> None:
    path, (first, second) = tmp_path / "net.onnx", operators.split()
    constants = {"c": np.array([1, 2, 4], np.float32), "d": np.array(0.5, np.float32)}
    X = RNG.normal(size=(9, 3)).astype(np.float32)
    save_graph(path, [FIRST, node(first, "z c", "s"), node(second, "s d")], constants)
    net = mlp.from_onnx(path)
    assert_allclose(net.predict(X), run(path, X)["y"], rtol=1e-5, atol=1e-6)
    assert net.target_scaling is not None
    assert not caplog.text
    nodes = [node(first, "X c", "s"), node(second, "s d", "t"), node("Gemm", "t W b")]
    save_graph(path, nodes, constants)
    net = mlp.from_onnx(path)
    assert_allclose(net.predict(net.preprocessing.transform(X)), run(path, X)["y"], rtol=1e-5, atol=1e-6)
    assert "the graph scales its input 'X', and the network takes scaled inputs" in caplog.text


def test_a_loss_that_does_not_fit_is_an_error_of_the_caller(tmp_path: Path) -> None:
    mlp.MLP([2, 2]).to_onnx(tmp_path / "net.onnx")
    with pytest.raises(mlp.ConfigurationError, match="poisson"):
        mlp.from_onnx(tmp_path / "net.onnx", loss="poisson")


def test_a_label_of_other_outputs_is_refused(tmp_path: Path) -> None:
    nodes = [FIRST, node("Relu", "z", "r"), node("Softmax", "z"), node("ArgMax", "r", "label", axis=1)]
    save_graph(tmp_path / "net.onnx", nodes, output="label y")
    with pytest.raises(mlp.FileFormatError, match="its label is not that of the largest of its outputs"):
        mlp.from_onnx(tmp_path / "net.onnx")


def test_a_label_of_an_output_that_is_no_probability_is_refused(tmp_path: Path) -> None:
    nodes = [FIRST, node("Greater", "z half", "c"), node("Cast", "c", "label", to=7), node("Identity", "z")]
    save_graph(tmp_path / "net.onnx", nodes, {"half": np.float32(0.5)}, output="label y")
    with pytest.raises(mlp.FileFormatError, match="'label' compares with 1/2 what is not the output of a sigmoid"):
        mlp.from_onnx(tmp_path / "net.onnx")
    nodes = [node("Gemm", "X one", "z"), node("Sub", "unit z", "n"), node("Concat", "n z", axis=1)]
    constants = {"one": np.ones((3, 1), np.float32), "unit": np.float32(1)}
    save_graph(tmp_path / "net.onnx", [*nodes, node("ArgMax", "y", "label", axis=1)], constants, output="label y")
    with pytest.raises(mlp.FileFormatError, match="'label' compares with 1/2"):
        mlp.from_onnx(tmp_path / "net.onnx")


def test_two_outputs_of_numbers_are_refused(tmp_path: Path) -> None:
    save_graph(tmp_path / "net.onnx", [FIRST, node("Softmax", "z")], output="z y")
    with pytest.raises(mlp.FileFormatError, match="several outputs of numbers, 'z', 'y'"):
        mlp.from_onnx(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.dims.__setitem__(slice(None), [2**40, 2**40]), "impossible shape"),
        (lambda t: t.dims.__setitem__(slice(None), [3, 2**30]), "needs 12884901888 bytes, but it has 36"),
        (lambda t: t.dims.__setitem__(slice(None), [-3, -3]), "impossible shape"),
        (lambda t: t.dims.__setitem__(slice(None), [1] * 80), "impossible shape"),
        (lambda t: setattr(t, "raw_data", b"123"), "needs 36 bytes, but it has 3"),
        (lambda t: setattr(t, "data_type", onnx.TensorProto.FLOAT16), "type FLOAT16, which is not supported"),
        (lambda t: setattr(t, "data_type", 99), "type number 99"),
        (lambda t: setattr(t, "data_location", 1), "in another file, and no other file is read"),
        (lambda t: t.external_data.add(key="location", value="/etc/passwd"), "no other file is read"),
    ],
)
def test_hostile_tensors_are_refused(change: Callable[[Any], object], message: str, tmp_path: Path) -> None:
    model = save_graph(tmp_path / "net.onnx", [node("Gemm", "X W b")])
    change(model.graph.initializer[0])
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(mlp.FileFormatError, match=message):
        mlp.from_onnx(tmp_path / "net.onnx")


def test_no_other_file_is_read(tmp_path: Path) -> None:
    model = save_graph(tmp_path / "net.onnx", [node("Gemm", "X W b")])
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").exists()
    with pytest.raises(mlp.FileFormatError, match="tensor 'W': its values are in another file"):
        mlp.from_onnx(tmp_path / "split.onnx")


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        (["batch", 3, 5], FLOAT, "inputs are not rows of numbers; flatten"),
        ([3], FLOAT, "has 1 dimensions; it must be"),
        (["batch", 2**60], FLOAT, "matrix has 3 rows"),
        (["batch", 3], onnx.TensorProto.BFLOAT16, "type BFLOAT16"),
        (["batch", 3], onnx.TensorProto.STRING, "rows of numbers"),
    ],
)
def test_inputs_of_other_shapes_and_types_are_refused(shape: Any, kind: int, message: str, tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("X", kind, shape)]
    save_graph(tmp_path / "net.onnx", [node("Gemm", "X W b")], inputs=inputs)
    with pytest.raises(mlp.FileFormatError, match=message):
        mlp.from_onnx(tmp_path / "net.onnx")


def test_work_is_limited(tmp_path: Path) -> None:
    nodes = [node("Mul", f"W{i} W0", f"W{i + 1}") for i in range(3000)]
    constants = {"W0": np.ones((1000, 100), np.float32)}
    save_graph(tmp_path / "net.onnx", nodes, constants, output="W3000")
    with pytest.raises(mlp.FileFormatError, match="needs too much work for its size"):
        mlp.from_onnx(tmp_path / "net.onnx")
    save_graph(tmp_path / "net.onnx", [node("Relu", "X", f"y{i}") for i in range(20_001)], output="y0")
    with pytest.raises(mlp.FileFormatError, match="20001 nodes, and at most 20000"):
        mlp.from_onnx(tmp_path / "net.onnx")
    doubled = [node("Identity", "X", "y0")]
    doubled += [node("Concat", f"y{i} y{i}", f"y{i + 1}", axis=1) for i in range(60)]
    save_graph(tmp_path / "net.onnx", doubled, output="y60")
    with pytest.raises(mlp.FileFormatError, match="an input is used twice"):
        mlp.from_onnx(tmp_path / "net.onnx")
    biased = [node("MatMul", "X big", "z"), *(node("Add", "z row", f"y{i}") for i in range(9000))]
    constants = {"big": np.ones((3, 10_000), np.float32), "row": np.ones(10_000, np.float32)}
    save_graph(tmp_path / "net.onnx", biased, constants, output="y0")
    with pytest.raises(mlp.FileFormatError, match="needs too much work for its size"):
        mlp.from_onnx(tmp_path / "net.onnx")
    grown = [node("Add", "row column", "y")]
    constants = {"row": np.ones((1, 10_000), np.float32), "column": np.ones((10_000, 1), np.float32)}
    save_graph(tmp_path / "net.onnx", grown, constants)
    with pytest.raises(mlp.FileFormatError, match="shapes of its constants do not match"):
        mlp.from_onnx(tmp_path / "net.onnx")


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for content in (b"", b"not a model", b"\0" * 100, bytes(range(256))):
        path.write_bytes(content)
        with pytest.raises(mlp.FileFormatError):
            mlp.from_onnx(path)
    with pytest.raises(mlp.FileFormatError, match="there is no file"):
        mlp.from_onnx(tmp_path / "nothing.onnx")


# -- in: random damage ----------------------------------------------------------------------------------

OPERATORS = [
    "Add", "ArgMax", "Cast", "Concat", "Constant", "Dropout", "Flatten", "Gather", "Gemm", "IsNaN", "MatMul", "Mul",
    "Reshape", "Shape", "Softmax", "Squeeze", "Sub", "Transpose", "Where", "Clip", "Imputer", "OneHotEncoder", "Scaler",
    "ZipMap", "Binarizer", "ArrayFeatureExtractor", "If",
]  # fmt: skip


def damaged_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, change, repeat or remove bytes."""
    data = bytearray(content)
    first, last = sorted(rng.integers(0, len(data), 2).tolist())
    match int(rng.integers(4)):
        case 0:
            return bytes(data[:first])
        case 1:
            for place in rng.integers(0, len(data), 5):
                data[place] = int(rng.integers(256))
        case 2:
            data[first:first] = data[first:last]
        case 3:
            del data[first : first + 9]
    return bytes(data)


def damaged_graph(content: bytes, rng: np.random.Generator) -> bytes:
    """Change parts of the graph, so that the file stays a valid message."""
    model = onnx.ModelProto()
    model.ParseFromString(content)
    graph = model.graph
    names = [name for entry in graph.node for name in (*entry.input, *entry.output)] + [""]
    values: list[Any] = [0, -1, 2**62, 1.5, float("nan"), b"\xff", [1, 2], [-1], [0.5], ["a", "b"], 9]
    for _ in range(rng.integers(1, 4)):
        entry = graph.node[rng.integers(len(graph.node))]
        tensor = graph.initializer[rng.integers(len(graph.initializer))]
        match int(rng.integers(9)):
            case 0:
                entry.op_type, entry.domain = str(rng.choice(OPERATORS)), str(rng.choice(["", "ai.onnx.ml"]))
            case 1 if entry.input:
                entry.input[rng.integers(len(entry.input))] = names[rng.integers(len(names))]
            case 2:
                entry.input.append(names[rng.integers(len(names))])
            case 3:
                entry.output[0] = names[rng.integers(len(names))]
            case 4:
                name = str(rng.choice(["axis", "to", "alpha", "value", "cats_strings", "perm", "zeros", "offset"]))
                entry.attribute.append(helper.make_attribute(name, values[rng.integers(len(values))]))
            case 5:
                tensor.dims[:] = rng.choice([0, 1, -1, 2, 3, 2**40, 7], rng.integers(0, 4)).tolist()
            case 6:
                tensor.data_type = int(rng.integers(0, 24))
            case 7:
                graph.input[0].type.tensor_type.elem_type = int(rng.integers(0, 24))
            case 8:
                graph.output[0].name = names[rng.integers(len(names))]
    result: bytes = model.SerializeToString()
    return result


@pytest.mark.parametrize("damage", [damaged_bytes, damaged_graph])
def test_damaged_files_give_one_short_error(damage: Any, tmp_path: Path) -> None:
    columns = table(30, 0)
    preprocessing = Preprocessing.fit(columns)
    path, sources = tmp_path / "net.onnx", []
    for net in (
        mlp.MLP([preprocessing.n_outputs, 3, 2], "silu", preprocessing=preprocessing, classes=["p", "q"]),
        mlp.MLP([4, 3, 1], "gelu", loss="mse", dtype="float64", target_scaling=([1.0], [2.0])),
        mlp.MLP([4, 3, 1], "relu", loss="binary_cross_entropy", input_scale=0.5),
    ):
        net.to_onnx(path)
        sources.append(path.read_bytes())
    rng = np.random.default_rng(None if THOROUGH else 0)
    messages: list[str] = []
    logging.getLogger("mlp").setLevel(logging.ERROR)
    try:
        for number in range(20_000 if THOROUGH else 600):
            path.write_bytes(damage(sources[number % 3], rng))
            try:
                mlp.from_onnx(path, backend="numpy")
            except mlp.FileFormatError as error:
                messages.append(str(error))
    finally:
        logging.getLogger("mlp").setLevel(logging.NOTSET)
    assert len(messages) > 300
    assert max(map(len, messages)) < 600 + len(str(path))
    assert not [message for message in messages if "\n" in message]


def test_a_damaged_graph_that_is_read_computes_what_the_runtime_computes(tmp_path: Path) -> None:
    """Whatever is accepted must be understood rightly."""
    path = tmp_path / "net.onnx"
    random_network([4, 5, 4, 3], ["relu", "silu"], loss="mse", target_scaling=([1.0] * 3, [2.0] * 3)).to_onnx(path)
    source, compared = path.read_bytes(), 0
    rng = np.random.default_rng(None if THOROUGH else 1)
    for _ in range(10_000 if THOROUGH else 500):
        content = damaged_graph(source, rng)
        path.write_bytes(content)
        try:
            net = mlp.from_onnx(path, backend="numpy")
            found = next(iter(run(content, X := rng.normal(size=(6, net.sizes[0])).astype(np.float32)).values()))
        except Exception:  # refused here or there, each with errors of its own
            continue
        rows = X if net.preprocessing is None else net.preprocessing.transform(X)
        with np.errstate(all="ignore"):
            assert_allclose(np.ravel(found), net.feedforward(rows).ravel(), rtol=1e-3, atol=1e-3)
        compared += 1
    assert compared > 5
