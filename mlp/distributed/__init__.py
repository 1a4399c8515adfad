"""Training by several processes, called ranks, that share the rows of each batch.

`mpi` gives the communicator of the ranks that ``mpiexec`` has started, and `MLP.fit` takes it:
``net.fit(X, y, shards=8, comm=mlp.distributed.mpi())``.  The results are the same bits for any number of ranks.
"""

from mlp.distributed.communicator import SERIAL, Communicator, SerialCommunicator, of_first, require_same
from mlp.distributed.launcher import launched_rank, launched_ranks
from mlp.distributed.mpi_ranks import MPICommunicator, mpi
from mlp.distributed.sharded_trainer import ShardedTrainer, check_shards

__all__ = [
    "SERIAL",
    "Communicator",
    "MPICommunicator",
    "SerialCommunicator",
    "ShardedTrainer",
    "check_shards",
    "launched_rank",
    "launched_ranks",
    "mpi",
    "of_first",
    "require_same",
]
