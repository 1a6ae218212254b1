"""Heads from outside the package: a user's class, clusterers of scikit-learn, and who may bring them in."""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import DBSCAN, AgglomerativeClustering, Birch, KMeans, MeanShift, SpectralClustering
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from typer.testing import CliRunner

from segspectral import Pipeline
from segspectral.cli import app
from segspectral.config import dump, load_onto
from segspectral.errors import CollapseError, SettingsError
from segspectral.heads import ALLOWED, own
from segspectral.heads.base import Head, Solution
from segspectral.heads.clusterer import Clusterer
from segspectral.heads.settings import head_from, head_to
from segspectral.settings import validated, with_settings
from segspectral.shared.fit import fit_model
from segspectral.shared.model import Recipe
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Membership, Outcome
from tests.contracts.head_laws import planted

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own-head.md"
QUICK: dict[str, Any] = {"features": {"cnn": None}, "refine": "none", "segments": 4}

CLUSTERERS = [
    AgglomerativeClustering(),
    AgglomerativeClustering(linkage="average", metric="precomputed"),
    SpectralClustering(affinity="precomputed"),
    Birch(threshold=0.2),
    GaussianMixture(),
    make_pipeline(StandardScaler(), KMeans()),
]


@pytest.fixture(autouse=True)
def _nothing_stays_allowed() -> Iterator[None]:
    yield
    ALLOWED.clear()
    own.NAMES.clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the example of the documentation."""
    code = re.search(r'```python title="my_head.py"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    (tmp_path / "my_head.py").write_text(code[1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def image(folder: Path) -> str:
    import PIL.Image

    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[:, 40:] = (200, 30, 30)
    rgb[30:, :20] = (0, 200, 0)
    PIL.Image.fromarray(rgb).save(folder / "photo.png")
    return str(folder / "photo.png")


@pytest.mark.parametrize("name", ["./my_head.py:Nearest", "my_head:Nearest"])
def test_the_example_of_the_documentation_segments_an_image(folder: Path, name: str) -> None:
    common = ["--refine", "none", "--set", "features.cnn=null", "-k", "3"]
    command = ["segment", image(folder), "-o", "out", "--head", name, "--set", "head.sharpness=2", *common]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "3 segments" in result.output
    refused = CliRunner().invoke(app, [*command, "--set", "head.sharpness=-2"])
    assert refused.exit_code == 2
    assert "head.sharpness" in refused.output


def test_settings_with_a_head_of_ones_own_are_read_back(folder: Path) -> None:
    own.allow({"head": "./my_head.py:Nearest"})
    pipeline = Pipeline(head={"name": "./my_head.py:Nearest", "sharpness": 3.0})
    (folder / "my.yaml").write_text(dump(pipeline))
    assert str(folder / "my_head.py:Nearest") in dump(pipeline)
    _nothing_known()
    back = load_onto(Pipeline(), folder / "my.yaml")
    assert back.head.get_params() == pipeline.head.get_params()
    assert with_settings(back, {"head": {"sharpness": 4.0}}).head.sharpness == 4.0


def _nothing_known() -> None:
    """As in a new process."""
    ALLOWED.clear()
    own.NAMES.clear()
    for name in [name for name in sys.modules if name.startswith("segspectral_own_")]:
        del sys.modules[name]


def test_a_worker_loads_the_head_by_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own.allow({"head": "./my_head.py:Nearest"})
    sent = pickle.dumps(Pipeline(head={"name": "./my_head.py:Nearest", "sharpness": 3.0}))
    _nothing_known()
    monkeypatch.chdir("/")
    back = pickle.loads(sent)
    assert back.head.sharpness == 3.0
    assert len(np.unique(back.head.set_params(n_clusters=3).fit(planted()[0]).labels_)) == 3
    assert clone(back.head).get_params() == back.head.get_params()


def test_only_the_user_brings_in_code(folder: Path) -> None:
    marker = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nfrom segspectral.heads.exact import Exact as Evil\n")
    for foreign in ("./evil.py:Evil", "evil:Evil", {"name": "./evil.py:Evil"}, "os:system"):
        for kind in (Pipeline, Recipe):  # a client of the web page, a journal; a model
            with pytest.raises(SettingsError, match="runs only if you name it yourself"):
                validated(kind, {"head": foreign}, "settings")
        with pytest.raises(SettingsError, match="runs only if you name it yourself"):
            with_settings(Pipeline(), {"head": foreign})
    assert not marker.exists()
    own.allow({"head": "./evil.py:Evil"})
    assert marker.exists(), "the test would see the code run"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("./absent.py:Head", "there is no such file"),
        ("absent:Head", "no such module, and no file absent.py"),
        ("./broken.py:Head", "cannot be imported .*ZeroDivisionError"),
        ("./my_head.py:Farthest", "has no class Farthest; it has .*Nearest"),
        ("./my_head.py:np", "has no class np"),
        ("pathlib:Path", "Path is not a head"),
        ("./idle.py:Idle", "Idle has no _solve"),
    ],
)
def test_what_is_not_a_head_is_reported_in_a_sentence(folder: Path, name: str, sentence: str) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "idle.py").write_text("from segspectral.heads.base import Head\nclass Idle(Head):\n    pass\n")
    with pytest.raises(SettingsError, match=sentence):
        own.allow({"head": name})
    result = CliRunner().invoke(app, ["segment", image(folder), "-o", "out", "--head", name])
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1


class Wrong(Head):
    """A head whose ``_solve`` returns what it is given."""

    result: Any = None

    def _solve(self, X: Any, affinity: Any, progress: Any) -> Solution:
        return self.result


@pytest.mark.parametrize("result", [None, np.zeros(124), Membership(np.ones((124, 1), np.float32))])
def test_an_invalid_solution_is_reported_in_a_sentence(result: Any) -> None:
    with pytest.raises(SettingsError, match=r"Wrong\._solve"):
        Wrong(3, result=result).fit(planted()[0])


@pytest.mark.parametrize("estimator", CLUSTERERS, ids=lambda e: type(e).__name__)
def test_a_clusterer_finds_the_planted_groups(estimator: Any) -> None:
    X, truth = planted()
    before = repr(estimator)
    head = head_from(estimator).set_params(n_clusters=3).fit(X, affinity=knn_affinity(X, neighbors=60))
    assert adjusted_rand_score(truth, head.labels_) > 0.9
    assert head.outcome_ is Outcome.SOLVED
    assert adjusted_rand_score(truth, head.predict(planted(seed=1)[0], affinity=None)) > 0.9
    assert repr(estimator) == before, "the user's estimator was changed"
    again = clone(head).fit(X, affinity=knn_affinity(X, neighbors=60))
    assert again.membership_.probabilities.tobytes() == head.membership_.probabilities.tobytes()


@pytest.mark.parametrize("estimator", CLUSTERERS[:5], ids=lambda e: type(e).__name__)
def test_the_settings_of_a_clusterer_are_read_back(estimator: Any, tmp_path: Path) -> None:
    pipeline = Pipeline(head=estimator, **QUICK)
    (tmp_path / "my.yaml").write_text(dump(pipeline))
    ALLOWED.clear()
    assert load_onto(Pipeline(), tmp_path / "my.yaml") == pipeline
    assert head_to(pipeline.head)["name"].startswith(("sklearn.cluster:", "sklearn.mixture:"))


def test_settings_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    pipeline = Pipeline(head=make_pipeline(FunctionTransformer(np.sqrt), KMeans()))
    assert with_settings(pipeline, {"segments": 3}).head.estimator.steps == pipeline.head.estimator.steps
    (tmp_path / "my.yaml").write_text(dump(pipeline))
    with pytest.raises(SettingsError, match="steps could not be written"):
        load_onto(Pipeline(), tmp_path / "my.yaml")


def test_noise_joins_the_groups_that_it_is_tied_to() -> None:
    X, truth = planted()
    estimator = DBSCAN(eps=0.6, min_samples=5)
    noise = estimator.fit_predict(X) == -1
    assert 3 < noise.sum() < 60
    head = head_from(estimator).set_params(n_clusters=len(np.unique(estimator.labels_)) - 1).fit(X)
    assert (head.labels_[noise] == truth[noise]).mean() > 0.9 or head.n_clusters != 3
    assert set(head.labels_) == set(range(head.n_clusters))


def test_what_a_clusterer_cannot_do_is_reported_in_a_sentence() -> None:
    X, _ = planted()
    with pytest.raises(SettingsError, match=r"DBSCAN found \d+ clusters where 2 were asked for"):
        head_from(DBSCAN(eps=0.6)).set_params(n_clusters=2).fit(X)
    with pytest.raises(CollapseError, match="none of the 124 nodes"):
        head_from(DBSCAN(eps=1e-9)).set_params(n_clusters=2).fit(X)
    assert head_from(MeanShift()).set_params(n_clusters=20).fit(X).outcome_ is Outcome.FEWER
    with pytest.raises(SettingsError, match="maps features to clusters"):
        head_from(Birch()).fit(None, affinity=knn_affinity(X))
    with pytest.raises(SettingsError, match="Birch does not cluster"):
        head_from(Birch(threshold=-1)).fit(X)
    with pytest.raises(SettingsError, match="not NoneType"):
        Clusterer(3).fit(X)
    for odd in (StandardScaler(), BaseEstimator(), 5, dict):
        with pytest.raises(ValueError, match="is not a head"):
            Pipeline(head=odd)


def test_a_head_from_outside_is_not_saved(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="may not name code"):
        head_from(Birch()).set_params(n_clusters=3).fit(planted()[0]).save(tmp_path / "head")
    with pytest.raises(SettingsError, match="may not name code"):
        fit_model([image(folder)], Recipe(head=Birch()))
