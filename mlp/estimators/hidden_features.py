"""`transform` of the estimators: the activations of the last hidden layer as features for another estimator."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from mlp._backends import ConfigurationError


class HiddenFeaturesMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):  # type: ignore[misc]
    """Makes an estimator a transformer, too; `get_feature_names_out` and ``set_output`` are those of scikit-learn."""

    @abstractmethod
    def _hidden_features(self, X: Any) -> NDArray[Any]:
        """The activations of the last hidden layer, shape (n, width); the estimator is fitted."""

    @abstractmethod
    def _hidden_widths(self) -> list[int]:
        """Widths of the last hidden layers whose activations are the features; empty without a hidden layer."""

    @property
    def _n_features_out(self) -> int:
        widths = self._hidden_widths()
        if not widths:
            raise ConfigurationError(
                f"this {type(self).__name__} has no hidden layer, so there is nothing to transform X to: use X itself, "
                "or fit with hidden_layer_sizes of one or more."
            )
        return sum(widths)

    def transform(self, X: Any) -> Any:
        """The activations of the last hidden layer: features that the network has learned.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            As in `predict`.

        Returns
        -------
        ndarray, shape (n_samples, n_units)
            Or a data frame, after ``set_output(transform="pandas")`` or ``"polars"``.  An average of several networks
            has the units of all of them.

        Raises
        ------
        ConfigurationError
            If there is no hidden layer.

        Examples
        --------
        >>> from mlp import MLPClassifier
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> X, y = load_iris(return_X_y=True)
        >>> features = MLPClassifier((16, 4), max_iter=300, random_state=0)
        >>> model = make_pipeline(features, LogisticRegression()).fit(X, y)
        >>> model[:-1].transform(X).shape, model.score(X, y) > 0.95
        ((150, 4), True)
        >>> model[0].get_feature_names_out()[:2]
        array(['mlpclassifier0', 'mlpclassifier1'], dtype=object)
        """
        check_is_fitted(self)
        self._n_features_out  # noqa: B018  # raises the error without a hidden layer
        return self._hidden_features(X)
