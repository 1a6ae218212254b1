"""Backbones: the right weights, maps that are aligned with the pixels, and advice if either is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from segspectral.errors import BackboneError, SettingsError
from segspectral.features.backbones import ARCHITECTURE, DEFAULT_BACKBONE, WEIGHTS_VARIABLE, load_backbone
from segspectral.features.backbones.packaged import PackagedNetwork
from segspectral.features.backbones.timm_models import TimmModel, load_classifier, load_timm_model

RANDOM = ("resnet18", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
"""Architectures of each kind: CNNs, a ViT, and one with the channels as the last axis."""


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Name -> a safetensors file with random weights of that architecture."""
    folder, made = tmp_path_factory.mktemp("weights"), {}

    def file(name: str) -> str:
        if name not in made:
            torch.manual_seed(0)
            tensors = timm.create_model(name, pretrained=False).state_dict()
            # Fresh networks are symmetric in places; noise on every tensor makes each position count.
            noisy = {
                key: t + 0.02 * torch.randn(t.shape) if t.is_floating_point() and "running_var" not in key else t
                for key, t in tensors.items()
            }
            made[name] = str(folder / f"{name}.safetensors")
            save_file({key: t.contiguous() for key, t in noisy.items()}, made[name])
        return made[name]

    return file


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tensors of the package of ImageNet weights under timm's names."""
    path = tmp_path_factory.mktemp("packaged") / f"{ARCHITECTURE}.safetensors"
    save_file({key: t.contiguous() for key, t in load_classifier().state_dict().items()}, path)
    return path


def photograph(height: int, width: int) -> NDArray[np.float32]:
    rows, cols = np.indices((height, width), dtype=np.float32)
    waves = [np.sin(rows / 5 + cols / 9), np.cos(rows / 7), np.sin(cols / 4)]
    return (0.5 + 0.45 * np.stack(waves, axis=-1)).astype(np.float32)


