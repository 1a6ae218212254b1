"""Pretrained networks, which give feature maps at several strides.

There are two kinds. Two networks come with segspectral as ONNX files (``packaged``): the default one, which alone has a
pixel edge map, and ``tf_efficientnet_lite0`` with the weights of ImageNet. Any network of timm runs in torch
(``timm_models``). torch is imported only for these, and for a GPU, on which it also computes the default network
(``packaged_torch``).

The weights of a network of timm are searched in this order:

1. ``weights``: the path of a safetensors file;
2. the folder that ``SEGSPECTRAL_WEIGHTS`` names, as ``NAME.safetensors``;
3. for ``tf_efficientnet_lite0``, those that come with segspectral;
4. the model hub, through timm.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from segspectral.errors import BackboneError
from segspectral.extras import require
from segspectral.features.backbones.base import (
    ARCHITECTURE,
    DEFAULT_BACKBONE,
    PACKAGED,
    WEIGHTS_VARIABLE,
    Activations,
    Backbone,
    FeatureMap,
    weights_in_folder,
)

__all__ = [
    "ARCHITECTURE",
    "DEFAULT_BACKBONE",
    "PACKAGED",
    "WEIGHTS_VARIABLE",
    "Activations",
    "Backbone",
    "FeatureMap",
    "check_name",
    "load_backbone",
]


def check_name(name: str) -> None:
    """Raise BackboneError if there is no such network, and SettingsError if it needs torch, which is not installed."""
    if name not in PACKAGED:
        from segspectral.features.backbones.timm_models import check_architecture

        check_architecture(name)


@lru_cache(maxsize=4)
def load_backbone(name: str = DEFAULT_BACKBONE, weights: str | None = None, device: str = "auto") -> Backbone:
    """Load a network as a feature extractor.

    Parameters
    ----------
    name : the default network, or a timm model that gives features (``timm.list_models()``): ResNet, DINO, ...
    weights : path of a safetensors file with the model's tensors; None searches for them (see the module's docstring)
    device : "cpu", "cuda", "cuda:1"; "auto" uses the CPU for the networks that come with segspectral, and for others a
        GPU if there is one

    Raises
    ------
    BackboneError
        The name is unknown, or the weights are missing, cannot be read or do not fit the model; or there are other
        weights for the default network.
    SettingsError
        The network needs torch and timm, which are not installed.
    """
    if name == DEFAULT_BACKBONE and weights is not None:
        raise BackboneError(
            f"'{name}' has weights of its own; name the timm model that these belong to, such as "
            f"features.cnn.backbone={ARCHITECTURE}",
            Path(weights),
        )
    own = weights is not None or (name != DEFAULT_BACKBONE and weights_in_folder(name) is not None)
    if name in PACKAGED and device in ("auto", "cpu") and not own:
        from segspectral.features.backbones.packaged import PackagedNetwork

        return PackagedNetwork(name)
    if name == DEFAULT_BACKBONE:
        require("onnx", f"the backbone '{name}' on a GPU")
        from segspectral.features.backbones.packaged_torch import load_in_torch

        return load_in_torch(device)
    from segspectral.features.backbones.timm_models import load_timm_model

    return load_timm_model(name, weights, device)
