"""`Backend`: the base class of all backends, which also is the portable implementation.

It has the operations of `backends.operations`, and trains with the loop of `backends.loop`.  In this project,
the name ``xp`` always denotes a Backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backends.formulas import Rule
from backends.loop import Trainer
from backends.operations import Operations
from backends.plan import Array, BatchHook, Control, EpochPlan, EpochResult, NetworkPlan


class Backend(Operations):
    """Array operations and training on one device.

    Parameters
    ----------
    namespace : module
        NumPy, or a module with the same interface.
    erfc : callable
        The only elementary function of the formulas that such modules do not have.

    Examples
    --------
    >>> import backends
    >>> xp = backends.get_backend("numpy")
    >>> x, W, b = (xp.asarray(v) for v in ([[1.0, 2.0]], [[1.0], [1.0]], [-5.0]))
    >>> xp.dense(x, W, b, "relu")
    array([[0.]])
    """

    in_lockstep = False
    """Whether networks are trained at the same time by `train_together`, an epoch each, and not by `run_at_once`."""

    def trainer(
        self,
        network: NetworkPlan,
        rule: Rule,
        X: Array,
        target: Array,
        weight: Array | None,
        params: Array,
        state: Array,
        batch_size: int,
    ) -> Trainer:
        """Make a trainer for these data, which reuses its buffers from epoch to epoch.

        Parameters
        ----------
        network : NetworkPlan
        rule : Rule
        X : array, shape (n, n_in)
            Of the parameters' dtype, or uint8.
        target : array, shape (n,) of class numbers or (n, n_out)
        weight : array, shape (n,), or None
        params : array, shape (n_parameters,)
            Updated in place; up to date only after `Trainer.read_back`.
        state : array, shape (len(rule.row.state), n_parameters)
            Likewise.
        batch_size : int
            The largest batch.

        Returns
        -------
        Trainer
            Runs the portable loop; a backend may return a faster subclass.  The results must be the same.

        Raises
        ------
        ConfigurationError
            If the network's precision is not among `precisions`.
        ShapeError
            If the shapes of the arrays do not fit the network, the rule or each other.
        """
        return Trainer(self, network, rule, X, target, weight, params, state, batch_size)

    def run_at_once(
        self, task: Callable[[int], object], count: int, at_once: int, on_interrupt: Callable[[], object]
    ) -> None:
        """Call ``task(0), ..., task(count - 1)`` in this order, up to `at_once` of them at the same time.

        Parameters
        ----------
        task : callable
            A training, for instance.
        count : int
        at_once : int
            From `Trainer.at_once`.  With 1, the calling thread runs all tasks.
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
        """Train several networks for an epoch each, with the results of `Trainer.epochs`.

        A backend with `in_lockstep` may train them at the same time, except where `Trainer.why_alone` has a reason.

        Parameters
        ----------
        epochs : sequence of (Trainer, EpochPlan, Control)
            Different trainers of this backend.

        Returns
        -------
        list of EpochResult
            One for each.
        """
        return [trainer.epochs([plan], control)[0] for trainer, plan, control in epochs]

    def train_epoch(
        self,
        plan: EpochPlan,
        X: Array,
        target: Array,
        weight: Array | None,
        params: Array,
        state: Array,
        control: Control | None = None,
        on_batch: BatchHook | None = None,
    ) -> EpochResult:
        """Train for one epoch; params and state are updated in place.

        Parameters
        ----------
        plan : EpochPlan
        X, target, weight, params, state
            As for `trainer`.
        control, on_batch
            As for `Trainer.epochs`.
        """
        trainer = self.trainer(plan.network, plan.rule, X, target, weight, params, state, plan.batch_size)
        try:
            return trainer.epochs([plan], control, on_batch)[0]
        finally:
            trainer.read_back()
