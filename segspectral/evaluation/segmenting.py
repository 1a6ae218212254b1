"""Predictions that a pipeline makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from segspectral.errors import SettingsError
from segspectral.evaluation.datasets import Dataset
from segspectral.evaluation.predictions import Prediction
from segspectral.images.reader import read_image
from segspectral.pipeline import Pipeline
from segspectral.values.regions import SWEEP_LEVELS
from segspectral.values.segmentation import Scene

__all__ = ["Scales", "Segmenting", "check_edges", "classes_taught", "default_scales"]

Scales = Sequence[int] | Literal["levels"]
"""Numbers of segments; or the levels ``SWEEP_LEVELS`` of the hierarchy. One number of the pipeline if it is empty."""


def default_scales(dataset: Dataset, pipeline: Pipeline) -> Scales:
    """Levels for BSDS500, as papers report it, unless the pipeline decides on one segmentation of each image."""
    one = pipeline.segments != "auto" or pipeline.model is not None or pipeline.level is not None
    return "levels" if dataset.name == "bsds" and not one else ()


def check_edges(source: Pipeline | Path | str) -> None:
    """Raise SettingsError if a pipeline, or a folder of label maps, has no pixel edge map to score."""
    if not isinstance(source, Pipeline):
        raise SettingsError(
            "label maps have no edge map: leave edges out of the measures, or segment with --edges FOLDER"
        )
    if source.edges is None and source.features.border_network is None:
        raise SettingsError("there is no network of borders: leave edges out of the measures, or give --edges FOLDER")


def classes_taught(dataset: Dataset, pipeline: Pipeline) -> dict[int, int]:
    """Segment of the pipeline's model -> number of the class of the data set that has its name, whatever the case."""
    names = {} if pipeline.model is None else pipeline.model.names
    number = {name.casefold(): place for place, name in enumerate(dataset.classes)}
    return {s: number[name.casefold()] for s, name in names.items() if name.casefold() in number}


class Segmenting:
    """An image's path -> its label map, or one per number of segments, or one per level of the hierarchy.

    Parameters
    ----------
    tell : called with the path of each image and the notes about how it was read
    direct : a data set whose classes the model knows by name; label maps then hold the values of its masks
    edges : whether the pixel edge map is wanted: that of the user, or else that of the network

    Raises
    ------
    SettingsError
        The edge map is wanted, and the pipeline has none.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        scales: Scales = (),
        tell: Callable[[Path, tuple[str, ...]], None] | None = None,
        direct: Dataset | None = None,
        edges: bool = False,
    ) -> None:
        if edges:
            check_edges(pipeline)
        self._edges = edges
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
        scene = self.pipeline.describe(image)
        edges = self._edge_map(scene) if self._edges else None
        if self.by_level:
            maps = [scene.hierarchy.labels(level=level) for level in SWEEP_LEVELS]
            return Prediction(np.stack(maps), scene.hierarchy.superpixels.labels, edges)
        if not self.numbers:
            result = self.pipeline.solve(scene)
            labels = result.labels if self._value is None else self._value[result.labels]
            return Prediction(labels, result.superpixels.labels, edges)
        results = [self.pipeline.solve(scene, number) for number in self.numbers]
        return Prediction(np.stack([result.labels for result in results]), results[0].superpixels.labels, edges)

    def _edge_map(self, scene: Scene) -> NDArray[np.float32]:
        """(H, W) the edge map of the image, which was made at the size at which the image was segmented."""
        edges, seen = scene.work.edges, self.pipeline.features.see(scene.work)
        if edges is None and seen is not None:
            edges = seen.edges
        assert edges is not None
        return cv2.resize(edges, scene.image.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _values(dataset: Dataset, pipeline: Pipeline) -> NDArray[Any]:
    """Segment -> the value of its class in the masks of the data set; an unused value for a segment without a class."""
    assert pipeline.model is not None
    ids = dataset.ids or tuple(range(len(dataset.classes)))
    values = np.full(pipeline.model.segments + 1, max(ids) + 1, np.int64)
    for segment, place in classes_taught(dataset, pipeline).items():
        values[segment] = ids[place]
    # Masks of two classes have many encodings; booleans fit all of them.
    return values == ids[1] if dataset.binary else values
