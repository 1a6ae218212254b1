"""The levels at which a hierarchy is cut by default: two numbers that ``tools/fit_level.py`` has fitted.

They depend on the tree, so they are fitted again when the network, the weights of the contours or those of the last
merges change. One level serves all images. ``docs/concepts/hierarchy.md`` says which rules that choose a level for each
image were tried, and how much such a rule could gain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from segspectral.values.regions import Hierarchy

__all__ = ["COUNT_SHARE", "Levels", "count_regions", "fitted"]

COUNT_SHARE = 0.01
"""Regions with a smaller share of the area are not counted by ``count_regions``."""


@dataclass(frozen=True)
class Levels:
    """Levels of the hierarchy, from 0 to 1."""

    cut: float
    """Where a hierarchy is cut: the level whose cuts have the best covering, with one level for all images."""
    count: float
    """Where regions are counted for the automatic number of a head: the level with the best covering of the head."""


@cache
def fitted() -> Levels:
    """The packaged levels."""
    return Levels(**json.loads(files("segspectral").joinpath("features/weights/level.json").read_text()))


def count_regions(tree: Hierarchy, level: float) -> int:
    """The number of regions at a level that have at least ``COUNT_SHARE`` of the area; 0 if there are not two of them.

    Raises
    ------
    SettingsError
        The level is outside [0, 1].
    """
    regions = tree.regions(level=level)
    share = np.bincount(regions, tree.graph.area) / tree.graph.area.sum()
    counted = int((share >= COUNT_SHARE).sum())
    return counted if counted > 1 else 0
