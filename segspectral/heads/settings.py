"""Heads to and from plain data: {"name": "neuncut", "steps": 60}.

Settings files are checked by the annotations of the head's class, see ``heads.parameters``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    InstanceOf,
    PlainSerializer,
    SerializationInfo,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticSerializationError, to_jsonable_python

from segspectral.heads import ALLOWED, DEFAULT_HEAD, HEADS, head_class
from segspectral.heads.base import Head
from segspectral.heads.clusterer import NOT_SETTINGS, Clusterer
from segspectral.heads.own import as_head, name_of
from segspectral.heads.parameters import FROM_PIPELINE, checked_parameters, parameter_model
from segspectral.settings import NestedError

__all__ = ["AnyHead", "ChosenHead", "head_from", "head_schema", "head_to"]

LOST = "lost"
"""Key of a head in a settings file that names the parameters which are not plain data, and are therefore missing."""


def head_from(value: Any) -> Head:
    """A head from itself, its name, or {"name": ..., settings}; or from a clusterer of scikit-learn's kind.

    Raises
    ------
    ValueError (pydantic's)
        There is no such head or setting.
    """
    if not isinstance(value, str | Mapping):
        return as_head(value)
    data = {"name": value} if isinstance(value, str) else dict(value)
    name = data.pop("name", None)
    if isinstance(name, str) and ":" in name and name not in ALLOWED:
        raise ValueError(
            f"the head '{name}' is code from outside segspectral, which runs only if you name it yourself: by --head, "
            f"in your settings file, or in Python as an object, head={name.rpartition(':')[2]}()"
        )
    if not isinstance(name, str) or name not in {*HEADS, *ALLOWED}:
        raise ValueError(f"unknown head '{name}'; there are {', '.join(HEADS)}")
    if missing := data.pop(LOST, None):
        raise ValueError(f"the settings of {name} are incomplete: {missing} could not be written; make it in Python")
    cls = ALLOWED[name] if name in ALLOWED else head_class(name)
    elsewhere = FROM_PIPELINE if issubclass(cls, Head) else NOT_SETTINGS
    try:
        made = cls(**checked_parameters(cls, data, elsewhere))
    except ValidationError as error:
        raise NestedError(error, parameter_model(cls, elsewhere)) from error
    return made if isinstance(made, Head) else Clusterer(estimator=made)


def head_to(head: Head) -> dict[str, Any]:
    """{"name": ..., settings}: what ``head_from`` takes."""
    made, elsewhere = (head.estimator, NOT_SETTINGS) if isinstance(head, Clusterer) else (head, FROM_PIPELINE)
    parameters = {key: value for key, value in made.get_params(deep=False).items() if key not in elsewhere}
    return {"name": name_of(type(made)), **parameters}


def _chosen(value: Any) -> Head | None:
    """A head, or None if none was chosen; settings without a name are those of the default head."""
    if value is None:
        return None
    return head_from({"name": DEFAULT_HEAD, **value} if isinstance(value, Mapping) else value)


def _serialized(head: Head | None, info: SerializationInfo) -> dict[str, Any] | None:
    """``head_to``; as JSON without parameters that are not plain data, such as functions, which it names."""
    if head is None:
        return None
    data = head_to(head)
    if info.mode == "python":
        return data
    data = {key: value.item() if isinstance(value, np.generic) else value for key, value in data.items()}
    lost = [key for key, value in data.items() if not _is_plain(value)]
    kept = {key: value for key, value in data.items() if key not in lost}
    return kept | ({LOST: ", ".join(lost)} if lost else {})


def _is_plain(value: Any) -> bool:
    try:
        to_jsonable_python(value)
    except PydanticSerializationError:
        return False
    return True


def head_schema() -> dict[str, Any]:
    """JSON schema of the head in a settings file; its ``$defs`` belong at the top of the whole schema."""
    variants: list[dict[str, Any]] = []
    nested: dict[str, Any] = {}
    for name in HEADS:
        model: type[BaseModel] = parameter_model(head_class(name), FROM_PIPELINE)  # type: ignore[arg-type]
        schema = model.model_json_schema()
        nested |= schema.pop("$defs", {})
        schema["properties"] = {"name": {"const": name, "title": "Name"}, **schema["properties"]}
        variants.append(schema | {"required": ["name"]})
    return {"anyOf": [{"enum": list(HEADS)}, *variants], "$defs": nested}


AnyHead = Annotated[
    InstanceOf[Head],
    BeforeValidator(head_from),
    PlainSerializer(_serialized),
    WithJsonSchema({}),  # see ``Pipeline.model_json_schema``
]
"""A head as a field of settings."""

ChosenHead = Annotated[
    InstanceOf[Head] | None,
    BeforeValidator(_chosen),
    PlainSerializer(_serialized),
    WithJsonSchema({}),  # see ``Pipeline.model_json_schema``
]
"""A head that may be left to segspectral."""
