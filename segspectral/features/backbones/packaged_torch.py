"""The default network in torch, from the file of ``packaged``: for GPUs, and to check what onnxruntime computes."""

from __future__ import annotations

from functools import cached_property
from importlib.resources import files

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from segspectral.features.backbones.base import ARCHITECTURE, DEFAULT_BACKBONE, Activations
from segspectral.features.backbones.edge_decoder import EdgeDecoder, decoder_with, edge_probability
from segspectral.features.backbones.packaged import FILE, FINGERPRINT
from segspectral.features.backbones.timm_models import TimmModel, device_of, load_timm_model

__all__ = ["DefaultNetwork", "load_in_torch"]


class DefaultNetwork(TimmModel):
    """The trunk, as timm has it, and the edge decoder."""

    def __init__(self, trunk: TimmModel, decoder: EdgeDecoder, fingerprint: str) -> None:
        super().__init__(DEFAULT_BACKBONE, f"segspectral/{FILE}", trunk.strides, trunk.network, trunk.mean, trunk.std)
        self.decoder, self._fingerprint = decoder, fingerprint

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the file, so that a model that was fitted on the CPU can be applied on a GPU."""
        return self._fingerprint

    def activations(self, rgb: NDArray[np.float32], *, edges: bool = False) -> Activations:
        """See ``Backbone``. The decoder runs on the CPU."""
        maps = super().activations(rgb).maps
        return Activations(maps, edge_probability(rgb, maps, self.decoder) if edges else None)


def load_in_torch(device: str = "cpu") -> DefaultNetwork:
    """The default network in torch.

    Raises
    ------
    BackboneError
        ``device`` is a GPU, and torch finds none.
    """
    device = device_of(device)
    model = onnx.load_model_from_string(files("segspectral").joinpath(FILE).read_bytes())
    tensors = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("/network/")]
    trunk = load_timm_model(ARCHITECTURE, device="cpu")
    layers = list(trunk.network.modules())
    weighted = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, torch.nn.BatchNorm2d)]
    # The file has each batch norm inside the convolution before it; here it adds the bias and does nothing else.
    for node, convolution, norm in zip(convolutions, weighted, norms, strict=True):
        weight, bias = (tensors[name] for name in node.input[1:])
        convolution.weight.data.copy_(weight)
        identity = {"weight": 1, "bias": bias, "running_mean": 0, "running_var": 1 - norm.eps}
        for name, value in identity.items():
            getattr(norm, name).data.copy_(torch.as_tensor(value))
    trunk.network.to(device)
    prefix = "decoder."
    decoder = decoder_with({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    about = {entry.key: entry.value for entry in model.metadata_props}
    return DefaultNetwork(trunk, decoder, about[FINGERPRINT])
