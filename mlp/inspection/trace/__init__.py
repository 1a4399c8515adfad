"""Traces: every quantity of a training step with its formula, as recorded by `MLP.trace`."""

from mlp.inspection.trace.quantities import Quantity, Step
from mlp.inspection.trace.recording import record
from mlp.inspection.trace.trace import Trace

__all__ = ["Quantity", "Step", "Trace", "record"]
