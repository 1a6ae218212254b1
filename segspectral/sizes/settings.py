"""The settings ``sizes``, and the label map within them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from segspectral.errors import SettingsError
from segspectral.registry import size_parts
from segspectral.settings import Settings
from segspectral.sizes.leaves import most_frequent
from segspectral.sizes.pieces import Between, Limits, Pieces, level_between
from segspectral.sizes.touching import without_touching
from segspectral.spectral.discretise import soft_membership
from segspectral.values import Affinity, Image, Membership, Scene
from segspectral.values.fragments import Fragments
from segspectral.values.labels import LARGEST
from segspectral.values.regions import Hierarchy
from segspectral.wording import plural

__all__ = ["Sizes"]


def _size(value: object) -> object:
    """A size as text: ``200``, ``0.5%``, ``400m2``. Raises ValueError if it is none."""
    if value is None or isinstance(value, bool):
        return value
    number, unit = size_parts(str(value))
    return "all" if number == float("inf") else f"{number:.12g}{unit}"


def _finite(size: str) -> str:
    if size == "all":
        raise ValueError("'all' is a size of holes; write pixels such as 200, a share such as 0.5%, or 400m2")
    return size


Size = Annotated[str, BeforeValidator(_size)]
FiniteSize = Annotated[Size, AfterValidator(_finite)]


class Sizes(Settings):
    """What sizes the pieces of segments may have. Sizes are pixels, ``0.5%`` of the valid pixels, or ``400m2``."""

    min: FiniteSize | None = Field(None, description="smaller pieces join the neighbour that the hierarchy joins first")
    max: FiniteSize | None = Field(None, description="larger pieces are divided, along the strongest borders in them")
    holes: Size | None = Field(
        None, description="holes up to this size take the segment around them; all: holes of any size"
    )
    pieces: bool = Field(False, description="each piece becomes a segment of its own")
    split: bool = Field(False, description="touching convex parts of a piece become segments of their own")
    neck: float = Field(
        0.15,
        gt=0,
        le=1,
        description="how much narrower the neck between two parts must be than the narrower part, to split them: a "
        "share of the width of the widest part of the piece",
    )
    background: Literal["none", "largest", "darkest", "brightest"] = Field(
        "none",
        description="the segment behind the objects; max, pieces and split leave it whole",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is not None and self.max is not None:
            (least, one), (most, other) = size_parts(self.min), size_parts(self.max)
            if one == other and least > most:
                raise ValueError(f"min={self.min} is larger than max={self.max}; no piece can have both")
        return self

    @property
    def wanted(self) -> bool:
        """Whether any limit is set."""
        return self != Sizes()

    @property
    def renumbers(self) -> tuple[str, ...]:
        """The settings that make new segments, which the numbers of a model cannot name."""
        return tuple(name for name in ("max", "pieces", "split") if getattr(self, name))

    def limits(self, valid: int, ground: float | None, source: str = "the image") -> Limits:
        """The limits in pixels.

        Parameters
        ----------
        valid : the number of valid pixels
        ground : area of a pixel in square metres; None if it is not known
        source : the image, in the message

        Raises
        ------
        SettingsError
            A size is in square metres, and the area of a pixel is not known; or the minimum is larger than the maximum.
        """
        given = {"least": self.min, "most": self.max, "holes": self.holes}
        limits = Limits(
            **{name: _pixels(size, valid, ground, source) for name, size in given.items() if size is not None}
        )
        if valid and limits.least > limits.most:
            raise SettingsError(
                f"the minimum size {self.min} is {limits.least:.0f} pixels here, which is larger than the maximum "
                f"{self.max}, {limits.most:.0f} pixels",
                source,
            )
        return limits

    def of_image(self, image: Image) -> Limits:
        """``limits`` for an image."""
        valid = image.shape[0] * image.shape[1] if image.mask is None else int(image.mask.sum())
        return self.limits(valid, image.ground, image.name)

    def __call__(
        self,
        labels: NDArray[np.int32],
        leaves: NDArray[np.int32],
        between: Between,
        limits: Limits,
        background: int = 0,
        held: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """The label map within the limits, and sentences about what they could not be kept for.

        Law: afterwards no piece is smaller than ``limits.least``, except one that has no neighbour because void pixels
        surround it, and those with held pixels. Void pixels and held pixels stay. A pixel that is neither in a small
        piece nor in a hole keeps its segment, unless pieces are divided, split or numbered.

        Parameters
        ----------
        labels : (H, W) segments from 1, 0 on void
        leaves : (H, W) the leaf of the hierarchy at each pixel, -1 on void
        between : the level of the border between two leaves
        background : the segment that is never divided; 0 for none
        held : (H, W) pixels that keep their segments unless pieces are divided, split or numbered; None for none
        """

        if self.split:
            fragments, at = Fragments.of(labels, leaves)
            fine = Pieces.of(fragments, between)
            labels = without_touching(_painted(fine.cleaned(fragments.label, limits), at), background, self.neck)
        fragments, at = Fragments.of(labels, leaves)
        inside = None if held is None else np.isin(np.arange(len(fragments.label)), at[held])
        label, notes = self.of_fragments(fragments, between, limits, background, inside)
        return _painted(label, at), notes

    def of_fragments(
        self,
        fragments: Fragments,
        between: Between,
        limits: Limits,
        background: int = 0,
        held: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """(F,) the segments of fragments within the limits, and sentences about what they could not be kept for.

        All that ``__call__`` does but to split, which looks at pixels. ``held`` (F,) are those with held pixels.
        """
        fine, label = Pieces.of(fragments, between, held), fragments.label
        if np.isfinite(limits.most):
            label = fine.divided(label, limits.most, background)
        label = fine.cleaned(label, limits)
        whole, piece = fine.united(label)
        notes = _kept(whole, limits, background)
        if self.pieces:
            objects = whole.label != background
            number = np.cumsum(objects, dtype=np.int32) + np.int32(background)
            label = np.where(objects, number, whole.label)[piece]
        return label, notes

    def of_scene(
        self,
        scene: Scene,
        labels: NDArray[np.int32],
        membership: Membership,
        leaves: NDArray[np.int32],
        free: bool,
        before: int | None = None,
        tree: Hierarchy | None = None,
        held: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int32], Membership, tuple[str, ...]]:
        """The label map of a scene within the limits, its membership, and sentences for the user.

        Parameters
        ----------
        labels : (H, W) segments from 1, 0 on void
        leaves : (H, W) the superpixel at each pixel, -1 on void
        free : whether the segments may be numbered anew: 1..K by descending area, if there are others than before
        before : how many segments there are without limits; None means those of ``labels``
        tree : the hierarchy of the leaves, if it is not that of the scene
        held : (H, W) pixels that keep their segments; None for none
        """
        colours = scene.work_superpixels.pool(scene.work.lab)
        background = self.behind(labels, scene.image.float32.mean(axis=2))
        between = level_between(scene.graph, colours, tree)
        made, notes = self(labels, leaves, between, self.of_image(scene.image), background, held)
        before = len(np.unique(labels[labels > 0])) if before is None else before
        leaf = scene.superpixels.labels
        made, membership, said = self.settled(made, leaf, None, membership, scene.affinity, free, before)
        return made, membership, (*said, *notes)

    def settled(
        self,
        label: NDArray[np.int32],
        leaf: NDArray[np.int32],
        area: NDArray[np.integer | np.floating] | None,
        membership: Membership,
        affinity: Affinity,
        free: bool,
        before: int,
    ) -> tuple[NDArray[np.int32], Membership, tuple[str, ...]]:
        """The segments of pixels or fragments with their final numbers, the membership of the leaves, and sentences.

        Parameters
        ----------
        label : the segment of each pixel or fragment, 0 on void
        leaf : the superpixel of each, -1 on void
        area : the area of each; None means 1
        free, before : as for ``of_scene``

        Raises
        ------
        SettingsError
            There are more segments than files of labels can hold.
        """
        areas = np.bincount(label.reshape(-1), area)
        after = np.flatnonzero(areas[1:])
        if len(after) > LARGEST:
            raise SettingsError(
                f"the limits on sizes give {len(after)} segments, and a label map holds {LARGEST}; ask for larger "
                "pieces (sizes.min)"
            )
        said = f"the limits on sizes give {plural(len(after), 'segment')} instead of {before}"
        notes = (said,) if len(after) != before else ()
        k = membership.probabilities.shape[1]
        if free and (len(after) != k or (after != np.arange(k)).any()):
            label = _number_by_area(areas)[label]
            n = len(membership.probabilities)
            of_leaf = most_frequent(leaf, label - np.int32(1), area, n)
            membership = replace(membership, probabilities=soft_membership(affinity, of_leaf, len(after)))
        return label, membership, notes

    def behind(
        self,
        label: NDArray[np.int32],
        brightness: NDArray[np.floating],
        area: NDArray[np.integer | np.floating] | None = None,
    ) -> int:
        """The segment that is the background; 0 for none.

        Parameters
        ----------
        label, brightness : of each pixel or fragment; label 0 is void
        area : of each; None means 1
        """
        if self.background == "none":
            return 0
        areas = np.bincount(label.reshape(-1), area)
        areas[0] = 0
        if self.background == "largest":
            return int(areas.argmax())
        weight = brightness.reshape(-1) * (1 if area is None else area)
        mean = np.bincount(label.reshape(-1), weight) / np.maximum(areas, 1)
        present = np.flatnonzero(areas)
        order = present[np.argsort(mean[present], kind="stable")]
        return int(order[0 if self.background == "darkest" else -1])


def _pixels(size: str, valid: int, ground: float | None, source: str) -> float:
    number, unit = size_parts(size)
    if unit == "m2" and ground is None:
        raise SettingsError(
            f"{size} is a size on the ground, which needs an image with a coordinate reference system, and rasterio "
            "(extra 'geo'); give pixels, or a share such as 0.5%",
            source,
        )
    return number * (valid / 100 if unit == "%" else 1 / ground if unit == "m2" and ground else 1.0)


def _kept(pieces: Pieces, limits: Limits, background: int) -> tuple[str, ...]:
    """Sentences about pieces outside the limits."""
    area, notes = pieces.graph.area, []
    if limits.least > 1 and (kept := int(((area < limits.least) & pieces.held).sum())):
        many = plural(kept, "piece is", "pieces are")
        notes.append(f"{many} smaller than the minimum, because seeds hold the segment there")
    if limits.least > 1 and (small := int(((area < limits.least) & ~pieces.held).sum())):
        many = plural(small, "piece is", "pieces are")
        notes.append(f"{many} smaller than the minimum, because void pixels or the edges of the image surround them")
    if large := int(((area > limits.most) & (pieces.label != background)).sum()):
        many = plural(large, "piece is", "pieces are")
        notes.append(
            f"{many} larger than the maximum, because superpixels are not divided, or small pieces had to join "
            "(more superpixels: superpixels.count)"
        )
    return tuple(notes)


def _painted(label: NDArray[np.int32], at: NDArray[np.int32]) -> NDArray[np.int32]:
    """(H, W) the label of each pixel's fragment ``at``, 0 on void."""
    return np.append(label, np.int32(0))[at]


def _number_by_area(areas: NDArray[np.integer | np.floating]) -> NDArray[np.int32]:
    """The new number of each segment: 1..K by descending area, 0 for void and for those without pixels."""
    areas = areas.copy()
    areas[0] = 0
    order = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]
    number = np.zeros(len(areas), np.int32)
    number[order] = np.arange(1, len(order) + 1)
    return number
