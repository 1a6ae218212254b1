"""The scattering transform of square images, which hardly changes where an image is moved or bent a little."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ANGLES", "SMALLEST", "grid", "paths", "scales", "scattering"]

ANGLES = 8
"""Directions of the wavelets, over half a turn."""

SMALLEST = 4
"""Sides of the smallest images: of smaller ones not even the finest wavelet would be shorter than the image."""

AT_ONCE = 2**18
"""So many numbers of padded images are transformed at once; in arrays that a cache of the processor holds."""


class Filters(NamedTuple):
    """Fourier transforms of the filters, all real.

    Parameters
    ----------
    averages : for each scale r at which it is applied, (P / 2^r, P / 2^r) float32
    wavelets : (j, r) -> (ANGLES, P / 2^r, P / 2^r) float32, of scale j, for images that were reduced by 2^r
    """

    averages: list[NDArray[np.float32]]
    wavelets: dict[tuple[int, int], NDArray[np.float32]]


def scales(side: int) -> int:
    """J: the description is averaged over about 2^J pixels. 3 for the 28 pixels of MNIST, as published, and at most.

    >>> scales(28), scales(8), scales(4)
    (3, 2, 1)
    """
    return min(3, int(np.log2(side)) - 1)


def paths(side: int) -> int:
    """How many coefficients there are at each sample: 1 + 8 J + 32 J (J - 1).

    >>> paths(28), paths(8)
    (217, 81)
    """
    depth = scales(side)
    return 1 + ANGLES * depth + ANGLES**2 * depth * (depth - 1) // 2


def grid(side: int) -> int:
    """G: the number of samples in a row or column of an image of S pixels.

    >>> grid(28), grid(8)
    (4, 2)
    """
    return len(_samples(side))


def scattering(images: NDArray[np.floating]) -> NDArray[np.float32]:
    """The scattering transform of order 2 (Bruna and Mallat 2013, eq. 8).

    x * phi, |x * psi_a| * phi and ||x * psi_a| * psi_b| * phi, with a Gaussian phi of 0.8 * 2^(J-1) pixels and Morlet
    wavelets psi of J scales (0.8 * 2^j pixels) and 8 angles, the scale of b above that of a; all sampled at every
    2^J-th pixel. Images are continued beyond their edges by reflection.

    Parameters
    ----------
    images : (N, S, S), S >= ``SMALLEST``

    Returns
    -------
    (N, ``paths``, ``grid``, ``grid``); (N, 217, 4, 4) for images of 28 x 28
    """
    side = images.shape[1]
    depth = scales(side)
    padded, before = _margins(side)
    border = ((0, 0), (before, padded - side - before), (before, padded - side - before))
    filters = _filters(padded, depth)
    kept = _samples(side)
    keep = slice(kept.start, kept.stop)
    block = max(1, AT_ONCE // padded**2)
    found = []
    for start in range(0, len(images), block):
        some = np.pad(images[start : start + block].astype(np.float32), border, mode="symmetric")
        found.append(_scattered(some, filters, depth)[:, :, keep, keep])
    return np.concatenate(found)


def _margins(side: int) -> tuple[int, int]:
    """The side of the image when it has been continued, and how many pixels come before the first one."""
    step = 2 ** scales(side)
    padded = step * (-(-side // step) + 1)
    return padded, (padded - side) // 2


def _samples(side: int) -> range:
    """The samples within the image, of those at every 2^J-th pixel of the continued one."""
    step = 2 ** scales(side)
    before = _margins(side)[1]
    return range(-(-before // step), (before + side - 1) // step + 1)


def _scattered(images: NDArray[np.float32], filters: Filters, depth: int) -> NDArray[np.float32]:
    from scipy.fft import fft2

    first, second = [], []
    spectrum = fft2(images)
    for j in range(depth):
        for angle in range(ANGLES):
            ring = _modulus(spectrum, filters.wavelets[j, 0][angle], j)
            first.append(_average(ring, filters.averages[j], depth - j))
            for k, turn in product(range(j + 1, depth), range(ANGLES)):
                inner = _modulus(ring, filters.wavelets[k, j][turn], k - j)
                second.append(_average(inner, filters.averages[k], depth - k))
    return np.stack([_average(spectrum, filters.averages[0], depth), *first, *second], axis=1)


def _modulus(spectrum: NDArray[np.complex64], wavelet: NDArray[np.float32], octaves: int) -> NDArray[np.complex64]:
    """The spectrum of |x * psi|, which is sampled at every 2^octaves-th pixel."""
    from scipy.fft import fft2, ifft2

    return fft2(np.abs(ifft2(_sampled(spectrum * wavelet, octaves))))


def _average(spectrum: NDArray[np.complex64], average: NDArray[np.float32], octaves: int) -> NDArray[np.float32]:
    from scipy.fft import ifft2

    return ifft2(_sampled(spectrum * average, octaves)).real


def _sampled(spectrum: NDArray[np.complex64], octaves: int) -> NDArray[np.complex64]:
    """The spectrum of every 2^octaves-th pixel: the mean over the frequencies that look alike there."""
    n, times = spectrum.shape[0], 2**octaves
    size = spectrum.shape[1] // times
    return spectrum.reshape(n, times, size, times, size).mean(axis=(1, 3))


@cache
def _filters(padded: int, depth: int) -> Filters:
    averages = [_gaussian(padded >> r, 0.8 * 2 ** (depth - 1 - r)) for r in range(depth)]
    wavelets = {
        (j, r): np.stack([_morlet(padded >> r, 2.0 ** (j - r), np.pi * a / ANGLES) for a in range(ANGLES)])
        for r in range(depth)
        for j in range(r, depth)
    }
    return Filters(averages, wavelets)


def _frequencies(size: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Angular frequencies (rows, columns) of an image, and those that look like them on its pixels."""
    base = 2 * np.pi * np.fft.fftfreq(size)
    shifts = 2 * np.pi * np.arange(-2, 3)
    found = []
    for a, b in product(shifts, shifts):
        rows, columns = np.meshgrid(base + a, base + b, indexing="ij")
        found.append((rows, columns))
    return found


def _gaussian(size: int, sigma: float) -> NDArray[np.float32]:
    alike = [np.exp(-((sigma * v) ** 2 + (sigma * u) ** 2) / 2) for v, u in _frequencies(size)]
    return np.sum(alike, axis=0).astype(np.float32)


def _morlet(size: int, octave: float, angle: float) -> NDArray[np.float32]:
    """A Gaussian around the frequency 3/4 pi / octave, less one around 0 that makes the mean of the wavelet 0."""
    along, across, peak = 0.8 * octave, 1.6 * octave, 0.75 * np.pi / octave
    found = np.zeros((size, size)), np.zeros((size, size))
    for v, u in _frequencies(size):
        ahead, aside = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
        for total, centre in zip(found, (peak, 0.0), strict=True):
            total += np.exp(-(((ahead - centre) * along) ** 2 + (aside * across) ** 2) / 2)
    wave, envelope = found
    return (wave - envelope * wave[0, 0] / envelope[0, 0]).astype(np.float32)
