"""How many epochs a training has if nobody says it."""

from __future__ import annotations

from typing import Any

from mlp.checks import counted, require_count
from mlp.training.history import History

MIN_EPOCHS, MIN_UPDATES = 10, 3000
"""The default number of epochs is at least the first, and makes at least so many updates."""


def default_epochs(n: int, batch_size: int) -> int:
    """Number of epochs over `n` rows: at least 10, and as many as 3,000 updates need.

    Examples
    --------
    >>> default_epochs(60_000, 32), default_epochs(150, 32)
    (10, 600)
    """
    updates = max(-(-n // batch_size), 1)
    return max(MIN_EPOCHS, -(-MIN_UPDATES // updates))


def choose_epochs(epochs: Any, n: int, batch_size: int, resumed: History | None = None) -> tuple[int, str]:
    """Return the total number of epochs for the argument of `fit`, and the reason for it.

    Raises
    ------
    ConfigurationError
        If `epochs` is not a positive integer.
    """
    if epochs is not None:
        return require_count("epochs", epochs), "as asked"
    if resumed is not None and resumed.planned_epochs is not None:
        return resumed.planned_epochs, resumed.planned_reason
    updates = max(-(-n // batch_size), 1)
    return default_epochs(n, batch_size), (
        f"the default: at least {MIN_EPOCHS} epochs and {MIN_UPDATES:,} updates, of which an epoch over these "
        f"{counted(n, 'row')} has {updates:,}"
    )
