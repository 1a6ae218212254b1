"""The list of exporters, and the writer that applies them to images.

To add a format with one file per image, write a function from a label map to bytes, add a line with ``_one_file`` to
``EXPORTERS``, and say what it is in ``segspectral.registry.FORMATS``. A format that has one file for all images needs
two functions: ``part`` collects what the file needs from each image, and ``together`` makes the file from all parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segspectral.errors import ImageError, SettingsError
from segspectral.export import annotation, geo, imagej, labelstudio
from segspectral.export.labelmap import LabelMap
from segspectral.export.measuring import measured, planes_of
from segspectral.export.outlines import svg
from segspectral.export.pictures import label_png
from segspectral.export.tables import csv_bytes, region_table
from segspectral.export.windowed import WindowedMap
from segspectral.extras import require
from segspectral.files import link_file, npz, scratch_folder, unfinished, whole_file, whole_set, write_bytes
from segspectral.images.place import read_georeference
from segspectral.registry import FORMATS, Shapes, formats_named
from segspectral.values import Image
from segspectral.values.place import Georeference

__all__ = ["EXPORTERS", "Exported", "Exporter", "Writer", "exporters_named"]

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Exported:
    """The files of one image in one format.

    Parameters
    ----------
    files : path below the folder of results -> bytes
    kept : share of the pixels that a reader gets back unchanged; 1 for lossless formats
    links : path below the folder of results -> photograph that readers of the format expect there
    """

    files: Files = field(default_factory=dict)
    kept: float = 1.0
    links: Mapping[str, Path] = field(default_factory=dict)


ImageFiles = Callable[[LabelMap, str, Path | None], Exported]
"""From a label map, the stem of its results and the folder of results (None for a download) to the files."""


WindowedFile = tuple[str, Callable[[WindowedMap, Path], float]]
"""The ending of a file, and what writes it from a label map that is read in windows; returns the share it keeps."""


@dataclass(frozen=True)
class Exporter:
    """One format.

    Parameters
    ----------
    name : name of the format after ``--format``
    text : description for menus
    image : makes the files of one image, or None
    part : collects from a label map and its stem what the common file needs, or None
    together : makes the files that describe all images from the parts and the folder of results, or None
    extra : the extra that brings what the format is written with, or ""
    windowed : makes the file of one image from a label map that is larger than memory, or None
    """

    name: str
    text: str
    image: ImageFiles | None = None
    part: Callable[[LabelMap, str], Any] | None = None
    together: Callable[[Sequence[Any], Path | None], Files] | None = None
    extra: str = ""
    windowed: WindowedFile | None = None

    @property
    def placed(self) -> bool:
        """Whether the files hold the position of the image on the Earth."""
        return self.extra == "geo"

    def check(self) -> None:
        """Raise SettingsError if a module is missing; the message holds the command that installs it."""
        if self.extra:
            require(self.extra, f"the format '{self.name}'")

    def files_of(self, label_map: LabelMap, stem: str) -> Files:
        """Return all files of a single image, for a download.

        Raises
        ------
        SettingsError
            A module is missing.
        """
        self.check()
        files = self.image(label_map, stem, None).files if self.image else {}
        return {**files, **(self.together([self.part(label_map, stem)], None) if self.part and self.together else {})}


def _one_file(ending: str, contents: Callable[[LabelMap], bytes | tuple[bytes, float]]) -> ImageFiles:
    """Return an exporter with one file per image; ``contents`` makes its bytes, and may add the share it keeps."""

    def image_files(label_map: LabelMap, stem: str, folder: Path | None) -> Exported:
        made = contents(label_map)
        data, kept = made if isinstance(made, tuple) else (made, 1.0)
        return Exported({f"{stem}{ending}": data}, kept)

    return image_files


def _by_windows(ending: str, write: Callable[[WindowedMap, Path], float]) -> dict[str, Any]:
    """The fields of an exporter that makes its file in the same way of a label map in memory and of a larger one."""

    def image_files(label_map: LabelMap, stem: str, folder: Path | None) -> Exported:
        with scratch_folder() as place:
            path = place / f"image{ending}"
            kept = write(WindowedMap.of(label_map), path)
            return Exported({f"{stem}{ending}": path.read_bytes()}, kept)

    return {"image": image_files, "windowed": (ending, write)}


def _polygons(name: str, wanted: Shapes = Shapes()) -> Exporter:
    ending, write = POLYGONS[name]
    return _listed(name, extra="geo", **_by_windows(ending, partial(write, wanted=wanted)))


def _table(item: WindowedMap, path: Path) -> float:
    path.write_bytes(csv_bytes(item.table()))
    return 1.0


def _npz(label_map: LabelMap) -> bytes:
    """Return arrays without pickle: labels, names and colours as JSON, and the data behind the segmentation."""
    arrays: dict[str, Any] = {
        "labels": label_map.labels,
        "image": np.array(label_map.image),
        "text": np.array(json.dumps({"names": dict(label_map.names), "colours": dict(label_map.colours)})),
    }
    if (made := label_map.segmentation) is not None:
        arrays |= {"superpixels": made.superpixels.labels, "memberships": made.membership.probabilities}
        arrays |= {"embedding": made.membership.embedding, "eigenvalues": made.membership.eigenvalues}
        arrays |= {"settings": np.array(made.pipeline.model_dump_json())}
    return npz({name: array for name, array in arrays.items() if array is not None})


def _measures(label_map: LabelMap) -> bytes:
    if label_map.segmentation is not None:
        return csv_bytes(measured(label_map, planes_of(label_map.segmentation.image)))
    if label_map.pixels is None:
        return csv_bytes(measured(label_map))
    return csv_bytes(measured(label_map, planes_of(Image(label_map.pixels, bands=label_map.bands))))


def _yolo(label_map: LabelMap, stem: str, folder: Path | None) -> Exported:
    files, kept = annotation.yolo(label_map, stem)
    photograph, links = annotation.yolo_image(label_map, stem)
    return Exported(files | photograph, kept, links)


def _listed(name: str, *image: Any, **more: Any) -> Exporter:
    return Exporter(name, FORMATS[name], *image, **more)


POLYGONS = {"gpkg": (".gpkg", geo.geopackage), "geojson": (".geojson", geo.geojson)}
"""Formats of polygons: the ending of the file, and what writes it."""

EXPORTERS: Mapping[str, Exporter] = {
    exporter.name: exporter
    for exporter in (
        _listed(
            "png",
            _one_file("_labels.png", lambda label_map: label_png(label_map.labels, label_map.names, label_map.colours)),
            windowed=("_labels.png", geo.png_of_raster),
        ),
        _listed("npz", _one_file(".npz", _npz)),
        _listed(
            "csv",
            _one_file("_regions.csv", lambda label_map: csv_bytes(region_table(label_map))),
            windowed=("_regions.csv", _table),
        ),
        _listed("table", _one_file("_table.csv", _measures)),
        _listed("coco", part=annotation.coco_image, together=annotation.coco),
        _listed("labelme", lambda label_map, stem, folder: Exported(annotation.labelme(label_map, stem, folder))),
        _listed(
            "labelme-polygons",
            lambda label_map, stem, folder: Exported(annotation.labelme(label_map, stem, folder, polygons=True)),
        ),
        _listed("cvat", part=annotation.cvat_image, together=annotation.cvat),
        _listed("yolo", _yolo, annotation.yolo_classes, annotation.yolo_data),
        _listed("labelstudio", part=labelstudio.task, together=labelstudio.tasks),
        _listed("imagej", _one_file("_rois.zip", imagej.rois), extra="imagej"),
        _listed("svg", _one_file(".svg", svg)),
        _listed(
            "geotiff", _one_file("_labels.tif", geo.geotiff), extra="geo", windowed=("_labels.tif", geo.copy_raster)
        ),
        _listed("cog", _one_file("_cog.tif", geo.cog), extra="geo", windowed=("_cog.tif", geo.cog_of_raster)),
        _polygons("gpkg"),
        _polygons("geojson"),
    )
}


def exporters_named(formats: str | Sequence[str], shapes: Shapes = Shapes()) -> list[Exporter]:
    """Return the exporters of ``--format`` options, each once. An option may hold several names, separated by commas.

    Parameters
    ----------
    shapes : how formats of polygons draw segments

    Raises
    ------
    SettingsError
        A name is unknown, a module that the format needs is not installed, or ``shapes`` has no effect.
    """
    if shapes != Shapes() and not set(POLYGONS) & set(formats_named(formats)):
        option = "--parts" if shapes.single else "--tolerance"
        raise SettingsError(f"needs a format of polygons, which are {' and '.join(POLYGONS)}", option)
    chosen = [_polygons(name, shapes) if name in POLYGONS else EXPORTERS[name] for name in formats_named(formats)]
    for exporter in chosen:
        exporter.check()
    return chosen


def _said(exporter: Exporter, kept: float, pixels: int, georeference: Georeference | None) -> list[str]:
    """Sentences about what a file does not keep."""
    notes = []
    if kept < 1:
        lost = round((1 - kept) * pixels)
        notes.append(f"{exporter.name} keeps {100 * kept:.2f} % of the pixels ({lost:,} changed)")
    if exporter.placed and georeference is None:
        notes.append(f"{exporter.name}: the image has no georeference; coordinates are pixels")
    elif exporter.placed and georeference is not None and not georeference.crs:
        notes.append(f"{exporter.name}: the image has a transform without a CRS; coordinates are those of it")
    return notes


class Writer:
    """Writes images in several formats into a folder, one after the other; ``close`` writes the files for all images.

    Raises
    ------
    OutputError
        A file cannot be written.
    """

    def __init__(self, exporters: Sequence[Exporter], folder: Path) -> None:
        self.exporters, self._folder = exporters, folder
        self._parts: dict[str, list[Any]] = {exporter.name: [] for exporter in exporters}
        self._classes: tuple[str, ...] = ()
        self._images: dict[str, None] = {}  # a set in the order in which they were kept

    @contextmanager
    def unless_it_fails(self) -> Iterator[None]:
        """After an error, the files for all images do not list the images that were kept within."""
        kept = {name: len(parts) for name, parts in self._parts.items()}
        classes, images = self._classes, len(self._images)
        try:
            yield
        except BaseException:
            for name, count in kept.items():
                del self._parts[name][count:]
            self._classes, self._images = classes, dict.fromkeys(list(self._images)[:images])
            raise

    def georeference(self, image: Path, page: int | None = None) -> Georeference | None:
        """Return the position of an image on the Earth; None if it has none, or if no chosen format stores it."""
        return read_georeference(image, page) if any(exporter.placed for exporter in self.exporters) else None

    def add(self, label_map: LabelMap, stem: str) -> list[str]:
        """Write one image. Return a sentence for each format that loses pixels or stores pixels as coordinates."""
        with self.unless_it_fails():
            self.keep(label_map, stem)
            return self.write(label_map, stem)[1]

    def keep(self, label_map: LabelMap, stem: str) -> None:
        """Keep the parts of an image that the files for all images need.

        Raises
        ------
        ImageError
            An image of the same name was kept before, so the file would list the image twice.
        """
        exporters = [exporter for exporter in self.exporters if exporter.part is not None]
        if exporters and label_map.image in self._images:
            formats = ", ".join(exporter.name for exporter in exporters)
            raise ImageError(
                f"this is a second label map of the image; {formats} can hold only one, so write this one into another "
                "folder",
                label_map.image,
            )
        label_map = self._numbered(label_map)
        for exporter in exporters:
            assert exporter.part is not None
            self._parts[exporter.name].append(exporter.part(label_map, stem))
        self._images[label_map.image] = None

    @whole_set()
    def write(self, label_map: LabelMap, stem: str) -> tuple[list[Path], list[str]]:
        """Write only the files of one image. Return their paths and the sentences that ``add`` returns."""
        files, notes = [], []
        label_map = self._numbered(label_map)
        for exporter in self.exporters:
            if exporter.image is None:
                continue
            made = exporter.image(label_map, stem, self._folder)
            files += [write_bytes(self._folder / name, data) for name, data in made.files.items()]
            for name, source in made.links.items():
                files.append(self._folder / name)
                if not link_file(files[-1], source):
                    notes.append(
                        f"{exporter.name}: {files[-1]} is a copy of the image, because links are not possible there"
                    )
            notes += _said(exporter, made.kept, label_map.labels.size, label_map.georeference)
        return files, notes

    @whole_set()
    def write_windowed(self, item: WindowedMap, stem: str) -> tuple[list[Path], list[str]]:
        """As ``write``, of a label map that is read in windows; formats that need it as a whole are left out."""
        files, notes = [], []
        for exporter in self.exporters:
            if exporter.windowed is None:
                continue
            ending, write = exporter.windowed
            path, kept = self._folder / f"{stem}{ending}", 1.0
            if unfinished(path) != item.file:
                with whole_file(path) as partial_file:
                    kept = write(item, partial_file)
                files.append(path)
            notes += _said(exporter, kept, item.shape[0] * item.shape[1], item.georeference)
        return files, notes

    @whole_set()
    def close(self) -> list[Path]:
        """Write the files that describe all images, and return their paths."""
        return [
            write_bytes(self._folder / name, data)
            for exporter in self.exporters
            if exporter.together is not None and self._parts[exporter.name]
            for name, data in exporter.together(self._parts[exporter.name], self._folder).items()
        ]

    def _numbered(self, label_map: LabelMap) -> LabelMap:
        """Return the label map with the categories of earlier images first, so that numbers agree in all images."""
        label_map = replace(label_map, classes=self._classes)
        self._classes = label_map.categories
        return label_map
