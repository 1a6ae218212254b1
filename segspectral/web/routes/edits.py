"""Edits of a result."""

from __future__ import annotations

from fastapi import APIRouter

from segspectral.web.edits import Edit
from segspectral.web.service import AnyEdits, AnyJob, TheService
from segspectral.web.state import State, state_of

router = APIRouter()


@router.post("/api/jobs/{job_id}/edits")
def edit(job: AnyJob, edits: AnyEdits, edit: Edit, service: TheService) -> State:
    """Cut the hierarchy, merge, split, rename, recolour; undo and redo."""
    edits.apply(edit)
    return state_of(job, service.jobs)
