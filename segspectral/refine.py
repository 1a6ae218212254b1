"""Memberships of superpixels -> label map of pixels.

A new refiner is one class that keeps the contract ``segspectral.values.Refiner``, and one line in ``REFINERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import SettingsError
from segspectral.extras import installed
from segspectral.resolution import downsampled, joint_upsampling
from segspectral.settings import Settings
from segspectral.values import Image, Membership, Refiner, Superpixels

__all__ = ["REFINERS", "DenseCrf", "Guided", "NoRefinement", "crf_installed", "segments_of_pixels"]


class NoRefinement(Settings):
    """Each pixel gets the most likely cluster of its superpixel."""

    name: Literal["none"] = "none"

    def __call__(self, image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]:
        return superpixels.to_pixels(membership.labels.astype(np.int32), void=-1)


class Guided(Settings):
    """The guided filter smooths memberships but not across colour edges (He, Sun and Tang 2013, eq. 14-15).

    Each pixel gets its most likely cluster after smoothing. This refiner runs if pydensecrf is not installed, because
    it needs no compiler.
    """

    name: Literal["guided"] = "guided"
    radius: int = Field(8, ge=1, le=200, description="radius of the window in pixels")
    epsilon: float = Field(
        1e-3, gt=0, description="colour variance (of colours in [0, 1]) below which differences are smoothed away"
    )

    def __call__(self, image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]:
        probabilities = superpixels.to_pixels(membership.probabilities)
        smooth = guided_filter(image.float32, probabilities, superpixels.valid, self.radius, self.epsilon)
        return np.where(superpixels.valid, smooth.argmax(axis=-1), -1).astype(np.int32)


class DenseCrf(Settings):
    """A fully connected CRF, solved by mean field (Kraehenbuehl and Koltun 2011, eq. 3) with pydensecrf.

    The unary term is the negative logarithm of the membership. There are two Potts terms, one on position and one on
    position and colour.

    The inside of a superpixel is more certain than its exact outline. Therefore the memberships are first blurred by a
    fraction of a superpixel's width and mixed with the uniform distribution. Without this they are nearly one-hot, and
    the CRF changes nothing.

    Larger images are refined at a smaller size, and joint upsampling brings the labels back. At half the width and
    height of 481x321, this is as good (F .654 instead of .651, covering .623 for both, on 40 images of BSDS500 train)
    and takes a third of the time.
    """

    name: Literal["crf"] = "crf"
    iterations: int = Field(5, ge=1, le=100, description="number of mean-field iterations")
    border_blur: float = Field(
        0.25,
        ge=0,
        description="width of the blur of the memberships, as a fraction of a superpixel's width",
    )
    doubt: float = Field(
        0.1, ge=0, lt=1, description="share of the uniform distribution that is mixed into each membership"
    )
    smooth_weight: float = Field(6.0, ge=0, description="weight of the kernel on position alone")
    smooth_sigma: float = Field(2.0, gt=0, description="width in pixels of the kernel on position alone")
    colour_weight: float = Field(15.0, ge=0, description="weight of the kernel on position and colour")
    colour_sigma: float = Field(
        8.0,
        gt=0,
        description="width of the kernel on position and colour, per colour channel (0 to 255)",
    )
    position_sigma: float = Field(40.0, gt=0, description="width of the kernel on position and colour, in pixels")
    pixels: int = Field(40_000, ge=1000, description="images with more pixels are refined at this size")

    def __call__(self, image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]:
        try:
            from pydensecrf.densecrf import DenseCRF2D
        except ImportError as error:
            raise SettingsError(
                "the refiner 'crf' needs pydensecrf: pip install 'segspectral[crf]' (it is compiled with gcc), "
                "or choose refine=guided"
            ) from error
        k = membership.probabilities.shape[1]
        if k == 1:
            return np.where(superpixels.valid, 0, -1).astype(np.int32)
        small = downsampled(image, self.pixels)
        height, width = small.shape
        scale = float(np.sqrt(height * width / superpixels.labels.size))
        valid = superpixels.valid
        probabilities = superpixels.to_pixels(membership.probabilities)
        if small is not image:
            valid = np.ones(small.shape, np.bool_) if small.mask is None else small.mask
            probabilities = _of_each(
                probabilities, lambda m: cv2.resize(m, (width, height), interpolation=cv2.INTER_AREA)
            )
        if self.border_blur:
            sigma = self.border_blur * scale * np.sqrt(superpixels.area.mean())
            probabilities = _of_each(probabilities, lambda m: cv2.GaussianBlur(m, (0, 0), sigma))
        # Void pixels get a uniform membership and the mean colour, so that they have no influence; below they become
        # -1.
        total = probabilities.sum(axis=-1, keepdims=True)
        probabilities = np.divide(probabilities, total, out=np.full_like(probabilities, 1 / k), where=total > 1e-6)
        # Probabilities below 1e-6 are raised to it, so that the unary term, at most 14, stays comparable to the others.
        unary = -np.log(np.maximum((1 - self.doubt) * probabilities + self.doubt / k, 1e-6))
        rgb = small.uint8.copy()  # pydensecrf needs a writable array
        rgb[~valid] = rgb[valid].mean(axis=0)
        crf = DenseCRF2D(width, height, k)
        crf.setUnaryEnergy(np.ascontiguousarray(unary.reshape(-1, k).T, dtype=np.float32))
        crf.addPairwiseGaussian(sxy=scale * self.smooth_sigma, compat=self.smooth_weight)
        crf.addPairwiseBilateral(
            sxy=scale * self.position_sigma,
            srgb=self.colour_sigma,
            rgbim=rgb,
            compat=self.colour_weight,
        )
        # DenseCRF2D.inference() makes the same steps, but it holds Python's lock all the time. A server has other
        # threads.
        posterior, *scratch = crf.startInference()
        for _ in range(self.iterations):
            crf.stepInference(posterior, *scratch)
        posterior = np.asarray(posterior).reshape(k, height, width)
        labels = np.where(valid, posterior.argmax(axis=0), -1).astype(np.int32)
        return labels if small is image else joint_upsampling(labels, small, image, void=-1)


REFINERS = {"crf": DenseCrf, "guided": Guided, "none": NoRefinement}


def crf_installed() -> bool:
    """Whether pydensecrf can be imported."""
    return installed("pydensecrf")


def segments_of_pixels(
    refine: Refiner, image: Image, superpixels: Superpixels, membership: Membership
) -> NDArray[np.int32]:
    """(H, W) segments 0..K-1, -1 on void: the refiner's labels. No segment that some superpixel has is lost."""
    # A model may have segments that do not occur in this image.
    present = np.unique(membership.labels)
    shares = membership.probabilities[:, present]
    shares = shares / shares.sum(axis=1, keepdims=True)
    labels = refine(image, superpixels, Membership(shares))
    labels = np.where(labels >= 0, present[labels].astype(np.int32), np.int32(-1))
    unrefined = superpixels.to_pixels(membership.labels.astype(np.int32), void=-1)
    for lost in np.setdiff1d(unrefined, labels):
        labels = np.where(unrefined == lost, lost, labels)
    return labels


