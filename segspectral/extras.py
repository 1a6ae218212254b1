"""Packages that an installation may lack: an extra of ``pip install 'segspectral[EXTRA]'`` brings them.

To add an extra, write it in ``pyproject.toml`` and here.
"""

from __future__ import annotations

from importlib.util import find_spec

from segspectral.errors import SettingsError

__all__ = ["EXTRAS", "installed", "require"]

EXTRAS = {
    "torch": ("torch", "timm"),
    "onnx": ("torch", "onnx", "onnxscript"),
    "crf": ("pydensecrf",),
    "geo": ("rasterio", "shapely", "pyogrio"),
    "web": ("fastapi", "uvicorn", "python_multipart"),
    "cluster": ("distributed",),
    "large": ("faiss",),
    "heic": ("pillow_heif",),
    "imagej": ("roifile",),
    "napari": ("napari", "pandas"),
    "zarr": ("zarr",),
}
"""Extra -> the modules that it brings."""


def installed(module: str) -> bool:
    """Whether a module can be imported. It is not imported to find out."""
    return find_spec(module) is not None


def require(extra: str, what: str) -> None:
    """Check that an extra is installed.

    Raises
    ------
    SettingsError
        It is not; the message says that ``what`` needs it, and how to install it.
    """
    if missing := [module for module in EXTRAS[extra] if not installed(module)]:
        raise SettingsError(f"{what} needs {' and '.join(missing)}: pip install 'segspectral[{extra}]'")
