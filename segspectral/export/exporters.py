"""The one list of exporters, and what runs them over images.

To add a format: a function that makes the files of one image, a line in ``EXPORTERS`` that names it, and what it is in
``segspectral.registry.FORMATS``. A format with one file for
all images has a function that says what this needs to know of each, and one that makes it from that.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from segspectral.errors import ImageError, SettingsError
from segspectral.export import annotation, geo
from segspectral.export.labelmap import LabelMap
from segspectral.export.outlines import svg
from segspectral.export.pictures import label_png
from segspectral.export.tables import csv_bytes, region_table
from segspectral.files import link_file, write_bytes
from segspectral.registry import FORMATS

__all__ = ["EXPORTERS", "Exported", "Exporter", "Writer", "exporters_named"]

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Exported:
    """Files of an image (path below the folder of results -> bytes).

    ``kept`` is the share of pixels that can be read back; 1 for lossless formats. ``links``: path below the folder of
    results -> file that readers of the format want there.
    """

    files: Files = field(default_factory=dict)
    kept: float = 1.0
    links: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Exporter:
    """One format.

    Parameters
    ----------
    name : as after ``--format``
    text : what it is, for menus
    image : label map, stem of its results, folder of results or None if they go nowhere -> its files
    part, together : label map and stem -> a part; the parts of all images, and the folder -> the files that stand for
        all
    needs : modules that must be installed, of the extra ``geo``
    """

    name: str
    text: str
    image: Callable[[LabelMap, str, Path | None], Exported] | None = None
    part: Callable[[LabelMap, str], Any] | None = None
    together: Callable[[Sequence[Any], Path | None], Files] | None = None
    needs: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise SettingsError, with the command that helps, if a module is missing."""
        missing = [module for module in self.needs if find_spec(module) is None]
        if missing:
            raise SettingsError(
                f"the format '{self.name}' needs {' and '.join(missing)}: pip install 'segspectral[geo]'"
            )

    def files_of(self, item: LabelMap, stem: str) -> Files:
        """All files for a single image, as a download.

        Raises
        ------
        SettingsError
            A module is missing.
        """
        self.check()
        files = self.image(item, stem, None).files if self.image else {}
        return {**files, **(self.together([self.part(item, stem)], None) if self.part and self.together else {})}


