"""Programs and ONNX files of fitted estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from os import PathLike


class ExportMixin:
    """The methods `export` and `to_onnx`."""

    def export(self, path: str | PathLike[str]) -> None:
        """Write the fitted network as a program that needs neither mlp nor other libraries, as `MLP.export` does.

        Parameters
        ----------
        path : path-like
            The suffix is the language: ``.c``, ``.js`` or ``.py``.  An existing file is replaced.

        Raises
        ------
        ConfigurationError
            As `MLP.export`, or if the estimator was fitted to a single class.
        StorageError
            If the file cannot be written; then an existing file is not changed.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from mlp import MLPClassifier
        >>> folder = tempfile.TemporaryDirectory()
        >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> estimator = MLPClassifier(8, solver="lbfgs", random_state=0).fit(X, ["low", "low", "high", "high"])
        >>> estimator.export(pathlib.Path(folder.name) / "small.py")
        >>> folder.cleanup()
        """
        from mlp.io import exports
        from mlp.io.scikit_learn import from_sklearn

        check_is_fitted(self)
        exports.export(from_sklearn(self, backend="numpy"), path)

    def to_onnx(self, path: str | PathLike[str]) -> None:
        """Write the fitted network as an ONNX file, which ONNX Runtime and other programs run.

        Parameters
        ----------
        path : path-like
            The usual suffix is ``.onnx``.  An existing file is replaced.

        Raises
        ------
        ConfigurationError
            As `MLP.to_onnx`, or if the estimator was fitted to a single class.
        StorageError
            If the file cannot be written; then an existing file is not changed.

        Notes
        -----
        One input ``X`` of shape (batch, n_features), with the dtype of ``coefs_``: usually float64.  For float32 inputs
        fit with ``dtype="float32"``.  The outputs are ``label``, of the type of ``classes_``, and ``probabilities``;
        for a regressor ``variable``, of shape (batch, n_outputs).

        Examples
        --------
        >>> import pathlib, tempfile
        >>> import numpy as np, onnxruntime
        >>> from mlp import MLPClassifier
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "small.onnx"
        >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> MLPClassifier(8, solver="lbfgs", random_state=0).fit(X, ["low", "low", "high", "high"]).to_onnx(path)
        >>> onnxruntime.InferenceSession(path).run(["label"], {"X": X})[0].tolist()
        ['low', 'low', 'high', 'high']
        >>> folder.cleanup()
        """
        from mlp.io.onnx_files.export import to_onnx
        from mlp.io.scikit_learn import from_sklearn

        check_is_fitted(self)
        to_onnx(from_sklearn(self, backend="numpy"), path)
