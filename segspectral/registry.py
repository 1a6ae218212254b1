"""What a user can name, what comes with the package, and defaults that help texts say; it imports nothing heavy.

``segspectral --help`` and the errors about unknown names read these lists; the code that does the work is imported when
it is needed. Heads have a list of their own, ``segspectral.heads.HEADS``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segspectral.errors import SettingsError

__all__ = [
    "ATTRIBUTE_WEIGHT",
    "COMMUNITIES",
    "DATASETS",
    "FORMATS",
    "OVERLAYS",
    "PARTS",
    "REFINERS",
    "SPACES",
    "SPACE_SOURCES",
    "TILED_FORMATS",
    "TOLERANCE",
    "Look",
    "Shapes",
    "formats_named",
    "preset",
    "presets",
    "settings_file",
    "shipped",
    "size_parts",
]

FORMATS = {
    "png": "label map, an indexed PNG",
    "npz": "labels, superpixels, memberships, eigenvalues for numpy",
    "csv": "table of regions: area, perimeter, box, centroid, mean colour",
    "table": "table of all measures: shape, neighbours, statistics of each band",
    "coco": "COCO instances, run lengths, one JSON for all images",
    "labelme": "labelme, mask shapes (lossless)",
    "labelme-polygons": "labelme, polygons with holes cut open",
    "cvat": "CVAT Segmentation mask 1.1, one zip for all images",
    "yolo": "YOLO segmentation, polygons with holes cut open",
    "labelstudio": "Label Studio, brush strokes (lossless), one file of tasks for all images",
    "imagej": "ImageJ and Fiji, regions for the ROI Manager",
    "svg": "scalable vector graphics, exact outlines",
    "geotiff": "GeoTIFF label map with CRS and colour table",
    "cog": "the same as a Cloud Optimized GeoTIFF with overviews",
    "gpkg": "GeoPackage of regions with statistics",
    "geojson": "GeoJSON of regions in WGS84",
}
"""Name after ``--format`` -> what it is; ``segspectral.export.EXPORTERS`` writes them."""

TILED_FORMATS = ("png", "csv", "geotiff", "cog", "gpkg", "geojson")
"""Those that can also be made from rasters in tiles."""

PARTS = ("multi", "single")
"""Whether a row of gpkg and geojson is a segment, or a connected piece of one."""

TOLERANCE = 1.0
"""By about how many pixels borders may move in gpkg and geojson, where no number is given. One pixel is the smallest
step that removes stairs."""

REFINERS = ("crf", "guided", "none")
"""Names after ``--refine``; ``segspectral.refine`` has their classes."""

SPACES = ("raw", "code", "siamese", "both", "scattering")
"""Names after ``--space``, the default first; ``segspectral.heads.spaces`` makes them."""

SPACE_SOURCES = ("auto", "raw", "scattering")
"""Names after ``--of``, the default first: what the networks of a space learn from (``SpaceSettings.of``)."""

DATASETS = {
    "voc": "PASCAL VOC 2012, 21 classes",
    "cityscapes": "Cityscapes, 27 classes",
    "cityscapes19": "Cityscapes, the 19 evaluated classes",
    "camvid": "CamVid, 11 classes",
    "bsds": "BSDS500, regions by 4 to 9 annotators",
    "folder": "a folder with images and masks of the same names",
}
"""Name of a data set -> what it is; ``segspectral.evaluation.datasets`` reads them."""

COMMUNITIES = 16
"""How many communities are looked for at most, where no number is given."""

ATTRIBUTE_WEIGHT = 0.2
"""The weight of the similarity of attributes beside the edges of a network, where none is given."""


@dataclass(frozen=True)
class Shapes:
    """How segments become polygons of gpkg and geojson.

    Parameters
    ----------
    single : whether each connected piece is a row of its own; otherwise each segment is one
    tolerance : by about how many pixels borders may move; 0 keeps the sides of pixels
    """

    single: bool = False
    tolerance: float = TOLERANCE


OVERLAYS = ("both", "borders", "tint", "mean")
"""Names after ``--overlay``."""


@dataclass(frozen=True)
class Look:
    """How segments are drawn over a photograph.

    Parameters
    ----------
    style : ``borders``, ``tint``, or ``both``; ``mean`` is both, and the tint of a segment is its own mean colour
    opacity : how much of its colour a segment gets, from 0 to 1
    numbers : whether the number or the name of each segment stands on it

    Raises
    ------
    SettingsError
        There is no such overlay, or the opacity is outside [0, 1].
    """

    style: str = "both"
    opacity: float = 0.5
    numbers: bool = False

    def __post_init__(self) -> None:
        if self.style not in OVERLAYS:
            raise SettingsError(f"unknown overlay '{self.style}'; there are {', '.join(OVERLAYS)}", "--overlay")
        if not 0 <= self.opacity <= 1:
            raise SettingsError(f"must be between 0 and 1, not {self.opacity:g}", "--opacity")


def shipped(name: str) -> Path:
    """A folder that comes with segspectral: in the installed package, or in the source tree."""
    package = Path(__file__).parent
    return next((path for path in (package / name, package.parent / name) if path.is_dir()), package / name)


def presets() -> dict[str, Path]:
    """The settings files that come with segspectral: name -> file. Those of papers are named papers/NAME."""
    folder = shipped("configs")
    files = sorted(folder.rglob("*.yaml"), key=lambda path: (len(path.parts), path))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def preset(name: str) -> Path:
    """The settings file of a preset.

    Raises
    ------
    SettingsError
        There is no such preset; the sentence names those that there are.
    """
    known = presets()
    if name not in known:
        raise SettingsError(f"there is no such preset; there are {', '.join(known)}", name)
    return known[name]


def settings_file(path: str | os.PathLike[str]) -> Path:
    """The settings file of that name; or the preset, if there is no such file: ``fast``, ``configs/fast.yaml``.

    Raises
    ------
    SettingsError
        There is neither.
    """
    path, known = Path(path), presets()
    if path.exists():
        return path
    named = path.as_posix().removeprefix("configs/").removesuffix(".yaml")
    if named not in known:
        raise SettingsError(f"there is no such settings file, and no such preset ({', '.join(known)})", path)
    return known[named]


def formats_named(options: str | Sequence[str]) -> list[str]:
    """The formats of ``--format`` options, each once. An option may hold several names, separated by commas.

    Raises
    ------
    SettingsError
        A name is unknown.
    """
    options = [options] if isinstance(options, str) else options
    names = dict.fromkeys(part.strip() for option in options for part in option.split(","))
    for name in names:
        if name not in FORMATS:
            raise SettingsError(f"unknown format '{name}'; the formats are {', '.join(FORMATS)}")
    return list(names)


def size_parts(text: str) -> tuple[float, str]:
    """The number and the unit of a size: "" for pixels, "%" of the valid pixels, or "m2"; "all" is infinite.

    Raises
    ------
    ValueError
        It is not a size.

    >>> size_parts("200"), size_parts("0.5 %"), size_parts("400m²")
    ((200.0, ''), (0.5, '%'), (400.0, 'm2'))
    """
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+|all)\s*(%|m2|m²|px|)", text.strip().lower())
    if found is None or (found[1] == "all" and found[2]):
        raise ValueError(f"'{text}' is not a size; write pixels such as 200, a share such as 0.5%, or 400m2")
    return (math.inf if found[1] == "all" else float(found[1])), found[2].replace("²", "2").replace("px", "")
