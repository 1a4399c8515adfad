"""The portable training loop: forward pass, back-propagation and update, as operations of a backend `xp`.

This is the definition of training in this project.  A backend may run whole epochs faster, but its results must
be the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.checks import require_precision
from backends.errors import ConfigurationError, ShapeError
from backends.float_warnings import callers_float_warnings, no_float_warnings
from backends.formulas import Rule
from backends.operations import Operations
from backends.plan import Array, BatchHook, Control, EpochPlan, EpochResult, NetworkPlan
from backends.row_orders import Shuffle


class Workspace:
    """The intermediate arrays of a step, allocated once for the largest batch; a smaller batch uses slices."""

    def __init__(self, xp: Operations, network: NetworkPlan, rows: int, dtype: Any) -> None:
        sizes, scaled = network.layout.sizes, network.layout.scaling_layer
        self.rows = rows
        self.x = xp.empty((rows, sizes[0]), dtype)
        self.scaled: Array = xp.empty((rows, sizes[0]), dtype) if scaled else None
        self.y = [xp.empty((rows, n), dtype) for n in sizes[1:]]
        self.z = [
            xp.empty((rows, n), dtype) if row.saves == "z" else None
            for n, row in zip(sizes[1:], network.activations, strict=True)
        ]
        self.dropped: list[Array] = [
            xp.empty((rows, n), dtype) if rate else None for n, rate in zip(sizes[:-1], network.dropout, strict=True)
        ]
        self.delta = [xp.empty((rows, n), dtype) if l or scaled else None for l, n in enumerate(sizes[:-1])]
        self.gradient = xp.empty((network.layout.n_parameters,), dtype)


def logits(xp: Operations, network: NetworkPlan, params: Array, x: Array) -> Array:
    """The input of the output activation, shape (n, n_out), for the rows of x; without dropout."""
    layers, factors = network.layout.layers(params), network.layout.scaling(params)
    if factors is not None:
        x = xp.scale_columns(x, factors)
    for (W, b), activation in zip(layers[:-1], network.activations, strict=False):
        x = xp.dense(x, W, b, activation)
    return xp.dense(x, *layers[-1])


def loss_and_gradient(
    xp: Operations,
    network: NetworkPlan,
    params: Array,
    workspace: Workspace,
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    l2: float = 0.0,
    l1: float = 0.0,
    counter: tuple[int, int, int] | None = None,
    first_row: int = 0,
    batch_weight: float | None = None,
) -> tuple[float, Array]:
    """Loss of one batch and its gradient with respect to every parameter, by back-propagation.

    Parameters
    ----------
    params : array, shape (n_parameters,)
    workspace : Workspace
        For n rows or more.
    x : array, shape (n, n_in)
    target : array, shape (n,) of class numbers or (n, n_out)
    weight : array, shape (n,), optional
    l2, l1 : float
        Penalties on the weights.
    counter : tuple of int, optional
        (seed, epoch, step) of the dropout masks; without it there is no dropout.
    first_row, batch_weight : int, float, optional
        If the rows are a part of a batch: the position of the first row in it, and the number of rows (or the sum of
        the weights) of the whole batch, by which loss and gradient are divided.

    Returns
    -------
    loss : float
    gradient : array, shape (n_parameters,)
        An array of the workspace: the next call overwrites it.
    """
    layout, rows, last = network.layout, x.shape[0], network.layout.n_layers - 1
    layers, gradients = layout.layers(params), layout.layers(workspace.gradient)
    factors, unscaled = layout.scaling(params), x
    if factors is not None:
        x = xp.scale_columns(x, factors, out=workspace.scaled[:rows])

    inputs, saved = [], []  # of each layer: its input, and what the activation's backward pass needs
    for l, ((W, b), activation) in enumerate(zip(layers, network.activations, strict=True)):
        rate = network.dropout[l]
        if rate and counter:
            x = xp.dropout(x, rate, (*counter, l), out=workspace.dropped[l][:rows], first_row=first_row)
        inputs.append(x)
        z = workspace.z[l]
        z = None if z is None else z[:rows]
        if l == last:
            x = xp.dense(x, W, b, "identity", out=workspace.y[l][:rows])
        else:
            x = xp.dense(x, W, b, activation, out=workspace.y[l][:rows], preactivation=z)
        saved.append(x if z is None else z)

    loss, delta = xp.loss_and_delta(network.kind, x, target, weight, batch_weight)
    for l in range(last, -1, -1):
        dx = workspace.delta[l]
        dW, db = gradients[l]
        delta, _, _ = xp.dense_backward(
            delta, inputs[l], saved[l], layers[l][0], "identity" if l == last else network.activations[l],
            dx=None if dx is None else dx[:rows], dW=dW, db=db, need_dx=dx is not None,
        )  # fmt: skip
        if dx is not None and counter and network.dropout[l]:
            delta = xp.dropout(delta, network.dropout[l], (*counter, l), out=delta, first_row=first_row)
    if factors is not None:
        xp.scale_columns_backward(delta, unscaled, out=layout.scaling(workspace.gradient))

    total = float(loss)
    if l2 or l1:
        n = layout.n_weights
        total += xp.add_penalty(params[:n], workspace.gradient[:n], l2=l2, l1=l1)
    return total, workspace.gradient


@dataclass(frozen=True)
class Execution:
    """How a trainer runs the epochs of a plan.

    Attributes
    ----------
    method : str
        Such as ``"step by step"`` or ``"epoch kernel, 2 threads"``.
    reason : str
        Why not by a faster method of the same backend; empty if there is none.
    """

    method: str
    reason: str = ""


class Trainer:
    """Trains one network on one data set, for any number of epochs; made by `Backend.trainer`.

    The trainer keeps its scratch buffers between epochs.  A backend may also keep copies of the data, or of the
    parameters in another layout.  Therefore `params` and `state` are up to date only after `read_back`.  A caller
    who changes them must call `refresh`.

    Parameters
    ----------
    xp : Operations
    network : NetworkPlan
    rule : Rule
    X : array, shape (n, n_in)
        Of the parameters' dtype, or uint8.
    target : array, shape (n,) of class numbers or (n, n_out)
    weight : array, shape (n,), or None
    params : array, shape (n_parameters,)
    state : array, shape (len(rule.row.state), n_parameters)
    batch_size : int
        The largest batch.

    Raises
    ------
    ConfigurationError
        If the backend does not have the network's precision.
    ShapeError
        If the shapes of the arrays do not fit the network, the rule or each other.
    """

    def __init__(
        self,
        xp: Operations,
        network: NetworkPlan,
        rule: Rule,
        X: Array,
        target: Array,
        weight: Array | None,
        params: Array,
        state: Array,
        batch_size: int,
    ) -> None:
        require_precision(xp, network)
        self.xp, self.network, self.rule, self.batch_size = xp, network, rule, batch_size
        self.X, self.target, self.weight = X, target, weight
        self.params, self.state = params, state
        self._check_arrays()
        self._read_weight()
        self._workspace: Workspace | None = None
        self._saved: tuple[Array, Array] | None = None
        self._order: tuple[Any, NDArray[np.int64]] = (None, np.empty(0, np.int64))

    # -- training -----------------------------------------------------------------------------------

    def epochs(
        self, plans: Sequence[EpochPlan], control: Control | None = None, on_batch: BatchHook | None = None
    ) -> list[EpochResult]:
        """Train for the epochs of `plans`, one after the other.

        Parameters
        ----------
        plans : sequence of EpochPlan
            With this trainer's network and rule.
        control : Control, optional
            Can request a stop, and receives the number of batches done.
        on_batch : callable, optional
            Called after each batch with its number and loss; `params` and `state` are then up to date.

        Returns
        -------
        list of EpochResult
            One for each plan, or fewer if a loss that is not finite or a request to stop ends the training early.

        Raises
        ------
        ConfigurationError
            If a plan is for another network or rule.
        ShapeError
            If an order has rows that X does not have.
        """
        control, results = control or Control(), list[EpochResult]()
        if on_batch is not None:
            on_batch = callers_float_warnings()(on_batch)
        with no_float_warnings():  # an overflow makes the loss infinite or NaN, which is reported
            while len(results) < len(plans):
                results += self._run(plans[len(results) :], control, on_batch)
                halted = results[-1].failed is not None and plans[len(results) - 1].halt
                if halted or control.stop_requested:
                    break
        return results

    def epochs_of_call(self, rows: int) -> int:
        """How many epochs of so many rows `epochs` should train for in one call, if nothing happens between them.

        The results do not depend on it.  With more of them, a request to stop may be noticed too late; with less,
        calls may take a noticeable part of the time.

        Parameters
        ----------
        rows : int

        Returns
        -------
        int
            1 or more.
        """
        return 1

    def _run(self, plans: Sequence[EpochPlan], control: Control, on_batch: BatchHook | None) -> list[EpochResult]:
        """Train for the first of `plans`; a backend may include some of those that follow it."""
        self._check_plan(plans[0])
        return [self._epoch(plans[0], control, on_batch)]

    def execution(self, plan: EpochPlan, on_batch: bool = False) -> Execution:
        """How this trainer runs the epochs of `plan`; nothing is trained or compiled.

        The row numbers of the plan are not read.  So a trainer on a few rows can answer for a plan with many.

        Parameters
        ----------
        plan : EpochPlan
            With this trainer's network and rule.
        on_batch : bool
            Whether a function is called after each batch.

        Raises
        ------
        ConfigurationError
            If the plan is for another network or rule.
        """
        self._check_plan(plan)
        return Execution("step by step")

    # -- several trainings --------------------------------------------------------------------------

    in_lockstep = False
    """Whether several are trained at the same time by `train_together`, an epoch each, and not by `run_at_once`."""

    def at_once(self) -> tuple[int, str]:
        """How many trainings such as this one the backend runs at the same time, because that is faster.

        Returns
        -------
        count : int
            1 if they run one after the other.
        reason : str
            Why it is 1; empty if it is more.
        """
        return 1, "this backend trains one network after the other"

    def run_at_once(self, task: Callable[[int], object], count: int, on_interrupt: Callable[[], object]) -> None:
        """Call ``task(0), ..., task(count - 1)`` in this order, as many at the same time as `at_once` says.

        Parameters
        ----------
        task : callable
            A training such as this one, by a trainer of its own.
        count : int
        on_interrupt : callable
            Called on Ctrl-C, or when a task fails while others run; it must make the running tasks stop.

        Raises
        ------
        BaseException
            The first exception of a task, when all tasks that had begun have ended.  No other task begins.
        """
        for number in range(count):
            task(number)

    def train_together(self, epochs: Sequence[tuple[Trainer, EpochPlan, Control]]) -> list[EpochResult]:
        """Train several networks for an epoch each, with the results of `epochs`.

        A backend with `in_lockstep` trains them at the same time, except where `why_alone` has a reason.

        Parameters
        ----------
        epochs : sequence of (Trainer, EpochPlan, Control)
            Different trainers of the backend of this one.

        Returns
        -------
        list of EpochResult
            One for each.
        """
        return [trainer.epochs([plan], control)[0] for trainer, plan, control in epochs]

    def why_alone(self, plan: EpochPlan) -> str:
        """Why `train_together` would not train this network together with others; empty if it would.

        Parameters
        ----------
        plan : EpochPlan
            With this trainer's network and rule.
        """
        self._check_plan(plan)
        return "this backend trains one network after the other"

    # -- an epoch -----------------------------------------------------------------------------------

    def _epoch(self, plan: EpochPlan, control: Control, on_batch: BatchHook | None) -> EpochResult:
        self._use_arrays()
        rows = self._rows(plan)
        order, weights = self.xp.asarray(rows), plan.batch_weights(self._weight_of(rows))
        normalizers, losses, failed = plan.normalizers(weights), np.empty(len(weights)), None
        for done, batch in enumerate(plan.batches):
            if control.stop_requested:
                return self._result(losses[:done], weights[:done], failed)
            loss, gradient = self._gradient(plan, batch, order[plan.batch_rows(batch)])
            loss += self.add_penalty(plan, batch, gradient)
            losses[done] = loss
            if failed is None and not math.isfinite(loss):
                failed = batch
                if plan.halt:
                    return self._result(losses[: done + 1], weights[: done + 1], failed)
            if normalizers[done] > 0:  # a batch with weight zero changes neither parameters nor state
                self.update(plan, batch, gradient)
            control.batches_done = batch + 1
            if on_batch is not None:
                on_batch(batch, float(loss))
        return self._result(losses, weights, failed)

    def _result(self, losses: NDArray[Any], weights: NDArray[Any], failed: int | None) -> EpochResult:
        return EpochResult(losses, weights, failed, all_finite(self.xp, self.params))

    # -- the parts of a step ------------------------------------------------------------------------

    def gradient(self, plan: EpochPlan, batch: int, first: int = 0, last: int | None = None) -> tuple[float, Array]:
        """Contribution of rows `first` to `last` of a batch to its loss and gradient, without the penalties.

        The contributions of all rows of a batch add up to its loss and gradient.  Data-parallel training sums them
        over processes, and then calls `add_penalty` and `update`.

        Parameters
        ----------
        plan : EpochPlan
        batch : int
            Number of the batch in the plan.
        first, last : int
            Rows by their position in the batch; default: all.

        Returns
        -------
        loss : float
        gradient : array, shape (n_parameters,)
            An array of the trainer: the next call overwrites it.

        Raises
        ------
        ConfigurationError
            If the plan has no such batch, or the batch no such rows.
        """
        self._check_plan(plan)
        rows = self._rows(plan)[plan.batch_rows(batch)]
        last = len(rows) if last is None else last
        if batch < 0 or not len(rows) or not 0 <= first <= last <= len(rows):
            raise ConfigurationError(
                f"batch {batch} has {len(rows) if batch >= 0 else 0} rows; rows {first} to {last} are not among them."
            )
        self._use_arrays()
        weight = self._weight_of(rows)
        batch_weight = float(len(rows) if weight is None else weight.sum())
        with no_float_warnings():
            return self._gradient(plan, batch, self.xp.asarray(rows[first:last]), first, batch_weight)

    def step_parts(self, plan: EpochPlan, largest: int, gradients: int) -> StepParts:
        """The parts of a plan's steps, for gradients that are summed before the update.

        Parameters
        ----------
        plan : EpochPlan
        largest : int
            The largest number of rows whose gradient is asked for at once.
        gradients : int
            How many gradients the caller must be able to keep.
        """
        self._check_plan(plan)
        return StepParts(self, plan, gradients)

    def _gradient(
        self, plan: EpochPlan, batch: int, rows: Array, first: int = 0, batch_weight: float | None = None
    ) -> tuple[float, Array]:
        """`gradient` for row numbers on the device; by default they are the whole batch."""
        xp, network, n = self.xp, self.network, rows.shape[0]
        workspace = self._workspace_for(n)
        x = xp.take_rows(self.X, rows, out=workspace.x[:n], scale=network.input_scale)
        target = xp.take_rows(self.target, rows)
        if plan.label_smoothing:
            n_outputs = network.layout.sizes[-1]
            target = xp.smooth_labels(network.kind, target, n_outputs, plan.label_smoothing, self.params.dtype)
        weight = None if self.weight is None else xp.take_rows(self.weight, rows)
        if plan.batch_weight is not None:
            batch_weight = float(plan.batch_weight[batch])
        return loss_and_gradient(
            xp, network, self.params, workspace, x, target, weight,
            counter=(plan.seed, plan.epoch, plan.batches_before + batch),
            first_row=plan.row_offset + first, batch_weight=batch_weight,
        )  # fmt: skip

    def _weight_of(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        return None if self._host_weight is None else self._host_weight[rows]

    def add_penalty(self, plan: EpochPlan, batch: int, gradient: Array) -> float:
        """Add the gradient of the l2 and l1 penalties to `gradient`, in place; return the value of the penalties."""
        self._use_arrays()
        l2, n = float(plan.l2[batch]), self.network.layout.n_weights
        return self.xp.add_penalty(self.params[:n], gradient[:n], l2=l2, l1=plan.l1) if l2 or plan.l1 else 0.0

    def update(self, plan: EpochPlan, batch: int, gradient: Array) -> None:
        """Clip `gradient` in place, then apply the weight decay and the update rule to `params` and `state`."""
        self._use_arrays()
        xp, n_weights = self.xp, self.network.layout.n_weights
        xp.clip(gradient, by_value=plan.clip_value, by_norm=plan.clip_norm)
        step = plan.first_step + batch + 1
        for start, stop, factor in plan.segments():
            rate = float(plan.learning_rates[batch]) * factor
            if plan.weight_decay and start < n_weights:
                xp.multiply(self.params[start : min(stop, n_weights)], 1 - rate * plan.weight_decay)
            part = slice(start, stop)
            xp.update(self.rule, self.params[part], gradient[part], self.state[:, part], step, rate)

    def _workspace_for(self, rows: int) -> Workspace:
        if self._workspace is None or self._workspace.rows < rows:
            largest = min(self.batch_size, max(rows, self.X.shape[0]))
            self._workspace = Workspace(self.xp, self.network, max(rows, largest), self.params.dtype)
        return self._workspace

    # -- parameters and state -----------------------------------------------------------------------

    def read_back(self) -> None:
        """Bring `params` and `state` up to date."""
        self._saved = None

    def roll_back(self) -> None:
        """Undo the training since the last `read_back` or `refresh`, in `params` and `state` too."""
        if self._saved is not None:
            self.params[...], self.state[...] = self._saved

    def current(self, out: tuple[Array, Array] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Host copies of the parameters and the state as they are now, also between the parts of an epoch.

        Neither `params` and `state` nor what `roll_back` restores is changed.

        Parameters
        ----------
        out : tuple of ndarray, optional
            What an earlier call returned, to be overwritten: new memory of this size takes longer than the copies.

        Returns
        -------
        params : ndarray, shape (n_parameters,)
        state : ndarray, shape (len(rule.row.state), n_parameters)
        """
        params, state = self._host_arrays(out)
        params[...], state[...] = self.xp.to_numpy(self.params), self.xp.to_numpy(self.state)
        return params, state

    def _host_arrays(self, out: tuple[Array, Array] | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """`out`, or new arrays if it does not fit."""
        wanted = [(array.shape, array.dtype) for array in (self.params, self.state)]
        if out is not None and [(array.shape, array.dtype) for array in out] == wanted:
            return out
        params, state = (np.empty(shape, dtype) for shape, dtype in wanted)
        return params, state

    def refresh(self) -> None:
        """Use the present values of all arrays, after the caller changed them; call `read_back` before the change."""
        self._saved = None
        self._check_arrays()
        self._read_weight()

    def write_rows(self, first: int, X: Array, target: Array, weight: Array | None = None) -> None:
        """Replace the values of the rows from `first` on.

        Parameters
        ----------
        first : int
        X, target, weight : array
            Of the host or the device, with the dtypes of the trainer's arrays; `weight` if the trainer has weights.

        Raises
        ------
        ShapeError
            If the trainer does not have so many rows.
        """
        rows = slice(first, first + len(X))
        if not 0 <= first <= rows.stop <= self.X.shape[0]:
            raise ShapeError(f"rows {first} to {rows.stop} are not among the {self.X.shape[0]} rows of X.")
        for own, values in ((self.X, X), (self.target, target), (self.weight, weight)):
            if own is not None:
                own[rows] = self.xp.asarray(values)
        if self._host_weight is not None and self.weight is not None:
            self._host_weight[rows] = self.xp.to_numpy(self.weight[rows])

    def another(self, params: Array, state: Array) -> Trainer:
        """A trainer on the same rows with other parameters and another state of the rule."""
        return self.xp.trainer(  # type: ignore[no-any-return]
            self.network, self.rule, self.X, self.target, self.weight, params, state, self.batch_size
        )

    def inputs_of(self, plan: EpochPlan, batch: int) -> Array:
        """The rows of X that are in a batch of the plan."""
        return self.xp.take_rows(self.X, self.xp.asarray(self._rows(plan)[plan.batch_rows(batch)]))

    def _read_weight(self) -> None:
        weight = self.weight
        self._host_weight = None if weight is None else np.asarray(self.xp.to_numpy(weight), np.float64)

    def _use_arrays(self) -> None:
        """Bring `params` and `state` up to date, to change them in place, and copy them for `roll_back`."""
        if self._saved is None:
            self._saved = self.params.copy(), self.state.copy()

    # -- checks -------------------------------------------------------------------------------------

    def _check_arrays(self) -> None:
        sizes, n = self.network.layout.sizes, self.X.shape[0]
        if self.X.ndim != 2 or self.X.shape[1] != sizes[0]:
            raise ShapeError(f"X {self.X.shape} must have shape (n, {sizes[0]}), one column for each input.")
        for name, array in (("target", self.target), ("weight", self.weight)):
            if array is not None and array.shape[:1] != (n,):
                raise ShapeError(f"{name} {array.shape} must have {n} rows, as many as X.")
        shape = (self.network.layout.n_parameters,)
        if self.params.shape != shape or self.state.shape != (len(self.rule.row.state), *shape):
            raise ShapeError(
                f"params {self.params.shape} and state {self.state.shape} must have the shapes {shape} and "
                f"{(len(self.rule.row.state), *shape)} for this network and the rule {self.rule.name!r}."
            )

    def _check_plan(self, plan: EpochPlan) -> None:
        for name, mine, its in (("network", self.network, plan.network), ("rule", self.rule, plan.rule)):
            if its is not mine and its != mine:
                raise ConfigurationError(f"the plan is for another {name} than this trainer's; make a trainer for it.")

    def _rows(self, plan: EpochPlan) -> NDArray[np.int64]:
        """The plan's order as checked host rows; computed once for plans that share it."""
        order, rows = self._order
        if order is not plan.order and not (isinstance(plan.order, Shuffle) and order == plan.order):
            rows = plan.row_numbers()
            self._order = plan.order, rows
        n = self.X.shape[0]
        shuffled = isinstance(plan.order, Shuffle) and plan.order.n_rows <= n
        if not shuffled and len(rows) and not 0 <= rows.min() <= rows.max() < n:
            wrong = rows.min() if rows.min() < 0 else rows.max()
            raise ShapeError(f"the order has row {wrong}, and X has {n} rows.")
        return rows


class StepParts:
    """The parts of the steps of a plan, for gradients that are summed before the update; made by `Trainer.step_parts`.

    The layout of the gradients is the trainer's own.  They may be added; nothing else should be done with them.

    Parameters
    ----------
    trainer : Trainer
    plan : EpochPlan
    count : int
        Number of `gradients`.

    Attributes
    ----------
    gradients : list of array, shape (n,)
        Arrays for gradients.
    """

    def __init__(self, trainer: Trainer, plan: EpochPlan, count: int) -> None:
        self._trainer, self._plan = trainer, plan
        n, dtype = trainer.network.layout.n_parameters, trainer.params.dtype
        self.gradients = [trainer.xp.zeros((n,), dtype) for _ in range(count)]

    def gradient(self, batch: int, first: int, last: int, out: Array) -> float:
        """Write the gradient of some rows of a batch to `out`, and return their loss, as in `Trainer.gradient`."""
        loss, out[...] = self._trainer.gradient(self._plan, batch, first, last)
        return loss

    def add_penalty(self, batch: int, gradient: Array) -> float:
        """As `Trainer.add_penalty`."""
        return self._trainer.add_penalty(self._plan, batch, gradient)

    def update(self, batch: int, gradient: Array) -> None:
        """As `Trainer.update`."""
        self._trainer.update(self._plan, batch, gradient)

    def write_back(self) -> None:
        """Bring the trainer's `params` and `state` up to date; unlike `Trainer.read_back`, `roll_back` still works."""

    def is_finite(self) -> bool:
        """Whether all parameters are finite."""
        return all_finite(self._trainer.xp, self._trainer.params)


def all_finite(xp: Operations, array: Array) -> bool:
    """Whether no entry is NaN or infinite."""
    with np.errstate(all="ignore"):
        total = float(xp.sum(array))  # a finite sum is sufficient and cheap; only an overflow needs the full check
    return math.isfinite(total) or bool(np.isfinite(xp.to_numpy(array)).all())
