"""Label maps as napari's layers, and layers as images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.export import LabelMap
from segspectral.export.tables import region_table
from segspectral.images.reader import as_image
from segspectral.values import Image

__all__ = ["image_of", "labels_layer", "plane_of"]

LayerData = tuple[Any, dict[str, Any], str]
"""What napari makes a layer of: data, arguments of the layer, its type."""


def labels_layer(label_map: LabelMap, name: str, like: Mapping[str, Any] | None = None) -> LayerData:
    """A Labels layer with the colours of the segments, and the table of ``--format csv`` as its features.

    Parameters
    ----------
    like : ``scale``, ``translate`` and the like of the layer that it lies on
    """
    rows = region_table(label_map)
    columns = {column: [row.get(column) for row in rows] for column in (rows[0] if rows else ())}
    colours = {s: (*(channel / 255 for channel in label_map.colour(s)), 1.0) for s in label_map.segments}
    arguments = {
        "name": name,
        "colormap": {None: (0, 0, 0, 0), 0: (0, 0, 0, 0)} | colours,
        # napari finds the row of a label by the column ``index``.
        "features": {"index": columns.pop("segment", []), **columns},
        "opacity": 0.5,
    }
    return label_map.labels, {**arguments, **(like or {})}, "labels"


def plane_of(layer: Any, step: Sequence[int]) -> NDArray[Any]:
    """The plane (H, W) or (H, W, 3) of a layer at the sliders; the largest of several scales."""
    data = layer.data[0] if layer.multiscale else layer.data
    dimensions = data.ndim - bool(getattr(layer, "rgb", False))
    return np.asarray(data[tuple(step[-dimensions:][: dimensions - 2])])


def image_of(layer: Any, step: Sequence[int]) -> Image:
    """The plane of an Image layer that is shown, as it is shown: its contrast limits become black and white.

    Parameters
    ----------
    step : the position of napari's sliders, one number per dimension

    Raises
    ------
    ImageError
    """
    plane = plane_of(layer, step)
    if layer.rgb:
        return as_image(plane, layer.name)
    low, high = (float(limit) for limit in layer.contrast_limits)
    plain = plane.dtype == np.uint8 and (low, high) == (0, 255)
    return as_image(plane, layer.name, stretch=None if plain or not low < high else f"{low!r}:{high!r}")
