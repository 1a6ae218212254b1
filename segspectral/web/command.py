"""Settings from a page, checked; and the command line that does the same."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segspectral.config import with_settings
from segspectral.errors import SettingsError
from segspectral.features.backbones import DEFAULT_BACKBONE, WEIGHTS_VARIABLE
from segspectral.features.cache import FeatureCache
from segspectral.pipeline import Pipeline

__all__ = ["backbones", "command_line", "pipeline_from_client"]

MOST_SEGMENTS, MOST_SUPERPIXELS = 200, 5000
"""What one client may ask for: beyond it a single job would take minutes and gigabytes."""


def backbones(pipeline: Pipeline) -> list[str]:
    """Backbones that can be had without a network: the server's own, the default, those in SEGSPECTRAL_WEIGHTS."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    found = sorted(path.stem for path in Path(folder).glob("*.safetensors")) if folder else []
    own = [pipeline.features.cnn.backbone] if pipeline.features.cnn is not None else []
    return list(dict.fromkeys([*own, DEFAULT_BACKBONE, *found]))


def pipeline_from_client(base: Pipeline, settings: Mapping[str, Any]) -> Pipeline:
    """The server's pipeline with a client's settings.

    Texts must be among those that the schema names, or a backbone that is here: no path, no device and no address of
    a model reaches the server's file system or network. Whether features are kept on disk is the server's to say.

    Raises
    ------
    SettingsError
    """
    allowed = {*_texts(base.model_json_schema()), *backbones(base)}
    for name, text in _strings(settings):
        if text not in allowed:
            raise SettingsError(f"{name}: '{text[:40]}' cannot be chosen from here")
    pipeline = with_settings(base, settings)
    if pipeline.features.cnn is not None and pipeline.features.cnn.cache not in (None, _cache(base)):
        raise SettingsError("features.cnn.cache: cannot be chosen from here")
    for name, value, most in (
        ("segments", pipeline.segments, MOST_SEGMENTS),
        ("max_segments", pipeline.max_segments, MOST_SEGMENTS),
        ("superpixels.count", pipeline.superpixels.count, MOST_SUPERPIXELS),
    ):
        if value != "auto" and value > most:
            raise SettingsError(f"{name}: this server takes up to {most}")
    return pipeline


def _cache(pipeline: Pipeline) -> FeatureCache | None:
    return None if pipeline.features.cnn is None else pipeline.features.cnn.cache


def command_line(pipeline: Pipeline, image: str, names: Mapping[int, str]) -> str:
    """``segspectral segment`` with what differs from the defaults."""
    data = pipeline.model_dump(mode="json")
    kinds = {"head": data["head"]["name"], "refine": data["refine"]["name"]}
    default = Pipeline().model_dump(mode="json")
    words = ["segspectral", "segment", f"./{image}" if image.startswith("-") else image, "-o", "out"]
    if pipeline.hierarchy:
        words.append("--hierarchy")
    if pipeline.level is not None:
        words += ["--level", str(pipeline.level)]
    if data["segments"] != default["segments"]:
        words += ["-k", str(data["segments"])]
    for option, name in kinds.items():
        if name != default[option]["name"]:
            words += [f"--{option}", name]
    if data["seed"] != default["seed"]:
        words += ["--seed", str(data["seed"])]
    base = with_settings(Pipeline(), kinds).model_dump(mode="json")
    for name, value in _differences(base, data):
        if name not in ("segments", "seed", "hierarchy", "level"):
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    plain = {s: name for s, name in names.items() if "," not in name}
    if plain:
        words += ["--names", ",".join(f"{s}={name}" for s, name in sorted(plain.items()))]
    return shlex.join(words)


def _differences(base: Any, data: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(base, dict) and isinstance(data, dict):
        for key, value in data.items():
            yield from _differences(base.get(key), value, f"{at}.{key}" if at else key)
    elif base != data:
        yield at, data


def _strings(data: Any, at: str = "settings") -> Iterator[tuple[str, str]]:
    if isinstance(data, str):
        yield at, data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _strings(value, str(key))
    elif isinstance(data, list):
        for value in data:
            yield from _strings(value, at)


def _texts(schema: Any) -> Iterator[str]:
    """All texts that a JSON schema lists as values."""
    if isinstance(schema, dict):
        for value in (schema.get("const"), schema.get("default"), *schema.get("enum", ())):
            if isinstance(value, str):
                yield value
        for key, value in schema.items():
            if key not in ("const", "enum", "default"):
                yield from _texts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _texts(value)
