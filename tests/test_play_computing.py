"""What a page computes, in Node and in Chromium: outputs, random integers, weights, images, model files."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import page_scripts
import pytest
from page_scripts import Engine

import mlp
from backends import formulas, random
from mlp.data import Preprocessing
from mlp.initializers import INITIALIZERS
from mlp.inspection.play.contents import contents


@pytest.fixture(scope="module", params=["node", "chromium"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with page_scripts.engine(request.param, tmp_path_factory.mktemp("page")) as made:
        yield made


def outputs(engine: Engine, cases: list[tuple[mlp.MLP, Any]]) -> list[Any]:
    """What pages about networks answer, for the values of each row."""
    data = [{"data": contents(net), "rows": rows} for net, rows in cases]
    return engine(
        """
        result = data.map(({ data, rows }) => {
          const model = new Model(data);
          return rows.map((row) => model.predict(model.encode(row)));
        });
        """,
        data,
    )  # type: ignore[no-any-return]


# -- outputs --------------------------------------------------------------------------------------------------


def test_outputs_are_those_of_python_for_every_activation(engine: Engine) -> None:
    X = np.random.default_rng(0).normal(size=(20, 5))
    cases = []
    for dtype in ("float32", "float64"):
        for name, row in formulas.ACTIVATIONS.items():
            if row.role == "any":
                cases.append(mlp.MLP([5, 7, 6, 3], name, seed=3, dtype=dtype, init="normal"))
            output, loss = (name, "poisson") if name == "exp" else (name, "mse")
            if name != "softmax":
                cases.append(mlp.MLP([5, 7, 2], "tanh", output, loss, seed=4, dtype=dtype))
    cases.append(mlp.MLP([5, 7, 1], "tanh", loss="binary_cross_entropy"))  # one output for two classes
    found = outputs(engine, [(net, X.tolist()) for net in cases])
    for net, y in zip(cases, found, strict=True):
        expected = net.feedforward(X) if net.kind.output.name not in ("softmax", "sigmoid") else net.predict_proba(X)
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6, err_msg=repr(net))
    assert len(cases) == 2 * (13 + 14) + 1


def test_a_scaling_layer_and_a_target_scaling(engine: Engine) -> None:
    X = np.random.default_rng(0).normal(size=(20, 3))
    net = mlp.MLP([3, 5, 2], loss="mse", target_scaling=([10.0, -3.0], [5.0, 0.1]), scaling_layer=True, dtype="float64")
    net.scaling = [0.5, 2.0, -1.0]
    [found] = outputs(engine, [(net, X.tolist())])
    np.testing.assert_allclose(found, net.feedforward(X), rtol=1e-12)


def test_columns_of_a_table(engine: Engine) -> None:
    columns: dict[str, Any] = {
        "age": np.array([20.0, 40.0, np.nan, 63.5]),
        "city": np.array(["Oslo", "</script>", None, "Oslo"], object),
        "member": np.array([True, False, True, True]),
    }
    preprocessing = Preprocessing.fit(columns)
    nets = [mlp.MLP([preprocessing.n_outputs, 4, 2], preprocessing=preprocessing, dtype="float64", seed=1)]
    robust = Preprocessing.fit({"age": np.array([1.0, 2.0, 4.0, 1e4])}, "robust")
    nets.append(mlp.MLP([1, 4, 2], preprocessing=robust, dtype="float64", seed=1))
    tables = [
        columns | {"city": np.array(["Oslo", "unknown", "</script>", None], object)},
        {"age": np.array([-50.0, 3.0, np.nan, 1e4])},
    ]
    rows = [
        [[None if value is None or value != value else value for value in row] for row in zip(*values, strict=True)]
        for values in ([column.tolist() for column in table.values()] for table in tables)
    ]
    found = outputs(engine, list(zip(nets, rows, strict=True)))
    for net, table, y in zip(nets, tables, found, strict=True):
        assert net.preprocessing is not None
        np.testing.assert_allclose(y, net.predict_proba(net.preprocessing.transform(table)), rtol=1e-12)


def test_rows_of_bytes_are_scaled_as_in_training(engine: Engine) -> None:
    X = np.random.default_rng(0).integers(0, 256, (5, 64)).astype(np.uint8)
    net = mlp.MLP([64, 8, 3], input_scale=1 / 255, dtype="float64")
    found = engine(
        "const model = new Model(data); result = model.rows.map((row) => [model.predict(row.x), row.target]);",
        contents(net, X, [0, 1, 2, 1, 0]),
    )
    np.testing.assert_allclose([y for y, _ in found], net.predict_proba(X), rtol=1e-12)
    assert [target for _, target in found] == [0, 1, 2, 1, 0]


# -- random integers and initial weights -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 12345, 2**63 + 1, 2**64 - 1])
def test_the_order_of_rows_and_the_dropout_masks_are_the_same_integers(engine: Engine, seed: int) -> None:
    found = engine(
        """
        const seed = BigInt(data);
        result = {
          orders: [1, 2, 3, 64, 65, 1000].map((n) => [0, 7].map((epoch) => finished(permutationParts(seed, epoch, n)))),
          masks: [1, 8, 9, 30].map((units) => [0, 1, 2, 3, 4].map((row) => keptUnits(seed, 3, 11, 2, row, units, 0.3))),
        };
        """,
        str(seed),
    )
    assert found["orders"] == [
        [random.permutation(seed, epoch, n).tolist() for epoch in (0, 7)] for n in (1, 2, 3, 64, 65, 1000)
    ]
    masks = [random.keep_mask(5, units, 0.3, (seed, 3, 11, 2)).astype(int).tolist() for units in (1, 8, 9, 30)]
    assert found["masks"] == masks


def test_the_published_test_vector(engine: Engine) -> None:
    """Random123's known answers for a key and a counter of all ones, and for zeros."""
    found = engine(
        """
        const [zero, ones] = [0n, 2n ** 64n - 1n];
        const hex = (word) => word.toString(16).padStart(16, "0");
        result = [zero, ones].map((word) => philoxBlock([word, word, word, word], [word, word]).map(hex));
        """,
        None,
    )
    assert found == [
        ["16554d9eca36314c", "db20fe9d672d0fdc", "d7e772cee186176b", "7e68b68aec7ba23b"],
        ["87b092c3013fe90b", "438c3c67be8d0224", "9cc7d7c69cd777b6", "a09caebf594f0ba0"],
    ]


