"""Communities written to files: a table of nodes, a summary, pictures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from segspectral.export import csv_bytes, png, versions
from segspectral.files import whole_set, write_bytes
from segspectral.heads.settings import head_to
from segspectral.heads.storage import plain
from segspectral.metrics.communities import conductance
from segspectral.networks.find import Communities
from segspectral.networks.pictures import DRAWN, adjacency_picture, choice_picture, drawing

__all__ = ["summary", "write_communities"]


@whole_set()
def write_communities(found: Communities, folder: Path) -> list[Path]:
    """Write communities.csv, summary.json and adjacency.png, and return the paths.

    A small graph also has graph.png, and a chosen number of communities has choice.png.

    Raises
    ------
    OutputError
    """
    nodes = zip(found.graph.names, found.labels.tolist(), found.probabilities.tolist(), strict=True)
    rows = [{"node": name, "community": c, "probability": f"{p:.4f}"} for name, c, p in nodes]
    files = {
        "communities.csv": csv_bytes(rows),
        "summary.json": (json.dumps(summary(found), indent=2, ensure_ascii=False) + "\n").encode(),
        "adjacency.png": png(adjacency_picture(found)),
    }
    if len(rows) <= DRAWN:
        files["graph.png"] = png(drawing(found))
    if found.choice is not None:
        files["choice.png"] = png(choice_picture(found.choice))
    return [write_bytes(folder / name, data) for name, data in files.items()]


def summary(found: Communities) -> dict[str, Any]:
    """Return the communities, their scores and their settings in JSON types."""
    head, outcome, rank = found.head, found.head.outcome_, getattr(found.head, "effective_rank_", None)
    each = conductance(found.graph.affinity, found.labels)
    columns = 0 if found.graph.attributes is None else found.graph.attributes.shape[1]
    result: dict[str, Any] = {
        "graph": asdict(found.graph.counts) | {"attributes": columns, "notes": list(found.graph.notes)},
        "communities": len(found.sizes),
        "asked": int(head.n_clusters),
        "new_nodes": int(found.new.sum()),
        **{name: round(value, 6) for name, value in found.scores().items()},
        "sizes": {str(c): size for c, size in found.sizes.items()},
        "conductance": {str(c): round(float(value), 6) for c, value in zip(found.sizes, each, strict=True)},
        "outcome": {"name": outcome.name.lower(), "sentence": outcome.sentence},
        # The effective rank of a network's outputs. A degenerate embedding, near 0, raises an error before this point.
        "effective_rank": None if rank is None else round(float(rank), 3),
        "attribute_weight": found.weight if columns else None,
        "head": {key: plain(value) for key, value in head_to(head).items()},
        "seed": int(head.random_state),
        "seconds": {stage: round(seconds, 4) for stage, seconds in found.seconds.items()},
        "versions": dict(versions()),
    }
    if found.choice is not None:
        curves = {name: np.round(curve, 6).tolist() for name, curve in found.choice.curves().items()}
        result["choice"] = {"numbers": found.choice.numbers.tolist(), **curves, "number": found.choice.number}
    return result
