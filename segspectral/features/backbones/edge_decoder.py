"""The part of the default network that draws the pixel edge map, in torch: for its training, its file, and GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from segspectral.features.backbones.base import FeatureMap, padded
from segspectral.features.edges import full_size, half_lab

__all__ = ["CHANNELS", "EdgeDecoder", "decoder_of", "decoder_with", "edge_probability"]

CHANNELS = {2: 16, 4: 24, 8: 40, 16: 112, 32: 320}
"""Stride -> number of channels of EfficientNet-Lite0."""


class EdgeDecoder(nn.Module):
    """z = lab * raw + sum_s up(W_s map_s); log odds = c3(z' + relu(z' * c2)) with z' = relu(relu(z) * c1), c2 dilated.

    The decoder works at half the image's resolution.
    """

    def __init__(self, hidden: int = 48, width: int = 32) -> None:
        super().__init__()
        self.strides = nn.ModuleDict({str(s): nn.Conv2d(c, hidden, 1, bias=False) for s, c in CHANNELS.items()})
        self.raw = nn.Conv2d(3, hidden, 5, padding=2)
        self.c1 = nn.Conv2d(hidden, width, 3, padding=1)
        self.c2 = nn.Conv2d(width, width, 3, padding=2, dilation=2)
        self.c3 = nn.Conv2d(width, 1, 1)

    def forward(self, lab: Tensor, maps: dict[int, Tensor]) -> Tensor:
        """(B, 1, h, w) log odds, from colours (B, 3, h, w) and stride -> map (B, C, 2 h / stride, 2 w / stride).

        Both are those of the padded image, so that h and w are multiples of 16.
        """
        z = self.raw(lab)
        for stride, values in maps.items():
            part = self.strides[str(stride)](values)
            if stride > 2:
                part = nnf.interpolate(part, scale_factor=stride // 2, mode="bilinear", align_corners=False)
            z = z + part
        z = nnf.relu(self.c1(nnf.relu(z)))
        odds: Tensor = self.c3(z + nnf.relu(self.c2(z)))
        return odds

    def tensors(self, rgb: NDArray[np.float32], maps: Sequence[FeatureMap]) -> tuple[Tensor, dict[int, Tensor]]:
        """The arguments of ``forward`` for an image (H, W, 3) in [0, 1] and its maps."""
        lab = torch.from_numpy(half_lab(padded(rgb, max(CHANNELS))))
        return lab, {m.stride: torch.from_numpy(m.values).permute(2, 0, 1)[None] for m in maps}


def decoder_with(weights: Mapping[str, Tensor]) -> EdgeDecoder:
    """The decoder with these weights, whose shapes say how wide it is."""
    decoder = EdgeDecoder(weights["raw.weight"].shape[0], weights["c1.weight"].shape[0])
    decoder.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return decoder.eval()


def decoder_of(file: bytes) -> EdgeDecoder:
    """The decoder with the weights of a safetensors file."""
    from safetensors.torch import load

    return decoder_with(load(file))


def edge_probability(rgb: NDArray[np.float32], maps: Sequence[FeatureMap], decoder: EdgeDecoder) -> NDArray[np.float32]:
    """(H, W) the probability that a person would draw an edge within about two pixels.

    Parameters
    ----------
    rgb : (H, W, 3) in [0, 1]
    maps : all maps of the network that the decoder was trained on
    """
    with torch.inference_mode():
        half = torch.sigmoid(decoder(*decoder.tensors(rgb, maps)))[0, 0].numpy()
    return full_size(half, rgb.shape[:2])
