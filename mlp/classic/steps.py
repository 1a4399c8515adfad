"""Back-propagation in the twelve steps of the course notes, with all numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ShapeError, get_backend
from mlp.array_checks import as_array, check_inputs
from mlp.checks import require_count, require_positive
from mlp.classic.named_arrays import NamedArrays

Array = NDArray[Any]

SAMPLES = ((1, 0, 1, 0), (1, 0, 1, 1), (0, 1, 0, 1))
"""The three samples of the course notes, with four inputs each."""

TARGETS = (1, 1, 0)
"""The targets of the samples."""


@dataclass(frozen=True, eq=False)
class Step:
    """One of the twelve steps.

    Attributes
    ----------
    number : int
        From 1.
    name, formula : str
    values : dict of str to ndarray
        Results of the step, by the names in the formulas.
    note : str
        A difference from the course notes; empty if there is none.
    """

    number: int
    name: str
    formula: str
    values: dict[str, Array]
    note: str = ""

    def __repr__(self) -> str:
        return f"<Step {self.number}: {self.name}>"

    def __str__(self) -> str:
        return f"{self.number:2} {self.name}: {self.formula}\n{NamedArrays(self.values)}"


_NOTES = {
    8: "the course notes write d_out = E ⊙ slope_out η here, and multiply by η again in steps 11 and 12, so that their "
    "updates have η²; gradient descent has η once",
}


def twelve_steps(
    X: Any = SAMPLES,
    y: Any = TARGETS,
    n_hidden: int = 3,
    *,
    learning_rate: float = 0.1,
    seed: int = 0,
    backend: str = "numpy",
) -> tuple[Step, ...]:
    """One training step of a network with one sigmoid hidden layer and a sigmoid output, by back-propagation.

    As in the course notes, the error is target minus output, and gradients are summed over the m samples. The result
    is that of one step of `mlp.MLP` with the quadratic cost and m times the learning rate.

    In one place this differs from the notes. They multiply by the learning rate twice: in the delta of the output
    (step 8), which is also in the delta of the hidden layer (step 10), and again in the new weights and biases
    (steps 11 and 12). So their parameters change by η² times the gradient. Here η is only in steps 11 and 12, as
    gradient descent demands. `Step.note` says so in step 8.

    Parameters
    ----------
    X : array_like, shape (m, n_inputs)
    y : array_like, shape (m,) or (m, n_outputs)
    n_hidden : int
    learning_rate : float
        η.
    seed : int
        For the weights and biases, drawn from U(0, 1).
    backend : str

    Returns
    -------
    tuple of Step

    Examples
    --------
    >>> steps = twelve_steps()
    >>> for step in steps:
    ...     print(f"{step.number:2} {step.name}: {step.formula}")
     1 read the inputs and the targets: X, y
     2 draw weights and biases: wh, bh, wout, bout ~ U(0, 1)
     3 input of the hidden layer: hidden_input = X·wh + bh
     4 activation of the hidden layer: hidden = σ(hidden_input)
     5 output: output = σ(hidden·wout + bout)
     6 error of the output: E = y - output
     7 derivatives of both activations: slope_out = output ⊙ (1 - output), slope_hidden = hidden ⊙ (1 - hidden)
     8 delta of the output: d_out = E ⊙ slope_out
     9 error of the hidden layer: E_hidden = d_out·woutᵀ
    10 delta of the hidden layer: d_hidden = E_hidden ⊙ slope_hidden
    11 new weights: wout + η hiddenᵀ·d_out, wh + η Xᵀ·d_hidden
    12 new biases: bout + η Σ d_out, bh + η Σ d_hidden
    >>> print(steps[4])
     5 output: output = σ(hidden·wout + bout)
    output (3, 1)
         0.8205
         0.8376
         0.8362

    The update of the notes, with η² instead of η:

    >>> notes = twelve_steps(learning_rate=0.1**2)
    >>> change, of_notes = (s[10].values["wout"] - s[1].values["wout"] for s in (steps, notes))
    >>> (of_notes / change).round(6).ravel()
    array([0.1, 0.1, 0.1])
    """
    xp = get_backend(backend)
    require_positive("learning_rate", learning_rate)
    inputs, targets = _check(X, y)
    sizes = inputs.shape[1], require_count("n_hidden", n_hidden), targets.shape[1]
    draw = np.random.default_rng(seed).uniform
    drawn = draw(size=sizes[:2]), draw(size=sizes[1]), draw(size=sizes[1:]), draw(size=sizes[2])
    x, target, wh, bh, wout, bout = (xp.asarray(array) for array in (inputs, targets, *drawn))

    hidden_input = xp.dense(x, wh, bh)
    hidden = xp.activate(hidden_input, "sigmoid")
    output = xp.dense(hidden, wout, bout, "sigmoid")
    error = target - output
    ones_out, ones_hidden = (xp.zeros(a.shape, a.dtype) + 1 for a in (output, hidden))
    slope_out = xp.activate_backward(ones_out, output, "sigmoid")
    slope_hidden = xp.activate_backward(ones_hidden, hidden, "sigmoid")
    d_out = xp.activate_backward(error, output, "sigmoid")
    error_hidden, d_wout, d_bout = xp.dense_backward(d_out, hidden, output, wout)
    d_hidden = xp.activate_backward(error_hidden, hidden, "sigmoid")
    _, d_wh, d_bh = xp.dense_backward(d_hidden, x, hidden, wh, need_dx=False)

    steps: list[tuple[str, str, dict[str, Any]]] = [
        ("read the inputs and the targets", "X, y", {"X": x, "y": target}),
        ("draw weights and biases", "wh, bh, wout, bout ~ U(0, 1)", {"wh": wh, "bh": bh, "wout": wout, "bout": bout}),
        ("input of the hidden layer", "hidden_input = X·wh + bh", {"hidden_input": hidden_input}),
        ("activation of the hidden layer", "hidden = σ(hidden_input)", {"hidden": hidden}),
        ("output", "output = σ(hidden·wout + bout)", {"output": output}),
        ("error of the output", "E = y - output", {"E": error}),
        (
            "derivatives of both activations",
            "slope_out = output ⊙ (1 - output), slope_hidden = hidden ⊙ (1 - hidden)",
            {"slope_out": slope_out, "slope_hidden": slope_hidden},
        ),
        ("delta of the output", "d_out = E ⊙ slope_out", {"d_out": d_out}),
        ("error of the hidden layer", "E_hidden = d_out·woutᵀ", {"E_hidden": error_hidden}),
        ("delta of the hidden layer", "d_hidden = E_hidden ⊙ slope_hidden", {"d_hidden": d_hidden}),
        (
            "new weights",
            "wout + η hiddenᵀ·d_out, wh + η Xᵀ·d_hidden",
            {"wout": wout + learning_rate * d_wout, "wh": wh + learning_rate * d_wh},
        ),
        (
            "new biases",
            "bout + η Σ d_out, bh + η Σ d_hidden",
            {"bout": bout + learning_rate * d_bout, "bh": bh + learning_rate * d_bh},
        ),
    ]
    return tuple(
        Step(number, name, formula, {key: xp.to_numpy(value) for key, value in values.items()}, _NOTES.get(number, ""))
        for number, (name, formula, values) in enumerate(steps, start=1)
    )


def _check(X: Any, y: Any) -> tuple[Array, Array]:
    host = get_backend("numpy")
    X, y = as_array("X", X, host), as_array("y", y, host)
    inputs = check_inputs(X.astype(np.float64), X.shape[-1] if X.ndim else 0, np.float64, host)
    if y.ndim not in (1, 2) or len(y) != len(inputs):
        raise ShapeError(f"y {y.shape} must have one row for each of the {len(inputs)} rows of X.")
    return inputs, y.astype(np.float64).reshape(len(y), -1)
