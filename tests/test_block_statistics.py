"""Statistics of columns that come in blocks: exact for integers, and the same as NumPy's for any blocks."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlp._backends import random
from mlp.data import moments as moments_of_blocks
from mlp.data import quantiles, stream
from mlp.data.moments import FloatMoments, IntegerMoments
from mlp.data.quantiles import ColumnQuartiles, quantiles_of_counts
from mlp.data.streams import npy_source
from mlp.data.streams.in_order import in_order

Array = np.ndarray[Any, Any]

cuts = st.lists(st.integers(0, 40), max_size=4)


def blocks_of(values: Array, places: list[int]) -> list[Array]:
    return [block for block in np.split(values, sorted(places)) if len(block)]


# -- moments ----------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["uint8", "int8", "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64"]).flatmap(
        lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(1, 40), st.integers(1, 3)))
    ),
    cuts,
    st.integers(1, 50),
)
def test_moments_of_integers_are_exact(values: Array, places: list[int], rows_at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments_of_blocks, "_ROWS", rows_at_once)
        moments = IntegerMoments(values.shape[1])
        for block in blocks_of(values, places):
            moments.add(block)
    for column, mean, variance in zip(values.T.tolist(), moments.mean(), moments.variance(), strict=True):
        exact = Fraction(sum(map(int, column)), len(column))
        assert mean == float(exact)  # a fraction is rounded once
        assert variance == float(sum((int(x) - exact) ** 2 for x in column) / len(column))


def test_sums_in_int64_are_moved_before_they_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments_of_blocks, "_MAX_SUM", 2**63 - 1)
    moments = IntegerMoments(1)
    block = np.full((2**18, 1), 2**22 - 1)
    for _ in range(5):  # the sum of the squares is above 2**64
        moments.add(block)
    moments.add(np.zeros((2**18, 1), int))
    n, x = 6 * 2**18, 2**22 - 1
    assert moments.mean()[0] == 5 * x / 6
    assert moments.variance()[0] == float(Fraction(5 * x**2, 6) - Fraction(5 * x, 6) ** 2)
    assert moments.n_rows == n


finite = st.floats(-1e6, 1e6)


@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.one_of(finite, st.just(np.nan))
    ),
    cuts,
)
def test_moments_of_floats_are_those_of_numpy(values: Array, places: list[int]) -> None:
    moments = FloatMoments(values.shape[1])
    for block in blocks_of(values, places):
        moments.add(block)
    for column, count, mean, variance in zip(values.T, moments.count, moments.mean(), moments.variance(), strict=True):
        present = column[~np.isnan(column)]
        assert count == len(present)
        if count:
            scale = np.abs(present).max()
            np.testing.assert_allclose(mean, present.mean(), rtol=1e-14, atol=1e-14 * scale)
            np.testing.assert_allclose(variance, present.var(), rtol=1e-12, atol=1e-13 * scale**2)


def test_a_small_variance_beside_a_large_mean_is_kept() -> None:
    values = 1e9 + np.random.default_rng(0).normal(size=(10_000, 1))
    moments = FloatMoments(1)
    for block in np.split(values, 100):
        moments.add(block)
    assert moments.variance()[0] == pytest.approx(values.var(), rel=1e-13)  # sums of squares would lose all digits


# -- quantiles --------------------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.integers(1, 50), elements=st.integers(-9, 9).map(lambda i: i / 7)))
def test_quantiles_of_counts_are_those_of_numpy_to_the_bit(values: Array) -> None:
    distinct, counts = np.unique(values, return_counts=True)
    fractions = (0.25, 0.5, 0.75)
    expected = [np.quantile(values, 0.25), np.median(values), np.quantile(values, 0.75)]
    assert quantiles_of_counts(distinct, counts, fractions).tolist() == expected


@given(
    st.sampled_from(["uint8", "int16", "float64"]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.tuples(st.integers(1, 40), st.integers(1, 3)),
            elements=st.integers(0, 30).map(np.dtype(dtype).type),
        )
    ),
    cuts,
    st.booleans(),
)
def test_quartiles_do_not_depend_on_the_blocks(values: Array, places: list[int], complete: bool) -> None:
    if values.dtype.kind == "f":
        values[values == 7] = np.nan
    quartiles = ColumnQuartiles(values.shape[1], is_bytes=values.dtype == np.uint8, complete=complete)
    for block in blocks_of(values, places):
        quartiles.add(block, np.full(len(block), complete))
    medians, exact = quartiles.medians()
    assert exact.all()
    for number, column in enumerate(values.T.astype(float)):
        present = column[~np.isnan(column)]
        if not len(present):
            assert np.isnan(medians[number])
            continue
        assert medians[number] == np.median(present)
        assert quartiles.quartiles()[:, number].tolist() == [np.quantile(present, 0.25), np.quantile(present, 0.75)]


def test_quantiles_of_many_values_are_those_of_a_sample_by_row_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantiles, "SAMPLE_ROWS", 400)
    monkeypatch.setattr(quantiles, "MAX_DISTINCT", 30)
    monkeypatch.setattr(npy_source, "BLOCK_BYTES", 2000)
    rng = np.random.default_rng(0)
    few, many = rng.integers(0, 30, 5000) / 7, rng.normal(size=5000)
    just_too_many = rng.permutation(np.arange(5000) % 31) / 7
    np.save(tmp_path / "m.npy", np.column_stack([few, many, just_too_many, rng.random(5000)]))
    data = stream(tmp_path / "m.npy", scale="robust", test_fraction=0, seed=9)
    assert data.preprocessing is not None
    sample = random.chosen_rows(9, 400 / 5000, range(5000), part=2**32)
    assert 300 < sample.sum() < 500
    columns: Any = data.preprocessing.columns
    for column, values in zip(columns, (few, many[sample], just_too_many[sample]), strict=True):
        assert column.fill == np.median(values)
        assert column.scale == np.subtract(*np.quantile(values, [0.75, 0.25]))
    assert [note.text for note in data.notes] == [
        "medians and quartiles of 2 columns with more than 30 different values are those of a random sample of about "
        "400 of the 5,000 training rows"
    ]
    again = stream(tmp_path / "m.npy", scale="robust", test_fraction=0, seed=9)
    assert again.preprocessing == data.preprocessing
    monkeypatch.setattr(quantiles, "SAMPLE_BYTES", 3 * 8 * 100)  # for many columns, fewer rows
    smaller = stream(tmp_path / "m.npy", scale="none", test_fraction=0, seed=9)
    assert smaller.notes[0].text.startswith("medians of 2 columns")
    assert "about 100 of" in smaller.notes[0].text


# -- order ------------------------------------------------------------------------------------------------


def test_results_come_in_order_and_few_are_computed_ahead() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        return item

    results = in_order(work, range(100), threads=3, ahead=4)
    assert next(results) == 0
    assert len(started) <= 6
    assert list(results) == list(range(1, 100))


def test_an_error_is_raised_in_its_turn_and_the_rest_is_not_computed() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        return 1 // (item - 3)

    results = in_order(work, range(1000), threads=2, ahead=2)
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert len(started) < 10
