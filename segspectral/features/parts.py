"""What an extractor is, and those that look at pixels alone: colour, texture, position.

An extractor first *measures* means over superpixels, and then *finishes* them into features. Means of the tiles of an
image add up to those of the whole image, so that one walk serves whole images, rasters in tiles and models.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.settings import Settings
from segspectral.values import Image, Superpixels

__all__ = ["Colour", "Extractor", "Means", "Position", "Texture", "lab_of"]


class Means(NamedTuple):
    """What an extractor measures of a view of an image.

    The mean over a superpixel that lies in several views is the mean of its parts, weighted by area; the mean along a
    border is weighted by length.
    """

    nodes: Mapping[Any, NDArray[np.floating]]
    """Key -> (N, D) mean over each superpixel. The keys are the extractor's own."""
    borders: Mapping[Any, NDArray[np.floating]] = {}
    """Key -> (M, D) mean along each border of the superpixels."""


class Extractor(Settings):
    """Image, Superpixels -> (N, D) float32, in two steps.

    Laws: one finite row per superpixel; renumbering the superpixels permutes the rows; void pixels have no influence;
    the same input gives the same bytes; the input is not changed.
    """

    weight: float = Field(1.0, gt=0, description="share of this part in the distance between superpixels")

    @abstractmethod
    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Means:
        """Means over the superpixels of a view.

        Parameters
        ----------
        image : the whole image, or a tile of it
        superpixels : of ``image``
        corner : row and column of the view's first pixel in the whole image
        """

    @abstractmethod
    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        """(N, D) features from the means over the whole image, whose ``shape`` is (H, W)."""

    def by_stride(self, means: Means, shape: tuple[int, int]) -> Mapping[int, NDArray[np.float32]]:
        """The features before anything is learnt from this one image: stride in pixels -> (N, D)."""
        return {1: self.finish(means, shape)}

    def __call__(self, image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
        return self.finish(self.measure(image, superpixels), image.shape)


class Colour(Extractor):
    """Mean and standard deviation of CIELAB: (N, 6). Units: L* in 0..100, a* and b* about -100..100."""

    spread: float = Field(0.5, ge=0, description="weight of the standard deviations beside the means")

    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Means:
        lab = lab_of(image)
        mean = superpixels.pool(lab)
        # A second moment adds up, a variance does not. Summed about the mean, it loses no digits.
        variance = superpixels.pool((lab - superpixels.to_pixels(mean)) ** 2)
        return Means({"mean": mean, "square": mean.astype(np.float64) ** 2 + variance})

    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        mean = means.nodes["mean"].astype(np.float64)
        deviation = np.sqrt(np.maximum(means.nodes["square"] - mean**2, 0)).astype(np.float32)
        return np.concatenate([mean, self.spread * deviation], axis=1).astype(np.float32)


class Texture(Extractor):
    """Mean absolute response of oriented derivative filters on lightness at several scales: (N, scales * 4 + 2).

    Each scale has second Gaussian derivatives steered to 0, 45, 90 and 135 degrees: a small bank in the manner of Leung
    and Malik (2001), by separable filters. Two more columns are the local contrast at two scales.
    """

    weight: float = Field(0.5, gt=0, description="share of this part in the distance between superpixels")
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0, 2.0, 4.0), min_length=1, description="Gaussian sigmas in pixels"
    )

    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Means:
        lightness = image.filled(lab_of(image)[..., 0] / np.float32(100))
        responses = []
        for sigma in self.scales:
            smooth = cv2.GaussianBlur(lightness, (0, 0), sigma)
            rows, cols = cv2.Sobel(smooth, cv2.CV_32F, 0, 2), cv2.Sobel(smooth, cv2.CV_32F, 2, 0)
            both = cv2.Sobel(smooth, cv2.CV_32F, 1, 1)
            # A second derivative along angle t is cos^2 t f_xx + 2 cos t sin t f_xy + sin^2 t f_yy.
            diagonal = 0.5 * (rows + cols)
            responses += [np.abs(r) * sigma**2 for r in (rows, cols, diagonal + both, diagonal - both)]
        for sigma in (2.0, 6.0):
            mean = cv2.GaussianBlur(lightness, (0, 0), sigma)
            square = cv2.GaussianBlur(lightness**2, (0, 0), sigma)
            responses.append(np.sqrt(np.maximum(square - mean**2, 0)))
        return Means({"responses": superpixels.pool(np.stack(responses, axis=-1))})

    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        # Responses are heavy-tailed; their square roots are close to normal.
        return np.sqrt(means.nodes["responses"]).astype(np.float32)


class Position(Extractor):
    """Row and column of the centre in units of the longer side: (N, 2), so that a pixel counts alike both ways."""

    weight: float = Field(0.5, gt=0, description="share of this part in the distance between superpixels")

    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Means:
        return Means({"centre": superpixels.centre + np.array(corner)})

    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        return (means.nodes["centre"] / max(shape)).astype(np.float32)


def lab_of(image: Image) -> NDArray[np.float32]:
    """(H, W, 3) CIELAB of an image."""
    return np.asarray(cv2.cvtColor(image.float32, cv2.COLOR_RGB2LAB))
