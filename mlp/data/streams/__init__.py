"""Data that are larger than the memory: rows that are read in blocks, again in each epoch."""

from mlp.data.streams.opening import stream
from mlp.data.streams.row_stream import RowStream
from mlp.data.streams.streamed_dataset import StreamedDataset
from mlp.data.streams.target_statistics import TargetStatistics

__all__ = ["RowStream", "StreamedDataset", "TargetStatistics", "stream"]
