"""Fitted heads as folders, and their exchange with a hub, for which a folder stands in: no network is needed."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import SettingsError
from segspectral.heads.exact import Exact
from segspectral.heads.spectralnet import SpectralNet
from segspectral.images.reader import as_image
from segspectral.pipeline import Pipeline
from segspectral.shared import hub as models
from segspectral.shared.fit import fit_model
from tests.contracts.head_laws import planted
from tests.test_model import QUICK, SCENES

huggingface_hub = pytest.importorskip("huggingface_hub")
REAL = huggingface_hub.HfApi


@pytest.fixture(scope="module")
def head() -> SpectralNet:
    return SpectralNet(3, hidden=(8,), steps=10, spare=1).fit(planted()[0])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a folder per repository. Calls must match the signatures of the hub's own client."""
    root = tmp_path / "hub"

    def as_real(method: Callable[..., Any]) -> Callable[..., Any]:
        def checked(self: object, *args: Any, **kwargs: Any) -> Any:
            inspect.signature(getattr(REAL, method.__name__)).bind(self, *args, **kwargs)
            return method(self, *args, **kwargs)

        return checked

    class Api:
        def __init__(self, **about: str) -> None:
            REAL(**about)

        @as_real
        def create_repo(self, repo_id: str, private: bool = False, exist_ok: bool = False) -> str:
            huggingface_hub.utils.validate_repo_id(repo_id)
            (root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
            return f"https://hub/{repo_id}"

        @as_real
        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)

        @as_real
        def snapshot_download(
            self, repo_id: str, *, revision: str | None, local_dir: str, allow_patterns: list[str]
        ) -> None:
            if not (root / repo_id).is_dir():
                raise OSError("404: not found")
            for path in (root / repo_id).iterdir():
                if path.name in allow_patterns:
                    shutil.copy(path, local_dir)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(models, "hub_reachable", lambda: True)
    return root


