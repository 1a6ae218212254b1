"""Constructors of heads from annotations, and pydantic models that check what they are given.

scikit-learn wants an estimator to store its parameters as they are and to check them in ``fit`` only. The parameters
of a head are therefore annotated attributes of its class, from which ``dataclass`` writes the constructor, and the same
annotations make a pydantic model that checks a settings file or an estimator's parameters.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, dataclass_transform, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

__all__ = ["FROM_PIPELINE", "Parameters", "checked_parameters", "parameter_model"]

FROM_PIPELINE = ("n_clusters", "random_state", "n_neighbors", "bandwidth", "symmetrize", "space")
"""Parameters that a pipeline has elsewhere, ``segments``, ``seed`` and ``affinity``, or that are for vectors alone."""


@dataclass_transform(eq_default=False, kw_only_default=True, field_specifiers=(field,))
class Parameters:
    """The annotated attributes of a class below this one are the keyword-only parameters of its constructor.

    A class has the parameters of its bases, too. It changes a default by annotating the attribute again, and drops a
    parameter by annotating it as a ``ClassVar``.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # scikit-learn's own representation and identity of estimators stay.
        dataclass(eq=False, repr=False, kw_only=True)(cls)


@cache
def parameter_model(cls: type, leave_out: tuple[str, ...] = ()) -> type[BaseModel]:
    """A pydantic model of the parameters of a class, without those to ``leave_out``.

    A parameter that the class does not annotate may be anything.
    """
    hints = get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(cls).parameters.items()
        if name not in leave_out
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn has parameters such as copy, which pydantic's models have, too
        return create_model(cls.__name__, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


def checked_parameters(cls: type, given: Mapping[str, Any], leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Parameters as the constructor of a class wants them: lists become tuples, mappings nested settings.

    Raises
    ------
    pydantic.ValidationError
    """
    return dict(parameter_model(cls, leave_out).model_validate(dict(given)))