def _png(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    return Exported({f"{stem}_labels.png": label_png(item.labels, item.names, item.colours)})


def _npz(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    """Arrays without pickle: labels, text (names and colours as JSON), and what the segmentation was made of."""
    arrays: dict[str, Any] = {
        "labels": item.labels,
        "image": np.array(item.image),
        "text": np.array(json.dumps({"names": dict(item.names), "colours": dict(item.colours)})),
    }
    if (made := item.segmentation) is not None:
        arrays |= {"superpixels": made.superpixels.labels, "memberships": made.membership.probabilities}
        arrays |= {"embedding": made.membership.embedding, "eigenvalues": made.membership.eigenvalues}
        arrays |= {"settings": np.array(made.pipeline.model_dump_json())}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{k: v for k, v in arrays.items() if v is not None})
    return Exported({f"{stem}.npz": buffer.getvalue()})


def _csv(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    return Exported({f"{stem}_regions.csv": csv_bytes(region_table(item))})


def _labelme(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    return Exported(annotation.labelme(item, stem, folder))


def _labelme_polygons(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    return Exported(annotation.labelme(item, stem, folder, polygons=True))


def _yolo(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    return Exported(*annotation.yolo(item, stem), annotation.yolo_image(item, stem))


def _svg(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    return Exported({f"{stem}.svg": svg(item)})


def _geotiff(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    return Exported({f"{stem}_labels.tif": geo.geotiff(item)})


def _geopackage(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    data, kept = geo.geopackage(item)
    return Exported({f"{stem}.gpkg": data}, kept)


def _geojson(item: LabelMap, stem: str, folder: Path | None) -> Exported:
    data, kept = geo.geojson(item)
    return Exported({f"{stem}.geojson": data}, kept)


def _listed(name: str, *image: Any, **more: Any) -> Exporter:
    return Exporter(name, FORMATS[name], *image, **more)


_VECTOR = ("rasterio", "shapely", "pyogrio")

EXPORTERS: Mapping[str, Exporter] = {
    exporter.name: exporter
    for exporter in (
        _listed("png", _png),
        _listed("npz", _npz),
        _listed("csv", _csv),
        _listed("coco", part=annotation.coco_image, together=annotation.coco),
        _listed("labelme", _labelme),
        _listed("labelme-polygons", _labelme_polygons),
        _listed("cvat", part=annotation.cvat_image, together=annotation.cvat),
        _listed("yolo", _yolo, annotation.yolo_classes, annotation.yolo_data),
        _listed("svg", _svg),
        _listed("geotiff", _geotiff, needs=("rasterio",)),
        _listed("gpkg", _geopackage, needs=_VECTOR),
        _listed("geojson", _geojson, needs=_VECTOR),
    )
}


def exporters_named(formats: Sequence[str]) -> list[Exporter]:
    """The exporters of ``--format`` options, each once; an option may hold several names with commas.

    Raises
    ------
    SettingsError
        A name is unknown, or what it needs is not installed.
    """
    chosen: dict[str, Exporter] = {}
    for name in (part.strip() for option in formats for part in option.split(",")):
        if name not in EXPORTERS:
            raise SettingsError(f"unknown format '{name}'; there are {', '.join(EXPORTERS)}")
        EXPORTERS[name].check()
        chosen[name] = EXPORTERS[name]
    return list(chosen.values())


class Writer:
    """Writes images in several formats into a folder, one image after the other; ``close`` writes what stands for all.

    Raises
    ------
    OutputError
        A file cannot be written.
    """

    def __init__(self, exporters: Sequence[Exporter], folder: Path) -> None:
        self._exporters, self._folder = exporters, folder
        self._parts: dict[str, list[Any]] = {exporter.name: [] for exporter in exporters}
        self._classes: tuple[str, ...] = ()
        self._images: set[str] = set()

    @property
    def wants_georeference(self) -> bool:
        """Whether a format tells where the image lies."""
        return any(exporter.needs for exporter in self._exporters)

    def add(self, item: LabelMap, stem: str) -> list[str]:
        """Write one image. Returns a sentence per format that loses pixels, and one if coordinates are pixels."""
        self.keep(item, stem)
        return self.write(item, stem)[1]

    def keep(self, item: LabelMap, stem: str) -> None:
        """Keep what the files that stand for all need to know of an image.

        Raises
        ------
        ImageError
            One of that name was kept before: the file would list the image twice.
        """
        exporters = [exporter for exporter in self._exporters if exporter.part is not None]
        if exporters and item.image in self._images:
            formats = ", ".join(exporter.name for exporter in exporters)
            raise ImageError(
                f"a second label map of this image; {formats} can hold only one, so write this one into another folder",
                item.image,
            )
        item = self._numbered(item)
        for exporter in exporters:
            assert exporter.part is not None
            self._parts[exporter.name].append(exporter.part(item, stem))
        self._images.add(item.image)

    def write(self, item: LabelMap, stem: str) -> tuple[list[Path], list[str]]:
        """Write only the files of one image: which these are, and the sentences that ``add`` returns."""
        files, notes = [], []
        item = self._numbered(item)
        for exporter in self._exporters:
            if exporter.image is None:
                continue
            made = exporter.image(item, stem, self._folder)
            files += [write_bytes(self._folder / name, data) for name, data in made.files.items()]
            for name, source in made.links.items():
                files.append(self._folder / name)
                if not link_file(files[-1], source):
                    notes.append(f"{exporter.name}: {files[-1]} is a copy of the image, links are not possible there")
            if made.kept < 1:
                lost = round((1 - made.kept) * item.labels.size)
                notes.append(f"{exporter.name} keeps {100 * made.kept:.2f} % of the pixels ({lost} differ)")
            if exporter.needs and item.georeference is None:
                notes.append(f"{exporter.name}: the image has no georeference; coordinates are pixels")
        return files, notes

    def close(self) -> list[Path]:
        """Write the files that stand for all images; their paths."""
        return [
            write_bytes(self._folder / name, data)
            for exporter in self._exporters
            if exporter.together is not None and self._parts[exporter.name]
            for name, data in exporter.together(self._parts[exporter.name], self._folder).items()
        ]

    def _numbered(self, item: LabelMap) -> LabelMap:
        """Categories have one number in all images."""
        item = replace(item, classes=self._classes)
        self._classes = item.categories
        return item
