"""A colour image, its void pixels, and the bands of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError
from segspectral.values.bands import Bands
from segspectral.values.place import Georeference

__all__ = ["Image"]


@dataclass(frozen=True, eq=False)
class Image:
    """A colour image whose values are finite and in range, with at least one valid pixel.

    Parameters
    ----------
    rgb : (H, W, 3) uint8, or floating point in [0, 1]
    name : used in messages and names of output files
    mask : (H, W) bool or None
        True where the pixel is valid; None if all pixels are.
    read : how the file or array was read, in JSON types
    notes : sentences for the user about how it was read
    georeference : where the image lies; None if that is not known
    ground : area of a pixel on the ground in square metres, at the centre of the image; None if it is not known
    bands : all bands of the file in its own units; None if they are those of ``rgb``, in 8 bits
    edges : (H, W) float32 in [0, 1] or None
        An edge map of the user: the probability of an edge at each pixel.

    Raises
    ------
    ImageError
        The shape or type is wrong, values are out of range or not finite, the mask or the bands have another
        shape, or no pixel is valid.
    """

    rgb: NDArray[Any]
    name: str = "image"
    mask: NDArray[np.bool_] | None = None
    read: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ground: float | None = None
    bands: Bands | None = None
    edges: NDArray[np.float32] | None = None
    georeference: Georeference | None = None

    def __post_init__(self) -> None:
        rgb = self.rgb
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
            raise ImageError(f"an image must be an array (H, W, 3); this one has the shape {rgb.shape}")
        if rgb.dtype != np.uint8:
            if not np.issubdtype(rgb.dtype, np.floating):
                raise ImageError(f"an image must be uint8, or floats in [0, 1], not {rgb.dtype}")
            if not np.isfinite(rgb).all():
                raise ImageError("the image contains NaN or infinity; mark such pixels as void in the mask instead")
            if rgb.min() < 0 or rgb.max() > 1:
                raise ImageError(f"a floating-point image must lie in [0, 1], not [{rgb.min():g}, {rgb.max():g}]")
        if self.mask is not None:
            if self.mask.shape != rgb.shape[:2] or self.mask.dtype != np.bool_:
                raise ImageError(f"the mask must be bool {rgb.shape[:2]}, not {self.mask.dtype} {self.mask.shape}")
            if not self.mask.any():
                raise ImageError("no pixel is valid (is the image wholly transparent?)")
        if self.bands is not None and self.bands.values.shape[:2] != rgb.shape[:2]:
            raise ImageError(f"the bands must be (H, W, B) like the image, not {self.bands.values.shape}")
        self._check_edges()

    def _check_edges(self) -> None:
        if (edges := self.edges) is None:
            return
        if edges.shape != self.rgb.shape[:2] or not 0 <= edges.min() <= edges.max() <= 1:
            raise ImageError(
                f"an edge map must be {self.rgb.shape[:2]} in [0, 1]; this one has the shape {edges.shape}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @cached_property
    def flat(self) -> bool:
        """Whether all valid pixels have one colour."""
        pixels = self.rgb.reshape(-1, 3) if self.mask is None else self.rgb[self.mask]
        return bool((pixels == pixels[0]).all())

    @cached_property
    def float32(self) -> NDArray[np.float32]:
        """(H, W, 3) float32 in [0, 1]."""
        if self.rgb.dtype == np.uint8:
            return self.rgb.astype(np.float32) / np.float32(255)
        return self.rgb.astype(np.float32, copy=False)

    @cached_property
    def lab(self) -> NDArray[np.float32]:
        """(H, W, 3) CIELAB: L* in 0..100, a* and b* in about -100..100."""
        import cv2

        return np.asarray(cv2.cvtColor(self.float32, cv2.COLOR_RGB2LAB))

    def filled(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """``values`` (H, W, ...) with void pixels set to the mean of the valid ones, so that they have no influence."""
        if self.mask is None:
            return values
        mask = self.mask.reshape(self.mask.shape + (1,) * (values.ndim - 2))
        return np.where(mask, values, values[self.mask].mean(axis=0))

    @cached_property
    def uint8(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, rounded."""
        if self.rgb.dtype == np.uint8:
            return self.rgb
        return np.round(self.rgb * 255).astype(np.uint8)
