"""Every activation, loss and update rule: the mathematics of the project, written once.

Each formula is an ordinary Python function of a few names imported from `numpy`, so it can be read, and run,
unchanged.  A backend runs the *same code* on its own arrays by rebinding those names (`bind`), and the Numba
backend compiles it for scalars.  Therefore a formula uses only the names of `NAMES` and `ROW_NAMES` and other
formulas, branches through `where`, and neither overflows nor cancels: the accuracy of every backend is the
accuracy of the formula.

To add an activation, write its two functions and add a row to `activations.ACTIVATIONS`.  Every backend, every
parity test and the tables of the documentation use that row.

Symbols: ``z`` input of an activation, ``y`` its output, ``t`` target, ``dy`` and ``dz`` gradients of the loss,
``p`` a parameter, ``g`` its gradient.
"""

from backends.formulas.activations import ACTIVATIONS, Activation, activation, require_derivative
from backends.formulas.binding import bind
from backends.formulas.elementary import NAMES, ROW_NAMES, erfc, row_max, row_sum
from backends.formulas.losses import FUSED, LOSSES, Loss, OutputLoss, loss, output_loss, pair
from backends.formulas.update_rules import RULES, Rule, UpdateRule

__all__ = [
    "ACTIVATIONS",
    "FUSED",
    "LOSSES",
    "NAMES",
    "ROW_NAMES",
    "RULES",
    "Activation",
    "Loss",
    "OutputLoss",
    "Rule",
    "UpdateRule",
    "activation",
    "bind",
    "erfc",
    "loss",
    "output_loss",
    "pair",
    "require_derivative",
    "row_max",
    "row_sum",
]
