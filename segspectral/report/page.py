"""The HTML of the gallery: this module renders the tables, and the script in the page renders the images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from segspectral.export.pages import template

__all__ = ["page"]

HERE = Path(__file__).parent


def page(
    *,
    title: str,
    rows: Sequence[dict[str, Any]],
    failures: Sequence[tuple[str, str, str]],
    settings: Sequence[tuple[str, int]],
) -> str:
    """Return the HTML.

    Parameters
    ----------
    rows : one row per image, as ``segspectral.report.build`` makes them; the script displays them
    failures : image, status, reason
    settings : settings as JSON, and the number of images that were made with them
    """
    from markupsafe import Markup

    # Inside <script> only "<" is special, and JSON can write it as an escape.
    data = json.dumps(rows, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return template(HERE / "page.html.j2").render(
        title=title,
        count=len(rows),
        failures=failures,
        settings=settings,
        timings=_timings(rows),
        data=Markup(data),
        style=Markup(_text("page.css")),
        script=Markup(_text("page.js")),
    )


def _timings(rows: Sequence[dict[str, Any]]) -> list[tuple[str, float, float, float]]:
    """Return stage, mean, median and largest seconds; the last line is for whole images."""
    timed = [row["seconds"] for row in rows if row["seconds"]]
    stages = list(dict.fromkeys(stage for seconds in timed for stage in seconds))
    columns = [(stage, [seconds[stage] for seconds in timed if stage in seconds]) for stage in stages]
    columns += [("all stages", [sum(seconds.values()) for seconds in timed])] if timed else []
    return [(stage, mean(values), median(values), max(values)) for stage, values in columns]


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
