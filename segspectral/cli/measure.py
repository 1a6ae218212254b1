"""``segspectral measure``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segspectral.cli.common import note
from segspectral.cli.options import command
from segspectral.errors import ImageError, OutputError, SettingsError
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.export.measuring import PixelSize
    from segspectral.values import Image
    from segspectral.values.place import Georeference

TABLES = (".csv", ".parquet", ".gpkg")


@command
def measure(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="A label map: PNG, TIFF or npz.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help=f"The table: {', '.join(TABLES)}.")],
    image: Annotated[Path | None, typer.Argument(metavar="[IMAGE]", help="Its image, for bands and the place.")] = None,
    with_: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="FILE", help="A further raster of the same place, such as dem.tif."),
    ] = None,
    pixel_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The side of a pixel, such as 0.25um (default: that of a map in metres)."),
    ] = None,
) -> None:
    """Measure segments: one row each, with shape, neighbours, and mean, deviation, quantiles and texture of each band.

    Columns in pixels come first; those in the unit of --pixel-size, or of the image's map, end in it: area_m2.
    """
    kind = output.suffix.lower()
    if kind not in TABLES:
        raise OutputError(f"is not a name of a table; it ends in {', '.join(TABLES)}", output)
    from segspectral.export.measuring import PixelSize

    size = None if pixel_size is None else PixelSize.parse(pixel_size)
    _check_installed(kind)
    from segspectral.export import csv_bytes, read_label_map, write_bytes
    from segspectral.export.labelmap import origin_of
    from segspectral.export.measuring import measured, planes_of
    from segspectral.files import whole_file
    from segspectral.images.place import read_georeference
    from segspectral.images.reader import Reading, read_image

    item, origin = read_label_map(labels), origin_of(labels)
    place = item.georeference or (None if image is None else read_georeference(image))
    bands: list[tuple[str, Any]] = []
    for path in [*([] if image is None else [image]), *(with_ or [])]:
        picture = read_image(path, origin.reading_of(path) if path == image else Reading())
        if "page" in picture.read:
            note(f"{path}: page {picture.read['page']} of {picture.read['pages']} is measured")
        _check_place(picture, path, item.labels.shape, place, labels)
        if image is not None or len(bands):
            place = place or picture.georeference
        prefix = "" if path == image else path.stem
        bands += list(planes_of(picture, prefix))
    if len({name for name, _ in bands}) < len(bands):
        raise SettingsError("two rasters have bands of the same name; rename one of the files", "--with")
    size = size or _size_of(place)
    table = measured(item, bands, size)
    if kind == ".csv":
        write_bytes(output, csv_bytes(table))
    else:
        with whole_file(output) as path:
            if kind == ".gpkg":
                from segspectral.export.geo import layer_of

                layer_of(item, table, place, path)
            else:
                _parquet(table, path)
    unit = "pixels" if size is None else f"pixels and {size.unit}"
    print(f"{plural(len(table), 'segment')}, {plural(len(table[0]), 'column')} in {unit} -> {output}")


def _check_installed(kind: str) -> None:
    """Raise SettingsError if a package that writes this kind of table is not installed."""
    from segspectral.extras import installed, require

    if kind == ".gpkg":
        require("geo", "GeoPackage")
    elif kind == ".parquet" and not installed("pyarrow"):
        raise SettingsError("Parquet needs pyarrow: pip install pyarrow")


def _check_place(picture: Image, path: Path, shape: tuple[int, ...], place: Georeference | None, labels: Path) -> None:
    """Raise ImageError if a raster is not of the place of the label map."""
    import numpy as np

    if picture.shape != shape:
        raise ImageError(
            f"has {picture.shape[1]} x {picture.shape[0]} pixels, but {labels.name} has {shape[1]} x {shape[0]}; "
            "resample it to the same grid",
            path,
        )
    if place is None or picture.georeference is None:
        return
    ours, theirs = place.transform, picture.georeference.transform
    if not np.allclose(ours, theirs, rtol=1e-9, atol=1e-6 * max(abs(ours[0]), abs(ours[4]))):
        raise ImageError(
            f"lies at another place than {labels.name}, or has other pixels; resample it to the same grid", path
        )
    if place.crs and picture.georeference.crs and not _same_crs(place.crs, picture.georeference.crs):
        raise ImageError(f"has another coordinate reference system than {labels.name}; reproject it", path)


def _same_crs(one: str, other: str) -> bool:
    if one == other:
        return True
    from rasterio.crs import CRS

    return bool(CRS.from_wkt(one) == CRS.from_wkt(other))


def _size_of(place: Georeference | None) -> PixelSize | None:
    """The side of a pixel of a map; None, with a note, if a length in it is not one number."""
    if place is None or not place.crs:
        return None
    from rasterio.crs import CRS

    from segspectral.export.measuring import PixelSize

    crs, (a, b, _, d, e, _) = CRS.from_wkt(place.crs), place.transform
    across, down = float((a * a + d * d) ** 0.5), float((b * b + e * e) ** 0.5)
    if not crs.is_projected:
        note("the coordinates are degrees, so lengths are in pixels; --pixel-size gives them a unit")
        return None
    if abs(across - down) > 0.01 * max(across, down):
        note("the pixels are not square, so lengths are in pixels")
        return None
    name, factor = crs.linear_units_factor
    return PixelSize((across + down) / 2 * factor, "m") if name else None


def _parquet(table: list[dict[str, Any]], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(table), path)
