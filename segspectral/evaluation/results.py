"""Results: from counts per image to totals, intervals and files."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segspectral.errors import DatasetError
from segspectral.evaluation.datasets import Dataset
from segspectral.evaluation.folder import IMAGES, Finished
from segspectral.export.tables import csv_bytes, versions
from segspectral.files import whole_set, write_bytes
from segspectral.metrics.contour import CONTOUR_KINDS
from segspectral.wording import few, plural

if TYPE_CHECKING:
    from segspectral.evaluation.plan import ImageScore, Plan

__all__ = ["Results", "seed_spread"]

TRIMAP_WIDTH = 5.0
"""Width of the trimap in pixels on each side of a boundary, in the range that Kohli et al. (IJCV 2009) plot."""

HEADLINES = {
    "semantic": ("miou", "miou_present", "pixel_accuracy"),
    "region": (
        *("covering_ods", "covering_ois", "covering_best", "pri_ods", "pri_ois", "vi_ods", "vi_ois"),
        *("fop_ods", "fop_ois"),
    ),
    "boundary": ("f_ods", "f_ois", "ap"),
    "edges": ("edges_ods", "edges_ois", "edges_ap"),
}
"""The scores that have an interval and a line in the table, by group."""


@dataclass(frozen=True)
class Results:
    """The scores of a data set: ``data`` is the content of ``results.json``, ``rows`` that of ``scores.csv``.

    ``scores`` are the counts of the images. ``curve`` is (precision, recall) per scale. ``confusion`` (C + 1, C) has
    the pixels by assigned and true class; the last row is for pixels without a class.
    """

    data: dict[str, Any]
    rows: list[dict[str, Any]]
    scores: tuple[ImageScore, ...]
    curve: tuple[list[float], list[float]] | None = None
    confusion: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        plan: Plan,
        scores: Sequence[ImageScore],
        *,
        settings: Mapping[str, Any] | None = None,
        command: str = "",
        seed: int = 0,
        bootstrap: int = 1000,
        notes: Sequence[str] = (),
    ) -> Results:
        """Return the results of images that were scored in any order; ``notes`` are added to those of the data set.

        Raises
        ------
        DatasetError
            An image of the data set was not scored, was scored twice, or does not belong to it.
        """
        wanted = [s.id for s in dataset.samples]
        by_id = {s.id: s for s in scores}
        if len(by_id) != len(scores) or set(by_id) != set(wanted):
            wrong = sorted(set(by_id) ^ set(wanted)) or ["an image scored twice"]
            raise DatasetError(f"the scores do not belong to the images of data set {dataset.name}: {few(wrong)}")
        ordered = [by_id[i] for i in wanted]
        groups = groups_of(plan, ordered)
        data: dict[str, Any] = {
            "dataset": {
                "name": dataset.name,
                "split": dataset.split,
                "fingerprint": dataset.fingerprint(),
                "classes": list(dataset.classes),
            },
            "images": len(ordered),
            "notes": [*dataset.notes, *notes],
            "protocol": _protocol(plan, dataset),
            "settings": dict(settings or {}),
            "command": command,
            "seed": seed,
            "versions": versions(),
            "seconds": sum(s.seconds for s in ordered),
        }
        for name, counts in groups.items():
            data[name] = total(counts).scores()
        if "semantic" in data:
            data["semantic"] = {"protocol": plan.protocol, **data["semantic"]}
            data["semantic_protocols"] = {
                p: total(c).scores() for p, c in _every_protocol(plan, ordered).items() if p != plan.protocol
            }
        if bootstrap > 0 and len(ordered) > 1:
            data["interval_95"] = {
                name: intervals(groups[name], HEADLINES[name], seed, bootstrap) for name in HEADLINES if name in groups
            }
            data["bootstrap"] = bootstrap
        curve = None
        if "boundary" in groups:
            precision, recall = total(groups["boundary"]).curve()
            curve = (precision.tolist(), recall.tolist())
        confusion = total(groups["semantic"]).pixels if "semantic" in groups else None
        if confusion is not None:
            data["notes"] += _confusion_notes(confusion, dataset)
        rows = [_row(s, {name: counts[k] for name, counts in groups.items()}) for k, s in enumerate(ordered)]
        return cls(_json(data), rows, tuple(ordered), curve, confusion)

    @property
    def pictures(self) -> dict[str, bytes]:
        """Image id -> a small JPEG of image, truth and prediction."""
        return {score.id: score.picture for score in self.scores}

    @whole_set()
    def write(self, out_dir: str | Path) -> dict[str, Path]:
        """Write ``results.json``, ``scores.csv`` and ``report.html`` into a folder. Return the paths by these names.

        The counts of the images, by which ``compare`` compares evaluations, are written too, if the folder has none.

        Raises
        ------
        OutputError
            If the folder cannot be written to.
        """
        from segspectral.evaluation.report import render

        if not (images := Path(out_dir, IMAGES)).is_dir():
            finished = Finished(images)
            for score in self.scores:
                finished.add(score)
        contents = {
            "results.json": json.dumps(self.data, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
            "scores.csv": csv_bytes(self.rows).decode(),
            "report.html": render(self),
        }
        return {name: write_bytes(Path(out_dir, name), text.encode()) for name, text in contents.items()}

    def table(self) -> list[tuple[str, str, float, tuple[float, float] | None]]:
        """Return lines (group, score, value, 95 % interval or None) for the terminal and the report."""
        lines = []
        for group, names in HEADLINES.items():
            for name in names:
                value = self.data.get(group, {}).get(name)
                if value is not None:
                    interval = self.data.get("interval_95", {}).get(group, {}).get(name)
                    lines.append((group, name, value, tuple(interval) if interval else None))
        for group in ("superpixel", "ceiling"):
            scores = self.data.get(group, {})
            lines += [(group, name, value, None) for name, value in scores.items() if isinstance(value, float)]
        for name in CONTOUR_KINDS:
            if name in self.data and self.data[name]["value"] is not None:
                lines.append(("contour", name, self.data[name]["value"], None))
        return lines

    def ranking(self) -> str:
        """Return the column of ``rows`` by which images are ranked; larger values are better."""
        for name in ("miou_present", "covering", "f", "csurka_bf", "edges_f"):
            if self.rows and name in self.rows[0]:
                return name
        raise ValueError("there is no score per image by which to rank")


def total(counts: Sequence[Any]) -> Any:
    """Return the sum of counts, added in their order."""
    return reduce(add, counts)


def intervals(counts: Sequence[Any], names: Sequence[str], seed: int, resamples: int) -> dict[str, list[float]]:
    """Return 95 % percentile intervals of scores when images are resampled with replacement (Efron 1979).

    The naming of clusters for the data set (P1, P2) is not repeated for each resample.
    """
    n = len(counts)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return {name: list(percentiles(draws)) for name, draws in resampled(counts, names, weights).items()}


def resampled(counts: Sequence[Any], names: Sequence[str], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores (B,) of B resamples by name; ``weights`` (B, n) is how often a resample has each image."""
    kind = type(counts[0])
    parts = {f.name: np.tensordot(weights, np.array([getattr(c, f.name) for c in counts]), 1) for f in fields(kind)}
    draws = [kind(**{name: values[b] for name, values in parts.items()}).scores() for b in range(len(weights))]
    return {name: np.array([scores[name] for scores in draws]) for name in names}


