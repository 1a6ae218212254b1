"""Comparison of evaluations: is one better than another, or only luckier with its images?

Two evaluations of the same images are compared image by image: both are resampled with the same images (paired
bootstrap; Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 16.4). A hard image is hard for both,
so the interval of the difference is much narrower than those of the two scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segspectral.errors import DatasetError, about
from segspectral.evaluation.folder import IMAGES, differences, settings_of
from segspectral.evaluation.plan import ImageScore, Plan
from segspectral.evaluation.results import HEADLINES, groups_of, percentiles, resampled, total
from segspectral.export.pages import template
from segspectral.export.tables import csv_bytes
from segspectral.files import is_of_mac, read_file, whole_set, write_bytes
from segspectral.wording import few, plural

__all__ = ["Comparison", "Difference", "compare"]

LOWER_IS_BETTER = ("vi_ods", "vi_ois")

Scores = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One score of a run, compared with that of the first run.

    ``low`` and ``high`` are the 95 % interval of ``difference`` = ``value`` - ``first``. ``better`` is the share of
    resamples in which the run is better than the first; .5 means that neither is favoured.
    """

    run: str
    group: str
    score: str
    first: float
    value: float
    difference: float
    low: float
    high: float
    better: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or, if the interval holds 0, ``undecided``."""
        if self.low <= 0 <= self.high:
            return "undecided"
        return "better" if (self.difference < 0) == (self.score in LOWER_IS_BETTER) else "worse"


@dataclass(frozen=True)
class Comparison:
    """The differences of runs from the first of them, on the ``images`` that all runs have."""

    runs: tuple[str, ...]
    images: int
    resamples: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @whole_set()
    def write(self, out_dir: str | Path) -> dict[str, Path]:
        """Write ``comparison.json``, ``comparison.csv`` and ``comparison.html``. Return the paths by these names.

        Raises
        ------
        OutputError
            If the folder cannot be written to.
        """
        rows = [asdict(d) | {"verdict": d.verdict} for d in self.differences]
        contents = {
            "comparison.json": (json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n").encode(),
            "comparison.csv": csv_bytes(rows),
            "comparison.html": self._page().encode(),
        }
        return {name: write_bytes(Path(out_dir, name), content) for name, content in contents.items()}

    def _page(self) -> str:
        widest = max((max(abs(d.low), abs(d.high)) for d in self.differences), default=0) or 1
        page = template(Path(__file__).with_name("comparison.html.j2"))
        return page.render(comparison=self, widest=widest)


def compare(runs: Sequence[str | Path], *, resamples: int = 1000, seed: int = 0) -> Comparison:
    """Compare evaluations of the same data set, image by image.

    Parameters
    ----------
    runs : paths
        Folders that ``segspectral evaluate`` wrote. The others are compared with the first.
    resamples, seed
        Number of resamples and seed of the bootstrap.

    Raises
    ------
    DatasetError
        There are fewer than two runs, one is unfinished or cannot be read, they are about different data sets, or
        they have no score or fewer than two images in common.
    """
    if len(runs) < 2:
        raise DatasetError("give at least two folders with results of segspectral evaluate")
    found = [_Run.read(Path(folder)) for folder in runs]
    names = _names([Path(folder) for folder in runs])
    first = found[0]
    for other in found[1:]:
        if (other.dataset, other.split) != (first.dataset, first.split):
            raise DatasetError(f"is about {other.said}, but {first.folder} about {first.said}", other.folder)
        if {first.plan.of_classes, other.plan.of_classes} == {True} and first.plan.protocol != other.plan.protocol:
            protocols = f"names segments by {other.plan.protocol}, but {first.folder} by {first.plan.protocol}"
            raise DatasetError(f"{protocols}; such scores cannot be compared", other.folder)
    ids = [i for i in first.images if all(i in other.images for other in found)]
    if len(ids) < 2:
        raise DatasetError(f"the runs have {plural(len(ids), 'image')} in common, a comparison needs at least two")
    weights = np.random.default_rng(seed).multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=resamples)
    groups = [run.groups(ids) for run in found]
    compared = [
        difference
        for name, group in zip(names[1:], groups[1:], strict=True)
        for difference in _differences(name, groups[0], group, weights)
    ]
    if not compared:
        raise DatasetError("the runs have no score in common; evaluate them with the same --measures and --scales")
    return Comparison(tuple(names), len(ids), resamples, tuple(compared), tuple(_notes(found, names, ids)))


@dataclass(frozen=True)
class _Run:
    """The finished images of one evaluation; with several seeds, an image has several."""

    folder: Path
    dataset: str
    split: str | None
    plan: Plan
    images: Mapping[str, list[ImageScore]]

    @classmethod
    def read(cls, folder: Path) -> _Run:
        if not (folder / "results.json").is_file():
            raise DatasetError("has no results.json: give folders that segspectral evaluate has finished", folder)
        with about(folder):
            try:
                data = json.loads(read_file(folder / "results.json"))
                protocol = data.get("semantic", {}).get("protocol", "P3")
                plan = Plan(tuple(data["protocol"]["measures"]), protocol, data["protocol"]["agreement"])
                images: dict[str, list[ImageScore]] = {}
                parts = sorted((*folder.glob(f"{IMAGES}/*.json"), *folder.glob(f"{IMAGES}/[0-9]*/*.json")))
                for path in (part for part in parts if not is_of_mac(part)):
                    score = ImageScore.from_json(json.loads(read_file(path)))
                    images.setdefault(score.id, []).append(score)
                name, split, count = data["dataset"]["name"], data["dataset"]["split"], data["images"]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise DatasetError("cannot be read as results of segspectral evaluate") from error
            if len(images) != count or len({len(seeds) for seeds in images.values()}) != 1:
                raise DatasetError(
                    f"keeps {len(images)} of {plural(count, 'image')}: run the same evaluate command again"
                )
        return cls(folder, name, split, plan, images)

    @property
    def said(self) -> str:
        return " ".join(filter(None, (self.dataset, self.split)))

    def groups(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """Return the counts of these images by group. Those of several seeds add up, which gives their mean score."""
        runs = [groups_of(self.plan, one) for one in zip(*(self.images[i] for i in ids), strict=True)]
        return {name: [total(counts) for counts in zip(*(run[name] for run in runs), strict=True)] for name in runs[0]}


def _differences(
    run: str, first: Mapping[str, list[Any]], other: Mapping[str, list[Any]], weights: np.ndarray
) -> list[Difference]:
    found = []
    for group in [name for name in first if name in other]:
        before, after = total(first[group]).scores(), total(other[group]).scores()
        names = [n for n in HEADLINES.get(group, ("value",)) if n in before and n in after]
        draws = [resampled(counts[group], names, weights) for counts in (first, other)]
        for name in names:
            gap = draws[1][name] - draws[0][name]
            gain = -gap if name in LOWER_IS_BETTER else gap
            found.append(
                Difference(
                    run=run,
                    group="contour" if name == "value" else group,
                    score=group if name == "value" else name,
                    first=before[name],
                    value=after[name],
                    difference=after[name] - before[name],
                    low=percentiles(gap)[0],
                    high=percentiles(gap)[1],
                    better=float(np.mean(gain > 0) + np.mean(gain == 0) / 2),
                )
            )
    return found


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell the folders apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = [str(Path(*folder.parts[-depth:])) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise DatasetError("the same folder is given twice", next(f for f in folders if folders.count(f) > 1))


def _notes(runs: Sequence[_Run], names: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Notes about images, scores and settings that the runs do not have in common."""
    notes = []
    for run, name in zip(runs, names, strict=True):
        left_out = [i for i in run.images if i not in set(ids)]
        if left_out:
            notes.append(f"{plural(len(left_out), 'image')} of {name} not compared: {few(left_out)}")
    first = runs[0]
    for run, name in zip(runs[1:], names[1:], strict=True):
        apart = sorted(set(first.plan.measures) ^ set(run.plan.measures))
        if apart:
            notes.append(f"{name}: {', '.join(apart)} not compared, only one of the two runs has it")
        notes.append(
            f"{name}: {differences(settings_of(first.folder), settings_of(run.folder) or {}) or 'equal settings'}"
        )
    return notes
