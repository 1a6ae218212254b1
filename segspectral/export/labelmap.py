"""The label map that exporters take: segments with names and colours, and what is known about the image.

``read_label_map`` reads the lossless raster formats back, so every export can also be made later from such a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError, SettingsError, about
from segspectral.export.pictures import KEYWORD, colour_table
from segspectral.files import check_inside, parse_json, read_file, read_npz
from segspectral.images.formats import PNG, TIFF, check_name, format_of, head_of, open_picture
from segspectral.images.interpret import Reading
from segspectral.values import Bands, Segmentation
from segspectral.values.labels import LARGEST

if TYPE_CHECKING:
    from segspectral.values.place import Georeference

__all__ = ["Colour", "LabelMap", "Origin", "names_of", "origin_of", "parse_names", "read_label_map", "stem_of"]

Colour = tuple[int, int, int]

UNKNOWN = "image"
"""The name of an image without a name."""

UNNAMED = "segment"
"""The category of segments without a name."""

MAX_TEXT = 16 * 2**20
"""Limit in bytes for names and colours in a file, and for a summary.

65535 segments with names of 100 characters and a colour take about 9 MiB.
"""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The segments of one image, in the form that exporters take.

    Parameters
    ----------
    labels : (H, W) int32, 0 = void; the segment ids may have gaps
    image : file name of the photograph
    path : path of the photograph, if it is a file
    pixels : (H, W, 3) uint8 or None, the photograph, for mean colours
    names : segment -> name. The name is the category of a segment: segments with the same name belong to one category,
        in one image or in several. Without a model, segment 1 of one image has nothing to do with segment 1 of another,
        so all segments without a name share the category ``unnamed``. A name for 0 (void) is dropped. Control
        characters in names become blanks, because files with one name per line cannot hold them.
    colours : segment -> colour, for segments whose colour is not that of ``colour_table``
    georeference : position of the image on the Earth, or None
    segmentation : the segmentation from which the labels come, or None if they were read from a file
    unnamed : category of the segments without a name
    classes : categories of earlier images; their numbers come first
    bands : all bands of the photograph's file, for their means; None if ``pixels`` are all that it holds
    page : number of the page of ``path`` that the photograph is; None if this file has one page

    Raises
    ------
    ImageError
        The labels are not (H, W) int32 from 0 to 65535 with at least one segment, the photograph has another size, a
        name or colour belongs to an impossible segment number, or it is not a text or an RGB colour.
    """

    labels: NDArray[np.int32]
    image: str = UNKNOWN
    path: Path | None = None
    pixels: NDArray[np.uint8] | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, Colour] = field(default_factory=dict)
    georeference: Georeference | None = None
    segmentation: Segmentation | None = None
    unnamed: str = UNNAMED
    classes: tuple[str, ...] = ()
    bands: Bands | None = None
    page: int | None = None

    def __post_init__(self) -> None:
        labels, source = self.labels, self.image if self.image != UNKNOWN else None
        if not all(0 <= s <= LARGEST for s in (*self.names, *self.colours)):
            raise ImageError(f"names and colours belong to segments from 0 to {LARGEST}", source)
        if not all(isinstance(name, str) for name in self.names.values()):
            raise ImageError("the name of a segment must be text", source)
        names = {s: clean for s, name in self.names.items() if s > 0 and (clean := _printable(name))}
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "unnamed", _printable(self.unnamed) or UNNAMED)
        if (
            labels.ndim != 2
            or labels.dtype != np.int32
            or not labels.size
            or labels.min() < 0
            or labels.max() > LARGEST
        ):
            raise ImageError(f"a label map is (H, W) int32 with values from 0 to {LARGEST}", source)
        if not labels.any():
            raise ImageError("the label map has only void and no segment", source)
        if not all(len(colour) == 3 and all(0 <= c <= 255 for c in colour) for colour in self.colours.values()):
            raise ImageError("a colour is three numbers from 0 to 255, red, green and blue", source)
        if self.pixels is not None and self.pixels.shape[:2] != labels.shape:
            raise ImageError(
                f"the photograph has {_size(self.pixels)} pixels, but its label map has {_size(labels)}", source
            )

    @classmethod
    def of(
        cls,
        segmentation: Segmentation,
        path: Path | None = None,
        names: Mapping[int, str] | None = None,
        georeference: Georeference | None = None,
        category: str | None = None,
    ) -> LabelMap:
        """Return the label map of a segmentation; ``category`` is the category of all segments without a name."""
        image, named = segmentation.image, names_of(segmentation, names)
        label_map = cls(
            segmentation.labels,
            image.name,
            path,
            image.uint8,
            named,
            georeference=georeference or image.georeference,
            segmentation=segmentation,
            bands=image.bands,
            page=image.read.get("page"),
        )
        return label_map.of_category(category)

    def of_category(self, category: str | None) -> LabelMap:
        """Return a copy in which all segments without a name have this category; None changes nothing.

        Segments of a model, which are called "segment 3" and so on, also count as segments without a name.
        """
        if category is None:
            return self
        named = {s: name for s, name in self.names.items() if name != f"segment {s}"}
        return replace(self, names=named, unnamed=category)

    @cached_property
    def segments(self) -> list[int]:
        """Ids of the segments that have pixels, in ascending order."""
        return [int(s) for s in np.flatnonzero(np.bincount(self.labels.ravel())) if s]

    def name(self, segment: int) -> str:
        """Return the segment's name; it is "segment 3" unless another one was given."""
        return self.names.get(segment, f"segment {segment}")

    def category(self, segment: int) -> str:
        """Return the segment's name if it was given one, else the category of the segments without a name."""
        return self.names.get(segment, self.unnamed)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """All categories in the order of their numbers: ``classes``, then the names by segment, then ``unnamed``.

        Names of segments that this image does not have are listed too, so images with equal names have equal numbers.
        """
        named = [self.names[s] for s in sorted(self.names)]
        nameless = [self.unnamed] if any(s not in self.names for s in self.segments) else []
        return tuple(dict.fromkeys([*self.classes, *named, *nameless]))

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """The RGB colour of each segment, (largest id + 1, 3)."""
        table = colour_table(max([int(self.labels.max()), *self.colours]) + 1).copy()
        for segment, colour in self.colours.items():
            table[segment] = colour
        return table

    def colour(self, segment: int) -> Colour:
        red, green, blue = self.table[segment].tolist()
        return red, green, blue


