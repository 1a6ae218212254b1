"""What the default path of a segmentation runs without: packages whose import takes longer than the work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import segspectral
from segspectral.heads.neuncut import NeuNcut
from segspectral.shared.fit import fit_model
from segspectral.shared.model import Recipe
from segspectral.spectral.knn import knn_affinity

HEAVY = ("torch", "timm", "torchvision", "sklearn", "pandas", "scipy.stats", "scipy.optimize")


def imported_by(code: str, *arguments: object) -> list[str]:
    """Which of ``HEAVY`` a process has imported after running the code."""
    told = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    root = Path(segspectral.__file__).parents[1]
    command = [sys.executable, "-c", told, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, check=True).stdout.split()


FIT = """
import numpy as np, segspectral.pipeline
from segspectral.heads.exact import Exact
from segspectral.heads.neuncut import NeuNcut
from segspectral.heads.storage import load
from segspectral.spectral.knn import knn_affinity
X = np.random.default_rng(0).normal(size=(600, 20))
affinity = knn_affinity(X)
for head in (NeuNcut(), Exact()):
    for fitted in (head.fresh(n_clusters=6).fit(X), head.fit(X, affinity=affinity), head.fit(None, affinity=affinity)):
        assert len(np.unique(fitted.labels_)) == fitted.n_clusters
    head.fit(X).save(sys.argv[1])
    loaded = load(sys.argv[1])
    unseen = X[:5] + 0.1
    assert loaded.predict_proba(unseen).tobytes() == head.predict_proba(unseen).tobytes()
    assert loaded.transform(unseen).shape == (5, 8)
"""

PREDICT = """
import numpy as np
from segspectral.heads.storage import load
assert load(sys.argv[1]).predict(np.load(sys.argv[2])).tolist() == np.load(sys.argv[3]).tolist()
"""

APPLY = """
import numpy as np
from segspectral.shared.model import Model
from segspectral.values import Features
model = Model.load(sys.argv[1])
assert model.membership(Features(np.load(sys.argv[2]))).labels.tolist() == np.load(sys.argv[3]).tolist()
"""


def test_the_watch_sees_an_import() -> None:
    # scikit-learn imports pandas, if it is installed.
    assert {"sklearn", "scipy.stats", "scipy.optimize"} <= set(imported_by("import sklearn.cluster"))


def test_the_default_heads_are_fitted_saved_and_used_without(tmp_path: Path) -> None:
    assert imported_by(FIT, tmp_path / "head") == []


@pytest.mark.parametrize("encoder", ["mlp", "gcn"])
def test_a_fitted_network_predicts_without(encoder: str, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(200, 6))
    head = NeuNcut(3, hidden=(8,), steps=5, encoder=encoder).fit(X, affinity=knn_affinity(X))
    paths = [tmp_path / "head", tmp_path / "rows.npy", tmp_path / "labels.npy"]
    head.save(paths[0])
    np.save(paths[1], X[:9] + 0.1)
    np.save(paths[2], head.predict(X[:9] + 0.1))
    assert imported_by(PREDICT, *paths) == []


def test_a_model_is_applied_without(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = [np.repeat(np.repeat(rng.integers(0, 255, (3, 4, 3), np.uint8), 16, axis=0), 16, axis=1) for _ in "abc"]
    features = {"cnn": None, "contours": None, "colour": {}}
    recipe = Recipe.model_validate(
        {"segments": 2, "fine": 1, "features": features, "head": {"name": "neuncut", "hidden": (8,), "steps": 5}}
    )
    model = fit_model(images, recipe)
    paths = [tmp_path / "model", tmp_path / "rows.npy", tmp_path / "labels.npy"]
    model.save(paths[0])
    rows = rng.normal(size=(9, model.head.n_features_in_)).astype(np.float32)
    np.save(paths[1], rows)
    np.save(paths[2], model.segment_of[model.head.predict(rows)])
    assert imported_by(APPLY, *paths) == []
