"""Files of masks: label ids as PNG, TIFF, BMP, GIF, lossless WebP or .npy."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError, ImageError
from segspectral.evaluation.masks import Mask
from segspectral.files import read_npy
from segspectral.wording import first_line

if TYPE_CHECKING:
    import PIL.Image

    from segspectral.images.formats import Format

__all__ = ["read_label_ids", "read_mask"]


def read_label_ids(path: Path) -> NDArray[np.integer]:
    """Return the label ids (H, W) of an indexed or grey PNG, TIFF, BMP or GIF, or of an .npy file; True becomes 1.

    Use this function for masks of data sets and for predictions, whose ids may be any integers.
    ``segspectral.export.read_label_map`` reads the label maps of segspectral together with names and colours.

    Raises
    ------
    DatasetError
        The file cannot be read, is not a label map, or has a format that changes labels, such as JPEG.
    """
    values = read_mask(path, rgb=False).values
    return values.astype(np.uint8) if values.dtype == bool else np.asarray(values)


def read_mask(path: Path, *, rgb: bool = True) -> Mask:
    """Return the values of a mask file as they are stored, with the palette of an indexed picture.

    With ``rgb``, a colour picture whose pixels are all grey is read as a grey one. The EXIF orientation is applied, as
    for photographs.

    Raises
    ------
    DatasetError
        The file cannot be read, does not store integers, has several pages or colours, or is compressed with loss.
    """
    from segspectral.images.reader import MAX_PIXELS

    if not path.exists():
        raise DatasetError("no such file", path)
    try:
        if path.suffix.lower() == ".npy":
            array, palette = read_npy(path, 8 * MAX_PIXELS), None
        else:
            array, palette = _pixels(path, rgb)
    except DatasetError:
        raise
    except ImageError as error:
        raise DatasetError(f"cannot be read as a label map ({error.message})", path) from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DatasetError(f"cannot be read as a label map ({first_line(error)})", path) from error
    if array.dtype == np.uint8 and array.ndim == 3:
        array = _grey(path, array)
    if array.ndim != 2 or array.dtype.kind not in "iub" or array.size == 0:
        raise DatasetError(
            f"holds {array.dtype} {array.shape}, expected integers (height, width), an id for each pixel", path
        )
    return Mask(array, palette)


def _pixels(path: Path, rgb: bool) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Return the values and the palette of a picture."""
    from PIL import ImageOps

    from segspectral.images.formats import FORMATS, TIFF, format_of, open_picture
    from segspectral.images.tiff import first_page

    form = format_of(path)
    if form is TIFF:
        with first_page(path, bands=4 if rgb else 1):
            pass  # opening the page checks its size
    with open_picture(path, FORMATS) as image:
        if refusal := _refusal(path, form, image, rgb):
            raise DatasetError(refusal, path)
        palette = None
        if image.mode in ("P", "PA"):
            palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return np.asarray(ImageOps.exif_transpose(image)), palette


def _refusal(path: Path, form: Format, image: PIL.Image.Image, rgb: bool) -> str:
    """Return why an opened picture is not a mask, before its pixels are decoded; "" if it may be one."""
    from segspectral.images.formats import TIFF
    from segspectral.images.reader import MAX_PIXELS

    lossy = "is stored as {}, which changes the values of a mask: save it as PNG"
    if image.width * image.height > MAX_PIXELS:
        return f"has more than {MAX_PIXELS:,} pixels"
    if image.format == "WEBP" and b"VP8 " in path.read_bytes()[:64]:
        return lossy.format("WebP with loss")
    if (form.lossy and image.format != "WEBP") or image.info.get("compression") in ("jpeg", "webp"):
        return lossy.format("JPEG" if form is TIFF else image.format)
    if (pages := getattr(image, "n_frames", 1)) > 1:
        return f"holds {pages} pages, expected one mask in a file"
    known = ("1", "L", "P", "I", "F") + (("LA", "PA", "RGB", "RGBA") if rgb else ())
    if image.mode not in known and not image.mode.startswith("I;16"):
        return f"is a {image.mode} image, expected an indexed or grey image of labels"
    return ""


def _grey(path: Path, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one band (H, W) of a picture (H, W, 2 to 4) whose pixels are all grey and opaque."""
    colours, opacity = (array[..., :-1], array[..., -1]) if array.shape[2] in (2, 4) else (array, None)
    if opacity is not None and (opacity != 255).any():
        raise DatasetError("has transparent pixels, save the mask without an alpha channel", path)
    if (colours != colours[..., :1]).any():
        raise DatasetError(
            "is an RGB image, and it is not known which colour is which class: save the id of each pixel's class, 0, "
            "1, 2, ..., as an indexed or grey PNG",
            path,
        )
    return colours[..., 0]
