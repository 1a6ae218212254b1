"""The training of the default network, on tiny data: what it learns, stops, checkpoints and refusals."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from segspectral.errors import DatasetError, SettingsError
from segspectral.metrics.boundary import boundary_map

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from segspectral.features.backbones.edge_decoder import decoder_of, edge_probability  # noqa: E402


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    import importlib
    import sys

    folder = str(Path(__file__).parents[1] / "tools")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("fit_network")
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs of a bright rectangle in noise, and two people who drew it."""
    root: Path = tmp_path_factory.mktemp("data")
    for folder in ("images", "gt"):
        (root / "train" / folder).mkdir(parents=True)
    for number in range(3):
        labels = np.ones((240, 256), np.uint16)
        labels[60 + number : 180, 70:190] = 2
        segs = np.stack([labels, labels])
        noise = np.random.default_rng(number).integers(0, 60, (240, 256, 3))
        cv2.imwrite(
            str(root / "train" / "images" / f"{number}.jpg"), (noise + 120 * (labels == 2)[..., None]).astype(np.uint8)
        )
        np.savez(root / "train" / "gt" / f"{number}.npz", segs=segs, bdrys=np.packbits(boundary_map(segs), axis=-1))
    return root


@pytest.fixture(scope="module")
def settings(tool: ModuleType) -> Any:
    return tool.Settings(steps=4, crop=64, batch=1)


@pytest.fixture(scope="module")
def finished(tool: ModuleType, data: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("run")
    tool.train(folder, tool.read(data, 3), settings, every=2)
    return folder


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    files = ("edges.safetensors", "tf_efficientnet_lite0.safetensors")
    return {f"{file} {name}": t for file in files for name, t in load_file(folder / file).items()}


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    tool: ModuleType, data: Path, settings: Any, finished: Path, tmp_path: Path
) -> None:
    examples = tool.read(data, 3)
    assert tool.train(tmp_path, examples, settings, minutes=0).step == 1
    assert tool.train(tmp_path, examples, settings, resume=True).step == 4
    once, twice = tensors(finished), tensors(tmp_path)
    assert once.keys() == twice.keys()
    assert [name for name in once if not torch.equal(once[name], twice[name])] == []


def test_trunk_and_decoder_change_and_batch_norms_do_not(
    tool: ModuleType, data: Path, settings: Any, finished: Path
) -> None:
    decoder = tool.decoder_alone(tool.load_timm_model(device="cpu"), tool.read(data, 3), settings.epochs)
    before = tool.tensors_of_the_package() | {
        f"decoder {name}": tensor.half() for name, tensor in decoder.state_dict().items()
    }
    after = {
        name.split()[1] if "lite0" in name else f"decoder {name.split()[1]}": t for name, t in tensors(finished).items()
    }
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"conv_stem.weight", "blocks.6.0.conv_pw.weight", "decoder c1.weight"} <= changed
    assert not any("bn" in name or "conv_head" in name or "classifier" in name for name in changed)


def test_another_seed_gives_other_weights(
    tool: ModuleType, data: Path, settings: Any, finished: Path, tmp_path: Path
) -> None:
    tool.train(tmp_path, tool.read(data, 3), settings._replace(seed=1, steps=1))
    tool.train(tmp_path / "again", tool.read(data, 3), settings._replace(seed=2, steps=1))
    one, other = tensors(tmp_path), tensors(tmp_path / "again")
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls_on_what_is_seen_again_and_again(tool: ModuleType, data: Path, settings: Any) -> None:
    training = tool.Training(tool.load_timm_model(device="cpu"), settings._replace(steps=12), tool.EdgeDecoder())
    examples = tool.read(data, 3)[:1]
    batch = tool.batch_of(examples, settings, 0)

    def loss() -> float:
        with torch.no_grad():
            return float(tool.loss_of(*training.network(*batch[:2]), batch[2], settings))

    before = loss()
    for _ in range(12):
        training.advance(examples)
    assert loss() < 0.9 * before


def test_at_the_start_the_map_is_that_of_the_decoder(tool: ModuleType, data: Path, settings: Any) -> None:
    """The balance is taken out again, whatever it is."""
    example, backbone = tool.read(data, 3)[0], tool.load_timm_model(device="cpu")
    decoder = tool.decoder_alone(backbone, [example], 1)
    network = tool.Training(backbone, settings._replace(balance=5.0), decoder).averaged()
    rgb = example.rgb.astype(np.float32) / 255
    expected = edge_probability(rgb, backbone(rgb), decoder)
    np.testing.assert_allclose(network.edge_map(example.rgb), expected, atol=1e-4)


def test_image_and_target_of_a_crop_move_together(tool: ModuleType, data: Path, settings: Any) -> None:
    example, seen = tool.read(data, 3)[0], 0
    for seed in range(12):
        rgb, target = tool.crop_of(example, settings, np.random.default_rng(seed))
        assert rgb.shape == (64, 64, 3)
        assert target.shape == (1, 1, 32, 32)
        # The bright rectangle begins where the people drew its edge: slopes are steep there, and flat elsewhere.
        grey = cv2.resize(cv2.GaussianBlur(rgb.mean(axis=2), (0, 0), 2), (32, 32), interpolation=cv2.INTER_AREA)
        slope = np.hypot(*np.gradient(grey))
        drawn = target[0, 0].numpy() == 1
        if drawn.sum() < 10:
            continue  # a crop beside the rectangle
        seen += 1
        assert slope[drawn].mean() > 2.5 * slope[~drawn].mean()
    assert seen > 3


