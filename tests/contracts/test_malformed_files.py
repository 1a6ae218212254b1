"""Malformed files of heads and models are refused in one sentence by all that reads them; the rest of them works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import SegspectralError, SettingsError
from segspectral.heads import storage
from segspectral.heads.baselines import KMeans
from segspectral.heads.exact import Exact
from segspectral.heads.mincut import MinCut
from segspectral.heads.spectralnet import SpectralNet
from segspectral.images.reader import as_image
from segspectral.pipeline import Pipeline
from segspectral.shared import hub as models
from segspectral.shared.fit import fit_model
from segspectral.shared.model import Model
from segspectral.spectral.knn import knn_affinity
from tests.malformed import PATHS, as_bytes, changed, malformed, packed, unpacked
from tests.test_model import QUICK, SCENES

X = np.random.default_rng(0).normal(size=(16, 2)) + np.repeat([[0.0], [6.0]], 8, axis=0)

KINDS: dict[str, Callable[[], Any]] = {
    "kmeans": lambda: KMeans(2).fit(X),
    "exact": lambda: Exact(2).fit(None, affinity=knn_affinity(X)),
    "spectralnet": lambda: SpectralNet(2, hidden=(4,), steps=5, spare=1).fit(X),
    "graph convolutions": lambda: MinCut(2, hidden=(4,), steps=5).fit(X),
    "model": lambda: fit_model([image for image, _ in SCENES], QUICK),
}


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    path = tmp_path_factory.mktemp("whole") / "m"
    KINDS[request.param]().save(path)
    return request.param, path.read_bytes()


def refused(read: Callable[[], Any], path: Path) -> Any:
    """What is read, or None if it is refused as it should be."""
    try:
        return read()
    except SettingsError as error:
        told = str(error)
    assert told.startswith(f"{path}: ")
    assert "\n" not in told
    assert len(told) < 600
    return None


def test_each_of_many_malformed_files_is_refused_in_a_sentence_or_works(
    whole: tuple[str, bytes], tmp_path: Path
) -> None:
    kind, data = whole
    path, counts = tmp_path / "m", {"refused": 0, "read": 0}
    image = as_image(SCENES[0][0][::4, ::4])
    cases = list(malformed(data))
    for number, (name, spoilt) in enumerate(cases):
        # All of what is damaged as bytes, and a part of the many fields and values.
        if number > 40 and number % 11:
            continue
        path.write_bytes(spoilt)
        try:
            fitted = refused(lambda: Model.load(path) if kind == "model" else storage.load(path), path)
            refused(lambda: models.load(path), path)
            refused(lambda: models.config_of(path), path)
            if fitted is not None:
                models.model_card(fitted, {})
                try:
                    if kind == "model":
                        Pipeline(model=fitted, refine="none")(image)
                    elif kind != "exact":
                        fitted.predict(X)
                except SegspectralError:
                    pass
        except Exception as error:
            raise AssertionError(f"{kind}, {name}: {type(error).__name__}: {error}") from error
        counts["refused" if fitted is None else "read"] += 1
    assert counts["refused"] >= 60  # of each of five kinds
    # Numbers that only tell of the fit may be others; if most were read, nothing would be looked at.
    assert counts["refused"] > 4 * counts["read"]


def commands(kind: str, path: Path, tmp_path: Path) -> list[list[str]]:
    image = tmp_path / "image.png"
    if not image.exists():
        import PIL.Image

        PIL.Image.fromarray(SCENES[0][0][::4, ::4]).save(image)
    return [
        ["models", "load", str(path)],
        ["models", "save", str(path), str(tmp_path / "folder")],
        ["export", "onnx", str(path), "-o", str(tmp_path / "o.onnx")],
        ["segment", str(image), "-o", str(tmp_path / "out"), "--model", str(path)],
    ]


def test_commands_refuse_them_in_a_sentence_and_write_nothing(whole: tuple[str, bytes], tmp_path: Path) -> None:
    kind, data = whole
    header, tensors = unpacked(data)
    place = ("fitted",) if kind == "model" else ()
    cases = dict(list(as_bytes(data))[::4]) | {
        "unknown head": packed(changed(header, (*place, "head"), "no such head"), tensors),
        "another format": packed(changed(header, ("model" if kind == "model" else "format",), 99), tensors),
        "huge number of clusters": packed(changed(header, (*place, "parameters", "n_clusters"), 10**9), tensors),
        "no tensors": packed(header, {}),
        "nested": packed("[" * 5000, tensors),
    }
    path = tmp_path / "bad.safetensors"
    for name, spoilt in cases.items():
        path.write_bytes(spoilt)
        if refused(lambda: models.load(path), path) is not None:
            continue  # a byte that does not matter
        for command in commands(kind, path, tmp_path):
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 2, f"{kind}, {name}, {command[:2]}: {result.output} {result.exception!r}"
            assert result.output.count("error: ") == 1
            assert str(path) in result.output
            for written in ("folder", "o.onnx", "out"):
                assert not (tmp_path / written).exists(), f"{kind}, {name}: {written} is left behind"


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()], ids=["nothing", "an empty folder"])
def test_what_is_not_a_file_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "m"
    make(path)
    for kind in ("exact", "model"):
        for command in commands(kind, path, tmp_path):
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 2, result.output
            assert str(path) in result.output


@pytest.mark.parametrize("place", PATHS)
def test_a_model_from_elsewhere_opens_no_file_or_address_that_it_names(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segspectral.shared.model import Recipe

    fitted = KINDS["model"]()
    fitted.save(tmp_path / "m")
    header, tensors = unpacked((tmp_path / "m").read_bytes())
    cnn = Recipe().features.model_dump(mode="json")["cnn"]
    opened: list[Any] = []
    timm_models = "segspectral.features.backbones.timm_models"
    monkeypatch.setattr(f"{timm_models}._read_safetensors", lambda path: opened.append(path))
    monkeypatch.setattr(f"{timm_models}._hub_tensors", lambda name: opened.append(name))
    for change in ({"weights": place}, {"cache": {"folder": place}}, {"backbone": place}):
        named = changed(header, ("recipe", "features", "cnn"), cnn | change)
        (tmp_path / "m").write_bytes(packed(named, tensors))
        if "backbone" in change:
            with pytest.raises(SettingsError, match="is not a name of a timm model"):
                Model.load(tmp_path / "m")
            continue
        model = Model.load(tmp_path / "m")
        assert model.recipe.features.cnn is not None
        assert (model.recipe.features.cnn.weights, model.recipe.features.cnn.cache) == (None, None)
        with pytest.raises(SegspectralError, match="other weights of"):
            Pipeline(model=model, refine="none")(as_image(SCENES[0][0][::4, ::4]))
    assert opened == []


def test_a_saved_model_does_not_tell_where_its_weights_were(tmp_path: Path) -> None:
    from dataclasses import replace

    from segspectral.features import Cnn
    from segspectral.shared.model import Recipe

    features = Recipe().features.model_copy(update={"cnn": Cnn(weights="/home/me/secret.safetensors")})
    model = KINDS["model"]()
    replace(model, recipe=model.recipe.model_copy(update={"features": features})).save(tmp_path / "m")
    assert b"secret" not in (tmp_path / "m").read_bytes()
