"""What batches promise, at full size: kills, broken files, throughput, memory, a large raster.

    python tools/bench_batch.py kills --images FOLDER --count 2000 --kills 20 --engine processes
    python tools/bench_batch.py mutants --images FOLDER --count 500
    python tools/bench_batch.py throughput --images FOLDER --count 60
    python tools/bench_batch.py memory --images FOLDER --count 1000
    python tools/bench_batch.py raster --images FOLDER --side 10000 --compare 512 2048

FOLDER holds photographs, at any depth; small images are cropped from them. Everything is written below --work, which
is removed afterwards unless --keep is given. Each prints its figures, and ends with exit code 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
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
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="processes")
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--compare", type=int, nargs=2, default=None, metavar="TILE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="segspectral-bench-", dir=arguments.work))
    try:
        ok = PROMISES[arguments.promise](arguments, work)
    finally:
        if not arguments.keep:
            shutil.rmtree(work)
    sys.exit(0 if ok else 1)


def kills(arguments: argparse.Namespace, work: Path) -> bool:
    """SIGKILL at random moments, resume: one done record each, and the bytes of an undisturbed run."""
    folder, rng = crops(arguments, work / "in", (40, 56)), random.Random(arguments.seed)
    calm, out = work / "calm", work / "out"
    begin = time.monotonic()
    batch(folder, calm, "-j", "2", *FAST)
    whole = time.monotonic() - begin
    killed = 0
    for turn in range(arguments.kills):
        # Spread over the whole of the work, each at a moment that nothing in the program knows.
        goal = done_count(out) + rng.randint(0, max(1, 2 * arguments.count // arguments.kills - 5))
        process = subprocess.Popen(command(folder, out, *ENGINES[arguments.engine], *FAST), stderr=subprocess.DEVNULL)
        while process.poll() is None and done_count(out) < min(goal, arguments.count - 1):
            time.sleep(0.01)
        time.sleep(rng.random() * 0.2)
        killed += process.poll() is None
        process.kill()
        process.wait()
        print(f"kill {turn + 1}: {done_count(out)} done", flush=True)
    batch(folder, out, *ENGINES[arguments.engine], *FAST)
    done = Counter(done_names(out))
    once = len(done) == arguments.count and set(done.values()) == {1}
    equal = contents(calm) == contents(out)
    left = list(out.rglob(".*"))
    print(
        f"{arguments.engine}: {arguments.count} images, {killed} kills; one done record each: {once}; "
        f"equal bytes: {equal}; files left over: {len(left)}; an undisturbed run takes {whole:.0f} s"
    )
    return once and equal and not left


def mutants(arguments: argparse.Namespace, work: Path) -> bool:
    """Truncated, flipped, mislabelled files: each has an outcome, and the run ends by itself."""
    folder, rng = crops(arguments, work / "in", (64, 80)), random.Random(arguments.seed)
    for path in sorted(folder.iterdir()):
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
        path.write_bytes(data)
    begin = time.monotonic()
    batch(folder, work / "out", "-j", "2", "--timeout", "30", *FAST, codes=(0, 1))
    ends = Counter(record["status"] for record in records(work / "out"))
    defects = sum("should be reported" in record.get("reason", "") for record in records(work / "out"))
    print(f"{arguments.count} mutants in {time.monotonic() - begin:.0f} s: {dict(ends)}, unforeseen errors: {defects}")
    return sum(ends.values()) == arguments.count and not (ends["crashed"] or ends["timed out"] or defects)


def throughput(arguments: argparse.Namespace, work: Path) -> bool:
    """Two workers against one, by the default pipeline, without the seconds in which they start."""
    folder = crops(arguments, work / "in", (240, 320))
    rates = {}
    for jobs in (1, 2):
        batch(folder, work / f"out{jobs}", "-j", str(jobs))
        times = [record["time"] for record in records(work / f"out{jobs}")]
        rates[jobs] = (len(times) - 2) / (times[-1] - times[1])
        print(f"{jobs} workers: {rates[jobs]:.3f} images/s", flush=True)
    print(f"ratio {rates[2] / rates[1]:.2f} (promised: 1.7 on two idle cores)")
    return rates[2] / rates[1] >= 1.7


def memory(arguments: argparse.Namespace, work: Path) -> bool:
    """A worker's memory after all images against that after 50."""
    folder = crops(arguments, work / "in", (120, 160))
    pipeline = ["--set", "superpixels.count=100", "--refine", "guided"]
    process = subprocess.Popen(command(folder, work / "out", "-j", "1", *pipeline), stderr=subprocess.DEVNULL)
    early = late = 0.0
    while process.poll() is None:
        done = done_count(work / "out")
        size = sum(map(resident, children(process.pid)))
        if done >= 50 and not early:
            early = size
        late = size or late
        time.sleep(0.5)
    print(f"a worker: {early:.0f} MB after 50 images, {late:.0f} MB after {arguments.count}: {late / early - 1:+.1%}")
    return late <= 1.1 * early


