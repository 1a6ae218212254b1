"""A label map that breaks careless exporters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from segspectral.export import LabelMap
from segspectral.values.place import Georeference

UTM = Georeference("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_200_000.0))


def nasty(segments: int) -> NDArray[np.int32]:
    """Return labels (120, 160): irregular regions, holes with islands, single pixels, touching corners, parts, void."""
    rng = np.random.default_rng(3)
    seeds = rng.uniform((0, 0), (120, 160), (segments, 2))
    places = np.indices((120, 160)).reshape(2, -1).T + rng.normal(0, 0.7, (120 * 160, 2))  # ragged borders, crumbs
    labels = (cKDTree(seeds).query(places)[1] + 1).astype(np.int32).reshape(120, 160)
    labels[20:60, 20:60] = 1  # a block
    labels[25:50, 25:50] = 2  # with a hole that another segment fills
    labels[30:40, 30:40] = 1  # with an island of the first
    labels[33, 33] = 3  # with one pixel in it
    labels[34, 34] = 3  # and one that touches it at a corner
    labels[45, 45:48] = 0  # void inside
    labels[0, 0] = 4  # one pixel in the image's corner
    labels[119, 159] = 2  # a far part of a segment
    labels[:, 150] = np.where(np.arange(120) % 2, 5, labels[:, 150])  # single pixels along a line
    labels[100:110, 100:140] = np.indices((10, 40)).sum(axis=0) % 2 + 6  # a chequerboard
    labels[60, :] = 0  # void from side to side
    last = [s for s in range(1, segments + 1) if not (labels == s).any()]
    rows, cols = np.indices((2, 19)).reshape(2, -1)
    labels[21 + 2 * rows[: len(last)], 21 + 2 * cols[: len(last)]] = last  # whoever was overwritten gets a pixel
    assert np.unique(labels).tolist() == list(range(segments + 1))
    return labels


@pytest.fixture(scope="module", params=[20, 300])
def label_map(request: pytest.FixtureRequest) -> LabelMap:
    """Return label maps of 20 segments (8-bit files) and 300 (16-bit files) with names, a colour and a georeference."""
    labels = nasty(request.param)
    pixels = np.random.default_rng(1).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    names = {1: 'sky & <"water">', 2: "straße", 3: "straße"}
    return LabelMap(labels, "photo.jpg", None, pixels, names, {4: (1, 2, 3)}, UTM)
