"""`MLP`: the public class, which adds its constructor, inspection and files to `TrainableNetwork`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlp._backends import Activation, formulas
from mlp.configuration import configure
from mlp.optimizers import Optimizer
from mlp.trainable_network import TrainableNetwork

if TYPE_CHECKING:
    from os import PathLike

    from mlp.data import Preprocessing
    from mlp.inspection.gradcheck import GradientCheck
    from mlp.inspection.summary import Summary
    from mlp.inspection.trace import Trace


class MLP(TrainableNetwork):
    """A multilayer perceptron.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input, of each hidden layer, and of the output: ``[784, 128, 10]``.
    activation : str, Activation, or a sequence of them
        Activation of the hidden layers; one for all, or one for each.
    output_activation : str or Activation
        ``"auto"`` depends on the loss: softmax for cross-entropy, sigmoid for binary cross-entropy, exp for Poisson,
        identity for the others.
    loss : str or Loss
        ``cross_entropy``, ``binary_cross_entropy``, ``mse``, ``quadratic``, ``mae``, ``huber``, ``quantile``,
        ``poisson``, or a custom loss (`mlp.custom_loss`).
    quantile : float or sequence of float, optional
        For ``loss="quantile"``: the level of the quantiles that all outputs estimate, or a level for each output, which
        then may have one common target.  Default: 0.5, the median.
    dropout : float or sequence of float
        Probability of dropping each unit of the hidden layers; one for all, or one for each.
    input_dropout : float
        Probability of dropping each input.
    l2, l1 : float
        Add ``l2/2 * sum(w**2)`` and ``l1 * sum(|w|)`` to the mean loss; weights only, not biases.
    init : str or sequence of str
        Initial weights: ``"auto"`` (by activation), or names of `mlp.initializers`; one for all layers, or one for
        each layer including the output layer.
    seed : int or None
        Seed of weights, shuffles and dropout.  None draws a random seed; the attribute `seed` contains it.
    dtype : {"float32", "float64"}
    precision : {"float32", "tf32", "bf16"}
        Precision of the matrix products in training, on a GPU.  ``"float32"``: that of `dtype`.  ``"tf32"`` and
        ``"bf16"`` are faster and less exact: tensor cores round the factors to TF32 (10 bits of mantissa) or
        bfloat16 (7 bits).  Sums, weights and optimizer state stay float32.  Only training is affected; `predict`,
        `evaluate` and the other methods compute in float32.  Training with them on a CPU is an error.
    backend : str
        ``"numpy"``, ``"numba"``, ``"cupy"``, or ``"auto"``: chosen by the amount of work when training starts.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:i"``; must not contradict `backend`.
    input_scale : float, optional
        Factor for uint8 inputs, such as 1/255 for images; inputs of other dtypes are not scaled.
    classes : sequence, optional
        Names of the classes, saved with the model; the network numbers the classes from 0.
    preprocessing : Preprocessing, optional
        Converts a table to inputs; saved with the model.  The network itself takes preprocessed inputs.
    target_scaling : tuple (shift, scale), optional
        For regression with an identity output: the network learns ``(y - shift) / scale``, one shift and scale for
        each output, and its outputs are scaled back.  Losses are those of the scaled targets.
    scaling_layer : bool
        Whether a layer before the first multiplies each input by a factor that is trained; at first it is 1.

    Attributes
    ----------
    sizes : tuple of int
    task : {"classes", "labels", "numbers"}
        What `predict` returns.
    class_numbers : bool
        Whether it was trained on class numbers; then its outputs are classes for any loss.
    precision : str
        It can be assigned: ``"float32"`` lets a network that was trained on a GPU continue on a CPU.
    backend, backend_reason : str
        The current backend, and the reason for it.
    history : History or None
        History of the last training.

    Examples
    --------
    >>> import numpy as np, mlp
    >>> X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    >>> net = mlp.MLP([2, 8, 2], activation="tanh", seed=1)
    >>> history = net.fit(X, y, epochs=200, optimizer=mlp.Adam(0.05))
    >>> net.predict(X)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output_activation: str | Activation = "auto",
        loss: str | formulas.Loss = "cross_entropy",
        *,
        quantile: float | Sequence[float] | None = None,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        l2: float = 0.0,
        l1: float = 0.0,
        init: str | Sequence[str] = "auto",
        seed: int | None = 0,
        dtype: Any = "float32",
        precision: str = "float32",
        backend: str = "auto",
        device: str = "auto",
        input_scale: float | None = None,
        classes: Sequence[Any] | None = None,
        preprocessing: Preprocessing | None = None,
        target_scaling: tuple[Sequence[float], Sequence[float]] | None = None,
        scaling_layer: bool = False,
    ) -> None:
        configuration = configure(
            sizes,
            activation,
            output_activation,
            loss,
            quantile=quantile,
            dropout=dropout,
            input_dropout=input_dropout,
            l2=l2,
            l1=l1,
            init=init,
            seed=seed,
            dtype=dtype,
            precision=precision,
            input_scale=input_scale,
            classes=classes,
            preprocessing=preprocessing,
            target_scaling=target_scaling,
            scaling_layer=scaling_layer,
        )
        super().__init__(configuration, backend, device)

    # -- inspection ---------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """The layers, the number of parameters and the state of the training, as a table.

        Examples
        --------
        >>> net = MLP([4, 8, 3])
        >>> print(net.summary().totals[0])
        67 parameters of float32, 268 bytes
        """
        from mlp.inspection.summary import summarize

        history = self.history
        if history is None or not history.loss:
            return summarize(self, "not trained")
        return summarize(self, f"trained: {repr(history).removeprefix('<History of ').removesuffix('>')}")

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def trace(
        self,
        X: Any,
        y: Any,
        *,
        optimizer: str | Optimizer | None = None,
        steps: int = 1,
        batch_size: int | None = None,
        sample_weight: Any = None,
    ) -> Trace:
        """Trace the next training steps: every quantity with its formula.

        A copy of the network is trained as in `partial_fit`, with the operations of its backend; the network is not
        changed.

        Parameters
        ----------
        X, y, sample_weight
            As in `partial_fit`; the rows are used in the given order, repeatedly.
        optimizer : str or Optimizer, optional
            If given, the optimizer state starts from zero.  Default: the last optimizer, or Adam.
        steps : int
            Number of batches to trace.
        batch_size : int, optional
            Default: all rows.

        Returns
        -------
        Trace
            Frozen data, with `to_text`, `to_markdown`, `to_html`, `to_json` and `to_numpy_program`.

        Raises
        ------
        ConfigurationError
            If the trace would not fit in memory.
        DivergenceError
            If a loss is not finite.

        Notes
        -----
        The trace runs the loop in `backends.loop`.  A backend with a faster epoch (Numba) computes the same numbers
        up to rounding: to 1e-12 per step in float64.

        Examples
        --------
        >>> import mlp
        >>> net = mlp.MLP([2, 1], loss="quadratic", init="zeros", dtype="float64")
        >>> trace = net.trace([[3.0, 4.0]], [2.0], optimizer=mlp.SGD(0.1))
        >>> trace.steps[0].loss, trace.steps[0]["new_W1"].tolist()
        (2.0, [[0.6000000000000001], [0.8]])
        """
        from mlp.inspection.trace import record

        return record(
            self,
            self.training_state,
            X,
            y,
            optimizer=optimizer,
            steps=steps,
            batch_size=batch_size,
            sample_weight=sample_weight,
        )

    def gradient_check(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        epsilon: float = 1e-5,
        parameters: int | str = 1000,
        tolerance: float = 1e-5,
    ) -> GradientCheck:
        """Compare back-propagation with central differences of the loss, for each parameter.

        Both are computed in float64, on a copy of the network, with the operations of its backend and without dropout.

        Parameters
        ----------
        X, y, sample_weight
            As in `evaluate`.
        epsilon : float
            The loss is computed at p - epsilon and p + epsilon for each parameter p; 1e-10 or more.
        parameters : int or "all"
            Maximum number of parameters to check, drawn by the network's seed and spread over the layers.
        tolerance : float
            Largest relative error that is attributed to rounding; 1e-9 or more.

        Returns
        -------
        GradientCheck
            `passed` and `verdict`, the largest error of the weights and biases of each layer, the parameters with the
            largest errors, and reasons why the check may be unreliable.

        Raises
        ------
        NotDifferentiableError
            For the activation ``step``, whose derivative is zero.

        Examples
        --------
        >>> net = MLP([3, 4, 2], activation="tanh", seed=0)
        >>> net.gradient_check([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], [0, 1]).passed
        True
        """
        from mlp.inspection.gradcheck import check_gradient

        return check_gradient(
            self, X, y, sample_weight=sample_weight, epsilon=epsilon, parameters=parameters, tolerance=tolerance
        )

    # -- files, PyTorch and ONNX -------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network atomically to a safetensors file; `mlp.load` reads it.

        Parameters
        ----------
        path : path-like
            An existing file is replaced.

        Raises
        ------
        StorageError
            If the file cannot be written; then an existing file is not changed.
        """
        from mlp.io import model_files

        model_files.save(self, path)

    def export(self, path: str | PathLike[str]) -> None:
        """Write the network as a program that needs neither mlp nor other libraries.

        The suffix of the path is the language: ``.c`` (C99 in one file, in float32), ``.js`` (an ES module for Node
        and browsers, in double precision) or ``.py`` (Python with NumPy, in the network's dtype).  The program includes
        the `preprocessing`, `input_scale`, `target_scaling` and the names of the `classes`.  The comment at its start
        says how to call it.

        Parameters
        ----------
        path : path-like
            An existing file is replaced.

        Raises
        ------
        UnknownNameError
            If the suffix is another one.
        ConfigurationError
            If the network has a part that cannot be exported, such as a custom activation; the message names it.
        mlp.io.exports.self_tests.ExportError
            If the program does not compute the outputs of the network for the check rows; then nothing is written.
        StorageError
            If the file cannot be written; then an existing file is not changed.

        Notes
        -----
        The program has a few check rows with the outputs that the network computes in double precision, and a
        self-test that compares them.  It is run before the file is written, if there is a C compiler (``cc``, ``gcc``
        or ``clang``) or Node; if not, a warning is logged (logger ``mlp``).

        `MLPClassifier.export` and `MLPRegressor.export` do the same.

        Examples
        --------
        >>> import pathlib, subprocess, sys, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "net.py"
        >>> MLP([2, 3, 2], classes=["no", "yes"]).export(path)
        >>> subprocess.run([sys.executable, path], capture_output=True, text=True, check=True).stdout
        '5 check rows: all outputs as expected\\n'
        >>> folder.cleanup()
        """
        from mlp.io import exports

        exports.export(self, path)

    def play(self, path: str | PathLike[str], X: Any = None, y: Any = None) -> None:
        """Write an HTML page in which the network runs: for drawing, what-if, a look at its neurons, and training.

        The page is one file, and opens no connection.  It has the network with its `preprocessing` and `classes`, and
        computes in double precision.  What it shows depends on the inputs: images can be drawn (784 inputs, or a
        square number and `input_scale`), one input has a curve and two inputs a plane, with points to move, and
        other inputs have sliders and menus.  Each has the neurons of all layers, and the formulas of the forward and
        the backward pass with numbers.

        Parameters
        ----------
        path : path-like
            The usual suffix is ``.html``.  An existing file is replaced.
        X : array_like, shape (n, n_in), optional
            Rows that the page is to hold.  Default: none, and then the page has no data.
        y : array_like, shape (n,) or (n, n_out), optional
            Their targets, as `fit` takes them; the page trains on them.

        Raises
        ------
        ConfigurationError
            If the page would be larger than 32 MB, jinja2 is not installed, or the network has a custom activation or
            loss.
        ShapeError, DtypeError, DataError
            If X or y do not fit the network; see `fit`.
        StorageError
            If the file cannot be written; then an existing file is not changed.

        See Also
        --------
        export : The network as a program.
        trace : All numbers of training steps.

        Notes
        -----
        The training of the page begins with the current weights, as `fit` does, and makes the same steps with the same
        order of the rows and the same dropout masks, but in double precision.  It begins with the batch size, the label
        smoothing and the optimizer of the last training: its schedule from the beginning, weight decay, clipping and
        factors of the learning rate.  A page that holds fewer rows than the last training had says so.

        Examples
        --------
        >>> import pathlib, tempfile, mlp
        >>> moons = mlp.data.load("moons")
        >>> net = mlp.MLP([2, 8, 2], activation="tanh")
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "moons.html"
        >>> net.play(path, moons.X, moons.y)
        >>> "This page holds 320 rows of data." in path.read_text(encoding="utf-8")
        True
        >>> folder.cleanup()
        """
        from mlp.inspection import play

        state = self.training_state
        last = None if state is None else state.optimizer
        conditions = {} if state is None else state.conditions
        play.write(
            self,
            path,
            X,
            y,
            optimizer=last,
            batch_size=conditions.get("batch_size"),
            label_smoothing=conditions.get("label_smoothing", 0.0),
            shuffle=conditions.get("shuffle", True),
            trained_rows=conditions.get("rows"),
        )

    def to_torch(self, *, logits: bool = False) -> Any:
        """Convert the network to a torch.nn.Sequential; `mlp.from_torch` converts it back.

        Parameters
        ----------
        logits : bool
            Omit the output activation, as required by torch.nn.CrossEntropyLoss, BCEWithLogitsLoss and PoissonNLLLoss.

        Returns
        -------
        torch.nn.Sequential
            On the CPU, with the network's dtype, in evaluation mode: ``module(x)`` is `feedforward` of x.  In training
            mode it applies the network's dropout.  It shares no memory with the network.

        Raises
        ------
        ConfigurationError
            If PyTorch is not installed, or an activation is a custom function.

        Notes
        -----
        A first module scales uint8 inputs by `input_scale`; `target_scaling` becomes part of the last layer.  The
        module takes preprocessed inputs, as the network does; if there is a `preprocessing`, a warning is logged.
        Class names are not converted, nor are `l2` and `l1`, which belong to the optimizer in PyTorch.
        """
        from mlp.io.pytorch import to_torch

        return to_torch(self, logits=logits)

    def to_onnx(self, path: str | PathLike[str]) -> None:
        """Write the network as an ONNX file, which ONNX Runtime and other programs run; `mlp.from_onnx` reads it.

        Needs the packages onnx and onnxruntime.  Before the file is written, ONNX Runtime computes random rows and edge
        cases, which are compared with `predict_proba` and `predict`.

        Parameters
        ----------
        path : path-like
            The usual suffix is ``.onnx``.  An existing file is replaced.

        Raises
        ------
        ConfigurationError
            If a package is not installed, an activation is a custom function, the names of the classes have several
            types, or ONNX Runtime computes something else; then no file is written.
        StorageError
            If the file cannot be written; then an existing file is not changed.

        Notes
        -----
        Inputs: ``X`` of shape (batch, n_in) and the network's dtype.  With `input_scale`, X is uint8 and the factor is
        applied inside.  With `preprocessing`, there is an input of shape (batch, 1) for each column of the table, with
        the name of the column, and missing values, scaling and categories are handled inside.

        Outputs: ``label`` and ``probabilities`` of a classifier, ``variable`` of shape (batch, n_out) of a regressor.
        A label is the name of the class, or its number if `classes` is None; for several labels it is a row of 0 and
        1.  For two classes with one output, the probabilities have two columns, as those of `predict_proba`.  Outputs
        of a classifier that are not probabilities are called ``scores``.

        The operators are those of opset 17.  Dropout, the loss and the state of a training are not part of the file.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "small.onnx"
        >>> MLP([2, 3, 2], classes=["no", "yes"]).to_onnx(path)
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession(path)
        >>> [output.name for output in session.get_outputs()]
        ['label', 'probabilities']
        >>> folder.cleanup()
        """
        from mlp.io.onnx_files.export import to_onnx

        to_onnx(self, path)