@pytest.mark.parametrize(("name", "classes"), [("cat.jpg", range(281, 286)), ("coffee.jpg", [967])])
def test_the_packaged_weights_recognise_a_cat_and_an_espresso(samples: Path, name: str, classes: list[int]) -> None:
    with PIL.Image.open(samples / name) as opened:
        scale = 256 / min(opened.size)
        scaled = opened.resize([round(side * scale) for side in opened.size], PIL.Image.Resampling.BICUBIC)  # type: ignore[arg-type]
    left, top = ((side - 224) // 2 for side in scaled.size)
    crop = np.asarray(scaled.crop((left, top, left + 224, top + 224)), np.float32) / 255
    with torch.inference_mode():
        scores = load_classifier()(torch.from_numpy((crop - 0.5) / 0.5).permute(2, 0, 1)[None])
    assert int(scores.argmax()) in classes


def test_the_default_needs_no_network_and_names_its_source() -> None:
    backbone = load_backbone()
    assert backbone.source.endswith(".onnx")
    assert backbone.strides == (2, 4, 8, 16, 32)
    assert load_backbone() is backbone


def test_the_architecture_of_the_default_with_the_weights_of_imagenet_is_another_backbone(packaged: Path) -> None:
    backbone = load_backbone(ARCHITECTURE, weights=str(packaged))
    assert backbone.activations(photograph(64, 64), edges=True).edges is None
    assert backbone.fingerprint != load_backbone().fingerprint
    assert isinstance(backbone, TimmModel)
    assert (backbone.mean, backbone.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert not backbone.network.training
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())


@pytest.mark.parametrize("shape", [(1, 1), (75, 101), (300, 451)])
def test_the_packaged_weights_of_imagenet_are_those_of_timm(shape: tuple[int, int]) -> None:
    # A model that was fitted with the one is applied with the other on a GPU.
    found, expected = load_backbone(ARCHITECTURE), load_timm_model(device="cpu")
    assert isinstance(found, PackagedNetwork)
    assert found.fingerprint == expected.fingerprint
    maps, edges = found.activations(photograph(*shape), edges=True)
    assert edges is None
    for map_, other in zip(maps, expected(photograph(*shape)), strict=True):
        assert map_.stride == other.stride
        np.testing.assert_allclose(map_.values, other.values, atol=3e-5 * np.abs(other.values).max())


@pytest.mark.parametrize("shape", [(1, 1), (31, 64), (33, 95), (75, 101), (300, 451)])
def test_the_packaged_network_computes_what_torch_computes(shape: tuple[int, int]) -> None:
    pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    from segspectral.features.backbones.packaged_torch import load_in_torch

    packaged, reference = load_backbone(), load_in_torch()
    assert packaged.fingerprint == reference.fingerprint
    rgb = photograph(*shape)
    found, expected = (backbone.activations(rgb, edges=True) for backbone in (packaged, reference))
    for map_, other in zip(found.maps, expected.maps, strict=True):
        assert map_.stride == other.stride
        np.testing.assert_allclose(map_.values, other.values, atol=3e-5 * np.abs(other.values).max())
    assert found.edges is not None
    assert expected.edges is not None
    assert found.edges.shape == shape
    np.testing.assert_allclose(found.edges, expected.edges, atol=1e-5)
    assert packaged.activations(rgb).edges is None


def test_the_packaged_network_gives_equal_bytes_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = photograph(300, 451)
    made = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        made.append(PackagedNetwork().activations(rgb, edges=True))
    for other in made[1:]:
        assert all(a.values.tobytes() == b.values.tobytes() for a, b in zip(made[0].maps, other.maps, strict=True))
        np.testing.assert_array_equal(made[0].edges, other.edges)


def test_a_file_of_the_same_tensors_gives_the_same_features(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = photograph(50, 70)
    expected = load_timm_model(device="cpu")(rgb)
    from_file = load_backbone(ARCHITECTURE, weights=str(packaged))
    assert from_file.source == str(packaged)
    load_backbone.cache_clear()
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(packaged.parent))
    from_folder = load_backbone(ARCHITECTURE)
    assert from_folder.source == str(packaged)
    for backbone in (from_file, from_folder):
        for map_, other in zip(backbone(rgb), expected, strict=True):
            np.testing.assert_array_equal(map_.values, other.values)
    load_backbone.cache_clear()


def test_a_folder_without_the_requested_weights_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    load_backbone.cache_clear()
    assert load_backbone(ARCHITECTURE).source.endswith(".onnx")


@pytest.mark.parametrize("name", [*RANDOM, DEFAULT_BACKBONE])
def test_images_are_padded_and_not_rescaled(name: str, weights: Callable[[str], str]) -> None:
    backbone = load_backbone(name, None if name == DEFAULT_BACKBONE else weights(name))
    step = max(backbone.strides)
    for height, width in ((64, 64), (75, 101), (33, 20), (8, 8)):
        rgb = photograph(height, width)
        padded = np.pad(rgb, ((0, -height % step), (0, -width % step), (0, 0)), mode="edge")
        maps = backbone(rgb)
        assert len(maps) == len(backbone.strides)
        for map_, other in zip(maps, backbone(padded), strict=True):
            assert map_.values.dtype == np.float32
            assert np.isfinite(map_.values).all()
            # Each cell covers stride x stride pixels of the padded image, and that image is nothing but padded.
            assert map_.values.shape[:2] == (padded.shape[0] // map_.stride, padded.shape[1] // map_.stride)
            np.testing.assert_array_equal(map_.values, other.values)


@pytest.mark.parametrize("name", [*RANDOM, DEFAULT_BACKBONE])
def test_a_local_change_of_the_image_changes_the_maps_most_at_the_same_position(
    name: str, weights: Callable[[str], str]
) -> None:
    backbone = load_backbone(name, None if name == DEFAULT_BACKBONE else weights(name))
    rgb = photograph(128, 160)
    spot = rgb.copy()
    spot[64:96, 128:160] = 1 - spot[64:96, 128:160]
    for before, after in zip(backbone(rgb), backbone(spot), strict=True):
        change = np.abs(before.values - after.values).mean(axis=-1)
        inside = np.zeros(change.shape, bool)
        rows, cols = (slice(first // before.stride, last // before.stride) for first, last in ((64, 96), (128, 160)))
        inside[rows, cols] = True
        assert change[inside].mean() > 1.2 * change[~inside].mean()


def test_the_only_stride_of_a_vit_is_its_patch_size(weights: Callable[[str], str]) -> None:
    name = "vit_tiny_patch16_224"
    backbone = load_backbone(name, weights(name))
    assert set(backbone.strides) == {16}
    assert [m.values.shape for m in backbone(photograph(40, 60))] == [(3, 4, 192)] * 3


def test_the_input_is_not_changed_and_may_be_read_only() -> None:
    rgb = photograph(40, 60)
    rgb.setflags(write=False)
    before = rgb.copy()
    load_backbone()(rgb)
    np.testing.assert_array_equal(rgb, before)


def test_names_are_known_before_timm_is_imported() -> None:
    code = (
        "import sys; from segspectral.features.backbones.timm_models import architectures; read = architectures(); "
        "assert 'timm' not in sys.modules; import timm; print(set(timm.list_models()) ^ set(read))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "set()"


class TestAdvice:
    def sentence(self, *arguments: str | None) -> str:
        load_backbone.cache_clear()
        with pytest.raises(BackboneError) as caught:
            load_backbone(*arguments)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 600
        return message

    @pytest.mark.parametrize(("name", "meant"), [("resnet81", "resnet"), ("Resnet18", "resnet18"), ("vit_tiny", "vit")])
    def test_a_misspelt_name_gets_a_suggestion(self, name: str, meant: str) -> None:
        message = self.sentence(name)
        assert f"'{name}'" in message
        assert f"did you mean {meant}" in message or meant in message.split("did you mean")[1]

    @pytest.mark.parametrize("name", ["xyzzy", "", "../secrets", "hf_hub:someone/something"])
    def test_an_unknown_name_is_refused(self, name: str) -> None:
        assert "unknown backbone" in self.sentence(name)

    def test_unknown_weights_of_a_known_network_are_refused_with_a_list_of_known_ones(self) -> None:
        assert "a1_in1k" in self.sentence("resnet18.imaginary")

    def test_without_a_network_the_message_says_how_to_get_weights(self) -> None:
        message = self.sentence("resnet18.a1_in1k")
        for advice in (
            "features.cnn.weights=",
            WEIGHTS_VARIABLE,
            "resnet18.a1_in1k.safetensors",
            "the default network",
        ):
            assert advice in message

    def test_a_hub_that_does_not_answer_costs_only_seconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its own client, which tries for most of a minute, is told not to ask it."""
        import huggingface_hub
        from huggingface_hub import constants

        asked, download = [], huggingface_hub.hf_hub_download

        def watched(*arguments: Any, **options: Any) -> Any:
            asked.append(not options["local_files_only"])
            return download(*arguments, **options)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", watched)
        for variable in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(variable, raising=False)
            monkeypatch.delenv(variable.upper(), raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        assert "cannot be reached" in self.sentence("resnet18.a1_in1k")
        assert asked == [False]

    def test_a_network_without_weights_on_the_hub_is_reported(self) -> None:
        name = next(
            name for name in timm.list_models() if not (config := timm.get_pretrained_cfg(name)) or not config.hf_hub_id
        )
        assert f"no weights for '{name}'" in self.sentence(name)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        path = str(tmp_path / "nowhere.safetensors")
        assert self.sentence("resnet18", path).startswith(path)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle, perhaps", b"\xff" * 64])
    def test_a_file_that_is_not_safetensors_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "weights.safetensors"
        path.write_bytes(content)
        message = self.sentence("resnet18", str(path))
        assert message.startswith(str(path))
        assert "safetensors" in message

    def test_a_pickle_is_not_loaded_whatever_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        torch.save({"x": torch.zeros(1)}, path)
        assert "other formats are not loaded" in self.sentence("resnet18", str(path))

    def test_weights_of_another_architecture_are_refused_with_the_first_missing_tensor(self, packaged: Path) -> None:
        message = self.sentence("resnet18", str(packaged))
        assert "do not fit 'resnet18'" in message
        assert "'conv1.weight'" in message

    def test_weights_of_a_smaller_variant_are_refused(self, weights: Callable[[str], str]) -> None:
        assert "do not fit" in self.sentence("resnet34", weights("resnet18"))

    def test_a_tensor_of_another_shape_is_refused(self, weights: Callable[[str], str], tmp_path: Path) -> None:
        path = str(tmp_path / "other.safetensors")
        save_file(load_file(weights("resnet18")) | {"conv1.weight": torch.zeros(64, 3, 3, 3)}, path)
        assert "1 of 120 tensors are missing or have another shape, first 'conv1.weight'" in self.sentence(
            "resnet18", path
        )

    def test_a_network_for_one_image_size_is_refused_at_another_size(self, weights: Callable[[str], str]) -> None:
        backbone = load_backbone("mixer_s32_224", weights("mixer_s32_224"))
        with pytest.raises(BackboneError, match=r"does not accept an image of 75 x 101 pixels.*choose"):
            backbone(photograph(75, 101))

    def test_maps_that_are_not_aligned_with_the_pixels_are_refused(self) -> None:
        class Cropping(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.convolution = torch.nn.Conv2d(3, 4, 3, stride=2)  # without padding

            def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
                return [self.convolution(x)]

        backbone = TimmModel("cropping", "here", (2,), Cropping(), (0.5,) * 3, (0.5,) * 3)
        with pytest.raises(BackboneError, match=r"stride 2 has 31 x 31 cells, not 32 x 32"):
            backbone(photograph(64, 64))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_missing_gpu_is_reported(self) -> None:
        assert "no GPU" in self.sentence(DEFAULT_BACKBONE, None, "cuda")

    @pytest.mark.parametrize(
        ("arguments", "asked"),
        [
            (("resnet18",), "'resnet18' needs torch"),
            ((DEFAULT_BACKBONE, None, "cuda"), "on a GPU needs torch"),
        ],
    )
    def test_without_torch_the_message_says_what_to_install(
        self, arguments: tuple[str, ...], asked: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load_backbone.cache_clear()
        monkeypatch.setattr("segspectral.extras.installed", lambda module: module not in ("torch", "timm"))
        with pytest.raises(SettingsError) as caught:
            load_backbone(*arguments)
        assert asked in str(caught.value)
        assert "pip install 'segspectral[" in str(caught.value)
        load_backbone()
