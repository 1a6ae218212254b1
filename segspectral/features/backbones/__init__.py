"""Pretrained networks, which give feature maps at several strides.

There are two kinds. The default network comes with segspectral as one ONNX file (``packaged``). Any network of
timm runs in torch (``timm_models``), which is imported only if such a network, other weights or a GPU is asked for.

The weights of a backbone are searched in this order:

1. ``weights``: the path of a safetensors file;
2. the folder that ``SEGSPECTRAL_WEIGHTS`` names, as ``NAME.safetensors``;
3. for ``tf_efficientnet_lite0``, the file that comes with segspectral, which needs no network;
4. the model hub, through timm.
"""

from __future__ import annotations

from functools import lru_cache

from segspectral.features.backbones.base import (
    DEFAULT_BACKBONE,
    WEIGHTS_VARIABLE,
    Activations,
    Backbone,
    FeatureMap,
    weights_in_folder,
)

__all__ = ["DEFAULT_BACKBONE", "WEIGHTS_VARIABLE", "Activations", "Backbone", "FeatureMap", "load_backbone"]


@lru_cache(maxsize=2)
def load_backbone(name: str = DEFAULT_BACKBONE, weights: str | None = None, device: str = "auto") -> Backbone:
    """Load a network as a feature extractor.

    Parameters
    ----------
    name : any timm model that gives features (``timm.list_models()``): ResNet, ConvNeXt, DINO, DINOv2, DINOv3, ...
    weights : path of a safetensors file with the model's tensors; None searches for them (see the module's docstring)
    device : "cpu", "cuda", "cuda:1"; "auto" uses the CPU for the default network, and for others a GPU if there is one

    Raises
    ------
    BackboneError
        The name is unknown, or the weights are missing, cannot be read or do not fit the model.
    SettingsError
        The network needs torch and timm, which are not installed.
    """
    if name == DEFAULT_BACKBONE and device in ("auto", "cpu") and weights is None and weights_in_folder(name) is None:
        from segspectral.features.backbones.packaged import PackagedNetwork

        return PackagedNetwork()
    from segspectral.features.backbones.timm_models import load_timm_model

    return load_timm_model(name, weights, device)