def names_of(segmentation: Segmentation, names: Mapping[int, str] | None = None) -> dict[int, str]:
    """Return the names of the segments.

    The segments of a model mean the same in every image, so each has a name ("segment 3") even if none was given. Those
    of a taught model have the names of its classes, those of seeds the names of the seeds.
    """
    model = segmentation.pipeline.model
    shared = {} if model is None else {s: f"segment {s}" for s in range(1, model.segments + 1)}
    return shared | dict(segmentation.names) | dict(names or {})


def parse_names(text: str) -> dict[int, str]:
    """Parse ``1=sky,2=road`` to {1: "sky", 2: "road"}.

    Raises
    ------
    SettingsError
    """
    names: dict[int, str] = {}
    for part in text.split(","):
        segment, equals, name = part.partition("=")
        name = name.strip()
        if not equals or not segment.strip().isdecimal() or int(segment) == 0 or not name.isprintable() or not name:
            raise SettingsError(f"--names {text}: write names as 1=sky,2=road; segment numbers start at 1")
        if int(segment) in names:
            raise SettingsError(f"--names {text}: segment {int(segment)} has two names")
        names[int(segment)] = name
    return names


def read_label_map(path: str | os.PathLike[str]) -> LabelMap:
    """Read a label map with its names and colours from a file that segspectral can write: PNG, .npz or label TIFF.

    The content of the file decides which of the three formats it has. If the file does not hold the name of the
    photograph, the name is taken from the summary beside it (cat.json beside cat_labels.png), else from the file's
    stem. ``segspectral.evaluation.datasets.read_label_ids`` reads masks of data sets and predictions of other programs.

    Raises
    ------
    ImageError
        The file is missing or damaged, or it is not a label map.
    """
    check_name(path)
    path = Path(path)
    with about(path):
        try:
            if head_of(path).startswith((b"PK\3\4", b"PK\5\6")):
                found = _read_npz(path)
            elif format_of(path, among=(PNG, TIFF)) is TIFF:
                found = _read_tiff(path)
            else:
                found = _read_png(path)
            return found if found.image != UNKNOWN else replace(found, image=origin_of(path).name)
        except ImageError:
            raise
        except Exception as error:  # damaged data can make decoders raise any kind of error
            raise ImageError(f"is damaged, or is not a label map ({error})") from error


def stem_of(path: Path) -> str:
    """Return the stem of the results to which a label file belongs.

    >>> stem_of(Path("out/cat_labels.png"))
    'cat'
    """
    return path.stem.removesuffix("_labels") or path.stem


def _read_png(path: Path) -> LabelMap:
    from segspectral.images.reader import MAX_PIXELS

    with open_picture(path, among=(PNG,)) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ImageError(f"has more than {MAX_PIXELS:,} pixels", path)
        if picture.mode not in ("P", "L", "1", "I", "I;16"):
            raise ImageError(
                f"is a colour picture ({picture.mode}), not a label map; a label map is an indexed or grey PNG such as "
                "cat_labels.png",
                path,
            )
        labels = _as_labels(np.asarray(picture), path)
        colours: dict[int, Colour] = {}
        if picture.mode == "P" and (palette := picture.getpalette()):
            table = np.array(palette, dtype=np.uint8).reshape(-1, 3)
            own = colour_table(256)
            used = [int(s) for s in np.unique(labels) if 0 < s < len(table)]
            colours = {s: as_colour(table[s]) for s in used if (table[s] != own[s]).any()}
        names, kept = from_text(picture.info.get(KEYWORD), path)  # Pillow reads the text when it loads the pixels
    return LabelMap(labels, names=names, colours=colours | kept)


