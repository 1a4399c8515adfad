"""`Recorder`: a backend that delegates to a real backend and records the inputs and outputs of each operation."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import numpy as np

from mlp._backends import Activation, Backend, NetworkPlan, Trainer, formulas
from mlp.inspection.trace import symbols
from mlp.inspection.trace.quantities import Quantity, Step

Phase = Literal["given", "forward", "backward", "update"]


class Label(NamedTuple):
    """Name of a quantity in a program, and its mathematical symbol."""

    name: str
    symbol: str

    @classmethod
    def of_layer(cls, letter: str, layer: int) -> Label:
        """``W1`` and W⁽¹⁾."""
        return cls(f"{letter}{layer}", letter + symbols.superscript(layer))

    @property
    def gradient(self) -> Label:
        """``dW1`` and ∂L/∂W⁽¹⁾."""
        return Label(f"d{self.name}", f"∂L/∂{self.symbol}")


class Recorder:
    """A backend for `backends.loop` that records the numbers of each training step.

    It wraps the operations that the loop calls, in the order of the calls. All other attributes are those of the real
    backend.

    Parameters
    ----------
    xp : Backend
        The backend that computes.
    network : NetworkPlan

    Attributes
    ----------
    steps : list of Step
        The completed steps.
    """

    def __init__(self, xp: Backend, network: NetworkPlan) -> None:
        self.xp = xp
        self.network = network
        self.steps: list[Step] = []
        self._last = network.layout.n_layers
        self._updated: dict[str, str] = {}  # names of parameters and optimizer state after the previous step
        self._begin_step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.xp, name)

    def _begin_step(self) -> None:
        self._quantities: list[Quantity] = []
        self._constants: dict[str, float] = {}
        self._layer = 0
        self._activation = Label.of_layer("a", 0)  # input of the next layer
        self._inputs: list[Label] = []  # input of each layer
        self._incoming: Label | None = None  # gradient that enters the next operation of the backward pass
        self._parameters: dict[str, Label] = {}
        self._gradients: dict[str, Label] = {}

    def end_step(self, epoch: int, batch: int, loss: float) -> None:
        """Complete a step from the operations since the previous one."""
        self.steps.append(Step(len(self.steps) + 1, epoch, batch, loss, self._constants, tuple(self._quantities)))
        self._begin_step()

    def _record(
        self, phase: Phase, layer: int | None, label: Label, values: Any, formula: str = "", code: str | None = None,
        *, before: str = "", replaces: bool = False,
    ) -> None:  # fmt: skip
        """Record a quantity; a NumPy program computes it by the lines ``before``, then the expression ``code``."""
        if isinstance(values, self.xp.namespace.ndarray):
            values = self.xp.to_numpy(values)
        host = np.array(values)  # a copy, because the loop reuses its arrays
        host.flags.writeable = False
        statements = None if code is None else before + (f"{label.name} = {code}" if code else "")
        self._quantities.append(Quantity(*label, formula, phase, layer, host, statements, replaces))

    def _by_parameter(self, flat: Any) -> dict[str, tuple[int, Any]]:
        """Layer number and view of each parameter in a flat buffer of all parameters, or of all weights."""
        layers = list(enumerate(self.network.layout.layers(flat), start=1))
        biases = {f"b{l}": (l, b) for l, (_, b) in layers if b.size}
        return {f"W{l}": (l, W) for l, (W, _) in layers} | biases

    # -- operations that the loop calls ------------------------------------------------------------------------

    def trainer(
        self, network: NetworkPlan, rule: formulas.Rule, X: Any, target: Any, weight: Any, params: Any, state: Any,
        batch_size: int,
    ) -> Trainer:  # fmt: skip
        """Always the readable loop, never a faster implementation."""
        xp = cast(Backend, self)
        return Trainer(xp, network, rule, X, target, weight, params, state, batch_size)

    def dropout(
        self, x: Any, rate: float, counter: tuple[int, int, int, int], out: Any = None, first_row: int = 0
    ) -> Any:
        layer = counter[-1]
        number = symbols.superscript(layer)
        mask = Label(f"mask{layer}", f"M{number}")
        if self._incoming is not None:  # in the backward pass
            result = self.xp.dropout(x, rate, counter, out, first_row)
            dropped, self._incoming = self._incoming, Label.of_layer("a", layer).gradient
            formula, code = f"{dropped.symbol} ⊙ {mask.symbol}", f"{dropped.name} * {mask.name}"
            self._record("backward", layer, self._incoming, result, formula, code)
            return result
        if not layer:
            self._record("given", None, self._activation, x)
        mask_values = self.xp.dropout(self.xp.zeros(x.shape, x.dtype) + 1, rate, counter, None, first_row)
        self._record("given", layer + 1, mask, mask_values, f"0 with probability {rate:g}, else 1/(1 − {rate:g})")
        result = self.xp.dropout(x, rate, counter, out, first_row)
        undropped, self._activation = self._activation, Label(f"dropped{layer}", f"ã{number}")
        formula, code = f"{undropped.symbol} ⊙ {mask.symbol}", f"{undropped.name} * {mask.name}"
        self._record("forward", layer + 1, self._activation, result, formula, code)
        return result

    def dense(
        self, x: Any, W: Any, b: Any, activation: str | Activation = "identity", out: Any = None,
        preactivation: Any = None,
    ) -> Any:  # fmt: skip
        self._layer += 1
        l, row, layer_input = self._layer, formulas.activation(activation), self._activation
        z, a = Label.of_layer("z", l), Label.of_layer("a", l)
        if layer_input.name == "a0":
            self._record("given", None, layer_input, x)
        weights, bias = Label.of_layer("W", l), Label.of_layer("b", l)
        for label, values in ((weights, W), (bias, b)):
            self._parameters[label.name] = label
            self._record("given", l, label, values, code=self._carried_over(label.name))
        logits = self.xp.empty((x.shape[0], W.shape[1]), x.dtype) if preactivation is None else preactivation
        y = self.xp.dense(x, W, b, row, out=out, preactivation=logits)
        self._inputs.append(layer_input)
        formula = f"{layer_input.symbol}·{weights.symbol} + {bias.symbol}"
        self._record("forward", l, z, logits, formula, f"{layer_input.name} @ {weights.name} + {bias.name}")
        if l < self._last:
            code = f"{_function_name(row.forward)}({z.name})"
            self._record("forward", l, a, y, symbols.value_of(row, z.symbol), code)
            self._activation = a
        return y

    def _carried_over(self, name: str) -> str | None:
        """Code for a parameter at the start of a step: its updated name; None in the first step, where it is given."""
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
        logits, output = Label.of_layer("z", l), Label.of_layer("a", l)
        self._record_targets(target, weight, z)
        y = self.xp.activate(z, kind.output)
        formula = symbols.value_of(kind.output, logits.symbol)
        self._record("forward", l, output, y, formula, f"{_function_name(kind.output.forward)}({logits.name})")
        loss, delta = self.xp.loss_and_delta(kind, z, target, weight, batch_weight)

        value_factor, gradient_factor = ("" if part == 1 else f" * {part!r}" for part in kind.shares(n_out))
        share = "r" if weighted else f"np.full(({m}, 1), 1 / {m}, dtype)"
        masked = "where(r != 0, {}, 0)" if weighted else "({})"  # so that a row of weight zero adds no infinity or NaN
        statement, gradient = _entry_code(kind, logits.name, output.name)
        formula = symbols.loss_of(kind, output.symbol, n_out, weighted=weighted)
        code = f"{masked.format('value * share')}.sum(dtype=np.float64){value_factor}"
        before = f"share = {share}\n{statement}\n"
        self._record("forward", None, Label("L", "L"), float(loss), formula, code, before=before)
        if kind.fused is None and not kind.output.rowwise and kind.output.name != "identity":
            self._record_derivative(l, kind.output, z if kind.output.saves == "z" else y)
        self._incoming = logits.gradient
        formula = symbols.delta_of(kind, logits.symbol, output.symbol, n_out, weighted=weighted)
        code = masked.format(f"{gradient} * (share{gradient_factor})" if gradient_factor else f"{gradient} * share")
        self._record("backward", l, self._incoming, delta, formula, code)
        return loss, delta

    def _record_targets(self, target: Any, weight: Any, z: Any) -> None:
        one_hot = target.ndim == 1
        rows = (target[:, None] == self.xp.namespace.arange(z.shape[1])).astype(z.dtype) if one_hot else target
        self._record("given", None, Label("t", "t"), rows, "1 for the class of the row, else 0" if one_hot else "")
        if weight is not None:
            self._record("given", None, Label("weight", "s"), weight, "sample weights")
            total = self.xp.sum(weight)
            shares = (weight / self.xp.where(total > 0, total, 1).astype(z.dtype))[:, None]
            self._record("forward", None, Label("r", "r"), shares, "s / Σ s", "(weight / (weight.sum() or 1))[:, None]")

    def _record_derivative(self, l: int, row: Activation, saved: Any) -> None:
        """f′(z), computed as the activation's backward pass with ones as the incoming gradient."""
        z, a = Label.of_layer("z", l), Label.of_layer("a", l)
        derivative = self.xp.activate_backward(self.xp.zeros(saved.shape, saved.dtype) + 1, saved, row)
        code = _backward_code(row, f"np.ones_like({z.name})", l)
        self._record("backward", l, Label(f"slope{l}", f"f′({z.symbol})"), derivative,
                     symbols.derivative_of(row, z.symbol, a.symbol), code)  # fmt: skip

    def dense_backward(
        self, dy: Any, x: Any, saved: Any, W: Any, activation: str | Activation = "identity", **out: Any
    ) -> tuple[Any, Any, Any]:
        l, row, layer_input = self._layer, formulas.activation(activation), self._inputs[self._layer - 1]
        self._layer -= 1
        assert self._incoming is not None
        if l < self._last:
            z, incoming = Label.of_layer("z", l), self._incoming
            self._record_derivative(l, row, saved)
            self._incoming = z.gradient
            dz = self.xp.activate_backward(dy, saved, row)
            code = _backward_code(row, incoming.name, l)
            self._record("backward", l, z.gradient, dz, f"{incoming.symbol} ⊙ f′({z.symbol})", code)
        dx, dW, db = self.xp.dense_backward(dy, x, saved, W, activation, **out)
        delta, weights, bias = self._incoming, Label.of_layer("W", l), Label.of_layer("b", l)
        self._gradients |= {weights.name: weights.gradient, bias.name: bias.gradient}
        self._record("backward", l, weights.gradient, dW, f"({layer_input.symbol})ᵀ·{delta.symbol}",
                     f"{layer_input.name}.T @ {delta.name}")  # fmt: skip
        self._record("backward", l, bias.gradient, db, f"Σ {delta.symbol} over the rows", f"{delta.name}.sum(axis=0)")
        if dx is not None:
            self._incoming = layer_input.gradient
            self._record("backward", l, layer_input.gradient, dx, f"{delta.symbol}·({weights.symbol})ᵀ",
                         f"{delta.name} @ {weights.name}.T")  # fmt: skip
        return dx, dW, db

    def add_penalty(self, weights: Any, gradient: Any, *, l2: float = 0.0, l1: float = 0.0) -> float:
        value = self.xp.add_penalty(weights, gradient, l2=l2, l1=l1)
        texts = [f"{l2:g}/2·Σ W²"] * bool(l2) + [f"{l1:g}·Σ |W|"] * bool(l1)
        sums = [f"{l2 / 2!r} * (W * W).sum(dtype=np.float64)"] * bool(l2)
        sums += [f"{l1!r} * abs(W).sum(dtype=np.float64)"] * bool(l1)
        every = "".join(f"W{l}, " for l in range(1, self._last + 1))
        self._record("forward", None, Label("R", "R"), value, " + ".join(texts),
                     f"sum({' + '.join(sums)} for W in ({every}))")  # fmt: skip
        loss = next(float(quantity.values) for quantity in self._quantities if quantity.name == "L")
        self._record("forward", None, Label("J", "J"), loss + value, "L + R", "L + R")
        for name, (l, values) in self._by_parameter(gradient).items():
            W, unpenalised = self._parameters[name].symbol, self._gradients[name]
            text = [unpenalised.symbol] + [f"{l2:g}·{W}"] * bool(l2) + [f"{l1:g}·sign({W})"] * bool(l1)
            code = [unpenalised.name] + [f"{l2!r} * {name}"] * bool(l2) + [f"{l1!r} * sign({name})"] * bool(l1)
            self._gradients[name] = Label(f"penalised_d{name}", f"∂J/∂{W}")
            self._record("backward", l, self._gradients[name], values, " + ".join(text), " + ".join(code))
        return value

    def clip(self, gradient: Any, *, by_value: float | None = None, by_norm: float | None = None) -> None:
        # in the order of the operation itself, one after the other, to record both results
        if by_value is not None:
            self.xp.clip(gradient, by_value=by_value)
            self._record_clipped(gradient, "bounded", f"min(max({{}}, −{by_value:g}), {by_value:g})",
                                 f"minimum(maximum({{}}, -{by_value!r}), {by_value!r})")  # fmt: skip
        if by_norm is not None:
            norm = self.xp.sqrt((gradient * gradient).sum(dtype=np.float64))
            every = "".join(f"{gradient_label.name}, " for gradient_label in self._gradients.values())
            code = f"sqrt(sum((g * g).sum(dtype=np.float64) for g in ({every})))"
            self._record("update", None, Label("norm", "‖g‖"), norm, "√Σ g² over all gradients", code)
            self.xp.clip(gradient, by_norm=by_norm)
            self._record_clipped(gradient, "clipped", f"{{}}·min(1, {by_norm:g} / (‖g‖ + 10⁻⁶))",
                                 f"{{}} * dtype(min({by_norm!r} / (norm + 1e-6), 1.0))")  # fmt: skip

    def _record_clipped(self, gradient: Any, prefix: str, text: str, code: str) -> None:
        for name, (l, values) in self._by_parameter(gradient).items():
            unclipped = self._gradients[name]
            clipped = self._gradients[name] = Label(f"{prefix}_d{name}", unclipped.symbol)
            self._record("update", l, clipped, values, text.format(unclipped.symbol), code.format(unclipped.name),
                         replaces=True)  # fmt: skip

    def multiply(self, x: Any, factor: float) -> None:
        self.xp.multiply(x, factor)
        for name, (l, values) in self._by_parameter(x).items():
            undecayed = self._parameters[name]
            decayed = self._parameters[name] = Label(f"decayed_{name}", undecayed.symbol)
            self._record("update", l, decayed, values, f"{undecayed.symbol}·{factor:.9g} (weight decay)",
                         f"{undecayed.name} * {factor!r}", replaces=True)  # fmt: skip

    def update(
        self, rule: formulas.Rule, params: Any, gradient: Any, state: Any, step: int, learning_rate: float
    ) -> None:
        self._constants |= {"η": learning_rate} | {symbols.CONSTANTS.get(k, k): v for k, v in rule.hyper.items()}
        if rule.name.startswith("adam"):
            self._constants["k"] = step
        has_state = bool(self._updated) or bool((state != 0).any())
        slots = [self._by_parameter(values) for values in state]
        if has_state:
            for slot, parts in zip(rule.row.state, slots, strict=True):
                for name, (l, part) in parts.items():
                    label = self._slot(slot, name)
                    self._record("given", l, label, part, "after the previous updates", self._updated.get(label.name))
        self.xp.update(rule, params, gradient, state, step, learning_rate)
        scalars = ", ".join(repr(float(scalar)) for scalar in rule.scalars(step, learning_rate))
        for name, (l, values) in self._by_parameter(params).items():
            labels = [*(self._slot(slot, name) for slot in rule.row.state), Label(name, self._parameters[name].symbol)]
            before = "" if has_state else "".join(f"{label.name} = np.zeros_like({name})\n" for label in labels[:-1])
            before += self._call(rule, name, [label.name for label in labels[:-1]], scalars)
            texts = {slot: label.symbol for slot, label in zip((*rule.row.state, "p"), labels, strict=True)}
            texts["g"] = self._gradients[name].symbol
            arrays = [*(parts[name][1] for parts in slots), values]
            for slot, label, part in zip((*rule.row.state, "p"), labels, arrays, strict=True):
                new = Label(f"new_{label.name}", label.symbol)
                formula = symbols.update_of(rule, slot, texts)
                self._record("update", l, new, part, formula, "", before=before, replaces=True)
                self._updated[label.name], before = new.name, ""

    def _slot(self, slot: str, name: str) -> Label:
        """Label of the optimizer state of a parameter."""
        return Label(f"{slot}_{name}", symbols.state(slot, self._parameters[name].symbol))

    def _call(self, rule: formulas.Rule, name: str, slots: list[str], scalars: str) -> str:
        """The statement that applies a rule to a parameter and its optimizer state."""
        targets = "".join(f"new_{target}, " for target in (name, *slots))
        arguments = ", ".join([self._parameters[name].name, self._gradients[name].name, *slots, scalars])
        return f"{targets}= {_function_name(rule.row.formula)}({arguments})\n"


def _entry_code(kind: formulas.OutputLoss, z: str, a: str) -> tuple[str, str]:
    """NumPy statement for the loss of each entry, and the expression of its gradient with respect to z."""
    if kind.fused is not None:
        return f"value, gradient = {_function_name(kind.fused)}({z}, t)", "gradient"
    saved = z if kind.output.saves == "z" else a
    gradient = f"{_function_name(kind.output.backward)}(gradient, {saved})"
    levels = f", np.array({list(kind.loss.levels)}, dtype)" if kind.loss.levels else ""
    return f"value, gradient = {_function_name(kind.loss.formula)}({a}, t{levels})", gradient


def _backward_code(row: Activation, dy: str, l: int) -> str:
    """The call of an activation's backward pass."""
    return f"{_function_name(row.backward)}({dy}, {'z' if row.saves == 'z' else 'a'}{l})"


def _function_name(function: Any) -> str:
    """Name of a formula in a program; a user-defined function may lack a name, and cannot be part of a program."""
    return str(getattr(function, "__name__", ""))
