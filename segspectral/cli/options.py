"""Options that several commands share, as groups: a command takes a group as one argument.

::

    @command
    def segment(images: ..., pipeline: PipelineOptions) -> None: ...

gives ``segspectral segment`` all options of ``PipelineOptions``, and ``--debug``. ``Annotated[PipelineOptions,
Only("head", "seed")]`` gives it some of them. The method ``check`` of a group, if it has one, is called before the
command.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from segspectral.cli.common import DebugOption, check_head, check_local, note, sentences
from segspectral.cli.completion import one_of, some_of
from segspectral.errors import SettingsError
from segspectral.heads import HEADS
from segspectral.imports import no_collection
from segspectral.registry import (
    FORMATS,
    OVERLAYS,
    PARTS,
    REFINERS,
    TOLERANCE,
    Look,
    Shapes,
    formats_named,
    preset,
    presets,
    settings_file,
    size_parts,
)

if TYPE_CHECKING:
    from segspectral.pipeline import Pipeline
    from segspectral.rasters.tiling import Tiling
    from segspectral.settings import Settings

__all__ = [
    "WHOLE",
    "FormatOptions",
    "Limit",
    "Only",
    "Output",
    "PipelineOptions",
    "Recursive",
    "SeedOptions",
    "TileOptions",
    "check_files_beside",
    "command",
    "warn_of_names",
]

Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the results.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Also search subfolders.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only this many images, from the first.")]

SIZES = {"min_size": "min", "max_size": "max", "fill_holes": "holes", "pieces": "pieces", "split": "split"}
"""The options that limit sizes, and the settings of ``sizes`` that they stand for."""

FEATURES = {"backbone": ("cnn", "backbone"), "edges_weight": ("contours", "own")}
"""The options that change the features, and the settings of an extractor that they stand for."""

READING = ("bands", "index", "stretch", "page", "channels")
"""The options that say how images are read."""

WHOLE = "seeds and edges belong to whole images"
"""Why an image with either is not read in tiles."""

Kind = TypeVar("Kind", bound="Settings")

PRESETS = [name for name in presets() if "/" not in name]


class Only:
    """Which options of a group a command has."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)


