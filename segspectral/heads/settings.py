"""Heads to and from plain data: {"name": "neuncut", "steps": 60}.

A head is a scikit-learn estimator, which may not check its parameters when it is made. The annotations of its
constructor are read here into a pydantic model, so that settings files are checked like those of any other strategy.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from segspectral.heads import HEADS, head_class
from segspectral.heads.contract import Head
from segspectral.settings import explain

__all__ = ["head_from", "head_schema", "head_to"]

FROM_PIPELINE = ("n_clusters", "random_state", "n_neighbors", "bandwidth", "symmetrize")
"""Parameters that a pipeline has elsewhere: ``segments``, ``seed`` and ``affinity``."""


@cache
def settings_model(name: str) -> type[BaseModel]:
    """A pydantic model of the constructor of the head ``name``, without what a pipeline has elsewhere."""
    cls = head_class(name)
    hints = get_type_hints(cls.__init__, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], parameter.default)
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.name not in FROM_PIPELINE
    }
    return create_model(cls.__name__, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


def head_from(value: Any) -> Head:
    """A head from itself, its name, or {"name": ..., settings}. ValueError (pydantic's) if something is off."""
    if isinstance(value, Head):
        return value
    data = {"name": value} if isinstance(value, str) else dict(value)
    name = data.pop("name", None)
    if name not in HEADS:
        raise ValueError(f"unknown head '{name}'; there are {', '.join(HEADS)}")
    try:
        settings = settings_model(name).model_validate(data)
    except ValidationError as error:
        raise ValueError(explain(error, settings_model(name))) from error
    return head_class(name)(**dict(settings))


def head_to(head: Head) -> dict[str, Any]:
    """{"name": ..., settings}: what ``head_from`` takes."""
    name = next(name for name in HEADS if type(head) is head_class(name))
    parameters = {key: value for key, value in head.get_params().items() if key not in FROM_PIPELINE}
    return {"name": name, **parameters}


def head_schema() -> dict[str, Any]:
    """JSON schema of the head in a settings file."""
    variants = []
    for name in HEADS:
        schema = settings_model(name).model_json_schema()
        schema["properties"] = {"name": {"const": name, "title": "Name"}, **schema["properties"]}
        variants.append(schema | {"required": ["name"]})
    return {"anyOf": [{"enum": list(HEADS)}, *variants]}
