"""Every head of ``HEADS`` keeps the laws, and heads with a planted defect are found out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.utils.estimator_checks import (
    check_clusterer_compute_labels_predict,
    check_clustering,
    parametrize_with_checks,
)

from segspectral.errors import SettingsError
from segspectral.heads import DEFAULT_HEAD, HEADS, head_class
from segspectral.heads.base import Head, Solution
from segspectral.heads.exact import Exact
from segspectral.spectral.discretise import soft_membership
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Affinity, Membership, Outcome
from tests.contracts import head_laws as laws

QUICK: dict[str, dict[str, Any]] = {
    "spectralnet": {"hidden": (64, 64), "steps": 150},
    "neuralef": {"hidden": (64, 64), "steps": 150},
    "rsm": {"hidden": (64, 64), "steps": 200},
    "modularity": {"steps": 80},
    "mincut": {"steps": 80},
    "deepkmeans": {"hidden": (32,), "pretraining": 200, "steps": 100, "weight": 0.1},
}
"""Settings that make a head quick on the small data of the laws, where its defaults are not."""

CHECKS: dict[str, dict[str, Any]] = {
    "neuncut": {"steps": 5},
    "spectralnet": {"hidden": (16,), "steps": 20},
    "neuralef": {"hidden": (16,), "steps": 20, "power": 4},
    "rsm": {"hidden": (16,), "steps": 20},
    "modularity": {"hidden": (16,), "steps": 10},
    "mincut": {"hidden": (16,), "steps": 10},
    "deepkmeans": {"hidden": (16,), "pretraining": 2, "steps": 10},
}
"""Settings for what looks at the interface and not at the quality."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name: str) -> Head:
    return head_class(name)(**QUICK.get(name, {}))


def barely_trained(name: str) -> Head:
    return head_class(name)(**CHECKS.get(name, {}))


