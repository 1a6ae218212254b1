"""Predictions that a pipeline makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segspectral.evaluation.datasets import Dataset
from segspectral.evaluation.predictions import Prediction
from segspectral.images.reader import read_image
from segspectral.pipeline import Pipeline
from segspectral.values.regions import SWEEP_LEVELS

__all__ = ["Scales", "Segmenting", "default_scales"]

Scales = Sequence[int] | Literal["levels"]
"""Numbers of segments; or the levels ``SWEEP_LEVELS`` of the hierarchy. One number of the pipeline if it is empty."""


def default_scales(dataset: Dataset, pipeline: Pipeline) -> Scales:
    """Levels for BSDS500, as papers report it, unless the pipeline decides on one segmentation of each image."""
    one = pipeline.segments != "auto" or pipeline.model is not None or pipeline.level is not None
    return "levels" if dataset.name == "bsds" and not one else ()


class Segmenting:
    """An image's path -> its label map, or one per number of segments, or one per level of the hierarchy.

    Parameters
    ----------
    tell : is called with the path of each image and the notes about how it was read
    """

    def __init__(
        self, pipeline: Pipeline, scales: Scales = (), tell: Callable[[Path, tuple[str, ...]], None] | None = None
    ) -> None:
        self.by_level, self.numbers = scales == "levels", [] if scales == "levels" else list(scales)
        # The levels need no head and no refiner.
        self.pipeline = pipeline.model_copy(update={"hierarchy": True}) if self.by_level else pipeline
        self.settings: dict[str, Any] = pipeline.model_dump(mode="json") | {"scales": scales}
        self._tell = tell

    def __call__(self, path: Path) -> Prediction:
        image = read_image(path, self.pipeline.reading)
        if self._tell is not None:
            self._tell(path, image.notes)
        if self.by_level:
            tree = self.pipeline.describe(image).hierarchy
            maps = [tree.labels(level=level) for level in SWEEP_LEVELS]
            return Prediction(np.stack(maps), tree.superpixels.labels)
        if not self.numbers:
            result = self.pipeline(image)
            return Prediction(result.labels, result.superpixels.labels)
        scene = self.pipeline.describe(image)
        results = [self.pipeline.solve(scene, number) for number in self.numbers]
        return Prediction(np.stack([result.labels for result in results]), results[0].superpixels.labels)
