"""Data that are larger than the memory: rows that are read in blocks, again in each epoch."""

from mlp.data.streams.row_stream import RowStream

__all__ = ["RowStream"]