def test_new_weights_are_those_that_mlp_draws(engine: Engine) -> None:
    nets = [mlp.MLP([4, 30, 3], "tanh", init=init, seed=2**63 + 9, dtype="float64") for init in INITIALIZERS]
    nets += [mlp.MLP([2, 8, 8, 2], name, seed=5, dtype="float64") for name in ("tanh", "relu", "selu", "softplus")]
    found = engine(
        """
        result = data.map((data) => {
          const model = new Model(data);
          const { sizes, activations } = model.structure;
          model.network.parameters.fill(0);
          model.rebuild({ hidden: sizes.slice(1, -1), activation: activations[0], seed: model.seed });
          return model.network.parameters;
        });
        """,
        [contents(net) for net in nets],
    )
    for net, parameters in zip(nets, found, strict=True):
        np.testing.assert_allclose(parameters, net.parameters, rtol=1e-12, atol=1e-300)


# -- model files ----------------------------------------------------------------------------------------------

SAVE = """
    const model = new Model(data);
    const hidden = [4, 6, 2, 2, 2, 2, 2, 2, 2, 2, 5];
    if (data.change) model.rebuild({ hidden, activation: "relu", seed: 2n ** 64n - 1n });
    const bytes = new Uint8Array(await (await modelFile(model)).arrayBuffer());
    result = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("change", [False, True])
def test_saved_weights_are_a_model_file(
    engine: Engine, dtype: str, change: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classes = ('a "sizes": "@sizes"', "</script> ×", 2.0, True)
    preprocessing = Preprocessing.fit({"a": np.array([1.0, 4.0]), "city": np.array(["Å", "B"])})
    net = mlp.MLP([3, 5, 4], "tanh", seed=2**63 + 7, dtype=dtype, classes=classes, preprocessing=preprocessing, l2=1e-5)
    X, y = np.random.default_rng(0).normal(size=(8, 3)), [0, 1, 2, 3] * 2
    path = tmp_path / "net.safetensors"
    content = base64.b64decode(engine(SAVE, contents(net, X, y) | {"change": change}))
    path.write_bytes(content)
    assert int.from_bytes(content[:8], "little") % 8 == 0  # so that the numbers are aligned
    caplog.set_level(logging.INFO, "mlp")
    read = mlp.load(path)
    if change:
        net = mlp.MLP(
            [3, 4, 6, *[2] * 8, 5, 4],
            "relu",
            seed=2**64 - 1,
            dtype=dtype,
            classes=classes,
            preprocessing=preprocessing,
            l2=1e-5,
        )
    assert read.get_config() == net.get_config()
    assert [type(name) for name in read.classes or ()] == [str, str, float, bool]
    assert read.preprocessing == preprocessing
    assert read.class_numbers
    np.testing.assert_allclose(read.parameters, net.parameters, rtol=1e-6 if change else 0)
    assert not any("no checksum" in message for message in caplog.messages)


# -- drawings -------------------------------------------------------------------------------------------------

STROKES = [[[10.0, 20], [40, 15], [35, 50]], [[20, 60], [21, 61]]]


def image_of(engine: Engine, strokes: Any, side: int = 28) -> Any:
    return np.array(engine("result = imageOfStrokes(data[0], data[1]);", [strokes, side])).reshape(side, side)


def test_a_drawing_is_scaled_and_centred_as_mnist(engine: Engine) -> None:
    image = image_of(engine, STROKES)
    rows, columns = (np.flatnonzero(image.sum(axis=axis) > 0.01) for axis in (1, 0))
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    assert 19 <= extent <= 22  # a box of 20, at any place between pixels
    centre = [(image.sum(axis=axis) * (np.arange(28) + 0.5)).sum() / image.sum() for axis in (0, 1)]
    np.testing.assert_allclose(centre, 14, atol=0.15)
    assert image.max() == 1
    assert ((image > 0.05) & (image < 0.95)).sum() > 20  # anti-aliased
    assert image.min() == 0


def test_neither_place_nor_size_of_a_drawing_matters(engine: Engine) -> None:
    moved = (3.7 * np.array(STROKES[0]) + [90, -7]).tolist(), (3.7 * np.array(STROKES[1]) + [90, -7]).tolist()
    np.testing.assert_allclose(image_of(engine, moved), image_of(engine, STROKES), atol=1e-9)


def test_drawings_without_extent(engine: Engine) -> None:
    assert image_of(engine, []).sum() == 0
    dot = image_of(engine, [[[100.0, 30]]])
    assert 3 < dot.sum() < 12
    assert dot[13:15, 13:15].min() > 0.9
    line = image_of(engine, [[[100.0, 30], [100, 90]]])
    assert np.count_nonzero(line.sum(axis=0) > 0.01) <= 5
    assert 19 <= np.count_nonzero(line.sum(axis=1) > 0.01) <= 22


def test_a_small_image_is_filled(engine: Engine) -> None:
    image = image_of(engine, STROKES, 8)
    assert image[0].max() > 0.3
    assert image[-1].max() > 0.3
