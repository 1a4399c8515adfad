"""What the quantities of a trace mean: a legend, a sentence for each kind, and one entry with its numbers put in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp.inspection.trace.quantities import Quantity, Recording, Step

SHOWN_TERMS = 3
"""Of a sum with more than one more term than this, only its largest terms are written."""

_SENTENCES = {  # by the name of the quantity without its layer
    "a0": "The inputs of the batch: one row for each example.",
    "mask": "The dropout mask: 0 switches an entry off in this step, and the other entries are enlarged in return.",
    "W": "The weights: one row for each input of the layer, one column for each neuron.",
    "b": "The biases: one for each neuron.",
    "t": "The targets: what the outputs should be.",
    "weight": "The weights of the rows.",
    "z": "Each neuron adds its weighted inputs and its bias.",
    "dropped": "Dropout switches entries off.",
    "a": "The activation function turns each weighted sum into the output of the neuron.",
    "output": "The output of the network.",
    "r": "The share of each row in the loss.",
    "L": "The loss: one number for how far the outputs are from the targets. Training makes it smaller.",
    "R": "The penalty for large weights.",
    "J": "The loss with the penalty, which training makes smaller.",
    "slope": "The slope of the activation function: how fast the output of the neuron changes with its weighted sum.",
    "delta": "How the loss changes with the weighted sums of the last layer: here back-propagation begins.",
    "dz": "Back through the activation function: multiply by its slope.",
    "da": "Back through the weights: each input gets the errors of the neurons that it feeds, times the weights.",
    "dropped_da": "Back through dropout: entries that were switched off have no slope.",
    "dW": "The slope of a weight: its input times the error of its neuron, added over the rows.",
    "db": "The slope of a bias: the errors of its neuron, added over the rows.",
    "penalised": "The penalty adds to the slope of each weight.",
    "bounded": "Large slopes are cut off.",
    "norm": "The length of all slopes together.",
    "clipped": "If the slopes are too long together, all are shortened by the same factor.",
    "decayed": "Weight decay makes each weight a little smaller.",
    "state": "What the optimizer remembers of the earlier steps.",
    "new_state": "The optimizer puts the new slope into its memory.",
    "new": "Each parameter moves against its slope, so that the loss becomes smaller.",
}

_LEGEND = (  # pattern of the symbols that need the line, and the line
    ("⁽", "A number in raised parentheses is a layer, not a power: a⁽⁰⁾ is the input, a⁽²⁾ the output of layer 2."),
    (r"[Wz]⁽", "W and b are weights and biases, z the weighted sums of the neurons, a their outputs."),
    (r"(?<!\w)t(?!\w)", "t are the targets, L is the loss, and m the number of rows in the batch."),
    ("∂L/∂", "∂L/∂q is the slope of the loss for q: how fast L grows if q grows. f′ is the slope of an activation."),
    ("[⊙ᵀ]", "⊙ multiplies entry by entry, · multiplies matrices or numbers, ᵀ turns rows into columns."),
    ("M⁽", "M is the mask of dropout, and ã the outputs after dropout."),
    (r"(?<!\w)s / Σ s", "s are the weights of the rows, and r their shares."),
    ("J", "R is the penalty, and J the loss with it."),
    ("η", "η is the learning rate."),
    ("τ", "τ is the level of the quantiles."),
    (r"[vsm]\([Wb]", "v(W), s(W) and m(W) are what the optimizer remembers for W."),
)


class Explanation(NamedTuple):
    """A quantity, a sentence about it, and one of its entries with the numbers put in, which may be empty."""

    quantity: Quantity
    sentence: str
    worked: str


def legend(trace: Recording) -> list[str]:
    """The lines that explain the symbols of this trace."""
    text = "\n".join(f"{q.equation}" for step in trace.steps[:1] for q in step.quantities)
    text += " ".join(trace.steps[0].constants)
    lines = [line for pattern, line in _LEGEND if re.search(pattern, text)]
    return [*lines, "[1,2] is row 1 and column 2. Lines with numbers put in are rounded to five digits."]


def explanations(step: Step) -> dict[str, Explanation]:
    """By name, the first quantity of each kind in a step with its sentence and its numbers."""
    found: dict[str, Explanation] = {}
    kinds: set[str] = set()
    last = max((q.layer or 0 for q in step.quantities), default=0)
    for number, quantity in enumerate(step.quantities):
        kind = _kind(quantity, last)
        if kind in _SENTENCES and kind not in kinds:
            kinds.add(kind)
            before = step.quantities[:number]
            no_numbers = quantity.hidden or quantity.phase == "given"
            worked = "" if no_numbers else _Numbers(before, step.constants).line(quantity)
            found[quantity.name] = Explanation(quantity, _SENTENCES[kind], worked)
    return found


def _kind(quantity: Quantity, last: int) -> str:
    name, layer = quantity.name, quantity.layer
    if name == "a0":
        return name
    if name.startswith("new_"):
        return "new" if re.fullmatch(r"new_[Wb]\d+", name) else "new_state"
    prefix = name.partition("_")[0]
    if "_" in name:
        return prefix if prefix in _SENTENCES else "state"
    kind = re.sub(r"\d+$", "", name)
    if layer == last and kind in ("a", "dz"):
        return {"a": "output", "dz": "delta"}[kind]
    return "dropped_da" if kind == "da" and "⊙" in quantity.formula else kind


class _Numbers:
    """Writes formulas with the numbers of the quantities before them."""

    def __init__(self, before: tuple[Quantity, ...], constants: dict[str, float]) -> None:
        self.by_name = {quantity.name: quantity.values for quantity in before}
        self.by_symbol: dict[str, Any] = dict(constants)
        self.by_symbol |= {quantity.symbol: quantity.values for quantity in before}  # the latest of each symbol

    def line(self, quantity: Quantity) -> str:
        """One entry of the quantity: its formula with numbers, and its value; empty if that says nothing."""
        values = quantity.values
        entry = _entry(values - self.by_symbol.get(quantity.symbol, 0) if quantity.replaces else values)
        code = (quantity.code or "").rpartition("\n")[2].partition(" = ")[2]
        product = re.fullmatch(r"(\w+)(\.T)? @ (\w+)(\.T)?(?: \+ (\w+))?", code)
        if product is not None:
            right = self._product(product, entry)
        elif quantity.name == "L":
            right = self._loss(quantity.formula)
        elif total := re.fullmatch(r"(\w+)\.sum\(axis=0\)", code):
            right = _sum([_factor(value) for value in self.by_name[total[1]][:, entry[-1]]])
        elif quantity.formula.startswith("e^(") and "Σⱼ" in quantity.formula:
            z = self.by_name[f"z{quantity.layer}"][entry[0]]
            right = f"e^({number(z[entry[1]])}) / ({_sum([f'e^({number(value)})' for value in z])})"
        elif re.search("Σ| = |…|u′", quantity.formula):  # more than one entry, or one with a definition
            return ""
        else:
            right = self.substituted(quantity.formula.removesuffix(" (weight decay)"), entry)
        if right in (number(values[entry]), _factor(values[entry])):
            return ""
        place = f"[{','.join(str(index + 1) for index in entry)}]" if entry else ""
        arrow = "←" if quantity.replaces else "="
        return _tidy(f"{quantity.symbol}{place} {arrow} {right} = {number(values[entry])}")

    def substituted(self, formula: str, entry: tuple[int, ...]) -> str:
        """A formula for each entry, with the numbers of one entry in place of the symbols."""
        formula = re.sub(r"(\d)m\)", r"\1·m)", formula)
        for rate in ("β₁", "β₂"):
            if rate in self.by_symbol:
                formula = formula.replace(f"{rate}ᵏ", number(self.by_symbol[rate]) + raised(int(self.by_symbol["k"])))
        memory = dict.fromkeys(re.findall(r"\b[vsm]\([Wb]⁽[⁰-⁹¹²³]+⁾\)", formula), 0.0)  # it begins at zero
        values = memory | self.by_symbol
        symbols = sorted(values, key=len, reverse=True)
        pattern = "|".join(rf"(?<!\w){re.escape(symbol)}(?!\w)" for symbol in symbols)

        def value_of(match: re.Match[str]) -> str:
            return _factor(_at(values[match[0]], entry))

        return re.sub(pattern, value_of, formula)

    def _product(self, match: re.Match[str], entry: tuple[int, ...]) -> str:
        left, transposed, right, transposed_right, bias = match.groups()
        A, B = self.by_name[left], self.by_name[right]
        row = (A.T if transposed else A)[entry[0]]
        column = (B.T if transposed_right else B)[:, entry[1]]
        order: NDArray[Any] = np.arange(len(row))
        if len(row) > SHOWN_TERMS + 1:
            order = np.argsort(-np.abs(row * column), kind="stable")
        terms = [f"{_factor(row[i])}·{_factor(column[i])}" for i in order]
        return _sum(terms) + (f" + {_factor(self.by_name[bias][entry[1]])}" if bias else "")

    def _loss(self, formula: str) -> str:
        before, inner, after = re.fullmatch(r"(.*)\[(.*)\](.*)", formula).groups()  # type: ignore[union-attr]
        inner, _, residual = inner.partition(", r = ")
        if residual:
            inner = re.sub(r"(?<![A-Za-z])r(?![A-Za-z])", f"({residual})", inner).replace(
                f"|({residual})|", f"|{residual}|"
            )
        target = self.by_name["t"]
        one_hot = inner.startswith("−t ⊙ ln") and "(1 − t)" not in inner
        entries = list(zip(*np.nonzero(target), strict=True)) if one_hot else list(np.ndindex(target.shape))
        weighted = "r ⊙ " if "r ⊙" in before else ""
        if weighted or inner.startswith("−"):
            inner = f"{weighted}[{inner}]"
        terms = [self.substituted(inner, (int(i), int(k))) for i, k in entries[: SHOWN_TERMS + 2]]
        factor = "1/1" if weighted else self.substituted(before.partition(" · ")[0], ())
        total = _sum(terms, len(entries))
        return f"{total}{after}" if factor == "1/1" and not after else f"{factor} · ({total}){after}"


def _entry(values: NDArray[Any]) -> tuple[int, ...]:
    """The first entry, or the largest one if that is zero."""
    if not values.ndim or not values.any() or values.flat[0]:
        return (0,) * values.ndim
    return tuple(int(index) for index in np.unravel_index(np.abs(values).argmax(), values.shape))


def _at(values: Any, entry: tuple[int, ...]) -> float:
    """The number for an entry, in arrays of any shape that is broadcast to that of the entry."""
    array = np.asarray(values)
    indices = entry[len(entry) - array.ndim :] if array.ndim else ()
    return float(array[tuple(min(index, n - 1) for index, n in zip(indices, array.shape, strict=True))])


def _sum(terms: list[str], n: int | None = None) -> str:
    n = len(terms) if n is None else n
    if n <= SHOWN_TERMS + 1:
        return " + ".join(terms)
    return " + ".join(terms[:SHOWN_TERMS]) + f" + … ({n:,} terms)"


def _factor(value: Any) -> str:
    text = number(value)
    return f"({text})" if text.startswith("−") else text


def number(value: Any) -> str:
    """A number with five digits and a true minus sign.

    Examples
    --------
    >>> number(-0.0380982365), number(2.0), number(1.5e-7)
    ('−0.038098', '2', '1.5e−07')
    """
    return f"{float(value):.5g}".replace("-", "−")


def raised(n: int) -> str:
    """A number as a superscript.

    Examples
    --------
    >>> raised(12)
    '¹²'
    """
    return str(n).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _tidy(text: str) -> str:
    text = text.replace(" ⊙ ", "·").replace("1/1 · ", "")
    text = re.sub(r"\(\((−[\d.e−+]+)\)([,)])", r"(\1\2", text)  # a negative number in parentheses of a function
    return re.sub(r"([=←] )\((−[\d.e−+]+)\)", r"\1\2", text)  # a negative number at the beginning


def each_explained(trace: Recording) -> Iterator[tuple[Step | None, dict[str, Explanation]]]:
    """The steps that a format shows, with explanations of the first one."""
    for number_shown, step in enumerate(trace.shown()):
        yield step, explanations(step) if step is not None and not number_shown else {}
