"""Heads to and from plain data: {"name": "neuncut", "steps": 60}.

Settings files are checked by the annotations of the head's class, see ``heads.parameters``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, InstanceOf, PlainSerializer, ValidationError, WithJsonSchema

from segspectral.heads import HEADS, head_class
from segspectral.heads.base import Head
from segspectral.heads.parameters import FROM_PIPELINE, checked_parameters, parameter_model
from segspectral.settings import NestedError

__all__ = ["AnyHead", "head_from", "head_schema", "head_to"]


def settings_model(name: str) -> type[BaseModel]:
    """A pydantic model of the parameters of the head ``name``, without what a pipeline has elsewhere."""
    return parameter_model(head_class(name), FROM_PIPELINE)  # type: ignore[arg-type]


def head_from(value: Any) -> Head:
    """A head from itself, its name, or {"name": ..., settings}. ValueError (pydantic's) if something is off."""
    if isinstance(value, Head):
        return value
    if not isinstance(value, str | Mapping):
        raise ValueError(f"a head is its name or a mapping with it; there are {', '.join(HEADS)}")
    data = {"name": value} if isinstance(value, str) else dict(value)
    name = data.pop("name", None)
    if not isinstance(name, str) or name not in HEADS:
        raise ValueError(f"unknown head '{name}'; there are {', '.join(HEADS)}")
    try:
        return head_class(name)(**checked_parameters(head_class(name), data, FROM_PIPELINE))
    except ValidationError as error:
        raise NestedError(error, settings_model(name)) from error


def head_to(head: Head) -> dict[str, Any]:
    """{"name": ..., settings}: what ``head_from`` takes."""
    name = next(name for name in HEADS if type(head) is head_class(name))
    parameters = {key: value for key, value in head.get_params().items() if key not in FROM_PIPELINE}
    return {"name": name, **parameters}


def head_schema() -> dict[str, Any]:
    """JSON schema of the head in a settings file; its ``$defs`` belong at the top of the whole schema."""
    variants: list[dict[str, Any]] = []
    nested: dict[str, Any] = {}
    for name in HEADS:
        schema = settings_model(name).model_json_schema()
        nested |= schema.pop("$defs", {})
        schema["properties"] = {"name": {"const": name, "title": "Name"}, **schema["properties"]}
        variants.append(schema | {"required": ["name"]})
    return {"anyOf": [{"enum": list(HEADS)}, *variants], "$defs": nested}


AnyHead = Annotated[
    InstanceOf[Head],
    BeforeValidator(head_from),
    PlainSerializer(head_to),
    WithJsonSchema({}),  # see ``Pipeline.model_json_schema``
]
"""A head as a field of settings."""
