"""``segspectral convert``, and the options about formats that commands share."""

from __future__ import annotations

import sys
from collections import Counter
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
        from segspectral.export import Writer, exporters_named, parse_names

        exporters = exporters_named(to)
        named = parse_names(names) if names is not None else {}
        found = _label_files(labels)
        writer = Writer(exporters, output or (labels[0] if labels[0].is_dir() else labels[0].parent))
        failed = 0
        for stem, path in found.items():
            try:
                item = _item(path, Path(stem).parent, images, named, writer.wants_place)
                notes = writer.add(item, stem)
                print("\n  ".join([f"{path}: {', '.join(exporter.name for exporter in exporters)}", *notes]))
            except SegspectralError as error:
                if debug:
                    raise
                failed += 1
                message = str(error)
                print("error: " + (message if message.startswith(str(path)) else f"{path}: {message}"), file=sys.stderr)
        for written in writer.close():
            print(f"all images -> {written}")
        raise typer.Exit(OK if not failed else ALL_FAILED if failed == len(found) else SOME_FAILED)


def _label_files(given: list[Path]) -> dict[str, Path]:
    """Stem of the results -> label file; below a folder that is given, stems keep the tree of folders."""
    from segspectral.export import stem_of

    found: list[tuple[str, Path]] = []
    for path in given:
        if not path.is_dir():
            found.append((stem_of(path), path))
            continue
        best: dict[str, Path] = {}
        for suffix in LABEL_SUFFIXES:
            for inside in path.rglob(f"*{suffix}"):
                best.setdefault(inside.relative_to(path).as_posix().removesuffix(suffix), inside)
        if not best:
            raise ImageError(f"{path}: the folder holds no label maps ({', '.join(LABEL_SUFFIXES)})")
        found += sorted(best.items())
    stems = Counter(stem for stem, _ in found)
    # Two files of one stem would write over each other: the name of the folder keeps them apart.
    apart = {f"{path.parent.name}_{stem}" if stems[stem] > 1 else stem: path for stem, path in found}
    if len(apart) < len(found):
        raise ImageError("two of the files have the same name and folder; convert them into folders of their own")
    return apart


def _item(path: Path, below: Path, images: Path | None, names: dict[int, str], wants_place: bool) -> LabelMap:
    """The label map with its photograph, if there is one; ``below``: the image's folder in a tree of folders."""
    from dataclasses import replace

    from segspectral.export import read_label_map, read_place
    from segspectral.images import read_image

    item = read_label_map(path)
    item = replace(item, names={**item.names, **names}, image=(below / item.image).as_posix())
    if images is None:
        return item
    photograph = _photograph(images, item.image)
    item = replace(
        item, image=photograph.relative_to(images).as_posix(), path=photograph, pixels=read_image(photograph).uint8
    )
    if wants_place and (place := read_place(photograph)) is not None:
        item = replace(item, place=place)
    return item


def _photograph(folder: Path, name: str) -> Path:
    from segspectral.images import EXTENSIONS

    for candidate in (folder / name, *(folder / f"{name}{suffix}" for suffix in EXTENSIONS)):
        if candidate.is_file():
            return candidate
    raise ImageError(f"{folder}: holds no photograph {name}, to which the label map belongs")
