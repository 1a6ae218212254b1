"""What is measured, and the counts of one image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from segspectral.errors import SettingsError
from segspectral.evaluation.datasets import Dataset
from segspectral.metrics.boundary import BoundaryCounts
from segspectral.metrics.contour import CONTOUR_KINDS, Share
from segspectral.metrics.edges import EdgeCounts
from segspectral.metrics.region import RegionCounts
from segspectral.metrics.semantic import Agreement, ClassCounts, ClusterCounts
from segspectral.metrics.superpixel import SuperpixelCounts

__all__ = ["MEASURES", "PROTOCOLS", "ImageScore", "Plan", "Protocol"]

MEASURES = ("semantic", "contour", "region", "boundary", "edges")
PROTOCOLS = ("direct", "P1", "P2", "P3", "P4", "diffcut")

WITHOUT_CONTOURS = ("P1", "P2", "diffcut")
"""Protocols that do not name the segments of each image at its own size."""

Protocol = Literal["direct", "P1", "P2", "P3", "P4", "diffcut"]

KINDS: dict[str, type[Any]] = {
    "clusters": ClusterCounts,
    "P3": ClassCounts,
    "P4": ClassCounts,
    "diffcut": ClassCounts,
    "ceiling": ClassCounts,
    "region": RegionCounts,
    "boundary": BoundaryCounts,
    "edges": EdgeCounts,
    "superpixel": SuperpixelCounts,
    **dict.fromkeys(CONTOUR_KINDS, Share),
}
"""All counts that an image may have, by name."""


@dataclass(frozen=True)
class Plan:
    """The measures and the protocol of an evaluation.

    ``measures`` are some of ``MEASURES``. ``protocol`` says how clusters are named (``segspectral.metrics.semantic``).
    Under "direct", "P1" and "P2" the ids of the label maps mean the same in the whole data set; under the others they
    do not. ``agreement`` is the quantity that a matching maximises.
    """

    measures: tuple[str, ...]
    protocol: Protocol = "P3"
    agreement: Agreement = "iou"

    def __post_init__(self) -> None:
        for value, known in ((self.protocol, PROTOCOLS), (self.agreement, ("iou", "pixels"))):
            if value not in known:
                raise SettingsError(f"unknown protocol {value!r}: the known ones are {', '.join(known)}")
        unknown = [m for m in self.measures if m not in MEASURES]
        if unknown or not self.measures:
            raise SettingsError(f"measures must be some of {', '.join(MEASURES)}, not {', '.join(unknown) or 'none'}")
        if "contour" in self.measures and self.protocol in WITHOUT_CONTOURS:
            why = "counts 128 x 128 pixels of each image" if self.protocol == "diffcut" else "names those of all images"
            raise SettingsError(
                f"contour scores name the segments of each image at its own size, but {self.protocol} {why}: leave "
                "contour out of the measures, or use protocol direct, P3 or P4"
            )

    @classmethod
    def of(
        cls, dataset: Dataset, measures: Sequence[str] | None, protocol: Protocol = "P3", agreement: Agreement = "iou"
    ) -> Plan:
        """Fill in the measures that fit the data set, if none are given; see ``segspectral.evaluation.evaluate``."""
        if measures is None:
            of_classes = ("semantic",) if protocol in WITHOUT_CONTOURS else ("semantic", "contour")
            measures = of_classes if dataset.classes else ("region", "boundary")
        plan = cls(tuple(measures), protocol, agreement)
        if plan.of_classes and not dataset.classes:
            raise SettingsError(f"{dataset.name} has no classes, so it has no semantic scores: use region, boundary")
        return plan

    @property
    def of_classes(self) -> bool:
        """Whether a measure needs classes."""
        return not {"semantic", "contour"}.isdisjoint(self.measures)


@dataclass(frozen=True)
class ImageScore:
    """The counts of one image by the names of ``KINDS``; ``stamp`` is a hash of the files and settings behind them."""

    id: str
    size: tuple[int, int]
    segments: tuple[int, ...]
    seconds: float
    stamp: str
    counts: Mapping[str, Any]
    picture: bytes = field(default=b"", repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return everything except the picture as lists and numbers, without rounding."""
        counts = {
            name: {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
            for name, value in self.counts.items()
        }
        return {
            "id": self.id,
            "size": list(self.size),
            "segments": list(self.segments),
            "seconds": self.seconds,
            "stamp": self.stamp,
            "counts": counts,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], picture: bytes = b"") -> ImageScore:
        counts = {
            name: KINDS[name](**{k: np.asarray(v) if isinstance(v, list) else v for k, v in fields.items()})
            for name, fields in data["counts"].items()
        }
        size, segments = data["size"], tuple(data["segments"])
        return cls(data["id"], (size[0], size[1]), segments, data["seconds"], data["stamp"], counts, picture)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
