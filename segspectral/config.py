"""Settings files: YAML <-> Pipeline, ``--set a.b=c``, and errors in words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from segspectral.errors import SettingsError
from segspectral.pipeline import Pipeline
from segspectral.registry import presets
from segspectral.settings import Settings, merged_settings, validated, with_settings

__all__ = ["dump", "load", "load_onto", "make_pipeline", "parse_assignment", "preset", "presets"]

Kind = TypeVar("Kind", bound=Settings)


def make_pipeline(data: Mapping[str, Any], source: str = "settings") -> Pipeline:
    """A pipeline from plain data.

    Raises
    ------
    SettingsError
        One sentence per fault: the setting, what is wrong, and the name that was probably meant.
    """
    return validated(Pipeline, data, source)


def load(path: str | os.PathLike[str], base: Pipeline | None = None) -> Pipeline:
    """A pipeline from a YAML file, or from a preset by its name; what these do not name is as in ``base``.

    Where there are no such files, ``fast`` and ``configs/fast.yaml`` mean the preset.

    Raises
    ------
    SettingsError
    """
    return load_onto(base or Pipeline(), path)


def preset(name: str) -> Path:
    """The settings file of a preset.

    Raises
    ------
    SettingsError
        There is no such preset; the sentence names those that there are.
    """
    known = presets()
    if name not in known:
        raise SettingsError(f"there is no such preset; there are {', '.join(known)}", name)
    return known[name]


def load_onto(base: Kind, path: str | os.PathLike[str]) -> Kind:
    """``base``, a pipeline or other settings, with those of a YAML file, or of a preset as for ``load``."""
    path, known = Path(path), presets()
    if not path.exists():
        path = known.get(path.as_posix().removeprefix("configs/").removesuffix(".yaml"), path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        why = f"there is no such settings file, and no such preset ({', '.join(known)})"
        raise SettingsError(why, path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot be read ({error})", path) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"is not YAML: {' '.join(str(error).split())}", path) from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SettingsError(
            "a settings file is a mapping of names to values, as `segspectral config show` prints", path
        )
    return with_settings(base, data, str(path))


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
        merged = merged_settings(merged, parse_assignment(text))
    return merged
