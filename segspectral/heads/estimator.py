"""What scikit-learn asks of an estimator, without importing it: that would take longer than a head does.

scikit-learn knows estimators by their methods. It is imported where one of these needs it: for tags, which only
scikit-learn asks for, and for data that is not a plain array.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimator"]


class Estimator:
    """The base class of estimators. The parameters of the constructor are attributes of the same names."""

    n_features_in_: int

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return sorted(inspect.signature(cls).parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name.

        Parameters
        ----------
        deep : also those of parameters that are estimators, as NAME__PARAMETER
        """
        found: dict[str, Any] = {}
        for name in self._parameter_names():
            value = getattr(self, name)
            if deep and _is_estimator(value):
                found |= {f"{name}__{inner}": part for inner, part in value.get_params().items()}
            found[name] = value
        return found

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by the names of ``get_params``. ValueError if there is no such parameter."""
        known = self._parameter_names()
        nested: dict[str, dict[str, Any]] = {}
        for key, value in parameters.items():
            name, _, inner = key.partition("__")
            if name not in known:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {known!r}.")
            if inner:
                nested.setdefault(name, {})[inner] = value
            else:
                setattr(self, name, value)
        for name, inner_parameters in nested.items():
            getattr(self, name).set_params(**inner_parameters)
        return self

    def fresh(self, **parameters: Any) -> Self:
        """An estimator that is not fitted, with copies of the parameters of this one, of which some may be changed."""
        given = self.get_params(deep=False)
        if not any(_is_estimator(value) for value in given.values()):
            given = copy.deepcopy(given)
            made = type(self)(**given)
            if all(value is given[name] for name, value in made.get_params(deep=False).items()):
                return made.set_params(**parameters)
        # It also copies estimators within, and says so if the constructor changes what it is given.
        from sklearn.base import clone

        return clone(self).set_params(**parameters)

    def fit_transform(self, X: Any, y: object = None, **options: Any) -> Any:
        """``fit`` and then ``transform`` the same data."""
        return self.fit(X, y, **options).transform(X)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        """The parameters that differ from their defaults, as scikit-learn shows an estimator."""
        usual = inspect.signature(type(self)).parameters
        changed = [f"{k}={v!r}" for k, v in self.get_params(deep=False).items() if repr(v) != repr(usual[k].default)]
        return f"{type(self).__name__}({', '.join(changed)})"

    def _repr_html_(self) -> str:
        """The box that notebooks show."""
        from sklearn.utils import estimator_html_repr

        return estimator_html_repr(self)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="clusterer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
        )

    def _validated(self, X: Any, *, fitting: bool) -> NDArray[np.float64]:
        """X (N, D) as float64, not copied if it is; ``n_features_in_`` and ``feature_names_in_`` are set or compared.

        An array of numbers in which scikit-learn would find no fault does not go through it.

        Raises
        ------
        ValueError, TypeError
            Those of scikit-learn.
        """
        plain = type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in "biuf" and X.shape[1] > 0
        if plain and fitting and len(X) >= 2:
            self.n_features_in_ = X.shape[1]
            vars(self).pop("feature_names_in_", None)
            return X.astype(np.float64, copy=False)
        known = getattr(self, "n_features_in_", None) if not hasattr(self, "feature_names_in_") else None
        if plain and not fitting and len(X) >= 1 and X.shape[1] == known:
            return X.astype(np.float64, copy=False)
        from sklearn.utils.validation import validate_data

        return validate_data(
            self,
            X,
            dtype=np.float64,
            reset=fitting,
            ensure_all_finite=False,
            ensure_min_samples=2 if fitting else 1,
        )


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)
