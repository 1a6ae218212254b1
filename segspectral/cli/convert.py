"""``segspectral convert``."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segspectral.cli.common import Faults, exit_code, note
from segspectral.cli.completion import some_of
from segspectral.cli.options import FormatOptions, Only, command, warn_of_names
from segspectral.errors import ImageError
from segspectral.registry import FORMATS

if TYPE_CHECKING:
    from segspectral.export import LabelMap, Writer

LABEL_SUFFIXES = ("_labels.tif", ".npz", "_labels.png")
"""What a folder is searched for; of one image the first of these, which knows the most."""


@command
def convert(
    labels: Annotated[
        list[Path], typer.Argument(metavar="LABELS...", help="Label maps (PNG, TIFF or npz), or folders of them.")
    ],
    to: Annotated[
        list[str],
        typer.Option(metavar="FORMAT,...", help=f"The formats: {', '.join(FORMATS)}.", autocompletion=some_of(FORMATS)),
    ],
    formats: Annotated[FormatOptions, Only("names", "category", "parts", "tolerance")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Folder for the results (default: that of the first file)."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The photographs: for mean colours, georeference and links.")
    ] = None,
    debug: bool = False,
) -> None:
    """Convert label maps to formats for annotation, maps and tables: cat_labels.png to coco.json, cat.gpkg, ..."""
    from segspectral.export import Writer, exporters_named, result_stems
    from segspectral.files import check_folder

    exporters, named = exporters_named(to, formats.shapes()), formats.named()
    found = _label_files(labels)
    warn_of_names(named, len(found))
    folder = output or (labels[0] if labels[0].is_dir() else labels[0].parent)
    check_folder(folder)
    groups = sorted({one.group for one in found})
    stems = {g: result_stems((f.name for f in found if f.group == g), folders=filter(None, groups)) for g in groups}
    writers = {group: Writer(exporters, folder / group) for group in groups}
    faults, chosen = Faults(debug=debug), ", ".join(exporter.name for exporter in exporters)
    for one in found:
        writer = writers[one.group]
        with faults.of(one.path):
            if _is_large(one.path):
                said = _convert_large(one, images, named, writer, stems[one.group][one.name])
                print("\n  ".join([f"{one.path}: {chosen}", *said]))
                continue
            item = _item(one, images, named, writer).of_category(formats.category)
            print("\n  ".join([f"{one.path}: {chosen}", *writer.add(item, stems[one.group][one.name])]))
    for writer in writers.values():
        for written in writer.close():
            print(f"all images -> {written}")
    if images is None and any(exporter.name == "yolo" for exporter in exporters):
        note("yolo: --images FOLDER puts the photographs where trainers look for them")
    raise typer.Exit(exit_code(faults.count, len(found)))


@dataclass(frozen=True)
class _Found:
    """A label file: ``name`` of its image below the folder that all label files share, and ``group``, a folder.

    Results of `segment -k 4,8` are of one image each; the folders k4 and k8 keep apart what is made of them.
    """

    path: Path
    name: str
    group: str


def _label_files(given: list[Path]) -> list[_Found]:
    """The label files, below folders too; the photographs' names are those of the summaries beside them."""
    from segspectral.export.labelmap import origin_of

    roots, found = [], []
    for path in given:
        roots.append(path.absolute() if path.is_dir() else path.absolute().parent)
        found += _label_files_below(path) if path.is_dir() else [path]
    root = os.path.commonpath(roots)
    every = {path.absolute(): _found(path, root, origin_of(path).name) for path in found}
    twice = [one for one, count in Counter((f.group, f.name) for f in every.values()).items() if count > 1]
    if twice:
        raise ImageError(f"two of the files are label maps of {twice[0][1]}; convert them into folders of their own")
    return list(every.values())


