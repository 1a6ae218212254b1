"""The pixel edge map: the probability that a person would draw an edge at each pixel.

The backbone keeps its ImageNet weights. A small decoder (about 50 000 weights) on its maps was trained on the human
edges of BSDS500 train by ``tools/fit_contours.py``, similarly to holistically-nested edge detection (Xie and Tu 2015):
every stride contributes through one linear map, so that only a few channels must be upsampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from segspectral.features.backbones import FeatureMap
from segspectral.values import Superpixels

__all__ = ["CHANNELS", "EdgeDecoder", "edge_probability", "edges_along", "trained"]

CHANNELS = {2: 16, 4: 24, 8: 40, 16: 112, 32: 320}
"""Stride -> number of channels of EfficientNet-Lite0, the backbone that the decoder was trained on."""

CLIP = 1e-3
"""Probabilities are clipped by this much before their log odds are taken. log(0.999 / 0.001) is 6.9, so the log odds
are between -7 and 7, and ``contours.ODDS_SHIFT`` makes them non-negative."""

LAB_SCALE, LAB_SHIFT = (50, 30, 30), (1, 0, 0)
"""CIELAB / LAB_SCALE - LAB_SHIFT: lightness, which is in 0..100, becomes -1..1. a* and b* become about -1..1 for most
colours of photographs."""


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
        """(B, 1, h, w) log odds, from colours (B, 3, h, w) and stride -> map (B, C, 2 h / stride, 2 w / stride)."""
        height, width = lab.shape[-2:]
        z = self.raw(lab)
        for stride, values in maps.items():
            part = self.strides[str(stride)](values)
            if stride > 2:
                part = nnf.interpolate(part, scale_factor=stride // 2, mode="bilinear", align_corners=False)
            z = z + part[..., :height, :width]
        z = nnf.relu(self.c1(nnf.relu(z)))
        odds: Tensor = self.c3(z + nnf.relu(self.c2(z)))
        return odds

    def tensors(self, rgb: NDArray[np.float32], maps: Sequence[FeatureMap]) -> tuple[Tensor, dict[int, Tensor]]:
        """The arguments of ``forward`` for an image (H, W, 3) in [0, 1] and its maps."""
        return half_lab(rgb), {m.stride: torch.from_numpy(m.values).permute(2, 0, 1)[None] for m in maps}


def half_lab(rgb: NDArray[np.float32]) -> Tensor:
    """(1, 3, ceil(H / 2), ceil(W / 2)) CIELAB, scaled to about -1..1, as means over two by two pixels."""
    height, width = rgb.shape[:2]
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    lab = np.pad(lab, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    half = lab.reshape(lab.shape[0] // 2, 2, lab.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    scaled = half / np.array(LAB_SCALE, np.float32) - np.array(LAB_SHIFT, np.float32)
    return torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]


@cache
def trained() -> EdgeDecoder:
    """The decoder with the weights that come with segspectral."""
    from safetensors.torch import load

    weights = load(files("segspectral").joinpath("features/weights/edges.safetensors").read_bytes())
    decoder = EdgeDecoder(weights["raw.weight"].shape[0], weights["c1.weight"].shape[0])
    decoder.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return decoder.eval()


def edge_probability(
    rgb: NDArray[np.float32], maps: Sequence[FeatureMap], decoder: EdgeDecoder | None = None
) -> NDArray[np.float32]:
    """(H, W) the probability that a person would draw an edge within about two pixels.

    Parameters
    ----------
    rgb : (H, W, 3) in [0, 1]
    maps : all maps of the default backbone; the decoder was trained on them
    """
    decoder = decoder or trained()
    height, width = rgb.shape[:2]
    with torch.inference_mode():
        half = torch.sigmoid(decoder(*decoder.tensors(rgb, maps)))[0, 0].numpy()
    full = cv2.resize(half, (2 * half.shape[1], 2 * half.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full[:height, :width])


def edges_along(superpixels: Superpixels, probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, 2) means along each border of the probability (H, W) of an edge, and of its log odds."""
    p = np.clip(probability, CLIP, 1 - CLIP)
    return superpixels.along_borders(np.stack([probability, np.log(p / (1 - p))], axis=-1)).astype(np.float32)
