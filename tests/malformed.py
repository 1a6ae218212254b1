"""Malformed files of heads and models, made from whole ones: what an attacker or a broken disk would hand in."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

Header = dict[str, Any]
PATHS = (
    "/etc/passwd",
    "../../weights.safetensors",
    "https://example.org/w.safetensors",
    "\\\\host\\share\\w",
    "a\x00b",
)
ODD: tuple[Any, ...] = (None, True, -1, 10**30, 1.5, "text", [], [[1]], {}, {"a": 1}, {"plain": None})


def unpacked(data: bytes) -> tuple[Header, dict[str, np.ndarray]]:
    """The JSON in the header and the tensors."""
    from safetensors.numpy import load

    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["segspectral"]), load(data)


def packed(header: Any, tensors: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save(tensors, metadata={"segspectral": header if isinstance(header, str) else json.dumps(header)})


def fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in plain data."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from fields(inner, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value at a path; ``...`` removes it."""
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if new is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = new
    return copy


def as_bytes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is damaged without a look at what it means."""
    size = struct.unpack("<Q", data[:8])[0]
    yield "empty", b""
    yield "text", b"not a model"
    yield "zeros", bytes(1000)
    yield "pickle", b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x05model\x94K\x01s."
    for end in (4, 8, 20, 8 + size // 2, 8 + size, len(data) - 1):
        yield f"cut at {end}", data[:end]
    for length in (0, 1, size - 1, size + 1, 2**24 + 1, 2**40, 2**63, 2**64 - 1):
        yield f"header of {length}", struct.pack("<Q", length) + data[8:]
    for seed in range(8):
        spoilt = bytearray(data)
        rng = np.random.default_rng(seed)
        for at in rng.integers(8, 8 + size, 40):
            spoilt[at] = rng.integers(0, 256)
        yield f"bytes {seed}", bytes(spoilt)
    deep = "[" * 100_000
    yield "JSON too deep", struct.pack("<Q", len(deep)) + deep.encode()


def by_meaning(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is a safetensors file, with something wrong in its JSON or its tensors."""
    header, tensors = unpacked(data)
    yield "no header", packed("", tensors)
    yield "header too deep", packed("[" * 5000, tensors)
    yield "header nested in itself", packed('{"a":' * 3000 + "1" + "}" * 3000, tensors)
    yield "long number", packed("9" * 5000, tensors)
    for odd in ODD:
        yield f"header {odd!r}", packed(json.dumps(odd), tensors)
    for key in fields(header):
        for odd in (..., *ODD):
            yield f"{'.'.join(map(str, key))} = {odd!r}", packed(changed(header, key, odd), tensors)
    for name, tensor in tensors.items():
        others = {key: value for key, value in tensors.items() if key != name}
        yield f"no {name}", packed(header, others)
        yield f"{name} empty", packed(header, others | {name: tensor[:0]})
        yield f"{name} longer", packed(header, others | {name: np.concatenate([tensor, tensor])})
        yield f"{name} with an axis more", packed(header, others | {name: tensor[None].copy()})
        yield f"{name} flat", packed(header, others | {name: np.append(tensor.ravel(), tensor.ravel()[:1])})
        yield f"{name} of booleans", packed(header, others | {name: tensor.astype(bool)})
        if tensor.dtype.kind == "f":
            for bad in (np.nan, np.inf):
                yield f"{name} of {bad}", packed(header, others | {name: np.full_like(tensor, bad)})
        else:
            for number in (-1, 2**31 - 1):
                yield f"{name} of {number}", packed(header, others | {name: np.full_like(tensor, number)})


def malformed(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents."""
    yield from as_bytes(data)
    yield from by_meaning(data)
