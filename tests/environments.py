"""Python environments that are made of links to what is installed here, so that nothing has to be installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PACKAGES = Path(np.__file__).parents[1]


def environment(folder: Path, hidden: Collection[str], *search: Path) -> Path:
    """The Python of a new environment without the hidden packages; it also imports from the folders ``search``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    (site,) = folder.glob("lib/python*/site-packages") if os.name == "posix" else folder.glob("Lib/site-packages")
    for entry in PACKAGES.iterdir():
        if entry.name.split("-")[0].split(".")[0] not in hidden and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    (site / "search.pth").write_text("".join(f"{path}\n" for path in search))
    return folder / ("bin/python" if os.name == "posix" else "Scripts/python.exe")


@dataclass(frozen=True)
class Run:
    """Calls of it run ``python -m segspectral`` in ``folder``, and check the exit code."""

    python: Path
    folder: Path

    def __call__(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-m", "segspectral", *map(str, arguments)]
        # A test beside this one may have set PYTHONPATH, by which a checkout would be found.
        known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=self.folder, env=known)
        assert done.returncode == code, done.stderr + done.stdout
        return done
