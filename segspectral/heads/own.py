"""Heads from outside the package: a user's own class, or a clusterer of scikit-learn's kind.

A text such as ``my_module:MyHead`` or ``./my_head.py:MyHead`` names code that will run. It is followed only where the
user has written it: on the command line or in a settings file of theirs, which call ``allow``. Settings from anywhere
else (a client of the web page, a journal, a model) may name a head that has been allowed in this process, and nothing
more.
"""

from __future__ import annotations

import copyreg
import hashlib
import inspect
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from segspectral.errors import SettingsError
from segspectral.heads import ALLOWED, HEADS
from segspectral.heads.base import Head
from segspectral.heads.clusterer import Clusterer, is_clusterer

__all__ = ["allow", "as_head", "name_of"]

PREFIX = "segspectral_own_"
"""Modules that are loaded from a file have names that begin so."""

NAMES: dict[type, str] = {}
"""Allowed class -> the name that loads it, with the whole path of its file."""


def allow(settings: Mapping[str, Any]) -> None:
    """Load the class that the user's own settings name under ``head``, if it is not one of ``HEADS``.

    Raises
    ------
    SettingsError
        There is no such module, file or class, or it does not keep the contract of a head.
    """
    head = settings.get("head")
    name = head.get("name") if isinstance(head, Mapping) else head
    if isinstance(name, str) and ":" in name and name not in ALLOWED:
        place, _, attribute = name.rpartition(":")
        module, place = _module(name, place)
        cls = getattr(module, attribute, None)
        if not isinstance(cls, type):
            known = [key for key, value in vars(module).items() if isinstance(value, type) and _fault(value) is None]
            found = f"it has {', '.join(known)}" if known else "and no other head"
            raise SettingsError(f"head {name}: {place} has no class {attribute}; {found}")
        if (fault := _fault(cls)) is not None:
            raise SettingsError(f"head {name}: {fault}")
        NAMES[cls] = f"{place}:{attribute}"
        ALLOWED[name] = ALLOWED[NAMES[cls]] = cls
        if cls.__module__.startswith(PREFIX):
            # A worker process does not find a file by the name of its module: it loads the class as this one did.
            copyreg.pickle(cls, _reduced)


def as_head(value: Any) -> Head:
    """A head from an object or class that the user has made in Python. ValueError if it does not keep the contract."""
    cls = value if isinstance(value, type) else type(value)
    if (fault := _fault(cls)) is not None:
        raise ValueError(fault)
    made = cls() if isinstance(value, type) else value
    head = made if isinstance(made, Head) else Clusterer(estimator=made)
    kind = type(head.estimator) if isinstance(head, Clusterer) else type(head)
    ALLOWED.setdefault(name_of(kind), kind)
    return head


def name_of(cls: type) -> str:
    """The name under which settings have a class: that in ``HEADS``, or one that ``allow`` takes.

    >>> from sklearn.cluster import Birch
    >>> name_of(Birch)
    'sklearn.cluster:Birch'
    """
    place = f"{cls.__module__}:{cls.__qualname__}"
    if (listed := next((name for name, where in HEADS.items() if where == place), None)) is not None:
        return listed
    if cls in NAMES:
        return NAMES[cls]
    # scikit-learn's public names leave out the private modules at the end.
    public = cls.__module__
    while public.rpartition(".")[2].startswith("_") and "." in public:
        public = public.rpartition(".")[0]
    if getattr(sys.modules.get(public), cls.__qualname__, None) is cls:
        return f"{public}:{cls.__qualname__}"
    return place


def _module(name: str, place: str) -> tuple[ModuleType, str]:
    """A module by its name or its file, and which of the two it is; files by their whole path."""
    file = Path(place) if place.endswith(".py") else Path(f"{place}.py")
    try:
        if not place.endswith(".py"):
            parts = place.split(".")
            if all(part.isidentifier() for part in parts) and (place in sys.modules or find_spec(parts[0]) is not None):
                return import_module(place), place
        if not file.is_file():
            kind = "file" if place.endswith(".py") else f"module, and no file {file} in this folder"
            raise SettingsError(f"head {name}: there is no such {kind}")
        file = file.resolve()
        key = f"{PREFIX}{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
        if key not in sys.modules:
            spec = spec_from_file_location(key, file)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[key] = module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[key]
                raise
        return sys.modules[key], str(file)
    except SettingsError:
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise SettingsError(f"head {name}: {place} cannot be imported ({why})") from error


def _fault(cls: type) -> str | None:
    """Why a class cannot be a head; None if it can."""
    if not issubclass(cls, Head):
        if is_clusterer(cls):
            return None
        return (
            f"{cls.__name__} is not a head: a head is its name or a mapping with it, derives from "
            "segspectral.heads.base.Head, or is a clusterer of scikit-learn's kind, with get_params and fit_predict"
        )
    if cls._solve is Head._solve:
        return f"{cls.__name__} has no _solve, the one method that a head must have"
    if missing := {"n_clusters", "random_state"} - set(inspect.signature(cls).parameters):
        return f"{cls.__name__} lacks the parameter {sorted(missing)[0]}, which every head has"
    return None


def _reduced(head: Any) -> tuple[Any, ...]:
    cls = type(head)
    return _empty, (f"{sys.modules[cls.__module__].__file__}:{cls.__qualname__}",), head.__getstate__()


def _empty(name: str) -> Any:
    """An object of a class by its name, whose state pickle sets."""
    allow({"head": name})
    cls: Any = ALLOWED[name]
    return cls.__new__(cls)
