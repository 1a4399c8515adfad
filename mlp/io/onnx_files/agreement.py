"""Compare an ONNX model with the network it was made from, by running it in ONNX Runtime.

Rows are random, with edge cases: zeros, small and large numbers, missing values, unknown categories.  Both sides round,
in different orders, so they may differ by as much as rounding explains: a bound on the error is computed with each
layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.checks import shortened
from mlp.data.preprocessing import CategoricalColumn, NumericColumn, Preprocessing
from mlp.io.onnx_files.libraries import require
from mlp.network import FeedForward

_ROWS = 64
_MAGNITUDES = (0.0, 1e-3, 1.0, 1.0, 1.0, 1.0, 30.0, 1000.0)
"""Random rows are multiplied by these numbers in turn."""

_FUNCTION_ERROR = 32
"""Permitted error of an activation relative to 1 + its value, in units of rounding: runtimes use polynomials."""


@dataclass(frozen=True)
class _Rows:
    """The same rows as inputs of the ONNX model and of the network."""

    feeds: dict[str, NDArray[Any]]
    X: NDArray[Any]


def require_agreement(content: bytes, net: FeedForward, outputs: Sequence[str]) -> None:
    """Raise `ConfigurationError` unless ONNX Runtime computes the same as the network.

    Parameters
    ----------
    content : bytes
        The ONNX model.
    net : FeedForward
    outputs : sequence of str
        ``(label, probabilities)`` or ``(variable,)``.
    """
    with np.errstate(all="ignore"):  # large rows may overflow
        found, rows = _run(content, net)
        _compare(found, net, rows.X, outputs)


def _compare(found: dict[str, NDArray[Any]], net: FeedForward, X: NDArray[Any], outputs: Sequence[str]) -> None:
    scores = net.unchecked_outputs(X)
    bound = 2 * _rounding_bound(net, X)  # both sides round
    if net.task != "numbers" and net.kind.output.name in ("softmax", "sigmoid"):
        scores = np.hstack([1 - scores, scores]) if scores.shape[1] == 1 else scores
        bound = np.broadcast_to(bound, scores.shape)
    _compare_numbers(found[outputs[-1]], scores, bound, outputs[-1])
    if net.task != "numbers":
        _compare_labels(found[outputs[0]], net, X, scores, bound, outputs[0])


def _run(content: bytes, net: FeedForward) -> tuple[dict[str, NDArray[Any]], _Rows]:
    onnx, runtime = require("onnx"), require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what it logs comes back as an exception
    options.intra_op_num_threads = 1
    rng = np.random.default_rng(0)
    try:
        onnx.checker.check_model(content, full_check=True)
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        rows = _random_rows(net, rng, {value.name: value.type for value in session.get_inputs()})
        results = session.run(None, rows.feeds)
    except (ConfigurationError, MemoryError):
        raise
    except Exception as error:  # the two packages raise errors of many types
        raise _disagreement(f"cannot run it: {type(error).__name__}: {shortened(error)}") from error
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, map(np.asarray, results), strict=True)), rows


# -- rows -----------------------------------------------------------------------------------------------


def _random_rows(net: FeedForward, rng: np.random.Generator, types: dict[str, str]) -> _Rows:
    if net.preprocessing is not None:
        return _random_table(net.preprocessing, rng, types)
    shape = _ROWS, net.sizes[0]
    if net.input_scale is not None:
        X = rng.integers(0, 256, shape).astype(np.uint8)
        X[0], X[1] = 0, 255
    else:
        X = (rng.normal(size=shape) * np.resize(_MAGNITUDES, (_ROWS, 1))).astype(net.dtype)
    [name] = types
    return _Rows({name: X}, X)


def _random_table(preprocessing: Preprocessing, rng: np.random.Generator, types: dict[str, str]) -> _Rows:
    """Rows in which every category, an unknown one and a missing value occur in each column that can have them."""
    n_categories = [len(c.categories) for c in preprocessing.columns if isinstance(c, CategoricalColumn)]
    n = max(_ROWS, *(count + 2 for count in n_categories)) if n_categories else _ROWS
    feeds, table = {}, {}
    for column in preprocessing.columns:
        if isinstance(column, NumericColumn):
            factors = rng.normal(size=n) * np.resize(_MAGNITUDES, n)
            values = (column.shift + factors * column.scale).astype(_FLOATS[types[column.name]])
            values[rng.random(n) < 0.1] = np.nan
            feeds[column.name], table[column.name] = values, values.astype(np.float64)
            table[column.name][~np.isfinite(values)] = np.nan  # beyond the range of float32
            values[np.isinf(values)] = np.nan
        else:
            chosen = rng.permutation(np.arange(n) % (len(column.categories) + 2))
            feeds[column.name], table[column.name] = _random_categories(column, chosen, types[column.name])
    X = preprocessing.encode(table)
    return _Rows({name: values.reshape(-1, 1) for name, values in feeds.items()}, X)


_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64}


def _random_categories(
    column: CategoricalColumn, chosen: NDArray[np.int64], kind: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The values of a column for the ONNX model and for the network; `chosen` are positions of categories.

    The first position after the last one is a missing value, the next one an unknown category.
    """
    known = [category for category in column.categories if category is not None]
    if kind == "tensor(string)":
        missing = "" if "" in known else None
        unknown = "unknown"
        while unknown in known or unknown in column.rare_names:
            unknown += "?"
        options = [*known, *[missing] * (len(column.categories) - len(known)), missing, unknown]
        values = [options[position] for position in chosen.tolist()]
        texts = ["" if value is None else value for value in values]
        return np.array(texts, dtype=object), np.array(values, dtype=object)
    if kind == "tensor(bool)":
        flags = chosen % 2 == 1  # no other values are possible
        return flags, flags
    options = [*known, *[None] * (len(column.categories) - len(known)), None, None]
    values = [options[position] for position in chosen.tolist()]
    numbers = np.array([np.nan if value is None else float(value) for value in values], dtype=_FLOATS[kind])
    return numbers, np.array(values, dtype=object)


