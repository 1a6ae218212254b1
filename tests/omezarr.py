"""Makes OME-Zarr folders for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

__all__ = ["ome_zarr"]


def ome_zarr(
    path: Path,
    values: NDArray[Any],
    axes: str,
    *,
    version: Literal[2, 3] = 3,
    levels: int = 2,
    chunk: int = 32,
    labels: tuple[str, ...] = (),
    **options: Any,
) -> Path:
    """Write values with these axes, the last two y and x, and smaller copies of them, as a multiscale image."""
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=version)
    for level in range(levels):
        step = 2**level
        small = values[..., ::step, ::step]
        shape = (*(1,) * (small.ndim - 2), *(min(chunk, side) for side in small.shape[-2:]))
        array = group.create_array(str(level), shape=small.shape, chunks=shape, dtype=small.dtype, **options)
        array[:] = small
    image: dict[str, Any] = {
        "axes": [{"name": axis} for axis in axes],
        "datasets": [{"path": str(level)} for level in range(levels)],
    }
    about: dict[str, Any] = {"multiscales": [image]}
    if labels:
        about["omero"] = {"channels": [{"label": label} for label in labels]}
    if version == 3:
        group.attrs["ome"] = {"version": "0.5", **about}
    else:
        image["version"] = "0.4"
        group.attrs.update(about)
    return path
