"""The results of a folder -> ``index.html``, a gallery that opens offline.

What it shows is in the page itself; the pictures lie beside it: the overlays, thumbnails of them in ``report/``, and
the photographs where the results say they are.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from segspectral.errors import OutputError, SegspectralError
from segspectral.export import write_bytes
from segspectral.report.page import page

__all__ = ["build"]

THUMBNAIL = 240
"""Pixels of the longer side; shown at half of it on dense screens."""

SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FOLDER = "report"
ENDS_BADLY = ("failed", "crashed", "timed out")
THREADS = min(4, os.cpu_count() or 1)


def build(out: str | os.PathLike[str], images: str | os.PathLike[str] | None = None) -> tuple[Path, int, int]:
    """Write ``index.html`` into a folder of results.

    Parameters
    ----------
    out : folder in which images were segmented, also in folders below it
    images : where the photographs are, if the results do not say it or these have moved

    Returns
    -------
    path of the page, number of images, number of failures

    Raises
    ------
    OutputError
        There are no results, or the folder cannot be written to.
    """
    out = Path(out)
    if not out.is_dir():
        raise OutputError(f"{out}: there is no such folder")
    journal = _journal(out)
    overlays = sorted(p for p in out.rglob("*_overlay.png") if FOLDER not in p.relative_to(out).parts[:1])
    failures = [entry for entry in journal.values() if entry.get("status") in ENDS_BADLY]
    if not overlays and not failures:
        raise OutputError(f"{out}: holds no results; make some with: segspectral segment IMAGE... -o {out}")
    stages = {str(name): entry for entry in journal.values() for name in entry.get("outputs", ())}
    with ThreadPoolExecutor(THREADS) as pool:
        rows = list(pool.map(lambda overlay: _row(out, overlay, images, stages), overlays))
    settings = Counter(row.pop("settings") for row in rows)
    html = page(
        title=out.resolve().name,
        rows=rows,
        failures=sorted((str(f["image"]), f["status"], str(f.get("reason", ""))) for f in failures),
        settings=settings.most_common(),
    )
    return write_bytes(out / "index.html", html.encode()), len(rows), len(failures)


def _row(
    out: Path, overlay: Path, images: str | os.PathLike[str] | None, journal: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What the page knows of one image; addresses are relative to the page and quoted."""
    stem = overlay.name.removesuffix("_overlay.png")
    summary = _json(overlay.with_name(f"{stem}.json"))
    entry = journal.get(overlay.relative_to(out).as_posix(), {})
    seconds = summary.get("seconds") or entry.get("stages") or {}
    name = overlay.relative_to(out).with_name(stem).as_posix()
    photograph = _photograph(out, overlay.parent, summary, images)
    files = ("_labels.png", "_labels.tif", "_segments.csv", ".json", "_figure.png")
    row = {
        "name": name,
        "image": str(summary.get("image", "")),
        "segments": summary.get("segments"),
        "superpixels": summary.get("superpixels"),
        "width": summary.get("width"),
        "height": summary.get("height"),
        "ncut": summary.get("ncut"),
        "seconds": {str(stage): float(value) for stage, value in seconds.items()},
        "notes": [str(summary.get("outcome", {}).get("sentence", "")), *map(str, summary.get("notes", ()))],
        "overlay": _address(out, overlay),
        "thumbnail": _address(out, _thumbnail(out, overlay)),
        "photograph": None if photograph is None else _address(out, _browsable(out, photograph)),
        "files": {end: _address(out, p) for end in files if (p := overlay.with_name(stem + end)).exists()},
        "settings": json.dumps(summary.get("pipeline", {}) | {"segments": "as shown"}, indent=1, sort_keys=True),
    }
    return row


def _thumbnail(out: Path, overlay: Path) -> Path:
    """A small JPEG of the overlay, made again only if the overlay is newer."""
    return _jpeg(out, overlay, THUMBNAIL)


def _browsable(out: Path, photograph: Path) -> Path:
    """The photograph, or a JPEG of it if browsers do not show its format or it cannot be read here."""
    if photograph.suffix.lower() in SHOWN_BY_BROWSERS:
        return photograph
    return _jpeg(out, photograph, 1600)


def _jpeg(out: Path, picture: Path, longest: int) -> Path:
    import cv2
    import PIL.Image

    from segspectral.images import read_image

    key = hashlib.sha256(os.path.relpath(picture, out).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    target = out / FOLDER / f"{key}-{longest}.jpg"
    if target.exists() and target.stat().st_mtime_ns >= picture.stat().st_mtime_ns:
        return target
    try:
        rgb = read_image(picture).uint8
    except SegspectralError:  # a damaged overlay leaves a grey tile, and the others their page
        import numpy as np

        rgb = np.full((longest // 2, longest, 3), 128, np.uint8)
    scale = longest / max(rgb.shape)
    if scale < 1:
        size = (max(round(rgb.shape[1] * scale), 1), max(round(rgb.shape[0] * scale), 1))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype("uint8")
    buffer = io.BytesIO()
    PIL.Image.fromarray(rgb).save(buffer, "JPEG", quality=82)
    return write_bytes(target, buffer.getvalue())


def _photograph(
    out: Path, folder: Path, summary: Mapping[str, Any], images: str | os.PathLike[str] | None
) -> Path | None:
    """Where the photograph is, if it is still there."""
    candidates = []
    if images is not None and summary.get("image"):
        # In the same tree of folders as the results, or all in one.
        candidates += [Path(images) / below / str(summary["image"]) for below in (folder.relative_to(out), "")]
    if summary.get("source"):
        candidates.append(folder / str(summary["source"]))
    return next((path for path in candidates if path.is_file()), None)


def _address(out: Path, path: Path) -> str:
    return quote(Path(os.path.relpath(path, out)).as_posix(), errors="surrogateescape")


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _journal(out: Path) -> dict[str, dict[str, Any]]:
    """Image -> the last that the journals of a batch say about it; empty if there are none."""
    latest: dict[str, dict[str, Any]] = {}
    for path in sorted(out.glob("journal*.jsonl")):
        for entry in _entries(path):
            known = latest.get(entry["image"])
            if known is None or known.get("time", 0) <= entry.get("time", 0):
                latest[entry["image"]] = entry
    return latest


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # cut off where the run was killed
            continue
        if isinstance(entry, dict) and isinstance(entry.get("image"), str):
            yield entry
