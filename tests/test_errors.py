"""Errors say what they are about, once."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from segspectral import errors
from segspectral.errors import ImageError, SegspectralError, about

KINDS = sorted(set(errors.__all__) - {"about"})


def raised(source: object, error: SegspectralError) -> SegspectralError:
    with pytest.raises(type(error)) as caught, about(source):
        raise error
    assert caught.value is error  # its traceback shows where it was raised
    return error


@pytest.mark.parametrize("name", KINDS)
def test_an_error_without_a_source_gets_one(name: str) -> None:
    error = raised("photos/cat.jpg", getattr(errors, name)("is damaged"))
    assert str(error) == "photos/cat.jpg: is damaged"
    assert (error.source, error.message) == ("photos/cat.jpg", "is damaged")


def test_the_same_file_is_not_named_twice() -> None:
    path = Path("photos/cat.jpg")
    for source in (path, str(path), path.name):
        assert str(raised(path, ImageError("is damaged", source))) == "photos/cat.jpg: is damaged"
    nested = raised(path, raised(path, ImageError("is damaged")))
    assert str(nested) == "photos/cat.jpg: is damaged"


def test_what_the_error_was_about_stays_in_the_message() -> None:
    error = raised("cat.jpg", errors.OutputError("cannot be written", "out/cat.png"))
    assert str(error) == "cat.jpg: out/cat.png: cannot be written"


def test_errors_of_others_pass() -> None:
    with pytest.raises(KeyError), about("cat.jpg"):
        raise KeyError("none of ours")


@pytest.mark.parametrize("source", [None, "cat.jpg"])
def test_an_error_comes_whole_from_another_process(source: str | None) -> None:
    error = raised("photos/cat.jpg", ImageError("is damaged", source))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.source, again.message) == (str(error), error.source, error.message)