def _read_npz(path: Path) -> LabelMap:
    from segspectral.images.reader import MAX_PIXELS

    try:
        data = read_npz(path, 8 * MAX_PIXELS, ("labels",)) | read_npz(path, MAX_TEXT, ("text", "image"))
        if "labels" not in data:
            raise ImageError("has no array 'labels'", path)
        labels = _as_labels(data["labels"], path)
        image = check_inside(str(data["image"])) if "image" in data else UNKNOWN
    except ImageError:
        raise
    except ValueError as error:
        raise ImageError(error, path) from error
    names, colours = from_text(str(data["text"]) if "text" in data else None, path)
    return LabelMap(labels, image, names=names, colours=colours)


def _read_tiff(path: Path) -> LabelMap:
    from segspectral.images.place import read_georeference
    from segspectral.images.tiff import first_page

    with first_page(path, bands=1) as page:
        labels = _as_labels(page.asarray(), path)
        text = getattr(page, "description", "") or ""
    names, colours = from_text(text if text.startswith("{") else None, path)
    return LabelMap(labels, names=names, colours=colours, georeference=read_georeference(path))


def _as_labels(array: NDArray[Any], path: Path) -> NDArray[np.int32]:
    from segspectral.images.reader import MAX_PIXELS

    if array.size > MAX_PIXELS:
        raise ImageError(f"has more than {MAX_PIXELS:,} pixels", path)
    if array.ndim != 2 or not (np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_):
        raise ImageError(f"a label map is one band of integers, not {array.dtype} {array.shape}", path)
    if array.size == 0 or array.min() < 0 or array.max() > LARGEST:
        raise ImageError(f"labels must lie between 0 and {LARGEST}", path)
    return array.astype(np.int32)


def from_text(text: str | None, path: Path) -> tuple[dict[int, str], dict[int, Colour]]:
    """Return the names and colours of segments; ``LabelMap`` checks whether they are possible."""
    if not text:
        return {}, {}
    try:
        data = parse_json(text)
        names = {int(s): name for s, name in data.get("names", {}).items()}
        return names, {int(s): as_colour(colour) for s, colour in data.get("colours", {}).items()}
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ImageError(
            f"its text does not list names and colours of segments ({' '.join(str(error).split())[:100]})", path
        ) from error


def as_colour(values: Iterable[Any]) -> Colour:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


@dataclass(frozen=True)
class Origin:
    """What the summary beside a label map says about its photograph.

    Parameters
    ----------
    name : of the image, such as ``stack_page2.tif``
    file : name of the photograph's file, such as ``stack.tif``
    reading : how this file was read
    """

    name: str
    file: str
    reading: Reading = field(default_factory=Reading)

    def reading_of(self, path: Path) -> Reading:
        """How a file is read that may be the photograph: as it was read, or by default if it has another name."""
        return self.reading if path.name == self.file else Reading()


def origin_of(path: Path) -> Origin:
    """Return what the summary beside a label map says; without a summary, the stem is the name of the photograph.

    Raises
    ------
    ImageError
        The summary names a file outside its folder, or a reading that does not exist.
    """
    stem = stem_of(path)
    summary = path.with_name(f"{stem}.json")
    try:
        if summary.stat().st_size > MAX_TEXT:
            return Origin(stem, stem)
        facts = parse_json(read_file(summary))
        name = facts["image"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return Origin(stem, stem)
    try:
        reading = reading_said(facts)
    except ValueError as error:
        raise ImageError("says that the image was read in a way that this version does not know", summary) from error
    try:
        name = check_inside(name)
    except ValueError as error:
        raise ImageError(error, summary) from error
    source = facts.get("source")
    return Origin(name, Path(source if isinstance(source, str) else name).name, reading)


def reading_said(facts: Mapping[str, Any]) -> Reading:
    """How an image was read, from its summary. Raises ValueError if the summary does not say it.

    The page is the one that was read, also where the settings left the choice to the file or asked for all pages.
    """
    pipeline, read = facts.get("pipeline"), facts.get("read")
    said = pipeline.get("reading") if isinstance(pipeline, dict) else None
    page = read.get("page") if isinstance(read, dict) else None
    return Reading.model_validate((said or {}) | {"page": page})


def _printable(name: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