def test_a_folder_has_a_card_and_is_read_back(head: SpectralNet, tmp_path: Path) -> None:
    folder = models.save(head, tmp_path / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())["segspectral"]
    assert config["head"] == "spectralnet"
    assert config["parameters"]["hidden"] == [8]
    assert "state" not in config
    card = (folder / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "segspectral"
    assert f"| normalized cut | {head.ncut_:.4f} |" in body
    back = models.load(folder)
    unseen = planted(seed=3)[0]
    assert back.predict_proba(unseen).tobytes() == head.predict_proba(unseen).tobytes()


def test_the_code_on_the_card_works(head: SpectralNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models.save(head, tmp_path / "model")
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    exec(code, {"X": planted()[0]})


def test_the_config_contains_the_whole_header(head: SpectralNet, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    head.save(tmp_path / "plain")
    with safe_open(tmp_path / "plain", framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no dict
        header = file.metadata() | {"pipeline": '{"seed": 3}', "note": "by hand"}
    save_file(tensors, tmp_path / "more", metadata=header)
    folder = models.save(tmp_path / "more", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    assert (config["pipeline"], config["note"]) == ({"seed": 3}, "by hand")
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "more").read_bytes()


def test_the_command_line_saves_and_loads(head: SpectralNet, tmp_path: Path) -> None:
    head.save(tmp_path / "head.safetensors")
    result = CliRunner().invoke(app, ["models", "save", str(tmp_path / "head.safetensors"), str(tmp_path / "model")])
    assert result.exit_code == 0, result.output
    (tmp_path / "model" / "README.md").write_text("mine")
    models.save(tmp_path / "head.safetensors", tmp_path / "model")
    assert (tmp_path / "model" / "README.md").read_text() == "mine"
    result = CliRunner().invoke(app, ["models", "load", str(tmp_path / "model")])
    assert "SpectralNet, 3 clusters of 2 features, fitted on 124 nodes" in result.output


def test_a_head_is_pushed_and_pulled(head: SpectralNet, hub: Path, tmp_path: Path) -> None:
    folder = models.save(head, tmp_path / "model")
    (folder / "README.md").write_text("my own card")
    (folder / "secret.txt").write_text("not for the hub")
    result = CliRunner().invoke(app, ["models", "push", str(folder), "me/moons"])
    assert result.exit_code == 0, result.output
    assert "https://hub/me/moons" in result.output
    assert sorted(p.name for p in (hub / "me/moons").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    result = CliRunner().invoke(app, ["models", "pull", "me/moons", "-o", str(tmp_path / "back")])
    assert result.exit_code == 0, result.output
    for name in ("README.md", "config.json", "model.safetensors"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    models.push(Exact(3).fit(planted()[0]), "me/exact")
    assert isinstance(models.load(models.pull("me/exact", tmp_path / "exact")), Exact)


def test_a_download_is_checked_before_it_is_kept(hub: Path, tmp_path: Path) -> None:
    (hub / "me/bad").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"me/bad: contains no model\.safetensors"):
        models.pull("me/bad", tmp_path / "bad")
    (hub / "me/bad/model.safetensors").write_bytes(b"no head")
    with pytest.raises(SettingsError, match=r"^me/bad/model\.safetensors: is not a head"):
        models.pull("me/bad", tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_refusals_of_the_hub_are_reported_in_one_sentence(
    head: SpectralNet, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"me/absent: the hub refuses \(404: not found\); check its name"):
        models.pull("me/absent", tmp_path)
    with pytest.raises(SettingsError, match="the hub refuses"):
        models.push(head, "no spaces/in names")
    with pytest.raises(SettingsError, match="contains no"):
        models.push(tmp_path, "me/empty")
    monkeypatch.undo()
    with pytest.raises(SettingsError, match="the hub cannot be reached"):
        models.pull("me/moons", tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SettingsError, match="pip install huggingface_hub"):
        models.push(head, "me/moons")


def test_a_head_fitted_on_vectors_is_saved(tmp_path: Path) -> None:
    X = planted()[0]
    np.save(tmp_path / "x.npy", X)
    command = ["cluster", str(tmp_path / "x.npy"), "-k", "3", "--head", "kmeans", "--save", str(tmp_path / "h")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert len(np.unique(models.load(tmp_path / "h").predict(X))) == 3


def test_a_model_of_fit_is_saved_pushed_and_pulled_like_a_head(hub: Path, tmp_path: Path) -> None:
    images = [as_image(image) for image, _ in SCENES]
    fit_model(images, QUICK).save(tmp_path / "fit.safetensors")
    for command in (
        ["save", str(tmp_path / "fit.safetensors"), str(tmp_path / "model")],
        ["push", str(tmp_path / "model"), "me/kinds"],
        ["pull", "me/kinds", "-o", str(tmp_path / "back")],
    ):
        result = CliRunner().invoke(app, ["models", *command])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "back/model.safetensors").read_bytes() == (tmp_path / "fit.safetensors").read_bytes()
    config = json.loads((tmp_path / "back/config.json").read_text())["segspectral"]
    assert config["recipe"]["segments"] == 4
    assert "state" not in config["fitted"]
    assert "segment photo.jpg -o out --model model.safetensors" in (tmp_path / "back/README.md").read_text()
    result = CliRunner().invoke(app, ["models", "load", str(tmp_path / "back")])
    assert "4 segments shared by all images, by a NeuNcut fitted on" in result.output
    by_folder, by_file = (Pipeline(model=str(tmp_path / p), refine="none") for p in ("back", "fit.safetensors"))
    np.testing.assert_array_equal(by_folder(images[0]).labels, by_file(images[0]).labels)
    pytest.importorskip("onnxscript", reason="onnxscript (extra 'onnx') is not installed")
    result = CliRunner().invoke(app, ["export", "onnx", str(tmp_path / "back"), "-o", str(tmp_path / "o.onnx")])
    assert result.exit_code == 2
    assert "takes images and not rows" in result.output
