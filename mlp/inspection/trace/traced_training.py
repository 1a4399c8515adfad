"""Record a trace by training a copy of a network with a `Recorder` as its backend.

The training itself is that of `mlp.training` and `backends.loop`, so the trace contains the numbers of real training.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, cast

from mlp import optimizers, training
from mlp._backends import Backend, ConfigurationError, NetworkPlan
from mlp.checks import check_batch_size, require_count
from mlp.inspection.trace.recorder import Recorder
from mlp.inspection.trace.trace import Trace
from mlp.network import FeedForward
from mlp.optimizers import Optimizer
from mlp.training import Callback, History, Run, TrainingState

MAX_NUMBERS = 2**26
"""Maximum size of a trace: half a gigabyte in float64."""


def record(
    net: FeedForward,
    training_state: TrainingState | None,
    X: Any,
    y: Any,
    *,
    optimizer: str | Optimizer | None,
    steps: int,
    batch_size: int | None,
    sample_weight: Any,
) -> Trace:
    """Implementation of `MLP.trace`; see there."""
    net.require_trainable()
    if net.plan.layout.scaling_layer:
        raise ConfigurationError(
            "a trace does not show a scaling layer: trace net.without_scaling_layer(), which has the same outputs."
        )
    steps = require_count("steps", steps)
    examples, _ = net.check_examples(X, y, sample_weight)
    n = examples.rows
    batch_size = n if batch_size is None else check_batch_size(batch_size, n)
    if training_state is None or optimizer is not None:
        state = TrainingState.begin(net, optimizers.optimizer("adam" if optimizer is None else optimizer))
    else:
        copied = copy.deepcopy(training_state.optimizer)
        state = replace(training_state, optimizer=copied, slots=training_state.slots.copy(), history=History())
    if state.optimizer.rate_factors(net.plan.layout):
        raise ConfigurationError(
            "a trace does not show factors of the learning rate: give it an optimizer without them, such as mlp.Adam()."
        )
    state.leave_epoch()
    state.reset_best()
    _check_size(net.plan, batch_size, steps, len(state.slots))
    trained, recorder = net.copy(), Recorder(net.xp, net.plan)
    trained.precision = "float32"  # the recorded operations are not those of a trainer with another precision
    trained.xp = cast(Backend, recorder)
    training.train(
        Run(trained, state, state.epoch + steps),  # enough epochs, because each has at least one step
        examples,
        batch_size=batch_size,
        shuffle=False,
        callbacks=[_StopAfter(steps, recorder)],
        catch_interrupt=False,
    )
    return Trace(net.plan, state.optimizer, net.dtype, net.backend, net.xp.device, net.seed, tuple(recorder.steps))


def _check_size(network: NetworkPlan, rows: int, steps: int, n_states: int) -> None:
    """Raise an error if the trace would need too much memory."""
    layout = network.layout
    numbers = steps * (layout.n_parameters * (4 + 2 * n_states) + 6 * rows * sum(layout.sizes))
    if numbers > MAX_NUMBERS:
        raise ConfigurationError(
            f"a trace stores every number: {steps} steps with {layout.n_parameters:,} parameters and {rows} rows need "
            f"about {numbers:.1e} numbers, and the maximum is {MAX_NUMBERS:.1e}. Trace fewer steps or fewer rows."
        )


class _StopAfter(Callback):
    """Ends each step of the recorder, and stops training after the requested number of steps."""

    def __init__(self, steps: int, recorder: Recorder) -> None:
        self.steps = steps
        self.recorder = recorder

    def on_batch_end(self, run: Run, batch: int, loss: float) -> None:
        self.recorder.end_step(run.epoch + 1, batch + 1, loss)
        if len(self.recorder.steps) == self.steps:
            run.stop("the trace is complete")
