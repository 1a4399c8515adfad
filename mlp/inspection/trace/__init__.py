"""Traces: every quantity of a training step with its formula, as recorded by `MLP.trace`."""

from mlp.inspection.trace.quantities import Quantity, Step
from mlp.inspection.trace.trace import Trace
from mlp.inspection.trace.traced_training import record

__all__ = ["Quantity", "Step", "Trace", "record"]
