#!/usr/bin/env python3
"""Write the reference of the commands and of the settings, and copy pages of the repository into the site.

    tools/docs_pages.py

writes docs/reference/cli.md from the Typer application and docs/reference/settings.md from the pydantic models. Both
are part of the repository, so that they can be read there; a test checks that they are up to date, and `make docs`
writes them anew. As a hook of mkdocs (see mkdocs.yml) this file makes README.md the front page of the site, and
CONTRIBUTING.md, CHANGELOG.md and sample_images/SOURCES.md pages of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel
from typer.main import get_command

from segspectral.cli import app
from segspectral.heads import HEADS, head_class
from segspectral.heads.parameters import FROM_PIPELINE, parameter_model
from segspectral.heads.settings import head_to
from segspectral.networks import Search
from segspectral.pipeline import Pipeline
from segspectral.rasters.segment import Tiles
from segspectral.shared.model import Recipe
from segspectral.shared.taught import Lesson

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]

COPIED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "NOTICE": "notice.md",
    "CITATION.cff": "citation.md",
    "sample_images/SOURCES.md": "sample-images.md",
}

WRITTEN = "This page is written from the program by `tools/docs_pages.py`. "


def written() -> dict[Path, str]:
    """The pages of the repository that are written from the code: file -> text."""
    folder = ROOT / "docs" / "reference"
    return {folder / "cli.md": commands(), folder / "settings.md": settings()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add copies of files of the repository to the pages of docs/."""
    from mkdocs.structure.files import File

    for source, page in COPIED.items():
        files.append(File.generated(config, page, content=copied(source)))
    return files


def copied(source: str) -> str:
    """Return a file of the repository as a page, with links to the pages of the other files."""
    text = (ROOT / source).read_text(encoding="utf-8")
    if not source.endswith(".md"):
        text = f"# {Path(source).stem.capitalize()}\n\n```text\n{text}```\n"
    for other, page in COPIED.items():
        text = text.replace(f"]({other})", f"]({page})")
    return text.replace("](docs/", "](")


# --- commands ---


def commands() -> str:
    """One section for each command: what it does, its arguments and its options."""
    head = f"# Commands\n\n{WRITTEN}`segspectral COMMAND --help` prints the same.\n"
    return head + "".join(_command(name, command) for name, command in _leaves("segspectral", get_command(app)))


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)  # of a group; Typer's class is not always click's
    if inner is None:
        yield name, command
        return
    for key, below in inner.items():
        yield from _leaves(f"{name} {key}", below)


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([name, *map(_spelling, arguments)])
    rows = [
        f"| {_code(_spelling(p))} | {_cell(getattr(p, 'help', None) or '')} | {_default(p.default)} |"
        for p in command.params
        if p.name != "help" and not getattr(p, "hidden", False)
    ]
    table = "\n".join(["| argument or option | what it is | default |", "|---|---|---|", *rows])
    return f"\n## {name}\n\n```text\n{usage} [OPTIONS]\n```\n\n{_help(command)}\n\n{table}\n"


def _help(command: Any) -> str:
    return re.sub(r"[ \t]*\n[ \t]*(?=\S)", "\n", (command.help or "").strip()).replace("*", r"\*").replace("<", "&lt;")


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name or "").upper()
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    takes_value = not getattr(parameter, "is_flag", False)
    return f"{names} {parameter.metavar}" if takes_value and parameter.metavar else names


# --- settings ---