def raster(arguments: argparse.Namespace, work: Path) -> bool:
    """A large GeoTIFF: memory, place on Earth, and that the size of the tiles does not matter."""
    import rasterio
    from sklearn.metrics import adjusted_rand_score

    source = mosaic(arguments, work / "mosaic.tif")
    ok, maps = True, {}
    for tile in arguments.compare or (1024,):
        out = work / f"out{tile}"
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        begin = time.monotonic()
        options = ["--tile", str(tile), "-k", "6", "--refine", "guided", "-j", "0", "--timeout", "0"]
        batch(source, out, *options)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        (record,) = (r for r in records(out) if r["status"] == "done")
        print(
            f"tiles of {tile}: {time.monotonic() - begin:.0f} s {record['stages']}, "
            f"peak {'at most ' if peak == before else ''}{peak / 1e6:.2f} GB",
            flush=True,
        )
        ok &= peak * 1024 < 2 * 2**30
        with rasterio.open(source) as a, rasterio.open(out / "mosaic.tif_labels.tif") as b:
            ok &= a.crs == b.crs and a.transform == b.transform
            maps[tile] = b.read(1)
            print(f"  CRS {b.crs}, transform kept: {a.transform == b.transform}, nodata {b.nodata}")
    for tile, labels in maps.items():
        shares = ", ".join(f"{share:.2f}" for share in np.bincount(labels.ravel()) / labels.size)
        print(f"tiles of {tile}: shares of void and segments {shares}")
        if tile < max(labels.shape):
            print(f"  label changes where tiles meet, over those elsewhere: {seams(labels, tile):.2f}")
    if len(maps) == 2:
        first, second = (labels[::3, ::3].ravel() for labels in maps.values())
        agreement = adjusted_rand_score(first, second)
        print(f"ARI between the two: {agreement:.3f} (promised: 0.95)")
        ok &= agreement >= 0.95
    return ok


def seams(labels: NDArray[Any], tile: int) -> float:
    """Label changes per pixel along the columns and rows where tiles begin, over those elsewhere."""
    from segspectral.tiles import Tiles, superpixel_side

    size = tile // (side := superpixel_side(labels.shape, 600, Tiles())) * side
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    at = np.concatenate([across[:, size - 1 :: size].ravel(), down[size - 1 :: size].ravel()]).mean()
    return float(at / np.concatenate([across.ravel(), down.ravel()]).mean())


def mosaic(arguments: argparse.Namespace, path: Path) -> Path:
    """A GeoTIFF of side x side pixels: three of the images, each mirrored over all of it, that fade into each other.

    Mirrored and faded, so that it has no straight edges of its own; a disk of it holds no data.
    """
    import rasterio

    rng = np.random.default_rng(arguments.seed)
    sources, side, size = pictures_in(arguments.images), arguments.side, 900
    chosen = [sources[i] for i in rng.permutation(len(sources))[:3]]
    pictures = [np.asarray(PIL.Image.open(p).convert("RGB").resize((size, size)), np.float32) for p in chosen]
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "tiled": True}
    place = rasterio.transform.from_origin(3.7e5, 5.8e6, 0.3, 0.3)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=place, nodata=0, compress="deflate", **profile) as file:
        for top in range(0, side, 512):
            for left in range(0, side, 512):
                window = ((top, min(top + 512, side)), (left, min(left + 512, side)))
                rows, cols = (np.arange(*span, dtype=np.float32) for span in window)
                at = [np.abs((axis.astype(int) + size) % (2 * size) - size) % size for axis in (rows, cols)]
                waves = [
                    3 * np.sin(rows[:, None] / (410 + 90 * i) + i) * np.cos(cols[None] / (530 - 70 * i) - 2 * i)
                    for i in range(3)
                ]
                weights = np.exp(waves) / np.exp(waves).sum(axis=0)
                block = sum(w[..., None] * p[np.ix_(*at)] for w, p in zip(weights, pictures, strict=True))
                block = np.clip(block, 1, 255)
                block[np.hypot(rows[:, None] - side / 3, cols[None] - side / 2) < side / 15] = 0
                file.write(np.moveaxis(block, -1, 0).astype(np.uint8), window=window)
    return path


def crops(arguments: argparse.Namespace, folder: Path, size: tuple[int, int]) -> Path:
    """Small PNG and JPEG files, cropped at random places."""
    folder.mkdir(parents=True)
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
        PIL.Image.fromarray(array).save(folder / f"{index:05}.{('png', 'jpg')[index % 2]}")
    return folder


def pictures_in(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png", ".tif"))
    return found or sys.exit(f"{folder}: no images")  # type: ignore[return-value]


def command(source: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "segspectral", "batch", str(source), "-o", str(out), *options]


def batch(source: Path, out: Path, *options: str, codes: tuple[int, ...] = (0,)) -> None:
    ended = subprocess.run(command(source, out, *options), stderr=subprocess.PIPE, text=True)
    if ended.returncode not in codes:
        sys.exit(f"exit code {ended.returncode}: {ended.stderr[-2000:]}")


def records(out: Path) -> list[dict[str, Any]]:
    """The records of images, without those that only say that one was begun."""
    path = out / "journal.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [r for r in map(json.loads, lines) if r.get("status") not in (None, "started", "reset")]


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


def resident(pid: int) -> float:
    """Memory of a process in MB, 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


PROMISES = {"kills": kills, "mutants": mutants, "throughput": throughput, "memory": memory, "raster": raster}

if __name__ == "__main__":
    main()
