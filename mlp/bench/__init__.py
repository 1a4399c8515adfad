"""Training speed: every backend of ours beside the libraries a user would compare them with.

A file for each step: `cases` says what is trained, `contestants` and `peers` by whom, `measure` takes the times,
`results` keeps them and derives speeds and ratios, `report` and `plots` show them.

Examples
--------
>>> from mlp import bench
>>> case = bench.Case("8-4-3", batch_size=16)
>>> report = bench.measure([case], bench.find_contestants(["numpy"], peers=["NumPy by hand"]), rounds=2)
>>> [entry.name for entry in report.results[0].entries]
['mlp numpy', 'NumPy by hand']
"""

from mlp.bench.cases import Case
from mlp.bench.contestants import Contestant, Field, find_contestants
from mlp.bench.measure import measure
from mlp.bench.results import Entry, Report, Result, compare

__all__ = ["Case", "Contestant", "Entry", "Field", "Report", "Result", "compare", "find_contestants", "measure"]
