"""The formulas of all activations, losses and update rules.

Each formula is an ordinary Python function that uses a few functions of `numpy`.  A backend runs the *same code*
on its arrays by binding these names to its own functions (`bind`), and the Numba backend compiles it for scalars.
Therefore a formula uses only the names in `NAMES` and `ROW_NAMES` and other formulas, branches with `where`, and
avoids overflow and cancellation.  The accuracy of the formula is that of all backends.

To add an activation, write its two functions and add a row to `activations.ACTIVATIONS`.  All backends, the
comparison tests and the tables of the documentation use that row.

Symbols: ``z`` input of an activation, ``y`` its output, ``t`` target, ``dy`` and ``dz`` gradients of the loss,
``p`` a parameter, ``g`` its gradient.
"""

from backends.formulas.activations import ACTIVATIONS, Activation, activation, require_derivative
from backends.formulas.binding import bind
from backends.formulas.elementary import NAMES, ROW_NAMES, erfc, row_max, row_sum
from backends.formulas.losses import FUSED, LOSSES, Loss, OutputLoss, loss, output_loss, pair
from backends.formulas.translator import Language, Translation, Translator
from backends.formulas.update_rules import RULES, Rule, UpdateRule

__all__ = [
    "ACTIVATIONS",
    "FUSED",
    "LOSSES",
    "NAMES",
    "ROW_NAMES",
    "RULES",
    "Activation",
    "Language",
    "Loss",
    "OutputLoss",
    "Rule",
    "Translation",
    "Translator",
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