def settings() -> str:
    """One table for each strategy, with the full name of each setting as `--set` and a settings file take it."""
    parts = [
        "# Settings",
        "",
        f"{WRITTEN}The tables list each setting with its meaning, its type and its default. `--set NAME=VALUE` changes "
        "one setting, `--config FILE` reads settings from a YAML file, and `segspectral config show` prints all of "
        "them. A nested name such as `refine.iterations` is a nested mapping in YAML.",
        "",
        "## Pipeline",
        "",
        *_tables(Pipeline, "", set()),
        "## head",
        "",
        "`head` is a name, or a mapping with the name and the settings of this head. The docstring of each class "
        "([Heads](heads.md)) says what the settings mean.",
        "",
    ]
    for name in HEADS:
        known = documented(head_class(name))
        parts += [
            f"### head: {name}",
            "",
            *_table(parameter_model(head_class(name), FROM_PIPELINE), "head.", known),
            "",
        ]
    parts += ["## Settings of `segspectral fit`", "", "Where they differ from those of a pipeline.", ""]
    shared = {"superpixels", "features", "affinity", "head"}
    parts += _tables(Recipe, "", shared)
    parts += ["## Settings of `segspectral teach`", "", "Where they differ from those of a pipeline.", ""]
    parts += _tables(Lesson, "", {"superpixels", "features"})
    parts += ["## Settings of `segspectral batch --tile`", "", *_tables(Tiles, "", set())]
    parts += ["## Settings of `segspectral communities`", "", *_table(Search, ""), ""]
    return "\n".join(parts) + "\n"


def documented(head: type) -> dict[str, str]:
    """Return the descriptions of the parameters in the docstrings of a head and of its base classes."""
    found: dict[str, str] = {}
    for kind in reversed(head.__mro__):
        lines = (inspect.getdoc(kind) if "__doc__" in vars(kind) else "") or ""
        section = re.search(r"Parameters[^\n]*\n-+\n(.*?)(?:\n\n|\Z)", lines, re.DOTALL)
        for names, text in re.findall(r"^(\w[\w, ]*) : (.*(?:\n +.*)*)", section[1] if section else "", re.MULTILINE):
            found |= {name: text for name in names.split(", ") if not (name in found and text.startswith("see ``"))}
    return found


def _tables(model: type[BaseModel], prefix: str, without: set[str]) -> Iterator[str]:
    yield from _table(model, prefix)
    yield ""
    for name, field in model.model_fields.items():
        if name in without:
            continue
        for inner in _models(field.annotation):
            yield f"### {prefix}{name}: {_called(inner)}"
            yield ""
            yield inspect.cleandoc(inner.__doc__ or "").partition("\n\n")[0]
            yield ""
            yield from _tables(inner, f"{prefix}{name}.", set())


def _called(model: type[BaseModel]) -> str:
    name = model.model_fields.get("name")
    return model.__name__ if name is None else f"{name.default} ({model.__name__})"


def _table(model: type[BaseModel], prefix: str, known: Mapping[str, str] | None = None) -> Iterator[str]:
    types = model.model_json_schema()["properties"]
    rows = []
    for name, field in model.model_fields.items():
        if name == "name" or (known is None and _models(field.annotation) and not field.description):
            continue  # a strategy has a table of its own
        what = field.description or (known or {}).get(name, "")
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        rows.append(f"| `{prefix}{name}` | {_cell(what)} | {_cell(_type(types.get(name, {})))} | {default} |")
    if rows:
        yield "| setting | what it is | type | default |"
        yield "|---|---|---|---|"
        yield from rows


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The strategies that an annotation names, also within unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _type(schema: dict[str, Any]) -> str:
    """A JSON schema in words: "integer, 1 to 100"."""
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if variants := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(_type(variant) for variant in variants)
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    words = {"array": "list", "null": "null"}.get(schema.get("type", ""), schema.get("type", "any"))
    low = [f"from {schema['minimum']:.10g}"] if "minimum" in schema else []
    low += [f"above {schema['exclusiveMinimum']:.10g}"] if "exclusiveMinimum" in schema else []
    high = [f"to {schema['maximum']:.10g}"] if "maximum" in schema else []
    high += [f"below {schema['exclusiveMaximum']:.10g}"] if "exclusiveMaximum" in schema else []
    return " ".join([words, *low, *high])


def _default(value: Any) -> str:
    if value is None or value is ... or value == [] or callable(value):
        return ""
    if isinstance(value, BaseModel):
        return f"`{value.name}`" if hasattr(value, "name") else "see below"
    if hasattr(value, "get_params"):
        return f"`{head_to(value)['name']}`"
    if isinstance(value, tuple):
        return _code(f"[{', '.join(map(str, value))}]")
    return _code(str(value).lower() if isinstance(value, bool) else str(value))


def _code(text: str) -> str:
    return "`" + text.replace("|", r"\|") + "`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*").replace("_", r"\_")


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
