"""Heads are estimators of scikit-learn's kind, though they do not derive from its classes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin, clone, is_clusterer
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from segspectral.errors import GraphError
from segspectral.heads import HEADS, head_class
from segspectral.heads.base import Head
from segspectral.heads.clusterer import Clusterer
from segspectral.heads.estimator import Estimator
from segspectral.heads.exact import Exact
from segspectral.heads.neuncut import NeuNcut
from tests.contracts.head_laws import planted


class Derived(ClusterMixin, TransformerMixin, BaseEstimator):
    """What scikit-learn's own classes make of the parameters of ``NeuNcut``."""

    def __init__(self, n_clusters: int = 8, *, hidden: Any = (), steps: int = 60, noise: float = 0.5) -> None:
        self.n_clusters, self.hidden, self.steps, self.noise = n_clusters, hidden, steps, noise


class Plain(Estimator):
    def __init__(self, n_clusters: int = 8, *, hidden: Any = (), steps: int = 60, noise: float = 0.5) -> None:
        self.n_clusters, self.hidden, self.steps, self.noise = n_clusters, hidden, steps, noise


@pytest.mark.parametrize(
    "parameters", [{}, {"n_clusters": 3}, {"hidden": (16,), "noise": 0.25}, {"steps": 60}, {"noise": np.nan}]
)
def test_parameters_and_their_text_are_those_of_scikit_learn(parameters: dict[str, Any]) -> None:
    ours, theirs = Plain(**parameters), Derived(**parameters)
    assert list(ours.get_params().items()) == list(theirs.get_params().items())
    assert repr(ours) == repr(theirs).replace("Derived", "Plain")
    assert get_tags(ours) == get_tags(theirs)
    for wrong in ({"absent": 1}, {"absent__inner": 1}):
        told = []
        for estimator in (ours, theirs):
            with pytest.raises(ValueError) as error:
                estimator.set_params(**wrong)
            told.append(str(error.value).replace("Derived", "Plain"))
        assert told[0] == told[1]


def test_nested_parameters_are_reached_by_their_path() -> None:
    head = Clusterer(estimator=KMeans(5))
    assert head.get_params()["estimator__n_clusters"] == 5
    assert "estimator__n_clusters" not in head.get_params(deep=False)
    head.set_params(estimator__n_clusters=4, n_clusters=4)
    assert head.estimator.n_clusters == head.n_clusters == 4


@pytest.mark.parametrize("copy", [clone, lambda head: head.fresh()], ids=["clone", "fresh"])
def test_a_copy_has_the_parameters_and_not_what_was_fitted(copy: Callable[[Head], Head]) -> None:
    X, _ = planted()
    head = NeuNcut(3, steps=7, hidden=()).fit(X)
    again = copy(head)
    assert type(again) is NeuNcut
    assert again.get_params() == head.get_params()
    assert set(vars(again)) == set(head.get_params())
    given = KMeans(3).fit(X)
    within = copy(Clusterer(estimator=given)).estimator
    assert within is not given
    assert not hasattr(within, "labels_")


def test_a_fresh_head_may_have_other_parameters() -> None:
    head = Exact(3, greedy=False)
    assert head.fresh(n_clusters=5).get_params() == head.get_params() | {"n_clusters": 5}
    assert head.n_clusters == 3
    with pytest.raises(ValueError, match="Invalid parameter 'sharpness' for estimator Exact"):
        head.fresh(sharpness=2)


def test_a_constructor_that_changes_its_parameters_is_found_out() -> None:
    class Doubling(Exact):
        def __init__(self, n_clusters: int = 8, *, scale: Any = 1.0, random_state: int = 0) -> None:
            self.n_clusters, self.scale, self.random_state = n_clusters, 2 * scale, random_state

    with pytest.raises(RuntimeError, match="modifies parameter scale"):
        Doubling().fresh(n_clusters=2)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_is_a_clusterer_that_can_be_pickled_and_shown(name: str) -> None:
    head = head_class(name)(n_clusters=3)
    assert is_clusterer(head)
    assert repr(head) == f"{type(head).__name__}(n_clusters=3)"
    assert type(head).__name__ in head._repr_html_()
    assert pickle.loads(pickle.dumps(head)).get_params() == head.get_params()


