"""``report.html``: one file that opens offline, without scripts and without anything from the network."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segspectral.export.pages import template

if TYPE_CHECKING:
    from segspectral.evaluation.results import Results

__all__ = ["render"]

BINS = 20
"""Bars of the histogram: each stands for 0.05 of a score between 0 and 1."""

SHOWN = 10
"""At most this many of the worst and of the best images are shown."""


def render(results: Results) -> str:
    """Return the report as HTML: scores, histogram, confusion, precision and recall, worst and best images."""
    column = results.ranking()
    ranked = sorted(results.rows, key=lambda row: (row[column], row["id"]))
    half = (len(ranked) + 1) // 2  # so that no image is among both the worst and the best
    return template(Path(__file__).with_name("report.html.j2")).render(
        data=results.data,
        table=results.table(),
        column=column,
        bars=_histogram([row[column] for row in ranked]),
        confusion=_confusion(results),
        curve=_polyline(results),
        worst=[_card(results, row, column) for row in ranked[:half][:SHOWN]],
        best=[_card(results, row, column) for row in ranked[half:][::-1][:SHOWN]],
    )


def _histogram(values: list[float]) -> list[dict[str, Any]]:
    counts, edges = np.histogram(np.clip(values, 0, 1), bins=BINS, range=(0, 1))
    top = max(int(counts.max()), 1)
    return [
        {"x": 40 + 24 * k, "height": 160 * c / top, "count": int(c), "low": edges[k], "high": edges[k + 1]}
        for k, c in enumerate(counts)
    ]


def _confusion(results: Results) -> list[dict[str, Any]]:
    """Return a line per true class that occurs: the shares of its pixels by assigned class."""
    if results.confusion is None:
        return []
    names = [*results.data["dataset"]["classes"], "(no class)"]
    pixels = results.confusion
    iou = results.data["semantic"]["per_class"]
    occurs = np.append(pixels.any(axis=0), False)
    used = np.flatnonzero(occurs | pixels.any(axis=1))  # many classes occur neither in the truth nor in the prediction
    lines = []
    for c in np.flatnonzero(pixels.sum(axis=0)):
        share = pixels[used, c] / pixels[:, c].sum()
        cells = [{"name": names[k], "share": float(s), "own": k == c} for k, s in zip(used, share, strict=True)]
        lines.append({"name": names[c], "iou": iou[c], "pixels": int(pixels[:, c].sum()), "cells": cells})
    return lines


def _polyline(results: Results) -> dict[str, Any] | None:
    if results.curve is None:
        return None
    precision, recall = results.curve
    points = [(40 + 360 * r, 380 - 360 * p) for p, r in zip(precision, recall, strict=True)]
    return {"points": points, "line": " ".join(f"{x:.1f},{y:.1f}" for x, y in points)}


def _card(results: Results, row: dict[str, Any], column: str) -> dict[str, Any]:
    picture = results.pictures.get(row["id"], b"")
    return {"id": row["id"], "score": row[column], "uri": base64.b64encode(picture).decode() if picture else ""}
