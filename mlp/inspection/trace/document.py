"""A trace as a JSON document."""

from __future__ import annotations

from typing import Any

from mlp.inspection.trace.quantities import Quantity, Recording, Step
from mlp.io.json_documents import to_json as dump


def to_json(trace: Recording) -> str:
    """See `Trace.to_json`."""
    network = trace.network
    return dump(
        {
            "sizes": network.layout.sizes,
            "activations": [row.name for row in network.activations],
            "loss": network.kind.loss.name,
            "dtype": str(trace.dtype),
            "backend": trace.backend,
            "device": trace.device,
            "seed": trace.seed,
            "optimizer": trace.optimizer.to_dict(),
            "n_steps": len(trace.steps),
            "steps": [_step(step) for step in trace.shown() if step is not None],
        }
    )


def _step(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "epoch": step.epoch,
        "batch": step.batch,
        "loss": None if any(quantity.hidden for quantity in step.quantities) else step.loss,
        "constants": step.constants,
        "quantities": [_quantity(quantity) for quantity in step.quantities],
    }


def _quantity(quantity: Quantity) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if not quantity.hidden:
        content = {"summary": quantity.summary()} if quantity.summarised else {"values": quantity.values.tolist()}
    return {
        "name": quantity.name,
        "symbol": quantity.symbol,
        "formula": quantity.formula,
        "phase": quantity.phase,
        "layer": quantity.layer,
        "shape": quantity.shape,
        **content,
    }