def _label_files_below(folder: Path) -> list[Path]:
    """One label file for each image of a folder. Raises ImageError if there is none."""
    from segspectral.export.naming import is_photograph
    from segspectral.files import is_of_mac

    best: dict[str, Path] = {}
    for suffix in LABEL_SUFFIXES:
        for inside in folder.rglob(f"*{suffix}"):
            if not is_photograph(inside.relative_to(folder)) and not is_of_mac(inside):
                best.setdefault(inside.as_posix().removesuffix(suffix), inside)
    if not best:
        raise ImageError(f"the folder holds no label maps ({', '.join(LABEL_SUFFIXES)})", folder)
    return [inside for _, inside in sorted(best.items())]


def _found(path: Path, root: str, photograph: str) -> _Found:
    from segspectral.export import stem_of
    from segspectral.images.reader import EXTENSIONS

    stem, image = stem_of(path), Path(photograph)
    below = Path(os.path.relpath(path.absolute().parent, root))
    chosen = re.fullmatch(rf"{re.escape(image.stem)}_k(\d+)", stem)
    if chosen:
        return _Found(path, (below / image.name).as_posix(), f"k{chosen[1]}")
    if stem == image.name and image.suffix.lower() in EXTENSIONS:  # the image's suffix was kept
        return _Found(path, (below / stem).as_posix(), "")
    return _Found(path, (below / f"{stem}{image.suffix or '.png'}").as_posix(), "")


def _item(found: _Found, images: Path | None, names: dict[int, str], writer: Writer) -> LabelMap:
    """The label map with its photograph, if there is one."""
    from segspectral.export import read_label_map
    from segspectral.export.labelmap import origin_of
    from segspectral.images.reader import read_image

    item = read_label_map(found.path)
    item = replace(
        item, names={**item.names, **names}, image=(Path(found.name).parent / Path(item.image).name).as_posix()
    )
    if images is None:
        return item
    origin = origin_of(found.path)
    photograph = _photograph(images, item.image, origin.file)
    image = read_image(photograph, origin.reading_of(photograph))
    page = image.read.get("page")
    # Each page is an image of its own, although they have one file.
    name = photograph.with_name(Path(item.image).name) if origin.name != origin.file else photograph
    item = replace(
        item,
        image=name.relative_to(images).as_posix(),
        path=photograph,
        pixels=image.uint8,
        bands=image.bands,
        page=page,
    )
    return replace(item, georeference=writer.georeference(photograph, page) or item.georeference)


def _is_large(path: Path) -> bool:
    """Whether a label map is a raster that is not held in memory."""
    from segspectral.extras import installed
    from segspectral.images.formats import TIFF, format_of
    from segspectral.images.gdal import raster_size
    from segspectral.images.limits import MAX_PIXELS

    try:
        return installed("rasterio") and format_of(path) is TIFF and raster_size(path)[0] > MAX_PIXELS
    except ImageError:
        return False  # the reader of label maps reports the fault, and knows more formats


def _convert_large(found: _Found, images: Path | None, names: dict[int, str], writer: Writer, stem: str) -> list[str]:
    """Write the formats of a label raster that is read in windows. Raises ImageError if one needs it as a whole."""
    from segspectral.export.labelmap import origin_of
    from segspectral.images.interpret import Reading
    from segspectral.rasters.results import windowed_map

    if untiled := [exporter.name for exporter in writer.exporters if exporter.windowed is None]:
        raise ImageError(
            f"is too large to be held in memory, and {', '.join(untiled)} can only be made of whole images"
        )
    origin = origin_of(found.path)
    source = None if images is None else _photograph(images, found.name, origin.file)
    reading = Reading() if source is None else origin.reading_of(source)
    with windowed_map(found.path, names, source, reading) as item:
        return writer.write_windowed(item, stem)[1]


def _photograph(folder: Path, name: str, file: str) -> Path:
    """In the same tree of folders as the label maps, or all in one folder; by the image's name, or that of its file."""
    from segspectral.images.reader import EXTENSIONS

    below = folder / name
    for place in (below, folder / below.name, below.with_name(file), folder / file):
        for candidate in (place, *(place.with_name(f"{place.name}{suffix}") for suffix in EXTENSIONS)):
            if candidate.is_file():
                return candidate
    raise ImageError(f"holds no photograph {name}, to which the label map belongs", folder)
