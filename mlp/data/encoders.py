"""The columns of a preprocessing: how each is fitted, encoded and saved."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, DtypeError
from mlp.data.columns import as_categories, as_float64, column_kind, first_value
from mlp.data.saved_state import finite_number, require, require_keys, require_list

Scale = Literal["none", "standard", "minmax", "robust"]
SCALES: tuple[Scale, ...] = get_args(Scale)

MAX_CATEGORIES = 1000
"""A text column with more distinct values is probably a key (a name, a date) and not a category."""

FEW_CATEGORIES = 10
"""A column with at most as many distinct values shares no input between the rare ones."""

MAX_OWN_INPUTS = 100
"""Most categories of a column that have an input of their own, where the rare ones share one."""

MAX_RARE_NAMES = 10_000
"""Most names of rare categories that are kept, to tell them from unknown ones."""

CLIP = 3.0
"""The bound of `NumericColumn.clipped`."""

_RARE_ROWS = 10
_RARE_SHARE = 0.01

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class NumericColumn:
    """A column of numbers: missing values become `fill`, then x becomes z = (x - shift) / scale.

    Attributes
    ----------
    name : str
    fill, shift, scale : float
    clipped : bool
        Whether z becomes z / sqrt(1 + (z / 3)^2), which is between -3 and 3 (Holzmüller et al. 2024, section 3).

    Examples
    --------
    >>> NumericColumn("age", fill=40.0, shift=41.5, scale=12.0)
    NumericColumn(name='age', fill=40.0, shift=41.5, scale=12.0, clipped=False)
    """

    name: str
    fill: float
    shift: float
    scale: float
    clipped: bool = False

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of the column, as a tuple."""
        return (self.name,)

    @property
    def n_outputs(self) -> int:
        """Number of columns after encoding: 1."""
        return 1


