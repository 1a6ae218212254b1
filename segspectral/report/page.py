"""The page itself: tables are drawn here, the gallery by the script inside the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

__all__ = ["page"]

HERE = Path(__file__).parent


def page(
    *,
    title: str,
    rows: Sequence[dict[str, Any]],
    failures: Sequence[tuple[str, str, str]],
    settings: Sequence[tuple[str, int]],
) -> str:
    """The HTML.

    Parameters
    ----------
    rows : one per image, as ``segspectral.report.build`` makes them; the script shows these
    failures : image, status, reason
    settings : JSON, and how many images were made with it
    """
    from jinja2 import Environment, StrictUndefined, select_autoescape
    from markupsafe import Markup

    environment = Environment(
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Inside <script> only "<" is special, and JSON has another spelling of it.
    data = json.dumps(rows, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return environment.from_string(_text("page.html.j2")).render(
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
    """Stage, mean, median and greatest seconds; the last line is that of whole images."""
    timed = [row["seconds"] for row in rows if row["seconds"]]
    stages = list(dict.fromkeys(stage for seconds in timed for stage in seconds))
    columns = [(stage, [seconds[stage] for seconds in timed if stage in seconds]) for stage in stages]
    columns += [("all stages", [sum(seconds.values()) for seconds in timed])] if timed else []
    return [(stage, mean(values), median(values), max(values)) for stage, values in columns]


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
