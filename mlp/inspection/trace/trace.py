"""`Trace`: the numbers of some training steps, and the formats to write them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlp.inspection.trace import document, html, markdown, program, text
from mlp.inspection.trace.quantities import Quantity, Recording


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Recording):
    """All numbers of some training steps; created by `MLP.trace`.

    Attributes
    ----------
    network : NetworkPlan
        The network that was trained.
    optimizer : Optimizer
    dtype : dtype
    backend, device : str
        The backend that computed the numbers, and its device.
    seed : int
        Seed of the dropout masks.
    steps : tuple of Step

    Examples
    --------
    >>> import mlp
    >>> net = mlp.MLP([2, 1], loss="quadratic", init="zeros", dtype="float64")
    >>> trace = net.trace([[3.0, 4.0]], [2.0], optimizer=mlp.SGD(0.1))
    >>> trace.steps[0]["dW1"]
    array([[-6.],
           [-8.]])
    >>> [quantity.equation for quantity in trace.steps[0].quantities if quantity.phase == "update"]
    ['W⁽¹⁾ ← W⁽¹⁾ − η·∂L/∂W⁽¹⁾', 'b⁽¹⁾ ← b⁽¹⁾ − η·∂L/∂b⁽¹⁾']
    """

    def __repr__(self) -> str:
        return f"<Trace of {len(self.steps)} step{'s' * (len(self.steps) > 1)} of {self.title}>"

    def __str__(self) -> str:
        return self.to_text()

    def without_data(self) -> Trace:
        """The same trace, of which the formats have no value that depends on the rows.

        Only the parameters before the first step do not: the gradient of a row tells the row.

        Examples
        --------
        >>> import mlp
        >>> net = mlp.MLP([2, 1], loss="quadratic", init="zeros", dtype="float64")
        >>> trace = net.trace([[3.0, 4.0]], [2.0], optimizer=mlp.SGD(0.1)).without_data()
        >>> {quantity.name for quantity in trace.steps[0].quantities if not quantity.hidden} == {"W1", "b1"}
        True
        """
        steps = [
            replace(step, quantities=tuple(_hidden(quantity, step.number == 1) for quantity in step.quantities))
            for step in self.steps
        ]
        return replace(self, steps=tuple(steps))

    def to_text(self) -> str:
        """Plain text, for a terminal."""
        return text.to_text(self)

    def to_markdown(self, *, blank: bool = False) -> str:
        """Tables in Markdown: quantity, formula, shape, value.

        Parameters
        ----------
        blank : bool
            Leave out the computed values, for an exercise to fill in by hand.
        """
        return markdown.to_markdown(self, blank=blank)

    def to_html(self) -> str:
        """A self-contained HTML page."""
        return html.to_html(self)

    def to_json(self) -> str:
        """A JSON document; quantities with more than 64 values are summarised, as in the other formats."""
        return document.to_json(self)

    def to_numpy_program(self) -> str:
        """A Python program that computes these numbers again with NumPy only, prints them and checks them.

        Raises
        ------
        ConfigurationError
            If there are too many numbers for a readable program, or the network has user-defined functions.
        """
        return program.to_numpy_program(self)


def _hidden(quantity: Quantity, first_step: bool) -> Quantity:
    is_parameter = quantity.phase == "given" and quantity.symbol[0] in "Wb"
    return quantity if is_parameter and first_step else replace(quantity, hidden=True)
