"""`Recorder`: a backend that hands each operation on to a real one, and keeps what went in and what came out."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import numpy as np

from mlp._backends import Activation, Backend, NetworkPlan, Trainer, formulas
from mlp.inspection.trace import symbols
from mlp.inspection.trace.quantities import Quantity, Step

Phase = Literal["given", "forward", "backward", "update"]


class Term(NamedTuple):
    """How a quantity is called: in a program, and on paper."""

    name: str
    symbol: str

    @classmethod
    def of_layer(cls, letter: str, layer: int) -> Term:
        """``W1`` and W¹."""
        return cls(f"{letter}{layer}", letter + symbols.superscript(layer))

    @property
    def slope(self) -> Term:
        """``dW1`` and ∂L/∂W¹."""
        return Term(f"d{self.name}", f"∂L/∂{self.symbol}")


class Recorder:
    """What `backends.loop` runs on instead of a backend, to have its numbers kept.

    It has the operations that the loop calls, in the order in which it calls them; all else is the real backend's.

    Parameters
    ----------
    xp : Backend
        Does the work.
    network : NetworkPlan

    Attributes
    ----------
    steps : list of Step
        Those that `end_step` has closed.
    """

    def __init__(self, xp: Backend, network: NetworkPlan) -> None:
        self.xp = xp
        self.network = network
        self.steps: list[Step] = []
        self._last = network.layout.n_layers
        self._updated: dict[str, str] = {}  # what parameters and states are called after the step before
        self._begin_step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.xp, name)

    def _begin_step(self) -> None:
        self._quantities: list[Quantity] = []
        self._constants: dict[str, float] = {}
        self._layer = 0
        self._signal = Term.of_layer("a", 0)  # what enters the next layer
        self._inputs: list[Term] = []  # what entered each
        self._slope: Term | None = None  # what has come back so far
        self._parameters: dict[str, Term] = {}
        self._gradients: dict[str, Term] = {}

    def end_step(self, epoch: int, batch: int, loss: float) -> None:
        """Close the step that the operations since the last one made up."""
        self.steps.append(Step(len(self.steps) + 1, epoch, batch, loss, self._constants, tuple(self._quantities)))
        self._begin_step()

    def _keep(
        self, phase: Phase, layer: int | None, term: Term, values: Any, formula: str = "", code: str | None = None,
        *, before: str = "", replaces: bool = False,
    ) -> None:  # fmt: skip
        """Keep a quantity: ``code`` is what a NumPy program assigns to its name, ``before`` the lines ahead of that."""
        if isinstance(values, self.xp.namespace.ndarray):
            values = self.xp.to_numpy(values)
        host = np.array(values)  # the loop will use its own array again
        host.flags.writeable = False
        statements = None if code is None else before + (f"{term.name} = {code}" if code else "")
        self._quantities.append(Quantity(*term, formula, phase, layer, host, statements, replaces))

    def _by_parameter(self, flat: Any) -> dict[str, tuple[int, Any]]:
        """Layer and view into a flat buffer of all parameters, or of all weights, by the names of the parameters."""
        layers = list(enumerate(self.network.layout.layers(flat), start=1))
        biases = {f"b{l}": (l, b) for l, (_, b) in layers if b.size}
        return {f"W{l}": (l, W) for l, (W, _) in layers} | biases

    # -- the operations of the loop ---------------------------------------------------------------------------

    def trainer(
        self, network: NetworkPlan, rule: formulas.Rule, X: Any, target: Any, weight: Any, params: Any, state: Any,
        batch_size: int,
    ) -> Trainer:  # fmt: skip
        """The readable loop, never a faster implementation."""
        xp = cast(Backend, self)
        return Trainer(xp, network, rule, X, target, weight, params, state, batch_size)

    def dropout(
        self, x: Any, rate: float, counter: tuple[int, int, int, int], out: Any = None, first_row: int = 0
    ) -> Any:
        below = counter[-1]
        number = symbols.superscript(below)
        mask = Term(f"mask{below}", f"M{number}")
        if self._slope is not None:  # on the way back
            result = self.xp.dropout(x, rate, counter, out, first_row)
            dropped, self._slope = self._slope, Term.of_layer("a", below).slope
            formula, code = f"{dropped.symbol} ⊙ {mask.symbol}", f"{dropped.name} * {mask.name}"
            self._keep("backward", below, self._slope, result, formula, code)
            return result
        if not below:
            self._keep("given", None, self._signal, x)
        kept = self.xp.dropout(self.xp.zeros(x.shape, x.dtype) + 1, rate, counter, None, first_row)
        self._keep("given", below + 1, mask, kept, f"0 with probability {rate:g}, else 1/(1 − {rate:g})")
        result = self.xp.dropout(x, rate, counter, out, first_row)
        whole, self._signal = self._signal, Term(f"dropped{below}", f"ã{number}")
        formula, code = f"{whole.symbol} ⊙ {mask.symbol}", f"{whole.name} * {mask.name}"
        self._keep("forward", below + 1, self._signal, result, formula, code)
        return result

    def dense(
        self, x: Any, W: Any, b: Any, activation: str | Activation = "identity", out: Any = None,
        preactivation: Any = None,
    ) -> Any:  # fmt: skip
        self._layer += 1
        l, row, signal = self._layer, formulas.activation(activation), self._signal
        z, a = Term.of_layer("z", l), Term.of_layer("a", l)
        if signal.name == "a0":
            self._keep("given", None, signal, x)
        weights, bias = Term.of_layer("W", l), Term.of_layer("b", l)
        for term, values in ((weights, W), (bias, b)):
            self._parameters[term.name] = term
            self._keep("given", l, term, values, code=self._carried_over(term.name))
        logits = self.xp.empty((x.shape[0], W.shape[1]), x.dtype) if preactivation is None else preactivation
        y = self.xp.dense(x, W, b, row, out=out, preactivation=logits)
        self._inputs.append(signal)
        formula = f"{signal.symbol}·{weights.symbol} + {bias.symbol}"
        self._keep("forward", l, z, logits, formula, f"{signal.name} @ {weights.name} + {bias.name}")
        if l < self._last:
            self._keep("forward", l, a, y, symbols.value_of(row, z.symbol), f"{_called(row.forward)}({z.name})")
            self._signal = a
        return y

    def _carried_over(self, name: str) -> str | None:
        """Where a step finds a parameter: among the data the first time, later where the last update left it."""
        return self._updated.get(name, "") if self.steps else None

    def loss_and_delta(
        self,
        kind: str | formulas.OutputLoss,
        z: Any,
        target: Any,
        weight: Any = None,
        batch_weight: float | None = None,
    ) -> tuple[Any, Any]:
        kind, l, (m, n_out) = formulas.output_loss(kind), self._last, z.shape
        weighted = weight is not None
        self._constants["m"] = m
        logits, output = Term.of_layer("z", l), Term.of_layer("a", l)
        self._keep_targets(target, weight, z)
        y = self.xp.activate(z, kind.output)
        formula = symbols.value_of(kind.output, logits.symbol)
        self._keep("forward", l, output, y, formula, f"{_called(kind.output.forward)}({logits.name})")
        loss, delta = self.xp.loss_and_delta(kind, z, target, weight, batch_weight)

        of_value, of_slope = ("" if part == 1 else f" * {part!r}" for part in kind.shares(n_out))
        share = "r" if weighted else f"np.full(({m}, 1), 1 / {m}, dtype)"
        counted = "where(r != 0, {}, 0)" if weighted else "({})"  # a row of weight zero must not bring infinities in
        entries, slopes = _entries(kind, logits.name, output.name)
        formula = symbols.loss_of(kind, output.symbol, n_out, weighted=weighted)
        code = f"{counted.format('value * share')}.sum(dtype=np.float64){of_value}"
        before = f"share = {share}\n{entries}\n"
        self._keep("forward", None, Term("L", "L"), float(loss), formula, code, before=before)
        if kind.fused is None and not kind.output.rowwise and kind.output.name != "identity":
            self._keep_slope(l, kind.output, z if kind.output.saves == "z" else y)
        self._slope = logits.slope
        formula = symbols.delta_of(kind, logits.symbol, output.symbol, n_out, weighted=weighted)
        code = counted.format(f"{slopes} * (share{of_slope})" if of_slope else f"{slopes} * share")
        self._keep("backward", l, self._slope, delta, formula, code)
        return loss, delta

    def _keep_targets(self, target: Any, weight: Any, z: Any) -> None:
        one_hot = target.ndim == 1
        rows = (target[:, None] == self.xp.namespace.arange(z.shape[1])).astype(z.dtype) if one_hot else target
        self._keep("given", None, Term("t", "t"), rows, "1 for the row's class, else 0" if one_hot else "")
        if weight is not None:
            self._keep("given", None, Term("weight", "s"), weight, "weights of the rows")
            total = self.xp.sum(weight)
            shares = (weight / self.xp.where(total > 0, total, 1).astype(z.dtype))[:, None]
            self._keep("forward", None, Term("r", "r"), shares, "s / Σ s", "(weight / (weight.sum() or 1))[:, None]")

    def _keep_slope(self, l: int, row: Activation, saved: Any) -> None:
        """f′(z): what the activation's backward pass makes of ones."""
        z, a = Term.of_layer("z", l), Term.of_layer("a", l)
        slope = self.xp.activate_backward(self.xp.zeros(saved.shape, saved.dtype) + 1, saved, row)
        code = _backward(row, f"np.ones_like({z.name})", l)
        self._keep("backward", l, Term(f"slope{l}", f"f′({z.symbol})"), slope,
                   symbols.slope_of(row, z.symbol, a.symbol), code)  # fmt: skip

    def dense_backward(
        self, dy: Any, x: Any, saved: Any, W: Any, activation: str | Activation = "identity", **out: Any
    ) -> tuple[Any, Any, Any]:
        l, row, signal = self._layer, formulas.activation(activation), self._inputs[self._layer - 1]
        self._layer -= 1
        assert self._slope is not None
        if l < self._last:
            z, above = Term.of_layer("z", l), self._slope
            self._keep_slope(l, row, saved)
            self._slope = z.slope
            dz = self.xp.activate_backward(dy, saved, row)
            self._keep("backward", l, z.slope, dz, f"{above.symbol} ⊙ f′({z.symbol})", _backward(row, above.name, l))
        dx, dW, db = self.xp.dense_backward(dy, x, saved, W, activation, **out)
        delta, weights, bias = self._slope, Term.of_layer("W", l), Term.of_layer("b", l)
        self._gradients |= {weights.name: weights.slope, bias.name: bias.slope}
        self._keep("backward", l, weights.slope, dW, f"({signal.symbol})ᵀ·{delta.symbol}",
                   f"{signal.name}.T @ {delta.name}")  # fmt: skip
        self._keep("backward", l, bias.slope, db, f"Σ {delta.symbol} over the rows", f"{delta.name}.sum(axis=0)")
        if dx is not None:
            self._slope = signal.slope
            self._keep("backward", l, signal.slope, dx, f"{delta.symbol}·({weights.symbol})ᵀ",
                       f"{delta.name} @ {weights.name}.T")  # fmt: skip
        return dx, dW, db

    def add_penalty(self, weights: Any, gradient: Any, *, l2: float = 0.0, l1: float = 0.0) -> float:
        value = self.xp.add_penalty(weights, gradient, l2=l2, l1=l1)
        texts = [f"{l2:g}/2·Σ W²"] * bool(l2) + [f"{l1:g}·Σ |W|"] * bool(l1)
        sums = [f"{l2 / 2!r} * (W * W).sum(dtype=np.float64)"] * bool(l2)
        sums += [f"{l1!r} * abs(W).sum(dtype=np.float64)"] * bool(l1)
        every = "".join(f"W{l}, " for l in range(1, self._last + 1))
        self._keep("forward", None, Term("R", "R"), value, " + ".join(texts),
                   f"sum({' + '.join(sums)} for W in ({every}))")  # fmt: skip
        loss = next(float(quantity.values) for quantity in self._quantities if quantity.name == "L")
        self._keep("forward", None, Term("J", "J"), loss + value, "L + R", "L + R")
        for name, (l, values) in self._by_parameter(gradient).items():
            W, slope = self._parameters[name].symbol, self._gradients[name]
            text = [slope.symbol] + [f"{l2:g}·{W}"] * bool(l2) + [f"{l1:g}·sign({W})"] * bool(l1)
            code = [slope.name] + [f"{l2!r} * {name}"] * bool(l2) + [f"{l1!r} * sign({name})"] * bool(l1)
            self._gradients[name] = Term(f"penalised_d{name}", f"∂J/∂{W}")
            self._keep("backward", l, self._gradients[name], values, " + ".join(text), " + ".join(code))
        return value

    def clip(self, gradient: Any, *, by_value: float | None = None, by_norm: float | None = None) -> None:
        # one bound after the other, as the operation itself has it, to show both
        if by_value is not None:
            self.xp.clip(gradient, by_value=by_value)
            self._keep_clipped(gradient, "bounded", f"min(max({{}}, −{by_value:g}), {by_value:g})",
                               f"minimum(maximum({{}}, -{by_value!r}), {by_value!r})")  # fmt: skip
        if by_norm is not None:
            norm = self.xp.sqrt((gradient * gradient).sum(dtype=np.float64))
            every = "".join(f"{slope.name}, " for slope in self._gradients.values())
            code = f"sqrt(sum((g * g).sum(dtype=np.float64) for g in ({every})))"
            self._keep("update", None, Term("norm", "‖g‖"), norm, "√Σ (every slope)²", code)
            self.xp.clip(gradient, by_norm=by_norm)
            self._keep_clipped(gradient, "clipped", f"{{}}·min(1, {by_norm:g} / (‖g‖ + 10⁻⁶))",
                               f"{{}} * dtype(min({by_norm!r} / (norm + 1e-6), 1.0))")  # fmt: skip

    def _keep_clipped(self, gradient: Any, how: str, text: str, code: str) -> None:
        for name, (l, values) in self._by_parameter(gradient).items():
            slope = self._gradients[name]
            clipped = self._gradients[name] = Term(f"{how}_d{name}", slope.symbol)
            self._keep("update", l, clipped, values, text.format(slope.symbol), code.format(slope.name), replaces=True)

    def multiply(self, x: Any, factor: float) -> None:
        self.xp.multiply(x, factor)
        for name, (l, values) in self._by_parameter(x).items():
            before = self._parameters[name]
            decayed = self._parameters[name] = Term(f"decayed_{name}", before.symbol)
            self._keep("update", l, decayed, values, f"{before.symbol}·{factor:.9g} (weight decay)",
                       f"{before.name} * {factor!r}", replaces=True)  # fmt: skip

    def update(
        self, rule: formulas.Rule, params: Any, gradient: Any, state: Any, step: int, learning_rate: float
    ) -> None:
        self._constants |= {"η": learning_rate} | {symbols.CONSTANTS.get(k, k): v for k, v in rule.hyper.items()}
        if rule.name.startswith("adam"):
            self._constants["k"] = step
        memory = bool(self._updated) or bool((state != 0).any())
        slots = [self._by_parameter(values) for values in state]
        if memory:
            for slot, parts in zip(rule.row.state, slots, strict=True):
                for name, (l, part) in parts.items():
                    term = self._slot(slot, name)
                    self._keep("given", l, term, part, "after the updates so far", self._updated.get(term.name))
        self.xp.update(rule, params, gradient, state, step, learning_rate)
        scalars = ", ".join(repr(float(scalar)) for scalar in rule.scalars(step, learning_rate))
        for name, (l, values) in self._by_parameter(params).items():
            terms = [*(self._slot(slot, name) for slot in rule.row.state), Term(name, self._parameters[name].symbol)]
            before = "" if memory else "".join(f"{term.name} = np.zeros_like({name})\n" for term in terms[:-1])
            before += self._call(rule, name, [term.name for term in terms[:-1]], scalars)
            texts = {slot: term.symbol for slot, term in zip((*rule.row.state, "p"), terms, strict=True)}
            texts["g"] = self._gradients[name].symbol
            found = [*(parts[name][1] for parts in slots), values]
            for slot, term, part in zip((*rule.row.state, "p"), terms, found, strict=True):
                new = Term(f"new_{term.name}", term.symbol)
                self._keep("update", l, new, part, symbols.rule_of(rule, slot, texts), "", before=before, replaces=True)
                self._updated[term.name], before = new.name, ""

    def _slot(self, slot: str, name: str) -> Term:
        """What a rule remembers of a parameter."""
        return Term(f"{slot}_{name}", symbols.state(slot, self._parameters[name].symbol))

    def _call(self, rule: formulas.Rule, name: str, slots: list[str], scalars: str) -> str:
        """The statement that applies a rule to a parameter and what is remembered of it."""
        targets = "".join(f"new_{target}, " for target in (name, *slots))
        arguments = ", ".join([self._parameters[name].name, self._gradients[name].name, *slots, scalars])
        return f"{targets}= {_called(rule.row.formula)}({arguments})\n"


def _entries(kind: formulas.OutputLoss, z: str, a: str) -> tuple[str, str]:
    """NumPy statements for the loss of each entry, and the expression of its slope in z."""
    if kind.fused is not None:
        return f"value, slope = {_called(kind.fused)}({z}, t)", "slope"
    saved = z if kind.output.saves == "z" else a
    return f"value, slope = {_called(kind.loss.formula)}({a}, t)", f"{_called(kind.output.backward)}(slope, {saved})"


def _backward(row: Activation, dy: str, l: int) -> str:
    """The call of an activation's backward pass."""
    return f"{_called(row.backward)}({dy}, {'z' if row.saves == 'z' else 'a'}{l})"


def _called(function: Any) -> str:
    """A formula's name in a program; a user's own may have none, and gets no program."""
    return str(getattr(function, "__name__", ""))
