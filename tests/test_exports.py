"""Exported programs: C, JavaScript and NumPy compute what a float64 reference computes, and refuse what they cannot.

Many networks are compiled into one library, loaded by one Node, and imported here.
"""

from __future__ import annotations

import csv
import ctypes
import importlib.util
import itertools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import oracle
import pytest
import scipy.special
from click.testing import CliRunner
from sklearn.exceptions import NotFittedError

import mlp
from backends import formulas
from backends.formulas import translator
from mlp.cli import cli
from mlp.data.preprocessing import Preprocessing
from mlp.io.exports import c_formulas, self_tests
from mlp.io.exports.check_rows import CheckRows
from mlp.io.exports.model import Model

THOROUGH = os.environ.get("MLP_HYPOTHESIS") == "thorough"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
COMPILER, NODE = shutil.which("cc"), shutil.which("node")
LANGUAGES = [
    pytest.param("c", marks=pytest.mark.skipif(COMPILER is None, reason="needs a C compiler, cc")),
    pytest.param("js", marks=pytest.mark.skipif(NODE is None, reason="needs Node 20.19 or newer, node")),
    "py",
]
each_language = pytest.mark.parametrize("language", LANGUAGES)


# -- many programs at once ------------------------------------------------------------------------------


@dataclass
class Case:
    """A network, inputs as its program takes them, and the reference for them."""

    net: Any
    X: Any
    y: Any = None
    error: Any = None


@dataclass
class Programs:
    """The programs of several networks, and what they compute."""

    cases: dict[str, Case]
    folder: Path
    cache: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with pytest.MonkeyPatch.context() as patch:  # the self-tests would start three programs for each network
            patch.setattr(self_tests.shutil, "which", lambda name: None)
            patch.setattr(self_tests.sys, "executable", "")
            patch.setattr(os, "fsync", lambda descriptor: None)
            patch.setattr(logging.getLogger("mlp"), "disabled", True)
            for name, case in self.cases.items():
                for suffix in ("c", "js", "py"):
                    case.net.export(self.folder / f"{name}.{suffix}")

    def outputs(self, language: str) -> dict[str, Any]:
        """The outputs for the inputs of each case, by name."""
        if language not in self.cache:
            self.cache[language] = {"c": self._run_c, "js": self._run_js, "py": self._run_python}[language]()
        return self.cache[language]

    def _run_c(self) -> dict[str, Any]:
        lines = ["#include <math.h>"]
        for name in self.cases:
            text = (self.folder / f"{name}.c").read_text(encoding="utf-8")
            inside = sorted(set(re.findall(r"^static .*?(\w+)(?=[(\[])", text, re.MULTILINE)))
            lines += [f"#define {each} {each}_of_{name}" for each in inside]
            lines += [f'#include "{name}.c"', *(f"#undef {each}" for each in inside)]
        (self.folder / "all.c").write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [str(COMPILER), *STRICT, "-shared", "-fPIC", "-o", "all.so", "all.c", "-lm"]
        subprocess.run(command, cwd=self.folder, check=True)
        library = ctypes.CDLL(str(self.folder / "all.so"))
        return {name: self._call_c(library, name, case) for name, case in self.cases.items()}

    def _call_c(self, library: ctypes.CDLL, name: str, case: Case) -> Any:
        number = "double" if case.net.preprocessing is not None else "float"
        kind = {"float": np.float32, "double": np.float64}[number]
        function = getattr(library, f"{name}_predict")
        X = np.ascontiguousarray(case.X, kind)
        if case.X.dtype == np.uint8:
            function, X = getattr(library, f"{name}_predict_uint8"), case.X
        n_out = max(2, case.net.sizes[-1]) if case.net.task != "numbers" else case.net.sizes[-1]
        p = np.empty((len(X), n_out), np.float32)
        results = [
            function(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p))
            for x, y in zip(X, p, strict=True)
        ]
        return p, results

    def _run_js(self) -> dict[str, Any]:
        inputs = {
            name: {"bytes": case.X.dtype == np.uint8, "rows": _for_json(case.X)} for name, case in self.cases.items()
        }
        (self.folder / "inputs.json").write_text(json.dumps(inputs))
        (self.folder / "all.mjs").write_text(
            """
            import { readFileSync } from "node:fs";
            const inputs = JSON.parse(readFileSync("inputs.json"));
            const toNumber = (v) => ({ NaN, Infinity, "-Infinity": -Infinity })[v] ?? v;
            const toText = (v) => (typeof v === "number" && !Number.isFinite(v) ? String(v) : v);
            const results = {};
            for (const [name, { bytes, rows }] of Object.entries(inputs)) {
              const net = await import(`./${name}.js`);
              results[name] = rows.map((row) => {
                const x = bytes ? Uint8Array.from(row) : row.map(toNumber);
                try {
                  const p = (net.predictProba ?? net.scores ?? ((x) => [net.predict(x)].flat()))(x);
                  return [p.map(toText), net.predict(x)];
                } catch (error) {
                  return error.name;
                }
              });
            }
            console.log(JSON.stringify(results));
            """
        )
        done = subprocess.run([str(NODE), "all.mjs"], cwd=self.folder, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)  # nothing else is printed: importing a module does not run its self-test
        return {
            name: rows
            if any(isinstance(row, str) for row in rows)
            else (np.array([row[0] for row in rows], float), [row[1] for row in rows])
            for name, rows in found.items()
        }

    def _run_python(self) -> dict[str, Any]:
        results = {}
        for name, case in self.cases.items():
            net = self.module(name)
            function = getattr(net, "predict_proba", None) or getattr(net, "scores", None) or net.outputs
            results[name] = function(case.X), net.predict(case.X)
        return results

    def module(self, name: str) -> Any:
        """The Python module, without its `__name__` being that of a main program."""
        return load_module(self.folder / f"{name}.py")


