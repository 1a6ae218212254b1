"""The sample images: their origin, licence and hash, and a comparison of the defaults with human segmentations."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from segspectral.metrics.region import region_counts
from segspectral.pipeline import segment

TRUTHS = {"coffee": (6, 0.65), "flower": (4, 0.9)}
"""Name -> number of drawn segments, and the smallest accepted covering; .73 and .97 when this was written."""


def test_every_file_has_a_row_with_its_licence_and_hash(samples: Path) -> None:
    text = (samples / "SOURCES.md").read_text(encoding="utf-8")
    rows = {cells[0].strip(" `"): cells for line in text.splitlines() if len(cells := line.strip("|").split("|")) > 2}
    files = sorted(p.relative_to(samples).as_posix() for kind in ("*.jpg", "truth/*.png") for p in samples.glob(kind))
    assert len(files) >= 8
    assert set(files) == {name for name in rows if re.fullmatch(r"[\w/]+\.(jpg|png)", name)}
    for name in files:
        assert hashlib.sha256((samples / name).read_bytes()).hexdigest() == rows[name][-1].strip(" `")
        if not name.startswith("truth"):
            assert re.search(r"CC0|CC BY|Public domain|NASA", rows[name][4]), name


@pytest.mark.parametrize("name", TRUTHS)
def test_the_defaults_find_the_segments_that_people_drew(samples: Path, name: str) -> None:
    labels, least = TRUTHS[name]
    with PIL.Image.open(samples / "truth" / f"{name}.png") as picture:
        truth = np.asarray(picture).astype(np.int32)
    assert np.unique(truth).tolist() == list(range(labels + 1))
    result = segment(samples / f"{name}.jpg", segments=labels)
    assert result.labels.shape == truth.shape
    covering, of_one_segment = (
        region_counts(label_map, truth, void=0).scores()["covering_ods"]
        for label_map in (result.labels, np.ones_like(result.labels))
    )
    assert covering > least > of_one_segment + 0.2
