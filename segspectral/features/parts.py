"""The contract of an extractor, and the extractors that need no network: colour, texture, position and bands.

An extractor first *measures* means over superpixels, and then *finishes* them into features. The means of the tiles of
an image add up to those of the whole image, so the same code serves whole images, rasters in tiles and models.
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

__all__ = ["BandStatistics", "Colour", "Extractor", "Means", "Position", "Texture"]

CONTRAST_SIGMAS = (2.0, 6.0)
"""Standard deviations in pixels of the windows of local contrast: a narrow and a wide one."""


FARTHEST = 4.0
"""Standardised values beyond this are set to it, so that a few glints or hot roofs do not decide the scale."""


class Means(NamedTuple):
    """What an extractor measures in an image or in a tile of it.

    The mean over a superpixel that lies in several tiles is the mean of its parts, weighted by their area. The mean
    along a border is weighted by the length of its parts.
    """

    nodes: Mapping[Any, NDArray[np.floating]]
    """Key -> (N, D) means over each superpixel. Each extractor chooses its own keys."""
    borders: Mapping[Any, NDArray[np.floating]] = {}
    """Key -> (M, D) means along each border."""


class Extractor(Settings):
    """Image, Superpixels -> (N, D) float32, in two steps.

    Laws: there is one finite row per superpixel; renumbering the superpixels permutes the rows; void pixels have no
    influence; the same input gives the same bytes; the input is not changed.
    """

    weight: float = Field(1.0, gt=0, description="weight of these features in the distance between superpixels")

    @abstractmethod
    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Means:
        """Measure an image, or a tile of it.

        Parameters
        ----------
        image : the whole image, or a tile of it
        superpixels : the superpixels of ``image``
        corner : row and column of the first pixel of ``image`` in the whole image
        """

    @abstractmethod
    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        """(N, D) features, from the means over the whole image of ``shape`` (H, W)."""

    def by_stride(self, means: Means, shape: tuple[int, int]) -> Mapping[int, NDArray[np.float32]]:
        """Stride in pixels -> (N, D) features that do not depend on other superpixels of the image, for models."""
        return {1: self.finish(means, shape)}

    def divisors(self, deviation: NDArray[np.float64]) -> NDArray[np.float64]:
        """(D,) the divisors of the columns of ``by_stride`` in a model, from their deviations (D,) over many images.

        The divided columns have a total variance of one.
        """
        return np.full(len(deviation), max(float(np.sqrt((deviation**2).sum())), 1e-12))

    def __call__(self, image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
        return self.finish(self.measure(image, superpixels), image.shape)


class Colour(Extractor):
    """Mean and standard deviation of CIELAB (N, 6). L* is in 0..100, a* and b* are in about -100..100."""

    spread: float = Field(0.5, ge=0, description="weight of the standard deviations relative to the means")

    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Means:
        lab = image.lab
        mean = superpixels.pool(lab)
        # Second moments of tiles add up, variances do not. The moment is computed from the variance, because the direct
        # mean of squares would lose digits.
        variance = superpixels.pool((lab - superpixels.to_pixels(mean)) ** 2)
        return Means({"mean": mean, "square": mean.astype(np.float64) ** 2 + variance})

    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        mean = means.nodes["mean"].astype(np.float64)
        deviation = np.sqrt(np.maximum(means.nodes["square"] - mean**2, 0)).astype(np.float32)
        return np.concatenate([mean, self.spread * deviation], axis=1).astype(np.float32)


class Texture(Extractor):
    """Mean absolute response of oriented derivative filters on lightness at several scales: (N, scales * 4 + 2).

    For each scale there are second Gaussian derivatives in the directions 0, 45, 90 and 135 degrees: a small version of
    the filter bank of Leung and Malik (2001), with separable filters. Two more columns are the local contrast at the
    scales ``CONTRAST_SIGMAS``.
    """

    weight: float = Field(0.5, gt=0, description="weight of these features in the distance between superpixels")
    scales: tuple[Annotated[float, Field(gt=0, le=256)], ...] = Field(
        (1.0, 2.0, 4.0), min_length=1, max_length=16, description="standard deviations in pixels of the Gaussians"
    )

    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Means:
        lightness = image.filled(image.lab[..., 0] / np.float32(100))
        smoothed = {sigma: cv2.GaussianBlur(lightness, (0, 0), sigma) for sigma in {*self.scales, *CONTRAST_SIGMAS}}
        responses = []
        for sigma in self.scales:
            smooth = smoothed[sigma]
            rows, cols = cv2.Sobel(smooth, cv2.CV_32F, 0, 2), cv2.Sobel(smooth, cv2.CV_32F, 2, 0)
            both = cv2.Sobel(smooth, cv2.CV_32F, 1, 1)
            # The second derivative in the direction t is cos^2 t f_xx + 2 cos t sin t f_xy + sin^2 t f_yy.
            diagonal = 0.5 * (rows + cols)
            responses += [np.abs(r) * sigma**2 for r in (rows, cols, diagonal + both, diagonal - both)]
        for sigma in CONTRAST_SIGMAS:
            square = cv2.GaussianBlur(lightness**2, (0, 0), sigma)
            responses.append(np.sqrt(np.maximum(square - smoothed[sigma] ** 2, 0)))
        return Means({"responses": superpixels.pool(cv2.merge(responses))})

    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        # Responses are heavy-tailed; their square roots are closer to a normal distribution.
        return np.sqrt(means.nodes["responses"]).astype(np.float32)


class Position(Extractor):
    """Row and column (N, 2) of the centre, both divided by the longer side of the image."""

    weight: float = Field(0.5, gt=0, description="weight of these features in the distance between superpixels")

    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Means:
        return Means({"centre": superpixels.centre + np.array(corner)})

    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        return (means.nodes["centre"] / max(shape)).astype(np.float32)


class BandStatistics(Extractor):
    """Mean and standard deviation of each band that is not shown, and of each index: (N, 2 bands).

    The bands that are shown as red, green and blue count through colour, texture and the CNN. Each column is centred at
    its median and divided by its median absolute deviation, so that neither the units of a band nor a few extreme
    superpixels dominate. A superpixel without a measurement in a band gets the median of the others.
    """

    weight: float = Field(2.0, gt=0, description="weight of these features in the distance between superpixels")
    spread: float = Field(0.5, ge=0, description="weight of the standard deviations relative to the means")

    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Means:
        nothing = np.empty((len(superpixels), 0))
        columns: dict[str, list[NDArray[np.float64]]] = {key: [nothing] for key in ("share", "mean", "square")}
        for plane in () if image.bands is None else image.bands.planes(unseen=True):
            known = np.isfinite(plane)
            values = np.where(known, plane, 0).astype(np.float64)
            share = superpixels.pool(known.astype(np.float64))
            total = superpixels.pool(values)
            mean = total / np.maximum(share, 1e-12)
            variance = superpixels.pool(np.where(known, values - superpixels.to_pixels(mean), 0) ** 2)
            for key, column in (("share", share), ("mean", total), ("square", share * mean**2 + variance)):
                columns[key].append(column[:, None])
        return Means({key: np.concatenate(values, axis=1) for key, values in columns.items()})

    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        mean, deviation = self._statistics(means)
        return np.concatenate([_standardised(mean), self.spread * _standardised(deviation)], axis=1).astype(np.float32)

    def by_stride(self, means: Means, shape: tuple[int, int]) -> Mapping[int, NDArray[np.float32]]:
        mean, deviation = self._statistics(means)
        return {1: np.concatenate([mean, deviation], axis=1).astype(np.float32)}

    def divisors(self, deviation: NDArray[np.float64]) -> NDArray[np.float64]:
        """The bands have different units, so each column is divided by its own deviation."""
        weights = np.repeat([1.0, self.spread], len(deviation) // 2)
        total = float(np.sqrt((weights[deviation > 0] ** 2).sum()))
        with np.errstate(divide="ignore"):
            return np.where((deviation > 0) & (weights > 0), total * deviation / weights, np.inf)

    def _statistics(self, means: Means) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N, bands) means and standard deviations; a superpixel without a measurement gets the medians."""
        share = means.nodes["share"]
        mean = means.nodes["mean"] / np.maximum(share, 1e-12)
        deviation = np.sqrt(np.maximum(means.nodes["square"] / np.maximum(share, 1e-12) - mean**2, 0))
        for column in range(share.shape[1]):
            known = share[:, column] > 0
            if known.any() and not known.all():
                mean[~known, column] = np.median(mean[known, column])
                deviation[~known, column] = np.median(deviation[known, column])
        return mean, deviation


def _standardised(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns with the median 0 and the median absolute deviation of a normal distribution; constant ones become 0."""
    centred = columns - np.median(columns, axis=0)
    scale = 1.4826 * np.median(np.abs(centred), axis=0)
    scale = np.where(scale > 0, scale, centred.std(axis=0))
    return np.clip(centred / np.where(scale > 0, scale, 1.0), -FARTHEST, FARTHEST)
