"""Settings from a page, checked; and the command line that does the same."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segspectral.config import DEEPEST, read_yaml
from segspectral.errors import SettingsError, about
from segspectral.features.backbones import PACKAGED, WEIGHTS_VARIABLE
from segspectral.features.cache import FeatureCache
from segspectral.pipeline import Pipeline
from segspectral.settings import merged_settings, with_settings

__all__ = ["backbones", "command_line", "pipeline_from_client", "settings_from_text"]

MOST = 10_000
"""The largest number that a client may set, where ``MOST_OF`` does not name the setting."""

MOST_OF = {
    "segments": 200,
    "max_segments": 200,
    "superpixels.count": 5000,
    "working_pixels": 16_000_000,
    "pixels": 1_000_000,
    "iterations": 50,
    "sigma": 50,
    "radius": 100,
    "scales": 50,
    "strides": 64,
    "channels": 512,
    "components": 512,
    "neighbors": 100,
    "features.contours.steps": 1000,
    "steps": 2000,
    "epochs": 100,
    "pretraining": 500,
    "hidden": 1024,
    "code": 256,
    "spare": 64,
    "power": 64,
    "n_init": 50,
    "batch_size": 20_000,
    "subsample": 20_000,
    "exact_below": 5000,
    "seed": 2**32,
}
"""By full name, or by its last part: beyond it one job would take minutes or gigabytes."""

MOST_ITEMS = 8
"""Of a list."""


def settings_from_text(text: str) -> dict[str, Any]:
    """JSON or YAML as nested plain data. Names may have dots: ``head.steps: 30`` is ``head: {steps: 30}``.

    Raises
    ------
    SettingsError
        It is neither, is nested too deeply, repeats parts by aliases, or has values that are not settings.
    """
    try:
        # JSON first: YAML reads 1e5 as a text.
        data = json.loads(text)
    except RecursionError as error:
        raise SettingsError(f"settings: they have more than {DEEPEST} levels") from error
    except ValueError:
        with about("settings"):
            data = read_yaml(text)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError("settings: write one setting a line as NAME: VALUE, such as segments: 5")
    _check_plain(data, "settings", DEEPEST)
    merged: dict[str, Any] = {}
    for name, value in data.items():
        parts = name.split(".", DEEPEST)
        for part in reversed(parts):
            value = {part.strip(): value}
        merged = merged_settings(merged, value)
    return merged


def _check_plain(data: Any, name: str, levels: int) -> None:
    """What JSON has, and no number beyond what a computer counts with."""
    if levels == 0:
        raise SettingsError(f"settings: they have more than {DEEPEST} levels")
    if isinstance(data, dict):
        for key, value in data.items():
            if not isinstance(key, str):
                raise SettingsError(f"{name}: the name of a setting is a text, not {str(key)[:20]}")
            _check_plain(value, key, levels - 1)
    elif isinstance(data, list):
        for value in data:
            _check_plain(value, name, levels - 1)
    elif isinstance(data, int | float) and not abs(data) < 2**63:
        raise SettingsError(f"{name}: is not a finite number below 2^63")
    elif data is not None and not isinstance(data, str | int | float):
        raise SettingsError(f"{name}: a value is a number, a text, true, false, null or a list")


def backbones(pipeline: Pipeline) -> list[str]:
    """Backbones that can be had without a network: the server's own, the default, those in SEGSPECTRAL_WEIGHTS."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    found = sorted(path.stem for path in Path(folder).glob("*.safetensors")) if folder else []
    own = [pipeline.features.cnn.backbone] if pipeline.features.cnn is not None else []
    return list(dict.fromkeys([*own, *PACKAGED, *found]))


def pipeline_from_client(base: Pipeline, *settings: Mapping[str, Any]) -> Pipeline:
    """The server's pipeline with a client's settings, later ones on top; the server's own may be beyond the limits.

    Texts must be among those that the schema names, or a backbone that is here: no path, no device and no address of
    a model reaches the server's file system or network. Whether features are kept on disk is the server's to say.

    Raises
    ------
    SettingsError
    """
    allowed = {*_texts(base.model_json_schema()), *backbones(base)}
    pipeline = base
    for one in settings:
        if one.get("model") is not None:
            raise SettingsError("model: cannot be chosen from here")
        # The texts of sizes have types of their own, none of which is a place.
        for name, text in _strings({name: value for name, value in one.items() if name != "sizes"}):
            if text not in allowed:
                raise SettingsError(f"{name}: '{text[:40]}' cannot be chosen from here")
        pipeline = with_settings(pipeline, one)
    if pipeline.features.cnn is not None and pipeline.features.cnn.cache not in (None, _cache(base)):
        raise SettingsError("features.cnn.cache: cannot be chosen from here")
    for name, value in _differences(base.model_dump(mode="json"), pipeline.model_dump(mode="json")):
        _check_limits(name, value)
    return pipeline


def _check_limits(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_limits(f"{name}.{key}", inner)
    elif isinstance(value, list):
        if len(value) > MOST_ITEMS:
            raise SettingsError(f"{name}: this server takes lists of up to {MOST_ITEMS} values")
        for inner in value:
            _check_limits(name, inner)
    elif isinstance(value, int | float):
        most = MOST_OF.get(name, MOST_OF.get(name.rsplit(".", 1)[-1], MOST))
        if not -most <= value <= most:
            raise SettingsError(f"{name}: this server takes up to {most}")


def _cache(pipeline: Pipeline) -> FeatureCache | None:
    return None if pipeline.features.cnn is None else pipeline.features.cnn.cache


def command_line(pipeline: Pipeline, image: str, names: Mapping[int, str]) -> str:
    """``segspectral segment`` with what differs from the defaults."""
    data = pipeline.model_dump(mode="json")
    kinds = {name: data[name]["name"] for name in ("head", "refine") if data[name]}
    default = Pipeline().model_dump(mode="json")
    words = ["segspectral", "segment", f"./{image}" if image.startswith("-") else image, "-o", "out"]
    if pipeline.hierarchy:
        words.append("--hierarchy")
    if pipeline.level is not None:
        words += ["--level", str(pipeline.level)]
    if data["segments"] != default["segments"]:
        words += ["-k", str(data["segments"])]
    for option, name in kinds.items():
        if default[option] is None or name != default[option]["name"]:
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
