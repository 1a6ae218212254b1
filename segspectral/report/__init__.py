"""``index.html`` for a folder of results, a gallery that opens offline.

The page itself contains all data. The pictures are files beside it: the overlays, their thumbnails in ``report/``, and
the photographs at the paths that the results contain.

The results may come from somebody else. A summary that segspectral did not write is named and ignored. A photograph is
copied only if it is known to be an input of these results, because a summary may name any file of the machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from segspectral.batch.jobs import fingerprint_of
from segspectral.batch.journal import Record, read_history
from segspectral.errors import OutputError, SegspectralError
from segspectral.export import jpeg, write_bytes
from segspectral.export.labelmap import reading_said
from segspectral.files import is_inside, is_of_mac
from segspectral.images.interpret import Reading
from segspectral.report.page import page
from segspectral.wording import few, plural

__all__ = ["build"]

THUMBNAIL = 240
"""Longer side of a thumbnail in pixels: twice its size on the page, for screens with high resolution."""

PHOTOGRAPH = 1600
"""Longer side of a copied photograph in pixels: it fills the screen of a laptop."""

SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FOLDER = "report"
THREADS = min(4, os.cpu_count() or 1)
"""Threads that make thumbnails. More than four mostly wait for the disk."""


def _relative(name: str) -> str:
    if name.startswith("/") or "\0" in name:
        raise ValueError("is not a relative path")
    os.fsencode(name)
    return name


Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Outcome(BaseModel):
    model_config = ConfigDict(strict=True)

    sentence: str = ""


class Summary(BaseModel):
    """The part of ``STEM.json`` that the gallery uses; numbers that are not finite become None."""

    model_config = ConfigDict(strict=True)

    image: str = ""
    source: Annotated[str, AfterValidator(_relative)] = ""
    segments: Count | None = None
    superpixels: Count | None = None
    width: Count | None = None
    height: Count | None = None
    ncut: Number | None = None
    outcome: Outcome = Outcome()
    notes: list[str] = []
    seconds: dict[str, Number | None] = {}
    pipeline: dict[str, Any] = {}
    read: dict[str, Any] = {}

    @property
    def settings(self) -> str:
        """The pipeline without the number of segments, as JSON."""
        return json.dumps(self.pipeline | {"segments": "as shown"}, indent=1, sort_keys=True, allow_nan=False)

    @property
    def reading(self) -> Reading:
        """How the photograph was read; the default if that cannot be known."""
        try:
            return reading_said({"pipeline": self.pipeline, "read": self.read})
        except ValueError:
            return Reading()


def build(
    out: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    complain: Callable[[str], None] = lambda sentence: None,
) -> tuple[Path, int, int]:
    """Write ``index.html`` into a folder of results.

    Parameters
    ----------
    out : folder with results, which may also be in folders below it
    images : folder of the photographs, if the results do not name it or the photographs were moved
    complain : called with a sentence about files that segspectral did not write, which are not in the gallery

    Returns
    -------
    The path of the page, the number of images and the number of failures.

    Raises
    ------
    OutputError
        There are no results, or the folder cannot be written to.
    """
    out = Path(out)
    if not out.is_dir():
        raise OutputError("is a file, not a folder with results" if out.exists() else "there is no such folder", out)
    if not is_inside(out, out / FOLDER / "thumbnail"):
        raise OutputError("is a link out of the folder, so no thumbnails are written there; remove it", out / FOLDER)
    history = read_history(out)
    overlays: list[Path] = []
    links: list[Path] = []
    for path in sorted(out.rglob("*_overlay.png")):
        if path.is_file() and not is_of_mac(path):
            (overlays if is_inside(out, path.resolve()) else links).append(path)
    failures = [record for record in history.latest.values() if record.status.bad]
    if not overlays and not failures:
        raise OutputError(f"has no results; make some with: segspectral segment IMAGE... -o {out}", out)
    records = {name: record for record in history.latest.values() for name in record.outputs}
    gallery = _Gallery(out, None if images is None else Path(images), records)
    with ThreadPoolExecutor(THREADS) as pool:
        rows = list(pool.map(gallery.row, overlays))
    if history.unreadable:
        lines = plural(history.unreadable, "line of the journals is", "lines of the journals are")
        complain(f"{lines} not readable and ignored")
    for paths, one, many in (
        (
            links,
            "picture is a link out of the folder and is not shown",
            "pictures are links out of the folder and are not shown",
        ),
        (
            gallery.odd,
            "summary was not written by segspectral, so its image is shown without facts",
            "summaries were not written by segspectral, so their images are shown without facts",
        ),
        (
            gallery.foreign,
            "photograph is not copied because it may not be an input of these results (use --images FOLDER)",
            "photographs are not copied because they may not be inputs of these results (use --images FOLDER)",
        ),
    ):
        if paths:
            names = sorted(path.relative_to(out).as_posix() for path in paths)
            complain(f"{plural(len(names), one, many)}: {few(names)}")
    settings = Counter(row.pop("settings") for row in rows)
    html = page(
        title=out.resolve().name,
        rows=rows,
        failures=sorted((record.image, record.status.value, record.reason) for record in failures),
        settings=settings.most_common(),
    )
    # Names that are not UTF-8 are shown with escapes.
    return write_bytes(out / "index.html", html.encode("utf-8", "backslashreplace")), len(rows), len(failures)


class _Gallery:
    """The data of each image on the page; addresses are relative to the page and quoted.

    Attributes
    ----------
    odd : summaries that segspectral did not write
    foreign : overlays whose photographs would have to be copied and are not known to be inputs
    """

    def __init__(self, out: Path, images: Path | None, records: Mapping[str, Record]) -> None:
        self.out, self.images, self.records = out, images, records
        self.odd: list[Path] = []
        self.foreign: list[Path] = []

    def row(self, overlay: Path) -> dict[str, Any]:
        stem = overlay.name.removesuffix("_overlay.png")
        below = overlay.relative_to(self.out).parent
        summary, settings = self._summary(overlay.parent / f"{stem}.json")
        record = self.records.get(overlay.relative_to(self.out).as_posix())
        seconds = {stage: value for stage, value in summary.seconds.items() if value is not None}
        photograph = self._photograph(overlay, summary, record)
        files = ("_labels.png", "_labels.tif", "_segments.csv", ".json", "_figure.png")
        return {
            "name": (below / stem).as_posix(),
            "image": summary.image,
            "segments": summary.segments,
            "superpixels": summary.superpixels,
            "width": summary.width,
            "height": summary.height,
            "ncut": summary.ncut,
            "seconds": seconds or (record.stages if record is not None else {}),
            "notes": [summary.outcome.sentence, *summary.notes],
            "overlay": _address(self.out, overlay),
            "thumbnail": _address(self.out, _jpeg(self.out, overlay, THUMBNAIL)),
            "photograph": None if photograph is None else _address(self.out, photograph),
            "files": {end: _address(self.out, p) for end in files if (p := overlay.parent / f"{stem}{end}").exists()},
            "settings": settings,
        }

    def _summary(self, path: Path) -> tuple[Summary, str]:
        """Return the summary and its settings; they are empty if segspectral wrote no summary there."""
        try:
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                summary = Summary.model_validate(json.loads(text, parse_constant=_nothing, parse_float=_finite))
                return summary, summary.settings
        except (OSError, ValueError, RecursionError):
            self.odd.append(path)
        return Summary(), Summary().settings

    def _photograph(self, overlay: Path, summary: Summary, record: Record | None) -> Path | None:
        """Return the photograph if it still exists, or a JPEG copy if browsers cannot show its format."""
        candidates = []
        if self.images is not None and summary.image:
            # The photographs are in the same tree of folders as the results, or all in one folder.
            folders = (self.images / overlay.relative_to(self.out).parent, self.images)
            # A page is called stack_page2.tif, and its file stack.tif.
            names = dict.fromkeys([summary.image, PurePosixPath(summary.source).name])
            candidates += [
                folder / name
                for name in filter(None, names)
                for folder in folders
                if is_inside(self.images, folder / name)
            ]
        if summary.source:
            candidates.append(overlay.parent / summary.source)
        path = next((path for path in candidates if _is_file(path)), None)
        if path is None:
            return None
        shown, reading = path.suffix.lower() in SHOWN_BY_BROWSERS, summary.reading
        if shown and reading == Reading():
            return path
        if (
            is_inside(self.out, path.resolve())
            or (self.images is not None and is_inside(self.images, path))
            or (
                record is not None
                and path.name == PurePosixPath(record.image).name
                and fingerprint_of(os.fspath(path)) == (record.size, record.mtime_ns)
            )
        ):
            return _jpeg(self.out, path, PHOTOGRAPH, reading)
        if shown:
            return path
        self.foreign.append(overlay)
        return None


def _jpeg(out: Path, picture: Path, longest: int, reading: Reading = Reading()) -> Path:
    import cv2

    from segspectral.images.reader import read_image

    seen = os.path.relpath(picture, out) + ("" if reading == Reading() else reading.model_dump_json())
    key = hashlib.sha256(seen.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    target = out / FOLDER / f"{key}-{longest}.jpg"
    if target.exists() and target.stat().st_mtime_ns >= picture.stat().st_mtime_ns:
        return target
    try:
        rgb = read_image(picture, reading).uint8
    except SegspectralError:  # a damaged picture becomes a grey tile, and the page still shows all others
        import numpy as np

        rgb = np.full((longest // 2, longest, 3), 128, np.uint8)
    scale = longest / max(rgb.shape)
    if scale < 1:
        size = (max(round(rgb.shape[1] * scale), 1), max(round(rgb.shape[0] * scale), 1))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype("uint8")
    return write_bytes(target, jpeg(rgb, 82))


def _address(out: Path, path: Path) -> str:
    return quote(Path(os.path.relpath(path, out)).as_posix(), errors="surrogateescape")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # for instance a name that is too long
        return False


def _nothing(constant: str) -> None:
    """Replace NaN and Infinity by None: JSON does not have them, and browsers refuse them."""


def _finite(text: str) -> float | None:
    return number if math.isfinite(number := float(text)) else None