def test_heads_work_in_pipelines_and_in_searches() -> None:
    X, truth = planted()
    chain = make_pipeline(StandardScaler(), Exact(3))
    assert adjusted_rand_score(truth, chain.fit_predict(X)) > 0.9
    assert chain.transform(X).shape == (len(X), 3)
    assert np.array_equal(chain.predict(X), clone(chain).fit(X).predict(X))

    def score(estimator: Any, rows: Any, classes: Any) -> float:
        return adjusted_rand_score(classes, estimator.predict(rows))

    search = GridSearchCV(chain, {"exact__n_clusters": [2, 3]}, scoring=score, cv=2).fit(X, truth)
    assert search.best_params_ == {"exact__n_clusters": 3}
    embedding = Exact(3).fit_transform(X)
    assert embedding.tobytes() == Exact(3).fit(X).transform(X).tobytes()


def test_a_head_that_is_not_fitted_says_so() -> None:
    X, _ = planted()
    failed = Exact(3)
    with pytest.raises(GraphError):
        failed.fit(np.where(X > 5, np.nan, X))
    for head in (Exact(3), failed):
        for call in (head.predict, head.transform, lambda X, head=head: check_is_fitted(head)):
            with pytest.raises(NotFittedError, match="This Exact instance is not fitted yet"):
                call(X)
    check_is_fitted(Exact(3).fit(X))


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "longdouble": lambda X: X.astype(np.longdouble),
    "big-endian": lambda X: X.astype(">f8"),
    "int8": lambda X: X.astype(np.int8),
    "uint64": lambda X: np.abs(X).astype(np.uint64),
    "bool": lambda X: X > 0,
    "columns first": lambda X: np.asfortranarray(X),
    "a view": lambda X: X[::2, ::-1],
    "NaN": lambda X: np.where(X > 3, np.nan, X),
    "a list": lambda X: X.tolist(),
    "objects": lambda X: X.astype(object),
    "a single row": lambda X: X[:1],
    "no row": lambda X: X[:0],
    "no column": lambda X: X[:, :0],
    "a line": lambda X: X[:, 0],
    "a cube": lambda X: X[None],
    "complex": lambda X: X + 1j,
    "words": lambda X: X.astype(str).astype(object) + "x",
    "a matrix": lambda X: np.asmatrix(X),
    "another width": lambda X: X[:, :1],
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("fitting", [True, False])
@pytest.mark.parametrize("kind", ARRAYS)
def test_checked_features_are_those_of_scikit_learn(kind: str, fitting: bool) -> None:
    """Rows, attributes and messages are equal, whichever way the data took."""

    def outcome(check: Callable[[Exact, Any], Any]) -> tuple[Any, ...]:
        X = planted()[0]
        head = Exact(3)
        head.n_features_in_ = X.shape[1]
        given = ARRAYS[kind](X)
        try:
            rows = check(head, given)
        except (TypeError, ValueError) as error:
            return type(error), str(error)
        return rows.dtype, rows.shape, rows.tobytes(), rows is given, rows.flags.f_contiguous, vars(head)

    fewest = 2 if fitting else 1

    def theirs(head: Exact, X: Any) -> Any:
        options: dict[str, Any] = {"dtype": np.float64, "ensure_all_finite": False, "ensure_min_samples": fewest}
        return validate_data(head, X, reset=fitting, **options)

    assert outcome(lambda head, X: head._validated(X, fitting=fitting)) == outcome(theirs)


def test_names_of_columns_are_compared_and_forgotten() -> None:
    X, _ = planted()
    head = Exact(3).fit(X)
    head.feature_names_in_ = np.array(["width", "height"], dtype=object)  # as a data frame sets them
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        head.predict(X)
    assert not hasattr(head.fit(X), "feature_names_in_")
