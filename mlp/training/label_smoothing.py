"""Label smoothing: the argument of `MLP.fit`."""

from __future__ import annotations

from mlp._backends import SMOOTHED_LOSSES, ConfigurationError, formulas
from mlp.checks import require_fraction


def check_label_smoothing(choice: float | None, kind: formulas.OutputLoss, previous: float = 0.0) -> float:
    """Return the checked weight of the uniform distribution in the targets; `previous` is the default.

    Raises
    ------
    ConfigurationError
        If it is not in [0, 1), or the targets of the loss are not probabilities.
    """
    smoothing = previous if choice is None else choice
    require_fraction("label_smoothing", smoothing)
    if smoothing and kind.loss.name not in SMOOTHED_LOSSES:
        raise ConfigurationError(
            f"label_smoothing={smoothing:g} is for targets that are probabilities, but those of the loss "
            f"{kind.loss.name!r} are not. Omit it, or use the loss {' or '.join(SMOOTHED_LOSSES)}."
        )
    return float(smoothing)
