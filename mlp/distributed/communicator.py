"""What ranks need to train together, as a protocol, and its implementation for a single process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.checks import difference


@runtime_checkable
class Communicator(Protocol):
    """Connects the ranks of a training.

    All ranks call the methods in the same order.

    Attributes
    ----------
    step : int
        Number of updates done, for messages.
    """

    step: int

    @property
    def rank(self) -> int:
        """Number of this rank, from 0."""

    @property
    def size(self) -> int:
        """Number of all ranks, a power of two."""

    def tree_sum(self, array: NDArray[Any]) -> None:
        """Replace `array` by its sum over all ranks, in place.

        Neighbours in a binary tree are added: ``(0 + 1) + (2 + 3)`` for four ranks.  All ranks get the same bits.

        Parameters
        ----------
        array : ndarray, shape (n,)
            Contiguous; of the same shape and dtype on all ranks.
        """

    def agree(self, number: int) -> int:
        """The largest of the numbers of all ranks."""

    def exchange(self, text: str) -> list[str]:
        """The texts of all ranks, in their order."""


class SerialCommunicator:
    """The communicator of a training in one process.

    Examples
    --------
    >>> comm = SerialCommunicator()
    >>> comm.size, comm.agree(3), comm.exchange("one")
    (1, 3, ['one'])
    """

    def __init__(self) -> None:
        self.step = 0

    @property
    def rank(self) -> int:
        """0."""
        return 0

    @property
    def size(self) -> int:
        """1."""
        return 1

    def tree_sum(self, array: NDArray[Any]) -> None:
        """Do nothing: there is nothing to add."""

    def agree(self, number: int) -> int:
        """Return the number."""
        return number

    def exchange(self, text: str) -> list[str]:
        """Return the text in a list."""
        return [text]


SERIAL = SerialCommunicator()


def of_first(comm: Communicator, numbers: Sequence[float]) -> list[float]:
    """The numbers of rank 0, on all ranks.

    Examples
    --------
    >>> of_first(SERIAL, [0.5, 2.0])
    [0.5, 2.0]
    """
    if comm.size == 1:
        return list(numbers)
    values = np.array(numbers, np.float64) if comm.rank == 0 else np.zeros(len(numbers))
    comm.tree_sum(values)
    return [float(value) for value in values]


def require_same(comm: Communicator, facts: Mapping[str, Any]) -> None:
    """Compare the facts of all ranks; all ranks get the same answer.

    Parameters
    ----------
    comm : Communicator
    facts : mapping
        What must be equal on all ranks, by name; values that JSON has.

    Raises
    ------
    ConfigurationError
        If a fact differs; on all ranks.
    """
    if comm.size == 1:
        return
    found = [json.loads(text) for text in comm.exchange(json.dumps(facts))]
    for rank, other in enumerate(found[1:], start=1):
        for name in {**found[0], **other}:
            ours, its = found[0].get(name), other.get(name)
            if ours != its:
                raise ConfigurationError(
                    f"rank {rank} differs from rank 0 in its {name}: {difference(its, ours)}. Ranks that train "
                    "together must have the same data, settings, libraries and type of processor, so that their "
                    "results are the same bits."
                )
