#!/usr/bin/env python3
"""Draw the README's picture from the samples: regions at three levels of the hierarchy, and one model over four images.

    tools/make_picture.py OUT.jpg

It needs the extra torch, and takes a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from segspectral import Pipeline, read_image, segment
from segspectral.export import colour_table, tinted
from segspectral.registry import shipped
from segspectral.shared.fit import fit_model
from segspectral.shared.model import Recipe

LEVELS = (40, 12, 4)
NESTED = ("coffee.jpg", "rocket.jpg", "cat.jpg")
SHARED = ("temple.jpg", "photographer.jpg", "rocket.jpg", "flower.jpg")
SEGMENTS = 5
TILE, GAP, TEXT = (396, 264), 8, 22


def tile(pixels: NDArray[np.uint8]) -> Image.Image:
    return ImageOps.fit(Image.fromarray(pixels), TILE, Image.Resampling.LANCZOS)


def nested(path: Path) -> list[Image.Image]:
    """The photograph and its regions at three levels."""
    scene = Pipeline().describe(read_image(path))
    pictures = [scene.image.uint8]
    for k in LEVELS:
        labels = scene.hierarchy.labels(segments=k)
        pictures.append(tinted(scene.image.uint8, labels, colour_table(k + 1)))
    return [tile(picture) for picture in pictures]


def shared(paths: list[Path]) -> list[Image.Image]:
    """Each image with the segments of one model that was fitted on all of them."""
    model = fit_model(paths, Recipe(segments=SEGMENTS, nodes=600 * len(paths)))
    made = [segment(path, pipeline=Pipeline(model=model)) for path in paths]
    return [tile(tinted(s.image.uint8, s.labels, colour_table(SEGMENTS + 1))) for s in made]


def main(out: str) -> None:
    samples = shipped("sample_images")
    rows = [nested(samples / name) for name in NESTED] + [shared([samples / name for name in SHARED])]
    captions = [["photograph", *(f"{k} regions of one hierarchy" for k in LEVELS)]]
    captions += [[]] * (len(NESTED) - 1) + [["one model over four photographs: equal colours, equal segments"]]
    heights = [TILE[1] + GAP + (TEXT + GAP if caption else 0) for caption in captions]
    sheet = Image.new("RGB", (4 * TILE[0] + 3 * GAP, sum(heights) - GAP), "white")
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(size=TEXT - 2), 0
    for row, caption, height in zip(rows, captions, heights, strict=True):
        for column, text in enumerate(caption):
            draw.text((column * (TILE[0] + GAP), top), text, "black", font)
        for column, picture in enumerate(row):
            sheet.paste(picture, (column * (TILE[0] + GAP), top + height - TILE[1] - GAP))
        top += height
    sheet.save(out, quality=86)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", metavar="OUT.jpg")
    main(parser.parse_args().picture)
