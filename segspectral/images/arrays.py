"""Arrays of numpy, torch, xarray and masked arrays -> Raw. No such library but numpy is imported."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError
from segspectral.images.limits import check_size
from segspectral.images.raw import Raw
from segspectral.values.place import Georeference

__all__ = ["is_array", "raw_of_array"]

FEW = 4
"""An axis of at most this many values is taken for channels."""

MANY = 32
"""A first axis of at most this many values, with both others longer than this, is that of bands, not of rows."""


BANDS = ("band", "bands", "channel", "c", "C")
"""What xarray calls the dimension of bands."""


def is_array(source: Any) -> bool:
    """Whether it is an array, or an object of another library that becomes one."""
    return isinstance(source, np.ndarray) or (hasattr(source, "__array__") and hasattr(source, "shape"))


def raw_of_array(source: Any, name: str, *, all_bands: bool = False) -> Raw:
    """An array (H, W) or (H, W, B); a torch tensor may be (C, H, W) or (1, C, H, W); xarray tells by its dimensions.

    Void are masked values of ``numpy.ma`` in any band, and fully transparent pixels. The last of 2 or 4 channels is
    opacity if the type is uint8, or if it holds nothing but zero and full opacity; otherwise it is a band.

    Parameters
    ----------
    all_bands : whether all channels are bands, none is opacity

    Raises
    ------
    ImageError
        The shape is not that of an image.
    """
    array, masked, swapped = _plain(source)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] < 1:
        raise ImageError(f"an image must be an array (H, W) or (H, W, B), not {tuple(source.shape)}", name)
    if any(array.shape[0] <= most < min(array.shape[1:]) for most in (FEW, MANY)):
        raise ImageError(
            f"has the shape {tuple(source.shape)}, but channels come last: (H, W, B); use numpy.moveaxis(x, 0, -1)",
            name,
        )
    check_size(array.shape[1], array.shape[0], name)
    notes = (f"a tensor {tuple(source.shape)}, read as (C, H, W)",) if swapped else ()
    valid = None if masked is None else np.asarray(~masked.reshape(*array.shape[:2], -1).any(axis=2))
    if array.shape[2] in (2, 4) and not all_bands and _is_opacity(array[..., -1]):
        opaque = array[..., -1] > 0
        valid = opaque if valid is None else valid & opaque
        array = array[..., :-1]
    shown = (0, 1, 2) if array.shape[2] >= 3 else (0,)
    return Raw(
        array,
        shown,
        valid,
        placed=place_of_array(source) is not None,
        notes=notes,
        names=_names(source, array.shape[2]),
    )


def place_of_array(source: Any) -> Georeference | None:
    """The place of an array of xarray, by the conventions of rioxarray (CF, section 5.6); None if it has none.

    The coordinate ``spatial_ref`` holds the CRS and perhaps GDAL's GeoTransform. Without the latter, the coordinates
    ``x`` and ``y`` are the centres of the pixels.
    """
    coords: Any = getattr(source, "coords", {})
    if "spatial_ref" not in coords:
        return None
    said = coords["spatial_ref"].attrs
    crs = str(said.get("crs_wkt") or said.get("spatial_ref") or "")
    if (text := said.get("GeoTransform")) is not None:
        c, a, b, f, d, e = (float(number) for number in str(text).split())
        return Georeference(crs, (a, b, c, d, e, f))
    steps = [_step(coords, name) for name in ("x", "y")]
    if None in steps:
        return None
    (left, across), (top, down) = (step for step in steps if step is not None)
    return Georeference(crs, (across, 0.0, left, 0.0, down, top))


def _step(coords: Any, name: str) -> tuple[float, float] | None:
    """The outer edge of the first pixel, and the distance between centres; None if they are not evenly spaced."""
    if name not in coords or len(centres := np.asarray(coords[name].values, np.float64).ravel()) < 2:
        return None
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    if not step or np.abs(np.diff(centres) - step).max() > 1e-3 * abs(step):
        return None
    return float(centres[0] - step / 2), float(step)


def _names(source: Any, count: int) -> tuple[str, ...]:
    """What an array of xarray calls its bands: ``long_name``, where rioxarray keeps descriptions, or coordinates."""
    names = getattr(source, "attrs", {}).get("long_name")
    if not isinstance(names, tuple | list):
        names = next((source.coords[dim].values for dim in BANDS if dim in getattr(source, "coords", ())), ())
    texts = tuple(name if isinstance(name, str) else "" for name in names)
    return texts if len(texts) == count and any(texts) else ()


def _plain(source: Any) -> tuple[NDArray[Any], NDArray[np.bool_] | None, bool]:
    """The array with channels last, where it is masked, and whether the channels of a tensor came first."""
    if isinstance(source, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(source)
        return np.asarray(source.data), masked if masked.any() else None, False
    if hasattr(source, "detach") and hasattr(source, "cpu"):  # a tensor of torch
        tensor = source.detach().cpu()
        if "bfloat16" in str(tensor.dtype):
            tensor = tensor.float()
        array = np.asarray(tensor.numpy())
        while array.ndim > 3 and array.shape[0] == 1:
            array = array[0]
        if array.ndim == 3 and not array.shape[2] <= FEW < array.shape[0]:
            return np.moveaxis(array, 0, -1), None, True
        return array, None, False
    array = np.asarray(source)
    dims = [str(name) for name in getattr(source, "dims", ())]
    if len(dims) == 3 and array.ndim == 3:  # an array of xarray
        place = next((i for i, name in enumerate(dims) if name in BANDS), 2)
        array = np.moveaxis(array, place, -1)
    return array, None, False


def _is_opacity(channel: NDArray[Any]) -> bool:
    if channel.dtype == np.uint8:
        return True
    full = 1 if channel.dtype.kind == "f" else np.iinfo(channel.dtype).max if channel.dtype.kind in "iu" else None
    return full is not None and bool(np.isin(channel, (0, full)).all())
