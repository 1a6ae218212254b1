"""Test the promises of batches at full size: kills, broken files, throughput, memory, a large raster.

    python tools/bench_batch.py kills --images FOLDER --count 2000 --kills 20 --engine processes
    python tools/bench_batch.py mutants --images FOLDER --count 500
    python tools/bench_batch.py throughput --images FOLDER --count 60
    python tools/bench_batch.py memory --images FOLDER --count 1000
    python tools/bench_batch.py raster --images FOLDER... --side 10000 --compare 512 2048

A FOLDER has photographs at any depth; small images are cropped from them. Everything is written to a temporary folder,
or to --work, which is kept: images, the undisturbed run and rasters that exist there are not made again. Each command
prints its figures and ends with exit code 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

FAST = ["-k", "3", "--head", "exact", "--refine", "none", "--set", "superpixels.count=40"]
FAST += ["--set", "features={cnn: null, texture: null}"]
ENGINES = {"in-process": ["-j", "0"], "processes": ["-j", "2"], "dask": ["--dask", "local:2"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("promise", choices=sorted(PROMISES))
    parser.add_argument("--images", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="processes")
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--compare", type=int, nargs=2, default=None, metavar="TILE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", default=None, help="for kills: formats that are written too")
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="segspectral-bench-"))
    try:
        ok = PROMISES[arguments.promise](arguments, work)
    finally:
        if not arguments.work:
            shutil.rmtree(work)
    sys.exit(0 if ok else 1)


def kills(arguments: argparse.Namespace, work: Path) -> bool:
    """Kill the batch at random moments and resume it: each image has one done record and the usual bytes."""
    folder, rng = crops(arguments, work, (40, 56)), random.Random(arguments.seed)
    calm, out = work / "calm", empty(work / f"out-{arguments.engine}")
    options = FAST + (["--format", arguments.format] if arguments.format else [])
    batch(folder, calm, "-j", "2", *options)
    go = command(folder, out, *ENGINES[arguments.engine], *options)
    killed = starts = 0
    while killed < arguments.kills:
        # Spread over the whole of the work, each at a moment that nothing in the program knows.
        before = done_count(out)
        goal = before + rng.randint(0, 2 * (arguments.count - before) // (arguments.kills - killed + 1))
        goal = before if rng.random() < 0.2 else goal  # or while it starts
        process = subprocess.Popen(go, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and done_count(out) < goal:
            time.sleep(0.002)
        time.sleep(rng.random() * (5 if goal == before else 0.1))
        process.kill()
        died = process.wait() == -signal.SIGKILL
        killed += died
        starts += died and done_count(out) == before
        if done_count(out) == arguments.count:
            break
    rest = arguments.count - done_count(out)
    batch(folder, out, *ENGINES[arguments.engine], *options)
    done = Counter(done_names(out))
    once = len(done) == arguments.count and set(done.values()) == {1}
    equal = contents(calm) == contents(out)
    left = list(out.rglob(".*"))
    print(
        f"{arguments.engine}: {arguments.count} images, {killed} kills ({starts} of them before an image was done, the "
        f"last with {rest} images left); one done record each: {once}; {len(contents(out))} files of bytes equal to "
        f"an undisturbed run's: {equal}; temporary files left: {len(left)}"
    )
    return killed == arguments.kills and once and equal and not left


def mutants(arguments: argparse.Namespace, work: Path) -> bool:
    """Run on truncated, altered and wrongly named files: each has an outcome, and the run ends by itself."""
    sound, rng = crops(arguments, work, (64, 80), ("png", "jpg", "tif", "webp", "bmp")), random.Random(arguments.seed)
    folder = empty(work / "mutants")
    folder.mkdir()
    for path in sorted(sound.iterdir()):
        data = bytearray(path.read_bytes())
        kind = rng.choice(["cut", "flip", "header", "sizes", "tail"])
        if kind == "cut":
            del data[rng.randrange(len(data)) :]
        elif kind == "flip":
            for _ in range(rng.randint(1, 40)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == "header":
            data[: rng.randint(1, 16)] = rng.choice(
                [b"GIF89a", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", b"BM"]
            )
        elif kind == "sizes":  # of a PNG: width and height; of others: bytes early in the file
            data[16:24] = rng.randbytes(8)
        else:
            data += rng.randbytes(rng.randint(1, 5000))
        (folder / path.name).write_bytes(data)
    begin = time.monotonic()
    out = empty(work / "out")
    batch(folder, out, "-j", "2", "--timeout", "30", *FAST, codes=(0, 1))
    ends = Counter(record["status"] for record in records(out))
    defects = sum("should be reported" in record.get("reason", "") for record in records(out))
    print(f"{arguments.count} mutants in {time.monotonic() - begin:.0f} s: {dict(ends)}, unforeseen errors: {defects}")
    return sum(ends.values()) == arguments.count and not (ends["crashed"] or ends["timed out"] or defects)


def throughput(arguments: argparse.Namespace, work: Path) -> bool:
    """Compare two workers with one under the default pipeline; the seconds in which they start do not count.

    On a machine with other work the ratio of the rates says little; that of the processor time per image says what it
    would be on idle cores, but for what the workers wait for each other.
    """
    folder = crops(arguments, work, (240, 320))
    rates, costs = {}, {}
    for jobs in (1, 2):
        out = empty(work / f"out{jobs}")
        process = subprocess.Popen(command(folder, out, "-j", str(jobs)), stderr=subprocess.DEVNULL)
        points = []
        while process.poll() is None:
            # After a worker has ended it counts no more; the last point of all is the last with all of them.
            points.append((done_count(out), sum(map(processor_seconds, [process.pid, *children(process.pid)]))))
            time.sleep(0.2)
        done = [point for point in points if 5 <= point[0] < arguments.count]
        costs[jobs] = (done[-1][1] - done[0][1]) / (done[-1][0] - done[0][0])
        times = [record["time"] for record in records(out)[-arguments.count :]]
        rates[jobs] = (len(times) - 5) / (times[-1] - times[4])
        print(
            f"{jobs} workers: {rates[jobs]:.3f} images/s, {costs[jobs]:.3f} s of processor time per image (all "
            f"processes), load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    print(
        f"ratio {rates[2] / rates[1]:.2f} (promised: 1.7 on two idle cores); by processor time "
        f"{2 * costs[1] / costs[2]:.2f}"
    )
    return rates[2] / rates[1] >= 1.7


def memory(arguments: argparse.Namespace, work: Path) -> bool:
    """Compare the memory of a worker after all images with that after 50 images."""
    folder = crops(arguments, work, (120, 160))
    pipeline = ["--set", "superpixels.count=100", "--refine", "guided"]
    out = empty(work / "out")
    process = subprocess.Popen(command(folder, out, "-j", "1", *pipeline), stderr=subprocess.DEVNULL)
    early = late = 0.0
    while process.poll() is None:
        done = done_count(out)
        size = sum(map(resident, children(process.pid)))
        if done >= 50 and not early:
            early = size
        late = size or late
        time.sleep(0.5)
    print(f"a worker: {early:.0f} MB after 50 images, {late:.0f} MB after {arguments.count}: {late / early - 1:+.1%}")
    return late <= 1.1 * early


def raster(arguments: argparse.Namespace, work: Path) -> bool:
    """Segment a large GeoTIFF: check its memory, its georeference, and that the size of the tiles does not matter."""
    import rasterio
    from sklearn.metrics import adjusted_rand_score

    from segspectral.rasters.segment import BLOCK, Grid, Tiles

    source = mosaic(arguments, work / "mosaic.tif")
    ok, maps = True, {}
    for tile in arguments.compare or (1024,):
        out, kept = work / f"out{tile}", work / f"out{tile}.json"
        if not kept.exists():
            before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            options = ["--tile", str(tile), "-k", "6", "--refine", "guided", "-j", "0"]
            batch(source, empty(out), *options)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            (record,) = (r for r in records(out) if r["status"] == "done")
            figures = {"seconds": time.monotonic() - begin, "cpu": after.ru_utime - before.ru_utime}
            figures |= {"peak": after.ru_maxrss * 1024, "stages": record["stages"]}
            if after.ru_maxrss == before.ru_maxrss:
                print(f"tiles of {tile}: no more memory than the tiles before")
            kept.write_text(json.dumps(figures))
        figures = json.loads(kept.read_text())
        print(
            f"tiles of {tile}: {figures['seconds']:.0f} s ({figures['cpu']:.0f} s of one core), {figures['stages']}, "
            f"peak memory at most {figures['peak'] / 2**30:.2f} GiB",
            flush=True,
        )
        ok &= figures["peak"] < 2 * 2**30
        with rasterio.open(source) as a, rasterio.open(out / "mosaic.tif_labels.tif") as b:
            ok &= a.crs == b.crs and a.transform == b.transform and a.shape == b.shape
            maps[tile] = b.read(1)
            print(f"  CRS {b.crs}, equal: {a.crs == b.crs}; transform equal: {a.transform == b.transform}")
    for tile, labels in maps.items():
        shares = ", ".join(f"{share:.2f}" for share in np.bincount(labels.ravel()) / labels.size)
        print(f"tiles of {tile}: shares of void and segments {shares}")
        grid = Grid.of(labels.shape, 600, Tiles(tile=tile))
        for what, cells in (("tiles", grid.tile), ("blocks of the refinement", BLOCK)):
            ratio, (low, high) = seams(labels, cells * grid.factor, grid.side * grid.factor)
            print(f"  label changes where {what} meet, over those of all: {ratio:.2f} (moved: {low:.2f} to {high:.2f})")
            ok &= ratio <= 1.1 * high
    if len(maps) == 2:
        first, second = (labels[::3, ::3].ravel() for labels in maps.values())
        agreement = adjusted_rand_score(first, second)
        print(f"ARI between the two: {agreement:.3f} (promised: 0.95)")
        ok &= agreement >= 0.95
    return ok


def seams(labels: NDArray[Any], size: int, side: int) -> tuple[float, tuple[float, float]]:
    """Return the label changes per pixel where tiles begin, as a ratio to those of all pixels.

    The second value is the range of this ratio when the tiles are moved by whole superpixels.
    """
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    by_column, by_row = across.mean(axis=0), down.mean(axis=1)

    def ratio(first: int) -> float:
        at = np.concatenate([by_column[first::size], by_row[first::size]])
        return float(at.mean() / np.concatenate([by_column, by_row]).mean())

    moved = [ratio(first) for first in range(side - 1, size - 1, side)]
    return ratio(size - 1), (min(moved), max(moved))


def mosaic(arguments: argparse.Namespace, path: Path) -> Path:
    """A GeoTIFF of side x side pixels: the images at their own size, each mirrored over all of it, that fade into each
    other in patches of about a thousand pixels.

    Mirrored and faded, so that it has no straight edges of its own; a disk of it holds no data.
    """
    import rasterio
    from scipy.ndimage import map_coordinates

    if path.exists():
        return path
    rng, side = np.random.default_rng(arguments.seed), arguments.side
    opened = [PIL.Image.open(p) for p in pictures_in(arguments.images)]
    pictures = [np.asarray(p.convert("RGB"), np.float32) for p in opened if min(p.size) >= 250 and p.mode == "RGB"]
    patches = rng.normal(0, 4, (len(pictures), side // 1000 + 2, side // 1000 + 2))
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "tiled": True}
    place = rasterio.transform.from_origin(3.7e5, 5.8e6, 0.3, 0.3)
    partial = path.with_name("mosaic.partial.tif")
    with rasterio.open(
        partial, "w", crs="EPSG:32633", transform=place, nodata=0, compress="deflate", **profile
    ) as file:
        for top in range(0, side, 512):
            for left in range(0, side, 512):
                window = ((top, min(top + 512, side)), (left, min(left + 512, side)))
                rows, cols = (np.arange(*span) for span in window)
                at = np.meshgrid(rows / 1000, cols / 1000, indexing="ij")
                weights = np.exp([map_coordinates(patch, at, order=3) for patch in patches]).astype(np.float32)
                weights /= weights.sum(axis=0)
                block = np.zeros((len(rows), len(cols), 3), np.float32)
                for weight, picture in zip(weights, pictures, strict=True):
                    block += weight[..., None] * picture[np.ix_(*map(mirrored, (rows, cols), picture.shape))]
                block = np.clip(block, 1, 255)
                block[np.hypot(rows[:, None] - side / 3, cols[None] - side / 2) < side / 15] = 0
                file.write(np.moveaxis(block, -1, 0).astype(np.uint8), window=window)
    return partial.rename(path)


def mirrored(at: NDArray[Any], length: int) -> NDArray[Any]:
    """0, 1, ..., length - 1, length - 1, ..., 1, 0, 0, 1, ...

    >>> mirrored(np.arange(7), 3).tolist()
    [0, 1, 2, 2, 1, 0, 0]
    """
    within = at % (2 * length)
    return np.minimum(within, 2 * length - 1 - within)


def crops(
    arguments: argparse.Namespace, work: Path, size: tuple[int, int], kinds: tuple[str, ...] = ("png", "jpg")
) -> Path:
    """Write small files of these formats, cropped at random places."""
    folder = work / f"{arguments.count}-{size[0]}x{size[1]}-{'-'.join(kinds)}"
    if folder.exists():
        return folder
    partial = folder.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    rng, sources = np.random.default_rng(arguments.seed), pictures_in(arguments.images)
    pictures = [PIL.Image.open(p).convert("RGB") for p in sources[:200]]
    pictures = [p for p in pictures if p.width >= size[1] and p.height >= size[0]]
    for index in range(arguments.count):
        picture = pictures[index % len(pictures)]
        left = int(rng.integers(picture.width - size[1] + 1))
        top = int(rng.integers(picture.height - size[0] + 1))
        crop = picture.crop((left, top, left + size[1], top + size[0]))
        array = np.array(crop)
        array[0, 0], array[0, 1] = 0, 255  # never of one colour
        PIL.Image.fromarray(array).save(partial / f"{index:05}.{kinds[index % len(kinds)]}")
    return partial.rename(folder)


def pictures_in(folders: list[Path]) -> list[Path]:
    found = sorted(p for f in folders for p in f.rglob("*") if p.suffix.lower() in (".jpg", ".png", ".tif"))
    return found or sys.exit(f"{folders}: no images")  # type: ignore[return-value]


def command(source: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "segspectral", "batch", str(source), "-o", str(out), *options]


def batch(source: Path, out: Path, *options: str, codes: tuple[int, ...] = (0,)) -> None:
    ended = subprocess.run(command(source, out, *options), stderr=subprocess.PIPE, text=True)
    if ended.returncode not in codes:
        sys.exit(f"exit code {ended.returncode}: {ended.stderr[-2000:]}")


def records(out: Path) -> list[dict[str, Any]]:
    """Return the records of images, without those which only say that an image was started."""
    path = out / "journal.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [r for r in map(json.loads, lines) if r.get("status") not in (None, "started", "reset")]


def empty(out: Path) -> Path:
    """Remove a folder, so that a measurement starts without results."""
    if out.exists():
        shutil.rmtree(out)
    return out


def done_names(out: Path) -> list[str]:
    return [record["image"] for record in records(out) if record["status"] == "done"]


def done_count(out: Path) -> int:
    path = out / "journal.jsonl"
    return path.read_bytes().count(b'"status":"done"') if path.exists() else 0


def contents(out: Path) -> dict[str, bytes]:
    files = (p for p in out.rglob("*") if p.is_file() and p.name != "journal.jsonl")
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in files}


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children")
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children") if text.parent.exists() else []:
        found += [int(child) for child in task.read_text().split()]
    return found


def processor_seconds(pid: int) -> float:
    """Return the CPU seconds of all threads of a process so far; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Return the memory of a process in MB; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


PROMISES = {"kills": kills, "mutants": mutants, "throughput": throughput, "memory": memory, "raster": raster}

if __name__ == "__main__":
    main()
