"""Segment a large raster of many bands in tiles, and measure seconds and memory.

    python tools/bench_rasters.py --work FOLDER
    python tools/bench_rasters.py --work FOLDER --side 4000 -- --hierarchy -k 12 --format gpkg,csv

The raster is made once: like a scene of Sentinel-2, it has 13 bands of 16 bits, fields, forests, water and roofs with
spectra of their own and noise, a corner without data, and a place. What follows ``--`` are options of
``segspectral segment``. The figures are those of the whole command, with the largest process of it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BANDS = 13
KINDS = 7
BLOCK = 1024
LIMIT = 2.5


def main() -> None:
    own, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--side", type=int, default=10_000)
    arguments = parser.parse_args(own.split())
    source, out = scene(arguments.work, arguments.side), arguments.work / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "segspectral", "segment", str(source), "-o", str(out), *options.split()]
    begin = time.monotonic()
    done = subprocess.run(command, check=False)
    seconds, used = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    for path in sorted(out.iterdir()):
        print(f"  {path.name}: {path.stat().st_size / 1e6:.1f} MB")
    peak = used.ru_maxrss / 2**20
    print(
        f"{arguments.side}² x {BANDS} bands: {seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of "
        f"one core), peak {peak:.2f} GiB (promised: below {LIMIT})"
    )
    sys.exit(done.returncode or peak >= LIMIT)


def scene(folder: Path, side: int) -> Path:
    """The raster; it is made if it is not there."""
    import rasterio

    path = folder / f"scene-{side}.tif"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    spectra = rng.uniform(300, 4000, (KINDS, BANDS)).astype(np.float32)
    # For each kind of land, heights on a coarse grid; the highest one is what there is.
    heights = rng.normal(size=(KINDS, side // 60 + 4, side // 60 + 4)).astype(np.float32)
    profile: dict[str, Any] = {"driver": "GTiff", "height": side, "width": side, "count": BANDS, "dtype": "uint16"}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1, "nodata": 0}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5.6e6), "BIGTIFF": "IF_SAFER"}
    partial = path.with_name("partial.tif")
    with rasterio.open(partial, "w", **profile) as out:
        for top in range(0, side, BLOCK):
            for left in range(0, side, BLOCK):
                rows, cols = (np.arange(first, min(first + BLOCK, side)) for first in (top, left))
                values = spectra[kinds(heights, rows, cols)]
                values += rng.normal(0, 120, values.shape).astype(np.float32)
                values = np.clip(values, 1, 10_000).astype(np.uint16)
                values[rows[:, None] + cols[None] < side // 5] = 0
                out.write(np.moveaxis(values, -1, 0), window=((top, rows[-1] + 1), (left, cols[-1] + 1)))
    return partial.rename(path)


def kinds(heights: NDArray[np.float32], rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[np.int64]:
    """(h, w) the kind of land of pixels."""
    from scipy.ndimage import map_coordinates

    at = np.meshgrid(rows / 60 + 1, cols / 60 + 1, indexing="ij")
    return np.argmax([map_coordinates(one, at, order=1) for one in heights], axis=0)


if __name__ == "__main__":
    main()
