"""Settings files: YAML <-> Pipeline, ``--set a.b=c``, and errors in words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from segspectral.errors import SettingsError
from segspectral.pipeline import OF_THE_MODEL, Pipeline
from segspectral.settings import Settings, explain

__all__ = ["dump", "load", "load_onto", "make_pipeline", "parse_assignment", "with_settings"]

Kind = TypeVar("Kind", bound=Settings)


def make_pipeline(data: Mapping[str, Any], source: str = "settings") -> Pipeline:
    """A pipeline from plain data.

    Raises
    ------
    SettingsError
        One sentence per fault: the setting, what is wrong, and the name that was probably meant.
    """
    return _made(Pipeline, data, source)


def with_settings(base: Kind, settings: Mapping[str, Any], source: str = "settings") -> Kind:
    """``base`` with nested settings replaced: {"refine": {"iterations": 3}} changes that one number."""
    merged = _merged(base.model_dump(), settings)
    if isinstance(base, Pipeline) and base.model is None and settings.get("model") is not None:
        # What nobody has set is as the model has it.
        unset = set(OF_THE_MODEL) - base.model_fields_set - set(settings)
        merged = {name: value for name, value in merged.items() if name not in unset}
    return _made(type(base), merged, source)


def load(path: str | os.PathLike[str], base: Pipeline | None = None) -> Pipeline:
    """A pipeline from a YAML file; what the file does not name is as in ``base``.

    Raises
    ------
    SettingsError
    """
    return load_onto(base or Pipeline(), path)


def load_onto(base: Kind, path: str | os.PathLike[str]) -> Kind:
    """``base``, a pipeline or other settings, with those of a YAML file."""
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such settings file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SettingsError(
            f"{path}: a settings file is a mapping of names to values, as `segspectral config show` prints"
        )
    return with_settings(base, data, str(path))


def _made(kind: type[Kind], data: Mapping[str, Any], source: str) -> Kind:
    try:
        return kind.model_validate(dict(data))
    except ValidationError as error:
        # An option has the name of its setting: once is enough.
        why = explain(error, kind).removeprefix(f"{source.removeprefix('--')}: ")
        raise SettingsError(f"{source}: {why}") from error


def dump(pipeline: Pipeline) -> str:
    """The pipeline as YAML, all settings spelled out; ``load`` reads it back to an equal pipeline."""
    return yaml.safe_dump(pipeline.model_dump(mode="json"), sort_keys=False)


def parse_assignment(text: str) -> dict[str, Any]:
    """``refine.iterations=5`` -> {"refine": {"iterations": 5}}; the value is read as YAML.

    >>> parse_assignment("features.cnn.strides=[8, 16]")
    {'features': {'cnn': {'strides': [8, 16]}}}
    """
    name, equals, value = text.partition("=")
    if not equals or not all(part.strip() for part in name.split(".")):
        raise SettingsError(f"--set {text}: write it as NAME=VALUE, such as --set refine.iterations=5")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {text}: the value is not YAML") from error
    for part in reversed(name.split(".")):
        parsed = {part.strip(): parsed}
    return parsed


def merge_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """All ``--set`` of a command line as nested data, later ones on top."""
    merged: dict[str, Any] = {}
    for text in assignments:
        merged = _merged(merged, parse_assignment(text))
    return merged


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, str) and isinstance(old, Mapping) and "name" in old:
            value = {"name": value}  # head: exact
        if isinstance(value, Mapping) and isinstance(old, str):
            old = {"name": old}  # head=exact and then head.n_init=3
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            other = "name" in value and value["name"] != old.get("name")
            # The settings of one head mean nothing to another.
            merged[key] = dict(value) if other else _merged(old, value)
        else:
            merged[key] = value
    return merged