def test_crops_have_the_sizes_that_the_settings_name(tool: ModuleType, data: Path, settings: Any) -> None:
    example = tool.read(data, 3)[0]
    drawn = {
        size: np.mean(
            [
                float(tool.crop_of(example, settings._replace(smallest=size, largest=size), random)[1].mean())
                for random in map(np.random.default_rng, range(40))
            ]
        )
        for size in (0.5, 2.0)
    }
    assert drawn[2.0] < 0.5 * drawn[0.5]  # an edge is as wide at every size, and four times as much area lies between


def test_a_run_begins_with_the_weights_of_another(
    tool: ModuleType, data: Path, settings: Any, finished: Path, tmp_path: Path
) -> None:
    examples = tool.read(data, 3)
    still = settings._replace(start=str(finished), steps=1, trunk_rate=0.0, decoder_rate=0.0)
    tool.train(tmp_path / "still", examples, still)
    start, end = tensors(finished), tensors(tmp_path / "still")
    differing = [name for name in start if not torch.allclose(start[name].float(), end[name].float(), atol=1e-2)]
    assert differing == []  # the bias goes up and down by the balance, in halves
    tool.train(tmp_path / "moving", examples, still._replace(trunk_rate=1e-3, decoder_rate=1e-3))
    moved = tensors(tmp_path / "moving")
    assert any(not torch.equal(end[name], moved[name]) for name in end)


def test_a_fold_does_not_begin_with_what_has_seen_its_images(
    tool: ModuleType, data: Path, settings: Any, finished: Path, tmp_path: Path
) -> None:
    examples = tool.read(data, 3)
    with pytest.raises(SettingsError, match="is of --fold None, which has seen images that --fold 0 leaves out"):
        tool.train(tmp_path, examples, settings._replace(start=str(finished), fold=0))
    with pytest.raises(SettingsError, match=r"has no checkpoint\.pt; --start is the folder of a run"):
        tool.train(tmp_path, examples, settings._replace(start=str(tmp_path), fold=0))
    with pytest.raises(SettingsError, match=r"has no edges\.safetensors; --start is the folder of a run"):
        tool.train(tmp_path, examples, settings._replace(start=str(tmp_path)))
    with pytest.raises(SettingsError, match="--largest is at least --smallest"):
        tool.train(tmp_path, examples, settings._replace(smallest=1.2, largest=0.8))


def test_a_fold_leaves_out_every_second_image_and_scores_it(
    tool: ModuleType, data: Path, settings: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool.train(tmp_path, tool.read(data, 3), settings._replace(fold=0, steps=1, epochs=1))
    shown = capsys.readouterr().out
    assert "before: edges_ods" in shown
    assert "after: edges_ods" in shown
    assert shown.count("on 2 images") == 2


def test_what_does_not_fit_gets_a_sentence(
    tool: ModuleType, data: Path, settings: Any, finished: Path, tmp_path: Path
) -> None:
    examples = tool.read(data, 3)
    with pytest.raises(SettingsError, match="holds a run; go on with --resume"):
        tool.train(finished, examples, settings)
    with pytest.raises(SettingsError, match="steps was 4 and is 9, seed was 0 and is 1"):
        tool.train(finished, examples, settings._replace(steps=9, seed=1), resume=True)
    with pytest.raises(SettingsError, match="no run to resume"):
        tool.train(tmp_path, examples, settings, resume=True)
    with pytest.raises(SettingsError, match="multiple of 32"):
        tool.train(tmp_path, examples, settings._replace(crop=100))
    with pytest.raises(DatasetError):
        tool.read(tmp_path, 3)
    shutil.copytree(finished, tmp_path / "damaged")
    (tmp_path / "damaged" / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(SettingsError, match="cannot be read as a checkpoint"):
        tool.train(tmp_path / "damaged", examples, settings, resume=True)


def test_the_network_file_of_a_run_computes_the_same(
    tool: ModuleType, data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    import runpy
    import sys

    from segspectral.features.backbones import packaged, packaged_torch

    root = Path(__file__).parents[1]
    out = tmp_path / "network.onnx"
    monkeypatch.setattr(sys, "argv", ["export_network.py", str(finished), str(out)])
    runpy.run_path(str(root / "tools" / "export_network.py"), run_name="__main__")
    assert out.stat().st_size < 13e6
    shipped = packaged.PackagedNetwork().fingerprint
    monkeypatch.setattr(packaged, "FILE", str(out))  # an absolute path wins
    monkeypatch.setattr(packaged_torch, "FILE", str(out))
    made, in_torch = packaged.PackagedNetwork(), packaged_torch.load_in_torch()
    assert made.fingerprint == in_torch.fingerprint != shipped
    trunk = tool.load_timm_model(weights=str(finished / "tf_efficientnet_lite0.safetensors"), device="cpu")
    rgb = tool.read(data, 3)[0].rgb.astype(np.float32) / 255
    expected = edge_probability(rgb, trunk(rgb), decoder_of((finished / "edges.safetensors").read_bytes()))
    for network in (made, in_torch):
        maps, edges = network.activations(rgb, edges=True)
        np.testing.assert_allclose(edges, expected, atol=1e-4)
        for one, other in zip(maps, trunk(rgb), strict=True):
            np.testing.assert_allclose(one.values, other.values, atol=1e-4 * np.abs(other.values).max())