@pytest.fixture
def short_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start from a spectral solution takes a fixed number of steps, most of the time of so short a training."""
    monkeypatch.setattr("segspectral.heads.soft_assignment.DISTIL_STEPS", 60)


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", HEADS)
def test_law(name: str, law: Any) -> None:
    law(barely_trained(name) if law in laws.FORMAL_LAWS else make(name))


@pytest.mark.parametrize("law", laws.ODD_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.usefixtures("short_start")
def test_odd_law(name: str, law: Any) -> None:
    law(barely_trained(name))


@pytest.mark.usefixtures("short_start")
@parametrize_with_checks([head_class(name)(**({"n_clusters": 2} | CHECKS.get(name, {}))) for name in HEADS])
def test_scikit_learn_check(estimator: Head, check: Any) -> None:
    """No failure is expected of any head."""
    check(estimator)


@pytest.mark.parametrize(
    "check", [check_clustering, partial(check_clustering, readonly_memmap=True), check_clusterer_compute_labels_predict]
)
@pytest.mark.parametrize("name", HEADS)
def test_scikit_learn_check_of_clusterers(name: str, check: Any) -> None:
    """The checks that scikit-learn makes of classes that derive from its ``ClusterMixin``."""
    check(name, head_class(name)(**({"n_clusters": 2} | CHECKS.get(name, {}))))


class Defective(Exact):
    """An exact head whose ``_solve`` is spoilt by a subclass."""

    def _solve(self, X: NDArray[np.float64], affinity: Affinity, *rest: Any) -> Solution:
        solution = super()._solve(X, affinity, *rest)
        return replace(solution, membership=self._spoil(solution.membership, X, affinity))

    def _spoil(self, membership: Membership, X: NDArray[np.float64], affinity: Affinity) -> Membership:
        return membership


class ReadsGlobalRandomState(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        P = membership.probabilities + 1e-3 * np.random.rand(*membership.probabilities.shape)  # noqa: NPY002
        return replace(membership, probabilities=(P / P.sum(axis=1, keepdims=True)).astype(np.float32))


class SeedsGlobalRandomState(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        torch.manual_seed(self.random_state)
        return membership


class IgnoresItsSeed(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        P = membership.probabilities + 1e-3 * np.random.default_rng().random(membership.probabilities.shape)
        return replace(membership, probabilities=(P / P.sum(axis=1, keepdims=True)).astype(np.float32))


class ChangesX(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        X -= X.mean(axis=0)
        return membership


class ChangesAffinity(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        affinity.weights.data *= 2
        return membership


class WrongEndOfSpectrum(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        values, vectors = np.linalg.eigh(affinity.laplacian("sym").toarray())
        largest = vectors[:, -self.n_clusters :] / np.sqrt(affinity.degree)[:, None]
        return replace(membership, embedding=largest, eigenvalues=values[-self.n_clusters :])


class ForgetsTheNormalisation(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        values, vectors = np.linalg.eigh(affinity.laplacian("none").toarray())
        return replace(membership, embedding=vectors[:, : self.n_clusters], eigenvalues=values[: self.n_clusters])


class ClampsK(Defective):
    def _solve(self, X, affinity, *rest):  # type: ignore[no-untyped-def]
        self.n_clusters = min(self.n_clusters, 4)
        return super()._solve(X, affinity, *rest)


class AddsAColumn(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        P = np.pad(membership.probabilities, ((0, 0), (0, 1)))
        return replace(membership, probabilities=P)


class LooksAtNodeNumbers(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        labels = membership.labels.copy()
        labels[5] = (labels[5] + 1) % self.n_clusters
        return replace(membership, probabilities=soft_membership(affinity, labels, self.n_clusters))


class LooksAtTheUnitOfWeights(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        order = np.argsort(X[:, 0])
        labels = membership.labels.copy()
        if affinity.degree.mean() > 100:
            labels[order[: len(X) // 4]] = 0
        return replace(membership, probabilities=soft_membership(affinity, labels, self.n_clusters))


class ForgetsToShareRows(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        object.__setattr__(membership, "probabilities", membership.probabilities * np.float32(0.9))
        return membership


class SpoiltAfterwards(Exact):
    """An exact head whose labels are spoilt by a subclass when all is done."""

    def fit(self, X, y=None, **options):  # type: ignore[no-untyped-def]
        super().fit(X, y, **options)
        if len(self.labels_) > 2:
            self._spoil(options.get("affinity"))
            self.membership_ = replace(
                self.membership_, probabilities=np.eye(self.n_clusters, dtype=np.float32)[self.labels_]
            )
            self.ncut_ = self.affinity_.ncut(self.labels_)
        return self

    def _spoil(self, affinity):  # type: ignore[no-untyped-def]
        pass


class Collapses(SpoiltAfterwards):
    def _spoil(self, affinity):  # type: ignore[no-untyped-def]
        self.labels_ = 0 * self.labels_


class SplitsCopies(SpoiltAfterwards):
    def _spoil(self, affinity):  # type: ignore[no-untyped-def]
        if self.extension_.needs_features:
            _, first, count = np.unique(self.extension_.nodes, axis=0, return_index=True, return_counts=True)
            self.labels_[first[count > 1]] += 1
            self.labels_ %= self.n_clusters


class SplitsTwins(SpoiltAfterwards):
    def _spoil(self, affinity):  # type: ignore[no-untyped-def]
        if affinity is not None and not self.affinity_.weights.nnz:
            self.labels_[0] = self.n_clusters - 1


class NeverSaysFewer(SpoiltAfterwards):
    def _spoil(self, affinity):  # type: ignore[no-untyped-def]
        self.membership_, self.outcome_ = replace(self.membership_, outcome=Outcome.SOLVED), Outcome.SOLVED


class FailsOnAConstantColumn(SpoiltAfterwards):
    def _spoil(self, affinity):  # type: ignore[no-untyped-def]
        if self.extension_.needs_features and not np.ptp(self.extension_.nodes, axis=0).all():
            raise ZeroDivisionError


class FailsOnIsolatedNodes(SpoiltAfterwards):
    def _spoil(self, affinity):  # type: ignore[no-untyped-def]
        if not self.affinity_.degree.all():
            raise np.linalg.LinAlgError("singular matrix")


class RefusesWhatIsFine(Exact):
    def fit(self, X, y=None, **options):  # type: ignore[no-untyped-def]
        raise SettingsError("too difficult")


class TakesWhatIsNoData(Exact):
    def _rows(self, X, *, fitting=True):  # type: ignore[no-untyped-def]
        return super()._rows(np.nan_to_num(np.asarray(X)), fitting=fitting)


class DoesNotCluster(Defective):
    def _spoil(self, membership, X, affinity):  # type: ignore[no-untyped-def]
        labels = np.argsort(np.argsort(X[:, 0])) * self.n_clusters // len(X)
        return replace(membership, probabilities=soft_membership(affinity, labels, self.n_clusters))


class ReportsAnotherCut(Defective):
    def fit(self, X, y=None, **options):  # type: ignore[no-untyped-def]
        super().fit(X, y, **options)
        self.ncut_ = self.ncut_ / self.n_clusters
        return self


DEFECTS = [
    (Collapses, laws.uses_every_cluster),
    (ClampsK, laws.uses_every_cluster),
    (AddsAColumn, laws.uses_every_cluster),
    (ForgetsToShareRows, laws.is_a_membership),
    (ChangesX, laws.leaves_inputs_alone),
    (ChangesAffinity, laws.leaves_inputs_alone),
    (ReadsGlobalRandomState, laws.keeps_off_global_state),
    (SeedsGlobalRandomState, laws.keeps_off_global_state),
    (IgnoresItsSeed, laws.same_seed_same_bytes),
    (LooksAtTheUnitOfWeights, laws.weights_have_no_unit),
    (LooksAtNodeNumbers, laws.nodes_have_no_order),
    (SplitsCopies, laws.a_duplicate_joins_its_original),
    (DoesNotCluster, laws.finds_the_planted_groups),
    (WrongEndOfSpectrum, laws.is_true_to_its_graph),
    (ForgetsTheNormalisation, laws.is_true_to_its_graph),
    (ReportsAnotherCut, laws.is_true_to_its_graph),
]


ODD_DEFECTS = [
    (SplitsCopies, laws.copies_are_one),
    (SplitsTwins, laws.copies_are_one),
    (NeverSaysFewer, laws.copies_are_one),
    (TakesWhatIsNoData, laws.refuses_what_is_no_data),
    (SplitsCopies, laws.keeps_its_word_on_odd_features),
    (FailsOnAConstantColumn, laws.keeps_its_word_on_odd_features),
    (RefusesWhatIsFine, laws.keeps_its_word_on_odd_features),
    (NeverSaysFewer, laws.keeps_its_word_on_odd_graphs),
    (SplitsTwins, laws.keeps_its_word_on_odd_graphs),
    (FailsOnIsolatedNodes, laws.keeps_its_word_on_odd_graphs),
]


@pytest.mark.parametrize(("defect", "law"), ODD_DEFECTS, ids=lambda value: value.__name__)
def test_a_planted_defect_is_rejected_by_an_odd_law(defect: type[Head], law: Any) -> None:
    with pytest.raises((AssertionError, ArithmeticError, np.linalg.LinAlgError, pytest.fail.Exception)):
        law(defect())


@pytest.mark.parametrize("law", laws.ODD_LAWS, ids=lambda law: law.__name__)
def test_without_a_defect_the_same_class_passes_the_odd_laws(law: Any) -> None:
    law(SpoiltAfterwards())


@pytest.mark.parametrize(("defect", "law"), DEFECTS, ids=lambda value: value.__name__)
def test_a_planted_defect_is_rejected(defect: type[Head], law: Any) -> None:
    with pytest.raises((AssertionError, ValueError)):
        law(defect())


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_without_a_defect_the_same_class_passes(law: Any) -> None:
    law(Defective())


def test_every_law_rejects_something() -> None:
    assert {law for _, law in DEFECTS} == set(laws.LAWS)
    assert {law for _, law in ODD_DEFECTS} == set(laws.ODD_LAWS)


def test_the_list_of_heads() -> None:
    assert next(iter(HEADS)) == DEFAULT_HEAD == "neuncut"
    for name in HEADS:
        assert issubclass(head_class(name), Head)
        text = head_class(name).__doc__ or ""
        for part in ("Parameters", "Differs from the paper", "1. "):
            assert part in text, f"{name}: its docstring lacks '{part}'"


@pytest.mark.parametrize("name", HEADS)
def test_torch_tensors_are_features_too(name: str) -> None:
    X, _ = laws.planted()
    a = barely_trained(name).set_params(n_clusters=3).fit(X)
    b = barely_trained(name).set_params(n_clusters=3).fit(torch.from_numpy(X))
    assert np.array_equal(a.labels_, b.labels_)


@pytest.mark.parametrize("name", HEADS)
def test_sparse_and_dense_affinities_are_one(name: str) -> None:
    X, _ = laws.planted()
    affinity = knn_affinity(X)
    results = [
        barely_trained(name).set_params(n_clusters=3).fit(X, affinity=given).labels_
        for given in (affinity, affinity.weights, affinity.weights.toarray())
    ]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_an_outcome_is_a_sentence() -> None:
    assert all(len(outcome.sentence) > 5 for outcome in Outcome)
