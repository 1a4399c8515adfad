"""Training by L-BFGS: scipy's optimizer on the loss and gradient of all rows, as a function of one flat vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from mlp._backends import loop
from mlp.estimators.callbacks import Listeners
from mlp.training import Examples, Run, progress_bar


def minimize(
    run: Run,
    examples: Examples,
    listeners: Listeners,
    *,
    alpha: float,
    tol: float,
    max_iter: int,
    max_fun: int,
    verbose: bool,
    progress: bool,
) -> Any:
    """Minimize the loss from the weights of ``run.net``, which is left with the best; return scipy's result.

    The network's parameters lie in the order of scikit-learn's packed vector, so the iterates are scikit-learn's too.
    """
    net, xp, n = run.net, run.net.xp, examples.rows
    space = loop.Workspace(xp, net.plan, n, net.dtype)
    total = float(n if examples.weight is None else xp.sum(examples.weight))
    l2 = alpha / total if total else 0.0

    def objective(packed: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        listeners.epoch_begins()
        net.parameters[...] = xp.asarray(packed, dtype=net.dtype)
        loss, gradient = loop.loss_and_gradient(xp, net.plan, net.parameters, space, *examples, l2=l2)
        return loss, np.array(xp.to_numpy(gradient), np.float64)

    def iterated(intermediate_result: Any) -> None:
        net.parameters[...] = xp.asarray(intermediate_result.x, dtype=net.dtype)
        loss = float(intermediate_result.fun)
        run.state.epoch += 1
        run.history.loss.append(loss)
        if verbose:
            print(f"Iteration {run.epoch}, loss = {loss:.8f}")
        listeners.epoch_ends()
        if run.control.stop_requested:
            raise StopIteration

    with np.errstate(all="ignore"), progress_bar(run, n, n, shown=progress):
        found = scipy.optimize.minimize(
            objective,
            np.array(xp.to_numpy(net.parameters), np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=iterated,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
    net.parameters[...] = xp.asarray(found.x, dtype=net.dtype)
    return found