class Without:
    """Which options of a group a command lacks, because it has others of these names."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose arguments that are groups are made of the options in them.

    Errors that have a sentence for the user end the command with this sentence; with ``--debug`` they are raised.
    """
    own = inspect.signature(function).parameters
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, tuple[type, list[str]]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.items():
        if name == "debug":
            continue
        kind, *extras = get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name],)
        if is_dataclass(kind) and isinstance(kind, type):
            chosen = list(_options(kind, extras))
            groups[name] = (kind, [option.name for option in chosen])
            parameters += chosen
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
    parameters.append(_keyword("debug", DebugOption, False))

    @functools.wraps(function)
    def run(**given: Any) -> None:
        debug = given.pop("debug")
        if "debug" in own:
            given["debug"] = debug
        with sentences(debug):
            check_local(given.values())
            for name, (kind, options) in groups.items():
                given[name] = kind(**{option: given.pop(option) for option in options})
            for name in groups:
                if hasattr(given[name], "check"):
                    given[name].check()
            function(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options(kind: type, extras: list[Any]) -> Iterator[inspect.Parameter]:
    """The options of a group, or those of them that are named."""
    hints = get_type_hints(kind, include_extras=True)
    wanted = next((extra.names for extra in extras if isinstance(extra, Only)), frozenset(hints))
    wanted = wanted.difference(*(extra.names for extra in extras if isinstance(extra, Without)))
    for field in fields(kind):
        if field.name in wanted:
            yield _keyword(field.name, hints[field.name], field.default)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@dataclass(frozen=True)
class PipelineOptions:
    """The settings of a pipeline, as a command line gives them."""

    segments: Annotated[
        str | None,
        typer.Option("--segments", "-k", metavar="K|auto", help="How many segments; auto chooses for each image."),
    ] = None
    hierarchy: Annotated[
        bool, typer.Option("--hierarchy", help="Cut one hierarchy, so that all segmentations are nested.")
    ] = False
    level: Annotated[
        float | None, typer.Option(metavar="0..1", help="Cut the hierarchy at this level instead of at a number.")
    ] = None
    head: Annotated[
        str | None,
        typer.Option(
            help=f"The head: {', '.join(HEADS)}; or your own, ./my_head.py:MyHead.", autocompletion=one_of(list(HEADS))
        ),
    ] = None
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A model of `fit` or `teach`: all images share its segments.")
    ] = None
    backbone: Annotated[str | None, typer.Option(help="A timm model, such as tf_efficientnet_lite0.")] = None
    refine: Annotated[
        str | None, typer.Option(help="The refiner: crf, guided or none.", autocompletion=one_of(REFINERS))
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Settings by name: {', '.join(PRESETS)}, or a recipe of a paper (`config list`).",
            autocompletion=one_of(list(presets())),
        ),
    ] = None
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="A YAML file with settings.")
    ] = None
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as refine.iterations=5.")
    ] = None
    min_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Smaller pieces join a neighbour: 200 (pixels), 0.5% or 400m2 (ground)."),
    ] = None
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Larger pieces are divided along their strongest borders.")
    ] = None
    fill_holes: Annotated[
        str | None, typer.Option(metavar="SIZE|all", help="Holes up to this size take the segment around them.")
    ] = None
    pieces: Annotated[bool, typer.Option("--pieces", help="Each connected piece becomes a segment of its own.")] = False
    split: Annotated[
        bool, typer.Option("--split", help="Touching convex parts, such as cells, become segments of their own.")
    ] = False
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal results.")] = None
    bands: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="Bands shown as red, green, blue, from 1, such as 4,3,2; or one."),
    ] = None
    index: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FORMULA",
            help="A further band: ndvi, ndwi, ndbi, evi, savi, ..., or a formula such as '(b4-b1)/(b4+b1)'.",
        ),
    ] = None
    stretch: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="What becomes black and white: none, min,max, percentiles such as 2,98, or values such as 200:2700.",
        ),
    ] = None
    page: Annotated[str | None, typer.Option(metavar="N|all", help="Page or frame, from 1; all: each is an image.")] = (
        None
    )
    edges: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="Your own edge map (PNG, TIFF, npy; higher is stronger), or a folder with a map of each image's name.",
        ),
    ] = None
    edges_weight: Annotated[
        float | None,
        typer.Option(metavar="0..1", help="Weight of --edges; the learned probability gets the rest (default: 1)."),
    ] = None
    channels: Annotated[
        str | None, typer.Option(metavar="C,C", help="Channels of a micrograph, from 0, such as 0,2.")
    ] = None

    def __bool__(self) -> bool:
        """Whether an option is given."""
        return self != PipelineOptions()

    def check(self) -> None:
        """Check the names before the slow imports. Raises SettingsError if one of them is unknown."""
        check_head(self.head)
        if self.refine is not None and self.refine not in REFINERS:
            raise SettingsError(f"unknown refiner '{self.refine}'; there are {', '.join(REFINERS)}", "--refine")
        for number in (self.segments or "auto").split(","):
            if number.strip() != "auto" and not (number.strip().isdecimal() and int(number) > 0):
                raise SettingsError(f"'{number}' is neither a whole number from 1 nor auto", "--segments")
        self._check_sizes()
        self._check_edges()
        if self.preset is not None:
            preset(self.preset)
        if self.config is not None:
            settings_file(self.config)
        if self.backbone is not None:
            from segspectral.features.backbones import check_name

            check_name(self.backbone)

    def _check_sizes(self) -> None:
        for name in ("min_size", "max_size", "fill_holes"):
            if (size := getattr(self, name)) is not None:
                try:
                    size_parts(size)
                except ValueError as error:
                    raise SettingsError(str(error), f"--{name.replace('_', '-')}") from error

    def _check_edges(self) -> None:
        if self.edges is not None and not self.edges.exists():
            raise SettingsError("there is no such file or folder of edges", self.edges)
        if self.edges_weight is not None and self.edges is None:
            raise SettingsError("needs --edges", "--edges-weight")

    def pipeline(self) -> Pipeline:
        """The defaults (of ``--model``, if given), ``--preset``, ``--config``, the named options, ``--set``.

        Each of them changes what the ones before have set.

        Raises
        ------
        SettingsError
        """
        with no_collection():
            from segspectral.config import load_onto, merge_assignments
            from segspectral.pipeline import Pipeline
            from segspectral.settings import with_settings

        pipeline = Pipeline()
        if self.model is not None:
            pipeline = with_settings(pipeline, {"model": self.model}, "--model")
        for file in self.files():
            pipeline = load_onto(pipeline, file)
        for name, settings in self.named():
            pipeline = with_settings(pipeline, settings, f"--{name}")
        if self.set_:
            pipeline = with_settings(pipeline, merge_assignments(self.set_), "--set")
        self._tell_unused(pipeline)
        return pipeline

    def onto(self, defaults: Kind, more: Mapping[str, Any]) -> Kind:
        """The settings of a model to be made: ``defaults``, ``--config``, the named options, ``more``, ``--set``.

        Raises
        ------
        SettingsError
        """
        from segspectral.config import load_onto, merge_assignments
        from segspectral.settings import with_settings

        made = defaults if self.config is None else load_onto(defaults, self.config)
        cnn = None if self.backbone is None else {"cnn": {"backbone": self.backbone}}
        for name, value in {
            "head": self.head,
            "refine": self.refine,
            "features": cnn,
            "seed": self.seed,
            **more,
        }.items():
            if value is not None:
                made = with_settings(made, {name: value}, f"--{name}")
        for name, settings in self.named():
            if name in READING:
                made = with_settings(made, settings, f"--{name}")
        return with_settings(made, merge_assignments(self.set_), "--set") if self.set_ else made

    def files(self) -> Iterator[Path]:
        """The settings files; later ones override earlier ones. Raises SettingsError if there is no such preset."""
        if self.preset is not None:
            yield preset(self.preset)
        if self.config is not None:
            yield self.config

    def named(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The options that have names of their own, with the settings that they stand for."""
        if self.segments is not None:
            yield "segments", {"segments": int(self.segments) if self.segments.isdigit() else self.segments}
        for name in ("head", "refine", "seed", "edges"):
            if (value := getattr(self, name)) is not None:
                yield name, {name: value}
        for name, (extractor, setting) in FEATURES.items():
            if (value := getattr(self, name)) is not None:
                yield name.replace("_", "-"), {"features": {extractor: {setting: value}}}
        for name in READING:
            if (value := getattr(self, name)) is not None:
                yield name, {"reading": {name: int(value) if name == "page" and value.isdecimal() else value}}
        yield from (
            (name.replace("_", "-"), {"sizes": {of: size}})
            for name, of in SIZES.items()
            if (size := getattr(self, name))
        )
        if self.hierarchy or self.level is not None:
            yield "level", {"hierarchy": True, "level": self.level}

    def _tell_unused(self, pipeline: Pipeline) -> None:
        unused = [f"--{name}" for name in ("head", "refine") if getattr(self, name) is not None]
        if self.refine is not None and pipeline.leaves_it_to_borders(pipeline.segments):
            note("--refine fits segments of a head to the pixels, not regions of the hierarchy: add -k K or --head")
        if pipeline.hierarchy and unused:
            verb = "are" if len(unused) > 1 else "is"
            note(f"{' and '.join(unused)} {verb} not used, because the hierarchy is cut (--set hierarchy=false)")
        if pipeline.level is not None and self.segments not in (None, "auto"):
            note("--segments is not used, because the hierarchy is cut at a level")


@dataclass(frozen=True)
class SeedOptions:
    """Pixels whose labels the user gives."""

    seeds: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="Pixels with labels, which segments keep: a label image (0 is unknown), labelme's JSON, or CSV "
            "row,col,label; or a folder with a file of each image's name.",
        ),
    ] = None
    seeds_by: Annotated[
        str | None, typer.Option(metavar="walker|hierarchy", help="How seeds spread (default: walker, a random walk).")
    ] = None

    def check(self) -> None:
        """Check the options before the slow imports. Raises SettingsError."""
        if self.seeds_by not in (None, "walker", "hierarchy"):
            raise SettingsError(f"'{self.seeds_by}' is neither walker nor hierarchy", "--seeds-by")
        if self.seeds is None and self.seeds_by is not None:
            raise SettingsError("needs --seeds", "--seeds-by")
        if self.seeds is not None and not self.seeds.exists():
            raise SettingsError("there is no such file or folder of seeds", self.seeds)

    def pipeline(self, options: PipelineOptions) -> Pipeline:
        """The pipeline of the options, with the seeds. Raises SettingsError."""
        from segspectral.settings import with_settings

        pipeline = options.pipeline()
        if self.seeds is None:
            return pipeline
        wanted = {"path": self.seeds} | ({"by": self.seeds_by} if self.seeds_by else {})
        pipeline = with_settings(pipeline, {"seeds": wanted}, "--seeds")
        unused = [name for name in ("segments", "head", "refine") if getattr(options, name) is not None]
        if unused:
            verb = "are" if len(unused) > 1 else "is"
            note(f"{' and '.join(f'--{name}' for name in unused)} {verb} not used, because seeds define the segments")
        return pipeline


def check_files_beside(pipeline: Pipeline, names: Sequence[str]) -> None:
    """Check that each image has a file of its own, before the first image is read.

    Parameters
    ----------
    names : names of the images, with folders

    Raises
    ------
    SettingsError
        Several images would share one file.
    """
    from segspectral.files import composed

    for what, path in (("seeds", pipeline.seeds.path), ("edges", pipeline.edges)):
        if path is None or len(names) < 2:
            continue
        if not path.is_dir():
            raise SettingsError(
                f"is one file of {what} for {len(names)} images; give a folder with one for each, of the same name",
                path,
            )
        first: dict[str, str] = {}
        for name in names:
            other = first.setdefault(composed(Path(name).stem), name)
            if other != name:
                raise SettingsError(f"one file of {what} would belong to both {other} and {name}", path)


@dataclass(frozen=True)
class FormatOptions:
    """Formats in addition to the label map, and the names of segments in them."""

    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT,...",
            help=f"Also write: {', '.join(FORMATS)}.",
            autocompletion=some_of(FORMATS),
        ),
    ] = None
    names: Annotated[str | None, typer.Option(metavar="1=sky,2=road", help="The names of segments.")] = None
    category: Annotated[
        str | None, typer.Option(metavar="NAME", help="The category of segments without a name (default: segment).")
    ] = None

    overlay: Annotated[
        str,
        typer.Option(
            metavar="|".join(OVERLAYS),
            help="What the overlay shows of segments; mean: tints of their own mean colours.",
            autocompletion=one_of(OVERLAYS),
        ),
    ] = Look.style
    opacity: Annotated[float, typer.Option(metavar="0..1", help="Strength of the colours in the overlay.")] = (
        Look.opacity
    )
    numbers: Annotated[bool, typer.Option("--numbers", help="Write numbers or names on the overlay.")] = False
    parts: Annotated[
        str,
        typer.Option(metavar="multi|single", help="A row of gpkg and geojson: a segment, or a connected piece of one."),
    ] = PARTS[0]
    tolerance: Annotated[
        float, typer.Option(min=0, metavar="PIXELS", help="How far borders may move in gpkg and geojson, without gaps.")
    ] = TOLERANCE

    def check(self) -> None:
        """Raise SettingsError if there is no such format, parts or look."""
        formats_named(self.format_ or [])
        if self.parts not in PARTS:
            raise SettingsError(f"'{self.parts}' is neither {' nor '.join(PARTS)}", "--parts")
        self.look()
        if not math.isfinite(self.tolerance):
            raise SettingsError("write a number of pixels, such as 2", "--tolerance")

    def look(self) -> Look:
        """How overlays are drawn. Raises SettingsError if there is no such overlay or opacity, or it has no effect."""
        if self.overlay == "borders" and self.opacity != Look.opacity:
            raise SettingsError("needs an overlay with colours; borders has none", "--opacity")
        return Look(self.overlay, self.opacity, self.numbers)

    def shapes(self) -> Shapes:
        return Shapes(self.parts == PARTS[1], self.tolerance)

    def named(self) -> dict[int, str]:
        """Segment -> its name. Raises SettingsError."""
        from segspectral.export import parse_names

        return {} if self.names is None else parse_names(self.names)


@dataclass(frozen=True)
class TileOptions:
    """How rasters are read."""

    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|none|PIXELS",
            help="Read rasters in tiles of this side, such as 1024, as one graph, into GeoTIFFs; auto: TIFF, JPEG 2000 "
            "over 50 megapixels or 1 GB.",
        ),
    ] = "auto"

    def tiling(self, formats: FormatOptions, model: object = None, whole: str = "") -> Tiling:
        """Which images are read in tiles.

        Parameters
        ----------
        whole : why images must be held as a whole, apart from formats and the model; empty if nothing requires it

        Raises
        ------
        SettingsError
        """
        from segspectral.rasters.tiling import Tiling, why_whole

        return Tiling.parse(self.tile, whole or why_whole(formats.format_ or [], model))


def warn_of_names(names: Mapping[int, str], images: int) -> None:
    """Warn that ``--names`` do not mean the same in several images unless a model segmented them."""
    if names and images > 1:
        note(
            "--names: segment 1 of one image is not segment 1 of another, unless a model of `fit` or `teach` made "
            "both; --category NAME gives all segments one category"
        )
