"""ONNX models: onnxruntime, torch and segspectral compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import BackboneError, SettingsError
from segspectral.features.backbones import load_backbone
from segspectral.features.backbones.timm_models import load_timm_model
from segspectral.heads.deepkmeans import DeepKMeans
from segspectral.heads.exact import Exact
from segspectral.heads.neuncut import NeuNcut
from segspectral.heads.spectralnet import SpectralNet
from segspectral.shared.onnx import features_to_onnx, head_module, head_to_onnx
from tests.contracts.head_laws import planted

pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install --group webtest")


def session(model: bytes) -> Any:
    return runtime.InferenceSession(model, providers=["CPUExecutionProvider"])


def run(model: bytes, **inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    made = session(model)
    names = [output.name for output in made.get_outputs()]
    return dict(zip(names, made.run(None, inputs), strict=True))


@pytest.mark.parametrize(
    "head",
    [
        SpectralNet(3, hidden=(16,), steps=30, spare=2),
        DeepKMeans(3, hidden=(16,)),
        NeuNcut(3, hidden=(16,), greedy=False),
    ],
    ids=["spectral map", "centres", "softmax"],
)
def test_an_exported_head_computes_the_same(head: Any) -> None:
    import torch

    head = head.fit(planted()[0])
    unseen = planted(seed=3)[0].astype(np.float32)
    model = head_to_onnx(head)
    found = run(model, features=unseen)
    with torch.no_grad():
        by_torch = head_module(head)(torch.from_numpy(unseen))
    outputs = by_torch if isinstance(by_torch, tuple) else (by_torch,)
    assert len(found) == len(outputs)
    for values, expected in zip(found.values(), outputs, strict=True):
        np.testing.assert_allclose(values, expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["memberships"], head.predict_proba(unseen), atol=1e-6)
    assert len(np.unique(found["memberships"].argmax(axis=1))) == 3, "a constant would agree too easily"
    if "embedding" in found:
        np.testing.assert_allclose(found["embedding"], head.transform(unseen), rtol=1e-4, atol=1e-6)
    one = run(model, features=unseen[:1])
    np.testing.assert_allclose(one["memberships"], found["memberships"][:1], atol=1e-6)


def test_an_exported_backbone_computes_the_same(samples: Path, tmp_path: Path) -> None:
    from segspectral import read_image

    rgb = read_image(samples / "cat.jpg").float32[40:110, 60:160]  # neither side is a multiple of 32
    out = tmp_path / "features.onnx"
    result = CliRunner().invoke(app, ["export", "onnx", "--features", "70x100", "-o", str(out)])
    assert result.exit_code == 0, result.output
    found = run(out.read_bytes(), image=np.ascontiguousarray(rgb.transpose(2, 0, 1)[None]))
    expected = {f"stride{map_.stride}": map_.values for map_ in load_backbone()(rgb)}
    assert list(found) == ["stride4", "stride8", "stride16"]
    for name, values in found.items():
        size = np.abs(expected[name]).max()
        np.testing.assert_allclose(values[0].transpose(1, 2, 0), expected[name], atol=1e-5 * size)


def test_a_head_that_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    head = Exact(3).fit(planted()[0])
    with pytest.raises(SettingsError, match="Exact has not learned a map"):
        head_to_onnx(head)
    with pytest.raises(SettingsError, match="a graph network"):
        head_to_onnx(SpectralNet(3, encoder="gcn", steps=5).fit(planted()[0]))
    with pytest.raises(BackboneError, match="not at 5"):
        features_to_onnx(load_timm_model(), (64, 64), [5])
    for arguments, sentence in (
        (["--features", "70"], "320x480"),
        (["--features", "0x9"], "at least 1x1"),
        ([], "either a fitted head"),
        ([str(tmp_path / "absent")], "no such file"),
    ):
        result = CliRunner().invoke(app, ["export", "onnx", "-o", str(tmp_path / "a.onnx"), *arguments])
        assert result.exit_code == 2
        assert sentence in result.output
    assert not (tmp_path / "a.onnx").exists()


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segspectral.extras.installed", lambda module: False)
    result = CliRunner().invoke(app, ["export", "onnx", "--features", "64x64", "-o", "a.onnx"])
    assert result.exit_code == 2
    assert "pip install 'segspectral[onnx]'" in result.output
