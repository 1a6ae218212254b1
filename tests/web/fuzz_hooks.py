"""Hooks of schemathesis: settings, edits and headers that get further than random text, and odder than people write."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import schemathesis
from hypothesis import strategies as st

from segspectral import Pipeline
from segspectral.heads import HEADS

HALF = "\ud800"
JOB = os.environ.get("FUZZ_JOB", "")  # pytest imports this module, too, to look for doctests


def _names(data: Any, above: str = "") -> list[str]:
    names = [above] if above else []
    for key, inner in data.items() if isinstance(data, dict) else ():
        names += _names(inner, f"{above}.{key}" if above else key)
    return names


NAMES = [*_names(Pipeline().model_dump(mode="json")), "head.hidden", "nonsense", "", ".", HALF, "head.steps.x"]
NUMBERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([0, 1, 2, 3, -1, 10**6, 10**30, 1e308, float("nan"), float("inf")]),
)
TEXTS = st.text(max_size=5) | st.sampled_from([*HEADS, HALF, "\0", "auto", "none", "../x", "cuda"])


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["name", "x", HALF])
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=2))


CHEAP = st.fixed_dictionaries({"segments": st.integers(2, 6)}, optional={"refine": st.sampled_from(["none", "guided"])})
ODD = st.sampled_from(
    ["[" * 9000, "{" * 9000, "a: &a [1]\nb: *a", "a: !!python/name:os.system", "- 1", "\x00", "1: 2", "0x" + "f" * 9000]
)
WILD = st.one_of(  # a text that is not allowed hides what would become of the numbers
    st.dictionaries(st.sampled_from([*Pipeline.model_fields, "head"]), _nested(NUMBERS), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), _nested(NUMBERS), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), _nested(NUMBERS | TEXTS), min_size=1, max_size=2),
)
EDITS = st.one_of(
    st.fixed_dictionaries({"action": st.just("cut"), "segments": st.integers(1, 9)}),
    st.fixed_dictionaries({"action": st.just("cut"), "level": st.floats(allow_nan=False, allow_infinity=False)}),
    st.fixed_dictionaries({"action": st.just("merge"), "segments": st.lists(st.integers(1, 4), min_size=2)}),
    st.fixed_dictionaries({"action": st.just("split"), "segment": st.integers(1, 4), "parts": st.integers(2, 8)}),
    st.fixed_dictionaries(
        {
            "action": st.just("rename"),
            "segment": st.integers(1, 4),
            "name": st.text(max_size=90) | st.sampled_from([HALF, "a\0b", "=cmd|' /C calc'!A0", "a\nb", "../x"]),
        }
    ),
    st.fixed_dictionaries({"action": st.just("recolour"), "segment": st.integers(1, 4), "colour": st.just("#01fEa9")}),
    st.fixed_dictionaries({"action": st.sampled_from(["undo", "redo"])}),
)
ORIGINS = ["http://[", "http://[::1", "null", "://", "http://127.0.0.1:99999999", "http://\xe9", "x" * 3000]
TAGS = ['"0"', '"before"', "*", 'W/"1"', '"\xff"', "," * 500]


count = itertools.count()


@schemathesis.hook
def flatmap_body(context: Any, body: Any) -> Any:
    """Replace most bodies by ones that the application understands; the others stay as they were drawn."""
    path = context.operation.path
    if path == "/api/jobs":
        return st.one_of(
            st.just(body),
            st.builds(lambda s: {"sample": "cat.jpg", "settings": json.dumps(s)}, WILD),
            st.builds(lambda s, m: {"again": JOB, "settings": json.dumps(s), "more": m}, CHEAP, WILD.map(json.dumps)),
            st.builds(lambda s: {"again": JOB, "settings": s}, ODD),
            st.builds(lambda s: {"again": JOB, "settings": json.dumps(s)}, CHEAP),
        )
    return st.just(body) | EDITS if path.endswith("/edits") else st.just(body)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Some requests have odd headers, which the description does not know."""
    number = next(count)
    headers = {3: ("Origin", ORIGINS), 6: ("If-None-Match", TAGS)}.get(number % 7)
    if headers is not None:
        name, values = headers
        case.headers = {**(case.headers or {}), name: values[number // 7 % len(values)]}
