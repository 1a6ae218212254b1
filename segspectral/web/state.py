"""What the page knows of a job."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel

from segspectral.export.tables import region_table
from segspectral.figures import VECTORS
from segspectral.pipeline import STAGES
from segspectral.web.command import command_line
from segspectral.web.edits import Cut
from segspectral.web.jobs import Job, Jobs, Status

__all__ = ["Region", "State", "state_of"]


class Region(BaseModel):
    """A segment as the page lists it; area in pixels, share of the valid pixels, centroid as row and column."""

    segment: int
    name: str
    colour: str
    area: int
    share: float
    row: float
    column: float


class State(BaseModel):
    """A job: the stages that are planned, the seconds of those done. What a result has is empty until it is done."""

    id: str
    status: Status
    image: str
    height: int
    width: int
    position: int
    plan: list[str]
    stages: dict[str, float]
    error: str
    notes: list[str] = []
    regions: list[Region] = []
    revision: int = 0
    can_undo: bool = False
    can_redo: bool = False
    segments: int = 0
    superpixels: int = 0
    ncut: float | None = None
    eigenvalues: list[float] = []
    eigenvectors: int = 0
    hierarchy: bool = False
    cut: Cut | None = None
    command: str = ""
    command_is_exact: bool = True


def state_of(job: Job, jobs: Jobs) -> State:
    """As it is now."""
    made_by = job.pipeline if job.result is None else job.result.pipeline
    state = State(
        id=job.id,
        status=job.status,
        image=job.name,
        height=job.shape[0],
        width=job.shape[1],
        position=jobs.position(job),
        plan=[stage for stage in STAGES if stage not in ("affinity", "refine") or not made_by.hierarchy],
        stages=dict(job.stages),
        error=job.error,
    )
    result, edits = job.result, job.edits
    if result is None or edits is None:
        return state
    item = edits.item
    values = result.membership.eigenvalues
    outcome = result.membership.outcome
    return state.model_copy(
        update={
            "notes": [*result.notes, *([] if outcome.name == "SOLVED" else [outcome.sentence])],
            "regions": [Region(**row) for row in region_table(item, quick=True)],
            "revision": edits.revision,
            "can_undo": edits.can_undo,
            "can_redo": edits.can_redo,
            "segments": result.pipeline.segments,
            "superpixels": len(result.superpixels),
            "ncut": result.ncut,
            "eigenvalues": [] if values is None else np.round(values, 6).tolist(),
            "eigenvectors": min(VECTORS, len(result.superpixels) - 1),
            "hierarchy": result.scene.graph.boundary is not None,
            "cut": edits.cut,
            "command": command_line(edits.pipeline(job.pipeline), job.name, item.names),
            "command_is_exact": not edits.regions_changed,
        }
    )
