"""Preprocessing compared with scikit-learn's transformers, and its JSON form."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler

from mlp._backends import DataError, DtypeError, FileFormatError, ShapeError, UnknownNameError
from mlp.data import CategoricalColumn, NumericColumn, Preprocessing

SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler, "none": FunctionTransformer}
SCALES = st.sampled_from(list(SCALERS))

# multiples of 1/8 are exact in float64, and far from scikit-learn's thresholds for constant columns
eighths = st.integers(-(10**6), 10**6).map(lambda i: i / 8)
gappy_numbers = st.one_of(eighths, st.just(float("nan")))
words = st.one_of(st.sampled_from(["a", "b", "B", "æ", "", "long word"]), st.none())
flags = st.one_of(st.booleans(), st.none())

Frame = dict[str, np.ndarray[Any, Any]]


def column(kind: str, n: int) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    values, dtype = {"n": (gappy_numbers, float), "t": (words, object), "b": (flags, object)}[kind]
    return st.lists(values, min_size=n, max_size=n).map(lambda items: np.array(items, dtype=dtype))


@st.composite
def frames(draw: st.DrawFn) -> tuple[Frame, Frame]:
    """Draw a training frame and a test frame with the same columns."""
    kinds = draw(st.lists(st.sampled_from("ntb"), min_size=1, max_size=5))
    n, m = draw(st.integers(1, 20)), draw(st.integers(1, 10))
    train, test = ({f"{k}{i}": draw(column(k, size)) for i, k in enumerate(kinds)} for size in (n, m))
    assume(not any(all(v is None or v != v for v in values) for values in train.values()))
    return train, test


def reference(train: Frame, test: Frame, scale: str) -> np.ndarray[Any, Any]:
    pd_free = [np.array(list(part.values()), dtype=object).T for part in (train, test)]
    steps = []
    for i, name in enumerate(train):
        if name[0] == "n":
            to_float = FunctionTransformer(lambda block: block.astype(float))
            steps.append((name, make_pipeline(to_float, SimpleImputer(strategy="median"), SCALERS[scale]()), [i]))
        else:
            steps.append((name, OneHotEncoder(handle_unknown="ignore", sparse_output=False), [i]))
    transformer = ColumnTransformer(steps, sparse_threshold=0).fit(pd_free[0])
    return np.asarray(transformer.transform(pd_free[1]), dtype=float)


@given(parts=frames(), scale=SCALES)
@settings(deadline=None, max_examples=100)
def test_equals_scikit_learn(parts: tuple[Frame, Frame], scale: Any) -> None:
    train, test = parts
    before = copy.deepcopy(parts)
    fitted = Preprocessing.fit(train, scale)
    for part in (train, test):
        result = fitted.transform(part)
        assert result.dtype == np.float64
        assert result.shape == (len(next(iter(part.values()))), fitted.n_outputs)
        assert len(fitted.feature_names) == fitted.n_outputs
        np.testing.assert_allclose(result, reference(train, part, scale), rtol=1e-9, atol=1e-9)
    for now, then in zip(parts, before, strict=True):
        for name in now:
            np.testing.assert_array_equal(now[name], then[name])


@given(parts=frames(), scale=SCALES)
@settings(deadline=None, max_examples=100)
def test_json_round_trip_is_exact(parts: tuple[Frame, Frame], scale: Any) -> None:
    train, test = parts
    fitted = Preprocessing.fit(train, scale)
    read = Preprocessing.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    assert read == fitted
    assert read.transform(test).tobytes() == fitted.transform(test).tobytes()


finite = st.floats(allow_nan=False, allow_infinity=False)
numeric = st.builds(NumericColumn, st.text(), finite, finite, finite.filter(lambda x: x > 0))
present = st.one_of(st.sets(st.text(), min_size=1), st.sets(st.booleans(), min_size=1)).map(sorted)
categorical = st.builds(
    lambda name, values, gap: CategoricalColumn(name, (*values, None) if gap else tuple(values)),
    st.text(),
    present,
    st.booleans(),
)
states = st.builds(
    Preprocessing,
    SCALES,
    st.lists(st.one_of(numeric, categorical), min_size=1, unique_by=lambda c: c.name).map(tuple),
)


@given(state=states)
@settings(deadline=None, max_examples=150)
def test_any_state_survives_json(state: Preprocessing) -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(state.to_dict(), allow_nan=False))) == state


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "scale", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(state=states, value=json_values, data=st.data())
@settings(deadline=None, max_examples=200)
def test_a_changed_entry_is_refused_or_harmless(state: Preprocessing, value: object, data: st.DataObject) -> None:
    plain = state.to_dict()
    entry = data.draw(st.sampled_from([plain, *plain["columns"]]))
    entry[data.draw(st.sampled_from([*entry, "unknown"]))] = value
    try:
        read = Preprocessing.from_dict(plain)
    except FileFormatError:
        return
    assert read.n_outputs == len(read.feature_names)
    assert Preprocessing.from_dict(read.to_dict()) == read


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("scale",), "robst", "preprocessing scale is 'robst', expected one of none, standard, minmax, robust"),
        (("columns",), [], "expected a list that is not empty"),
        (("columns", 0, "scale"), 0.0, r"columns\[0\] scale is 0.0, expected a number above 0"),
        (("columns", 0, "fill"), float("nan"), r"columns\[0\] fill is nan, expected a finite number"),
        (("columns", 0, "shift"), True, "expected a finite number"),
        (("columns", 0, "shift"), "1.0", "expected a finite number"),
        (("columns", 0, "shift"), 10**400, "expected a finite number"),
        (("columns", 0, "name"), 3, "expected a string"),
        (("columns", 0, "name"), "c", "expected different names"),
        (("columns", 0, "extra"), 3, "expected an object with the keys fill, name, scale, shift"),
        (("columns", 1, "categories"), ["b", "a"], "sorted, each once"),
        (("columns", 1, "categories"), ["a", "a"], "sorted, each once"),
        (("columns", 1, "categories"), [None, "a"], "null only at the end"),
        (("columns", 1, "categories"), ["a", True], "strings or booleans"),
        (("columns", 1, "categories"), [1, 2], "strings or booleans"),
        (("columns", 1, "categories"), [None], "strings or booleans"),
        (("columns", 1, "categories"), [[]], "strings or booleans"),
    ],
)
def test_a_damaged_state_names_the_entry(path: tuple[Any, ...], value: object, message: str) -> None:
    state: Any = Preprocessing.fit({"n": np.array([1.0, 2.0]), "c": np.array(["a", "b"])}).to_dict()
    entry = state
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    with pytest.raises(FileFormatError, match=message):
        Preprocessing.from_dict(state)


@given(
    rows=st.integers(1, 8).flatmap(
        lambda k: st.lists(st.lists(gappy_numbers, min_size=k, max_size=k), min_size=1, max_size=15)
    ),
    scale=SCALES,
)
@settings(deadline=None, max_examples=100)
def test_a_matrix_is_a_table_of_x0_x1(rows: list[list[float]], scale: Any) -> None:
    matrix = np.array(rows)
    assume(not np.isnan(matrix).all(axis=0).any())
    table = {f"x{i}": values for i, values in enumerate(matrix.T)}
    fitted = Preprocessing.fit(matrix, scale)
    assert fitted == Preprocessing.fit(table, scale)
    assert fitted.transform(matrix).tobytes() == fitted.transform(table).tobytes()
    scaler = make_pipeline(SimpleImputer(strategy="median"), SCALERS[scale]()).fit(matrix)
    np.testing.assert_allclose(fitted.transform(matrix), scaler.transform(matrix), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", ["standard", "minmax"])
@pytest.mark.parametrize("value", [0.0, 0.1, -7.0, 1e8 + 0.1, 1e-300])
def test_constant_columns_as_in_scikit_learn(scale: Any, value: float) -> None:
    matrix = np.full((13, 1), value)
    expected = SCALERS[scale]().fit(matrix)
    fitted = Preprocessing.fit(matrix, scale)
    other = np.array([[value], [value + 3]])
    np.testing.assert_allclose(fitted.transform(other), expected.transform(other), atol=1e-7)
    assert fitted.columns[0].scale == 1.0


def test_a_range_of_rounding_errors_as_in_scikit_learn() -> None:
    matrix = np.array([[0.0], [1e-16]])
    expected = MinMaxScaler().fit_transform(matrix)
    np.testing.assert_array_equal(Preprocessing.fit(matrix, "minmax").transform(matrix), expected)


def test_images_of_bytes_match_scikit_learn() -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 30), dtype=np.uint8)
    images[:, 3] = 9
    for scale in ("standard", "minmax"):
        expected = SCALERS[scale]().fit_transform(images.astype(float))
        np.testing.assert_allclose(Preprocessing.fit(images, scale).transform(images), expected, rtol=1e-12, atol=1e-12)


def test_medians_fill_gaps_that_training_did_not_have() -> None:
    fitted = Preprocessing.fit({"a": np.array([1.0, 2.0, 9.0])}, "none")
    assert fitted.transform({"a": np.array([np.nan])}).tolist() == [[2.0]]
    assert fitted.transform({"a": np.array([None], dtype=object)}).tolist() == [[2.0]]


def test_missing_and_unknown_categories() -> None:
    with_gap = Preprocessing.fit({"c": np.array(["b", None, "a"], dtype=object)})
    assert with_gap.feature_names == ("c=a", "c=b", "c is missing")
    result = with_gap.transform({"c": np.array([None, "z", "b"], dtype=object)})
    assert result.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 0]]
    without_gap = Preprocessing.fit({"c": np.array(["b", "a"])})
    assert without_gap.transform({"c": np.array([None], dtype=object)}).tolist() == [[0, 0]]


def test_columns_are_found_by_name_and_others_left_aside() -> None:
    fitted = Preprocessing.fit({"a": np.array([1.0, 3.0]), "c": np.array(["u", "v"])}, "none")
    shuffled = {"y": np.array([0]), "c": np.array(["v"]), "a": np.array([5])}
    assert fitted.transform(shuffled).tolist() == [[5.0, 0.0, 1.0]]
    assert fitted.transform({"a": np.array([]), "c": np.array([], dtype=object)}).shape == (0, 3)


def test_data_frames_of_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"n": [1, None, 5], "c": ["u", None, "v"], "b": [True, False, None]})
    fitted = Preprocessing.fit(frame, "none")
    assert fitted.transform(frame).tolist() == [[1, 1, 0, 0, 0, 1, 0], [3, 0, 0, 1, 1, 0, 0], [5, 0, 1, 0, 0, 0, 1]]
    assert fitted.text_columns == ("c",)


def test_transform_says_which_column_is_wrong() -> None:
    training = {"a": np.array([1.0, 3.0]), "c": np.array(["u", "v"]), "ok": np.array([True, False])}
    fitted = Preprocessing.fit(training)
    with pytest.raises(ShapeError, match="lacks columns 'c', 'ok' of the training data; it has 'a'"):
        fitted.transform({"a": np.array([1.0])})
    with pytest.raises(DtypeError, match="column 'a' holds text values such as 'x', expected numbers"):
        fitted.transform(training | {"a": np.array(["x", "y"])})
    with pytest.raises(
        DtypeError, match="column 'c' had text values in training, but has number values now, such as 1"
    ):
        fitted.transform(training | {"c": np.array([1, 2])})
    with pytest.raises(DtypeError, match="column 'ok' had boolean values in training, but has text values"):
        fitted.transform(training | {"ok": np.array(["True", "False"])})
    with pytest.raises(DataError, match="column 'a' holds infinity in row 1"):
        fitted.transform(training | {"a": np.array([1.0, np.inf])})
    with pytest.raises(ShapeError, match="column 'c' has 2 rows, but 'a' has 1"):
        fitted.transform(training | {"a": np.array([1.0])})
    with pytest.raises(ShapeError, match=r"a matrix cannot replace the text and boolean columns .*c, ok"):
        fitted.transform(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="the matrix has 3 columns, the training data had 2"):
        Preprocessing.fit(np.eye(2)).transform(np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({}, DataError, "0 rows of 0 columns"),
        ({"a": np.array([])}, DataError, "0 rows of 1 columns"),
        (np.zeros((0, 3)), DataError, "0 rows of 3 columns"),
        (np.zeros(3), ShapeError, r"got shape \(3,\)"),
        (np.array([["a"]]), DtypeError, "pass a table for text"),
        (np.array([[1.0, np.inf]]), DataError, "row 0, column 1"),
        (np.array([[1.0, np.nan]]), DataError, "column 'x1' has no value"),
        (np.array([[1e308], [-1e308]]), DataError, "column 'x0' holds numbers too large"),
        ({"a": [1, 2]}, DtypeError, "column 'a' is a list"),
        ({"a": np.zeros((2, 2))}, ShapeError, "expected one dimension"),
        ({"a": np.array([1, "x", None], dtype=object)}, DtypeError, r"int \(row 0\), text \(row 1\)"),
        ({"a": np.array([True, "x"], dtype=object)}, DtypeError, r"boolean \(row 0\), text \(row 1\)"),
        ({"a": np.array([1j])}, DtypeError, "complex128"),
        ({"key": np.arange(1001).astype(str)}, DataError, "1001 different values in 1001 rows"),
        ("table.csv", DtypeError, "expected a dict"),
    ],
)
def test_what_cannot_be_fitted(columns: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Preprocessing.fit(columns)


def test_an_unknown_scale_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'standard'"):
        Preprocessing.fit(np.eye(2), "standart")


# -- robust scaling ---------------------------------------------------------------------------------------------------


def smoothly_clipped(values: np.ndarray[Any, Any], by: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The definition of RealMLP: quartiles of the values that are there, missing values at the median."""
    present = by[~np.isnan(by)]
    low, median, high = np.percentile(present, [25, 50, 75])
    distance = high - low if high > low else (present.max() - present.min()) / 2
    z = (np.where(np.isnan(values), median, values) - median) / (distance or 1)
    return np.asarray(z / np.sqrt(1 + (z / 3) ** 2))


