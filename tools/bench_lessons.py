#!/usr/bin/env python3
"""How long a person waits for guesses in the page, over HTTP as the page asks: seconds, of the clock and of processes.

    tools/bench_lessons.py [--data DATA] [--images 34]

DATA holds camvid; default: $SEGSPECTRAL_DATA, else ../shared/data. A project has so many images of CamVid val, spread
over the split. Discs around 20 clicks in each of three images are painted; then a fourth image is, and then ten are
painted whole, as the truth says. The seconds are from the press of Teach until every guess is fetched; those of process
time are of the workers (Linux).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from scipy import ndimage

from segspectral.evaluation.datasets import open_dataset
from segspectral.pipeline import Pipeline
from segspectral.web import Limits, Workers, create_app
from segspectral.web.labelling import Class, Project

RADIUS = 4
"""Of a disc, in pixels."""

CLICKS, FIRST, WHOLE = 20, 3, 10


def discs(truth: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Discs around clicks, each of a class that is drawn among those of the image, within the class."""
    painted = np.zeros_like(truth)
    for of in rng.choice(np.unique(truth[truth > 0]), CLICKS):
        at = np.zeros(truth.shape, bool)
        at.flat[rng.choice(np.flatnonzero(truth == of))] = True
        painted[(ndimage.distance_transform_edt(~at) <= RADIUS) & (truth == of)] = of
    return painted


class Desk:
    """A project that is painted and taught."""

    def __init__(self, client: Any, project: Project, workers: Workers) -> None:
        self.workers = workers
        self.client, self.at, self.images = client, f"/api/projects/{project.id}", len(project)
        self.revisions = [0] * self.images

    def paint(self, number: int, labels: NDArray[np.uint8]) -> None:
        query = {"height": labels.shape[0], "width": labels.shape[1], "revision": self.revisions[number]}
        answer = self.client.put(f"{self.at}/images/{number}/labels", content=zlib.compress(labels), params=query)
        assert answer.status_code == 200, answer.text
        self.revisions[number] += 1

    def prepare(self) -> None:
        begin, spent = time.perf_counter(), self._spent()
        while self.client.post(f"{self.at}/lesson/preparation").json()["left"] or self._busy():
            time.sleep(0.05)
        self._print(f"{self.images} images are described one by one", begin, spent)

    def _print(self, what: str, begin: float, spent: float, more: str = "") -> None:
        clock = time.perf_counter() - begin
        print(f"{what}: {clock:.1f} s, {self._spent() - spent:.1f} s of process time{more}", flush=True)

    def _spent(self) -> float:
        """Seconds of process time of all workers so far."""
        total = 0
        for worker in self.workers._all:
            if worker._process is not None:
                fields = Path(f"/proc/{worker._process.pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def _busy(self) -> bool:
        jobs = self.client.get("/api/health").json()["jobs"]
        return bool(jobs["queued"] + jobs["running"])

    def teach(self, what: str, truths: list[NDArray[np.uint8]]) -> None:
        begin, before = time.perf_counter(), self._spent()
        state = self.client.post(f"{self.at}/lesson").json()
        while state["status"] in ("queued", "running"):
            time.sleep(0.05)
            state = self.client.get(f"{self.at}/lesson").json()
        assert state["status"] == "done", state
        found = [self.client.get(f"{self.at}/images/{n}/guess").content for n in range(self.images)]
        right = [
            (np.frombuffer(data, np.uint8).reshape(truth.shape) == truth)[truth > 0].mean()
            for data, truth in zip(found, truths, strict=True)
        ]
        self._print(what, begin, before, f"; {np.mean(right):.2f} of the pixels of an image are right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--images", type=int, default=34)
    arguments = parser.parse_args()
    data = open_dataset("camvid", arguments.data / "camvid", split="val")
    step = max(1, len(data.samples) // arguments.images)
    samples = data.samples[::step][: arguments.images]
    truths = [sample.truth().labels[0].astype(np.int64) for sample in samples]
    known = [np.where(truth == data.void, 0, truth + 1).astype(np.uint8) for truth in truths]
    rng, workers = np.random.default_rng(0), Workers(Pipeline(), Limits())
    workers.prepare()
    with tempfile.TemporaryDirectory() as folder:
        for prepared in (False, True):
            classes = [
                Class(number=n, name=name, colour=f"#{n:02d}{n:02d}00") for n, name in enumerate(data.classes, start=1)
            ]
            project = Project(Path(folder) / str(prepared), classes=classes)
            project.folder.mkdir()
            project.add((sample.image, sample.image.name) for sample in samples)
            with TestClient(create_app(workers=workers, project=project), base_url="http://127.0.0.1") as client:
                desk = Desk(client, project, workers)
                for number in range(FIRST):
                    desk.paint(number, discs(known[number], rng))
                if prepared:
                    desk.prepare()
                desk.teach("the first teaching", known)
                if not prepared:
                    continue
                desk.paint(FIRST, discs(known[FIRST], rng))
                desk.teach("again, with one more image", known)
                for number in range(WHOLE):
                    desk.paint(number, known[number])
                desk.teach(f"again, with {WHOLE} images painted whole", known)
    workers.close()


if __name__ == "__main__":
    main()
