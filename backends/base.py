"""`Backend`: the base class of all backends, which also is the portable implementation.

It has the operations of `backends.operations`, trains with the loop of `backends.loop`, and predicts with
`backends.predictor`.  In this project, the name ``xp`` always denotes a Backend.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.formulas import Activation, Rule
from backends.loop import Trainer
from backends.operations import Operations
from backends.plan import Array, BatchHook, Control, EpochPlan, EpochResult, NetworkPlan
from backends.predictor import Predictor


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

    def predictor(
        self,
        layers: Sequence[tuple[Array, Array, str | Activation]],
        factors: Array | None = None,
        input_scale: float = 1.0,
    ) -> Predictor:
        """Make a function that computes the outputs of a network.

        Parameters
        ----------
        layers : sequence of (W, b, activation)
            W (n_in, n_out) and b (n_out,) of each layer, and the name of its activation or an `Activation`.
        factors : array, shape (n_in,), optional
            Of a scaling layer, which multiplies each column of the input.
        input_scale : float
            Factor of inputs that are bytes.

        Returns
        -------
        Predictor
            Computes layer by layer with `dense`; a backend may return a faster subclass.  The results must be the same.

        Raises
        ------
        ShapeError, DtypeError
            If the arrays do not fit each other.

        Examples
        --------
        >>> import backends
        >>> xp = backends.get_backend("numpy")
        >>> W, b = xp.asarray([[1.0, -1.0]]), xp.asarray([0.0, 0.0])
        >>> xp.predictor([(W, b, "relu"), (W.T, b[:1], "identity")])(xp.asarray([[2.0], [-3.0]]))
        array([[ 2.],
               [-3.]])
        """
        return Predictor(self, layers, factors, input_scale)

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
