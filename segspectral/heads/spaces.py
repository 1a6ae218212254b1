"""Spaces: what vectors are turned into before a head compares and clusters them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import SettingsError
from segspectral.extras import require
from segspectral.heads.networks import Mlp
from segspectral.heads.training.pretraining import Autoencoder, Siamese
from segspectral.settings import Settings
from segspectral.spectral.scattering import SMALLEST, grid, paths, scattering

__all__ = [
    "LEARNT",
    "Scattering",
    "Space",
    "SpaceSettings",
    "check_space",
    "into",
    "learn_space",
    "looks_like_images",
    "space_name",
]

LEARNT = ("code", "siamese", "both")
"""Spaces that a network makes, for which torch is needed."""

CHUNK = 4096
"""Number of images that are turned into scattering coefficients at once: 57 MB of those of MNIST."""

SAMPLE = 20_000
"""The components of scattering coefficients come from this many images, drawn at random: 280 MB for MNIST."""

FAINTEST = 1e-4
"""Paths of scattering that vary less than this share of the strongest are noise of the computation, and stay faint."""

LOOKED_AT = 2**20
"""About this many numbers, from at least 16 vectors, decide whether all vectors are images."""

ALIKE = 0.5
"""Of squared differences of pixels that are independent, those of pixels side by side are at most this share: .27 in
MNIST, .14 and .21 along the axes of Fashion-MNIST, 1.0 where the columns are in no order."""

ASKEW = 4.0
"""Spectra and series are alike in the order of their numbers, and differ at least by so much more at the distance of a
row; images are much the same along both axes."""


class SpaceSettings(Settings):
    """A space with settings of its own; its bare name stands for the defaults."""

    name: Literal["code", "siamese", "both", "scattering"] = Field(description="as the bare name")
    of: Literal["auto", "raw", "scattering"] = Field(
        "auto",
        description="what code, siamese and both learn from: the vectors, their scattering, or (auto) the "
        "scattering of those that look like square images",
    )
    autoencoder: Autoencoder = Field(Autoencoder(), description="of code and both")
    siamese: Siamese = Field(Siamese(), description="of siamese and both")
    components: int = Field(
        100, ge=1, le=4096, description="principal components of scattering; at most one for ten images are taken"
    )


Space = Literal["raw", "code", "siamese", "both", "scattering"] | SpaceSettings
"""What a head compares and clusters: the features as they are; the codes of an autoencoder; the outputs of a Siamese
network, of the features or, with "both", of the codes; the scattering transform of square images.

The networks of square images start from their scattering (``SpaceSettings.of``): nearest neighbours by pixels or by
codes of pixels join digits, and a Siamese network learns from neighbours."""


@dataclass(frozen=True, eq=False)
class Scattering:
    """Principal components of scattering coefficients, each path of which has been brought to a variance of 1.

    Without this the mean grey of the image is nearly all that is compared. Each component is then divided by the square
    root of its deviation, because the first ones, such as the slant of a digit, are not what tells groups apart.

    Parameters
    ----------
    shift : (M,) float32, the mean of the coefficients
    axes : (M, C) float32
    network : what the components then go through, (N, C) -> (N, D); None if they are the space
    """

    shift: NDArray[np.float32]
    axes: NDArray[np.float32]
    network: Mlp | None = None

    @classmethod
    def of(cls, X: NDArray[np.float64], components: int, seed: int) -> Scattering:
        """The components that vary most over the images X (N, S * S)."""
        from sklearn.decomposition import PCA

        some = np.random.default_rng(seed).permutation(len(X))[:SAMPLE]
        rows = np.concatenate([_coefficients(X[some[block]]) for block in _blocks(len(some))])
        shift = rows.mean(axis=0)
        rows -= shift
        variance = (rows**2).mean(axis=0).reshape(paths(_side(X.shape[1])), -1)
        spread = np.sqrt(variance.mean(axis=1))
        scale = np.repeat(np.maximum(spread, max(FAINTEST * float(spread.max()), 1e-30)), variance.shape[1])
        rows /= scale
        # With fewer images for each, the faint components are noise that the division would raise.
        count = min(components, max(1, len(rows) // 10), rows.shape[1])
        with np.errstate(invalid="ignore"):  # images that are all the same have shares of a variance of 0
            found = PCA(count, svd_solver="randomized", random_state=seed).fit(rows)
        share = found.explained_variance_ / max(float(found.explained_variance_.max()), 1e-30)
        axes = found.components_.T / scale[:, None] / np.maximum(share, FAINTEST) ** 0.25
        return cls(shift, np.ascontiguousarray(axes, dtype=np.float32))

    def __call__(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, C) of images (N, S * S), or (N, D) with a network.

        Raises
        ------
        SettingsError
            The images are not of the size for which it was made.
        """
        side = _side(X.shape[1])
        if paths(side) * grid(side) ** 2 != len(self.shift) or self.axes.shape[:1] != self.shift.shape:
            raise SettingsError(f"the scattering is of other images than those of {side} x {side} pixels")
        parts = [(_coefficients(X[block]) - self.shift) @ self.axes for block in _blocks(len(X))]
        return into(self.network, np.concatenate(parts).astype(np.float64))


