"""`Backend`: what every backend offers, and what runs it where no faster code exists.

``xp`` stands for a Backend everywhere in this project: the operations of `backends.operations`, and training
by the readable loop of `backends.loop`.
"""

from __future__ import annotations

from backends.formulas import Rule
from backends.loop import Trainer
from backends.operations import Operations
from backends.plan import Array, BatchHook, Control, EpochPlan, EpochResult, NetworkPlan


class Backend(Operations):
    """Arrays, kernels and training on one device.

    Parameters
    ----------
    namespace : module
        NumPy, or a module that mirrors it.
    erfc : callable
        The one elementary function of the formulas that such modules lack.

    Examples
    --------
    >>> import backends
    >>> xp = backends.get_backend("numpy")
    >>> x, W, b = (xp.asarray(v) for v in ([[1.0, 2.0]], [[1.0], [1.0]], [-5.0]))
    >>> xp.dense(x, W, b, "relu")
    array([[0.]])
    """

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
        """A trainer for these data, which keeps its buffers from one epoch to the next.

        Parameters
        ----------
        network : NetworkPlan
        rule : Rule
        X : array, shape (n, n_in)
            Of the parameters' dtype, or uint8.
        target : array, shape (n,) of class numbers or (n, n_out)
        weight : array, shape (n,), or None
        params : array, shape (n_parameters,)
            Updated in place, but only up to date after `Trainer.read_back`.
        state : array, shape (len(rule.row.state), n_parameters)
            As `params`.
        batch_size : int
            The largest batch.

        Returns
        -------
        Trainer
            The portable one runs the readable loop; a backend may return a subclass that is faster.  The results must
            be the same.
        """
        return Trainer(self, network, rule, X, target, weight, params, state, batch_size)

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