@dataclass(frozen=True, slots=True)
class CategoricalColumn:
    """A column of text or booleans: one output per category; None (last) is the category of missing values.

    Attributes
    ----------
    name : str
    categories : tuple of str, bool or None
        Those that have an output of their own, sorted.
    rare : bool
        Whether all other values share one more output, the last one; otherwise they give zeros.
    rare_names : tuple of str
        The rare categories of the training rows, sorted; empty if they are too many.

    Examples
    --------
    >>> CategoricalColumn("city", ("Bergen", "Oslo", None)).feature_names
    ('city=Bergen', 'city=Oslo', 'city is missing')
    >>> CategoricalColumn("city", ("Oslo",), rare=True).feature_names
    ('city=Oslo', 'city is rare')
    """

    name: str
    categories: tuple[str | bool | None, ...]
    rare: bool = False
    rare_names: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per category."""
        names = tuple(f"{self.name} is missing" if c is None else f"{self.name}={c}" for c in self.categories)
        return (*names, f"{self.name} is rare") if self.rare else names

    @property
    def n_outputs(self) -> int:
        """Number of columns after encoding."""
        return len(self.categories) + self.rare

    @property
    def kind(self) -> Literal["text", "boolean", "empty"]:
        """The required kind of the values; ``"empty"`` never occurs in a fitted column."""
        first = self.categories[0]
        return "empty" if first is None else "text" if isinstance(first, str) else "boolean"


Column = NumericColumn | CategoricalColumn


# -- fitting --------------------------------------------------------------------------------------------


def fit_column(name: str, column: NDArray[Any], scale: Scale, share_rare: bool) -> Column:
    """Fit one column of a table; see `Preprocessing.fit`."""
    where = f"column {name!r}"
    kind = column_kind(column, where)
    if kind == "empty":
        raise _no_values_error(where)
    if kind == "number":
        return fit_numbers((name,), as_float64(column, where)[np.newaxis], scale)[0]
    return fit_categories(name, Counter(as_categories(column, where)), len(column), share_rare)


def fit_categories(name: str, counts: Counter[Any], n_rows: int, share_rare: bool) -> CategoricalColumn:
    """Fit a column of text or booleans by the number of rows of each category and of None; see `Preprocessing.fit`."""
    where = f"column {name!r}"
    missing = (None,) if counts.pop(None, 0) else ()
    kept = frequent_categories(counts, n_rows) if share_rare else set(counts)
    if len(kept) + len(missing) > MAX_CATEGORIES:
        raise DataError(
            f"{where} has {len(kept) + len(missing)} different values in {n_rows} rows; at most {MAX_CATEGORIES} "
            "categories are allowed. Remove the column, or convert it to numbers"
        )
    if not kept:
        raise DataError(f"{where} has no value that occurs often enough for an input of its own; remove it")
    # None cannot be compared with the other values, so it is not sorted with them
    rare = sorted(str(category) for category in set(counts) - kept)  # booleans are never rare
    named = tuple(rare) if len(rare) <= MAX_RARE_NAMES else ()
    return CategoricalColumn(name, (*sorted(kept), *missing), bool(rare), named)


def frequent_categories(counts: Mapping[Any, int], n_rows: int) -> set[Any]:
    """Return the categories that have an input of their own, if the rare ones share one.

    In a column of at most 10 categories none is rare.  Otherwise those are that occur in fewer than 10 rows, or in
    fewer than 1 % of them if there are fewer than 1000 rows, but at least two.  At most 100 are not rare.

    Parameters
    ----------
    counts : mapping of category to int
        Number of rows of each category.
    n_rows : int
        Number of all rows.

    Examples
    --------
    >>> frequent_categories({letter: 5 - 4 * (letter == "k") for letter in "abcdefghijk"}, 51) == set("abcdefghij")
    True
    """
    if len(counts) <= FEW_CATEGORIES:
        return set(counts)
    least = max(2, min(_RARE_ROWS, -(-n_rows // round(1 / _RARE_SHARE))))
    often = [category for category, n in counts.items() if n >= least]
    return set(sorted(often, key=lambda category: (-counts[category], category))[:MAX_OWN_INPUTS])


def fit_numbers(
    names: tuple[str, ...],
    rows: NDArray[np.float64],
    scale: Scale,
    moments: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> tuple[NumericColumn, ...]:
    """Fit columns, passed as rows: sums over contiguous memory are pairwise, so they are exact to a few ULP.

    `moments` are the means and the variances, if they are known more exactly.
    """
    missing = np.isnan(rows)
    require_values(names, np.asarray(missing.all(axis=1)))
    with np.errstate(over="ignore", invalid="ignore"):  # overflow is reported by `number_columns`, with the name
        fill = np.nanmedian(rows, axis=1) if missing.any() else np.median(rows, axis=1)
        if scale == "robust":
            shift, divisor = fill, robust_divisor(*np.nanquantile(rows, [0, 0.25, 0.75, 1], axis=1))
        elif moments is not None and scale == "standard":
            shift, divisor = moments[0], standard_divisor(*moments, rows.shape[1])
        else:
            shift, divisor = _shift_and_scale(np.where(missing, fill[:, np.newaxis], rows), scale)
    return number_columns(names, fill, shift, divisor, scale)


def number_columns(
    names: Sequence[str],
    fill: NDArray[np.float64],
    shift: NDArray[np.float64],
    divisor: NDArray[np.float64],
    scale: Scale,
) -> tuple[NumericColumn, ...]:
    """Return the columns with these numbers, one each.

    Raises
    ------
    DataError
        If a number is not finite: its computation has overflowed.
    """
    for name, *fitted in zip(names, fill, shift, divisor, strict=True):
        if not np.isfinite(fitted).all():
            raise DataError(
                f"column {name!r} holds numbers too large to be scaled in float64; divide them by a constant"
            )
    columns = zip(names, fill.tolist(), shift.tolist(), divisor.tolist(), strict=True)
    return tuple(NumericColumn(*column, clipped=scale == "robust") for column in columns)


def _shift_and_scale(rows: NDArray[np.float64], scale: Scale) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if scale == "none":
        return np.zeros(len(rows)), np.ones(len(rows))
    if scale == "minmax":
        low = rows.min(axis=1)
        return low, minmax_divisor(low, rows.max(axis=1))
    mean = rows.mean(axis=1)
    return mean, standard_divisor(mean, rows.var(axis=1), rows.shape[1])


def standard_divisor(mean: NDArray[np.float64], variance: NDArray[np.float64], n_rows: int) -> NDArray[np.float64]:
    """The standard deviation, or 1 for a column that is constant up to rounding."""
    # scikit-learn's bound on the rounding error of a variance; below it the column is treated as constant
    constant = np.isfinite(variance) & (variance <= n_rows * _EPS * variance + (n_rows * mean * _EPS) ** 2)
    return np.where(constant, 1.0, np.sqrt(variance))


def minmax_divisor(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """The width of the range, or 1 for a constant."""
    width = high - low
    return np.where(width < 10 * _EPS, 1.0, width)


def robust_divisor(
    low: NDArray[np.float64], first: NDArray[np.float64], third: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of the quartiles; half the range if that is 0, and 1 for a constant."""
    distance = np.where(third > first, third - first, (high - low) / 2)
    return np.where(distance == 0, 1.0, distance)


def require_values(names: Sequence[str], empty: NDArray[np.bool_]) -> None:
    """Raise an error that names the first column without a value, by a mask of shape (n_columns,).

    Raises
    ------
    DataError
        If there is one.
    """
    if empty.any():
        raise _no_values_error(f"column {names[int(empty.argmax())]!r}")


