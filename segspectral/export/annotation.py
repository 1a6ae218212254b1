"""Label maps in the formats of annotation tools: COCO, labelme, CVAT, YOLO.

The categories are those of ``LabelMap.category``. Each format also stores the segment number where it can, so the
segments of one category stay apart.
"""

from __future__ import annotations

import base64
import io
import json
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
from segspectral.files import link_to, zipped

Files = dict[str, bytes]


@dataclass(frozen=True)
class CocoImage:
    """The part of ``coco.json`` that comes from one image.

    Each of ``segments`` has number, category, colour, run lengths, area and box (x, y, width, height).
    """

    file_name: str
    height: int
    width: int
    categories: tuple[str, ...]
    segments: tuple[tuple[int, str, Colour, str, int, tuple[int, int, int, int]], ...]


def coco_image(label_map: LabelMap, stem: str) -> CocoImage:
    segments = []
    for segment, box, mask in _masks(label_map.labels):
        (top, left), (height, width) = (box[0].start, box[1].start), mask.shape
        whole = np.zeros(label_map.labels.shape, dtype=bool)
        whole[box] = mask
        category, colour = label_map.category(segment), label_map.colour(segment)
        segments.append((segment, category, colour, rle(whole), int(mask.sum()), (left, top, width, height)))
    return CocoImage(
        label_map.image, label_map.labels.shape[0], label_map.labels.shape[1], label_map.categories, tuple(segments)
    )


def coco(images: Sequence[CocoImage], folder: Path | None = None) -> Files:
    """Return one instances file for all images, with masks as compressed run lengths; ``iscrowd`` is always 0.

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
    """Return COCO's compressed run lengths of a mask (H, W), as ``rleToString`` in COCO's maskApi.c writes them.

    The runs go down the columns and begin with zeros. From the fourth on, each run is stored as the difference to the
    run two places earlier. A number is split into groups of five bits, lowest first; 32 is added if another group
    follows, and 48 is added to get a printable character. The tests compare the result with pycocotools, which is not
    a dependency because it would have to be compiled for this one function.

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


def labelme(label_map: LabelMap, stem: str, folder: Path | None, polygons: bool = False) -> Files:
    """Return a labelme file with the segments as mask shapes (lossless) or as polygons, one per connected piece.

    Polygons go around holes with a cut of no width. The two points of a mask are the corners of its box, and both lie
    inside it, so the mask has x2 - x1 + 1 columns. The label is the category, and the group is the segment's number.
    The keys are those that labelme's own ``_label_file.py`` requires.
    """
    name = f"labelme-polygons/{stem}.json" if polygons else f"labelme/{stem}.json"
    shapes: list[dict[str, Any]] = []
    if polygons:
        for piece in outlines(label_map.labels):
            shapes.append(
                {"label": label_map.category(piece.segment), "shape_type": "polygon", "group_id": piece.segment}
            )
            shapes[-1]["points"] = keyholed(piece).astype(float).tolist()
    else:
        for segment, box, mask in _masks(label_map.labels):
            corners = [[box[1].start, box[0].start], [box[1].stop - 1, box[0].stop - 1]]
            shapes.append({"label": label_map.category(segment), "shape_type": "mask", "group_id": segment})
            shapes[-1]["points"] = [[float(x), float(y)] for x, y in corners]
            shapes[-1]["mask"] = _text(png(mask.astype(np.uint8) * np.uint8(255)))
    # labelme looks for the photograph relative to the folder of its file.
    link = None if label_map.path is None or folder is None else link_to(label_map.path, (folder / name).parent)
    data = {
        "version": "5.5.0",
        "flags": {},
        "shapes": [{"description": "", "flags": {}, "mask": None} | shape for shape in shapes],
        "imagePath": link or label_map.image,
        # labelme shows the first page of a file, so another page travels within.
        "imageData": None if label_map.page in (None, 1) or label_map.pixels is None else _text(png(label_map.pixels)),
        "imageHeight": label_map.labels.shape[0],
        "imageWidth": label_map.labels.shape[1],
    }
    return {name: _json(data, indent=1)}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class CvatImage:
    """The part of ``cvat.zip`` that comes from one image; each of ``segments`` has number, category and colour.

    The labels are kept as a PNG, because the uncompressed label maps of a whole folder may not fit into memory.
    """

    stem: str
    segments: tuple[tuple[int, str, Colour], ...]
    labels: bytes


def cvat_image(label_map: LabelMap, stem: str) -> CvatImage:
    # labelmap.txt separates its columns with ":" and begins comments with "#", and it has no way to escape them.
    names = {
        s: label_map.category(s).replace(":", " ").replace("#", " ").strip() or f"segment {s}"
        for s in label_map.segments
    }
    segments = tuple((s, name, label_map.colour(s)) for s, name in names.items())
    return CvatImage(stem, segments, png(label_map.labels.astype(np.uint16)))


