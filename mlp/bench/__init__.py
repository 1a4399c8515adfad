"""Training speed of our backends, compared with other libraries (peers).

`cases` defines what is trained.  `implementations`, `peers`, `torch_peers` and `jax_peers` define what runs it.
`measure`, `gpu_costs` and `first_use` measure the times.  `entries`, `crossover` and `results` store them and compute
speeds and ratios.  `report` and `plots` show them.  `inference`, `inference_peers` and `inference_report` do the same
for predictions; both use `availability`, `machine`, `report_files` and `tables`.

Examples
--------
>>> from mlp import bench
>>> case = bench.Case("8-4-3", batch_size=16)
>>> report = bench.measure([case], bench.find_implementations(["numpy"], peers=["NumPy by hand"]), rounds=2)
>>> [entry.name for entry in report.results[0].entries]
['mlp numpy', 'NumPy by hand']
"""

from mlp.bench.cases import Case
from mlp.bench.entries import Entry, Result
from mlp.bench.implementations import Implementation, Selection, find_implementations
from mlp.bench.measure import measure
from mlp.bench.results import Report, compare

__all__ = [
    "Case",
    "Entry",
    "Implementation",
    "Report",
    "Result",
    "Selection",
    "compare",
    "find_implementations",
    "measure",
]