def percentiles(draws: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of draws."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def seed_spread(results: Sequence[Results]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return mean, standard deviation (n - 1) and values of every headline score over runs with different seeds.

    Raises
    ------
    ValueError
        There is no run, or the runs used different data.
    """
    if not results or len({r.data["dataset"]["fingerprint"] for r in results}) != 1:
        raise ValueError("the spread over seeds needs runs on the same data")
    spread: dict[str, dict[str, dict[str, Any]]] = {}
    for group, names in HEADLINES.items():
        for name in names:
            values = [r.data[group][name] for r in results if r.data.get(group, {}).get(name) is not None]
            if len(values) == len(results):
                deviation = statistics.stdev(values) if len(values) > 1 else 0.0
                spread.setdefault(group, {})[name] = {
                    "mean": statistics.fmean(values),
                    "sd": deviation,
                    "values": values,
                }
    return spread


def groups_of(plan: Plan, scores: Sequence[ImageScore]) -> dict[str, list[Any]]:
    """Return counts per image, by their group in results.json."""
    groups: dict[str, list[Any]] = {}
    if "semantic" in plan.measures:
        groups["semantic"] = _every_protocol(plan, scores)[plan.protocol]
    for name in ("region", "boundary", "edges", "superpixel", "ceiling", *CONTOUR_KINDS):
        found = [s.counts[name] for s in scores if name in s.counts]
        if found and len(found) != len(scores):
            raise DatasetError(f"only {len(found)} of {plural(len(scores), 'image')} counted for {name}")
        if found:
            groups[name] = found
    return groups


def _every_protocol(plan: Plan, scores: Sequence[ImageScore]) -> dict[str, list[Any]]:
    of_images = ("P3", "P4", *["diffcut"] * (plan.protocol == "diffcut"))
    protocols = {p: [s.counts[p] for s in scores] for p in of_images}
    if all("clusters" in s.counts for s in scores):
        clusters = [s.counts["clusters"] for s in scores]
        whole = total(clusters)
        for p in ("direct", "P1", "P2"):
            if p != "direct" or plan.protocol == "direct":
                naming = whole.naming(p, plan.agreement)
                protocols[p] = [c.named(naming) for c in clusters]
    return protocols


_PROTOCOLS = {
    "direct": "ids are class ids",
    "P1": "one Hungarian matching for the data set; ids mean the same in all images",
    "P2": "majority class per cluster over the data set; ids mean the same in all images; it uses the labels that are "
    "scored",
    "P3": "one Hungarian matching per image; it uses the labels that are scored",
    "P4": "majority class per segment of an image; it uses the labels that are scored, so it is an upper bound",
    "diffcut": "one Hungarian matching per image at 128 x 128 pixels, segments without a class are background; it uses "
    "the labels that are scored",
}


def _confusion_notes(confusion: np.ndarray, dataset: Dataset) -> list[str]:
    """Return notes about facts that the scores hide: absent classes, and pixels without a predicted class."""
    notes = []
    absent = [name for name, n in zip(dataset.classes, confusion.sum(axis=0), strict=True) if n == 0]
    if absent:
        verbs = "occurs in no truth; it counts" if len(absent) == 1 else "occur in no truth; they count"
        notes.append(
            f"{len(absent)} of {len(dataset.classes)} classes {verbs} as 0 in miou and not at all in miou_present: "
            f"{few(absent)}"
        )
    if confusion[-1].any():
        notes.append(
            f"{confusion[-1].sum() / confusion.sum():.1%} of the pixels are predicted as no class and count as misses"
        )
    return notes


def _protocol(plan: Plan, dataset: Dataset) -> dict[str, Any]:
    said: dict[str, Any] = {"measures": list(plan.measures), "resolution": "the truth's own", "void": dataset.void}
    said["agreement"] = plan.agreement
    if "semantic" in plan.measures:
        by = "" if plan.protocol in ("direct", "P4") else f", by {'IoU' if plan.agreement == 'iou' else 'pixels'}"
        by = ", by pixels" if plan.protocol == "diffcut" else by
        said["semantic"] = f"{plan.protocol}: {_PROTOCOLS[plan.protocol]}{by}; extra clusters count as misses"
    if "contour" in plan.measures:
        said["contour"] = (
            "classes by the semantic protocol, mean over images: BF of Csurka 2013 within 0.0075 of the diagonal; F of "
            "DAVIS within 0.008 and Boundary IoU (Cheng 2021) within 0.02 of the diagonal, mean over the classes that "
            f"are present; accuracy within {TRIMAP_WIDTH:g} pixels of the truth's boundaries (trimap)"
        )
    if "region" in plan.measures:
        said["region"] = (
            "BSDS: covering, PRI, VI in bits and F of objects and parts (fop) against every human map; "
            "the ODS scale is chosen per measure"
        )
    if "boundary" in plan.measures:
        said["boundary"] = "BSDS: one-to-one matching within 0.0075 of the diagonal, exact maximum, thinned"
    if "edges" in plan.measures:
        said["edges"] = (
            "BSDS: the pixel edge map, thinned by non-maximum suppression and cut at 99 thresholds; matched as boundary"
        )
    return said


def _row(score: ImageScore, counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return one line of scores.csv."""
    row: dict[str, Any] = {
        "id": score.id,
        "height": score.size[0],
        "width": score.size[1],
        "scales": len(score.segments),
        "segments": " ".join(str(n) for n in score.segments),
    }
    if "semantic" in counts:
        scores = counts["semantic"].scores()
        row |= {k: scores[k] for k in ("miou_present", "classes_present", "pixel_accuracy")}
        row["majority_accuracy"] = score.counts["P4"].scores()["pixel_accuracy"]
    row |= {name: counts[name].value for name in CONTOUR_KINDS if name in counts}
    if "region" in counts:
        scores = counts["region"].scores()
        row |= {name: scores[f"{name}_ois"] for name in ("covering", "pri", "vi", "fop")}
    if "boundary" in counts:
        row["f"] = counts["boundary"].scores()["f_ois"]
    if "edges" in counts:
        row["edges_f"] = counts["edges"].scores()["edges_ois"]
    if "superpixel" in counts:
        scores = counts["superpixel"].scores()
        row |= {"superpixels": scores.pop("segments")} | scores
    row["seconds"] = round(score.seconds, 4)
    return row


def _json(value: Any) -> Any:
    """Return a value in JSON types; NaN becomes null."""
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_json(v) for v in value]
    if isinstance(value, np.generic):
        return _json(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
