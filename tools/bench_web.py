"""Measure the page under load, and large galleries.

    python tools/bench_web.py [--clients 20] [--rounds 3] [--megapixels 1] [--set NAME=VALUE] [--galleries 1000,10000]

1. ``segspectral serve``; CLIENTS clients at once, each of which uploads an image, follows its stages, fetches its
   pictures and labels, cuts the hierarchy and exports COCO, ROUNDS times. Prints failures, how long the start page and
   a health check took meanwhile, and the server's memory after each round.
2. Seconds from opening a gallery to its first pictures and last script, in headless Chromium.

Needs the extra ``web``, httpx and, for the second, playwright and Chromium. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import PIL.Image

SAMPLES = Path(__file__).parents[1] / "sample_images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of segspectral serve")
    parser.add_argument("--galleries", default="1000,10000", help="numbers of images; empty for none")
    given = parser.parse_args()
    if given.clients:
        load(given.clients, given.rounds, given.megapixels, given.set)
    for count in map(int, filter(None, given.galleries.split(","))):
        gallery(count)


def load(clients: int, rounds: int, megapixels: float, settings: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "segspectral", "serve", "--port", str(port)]
    server = subprocess.Popen([*command, *(word for one in settings for word in ("--set", one))])
    try:
        wait_for(address)
        print(f"server: {memory(server.pid, 'VmRSS'):.0f} MB before the first image")
        pictures = [picture(i, megapixels) for i in range(clients)]
        for number in range(1, rounds + 1):
            faults: list[str] = []
            threads = [threading.Thread(target=client, args=(address, data, faults)) for data in pictures]
            begin = time.perf_counter()
            for thread in threads:
                thread.start()
            waits: dict[str, list[float]] = {"/": [], "/api/health": []}
            while any(thread.is_alive() for thread in threads):
                for path, taken in waits.items():
                    start = time.perf_counter()
                    httpx.get(address + path, timeout=60).raise_for_status()
                    taken.append(time.perf_counter() - start)
                time.sleep(0.2)
            seconds = time.perf_counter() - begin
            slow = ", ".join(
                f"{path} median {np.median(taken):.3f} s, 95 % {np.quantile(taken, 0.95):.3f}, most {max(taken):.3f}"
                for path, taken in waits.items()
            )
            print(
                f"round {number}: {clients} clients in {seconds:.1f} s, {len(faults)} failed; {slow}; server "
                f"{memory(server.pid, 'VmRSS'):.0f} MB, peak {memory(server.pid, 'VmHWM'):.0f} MB"
            )
            for fault in faults[:3]:
                print(f"  {fault}")
    finally:
        server.terminate()
        server.wait()


def client(address: str, data: bytes, faults: list[str]) -> None:
    """Do everything that a visitor of the page does."""
    try:
        with httpx.Client(base_url=address, timeout=300) as http:
            http.get("/").raise_for_status()
            job = http.post("/api/jobs", files={"file": ("photo.jpg", data)}).raise_for_status().json()["id"]
            with http.stream("GET", f"/api/jobs/{job}/events") as events:
                states = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
            if states[-1]["status"] != "done":
                raise RuntimeError(states[-1]["error"] or states[-1]["status"])
            for path in ("image", "labels", "superpixels", "hierarchy", "overlay.png", "eigenvectors/2.png"):
                http.get(f"/api/jobs/{job}/{path}").raise_for_status()
            http.post(f"/api/jobs/{job}/edits", json={"action": "cut", "segments": 20}).raise_for_status()
            http.get(f"/api/jobs/{job}/export/coco").raise_for_status()
    except Exception as error:  # whatever it is, it is a client that failed
        faults.append(f"{type(error).__name__}: {error}")


def picture(number: int, megapixels: float) -> bytes:
    """Return a JPEG, which differs for each number."""
    side = round((megapixels * 1e6 / 12) ** 0.5)
    files = sorted(SAMPLES.glob("*.jpg"))
    with PIL.Image.open(files[number % len(files)]) as image:
        image = image.convert("RGB").rotate(number).resize((4 * side, 3 * side))
        image.save(buffer := io.BytesIO(), "JPEG", quality=90)
    return buffer.getvalue()


def memory(process: int, what: str) -> float:
    """Return the memory of a process in megabytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1000


def wait_for(address: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            httpx.get(f"{address}/api/health")
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit("the server does not answer")


def gallery(count: int) -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        command = [
            sys.executable,
            "-m",
            "segspectral",
            "segment",
            str(SAMPLES / "coffee.jpg"),
            "-o",
            str(out),
            "-k",
            "5",
        ]
        subprocess.run([*command, "--set", "features.cnn=null"], check=True, stdout=subprocess.DEVNULL)
        summary = json.loads((out / "coffee.json").read_text())
        for i in range(1, count):
            shutil.copy(out / "coffee_overlay.png", out / f"image{i}_overlay.png")
            (out / f"image{i}.json").write_text(json.dumps(summary | {"image": f"image{i}.jpg", "segments": 2 + i % 9}))
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "segspectral", "report", str(out)], check=True, stdout=subprocess.DEVNULL)
        made = time.perf_counter() - begin
        taken = []
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for _ in range(5):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                begin = time.perf_counter()
                page.goto((out / "index.html").as_uri())
                page.wait_for_function(
                    "[...document.querySelectorAll('#cards img')].slice(0, 8).every(i => i.naturalWidth > 0)"
                )
                taken.append(time.perf_counter() - begin)
                page.close()
            browser.close()
        size = (out / "index.html").stat().st_size / 1e6
        print(
            f"gallery of {count} images, {size:.1f} MB, made in {made:.1f} s: opens in {np.median(taken):.2f} s "
            f"(median of 5; first {taken[0]:.2f}, most {max(taken):.2f})"
        )


if __name__ == "__main__":
    main()