def _for_json(X: Any) -> list[list[Any]]:
    return [
        [v if np.isfinite(v) else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(v)] for v in row]
        for row in X.tolist()
    ]


def load_module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the reference --------------------------------------------------------------------------------------

U = 2.0**-24  # half of epsilon of float32

FUNCTIONS = {name: function for name, (function, _) in oracle.ACTIVATIONS.items()}
# where the oracle cancels
FUNCTIONS["elu"] = lambda z: np.where(z > 0, z, np.expm1(z))
FUNCTIONS["selu"] = lambda z: float(oracle.SELU_SCALE) * np.where(z > 0, z, float(oracle.SELU_ALPHA) * np.expm1(z))
FUNCTIONS["softplus"] = lambda z: np.logaddexp(0, z)
FUNCTIONS["gelu_tanh"] = lambda z: z * scipy.special.expit(2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))


def activate(name: str, z: Any, error: Any) -> tuple[Any, Any]:
    """The activation in float64, and how far float32 may be off if its argument is off by `error`."""
    if name == "softmax":
        y = oracle.activate(name, z)
        relative = 2 * error.max(axis=1) + 4 * U * (np.ptp(z, axis=1) + z.shape[1] + 4)
        return y, y * np.expm1(relative)[:, None] + np.finfo(np.float32).tiny
    if name == "step":
        return np.where(z >= 0, 1.0, 0.0), np.where(np.abs(z) <= error, 1.0, 0.0)
    function = FUNCTIONS[name]
    bound = accuracy.FORWARD[name]
    error = error + bound.argument * 2 * U * np.abs(z)
    y = function(z)
    moved = np.maximum(np.abs(function(z + error) - y), np.abs(function(z - error) - y))
    return y, 1.01 * moved + (max(4, bound.ulp) + 1) * accuracy.units(y, np.float32)


def reference(net: Any, X: Any) -> tuple[Any, Any]:
    """The outputs in float64, and the permitted error: 2 K u |A| |B| for each product, and 4 ULP."""
    y = np.asarray(X, np.float64)
    error = np.zeros(y.shape)
    if X.dtype == np.uint8:
        y = y * (net.input_scale or 1.0)
        error = 2 * U * y
    for W, b, activation in zip(net.weights, net.biases, net.plan.activations, strict=True):
        W, b = W.astype(np.float64), b.astype(np.float64)
        magnitude = np.abs(y) @ np.abs(W) + np.abs(b)
        y, error = activate(activation.name, y @ W + b, 2 * (len(W) + 1) * U * magnitude + error @ np.abs(W))
    if net.target_scaling is not None:
        shift, scale = map(np.array, net.target_scaling)
        error = error * scale + 4 * U * (np.abs(y * scale) + np.abs(shift))
        y = y * scale + shift
    if net.task != "numbers" and net.sizes[-1] == 1:
        return np.hstack([1 - y, y]), np.hstack([error + 2 * U, error])
    return y, error


def assert_right(programs: Programs, language: str) -> None:
    """Compare the outputs and predictions of all programs with the reference."""
    computed = programs.outputs(language)
    for name, case in programs.cases.items():
        y, predicted = computed[name]
        expected, error = reference(case.net, case.X)
        what = f"{name}: {case.net!r}"
        assert y.shape == expected.shape, what
        assert np.isfinite(expected).all(), what
        difference = np.abs(y - expected)
        if language == "js":
            scale = np.maximum(np.abs(expected).max(axis=0), np.finfo(float).tiny)
            error = 1e-9 * scale + np.where(
                error >= 0.5 * scale, error, 0
            )  # float32 may be on the other side of a step
        elif language == "py" and case.net.dtype == np.float64:
            error = 1e-6 * error + 1e-13 * np.abs(expected) + np.where(error >= 1, error, 0)
        assert (difference <= error).all(), (what, float(np.nanmax(difference - error)))
        assert_predictions(language, case.net, y, predicted)