def cvat(images: Sequence[CvatImage], folder: Path | None = None) -> Files:
    """Return CVAT's "Segmentation mask 1.1": a zip in the layout of PASCAL VOC, with the colours of the categories.

    Each category must have its own colour there. If two categories have the same colour, the blue of the later one is
    increased. Each segment is an object. CVAT looks for files by the image's path without the suffix.
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

    def files() -> Iterator[tuple[str, bytes]]:
        yield "labelmap.txt", ("\n".join(lines) + "\n").encode()
        yield "ImageSets/Segmentation/default.txt", "".join(f"{image.stem}\n" for image in images).encode()
        for image in images:
            by_class = np.zeros((65536, 3), dtype=np.uint8)
            by_object = np.zeros((65536, 3), dtype=np.uint8)
            for number, (segment, name, _) in enumerate(image.segments, start=1):
                by_class[segment] = colour[name]
                by_object[segment] = _voc_colour(number)
            labels = np.asarray(PIL.Image.open(io.BytesIO(image.labels)))
            yield f"SegmentationClass/{image.stem}.png", png(by_class[labels])
            yield f"SegmentationObject/{image.stem}.png", png(by_object[labels])

    return {"cvat.zip": zipped(files())}


def _voc_colour(index: int) -> Colour:
    """Return the colour of an object in PASCAL VOC, whose devkit spreads the number's bits over the three channels."""
    red, green, blue = (
        sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)
    )
    return red, green, blue


def yolo(label_map: LabelMap, stem: str) -> tuple[Files, float]:
    """Return a line "class x1 y1 x2 y2 ..." per connected piece, with coordinates as shares of the width and height.

    Polygons go around holes with a cut of no width.

    Returns
    -------
    The files, and the share of pixels that is unchanged when the polygons are filled in their order.
    """
    number = _numbers([label_map.categories])
    height, width = label_map.labels.shape
    lines, back = [], np.zeros_like(label_map.labels)
    for piece in outlines(label_map.labels):
        points = keyholed(piece) / (width, height)
        text = [f"{value:.8g}" for value in points.ravel()]
        lines.append(" ".join([str(number[label_map.category(piece.segment)] - 1), *text]) + "\n")
        rounded = np.array(text, dtype=float).reshape(-1, 2) * (width, height)
        _fill(back, rounded, number[label_map.category(piece.segment)])
    wanted = np.zeros(int(label_map.labels.max()) + 1, dtype=np.int32)
    wanted[label_map.segments] = [number[label_map.category(s)] for s in label_map.segments]
    kept = float((back == wanted[label_map.labels]).mean())
    return {f"yolo/labels/{yolo_stem(stem)}.txt": "".join(lines).encode()}, kept


def yolo_image(label_map: LabelMap, stem: str) -> tuple[Files, dict[str, Path]]:
    """Return what stands at the path at which trainers expect the photograph: a page as a PNG, or the file to link to.

    Both are empty if the file is not known. Trainers see the first page of a file, whatever page the labels belong to.
    """
    place = f"yolo/images/{yolo_stem(stem)}"
    if label_map.path is None:
        return {}, {}
    if label_map.page is not None and label_map.pixels is not None:
        return {f"{place}.png": png(label_map.pixels)}, {}
    return {}, {f"{place}{label_map.path.suffix}": label_map.path}


def yolo_classes(label_map: LabelMap, stem: str) -> tuple[str, ...]:
    return label_map.categories


def yolo_data(categories: Sequence[tuple[str, ...]], folder: Path | None = None) -> Files:
    """Return ``data.yaml`` with the folder of the images and the names of the classes, numbered from 0 without gaps.

    The path is absolute, because trainers resolve a relative path from their own folders or from the folder in which
    they are started. Without a ``folder`` there is no path, and Ultralytics then takes the folder of ``data.yaml``.
    """
    import yaml

    data: dict[str, Any] = {} if folder is None else {"path": (folder.absolute() / "yolo").as_posix()}
    data |= {"train": "images", "val": "images"}
    data["names"] = {number - 1: name for name, number in _numbers(categories).items()}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return {"yolo/data.yaml": text.encode("utf-8", "backslashreplace")}


def _numbers(categories: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """Return category -> number; numbers start at 1."""
    return {name: number for number, name in enumerate(dict.fromkeys(chain.from_iterable(categories)), start=1)}


def _json(data: Any, indent: int | None = None) -> bytes:
    """Return JSON in UTF-8; bytes of file names that are not UTF-8 become JSON escapes."""
    return (json.dumps(data, ensure_ascii=False, indent=indent) + "\n").encode("utf-8", "backslashreplace")


def _fill(labels: NDArray[np.int32], ring: NDArray[np.float64], value: int) -> None:
    """Set the pixels whose centres lie inside a ring (even-odd rule) to ``value``."""
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
    """Yield each segment, its box and its mask inside the box."""
    from scipy.ndimage import find_objects

    for segment, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            yield segment, box, labels[box] == segment