def space_name(space: Space) -> str:
    return space.name if isinstance(space, SpaceSettings) else space


def check_space(space: Space, who: str) -> None:
    """Raise SettingsError if a space needs a package that is not installed; ``who`` has the space."""
    if space_name(space) in LEARNT:
        require("torch", f"the space {space_name(space)} of {who}")


def learn_space(space: Space, X: NDArray[np.float64], *, seed: int, device: str = "cpu") -> Mlp | Scattering | None:
    """The map from features (N, D) into a space, learned from X; None if the features stay as they are.

    Raises
    ------
    SettingsError
        The features are not square images, and the space is ``scattering``, or learns from it.
    """
    if isinstance(space, SpaceSettings):
        settings = space
    elif space == "raw":
        return None
    else:
        settings = SpaceSettings(name=space)
    if settings.name == "scattering":
        return Scattering.of(X, settings.components, seed)
    first = None
    if settings.of == "scattering" or (settings.of == "auto" and looks_like_images(X)):
        first = Scattering.of(X, settings.components, seed)
        X = first(X)
    network = None
    if settings.name in ("code", "both"):
        network = settings.autoencoder.encoder(X, seed=seed, device=device)
    if settings.name in ("siamese", "both"):
        apart = settings.siamese.encoder(into(network, X), seed=seed, device=device)
        network = apart if network is None else network.then(apart)
    return network if first is None else replace(first, network=network)


def looks_like_images(X: NDArray[np.float64]) -> bool:
    """Whether vectors (N, D) are square images, whose pixels are alike along rows and along columns.

    Many vectors have 64, 256 or 1024 numbers without being images, such as the outputs of networks.
    """
    side = int(np.sqrt(X.shape[1]))
    if side * side != X.shape[1] or side < SMALLEST:
        return False
    some = X[:: max(1, min(X.size // LOOKED_AT, len(X) // 16))]
    centred = (some - some.mean(axis=0)).reshape(-1, side, side)
    down, along = ((np.diff(centred, axis=axis) ** 2).mean() for axis in (1, 2))
    return bool(0 < max(down, along) < min(ALIKE * 2 * (centred**2).mean(), ASKEW * min(down, along)))


def into(space: Mlp | Scattering | None, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features (N, D) in a space."""
    return X if space is None else space(X)


def _coefficients(X: NDArray[np.float64]) -> NDArray[np.float32]:
    side = _side(X.shape[1])
    return scattering(X.reshape(-1, side, side)).reshape(len(X), -1)


def _side(width: int) -> int:
    side = int(np.sqrt(width))
    if side * side != width or side < SMALLEST:
        raise SettingsError(
            f"the space scattering is for square images of one channel, from {SMALLEST} x {SMALLEST} pixels on, and "
            f"vectors of {width} numbers are none; take the space code or siamese"
        )
    return side


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
