#!/usr/bin/env python3
"""Run the notebooks of docs/notebooks in a folder of their own, and store what they show.

    tools/run_notebooks.py --data DATA [NAME.ipynb ...]

It needs nbclient and ipykernel (pip install nbclient ipykernel). ``DATA`` holds ``bsds500``. Pictures keep 128
colours, because a repository keeps them for ever.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import tempfile
from pathlib import Path

import nbformat
import PIL.Image
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
COLOURS = 128


def reduced(picture: str) -> str:
    """A PNG in base64 with fewer colours."""
    image = PIL.Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(COLOURS, dither=PIL.Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", type=Path, help="the notebooks (default: all)")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    arguments = parser.parse_args()
    for path in arguments.names or sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "DATA").symlink_to(arguments.data.resolve())
            NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": folder}}).execute()
            for cell in notebook.cells:
                cell.metadata.clear()
                shown = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
                for output in shown:
                    data = output.get("data", {})
                    data.pop("image/jpeg", None)
                    if "image/png" in data:
                        data["image/png"] = reduced(data["image/png"])
                    if "text" in output:  # paths of this run
                        output["text"] = output["text"].replace(folder, "")
                if cell.cell_type == "code":
                    cell["outputs"] = shown
        notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
