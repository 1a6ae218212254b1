"""Results: label maps, superpixels, the hierarchy, and pictures of them."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from segspectral.export import jpeg, png, tinted
from segspectral.figures import before_refinement, eigenvector_pictures
from segspectral.web.edits import MOST_IN_A_CUT
from segspectral.web.service import BINARY, AnyEdits, AnyResult, gives

router = APIRouter()


class Tree(BaseModel):
    """Nested segmentations, from which a client cuts any by itself.

    ``merges`` are pairs of superpixels, from 0, whose regions are merged, in order. ``altitudes`` are
    their levels, which rise from 0 to 1. A cut has at most ``most`` segments.
    """

    merges: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    altitudes: list[float]
    most: int


@router.get("/api/jobs/{job_id}/image", **gives("image/jpeg"))
def image(result: AnyResult) -> Response:
    """The photograph as it was read, as a JPEG."""
    return Response(jpeg(result.image.uint8, 92), media_type="image/jpeg")


@router.get("/api/jobs/{job_id}/labels", **gives(BINARY, unchanged=True))
def labels(result: AnyResult, edits: AnyEdits, request: Request, before: bool = False) -> Response:
    """Segments as raw uint16, little-endian, row by row, 0 = void; ``before`` refinement and edits."""
    tag = '"before"' if before else f'"{edits.revision}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    values = before_refinement(result) if before else edits.item.labels
    return Response(values.astype("<u2").tobytes(), media_type=BINARY, headers=headers)


@router.get("/api/jobs/{job_id}/superpixels", **gives(BINARY))
def superpixels(result: AnyResult) -> Response:
    """Superpixels as raw uint16, little-endian, row by row, from 1, 0 = void."""
    return Response((result.superpixels.labels + 1).astype("<u2").tobytes(), media_type=BINARY)


@router.get("/api/jobs/{job_id}/hierarchy")
def hierarchy(result: AnyResult) -> Tree:
    """The order in which superpixels are merged: all segmentations of the hierarchy at once."""
    tree = result.hierarchy
    most = min(len(tree.superpixels), MOST_IN_A_CUT)
    return Tree(merges=tree.merges.tolist(), altitudes=tree.altitudes.tolist(), most=most)


@router.get("/api/jobs/{job_id}/contours.png", **gives("image/png"))
def contours_png(result: AnyResult) -> Response:
    """The ultrametric contour map: the darker a border, the higher the level at which it goes."""
    strength = np.sqrt(result.hierarchy.contour_map)
    return Response(png(np.round(255 * (1 - strength)).astype(np.uint8)), media_type="image/png")


@router.get("/api/jobs/{job_id}/overlay.png", **gives("image/png"))
def overlay_png(result: AnyResult, edits: AnyEdits) -> Response:
    item = edits.item
    return Response(png(tinted(result.image.uint8, item.labels, item.table)), media_type="image/png")


@router.get("/api/jobs/{job_id}/eigenvectors/{number}.png", **gives("image/png"))
def eigenvector(result: AnyResult, number: int) -> Response:
    """Eigenvector 2, 3, ... of the graph's Laplacian, from blue by white to brown."""
    drawn = eigenvector_pictures(result)
    if not 2 <= number < 2 + len(drawn):
        raise HTTPException(404, f"there are eigenvectors 2 to {len(drawn) + 1}")
    return Response(png(drawn[number - 2]), media_type="image/png")