@given(
    train=st.lists(gappy_numbers, min_size=1, max_size=30).filter(lambda v: any(x == x for x in v)),
    test=st.lists(gappy_numbers, min_size=1, max_size=10),
)
@settings(deadline=None, max_examples=100)
def test_robust_scaling_is_the_definition(train: list[float], test: list[float]) -> None:
    fitted = Preprocessing.fit({"x": np.array(train)}, "robust")
    for part in (train, test):
        values = np.array(part)
        expected = smoothly_clipped(values, np.array(train))[:, None]
        np.testing.assert_allclose(fitted.transform({"x": values}), expected, rtol=1e-9, atol=1e-12)
        by_position = Preprocessing.fit(np.array(train)[:, None], "robust").transform(values[:, None])
        np.testing.assert_allclose(by_position, expected, rtol=1e-9, atol=1e-12)
    assert Preprocessing.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_a_column_with_equal_quartiles_is_scaled_by_half_its_range() -> None:
    column = np.array([0.0] * 20 + [4.0])
    assert Preprocessing.fit({"x": column}, "robust").columns == (NumericColumn("x", 0.0, 0.0, 2.0, clipped=True),)
    assert Preprocessing.fit({"x": np.array([5.0, 5.0])}, "robust").columns[0].scale == 1


def test_huge_values_are_clipped_without_overflow() -> None:
    fitted = Preprocessing.fit({"x": np.arange(5.0)}, "robust")
    np.testing.assert_allclose(fitted.transform({"x": np.array([1e300, -1e300])}), [[3.0], [-3.0]], rtol=1e-12)


def test_only_robust_columns_are_clipped_in_a_file() -> None:
    state = Preprocessing.fit({"x": np.arange(5.0)}, "robust").to_dict()
    for wrong in (state | {"scale": "standard"}, state | {"columns": [state["columns"][0] | {"clipped": 1}]}):
        with pytest.raises(FileFormatError, match="clipped"):
            Preprocessing.from_dict(wrong)
