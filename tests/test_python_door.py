"""What users of Python write by mistake gets a sentence, as on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import segspectral
from segspectral.errors import OutputError, SettingsError

QUICK: dict[str, Any] = {"features": {"cnn": None}, "superpixels": {"count": 60}, "head": "exact", "refine": "none"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"segmets": 3}, "unknown setting segmets; did you mean segments?"),
        ({"head": "exat"}, "head: unknown head 'exat'; there are neuncut"),
        (
            {"refine": {"name": "crf", "iterations": -1}},
            "refine.iterations: input should be greater than",
        ),
        (
            {"features": {"cnn": {"scales": []}}},
            "features.cnn.scales: input should be a list of at least 1, and has fewer",
        ),
        ({"features": {"cnn": {"scales": 1.25}}}, "features.cnn.scales: input should be a list, such as [1, 2]"),
    ],
)
def test_a_pipeline_says_what_is_wrong_as_segment_does(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        segspectral.Pipeline(**settings)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)
    with pytest.raises(SettingsError) as error:
        segspectral.segment(np.zeros((20, 20, 3), np.uint8), **settings)
    assert sentence in str(error.value)


def test_a_wrong_value_in_a_list_does_not_make_the_list_too_short() -> None:
    with pytest.raises(SettingsError, match=r"^features.cnn.scales.0: .* equal to 0.1 \(given: 0\)$"):
        segspectral.Pipeline(features={"cnn": {"scales": [0]}})


def test_settings_without_names_are_refused() -> None:
    with pytest.raises(TypeError, match=r"settings have names, such as Pipeline\(segments=...\)"):
        segspectral.Pipeline(3)  # type: ignore[call-arg]


def test_results_are_saved_with_one_format_by_its_name_and_never_over_a_file(
    tmp_path: Path, cat: NDArray[np.uint8]
) -> None:
    s = segspectral.segment(cat, segments=3, **QUICK)
    assert tmp_path / "out" / "coco.json" in s.save(tmp_path / "out", formats="coco")
    (tmp_path / "file").write_text("important")
    with pytest.raises(OutputError, match="file is a file; choose another folder"):
        s.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "important"


@pytest.mark.parametrize("data", [3, [], "bsds"])
def test_what_is_not_a_data_set_is_reported(data: Any) -> None:
    with pytest.raises(TypeError, match=r"a data set comes from segspectral.open_dataset\(...\), not"):
        segspectral.evaluate(data, segspectral.Pipeline())


def test_completion_offers_the_names_of_the_package_alone() -> None:
    assert {name for name in dir(segspectral) if not name.startswith("__")} == set(segspectral.__all__)
