"""Predictions that a pipeline makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segspectral.evaluation.datasets import Dataset
from segspectral.evaluation.predictions import Prediction
from segspectral.images.reader import read_image
from segspectral.pipeline import Pipeline
from segspectral.values.regions import SWEEP_LEVELS

__all__ = ["Scales", "Segmenting", "classes_taught", "default_scales"]

Scales = Sequence[int] | Literal["levels"]
"""Numbers of segments; or the levels ``SWEEP_LEVELS`` of the hierarchy. One number of the pipeline if it is empty."""


def default_scales(dataset: Dataset, pipeline: Pipeline) -> Scales:
    """Levels for BSDS500, as papers report it, unless the pipeline decides on one segmentation of each image."""
    one = pipeline.segments != "auto" or pipeline.model is not None or pipeline.level is not None
    return "levels" if dataset.name == "bsds" and not one else ()


def classes_taught(dataset: Dataset, pipeline: Pipeline) -> dict[int, int]:
    """Segment of the pipeline's model -> number of the class of the data set that has its name, whatever the case."""
    names = {} if pipeline.model is None else pipeline.model.names
    number = {name.casefold(): place for place, name in enumerate(dataset.classes)}
    return {s: number[name.casefold()] for s, name in names.items() if name.casefold() in number}


class Segmenting:
    """An image's path -> its label map, or one per number of segments, or one per level of the hierarchy.

    Parameters
    ----------
    tell : is called with the path of each image and the notes about how it was read
    direct : a data set whose classes the model knows by name; label maps then hold what its masks have for them
    """

    def __init__(
        self,
        pipeline: Pipeline,
        scales: Scales = (),
        tell: Callable[[Path, tuple[str, ...]], None] | None = None,
        direct: Dataset | None = None,
    ) -> None:
        self._value = None if direct is None else _values(direct, pipeline)
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
            labels = result.labels if self._value is None else self._value[result.labels]
            return Prediction(labels, result.superpixels.labels)
        scene = self.pipeline.describe(image)
        results = [self.pipeline.solve(scene, number) for number in self.numbers]
        return Prediction(np.stack([result.labels for result in results]), results[0].superpixels.labels)


def _values(dataset: Dataset, pipeline: Pipeline) -> NDArray[Any]:
    """Segment -> what the masks of the data set have for its class; another value for a segment that is no class."""
    assert pipeline.model is not None
    ids = dataset.ids or tuple(range(len(dataset.classes)))
    values = np.full(pipeline.model.segments + 1, max(ids) + 1, np.int64)
    for segment, place in classes_taught(dataset, pipeline).items():
        values[segment] = ids[place]
    # Masks of two classes have many encodings; booleans fit all of them.
    return values == ids[1] if dataset.binary else values
