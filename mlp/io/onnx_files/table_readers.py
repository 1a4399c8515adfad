"""Read the nodes that prepare a table: scaling, missing values, one-hot encoding; see `interpretation`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from mlp.io.onnx_files.export import MISSING_BESIDE_EMPTY, MISSING_TEXT
from mlp.io.onnx_files.nodes import MAX_STEPS, Node, operands_of, row_of
from mlp.io.onnx_files.tensors import decoded
from mlp.io.onnx_files.values import Categories, Constant, MissingFlags, Numbers, Refusal, Table, Value


def scale_inputs(operator: str, operands: list[Value]) -> Value:
    """An elementwise operator before the first layer: scaling, or numbers in place of missing values."""
    if operator == "Where" and isinstance(operands[0], MissingFlags) and operands[2] is operands[0].table:
        part = single(operands[0].table, pristine=True)
        return Table((replace(part, fill=row_of(operands[1], part.width)),))
    first, *rest = operands
    if operator in ("Add", "Mul") and isinstance(first, Constant):
        first, rest = rest[0], [first]
    if operator not in ("Add", "Sub", "Mul", "Div") or not isinstance(first, Table):
        raise Refusal("before the first layer there may be only scaling of inputs by constants")
    part = single(first)
    if len(part.steps) > MAX_STEPS:
        raise Refusal("the inputs are scaled too often; simplify the file, for example with onnxsim")
    return Table((replace(part, steps=(*part.steps, (operator, row_of(rest[0], part.width)))),))


def is_missing(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    if not isinstance(value, Table):
        raise Refusal("it is supported for inputs only")
    return MissingFlags(value)


def scaler(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    if not isinstance(value, Table):
        raise Refusal("it is supported for inputs only")
    part = single(value)
    offset, scale = (
        row_of(Constant(np.array(node.attributes.get(name, [default])), ""), part.width)
        for name, default in (("offset", 0.0), ("scale", 1.0))
    )
    return Table((replace(part, steps=(*part.steps, ("Sub", offset), ("Mul", scale))),))


def imputer(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    fill = node.attributes.get("imputed_value_floats")
    if not isinstance(value, Table) or not fill or not np.isnan(node.attributes.get("replaced_value_float", np.nan)):
        raise Refusal("it must replace NaN in inputs by numbers")
    part = single(value, pristine=True)
    return Table((replace(part, fill=row_of(Constant(np.array(fill), ""), part.width)),))


def one_hot(node: Node, inputs: list[Value]) -> Value:
    [value] = operands_of(inputs, 1, 1)
    part = single(value) if isinstance(value, Table) else None
    if part is None or part.steps or len(part.names) != 1 or part.width not in (1, None):
        raise Refusal("it is supported for inputs of one column only")
    if node.attributes.get("zeros", 1) != 1:
        raise Refusal("zeros must be 1: an unknown category gives zeros")
    texts, numbers = node.attributes.get("cats_strings"), node.attributes.get("cats_int64s")
    if texts and part.dtype == "string":
        return Table((Categories(part.names[0], _text_categories([decoded(text) for text in texts])),))
    missing = None if part.fill is None else float(part.fill[0])
    if numbers and (part.dtype == "bool" or (missing == 2.0 and np.dtype(part.dtype).kind == "f")):
        meanings: dict[int, bool | None] = {0: False, 1: True} | ({} if missing is None else {2: None})
        if set(numbers) <= set(meanings) and list(numbers) == sorted(set(numbers)):
            return Table((Categories(part.names[0], tuple(meanings[number] for number in numbers)),))
    raise Refusal("the categories of a column must be texts or booleans; convert numbers to texts")


def single(table: Table, *, pristine: bool = False) -> Numbers:
    """The numbers of a table that has nothing else."""
    if len(table.parts) != 1 or not isinstance(table.parts[0], Numbers):
        raise Refusal("it works on several kinds of inputs; scale the numbers before they are joined with categories")
    part = table.parts[0]
    if pristine and (part.steps or part.fill is not None):
        raise Refusal("missing values must be replaced before the inputs are scaled")
    return part


def side_by_side(tables: list[Table]) -> Table:
    """Join tables; neighbouring inputs of numbers that are as given become one part."""
    parts: list[Numbers | Categories] = []
    run: list[Numbers] = []
    for part in (*(part for table in tables for part in table.parts), None):
        if isinstance(part, Numbers) and not part.steps and part.fill is None and part.flat and not part.whole:
            run.append(part)
            continue
        if run:
            names = tuple(name for member in run for name in member.names)
            widths = tuple(width for member in run for width in member.widths)
            parts.append(replace(run[0], names=names, widths=widths))
            run = []
        if part is not None:
            parts.append(part)
    used = [name for part in parts for name in (part.names if isinstance(part, Numbers) else (part.name,))]
    if len(set(used)) < len(used):
        raise Refusal("an input is used twice")
    return Table(tuple(parts))


def _text_categories(texts: list[str]) -> tuple[str | None, ...]:
    """The categories of a column of text; the mark of missing values is the last one."""
    *known, last = texts
    missing = last == MISSING_BESIDE_EMPTY or (last == MISSING_TEXT and bool(known))
    values = known if missing else texts
    if any(a >= b for a, b in pairwise(values)):
        raise Refusal("the categories of a column must be sorted, each once")
    return (*values, None) if missing else tuple(values)
