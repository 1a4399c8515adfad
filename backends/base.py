"""`Backend`: the base class of all backends, which also is the portable implementation.

It has the operations of `backends.operations`, and trains with the loop of `backends.loop`.  In this project,
the name ``xp`` always denotes a Backend.
"""

from __future__ import annotations

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
