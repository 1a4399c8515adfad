"""Training with L-BFGS: scipy's optimizer minimizes the loss over all rows as a function of one flat vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from mlp._backends import backpropagation, callers_float_warnings, no_float_warnings
from mlp.estimators.callbacks import CallbackList
from mlp.training import Examples, Run, progress_bar


def minimize(
    run: Run,
    examples: Examples,
    callbacks: CallbackList,
    *,
    alpha: float,
    tol: float,
    max_iter: int,
    max_fun: int,
    verbose: bool,
    progress: bool,
) -> Any:
    """Minimize the loss, starting from the weights of ``run.net``; write the best weights to it.

    The network's parameters have the order of scikit-learn's packed vector, and the options are scikit-learn's.  So the
    iterates are scikit-learn's too, until the rounding errors, which the line searches amplify, are no longer small.

    Returns
    -------
    scipy.optimize.OptimizeResult
    """
    net, xp, n = run.net, run.net.xp, examples.rows
    workspace = backpropagation.Workspace(xp, net.plan, n, net.dtype)
    total = float(n if examples.weight is None else xp.sum(examples.weight))
    l2 = alpha / total if total else 0.0

    def objective(packed: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        callbacks.on_epoch_begin()
        net.set_parameters(packed)
        with no_float_warnings():
            loss, gradient = backpropagation.loss_and_gradient(
                xp, net.plan, net.parameters, workspace, *examples, l2=l2
            )
        return loss, np.array(xp.to_numpy(gradient), np.float64)

    def on_iteration(intermediate_result: Any) -> None:  # scipy requires this parameter name
        net.set_parameters(intermediate_result.x)
        loss = float(intermediate_result.fun)
        run.state.epoch += 1
        run.history.loss.append(loss)
        if verbose:
            print(f"Iteration {run.epoch}, loss = {loss:.8f}")
        with callers_float_warnings():
            callbacks.on_epoch_end()
        if run.control.stop_requested:
            raise StopIteration

    with no_float_warnings(), progress_bar(run, n, n, shown=progress):
        result = scipy.optimize.minimize(
            objective,
            np.array(xp.to_numpy(net.parameters), np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=on_iteration,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
    net.set_parameters(result.x)
    return result
