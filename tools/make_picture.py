#!/usr/bin/env python3
"""Draw the README's picture: photographs above, their segmentations below.

tools/make_picture.py OUT.jpg IMAGE...
"""

from __future__ import annotations

import sys

from PIL import Image

from segspectral import segment
from segspectral.export import overlay

HEIGHT, GAP = 200, 6


def main(out: str, paths: list[str]) -> None:
    columns = []
    for path in paths:
        result = segment(path)
        pair = [Image.fromarray(result.image.uint8), Image.fromarray(overlay(result))]
        columns.append([p.resize((round(p.width * HEIGHT / p.height), HEIGHT), Image.Resampling.LANCZOS) for p in pair])
    width = sum(top.width for top, _ in columns) + GAP * (len(columns) - 1)
    sheet = Image.new("RGB", (width, 2 * HEIGHT + GAP), "white")
    left = 0
    for top, bottom in columns:
        sheet.paste(top, (left, 0))
        sheet.paste(bottom, (left, HEIGHT + GAP))
        left += top.width + GAP
    sheet.save(out, quality=88)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