def assert_predictions(language: str, net: Any, y: Any, predicted: Any) -> None:
    names = net.classes or range(max(2, net.sizes[-1]))
    if net.task == "numbers":
        if language == "c":
            assert set(predicted) == {0}
        else:
            np.testing.assert_array_equal(np.reshape(np.array(predicted, float), y.shape), y)
    elif net.task == "classes" or net.sizes[-1] == 1:
        best = y.argmax(axis=1).tolist()
        assert list(predicted) == (best if language == "c" else [names[i] for i in best])
    elif language != "c":
        np.testing.assert_array_equal(predicted, y > 0.5)


# -- every pair of activations, and random networks -------------------------------------------------------

HIDDEN = [row.name for row in formulas.ACTIVATIONS.values() if row.role == "any"]
LOSS_OF = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy", "exp": "poisson"}


def randomize(net: Any, rng: np.random.Generator) -> Any:
    """Weights of a trained network's size, and biases that matter."""
    net.weights = [1.5 * rng.normal(size=W.shape) / np.sqrt(len(W)) for W in net.weights]
    net.biases = [rng.normal(size=b.shape) for b in net.biases]
    return net


def pair_case(hidden: str, output: str, rng: np.random.Generator) -> Case:
    net = mlp.MLP([3, 5, 4], hidden, output, LOSS_OF.get(output, "mse"), backend="numpy")
    return Case(randomize(net, rng), rng.normal(size=(4, 3)).astype(np.float32))


