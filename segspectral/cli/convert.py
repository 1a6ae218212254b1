"""``segspectral convert``, and the options about formats that commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segspectral.cli.common import ALL_FAILED, OK, SOME_FAILED, DebugOption, sentences
from segspectral.errors import ImageError, SegspectralError

if TYPE_CHECKING:
    from segspectral.export import LabelMap

FORMATS = "png, npz, csv, coco, labelme, labelme-polygons, cvat, yolo, svg, geotiff, gpkg, geojson"

FormatOption = Annotated[
    list[str] | None, typer.Option("--format", metavar="FORMAT,...", help=f"Also write: {FORMATS}.")
]
NamesOption = Annotated[str | None, typer.Option("--names", metavar="1=sky,2=road", help="Names of segments.")]

LABEL_SUFFIXES = ("_labels.tif", ".npz", "_labels.png")
"""What a folder is searched for; of one image the first of these, which knows the most."""


def convert(
    labels: Annotated[list[Path], typer.Argument(metavar="LABELS...", help="Label PNG, TIFF or npz; or folders.")],
    to: Annotated[list[str], typer.Option("--to", metavar="FORMAT,...", help=f"{FORMATS}.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Folder; default: that of the first file.")
    ] = None,
    names: NamesOption = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="FOLDER", help="The photographs: for mean colours, georeference and links."),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Convert label maps to the formats of annotators, maps and tables: cat_labels.png to coco.json, cat.gpkg, ..."""
    with sentences(debug):
        from segspectral.export import Writer, exporters_named, parse_names, stem_of

        exporters = exporters_named(to)
        named = parse_names(names) if names is not None else {}
        paths = _label_files(labels)
        writer = Writer(exporters, output or paths[0].parent)
        failed = 0
        for path, stem in zip(paths, _stems([stem_of(path) for path in paths], paths), strict=True):
            try:
                notes = writer.add(_item(path, images, named, writer.wants_place), stem)
                print("\n  ".join([f"{path}: {', '.join(exporter.name for exporter in exporters)}", *notes]))
            except SegspectralError as error:
                if debug:
                    raise
                failed += 1
                message = str(error)
                print("error: " + (message if message.startswith(str(path)) else f"{path}: {message}"), file=sys.stderr)
        for written in writer.close():
            print(f"all images -> {written}")
        raise typer.Exit(OK if not failed else ALL_FAILED if failed == len(paths) else SOME_FAILED)


def _label_files(given: list[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            best: dict[str, Path] = {}
            for suffix in LABEL_SUFFIXES:
                for inside in path.glob(f"*{suffix}"):
                    best.setdefault(inside.name.removesuffix(suffix), inside)
            if not best:
                raise ImageError(f"{path}: the folder holds no label maps ({', '.join(LABEL_SUFFIXES)})")
            found |= {best[stem]: None for stem in sorted(best)}
        else:
            found[path] = None
    return list(found)


def _stems(stems: list[str], paths: list[Path]) -> list[str]:
    """Two files of one stem would write over each other: the name of the folder keeps them apart."""
    apart = [f"{p.parent.name}_{s}" if stems.count(s) > 1 else s for s, p in zip(stems, paths, strict=True)]
    for stem, path in zip(apart, paths, strict=True):
        if apart.count(stem) > 1:
            raise ImageError(f"{path}: another file is called the same; convert them into folders of their own")
    return apart


def _item(path: Path, images: Path | None, names: dict[int, str], wants_place: bool) -> LabelMap:
    """The label map with its photograph, if there is one."""
    from dataclasses import replace

    from segspectral.export import read_label_map, read_place
    from segspectral.images import read_image

    item = read_label_map(path)
    item = replace(item, names={**item.names, **names})
    if images is None:
        return item
    photograph = _photograph(images, item.image)
    item = replace(item, image=photograph.name, path=photograph, pixels=read_image(photograph).uint8)
    if wants_place and (place := read_place(photograph)) is not None:
        item = replace(item, place=place)
    return item


def _photograph(folder: Path, name: str) -> Path:
    from segspectral.images import EXTENSIONS

    for candidate in (folder / name, *(folder / f"{name}{suffix}" for suffix in EXTENSIONS)):
        if candidate.is_file():
            return candidate
    raise ImageError(f"{folder}: holds no photograph {name}, to which the label map belongs")