def _of_each(maps: NDArray[np.float32], filter_: Callable[[Any], Any]) -> NDArray[np.float32]:
    """Apply a filter to each of K maps (H, W, K)."""
    return np.stack([filter_(np.ascontiguousarray(m)) for m in np.moveaxis(maps, -1, 0)], -1)


def guided_filter(
    guide: NDArray[np.float32],
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    radius: int,
    epsilon: float,
) -> NDArray[np.float32]:
    """The guided filter with a colour guide; void pixels have no influence.

    kornia and opencv-contrib have guided filters, but without a mask for void pixels.

    Parameters
    ----------
    guide : (H, W, 3) in [0, 1]
    values : (H, W, K)
    valid : (H, W)

    Returns
    -------
    (H, W, K). In each window, ridge regression with the parameter ``epsilon`` fits the values by a linear function
    a'g + b of the colour g. Each pixel gets the mean of the functions of all windows that contain it.
    """
    size = (2 * radius + 1, 2 * radius + 1)
    mask = valid.astype(np.float64)[..., None]

    def total(x: NDArray[Any]) -> NDArray[np.float64]:
        """The sum over each window, for all channels at once: cv2 accepts any number of them."""
        sums = cv2.boxFilter(x, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(sums, np.float64).reshape(x.shape)

    count = np.maximum(total(mask), 1)

    def mean(x: NDArray[Any]) -> NDArray[np.float64]:
        return total(x * mask) / count

    guide64, values64 = guide.astype(np.float64), values.astype(np.float64)
    mean_g, mean_p = mean(guide64), mean(values64)
    i, j = np.triu_indices(3)
    covariance = np.empty((*valid.shape, 3, 3))
    upper = mean(guide64[..., i] * guide64[..., j]) - mean_g[..., i] * mean_g[..., j]
    covariance[..., i, j] = covariance[..., j, i] = upper
    covariance += epsilon * np.eye(3)
    colours = [slice(c, c + 1) for c in range(3)]
    cross = np.stack([mean(guide64[..., c] * values64) - mean_g[..., c] * mean_p for c in colours], axis=-2)
    a = np.linalg.solve(covariance, cross)  # (H, W, 3, K)
    b = mean_p - (a * mean_g[..., None]).sum(axis=-2)
    mean_a = mean(a.reshape(*valid.shape, -1)).reshape(a.shape)
    smooth = (mean_a * guide64[..., None]).sum(axis=-2) + mean(b)
    return smooth.astype(np.float32)