def _no_values_error(where: str) -> DataError:
    return DataError(f"{where} has no value in any training row; remove it")


# -- encoding -------------------------------------------------------------------------------------------


def impute_and_scale(
    values: NDArray[np.float64], fill: Any, shift: Any, scale: Any, *, clipped: bool
) -> NDArray[np.float64]:
    """Replace missing values by `fill`, subtract `shift`, divide by `scale`, and clip smoothly if `clipped`."""
    with np.errstate(over="ignore"):  # the model reports infinite inputs, with the row
        result: NDArray[np.float64] = (np.where(np.isnan(values), fill, values) - shift) / scale
        return result / np.hypot(1, result / CLIP) if clipped else result


def encode_column(column: Column, values: NDArray[Any], outputs: NDArray[np.float64]) -> tuple[int, Any]:
    """Write the inputs of a column into `outputs`, which are zeros.

    Returns
    -------
    n_unknown : int
        Number of rows with a category that is neither one of the column's nor among its `rare_names`.
    example : object
        The first of these categories.
    """
    where = f"column {column.name!r}"
    if isinstance(column, NumericColumn):
        outputs[:, 0] = impute_and_scale(
            as_float64(values, where), column.fill, column.shift, column.scale, clipped=column.clipped
        )
        return 0, None
    kind = column_kind(values, where)
    if kind not in ("empty", column.kind):
        raise DtypeError(
            f"{where} had {column.kind} values in training, but has {kind} values now, such as {first_value(values)}"
        )
    position = {category: j for j, category in enumerate(column.categories)}
    categories = as_categories(values, where)
    rare, unknown, missing = len(column.categories), len(column.categories) + 1, -1
    position |= dict.fromkeys(column.rare_names, rare)
    codes = np.array([position.get(v, missing if v is None else unknown) for v in categories], dtype=np.intp)
    others = np.flatnonzero(codes == unknown)
    codes[others] = rare if column.rare else missing
    known = np.flatnonzero(codes >= 0)
    outputs[known, codes[known]] = 1.0
    return len(others), categories[others[0]] if len(others) else None


# -- saving ---------------------------------------------------------------------------------------------


def column_to_dict(column: Column) -> dict[str, Any]:
    """Return a column as plain data, for JSON."""
    if isinstance(column, NumericColumn):
        clipped = {"clipped": True} if column.clipped else {}
        return {"name": column.name, "fill": column.fill, "shift": column.shift, "scale": column.scale, **clipped}
    rare = {"rare": list(column.rare_names) or True} if column.rare else {}
    return {"name": column.name, "categories": list(column.categories), **rare}


def column_from_dict(state: object, where: str) -> Column:
    """Return a column from the result of `column_to_dict`; every entry is checked."""
    categorical = isinstance(state, Mapping) and "categories" in state
    keys = {"name", "categories"} if categorical else {"name", "fill", "shift", "scale"}
    entry = require_keys(state, keys, where, optional={"rare" if categorical else "clipped"})
    require(isinstance(entry["name"], str), f"{where} name", entry["name"], "a string")
    if not categorical:
        fill, shift, scale = (finite_number(entry[key], f"{where} {key}") for key in ("fill", "shift", "scale"))
        require(scale > 0, f"{where} scale", scale, "a number above 0")
        clipped = entry.get("clipped", False)
        require(isinstance(clipped, bool), f"{where} clipped", clipped, "true or false")
        return NumericColumn(entry["name"], fill, shift, scale, clipped)
    listed = require_list(entry["categories"], f"{where} categories")
    require(
        _are_categories(listed[:-1] if listed[-1] is None else listed),
        f"{where} categories", listed, "strings or booleans, sorted, each once, and null only at the end",
    )  # fmt: skip
    if "rare" not in entry:
        return CategoricalColumn(entry["name"], tuple(listed))
    rare = entry["rare"]
    names = rare if isinstance(rare, list) else []
    others = all(isinstance(name, str) for name in names) and not set(names) & set(listed)
    require(rare is True or (names and others), f"{where} rare", rare, "true, or a list of other texts")
    return CategoricalColumn(entry["name"], tuple(listed), True, tuple(names))


def _are_categories(values: list[Any]) -> bool:
    one_type = len({type(value) for value in values}) == 1 and isinstance(values[0], str | bool)
    return one_type and all(a < b for a, b in itertools.pairwise(values))


def different(names: Iterable[str], where: str) -> None:
    """Raise an error if a name occurs twice.

    Raises
    ------
    FileFormatError
        If it does.

    Examples
    --------
    >>> different(["a", "b"], "columns")
    """
    listed = list(names)
    require(len(set(listed)) == len(listed), where, listed, "different names")