# -- comparison -----------------------------------------------------------------------------------------


def _rounding_bound(net: FeedForward, X: NDArray[Any]) -> NDArray[np.float64]:
    """A bound on the rounding error of each output, from a forward pass in float64."""
    unit = float(np.finfo(net.dtype).eps)
    a = X.astype(net.dtype).astype(np.float64)
    if X.dtype == np.uint8 and net.input_scale is not None:
        a *= net.input_scale
    error = unit * np.abs(a)
    for W, b, activation in zip(net.weights, net.biases, net.plan.activations, strict=True):
        W64, b64 = W.astype(np.float64), b.astype(np.float64)
        size = np.abs(a) @ np.abs(W64) + np.abs(b64)
        z = a @ W64 + b64
        error = error @ np.abs(W64) + unit * (len(W) + 1) * size
        a = np.asarray(activation.forward(z))
        if activation.rowwise:  # softmax: a shift of the logits by at most d changes it by a factor up to exp(2 d)
            change = a * np.expm1(np.minimum(2 * error.max(axis=1, keepdims=True), 700))
        else:
            change = np.maximum(*(np.abs(activation.forward(z + step) - a) for step in (error, -error)))
        error = change + _FUNCTION_ERROR * unit * (1 + np.abs(a))
    if net.target_scaling is not None:
        shift, scale = (np.array(values) for values in net.target_scaling)
        error = error * scale + 4 * unit * (np.abs(a * scale) + np.abs(shift))
    return np.asarray(error)


def _compare_numbers(found: NDArray[Any], expected: NDArray[Any], bound: NDArray[Any], name: str) -> None:
    if found.shape != expected.shape:
        raise _disagreement(f"returns {name!r} of shape {found.shape}, but the network {expected.shape}")
    wrong = np.isfinite(bound) & np.isfinite(expected) & ~(np.abs(found - expected) <= bound)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise _disagreement(
            f"computes {name!r} {found[row, column]:g} for test row {row}, but the network {expected[row, column]:g}"
        )


def _compare_labels(
    found: NDArray[Any],
    net: FeedForward,
    X: NDArray[Any],
    scores: NDArray[Any],
    bound: NDArray[Any],
    name: str,
) -> None:
    """Labels must be equal in the rows in which no rounding error can change them."""
    predicted = net.predict(X)
    if predicted.ndim == 1 and net.classes is not None:
        predicted = np.array(net.classes, dtype=object)[predicted]
    if found.shape != predicted.shape:
        raise _disagreement(f"returns {name!r} of shape {found.shape}, but the network {predicted.shape}")
    if net.task == "labels":
        distance = np.abs(scores[:, -1] - 0.5) if predicted.ndim == 1 else np.abs(scores - 0.5)
        largest = bound[:, -1] if predicted.ndim == 1 else bound
        certain = distance > largest
    else:
        ordered = np.sort(scores, axis=1)
        certain = ordered[:, -1] - ordered[:, -2] > 2 * bound.max(axis=1)
    wrong = certain & (found != predicted)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise _disagreement(
            f"computes the label {found[place]!r} for test row {place[0]}, but the network {predicted[place]!r}"
        )


def _disagreement(what: str) -> ConfigurationError:
    version = require("onnxruntime").__version__
    return ConfigurationError(
        f"no file was written, because ONNX Runtime {version} does not agree with this network: it {what}. Please "
        "report this with the network; other versions of onnxruntime may work."
    )
