"""Image -> Superpixels."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from segspectral.settings import Settings
from segspectral.values import Image, Superpixels

__all__ = ["Slic"]


class Slic(Settings):
    """Simple linear iterative clustering: k-means on CIELAB and position within a window (Achanta et al. 2012).

    This is scikit-image's implementation. Superpixels that it leaves in several pieces are split, so that each is
    connected.
    """

    name: Literal["slic"] = "slic"
    count: int = Field(
        600, ge=2, le=100_000, description="requested number of superpixels; SLIC returns approximately as many"
    )
    compactness: float = Field(
        20.0,
        gt=0,
        description="weight of position against colour; higher: rounder; lower: closer to the edges of the image",
    )
    iterations: int = Field(10, ge=1, le=100, description="number of iterations of k-means")
    sigma: float = Field(
        0.0,
        ge=0,
        description="standard deviation in pixels of the Gaussian that smooths the image first; 0: no smoothing",
    )

    def __call__(self, image: Image) -> Superpixels:
        from skimage.measure import label
        from skimage.segmentation import slic

        height, width = image.shape
        rgb, mask = image.float32, None
        colours = rgb.reshape(-1, 3)
        if image.mask is not None:
            # Void pixels get the mean colour, so that their own values are not blurred into valid pixels.
            mask = image.mask.copy()  # scikit-image needs a writable array
            colours = rgb[mask]
            rgb = image.filled(rgb)
        if np.ptp(colours, axis=0).max() == 0:
            # In an image of one colour, SLIC's rescaling would divide by zero. A regular grid is as good as any
            # partition.
            side = max(1, round((height * width / self.count) ** 0.5))
            rows, cols = np.indices(image.shape) // side
            labels = rows * (cols.max() + 1) + cols
        else:
            labels = slic(
                rgb,
                n_segments=min(self.count, height * width),
                compactness=self.compactness,
                max_num_iter=self.iterations,
                sigma=self.sigma,
                start_label=1,
                mask=mask,
                enforce_connectivity=True,
                channel_axis=-1,
            )
        labels = labels + 1 if mask is None else np.where(mask, labels + 1, 0)
        return Superpixels(label(labels, connectivity=1, background=0).astype(np.int32) - 1)
