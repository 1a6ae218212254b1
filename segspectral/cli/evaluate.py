"""``segspectral evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from segspectral.cli.common import ReadingNotes, progress
from segspectral.cli.completion import one_of
from segspectral.cli.options import Limit, Output, PipelineOptions, Without, check_files_beside, command
from segspectral.errors import SettingsError
from segspectral.registry import DATASETS
from segspectral.wording import few, plural

if TYPE_CHECKING:
    from segspectral.evaluation import ImageScore, Results, Scales
    from segspectral.evaluation.datasets import Dataset
    from segspectral.pipeline import Pipeline

LEVELS: Literal["levels"] = "levels"


@dataclass(frozen=True)
class ImageOptions:
    """Which images of a data set are scored."""

    split: Annotated[
        str | None, typer.Option(help="Part of the data set (default: val, or all of a folder without it).")
    ] = None
    limit: Limit = None
    ids: Annotated[Path | None, typer.Option(help="A file with one image id per line.")] = None
    class_: Annotated[str | None, typer.Option("--class", help="Only images that hold this class.")] = None
    void: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE|none",
            help="For folder: the value of mask pixels that are not scored, such as 255; none: all are scored.",
        ),
    ] = None

    def open(self, name: str, root: Path) -> Dataset:
        """Raises DatasetError, SettingsError."""
        from segspectral.evaluation.datasets import open_dataset

        void = None if self.void is None else _void(self.void)
        chosen: dict[str, Any] = {"split": self.split, "limit": self.limit, "ids": self.ids}
        return open_dataset(name, root, with_class=self.class_, void=void, **chosen)


@dataclass(frozen=True)
class ScoreOptions:
    """What is scored, and how."""

    measures: Annotated[
        str | None,
        typer.Option(
            help="Some of semantic,contour,region,boundary,edges (default: what fits the data set, without edges)."
        ),
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            help="How segments get classes: P1, P2, P3, P4, diffcut or direct (default: direct for a model that knows "
            "the classes, P1 for another --model, else P3)."
        ),
    ] = None
    matching: Annotated[str, typer.Option(help="What a matching maximises: iou or pixels.")] = "iou"
    scales: Annotated[
        str | None,
        typer.Option(
            metavar="K,K,...|levels",
            help="For ODS and OIS: numbers of segments, 2,4,8 or 2-12, or levels of the hierarchy (default for bsds "
            "without -k: levels).",
        ),
    ] = None
    runs: Annotated[
        int,
        typer.Option(min=1, help="Number of runs, each with another --seed; the results have mean and deviation."),
    ] = 1


@command
def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help=f"The data set: {', '.join(DATASETS)}.", autocompletion=one_of(DATASETS)
        ),
    ],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder of the data set.")],
    output: Output,
    images: ImageOptions,
    scores: ScoreOptions,
    options: Annotated[PipelineOptions, Without("split")],
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Score the label maps of this folder, ID.png, .npy, .npz or ID_labels.png, instead of segmenting.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the results that OUT holds.")] = False,
) -> None:
    """Score segmentations on a data set: OUT gets results.json, scores.csv and report.html.

    To continue a run that was stopped, start it again with the same OUT and settings. Results of other settings are
    replaced only with --overwrite.
    """
    from segspectral.evaluation import seed_spread

    if predictions is not None and (scores.scales or scores.runs > 1 or options):
        raise SettingsError("--predictions scores label maps as they are: leave out the options that make segments")
    plan = _Plan.of(images.open(dataset, root), scores, options, predictions)
    plan.claim(output, root, images.void, overwrite=overwrite)
    for text in plan.data.notes:
        print(text)
    runs = list(plan.runs(output))
    results = runs[0]
    if len(runs) > 1:
        results.data["seeds"] = seed_spread(runs)
    written = results.write(output)
    _print(results, said=len(plan.data.notes))
    print(f"-> {written['report.html']}")


@dataclass(frozen=True)
class _Plan:
    """What is scored: the pipeline's segmentations of a data set, or label maps in a folder.

    Parameters
    ----------
    scales : what each image is segmented into
    """

    data: Dataset
    scores: ScoreOptions
    scales: Scales
    pipeline: Pipeline
    predictions: Path | None

    @classmethod
    def of(cls, data: Dataset, scores: ScoreOptions, options: PipelineOptions, predictions: Path | None) -> _Plan:
        """Fill in the defaults. Raises SettingsError if the options do not fit together."""
        from segspectral.evaluation.segmenting import check_edges, classes_taught, default_scales

        pipeline = options.pipeline()
        check_files_beside(pipeline, [str(sample.image) for sample in data.samples])
        if scores.scales is None and not (predictions or options.segments) and default_scales(data, pipeline):
            scores = replace(scores, scales=LEVELS)
        shared = pipeline.model is not None
        taught = classes_taught(data, pipeline)
        usual = "direct" if taught else "P1" if shared else "P3"
        scores = replace(scores, protocol=scores.protocol or usual)
        if predictions is None and shared and scores.protocol == "direct":
            data = replace(data, notes=(*data.notes, *_said_of_names(data, pipeline, taught)))
        if predictions is None and scores.protocol in ("P1", "P2", "direct") and not shared:
            raise SettingsError(
                f"protocol {scores.protocol} needs segments that mean the same in all images; those of one image do "
                "not: give --model or --predictions, or --protocol P3"
            )
        if shared and (scores.runs > 1 or scores.scales):
            raise SettingsError(
                "--runs and --scales do not change a fitted model; fit one model per seed or number of segments and "
                "evaluate each of them"
            )
        if options.level is not None and scores.scales:
            raise SettingsError("--level gives one segmentation of each image: leave out --scales")
        plan = cls(data, scores, _scales(scores.scales), pipeline, predictions)
        if plan.of_edges:
            check_edges(predictions or pipeline)
        return plan

    @property
    def of_edges(self) -> bool:
        """Whether the edge map is scored."""
        return "edges" in (self.scores.measures or "").split(",")

    def claim(self, output: Path, root: Path, void: str | None, *, overwrite: bool) -> None:
        """Claim the folder of results for this evaluation, or raise OutputError."""
        from segspectral.evaluation.folder import claim, images_of

        scores = self.scores
        settings = {
            "dataset": self.data.name,
            "root": root.resolve(),
            "split": self.data.split,
            "void": void,
            "images": images_of(self.data),
            "predictions": self.predictions and self.predictions.resolve(),
            "measures": scores.measures,
            "protocol": scores.protocol,
            "matching": scores.matching,
            "scales": scores.scales,
            "runs": scores.runs,
            "settings": {} if self.predictions else self.pipeline.model_dump(mode="json"),
        }
        claim(output, self.data, settings, overwrite=overwrite)

    def runs(self, output: Path) -> Iterator[Results]:
        """Score with each seed."""
        from segspectral.evaluation.folder import IMAGES

        if self.predictions is None:
            self.pipeline.prepare()
        for number in range(self.scores.runs):
            resume = output / IMAGES / str(number) if self.scores.runs > 1 else output / IMAGES
            yield self._run(self.pipeline.model_copy(update={"seed": self.pipeline.seed + number}), resume)

    def _run(self, pipeline: Pipeline, resume: Path) -> Results:
        from segspectral.evaluation import Segmenting
        from segspectral.evaluation import evaluate as score

        scores, notes = self.scores, ReadingNotes()
        predictor = self.predictions or Segmenting(
            pipeline, self.scales, notes, self.data if scores.protocol == "direct" else None, edges=self.of_edges
        )
        with progress(len(self.data)) as report:

            def on_image(image: ImageScore, done: int, total: int) -> None:
                report.line(f"{done}/{total} {image.id}: {image.seconds:.2f} s")

            results = score(
                self.data,
                predictor,
                measures=scores.measures.split(",") if scores.measures else None,
                protocol=scores.protocol,  # type: ignore[arg-type]
                agreement=scores.matching,  # type: ignore[arg-type]
                settings=predictor.settings if isinstance(predictor, Segmenting) else None,
                command="segspectral " + " ".join(sys.argv[1:]),
                seed=pipeline.seed,
                resume=resume,
                on_image=on_image,
            )
        notes.end()
        return results


def _said_of_names(data: Dataset, pipeline: Pipeline, taught: dict[int, int]) -> Iterator[str]:
    """What direct scores leave out. Raises SettingsError if the model and the data set have no class in common."""
    names = {} if pipeline.model is None else pipeline.model.names
    if not taught:
        raise SettingsError(
            f"no class of the model ({few([*names.values()])}) is a class of {data.name} ({few(data.classes)}): use "
            "--protocol P1"
        )
    yield f"{plural(len(taught), 'class', 'classes')} of the model {'is' if len(taught) == 1 else 'are'} scored by name"
    if strangers := [name for segment, name in names.items() if segment not in taught]:
        yield f"pixels of {few(strangers)} are misses, because {data.name} has no such class"
    if unknown := [name for place, name in enumerate(data.classes) if place not in taught.values()]:
        yield f"the model knows no {few(unknown)}, so their IoU is 0"


def _void(text: str) -> int | Literal["none"]:
    """``none``, or a number."""
    if text == "none":
        return "none"
    try:
        return int(text)
    except ValueError:
        raise SettingsError("give a number such as 255, or the word none", f"--void {text}") from None


def _scales(text: str | None) -> Scales:
    """``2,4,8`` or ``2-12`` as numbers, ``levels``; none for None."""
    if text is None or text == LEVELS:
        return LEVELS if text else []
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
            raise SettingsError("write numbers of segments as 2,4,8 or 2-12, or the word levels", f"--scales {text}")
        numbers += range(int(first), int(last if dash else first) + 1)
    return numbers


def _print(results: Results, said: int) -> None:
    """Print the table, the protocols, and the notes after the first ``said``, which were printed at the beginning."""
    from rich.console import Console
    from rich.table import Table

    from segspectral.evaluation.plan import MEASURES

    data = results.data
    name = " ".join(filter(None, (data["dataset"]["name"], data["dataset"]["split"])))
    table = Table(title=f"{name}, {plural(data['images'], 'image')}")
    for column in ("group", "score", "value", "95 % interval"):
        table.add_column(column)
    for group, name, value, interval in results.table():
        table.add_row(
            group, name, f"{value:.4f}", "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
        )
    console = Console(width=100 if not sys.stdout.isatty() else None)
    console.print(table)
    for measure in MEASURES:
        if measure in data["protocol"]:
            console.print(f"{measure}: {data['protocol'][measure]}", highlight=False, markup=False)
    for text in data["notes"][said:]:
        print(f"note: {text}")
    for group, scores in data.get("seeds", {}).items():
        for name, spread in scores.items():
            print(f"{group} {name} over {len(spread['values'])} seeds: {spread['mean']:.4f} +- {spread['sd']:.4f}")
