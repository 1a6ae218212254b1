"""Fitted heads to and from one safetensors file: arrays are tensors, all else is JSON in the header. No pickle."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel

from segspectral.errors import SettingsError
from segspectral.files import open_file, write_bytes
from segspectral.heads import HEADS, head_class
from segspectral.heads.extension import PARTS, extension_from
from segspectral.heads.gcn import Gcn
from segspectral.heads.networks import Mlp
from segspectral.heads.parameters import checked_parameters
from segspectral.heads.readout import Centres, Readout, Softmax, SpectralMap
from segspectral.heads.spaces import Scattering
from segspectral.values import Affinity, Membership, Outcome

if TYPE_CHECKING:
    from segspectral.heads.base import Head

__all__ = [
    "load",
    "load_with_notes",
    "pack",
    "plain",
    "read_header",
    "read_tensors",
    "save",
    "unpack",
    "whole",
    "write_tensors",
]

FORMAT = 1

LARGEST_HEADER = 16 * 2**20
"""A longer header, in bytes, is not read. The longest that are written, with the names of columns, have some kB."""

FITTED = ("labels_", "membership_", "affinity_", "ncut_", "eigenvalues_", "outcome_", "loss_curve_")
"""Attributes that every saved head has."""

VALUES = {cls.__name__: cls for cls in (Affinity, Centres, Gcn, Membership, Mlp, Scattering, Softmax, SpectralMap)}


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
    head._check_is_fitted()
    tensors: dict[str, np.ndarray] = {}
    write_tensors(path, tensors, {"format": FORMAT, **pack(head, tensors), "notes": notes or {}})


def pack(head: Head, tensors: dict[str, np.ndarray], only: Collection[str] | None = None) -> dict[str, Any]:
    """A fitted head as plain data; its arrays go to ``tensors``. ``only`` some of its fitted attributes."""
    name = saved_name(head)
    fitted = {name: value for name, value in vars(head).items() if name.endswith("_") and not name.startswith("_")}
    fitted |= fitted.pop("extension_").parts()
    state = {name: _encode(value, name, tensors) for name, value in fitted.items() if only is None or name in only}
    parameters = {key: plain(value) for key, value in head.get_params(deep=False).items()}
    return {"head": name, "parameters": parameters, "state": state}


def saved_name(head: Head) -> str:
    """The name of a head in a saved file. SettingsError for one from outside the package, which no file may load."""
    place = f"{type(head).__module__}:{type(head).__qualname__}"
    for name, where in HEADS.items():
        if where == place:
            return name
    raise SettingsError(
        f"{type(head).__name__} is not one of segspectral's heads, so it cannot be saved: a file may not name code "
        "that runs when it is loaded"
    )


def unpack(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> Head:
    """What ``pack`` was given: types and shapes are checked, and a row is mapped. Call it within ``whole``."""
    cls = head_class(header["head"])
    head = cls(**checked_parameters(cls, header["parameters"]))
    head._check_settings()
    hints = get_type_hints(cls) | PARTS
    state = {name: _decode(encoded, tensors) for name, encoded in header["state"].items()}
    for name, value in state.items():
        if not name.endswith("_") or not _fits(value, hints[name], finite=name != "loss_curve_"):
            raise SettingsError(f"{name} is not what a {cls.__name__} has there")
        if name not in PARTS:
            setattr(head, name, value)
    head.extension_ = extension_from(state)
    _check(head, state)
    return head


def _fits(value: Any, hint: Any, *, finite: bool = True) -> bool:
    """Whether a value is of the type that is declared; arrays hold numbers, as many dimensions as they like."""
    origin = get_origin(hint)
    if hint is Readout:
        return _fits(value, Centres | Softmax | SpectralMap)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(part, get_args(hint)[0]) for part in value)
    if origin is np.ndarray:
        if not isinstance(value, np.ndarray):
            return False
        if value.dtype == object:
            return np.object_ in get_args(get_args(hint)[1])
        return value.dtype.kind in "iuf" and not (finite and not np.isfinite(value).all())
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool) and bool(np.isfinite(float(value)))
    return isinstance(value, hint)


def _check(head: Head, state: dict[str, Any]) -> None:
    """Raise if the parts of a fitted head do not go together: here, and not when it is used."""
    k = head.n_clusters
    head._check_clusters(k)
    labels, membership = state.get("labels_"), state.get("membership_")
    n = None if labels is None else len(labels)
    lengths = {len(state[name]) for name in ("X_fit_", "affinity_") if name in state}
    if membership is not None:
        lengths.add(len(membership.probabilities))
        if membership.embedding is not None and membership.embedding.ndim != 2:
            raise SettingsError("the embedding is no matrix")
    if lengths - {n} or (labels is not None and (labels.ndim != 1 or labels.dtype.kind != "i")):
        raise SettingsError("its parts are of different numbers of nodes")
    if labels is not None and not (len(labels) and labels.min() >= 0 and labels.max() < k):
        raise SettingsError(f"its labels are not 0..{k - 1}")
    bare = not head.extension_.needs_features
    row = None if bare else np.zeros((1, head.n_features_in_))
    links = sp.csr_array((1, (n or 0) + 1)) if bare else None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of names of columns
        P = head.predict_proba(row, affinity=links)
        if P.shape != (1, k) or not np.isfinite(P).all():
            raise SettingsError(f"it does not map a row to {k} clusters")
        with suppress(SettingsError):  # some have no embedding
            head.transform(row, affinity=links)


def write_tensors(path: str | os.PathLike[str], tensors: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    """One safetensors file with ``header`` as JSON; it appears whole or not at all. OutputError if it cannot."""
    from safetensors.numpy import save as to_bytes

    payload = to_bytes(tensors, metadata={"segspectral": json.dumps(header)})
    write_bytes(Path(path), payload)


def load(path: str | os.PathLike[str]) -> Head:
    """The fitted head that ``save`` wrote, also from a folder of ``segspectral models save``.

    Raises
    ------
    SettingsError
        The file does not exist, or does not hold a head.
    """
    return load_with_notes(path)[0]


def load_with_notes(path: str | os.PathLike[str]) -> tuple[Head, dict[str, Any]]:
    """The fitted head, and what else was saved with it; reads and raises as ``load``."""
    if os.path.isdir(path):
        path = os.path.join(path, "model.safetensors")
    with whole(path, "a head that segspectral has saved"):
        header, tensors = read_tensors(path)
        if header["format"] != FORMAT:
            raise SettingsError(f"was written by another version of segspectral (format {header['format']!r})", path)
        if missing := [name for name in FITTED if name not in header["state"]]:
            raise SettingsError(f"it lacks {missing[0]}")
        notes = header.get("notes", {})
        if not isinstance(notes, dict):
            raise SettingsError("its notes are no mapping")
        return unpack(header, tensors), notes


@contextmanager
def whole(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turns whatever goes wrong within, while a file from somebody else is read, into a SettingsError of one sentence.

    Parameters
    ----------
    what : the file should be
    """
    from safetensors import SafetensorError

    try:
        yield
    except FileNotFoundError as error:
        raise SettingsError("there is no such file", path) from error
    except SettingsError as error:
        if error.source == str(path):
            raise
        told = " ".join(str(error).split())
        raise SettingsError(f"is not {what}, or it is damaged ({told[:300]})", path) from error
    except (
        # What odd data make of code that takes it for its own: of other types, shapes, depths, sizes.
        *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError, TypeError),
        *(ValueError, OSError, SafetensorError),
    ) as error:
        raise SettingsError(f"is not {what}, or it is damaged", path) from error


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of what ``write_tensors`` wrote; call it within ``whole``."""
    from safetensors import safe_open

    header = json.loads(read_header(path)["segspectral"])
    with safe_open(path, framework="numpy") as file:
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no dict


def read_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts in the header of a safetensors file, whose size is looked at first; call it within ``whole``."""
    from safetensors import safe_open

    with open_file(path) as start:
        size = int.from_bytes(start.read(8), "little")
    if size > LARGEST_HEADER:
        raise SettingsError(f"its header is of {size} bytes, more than the {LARGEST_HEADER} that are read")
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


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
        matrix = sp.csr_array(
            (part["data"], part["indices"], part["indptr"]), shape=tuple(int(n) for n in part["shape"])
        )
        # Compiled code follows the indices without looking.
        matrix.check_format(full_check=True)
        return matrix
    if "outcome" in value:
        return Outcome[value["outcome"]]
    if "value" in value:
        return _checked(VALUES[value["value"]](**{key: _decode(v, tensors) for key, v in value["fields"].items()}))
    if "tuple" in value:
        return tuple(_decode(part, tensors) for part in value["tuple"])
    return value["plain"]


def _checked(made: Any) -> Any:
    """Return a value if its fields have the types of its class and its layers fit. Raises SettingsError."""
    for name, hint in get_type_hints(type(made)).items():
        if not _fits(getattr(made, name), hint):
            raise SettingsError(f"{name} is not what a {type(made).__name__} has there")
    if isinstance(made, Mlp | Gcn):
        for weight, bias in zip(made.weights, made.biases, strict=True):
            if weight.ndim != 2 or bias.shape != weight.shape[:1]:
                raise SettingsError("a layer has as many rows of weights as biases")
    return made
