"""`Tiling`: who does what in the persistent kernel, and what is where in shared memory."""

from __future__ import annotations

import typing
from dataclasses import dataclass


class Choice(typing.NamedTuple):
    """What can be chosen for a tiling; the rest follows from it.  See `Tiling`."""

    blocks: int
    units_of_thread: int
    quads_of_thread: int
    x_buffers: int
    part_rows: int
    tensor: bool


@dataclass(frozen=True)
class Tiling:
    """Who does what, and what is where.

    Attributes
    ----------
    blocks : int
        Blocks of the cluster or grid; each has `units` hidden units.
    threads : int
        Of a block.
    groups, group_threads : int
        The first threads of a block are `groups` groups of `group_threads`, which have the weights of the first layer.
    units, padded_units : int
        Hidden units of a block; the same, rounded up to those of its groups.
    units_of_thread, quads_of_thread : int
        A thread has the weights from `quads_of_thread` times four inputs to `units_of_thread` units, in registers.
    tensor : bool
        Whether the products of the first layer are computed by tensor cores, as sums of products in bfloat16 that have
        float32's accuracy.  A thread then has the weights from `quads_of_thread` times four inputs to one unit of each
        of `units_of_thread` times eight.
    tile_rows : int
        Rows of the batch for which a thread computes sums at once.
    part_rows, parts : int
        Rows of the parts in which a batch is worked off, one after the other; their number.
    tall : int
        Rows of a part, rounded up to tiles.
    keeps_gradient : bool
        Whether a thread has registers for the gradient of its weights: to add up that of several parts, or to need it
        twice, for the norm and for the update.
    x_buffers : int
        Parts of batches of X in shared memory.  2: rows are copied during the step before; 1: at its end; 0: they are
        read from global memory when they are needed.
    lanes : int
        Threads of a warp that share a row of the outputs: as many as finish all rows at once.
    rows, row_bytes : int
        Rows of a batch, and bytes of a row of X in shared memory.
    by_owners : bool
        With several hidden layers: whether a block adds up a part of the entries of z of layer 2 for all blocks.
    owned : int
        How many entries that is, at most.
    remembered, above : int
        Parameters of which a block keeps the state; those of them that belong to the third and higher layers.
    places : tuple of (str, int)
        Where each array begins in the shared memory of a block.
    shared_bytes : int
        Of a block.
    microseconds : float
        Estimated time of a step.
    on_grid : bool
        Whether the blocks are those of a cooperative grid (`grid_tilings`), not of a cluster.
    """

    blocks: int
    threads: int
    groups: int
    group_threads: int
    units: int
    padded_units: int
    units_of_thread: int
    quads_of_thread: int
    tensor: bool
    tile_rows: int
    part_rows: int
    tall: int
    keeps_gradient: bool
    x_buffers: int
    lanes: int
    rows: int
    row_bytes: int
    by_owners: bool
    owned: int
    remembered: int
    above: int
    places: tuple[tuple[str, int], ...]
    shared_bytes: int
    microseconds: float
    on_grid: bool = False

    @property
    def own_groups(self) -> int:
        """Groups of eight hidden units that share random numbers, and of which a block has some."""
        return (self.units + 14) // 8

    @property
    def parts(self) -> int:
        return -(-self.rows // self.part_rows)

    @property
    def unrolled_rows(self) -> int:
        """Rows of which the kernel has the instructions for the gradient one after the other."""
        return 8 if self._unrolls else 1

    @property
    def unrolled_tiles(self) -> int:
        """Tiles of which the kernel has the instructions one after the other."""
        return self.tall // self.tile_rows if self._unrolls else 1

    @property
    def _unrolls(self) -> bool:
        """Whether there are few instructions for a row, and registers to have several rows at work."""
        return self.quads_of_thread * self.units_of_thread * self.tall <= 256 and self.threads <= 256

    @property
    def choice(self) -> Choice:
        return Choice(
            self.blocks, self.units_of_thread, self.quads_of_thread, self.x_buffers, self.part_rows, self.tensor
        )