def random_case(rng: np.random.Generator) -> Case:
    depth = int(rng.integers(0, 5))
    n_in, n_out = int(rng.integers(1, 31)), int(rng.integers(1, 13))
    output = str(rng.choice([*formulas.ACTIVATIONS]))
    if output == "softmax" and n_out == 1:
        output = "sigmoid"
    settings: dict[str, Any] = {"dtype": str(rng.choice(["float32", "float32", "float64"]))}
    if output == "identity" and rng.random() < 0.5:
        settings["target_scaling"] = (100 * rng.normal(size=n_out), 10 ** rng.normal(size=n_out))
    if rng.random() < 0.3:
        settings["input_scale"] = 1 / 255
    if output in ("softmax", "sigmoid") and rng.random() < 0.5:
        settings["classes"] = [f"class {i}" for i in range(max(2, n_out))]
    net = mlp.MLP(
        [n_in, *rng.integers(1, 41, depth).tolist(), n_out],
        [str(name) for name in rng.choice(HIDDEN, depth)],
        output,
        LOSS_OF.get(output, "mse"),
        backend="numpy",
        **settings,
    )
    if "input_scale" in settings:
        return Case(randomize(net, rng), rng.integers(0, 256, (6, n_in)).astype(np.uint8))
    return Case(randomize(net, rng), rng.normal(size=(6, n_in)).astype(np.float32))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    rng = np.random.default_rng(0)
    names = itertools.product(HIDDEN, formulas.ACTIVATIONS)
    return Programs({f"{a}_{b}": pair_case(a, b, rng) for a, b in names}, tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def architectures(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    rng = np.random.default_rng(None if THOROUGH else 1)
    cases = {f"net{i}": random_case(rng) for i in range(1000 if THOROUGH else 50)}
    return Programs(cases, tmp_path_factory.mktemp("architectures"))


@each_language
def test_every_activation_with_every_output(pairs: Programs, language: str) -> None:
    assert len(pairs.cases) >= 12 * 14
    assert_right(pairs, language)


@each_language
def test_random_networks(architectures: Programs, language: str) -> None:
    assert_right(architectures, language)


def test_numpy_computes_the_probabilities_of_the_network(architectures: Programs) -> None:
    for name, (y, _) in architectures.outputs("py").items():
        case = architectures.cases[name]
        if case.net.task != "numbers" and case.net.kind.output.name in ("softmax", "sigmoid"):
            assert y.dtype == case.net.dtype
            np.testing.assert_allclose(y, case.net.predict_proba(case.X), rtol=2e-5, atol=1e-6)


# -- accuracy far from zero -------------------------------------------------------------------------------

FAR = [0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 0.3, -0.7, 1.0, -2.0, 3.5, -5.0, -9.0, 14.0, -14.0, 30.0, -60.0]
EXTREME = [87.0, -87.0, -103.0, 200.0, -200.0, 1e4, -1e4, 1e15, -1e15, 3e38, -3e38]


@pytest.fixture(scope="module")
def single_units(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """For each activation a network of one weight, 1: its output is the activation of the input."""
    cases = {}
    for name, activation in formulas.ACTIVATIONS.items():
        if activation.rowwise:
            continue
        # the loss of a network of numbers: sigmoid would have two outputs otherwise
        net = mlp.MLP([1, 1], "relu", name, "poisson" if name == "exp" else "mse", backend="numpy")
        net.weights, net.biases = [[[1.0]]], [[0.0]]
        z = [v for v in FAR + EXTREME if not (name == "exp" and v > 88)]
        cases[name] = Case(net, np.array(z, np.float32)[:, None])
    return Programs(cases, tmp_path_factory.mktemp("units"))


@each_language
def test_activations_are_accurate_for_every_argument(single_units: Programs, language: str) -> None:
    for name, (y, _) in single_units.outputs(language).items():
        z = single_units.cases[name].X[:, 0].astype(float)
        exact = oracle.evaluate_exactly(oracle.FORWARD[name], z)
        dtype = np.float64 if language == "js" else np.float32
        ulp, argument = accuracy.FORWARD[name]
        shifted = oracle.evaluate_exactly(oracle.FORWARD[name], z + accuracy.units(z, dtype))
        # JavaScript: ten thousand units of double precision are far fewer than one of float32
        bound = accuracy.Bound(1e4, 1e4) if language == "js" else accuracy.Bound(max(4, ulp), argument)
        allowed = accuracy.allowed_error(bound, exact, shifted, np.float32 if language != "js" else dtype)
        error = exact.error(y[:, 0])
        assert (error <= allowed + np.finfo(np.float32).tiny).all(), (
            name,
            z[~(error <= allowed)],
            y[~(error <= allowed)],
        )


@each_language
def test_softmax_of_large_logits(tmp_path: Path, language: str) -> None:
    net = mlp.MLP([3, 3], backend="numpy")
    net.weights, net.biases = [np.eye(3)], [np.zeros(3)]
    X = np.array([[1e4, 9.999e3, -1e4], [500.0, 501.0, 502.0], [-3e38, -3e38, 3e38], [-1e5, -1e5, -1e5]], np.float32)
    y, _ = Programs({"net": Case(net, X)}, tmp_path).outputs(language)["net"]
    np.testing.assert_allclose(y, oracle.exact_softmax(X.astype(float)).high, rtol=1e-6)


@each_language
def test_every_weight_is_exact(tmp_path: Path, language: str) -> None:
    """A weight of any size and any digits: the outputs for the input 1 are the weights."""
    bits = np.random.default_rng(0).integers(0, 2**32, 3000, dtype=np.uint32).view(np.float32)
    special = [
        1e-45,
        1.1754944e-38,
        3.4028235e38,
        16777216,
        16777217,
        0.1,
        1 / 3,
        8388608.5,
        123456792.0,
        1e23,
        9.5367432e-07,
    ]
    weights = np.concatenate([bits[np.isfinite(bits)], np.array(special, np.float32)])
    net = mlp.MLP([1, len(weights)], loss="mse", backend="numpy")
    net.weights, net.biases = [weights[None]], [np.zeros(len(weights))]
    y, _ = Programs({"net": Case(net, np.ones((1, 1), np.float32))}, tmp_path).outputs(language)["net"]
    np.testing.assert_array_equal(np.asarray(y[0], np.float32), weights)


# -- inputs that are not finite ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@each_language
def test_an_input_that_is_not_finite_is_refused(tmp_path: Path, language: str, value: float) -> None:
    net = randomize(mlp.MLP([2, 3, 2], backend="numpy"), np.random.default_rng(0))
    programs = Programs({"net": Case(net, np.array([[0.5, value]], np.float32))}, tmp_path)
    if language == "py":
        with pytest.raises(ValueError, match="the inputs of row 0 are not finite"):
            programs.outputs(language)
    elif language == "js":
        assert programs.outputs(language)["net"] == ["RangeError"]
    else:
        p, results = programs.outputs(language)["net"]
        assert np.isnan(p).all()
        assert results == [-1]


@pytest.mark.filterwarnings("ignore:(invalid|overflow):RuntimeWarning")
@pytest.mark.parametrize("activation", ["relu", "elu", "softplus", "step", "leaky_relu", "sigmoid", "softmax"])
@pytest.mark.parametrize("language", [LANGUAGES[0], "py"])
def test_what_overflows_is_not_hidden(tmp_path: Path, language: str, activation: str) -> None:
    """Infinity minus infinity is NaN, and stays NaN."""
    loss = "cross_entropy" if activation == "softmax" else "mse"
    net = mlp.MLP([1, 2, 2], "identity", activation, loss, backend="numpy")
    net.weights, net.biases = [[[3e38, 3e38]], [[1.0, 0.0], [-1.0, 0.0]]], [[0.0, 0.0], [0.0, 1.0]]
    y, predicted = Programs({"net": Case(net, np.array([[10.0]], np.float32))}, tmp_path).outputs(language)["net"]
    assert np.isnan(y).all()  # infinity times 0 is NaN, too
    if language == "c" and activation == "softmax":
        assert predicted == [-1]


@each_language
def test_rows_of_the_wrong_length_are_refused(tmp_path: Path, language: str) -> None:
    programs = Programs({"net": Case(mlp.MLP([2, 2], backend="numpy"), np.zeros((1, 3), np.float32))}, tmp_path)
    if language == "py":
        with pytest.raises(ValueError, match=r"X has shape \(1, 3\), but \(n, 2\) is needed"):
            programs.outputs(language)
    elif language == "js":
        assert programs.outputs(language)["net"] == ["RangeError"]


# -- tables ------------------------------------------------------------------------------------------------

CATEGORIES = ["Oslo", "oslo", "Åsgård", "New\nYork", 'the "Big" */ one', "a\\b ??/ 東京", "__proto__", "missing", ""]
CLASSES = ['say "hi"', "new\nline", "\\ ??/ %d </script> 日本 \u202e", "plain"]


@pytest.fixture(scope="module", params=["standard", "robust"])
def hostile(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any], Path]:
    """A network for a table whose names are keywords, collide, or end strings and comments."""
    rng = np.random.default_rng(0)
    n = 60
    numbers = [
        "*/ ' \" \\ ${x} `",
        '\\"""',
        "int",
        "class",
        "a b",
        "a-b",
        "2nd",
        "年齢",
        "__proto__",
        "constructor",
        "linux",
        "y",
    ]
    table: dict[str, Any] = {name: rng.normal(1e6, 3, n).round(2) for name in numbers}
    for name in numbers[::2]:
        table[name][rng.random(n) < 0.2] = np.nan
    table["row"] = np.array([*CATEGORIES, *rng.choice(CATEGORIES, n - len(CATEGORIES))], object)
    table["row missing"] = np.where(rng.random(n) < 0.3, None, rng.choice(["x", "y", "UNKNOWN"], n).astype(object))
    table["true"] = rng.random(n) < 0.5
    table["false"] = np.where(rng.random(n) < 0.3, None, (rng.random(n) < 0.5).astype(object))
    preprocessing = Preprocessing.fit(table, request.param)
    net = mlp.MLP(
        [preprocessing.n_outputs, 6, 4], "silu", preprocessing=preprocessing, classes=CLASSES, backend="numpy"
    )
    randomize(net, rng)
    new = {name: column.copy() for name, column in table.items()}
    for name in numbers[:3]:
        new[name][::7] = np.nan
    new["row"][::5] = "a city that is new"
    new["row"][::9] = None
    new["row missing"][::4] = None
    new["true"] = np.where(rng.random(n) < 0.2, None, new["true"].astype(object))
    folder = tmp_path_factory.mktemp("hostile")
    for suffix in ("c", "js", "py"):
        net.export(folder / f"net.{suffix}")  # with the self-tests
    return net, new, folder


def records(table: dict[str, Any]) -> list[dict[str, Any]]:
    columns = [[None if v != v else v for v in column.tolist()] for column in table.values()]
    return [dict(zip(table, values, strict=True)) for values in zip(*columns, strict=True)]


def assert_probabilities(net: Any, table: dict[str, Any], p: Any) -> None:
    np.testing.assert_allclose(p, net.predict_proba(net.preprocessing.transform(table)), rtol=1e-4, atol=1e-6)


def test_a_table_in_numpy(hostile: Any) -> None:
    net, table, folder = hostile
    module = load_module(folder / "net.py")
    p = module.predict_proba(table)
    assert_probabilities(net, table, p)
    assert module.predict(table).tolist() == [CLASSES[i] for i in p.argmax(axis=1)]
    as_lists = {name: column.tolist() for name, column in table.items()}
    np.testing.assert_array_equal(module.predict_proba(as_lists), p)
    with pytest.raises(ValueError, match="int holds infinity"):
        module.predict(table | {"int": np.full(60, np.inf)})
    with pytest.raises(TypeError, match="row holds 1; give values such as ''"):
        module.predict(table | {"row": np.ones(60, int)})
    with pytest.raises(KeyError, match="linux"):
        module.predict({name: column for name, column in table.items() if name != "linux"})


@pytest.mark.skipif(NODE is None, reason="needs Node 20.19 or newer, node")
def test_a_table_in_javascript(hostile: Any, tmp_path: Path) -> None:
    net, table, folder = hostile
    rows = records(table)
    wrong = [
        (rows[0] | {"int": None, "row": 3}, "TypeError"),
        (rows[0] | {"int": "12"}, "TypeError"),
        ({name: value for name, value in rows[0].items() if name != "linux"}, "TypeError"),
    ]
    (folder / "rows.json").write_text(json.dumps([*rows, *(row for row, _ in wrong)]))
    (folder / "main.mjs").write_text(
        """
        import { readFileSync } from "node:fs";
        import { classes, predict, predictProba } from "./net.js";
        const attempt = (row) => { try { return [predictProba(row), predict(row)]; } catch (e) { return e.name; } };
        const rows = JSON.parse(readFileSync("rows.json"));
        const infinite = attempt({ ...rows[0], int: Infinity });
        console.log(JSON.stringify({ classes, results: rows.map(attempt), infinite }));
        """
    )
    done = subprocess.run([str(NODE), "main.mjs"], cwd=folder, check=True, capture_output=True)
    found = json.loads(done.stdout)
    assert found["classes"] == CLASSES
    p = np.array([result[0] for result in found["results"][: len(rows)]])
    assert_probabilities(net, table, p)
    assert [result[1] for result in found["results"][: len(rows)]] == [CLASSES[i] for i in p.argmax(axis=1)]
    assert found["results"][len(rows) :] == [error for _, error in wrong]
    assert found["infinite"] == "RangeError"


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler, cc")
def test_a_table_in_c(hostile: Any, tmp_path: Path) -> None:
    net, table, folder = hostile
    text = (folder / "net.c").read_text(encoding="utf-8")
    subprocess.run(
        [str(COMPILER), *STRICT, "-shared", "-fPIC", "-o", str(tmp_path / "net.so"), "net.c", "-lm"],
        cwd=folder, check=True,
    )  # fmt: skip
    library = ctypes.CDLL(str(tmp_path / "net.so"))
    members = re.search(r"^struct net_row \{\n(.*?)^\};", text, re.MULTILINE | re.DOTALL)
    assert members is not None
    types = re.findall(r"^    (double|int) (\w+);", members[1], re.MULTILINE)
    assert len({name for _, name in types}) == len(net.preprocessing.columns)

    class Row(ctypes.Structure):
        _fields_ = [(name, ctypes.c_double if kind == "double" else ctypes.c_int) for kind, name in types]

    p, results = np.empty((60, 4), np.float32), []
    rows = records(table)
    for values, y in zip(rows, p, strict=True):
        row = Row()
        for column, (kind, name), value in zip(net.preprocessing.columns, types, values.values(), strict=True):
            if kind == "double":
                setattr(row, name, np.nan if value is None else value)
            else:
                setattr(row, name, column.categories.index(value) if value in column.categories else -1)
        results.append(library.net_predict(ctypes.byref(row), y.ctypes.data_as(ctypes.c_void_p)))
    assert_probabilities(net, table, p)
    assert results == p.argmax(axis=1).tolist()
    classes = (ctypes.c_char_p * 4).in_dll(library, "net_classes")
    assert [name.decode() for name in classes] == CLASSES
    setattr(row, types[0][1], np.inf)
    assert library.net_predict(ctypes.byref(row), p[0].ctypes.data_as(ctypes.c_void_p)) == -1
    assert np.isnan(p[0]).all()


@pytest.mark.parametrize("scale", ["standard", "robust"])
@each_language
def test_scaled_columns_of_a_matrix(tmp_path: Path, language: str, scale: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) * [1, 1e-3, 10] + [1.7e9, 0, -5]  # float32 cannot tell such numbers apart
    X[::6, 1] = np.nan
    preprocessing = Preprocessing.fit(X, scale)
    net = mlp.MLP([3, 4, 2], loss="mse", preprocessing=preprocessing, backend="numpy",
                  target_scaling=([1e6, 0.0], [1e3, 1e-3]))  # fmt: skip
    randomize(net, rng)
    y, _ = Programs({"net": Case(net, X)}, tmp_path).outputs(language)["net"]
    expected, error = reference(net, preprocessing.transform(X).astype(np.float32))
    assert (np.abs(y - expected) <= error + 1e-6 * np.abs(expected)).all()
    np.testing.assert_allclose(y, net.feedforward(preprocessing.transform(X)), rtol=1e-5, atol=1e-8)


# -- the self-tests ----------------------------------------------------------------------------------------


def commands(path: Path) -> list[list[str]]:
    """The command that the program names for its self-test."""
    name = path.name
    return {
        ".c": [[str(COMPILER), *STRICT, "-DSELF_TEST", name, "-lm"], ["./a.out"]],
        ".js": [[str(NODE), name]],
        ".py": [[sys.executable, name]],
    }[path.suffix]


def self_test(path: Path) -> subprocess.CompletedProcess[str]:
    for command in commands(path):
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
        if command[0] != "./a.out" and len(commands(path)) == 2:
            assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def digits() -> Any:
    data = mlp.data.load("digits")
    net = mlp.MLP([64, 16, 10], input_scale=data.input_scale, backend="numpy", seed=0)
    net.fit(data.X, data.y, epochs=2)
    return net


@each_language
def test_a_self_test_notices_faults(digits: Any, tmp_path: Path, language: str) -> None:
    path = tmp_path / f"net.{language}"
    digits.export(path)
    text = path.read_text(encoding="utf-8")
    assert "5 check rows: all outputs as expected" in self_test(path).stdout
    faults = {
        "c": [("y[j] = b[j];", "y[j] = 0.0f * b[j];"), ("(z, 0.0f)", "(z, 1.0f)"), ("0.0625f", "0.0626f")],
        "js": [("Float64Array.from(b)", "b.map(() => 0)"), (".map((z) => relu(z))", ""), ("0.0625 *", "0.0626 *")],
        "py": [("y @ W1 + b1", "y @ W1"), ("relu(y @", "(y @"), ("float32(0.0625)", "float32(0.0626)")],
    }[language]
    for right, wrong in faults:
        assert right in text
        path.write_text(text.replace(right, wrong), encoding="utf-8")
        assert self_test(path).returncode != 0, wrong


@each_language
def test_a_wrong_program_is_not_written(
    digits: Any, tmp_path: Path, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"net.{language}"
    path.write_text("as it was")
    right = CheckRows.draw(digits, Model.of(digits))
    wrong = replace(right, outputs=right.outputs + 1e-3)
    monkeypatch.setattr(CheckRows, "draw", lambda net, model: wrong)
    with pytest.raises(self_tests.ExportError, match=f"'net.{language}' was not written, because its self-test failed"):
        digits.export(path)
    assert path.read_text() == "as it was"


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler, cc")
def test_c_has_no_undefined_behaviour(hostile: Any, digits: Any, tmp_path: Path) -> None:
    _, _, folder = hostile
    shutil.copy(folder / "net.c", tmp_path / "hostile.c")
    digits.export(tmp_path / "digits.c")
    for name in ("hostile", "digits"):
        build = [str(COMPILER), *STRICT, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        done = subprocess.run([*build, "-DSELF_TEST", f"{name}.c", "-lm"], cwd=tmp_path, capture_output=True, text=True)
        if done.returncode and "san" in done.stderr and "cannot find" in done.stderr:
            pytest.skip("the compiler has no sanitizers")
        assert done.returncode == 0, done.stderr
        subprocess.run(["./a.out"], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.skipif(not THOROUGH, reason="takes long; MLP_HYPOTHESIS=thorough runs it")
def test_a_big_network_is_compiled_in_seconds(tmp_path: Path) -> None:
    net = mlp.MLP([784, 512, 512, 10], input_scale=1 / 255, backend="numpy")
    for suffix in ("c", "js", "py"):
        net.export(tmp_path / f"big.{suffix}")
        for command in commands(tmp_path / f"big.{suffix}"):
            subprocess.run(command, cwd=tmp_path, check=True, timeout=30)


def test_without_tools_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    net = mlp.MLP([2, 2], backend="numpy")
    net.export(tmp_path / "net.c")
    net.export(tmp_path / "net.js")
    assert "net.c is not tested, because there is no C compiler (cc, gcc, clang) on the PATH" in caplog.messages[0]
    assert "run: cc -DSELF_TEST net.c -lm && ./a.out" in caplog.messages[0]
    assert "net.js is not tested, because there is no Node (node) on the PATH" in caplog.messages[1]
    assert "float W1" in (tmp_path / "net.c").read_text()


def test_a_compiler_that_does_not_work_is_like_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, text in (("cc", "exit 1"), ("node", "echo v18.20.0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for suffix in ("c", "js"):
        mlp.MLP([2, 2], backend="numpy").export(tmp_path / f"net.{suffix}")
    assert "cc cannot compile the smallest program" in caplog.messages[0]
    assert "Node v18.20.0 is too old, 20.19 is needed" in caplog.messages[1]


# -- the translation of formulas ---------------------------------------------------------------------------


class Plain(c_formulas._C):
    """C with the numbers of Python, and without anything around the result."""

    def argument(self, name: str, rowwise: bool) -> tuple[str, str]:
        return name, name

    def number(self, value: float) -> str:
        return repr(value)

    def function(self, formula: formulas.Translation) -> str:
        return formula.results[0]


# each lambda in a line of its own
GROUPED = [
    lambda a, b, c: a - (b - c),
    lambda a, b, c: a - b - c,
    lambda a, b, c: a / (b * c),
    lambda a, b, c: a * (b / c),
    lambda a, b, c: a / b * c,
    lambda a, b, c: a * (b * c),
    lambda a, b, c: (a + b) * (a - c),
    lambda a, b, c: -(a * b) - -c,
    lambda a, b, c: -(a + b) * c,
    lambda a, b, c: a + b * 2 - 0.1 / c,
]


@pytest.mark.parametrize("formula", GROUPED)
def test_a_translation_has_the_parentheses_that_it_needs(formula: Any) -> None:
    translated = formulas.Translator(Plain())
    translated.add(formula)
    values = {"a": 0.1, "b": 0.7, "c": -1.3}
    assert eval(translated.text(), {}, values) == formula(**values)
    assert translated.text().count("(") <= 2


# -- what cannot be exported -------------------------------------------------------------------------------


def refused(net: Any, path: Path) -> str:
    with pytest.raises(mlp.ConfigurationError) as error:
        net.export(path)
    assert not path.exists()
    return str(error.value)


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    bent = mlp.custom_activation("bent", lambda xp, z: xp.tanh(z), lambda xp, z: 1 - xp.tanh(z) * xp.tanh(z))
    custom = mlp.MLP([2, 3, 3, 2], ["relu", bent], backend="numpy")
    message = refused(custom, tmp_path / "net.c")
    assert "the activation of layer 2, 'bent', is a custom function" in message
    net = mlp.MLP([2, 2], dtype="float64", backend="numpy")
    net.weights = [[[1.0, 2e40], [0.0, 0.0]]]
    assert "a weight of layer 1 is 2e+40, which float32 cannot hold" in refused(net, tmp_path / "net.c")
    net.export(tmp_path / "net.js")
    assert "'a\\x00b' cannot be a string in C" in refused(mlp.MLP([2, 2], classes=["a\0b", "c"]), tmp_path / "nul.c")
    assert "the class (1, 2) cannot be exported" in refused(mlp.MLP([2, 2], classes=[(1, 2), 3]), tmp_path / "net.py")
    assert "the class 9007199254740993 is larger" in refused(mlp.MLP([2, 2], classes=[2**53 + 1, 3]), tmp_path / "a.js")
    with pytest.raises(mlp.UnknownNameError, match=r"unknown format of an export '\.cpp'.*\.c, \.js, \.py"):
        net.export(tmp_path / "net.cpp")


@dataclass(frozen=True)
class Date:
    """A kind of column that exports do not know."""

    name: str
    categories: tuple[str, ...] = ("day", "month")
    kind: str = "text"
    n_outputs: int = 2


def test_an_unknown_step_is_named(tmp_path: Path) -> None:
    net = mlp.MLP([2, 2], preprocessing=Preprocessing("none", (Date("when"),)), backend="numpy")
    assert "column 'when' is prepared by Date, which cannot be exported" in refused(net, tmp_path / "net.js")


@pytest.mark.parametrize("suffix", ["c", "py"])
def test_formulas_without_their_source_are_explained(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_source(code: Any) -> Any:
        raise OSError("could not get source code")

    translator._source.cache_clear()
    monkeypatch.setattr("inspect.findsource", no_source)
    message = refused(mlp.MLP([2, 3, 2], backend="numpy"), tmp_path / f"net.{suffix}")
    assert "their Python source, which this installation lacks: " in message
    assert "could not get source code" in message


def test_classes_of_every_kind(tmp_path: Path) -> None:
    for number, classes in enumerate([[1.5, -2.0], [False, True], [10, 20], ["a", 1]]):
        net = mlp.MLP([1, 1], loss="binary_cross_entropy", classes=classes, backend="numpy")
        net.weights, net.biases = [[[1.0]]], [[0.0]]
        for suffix in ("c", "js", "py") if number == 3 else ("py",):
            net.export(tmp_path / f"net{number}.{suffix}")
        predicted = load_module(tmp_path / f"net{number}.py").predict([[-1.0], [1.0]]).tolist()
        assert predicted == classes
        assert [type(each) for each in predicted] == [type(each) for each in classes]


def test_an_estimator_is_exported(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(60, 3)), np.tile(["b", "a", "c"], 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not converge
        estimator = mlp.MLPClassifier((5,), max_iter=20, random_state=0).fit(X, y)
    estimator.export(tmp_path / "net.py")
    module = load_module(tmp_path / "net.py")
    np.testing.assert_allclose(module.predict_proba(X), estimator.predict_proba(X), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(module.predict(X), estimator.predict(X))
    with pytest.raises(NotFittedError):
        mlp.MLPRegressor().export(tmp_path / "none.py")


# -- the command -------------------------------------------------------------------------------------------


def run(*arguments: object, status: int = 0) -> Any:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="mlp")
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_the_command_exports_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("polars")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    size, city = rng.uniform(50, 200, 80), rng.choice(["Bergen", "Oslo", ""], 80)
    with open("houses.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("size", "city", "price"), *zip(size, city, 1e5 + 1e3 * size, strict=True)])
    run("train", "houses.csv", "--target", "price", "--backend", "numpy", "--epochs", 2, "--output-dir", "run")
    for suffix in ("c", "js", "py"):
        message = run("export", "run", f"net.{suffix}").stderr
        assert f"mlp: written: net.{suffix}, " in message
        assert "tested" in message
    assert "already exists; choose another file" in run("export", "run", "net.c", status=2).stderr
    assert "must end in .c, .js, .py" in run("export", "run", "net.rs", status=2).stderr
    module = load_module(tmp_path / "net.py")
    table = {"size": [100.0, 150.0], "city": ["Oslo", None]}
    net = mlp.load("run/model.safetensors", backend="numpy")
    X = net.preprocessing.transform({"size": np.array([100.0, 150.0]), "city": np.array(["Oslo", None], object)})
    np.testing.assert_allclose(module.predict(table), net.predict(X), rtol=1e-6)
