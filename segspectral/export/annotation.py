"""Label maps in the formats of annotation tools: COCO, labelme, CVAT, YOLO.

Their categories are those of ``LabelMap.category``; what tells the segments of one category apart is beside it.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.export.labelmap import Colour, LabelMap
from segspectral.export.naming import yolo_stem
from segspectral.export.outlines import keyholed, outlines
from segspectral.export.pictures import png
from segspectral.files import link_to

__all__ = [
    "CocoImage",
    "CvatImage",
    "coco",
    "coco_image",
    "cvat",
    "cvat_image",
    "labelme",
    "rle",
    "yolo",
    "yolo_classes",
    "yolo_data",
    "yolo_image",
]

Files = dict[str, bytes]


@dataclass(frozen=True)
class CocoImage:
    """What the folder's JSON needs of one image.

    ``segments``: number, category, colour, run lengths, area, box x y w h.
    """

    file_name: str
    height: int
    width: int
    categories: tuple[str, ...]
    segments: tuple[tuple[int, str, Colour, str, int, tuple[int, int, int, int]], ...]


def coco_image(item: LabelMap, stem: str) -> CocoImage:
    segments = []
    for segment, box, mask in _masks(item.labels):
        (top, left), (height, width) = (box[0].start, box[1].start), mask.shape
        whole = np.zeros(item.labels.shape, dtype=bool)
        whole[box] = mask
        category, colour = item.category(segment), item.colour(segment)
        segments.append((segment, category, colour, rle(whole), int(mask.sum()), (left, top, width, height)))
    return CocoImage(item.image, item.labels.shape[0], item.labels.shape[1], item.categories, tuple(segments))


def coco(images: Sequence[CocoImage], folder: Path | None = None) -> Files:
    """One instances file for all images, masks as compressed run lengths; ``iscrowd`` is 0 throughout.

    ``attributes.segment`` is the segment's number.
    """
    number = _numbers(image.categories for image in images)
    colour: dict[str, Colour] = {}
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        for segment, category, own, counts, area, box in image.segments:
            colour.setdefault(category, own)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": number[category],
                    "segmentation": {"size": [image.height, image.width], "counts": counts},
                    "area": area,
                    "bbox": box,
                    "iscrowd": 0,
                    "attributes": {"segment": segment},
                }
            )
    data = {
        "info": {"description": "segments found by segspectral", "version": "1.0"},
        "licenses": [],
        "images": [
            {"id": i, "file_name": image.file_name, "height": image.height, "width": image.width}
            for i, image in enumerate(images, start=1)
        ],
        "categories": [
            {"id": i, "name": name, "supercategory": "segment"} | ({"color": colour[name]} if name in colour else {})
            for name, i in number.items()
        ],
        "annotations": annotations,
    }
    return {"coco.json": _json(data)}


def rle(mask: NDArray[np.bool_]) -> str:
    """COCO's compressed run lengths of a mask (H, W).

    Runs down the columns, zeros first; each as the difference to the run two before, in groups of five bits, lowest
    first, with 32 for "more follows", plus 48 as a character (``rleToString`` in COCO's maskApi.c).

    >>> rle(np.array([[0, 1], [0, 1]], dtype=bool))
    '22'
    """
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    text = bytearray()
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            text.append(group + 32 * more + 48)
            if not more:
                break
    return text.decode()


def labelme(item: LabelMap, stem: str, folder: Path | None, polygons: bool = False) -> Files:
    """A labelme file; segments as mask shapes (lossless), or as polygons (holes cut open, one per connected piece).

    A mask's two points are the corners of its box, both inside it: the mask has x2 - x1 + 1 columns. The label is the
    category, the group the segment's number.
    """
    place = f"labelme-polygons/{stem}.json" if polygons else f"labelme/{stem}.json"
    shapes: list[dict[str, Any]] = []
    if polygons:
        for piece in outlines(item.labels):
            shapes.append({"label": item.category(piece.segment), "shape_type": "polygon", "group_id": piece.segment})
            shapes[-1]["points"] = keyholed(piece).astype(float).tolist()
    else:
        for segment, box, mask in _masks(item.labels):
            corners = [[box[1].start, box[0].start], [box[1].stop - 1, box[0].stop - 1]]
            shapes.append({"label": item.category(segment), "shape_type": "mask", "group_id": segment})
            shapes[-1]["points"] = [[float(x), float(y)] for x, y in corners]
            shapes[-1]["mask"] = base64.b64encode(png(mask.astype(np.uint8) * np.uint8(255))).decode()
    # labelme opens the photograph from where the file is.
    link = None if item.path is None or folder is None else link_to(item.path, (folder / place).parent)
    data = {
        "version": "5.5.0",
        "flags": {},
        "shapes": [{"description": "", "flags": {}, "mask": None} | shape for shape in shapes],
        "imagePath": link or item.image,
        "imageData": None,
        "imageHeight": item.labels.shape[0],
        "imageWidth": item.labels.shape[1],
    }
    return {place: _json(data, indent=1)}


@dataclass(frozen=True)
class CvatImage:
    """What the folder's archive needs of one image; ``segments``: number, category, colour.

    The labels are a PNG: those of a whole folder would not fit into memory as they are.
    """

    stem: str
    segments: tuple[tuple[int, str, Colour], ...]
    labels: bytes


def cvat_image(item: LabelMap, stem: str) -> CvatImage:
    # The list of labels has no way to write these two characters.
    names = {s: item.category(s).replace(":", " ").replace("#", " ").strip() or f"segment {s}" for s in item.segments}
    segments = tuple((s, name, item.colour(s)) for s, name in names.items())
    return CvatImage(stem, segments, png(item.labels.astype(np.uint16)))


def cvat(images: Sequence[CvatImage], folder: Path | None = None) -> Files:
    """CVAT's "Segmentation mask 1.1": a zip in the layout of PASCAL VOC, with the colours of the categories.

    Categories have colours of their own there; where two would have the same, the later one's blue is moved on. An
    object is a segment. CVAT looks files up by the image's path without the suffix.
    """
    import PIL.Image

    colour: dict[str, Colour] = {}
    taken: set[Colour] = {(0, 0, 0)}
    for _, name, (red, green, blue) in sorted((c for image in images for c in image.segments), key=lambda c: c[0]):
        if name not in colour:
            while (red, green, blue) in taken:
                blue = (blue + 1) % 256
            colour[name] = (red, green, blue)
            taken.add(colour[name])
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{r},{g},{b}::" for name, (r, g, b) in colour.items()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:

        def put(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # no date: equal input, equal bytes

        put("labelmap.txt", ("\n".join(lines) + "\n").encode())
        put("ImageSets/Segmentation/default.txt", "".join(f"{image.stem}\n" for image in images).encode())
        for image in images:
            by_class = np.zeros((65536, 3), dtype=np.uint8)
            by_object = np.zeros((65536, 3), dtype=np.uint8)
            for number, (segment, name, _) in enumerate(image.segments, start=1):
                by_class[segment] = colour[name]
                by_object[segment] = _voc_colour(number)
            labels = np.asarray(PIL.Image.open(io.BytesIO(image.labels)))
            put(f"SegmentationClass/{image.stem}.png", png(by_class[labels]))
            put(f"SegmentationObject/{image.stem}.png", png(by_object[labels]))
    return {"cvat.zip": buffer.getvalue()}


def _voc_colour(index: int) -> Colour:
    """Colour of an object in PASCAL VOC: the bits of its number, dealt to red, green and blue from the top."""
    red, green, blue = (
        sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)
    )
    return red, green, blue


def yolo(item: LabelMap, stem: str) -> tuple[Files, float]:
    """A line "class x1 y1 x2 y2 ..." per connected piece, in shares of the width and height; holes are cut open.

    Returns
    -------
    files; the share of pixels that the polygons give back, filled in the order in which they stand
    """
    number = _numbers([item.categories])
    height, width = item.labels.shape
    lines, back = [], np.zeros_like(item.labels)
    for piece in outlines(item.labels):
        points = keyholed(piece) / (width, height)
        text = [f"{value:.8g}" for value in points.ravel()]
        lines.append(" ".join([str(number[item.category(piece.segment)] - 1), *text]) + "\n")
        rounded = np.array(text, dtype=float).reshape(-1, 2) * (width, height)
        _fill(back, rounded, number[item.category(piece.segment)])
    wanted = np.zeros(int(item.labels.max()) + 1, dtype=np.int32)
    wanted[item.segments] = [number[item.category(s)] for s in item.segments]
    kept = float((back == wanted[item.labels]).mean())
    return {f"yolo/labels/{yolo_stem(stem)}.txt": "".join(lines).encode()}, kept


def yolo_image(item: LabelMap, stem: str) -> dict[str, Path]:
    """Where trainers want the photograph -> where it is; nothing if that is not known."""
    return {} if item.path is None else {f"yolo/images/{yolo_stem(stem)}{item.path.suffix}": item.path}


def yolo_classes(item: LabelMap, stem: str) -> tuple[str, ...]:
    return item.categories


def yolo_data(categories: Sequence[tuple[str, ...]], folder: Path | None = None) -> Files:
    """``data.yaml``: the folder of the images, and the names of the classes, from 0 on and without gaps.

    The path is absolute: trainers understand a relative one as seen from their own folders or from where they are
    started. Without a ``folder`` there is no path, which Ultralytics takes for the folder of ``data.yaml``.
    """
    import yaml

    data: dict[str, Any] = {} if folder is None else {"path": (folder.absolute() / "yolo").as_posix()}
    data |= {"train": "images", "val": "images"}
    data["names"] = {number - 1: name for name, number in _numbers(categories).items()}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return {"yolo/data.yaml": text.encode("utf-8", "backslashreplace")}


def _numbers(categories: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """Category -> number, from 1 on."""
    return {name: number for number, name in enumerate(dict.fromkeys(chain.from_iterable(categories)), start=1)}


def _json(data: Any, indent: int | None = None) -> bytes:
    """UTF-8; bytes of file names that are not become escapes of JSON."""
    return (json.dumps(data, ensure_ascii=False, indent=indent) + "\n").encode("utf-8", "backslashreplace")


def _fill(labels: NDArray[np.int32], ring: NDArray[np.float64], value: int) -> None:
    """Give ``value`` to the pixels whose centres lie inside a ring, by the even-odd rule."""
    following = np.roll(ring, -1, axis=0)
    crossings: dict[int, list[float]] = {}
    for (x1, y1), (x2, y2) in zip(ring.tolist(), following.tolist(), strict=True):
        if y1 == y2:
            continue
        first, last = sorted((y1, y2))
        for row in range(max(int(np.ceil(first - 0.5)), 0), min(int(np.ceil(last - 0.5)), labels.shape[0])):
            crossings.setdefault(row, []).append(x1 + (row + 0.5 - y1) * (x2 - x1) / (y2 - y1))
    for row, xs in crossings.items():
        xs.sort()
        for enter, leave in zip(xs[::2], xs[1::2], strict=True):
            labels[row, max(int(np.ceil(enter - 0.5)), 0) : max(int(np.ceil(leave - 0.5)), 0)] = value


def _masks(labels: NDArray[np.int32]) -> Iterator[tuple[int, tuple[slice, slice], NDArray[np.bool_]]]:
    """Each segment, its box and its mask within."""
    from scipy.ndimage import find_objects

    for segment, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            yield segment, box, labels[box] == segment
