"""Fitted heads to and from one safetensors file: arrays as tensors, all else as JSON in the header. No pickle."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel
from sklearn.utils.validation import check_is_fitted

from segspectral.errors import OutputError, SettingsError
from segspectral.heads import HEADS, head_class
from segspectral.heads.contract import Head
from segspectral.heads.gcn import Gcn
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import Centres, Softmax, SpectralMap
from segspectral.heads.settings import FROM_PIPELINE, head_from
from segspectral.types import Affinity, Membership, Outcome

__all__ = ["load", "load_with_notes", "pack", "plain", "read_tensors", "save", "unpack", "write_tensors"]

FORMAT = 1
VALUES = {cls.__name__: cls for cls in (Affinity, Centres, Gcn, Membership, Mlp, Softmax, SpectralMap)}


def save(head: Head, path: str | os.PathLike[str], notes: dict[str, Any] | None = None) -> None:
    """Write a fitted head; the file appears whole or not at all.

    Parameters
    ----------
    notes : plain data that goes along; ``load_with_notes``

    Raises
    ------
    OutputError
        The place cannot be written to.
    """
    check_is_fitted(head)
    tensors: dict[str, np.ndarray] = {}
    write_tensors(path, tensors, {"format": FORMAT, **pack(head, tensors), "notes": notes or {}})


def pack(head: Head, tensors: dict[str, np.ndarray], only: Collection[str] | None = None) -> dict[str, Any]:
    """A fitted head as plain data; its arrays go to ``tensors``. ``only`` some of its fitted attributes."""
    names = [name for name in HEADS if type(head) is head_class(name)]
    if not names:
        raise SettingsError(f"{type(head).__name__} is not in the list of heads, so it could not be loaded again")
    state = {
        name: _encode(value, name, tensors)
        for name, value in vars(head).items()
        if name.endswith("_") and not name.startswith("_") and (only is None or name in only)
    }
    parameters = {key: plain(value) for key, value in head.get_params(deep=False).items()}
    return {"head": names[0], "parameters": parameters, "state": state}


def unpack(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> Head:
    """What ``pack`` was given."""
    given = dict(header["parameters"])
    common = {key: given.pop(key) for key in list(given) if key in FROM_PIPELINE}
    head = head_from({"name": header["head"], **given}).set_params(**common)
    for name, value in header["state"].items():
        setattr(head, name, _decode(value, tensors))
    return head


def write_tensors(path: str | os.PathLike[str], tensors: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    """One safetensors file with ``header`` as JSON; it appears whole or not at all. OutputError if it cannot."""
    from safetensors.numpy import save as to_bytes

    payload = to_bytes(tensors, metadata={"segspectral": json.dumps(header)})
    path = Path(path)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            file.write(payload)
        Path(file.name).replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def load(path: str | os.PathLike[str]) -> Head:
    """The fitted head that ``save`` wrote.

    Raises
    ------
    SettingsError
        The file does not exist, or does not hold a head.
    """
    return load_with_notes(path)[0]


def load_with_notes(path: str | os.PathLike[str]) -> tuple[Head, dict[str, Any]]:
    """The fitted head, and what else was saved with it; raises as ``load``."""
    from safetensors import SafetensorError

    try:
        header, tensors = read_tensors(path)
        if header["format"] != FORMAT:
            raise SettingsError(f"{path}: was written by another version of segspectral (format {header['format']})")
        head = unpack(header, tensors)
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise SettingsError(f"{path}: is not a head that segspectral has saved") from error
    return head, header.get("notes", {})


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of what ``write_tensors`` wrote; OSError, SafetensorError, KeyError or ValueError otherwise."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        header = json.loads((file.metadata() or {})["segspectral"])
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no dict


def plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value.item() if isinstance(value, np.generic) else value


def _encode(value: Any, name: str, tensors: dict[str, np.ndarray]) -> Any:
    """Plain data; arrays go to ``tensors`` under their path."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        tensors[name] = np.ascontiguousarray(value)
        return {"tensor": name}
    if isinstance(value, np.ndarray):
        return {"names": [str(entry) for entry in value]}
    if sp.issparse(value):
        parts = {"data": value.data, "indices": value.indices, "indptr": value.indptr, "shape": np.array(value.shape)}
        return {"sparse": {key: _encode(part, f"{name}.{key}", tensors) for key, part in parts.items()}}
    if isinstance(value, Enum):
        return {"outcome": value.name}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        encoded = {key: _encode(part, f"{name}.{key}", tensors) for key, part in fields.items()}
        return {"value": type(value).__name__, "fields": encoded}
    if isinstance(value, tuple):
        return {"tuple": [_encode(part, f"{name}.{i}", tensors) for i, part in enumerate(value)]}
    return {"plain": plain(value)}


def _decode(value: dict[str, Any], tensors: dict[str, np.ndarray]) -> Any:
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "names" in value:
        return np.array(value["names"], dtype=object)
    if "sparse" in value:
        part = {key: _decode(part, tensors) for key, part in value["sparse"].items()}
        return sp.csr_array((part["data"], part["indices"], part["indptr"]), shape=tuple(part["shape"]))
    if "outcome" in value:
        return Outcome[value["outcome"]]
    if "value" in value:
        fields = {key: _decode(part, tensors) for key, part in value["fields"].items()}
        return VALUES[value["value"]](**fields)
    if "tuple" in value:
        return tuple(_decode(part, tensors) for part in value["tuple"])
    return value["plain"]
