"""Training in numbers: every quantity of a step, with its formula, as `MLP.trace` records it."""

from mlp.inspection.trace.quantities import Quantity, Step
from mlp.inspection.trace.recording import record
from mlp.inspection.trace.trace import Trace

__all__ = ["Quantity", "Step", "Trace", "record"]
