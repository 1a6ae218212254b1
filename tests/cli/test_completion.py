"""What the shell completes, asked as bash asks it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segspectral.heads import HEADS
from segspectral.registry import DATASETS, FORMATS, presets


def completed(line: str) -> list[str]:
    """What bash offers at the end of a command line."""
    program = Path(sys.executable).with_name("segspectral")
    words = f"segspectral {line}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    environment = os.environ | asked | {"_SEGSPECTRAL_COMPLETE": "complete_bash"}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("segment --head ", list(HEADS)),
        ("fit --head ", list(HEADS)),
        ("segment --preset ", list(presets())),
        ("batch --format png,", [f"png,{name}" for name in FORMATS if name != "png"]),
        ("convert --to y", ["yolo"]),
        ("evaluate ", list(DATASETS)),
        ("segment --refine c", ["crf"]),
        ("demo co", ["coffee.jpg"]),
        ("seg", ["segment"]),
        ("sug", ["suggest"]),
        ("suggest --cl", ["--clicks"]),
        ("segment --hea", ["--head"]),
        ("segment --head nothing-like-it", []),
    ],
)
def test_bash_completes_names(line: str, offered: list[str]) -> None:
    assert sorted(completed(line)) == sorted(offered)
