"""Settings files (YAML <-> Pipeline), and assignments such as ``--set a.b=c``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import yaml

from segspectral.errors import SettingsError, about
from segspectral.files import read_file
from segspectral.heads.own import allow
from segspectral.pipeline import Pipeline
from segspectral.registry import preset, presets, settings_file
from segspectral.settings import Settings, merged_settings, validated, with_settings

__all__ = ["dump", "load", "load_onto", "make_pipeline", "parse_assignment", "preset", "presets", "read_yaml"]

Kind = TypeVar("Kind", bound=Settings)

DEEPEST = 10
"""Maximum depth of nested settings. Real settings have at most four levels."""


def make_pipeline(data: Mapping[str, Any], source: str = "settings") -> Pipeline:
    """A pipeline from plain data.

    Raises
    ------
    SettingsError
        The message has one sentence per fault: the setting, what is wrong, and the name that was probably meant.
    """
    return validated(Pipeline, data, source)


def load(path: str | os.PathLike[str], base: Pipeline | None = None) -> Pipeline:
    """A pipeline from a YAML file or a named preset. Settings that the file does not name come from ``base``.

    Names such as ``fast`` and ``configs/fast.yaml`` mean the preset if there is no such file.

    Raises
    ------
    SettingsError
    """
    return load_onto(base or Pipeline(), path)


def load_onto(base: Kind, path: str | os.PathLike[str]) -> Kind:
    """``base``, a pipeline or other settings, with those of a YAML file, or of a preset as for ``load``."""
    path = settings_file(path)
    try:
        with about(path):
            data = read_yaml(read_file(path).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot be read ({getattr(error, 'strerror', None) or error})", path) from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SettingsError(
            "a settings file must be a mapping of names to values, as `segspectral config show` prints it", path
        )
    allow(data)
    return with_settings(base, data, str(path))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses duplicate names, as YAML does; PyYAML itself would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for name, _ in node.value:
            line = name.start_mark.line + 1
            if isinstance(name.value, str) and lines.setdefault(name.value, line) != line:
                raise SettingsError(f"line {line} gives {name.value} a second time; keep one of them")
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """Parse YAML with plain values, whose size is bounded by that of the text.

    The events of the parser are checked first. They show aliases, which could multiply the size, and the depth, because
    deep nesting would exhaust the recursion of the parser.

    Raises
    ------
    SettingsError
        The text is not YAML, has an anchor or a name twice, or is nested too deeply.
    """
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise SettingsError(f"has more than {DEEPEST} levels")
            if getattr(event, "anchor", None) is not None:
                raise SettingsError("anchors and aliases (& and *) are not accepted; write the value again")
        return yaml.load(text, _Loader)
    except SettingsError:
        raise
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark is not None else ""
        raise SettingsError(f"is not YAML: {error.problem}{line}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise SettingsError("is not YAML with plain values") from error


def dump(pipeline: Pipeline) -> str:
    """The pipeline as YAML with all its settings; ``load`` reads it back as an equal pipeline."""
    return yaml.safe_dump(pipeline.model_dump(mode="json"), sort_keys=False)


def parse_assignment(text: str) -> dict[str, Any]:
    """``refine.iterations=5`` -> {"refine": {"iterations": 5}}; the value is read as YAML.

    >>> parse_assignment("features.cnn.strides=[8, 16]")
    {'features': {'cnn': {'strides': [8, 16]}}}
    """
    name, equals, value = text.partition("=")
    if not equals or not all(part.strip() for part in name.split(".")):
        raise SettingsError(f"--set {text}: write it as NAME=VALUE, such as --set refine.iterations=5")
    with about(f"--set {text}"):
        parsed = read_yaml(value)
    for part in reversed(name.split(".")):
        parsed = {part.strip(): parsed}
    return parsed


def merge_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """All ``--set`` options of a command line as nested data; later ones override earlier ones."""
    merged: dict[str, Any] = {}
    for text in assignments:
        merged = merged_settings(merged, parse_assignment(text))
    allow(merged)
    return merged
