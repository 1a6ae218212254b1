"""The base class of all strategies, whose fields are their settings, and error messages about settings."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticUndefined

from segspectral.errors import SettingsError

__all__ = ["NestedError", "Settings", "explain", "merged_settings", "validated", "with_settings"]

Kind = TypeVar("Kind", bound="Settings")


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Constructor
else:

    class _Constructor(type(BaseModel)):
        """Turns errors in settings from Python code into sentences, like those in files.

        The validation of nested settings does not pass here: only the outermost call knows the whole name of a setting.
        """

        def __call__(cls, *unnamed: Any, **settings: Any) -> Any:
            if unnamed:
                raise TypeError(f"settings have names, such as {cls.__name__}({next(iter(cls.model_fields))}=...)")
            try:
                return super().__call__(**settings)
            except ValidationError as error:
                raise SettingsError(explain(error, cls)) from error


class Settings(BaseModel, metaclass=_Constructor):
    """A frozen pydantic model whose fields are settings; unknown settings are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Give ``help`` a signature with names and defaults: pydantic's is a page of validators."""
        super().__pydantic_init_subclass__(**kwargs)
        cls.__signature__ = Signature(
            [
                Parameter(name, Parameter.KEYWORD_ONLY, default=_Default(field.get_default()))
                for name, field in cls.model_fields.items()
            ]
        )


class _Default:
    """A default as a signature shows it; strategies only by their names."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, Settings):
            return f"{type(self.value).__name__}()"
        return "..." if self.value is PydanticUndefined else repr(self.value)


class NestedError(ValueError):
    """A fault inside a value that has its own validator, such as a head; ``explain`` reports it with its full path."""

    def __init__(self, error: ValidationError, model: type[BaseModel]) -> None:
        super().__init__(explain(error, model))
        self.error, self.model = error, model


def with_settings(base: Kind, settings: Mapping[str, Any], source: str = "settings") -> Kind:
    """A copy of ``base`` with some settings replaced: {"refine": {"iterations": 3}} changes only that number.

    Raises
    ------
    SettingsError
        As ``validated``.
    """
    merged = merged_settings(base.model_dump(), settings)
    # Settings that were not given stay unset: a model, or a missing package, may still replace their defaults.
    chosen = base.model_fields_set | set(settings)
    merged = {name: value for name, value in merged.items() if name in chosen}
    return validated(type(base), merged, source)


def validated(kind: type[Kind], data: Mapping[str, Any], source: str) -> Kind:
    """Settings from plain data.

    Parameters
    ----------
    source : origin of the data in the message, such as a file or an option

    Raises
    ------
    SettingsError
        The message has one sentence per fault: the setting, what is wrong, and the name that was probably meant.
    """
    try:
        return kind.model_validate(dict(data))
    except ValidationError as error:
        # If the source is an option with the name of the setting, the name is not repeated.
        why = explain(error, kind).removeprefix(f"{source.removeprefix('--')}: ")
        raise SettingsError(why, source) from error


def merged_settings(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with changes applied; a different ``name`` replaces the whole strategy."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, str) and isinstance(old, Mapping) and "name" in old:
            value = {"name": value}  # such as ``head: exact``
        if isinstance(value, Mapping) and isinstance(old, str):
            old = {"name": old}  # such as ``head=exact`` and then ``head.n_init=3``
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            other = "name" in value and value["name"] != old.get("name")
            # The settings of one strategy have no meaning for another.
            merged[key] = dict(value) if other else merged_settings(old, value)
        else:
            merged[key] = value
    return merged


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """pydantic's error about ``model`` as sentences: the setting, what is wrong, the name that was probably meant."""
    faults: dict[str, list[str]] = {}
    for setting, message in _faults(error, model, ()):
        faults.setdefault(setting, []).append(message)
    # pydantic reports one fault per member of a union; they become one sentence about the value.
    return "; ".join(f"{name}: {' or '.join(said)}" if name else "; ".join(said) for name, said in faults.items())


def _faults(error: ValidationError, model: type[BaseModel], above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the setting and the message of each fault; ``above`` is the path to the model."""
    found = error.errors()
    for fault in found:
        place = fault["loc"]
        if fault["type"] == "too_short" and any(f["loc"][:-1] == place for f in found):
            continue  # pydantic counts the good items alone, and the fault is that of the others
        inner = fault.get("ctx", {}).get("error")
        if isinstance(inner, NestedError):
            yield from _faults(inner.error, inner.model, (*above, str(place[0])))
        else:
            yield _setting_and_message(fault, model, above)


def _setting_and_message(fault: Any, model: type[BaseModel], above: tuple[str, ...]) -> tuple[str, str]:
    kind: Any = model
    path = list(above)
    for step in map(str, fault["loc"]):
        variant = _variants(kind).get(step)
        if variant is not None:
            kind = variant  # pydantic adds the variant of a union to the path; the user did not write it
            continue
        models = [a for a in _flat(kind) if hasattr(a, "model_fields")]
        if not models and not step.isdigit():
            continue  # pydantic adds the member of a union of plain types to the path, too
        path.append(step)
        kind = next((a.model_fields[step].annotation for a in models if step in a.model_fields), None)
    name, given = ".".join(path), fault.get("input")
    if fault["type"] == "extra_forbidden":
        known = [field for field in _known(model, [str(s) for s in fault["loc"][:-1]]) if field != "name"]
        close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        advice = f"did you mean {'.'.join([*path[:-1], close[0]])}?" if close else f"known here: {', '.join(known)}"
        return "", f"unknown setting {name}; {advice}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "tuple_type":
        message = "input should be a list, such as [1, 2]"  # settings files and --set know no tuples
    if fault["type"] == "too_short":
        message = f"input should be a list of at least {fault['ctx']['min_length']}, and has fewer"
    if fault["type"] == "union_tag_invalid":
        message = f"unknown kind {fault['ctx']['tag']}; there are {fault['ctx']['expected_tags']}"
    message = message[:1].lower() + message[1:]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) and fault["type"] != "value_error" else ""
    return name, message + shown


def _variants(annotation: Any) -> dict[str, Any]:
    """Tag -> model, for a union of models that differ in their ``name``."""
    models = [a for a in _flat(annotation) if "name" in getattr(a, "model_fields", {})]
    return {a.model_fields["name"].default: a for a in models} if len(models) > 1 else {}


def _flat(annotation: Any) -> list[Any]:
    arguments = get_args(annotation)
    return [leaf for a in arguments for leaf in _flat(a)] if arguments else [annotation]


def _known(model: type[BaseModel], steps: list[str]) -> list[str]:
    """The settings that exist at the end of a path."""
    kind: Any = model
    for step in steps:
        if (variant := _variants(kind).get(step)) is not None:
            kind = variant
        else:
            models = [a for a in _flat(kind) if hasattr(a, "model_fields")]
            kind = next((a.model_fields[step].annotation for a in models if step in a.model_fields), None)
    return [name for a in _flat(kind) for name in getattr(a, "model_fields", {})]
