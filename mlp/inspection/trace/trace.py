"""`Trace`: some steps of training in numbers, and the formats they are written in."""

from __future__ import annotations

from dataclasses import dataclass

from mlp.inspection.trace import document, html, markdown, program, text
from mlp.inspection.trace.quantities import Recording


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Recording):
    """Some steps of training in numbers; made by `MLP.trace`.

    Attributes
    ----------
    network : NetworkPlan
        What was trained.
    optimizer : Optimizer
    dtype : dtype
    backend, device : str
        Whose operations gave the numbers.
    seed : int
        Of the dropout masks.
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
    ['W¹ ← W¹ − η·∂L/∂W¹', 'b¹ ← b¹ − η·∂L/∂b¹']
    """

    def __repr__(self) -> str:
        return f"<Trace of {len(self.steps)} step{'s' * (len(self.steps) > 1)} of {self.title}>"

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self) -> str:
        """Plain text, for a terminal."""
        return text.to_text(self)

    def to_markdown(self, *, blank: bool = False) -> str:
        """Tables in Markdown: quantity, formula, shape, value.

        Parameters
        ----------
        blank : bool
            Leave out the values that are to be computed: an exercise, to be filled in by hand.
        """
        return markdown.to_markdown(self, blank=blank)

    def to_html(self) -> str:
        """One self-contained page of HTML."""
        return html.to_html(self)

    def to_json(self) -> str:
        """A JSON document; of more than 64 values it holds a summary, as the other formats do."""
        return document.to_json(self)

    def to_numpy_program(self) -> str:
        """A Python program that needs NumPy alone, computes these numbers again, prints and checks them.

        Raises
        ------
        ConfigurationError
            If there are too many numbers for a program to be read, or the network has functions of a user's own.
        """
        return program.to_numpy_program(self)
