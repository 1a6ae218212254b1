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
from segspectral.cli.options import Limit, Output, PipelineOptions, Without, command
from segspectral.errors import SettingsError
from segspectral.registry import DATASETS
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.evaluate import ImageScore, Prediction, Results
    from segspectral.evaluate.datasets import Dataset
    from segspectral.pipeline import Pipeline

LEVELS = "levels"


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
        from segspectral.evaluate.datasets import open_dataset

        void = None if self.void is None else _void(self.void)
        chosen: dict[str, Any] = {"split": self.split, "limit": self.limit, "ids": self.ids}
        return open_dataset(name, root, with_class=self.class_, void=void, **chosen)


@dataclass(frozen=True)
class ScoreOptions:
    """What is scored, and how."""

    measures: Annotated[
        str | None, typer.Option(help="Some of semantic,contour,region,boundary (default: what fits the data set).")
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(help="How segments get classes: P1, P2, P3, P4 or direct (default: P1 with --model, else P3)."),
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
    seeds: Annotated[
        int, typer.Option(min=1, help="Run with this many seeds; the results have mean and standard deviation.")
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

    A run that was stopped goes on where it was when it is started again with the same OUT and settings. Results of
    other settings are replaced only with --overwrite.
    """
    from segspectral.evaluate import seed_spread

    if predictions is not None and (scores.scales or scores.seeds > 1 or options):
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
    numbers : numbers of segments of each image, if the scales are such
    """

    data: Dataset
    scores: ScoreOptions
    numbers: list[int]
    pipeline: Pipeline
    predictions: Path | None

    @classmethod
    def of(cls, data: Dataset, scores: ScoreOptions, options: PipelineOptions, predictions: Path | None) -> _Plan:
        """Fill in the defaults. Raises SettingsError if the options do not fit together."""
        one = any(option is not None for option in (options.segments, options.model, options.level, predictions))
        if scores.scales is None and data.name == "bsds" and not one:
            scores = replace(scores, scales=LEVELS)
        pipeline = options.pipeline()
        shared = pipeline.model is not None
        scores = replace(scores, protocol=scores.protocol or ("P1" if shared else "P3"))
        if predictions is None and scores.protocol in ("P1", "P2", "direct") and not shared:
            raise SettingsError(
                f"protocol {scores.protocol} needs segments that mean the same in all images; those of one image do "
                "not: give --model or --predictions, or --protocol P3"
            )
        if shared and (scores.seeds > 1 or scores.scales):
            raise SettingsError(
                "--seeds and --scales do not change a fitted model; fit one model per seed or number of segments and "
                "evaluate each of them"
            )
        if options.level is not None and scores.scales:
            raise SettingsError("--level gives one segmentation of each image: leave out --scales")
        return cls(data, scores, _numbers(scores.scales), pipeline, predictions)

    def claim(self, output: Path, root: Path, void: str | None, *, overwrite: bool) -> None:
        """Make the folder of results ours, or raise OutputError."""
        from segspectral.evaluate.folder import claim, images_of

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
            "seeds": scores.seeds,
            "settings": {} if self.predictions else self.pipeline.model_dump(mode="json"),
        }
        claim(output, self.data, settings, overwrite=overwrite)

    def runs(self, output: Path) -> Iterator[Results]:
        """Score with each seed."""
        from segspectral.evaluate.folder import IMAGES

        if self.predictions is None:
            self.pipeline.prepare()
        for number in range(self.scores.seeds):
            resume = output / IMAGES / str(number) if self.scores.seeds > 1 else output / IMAGES
            yield self._run(self.pipeline.model_copy(update={"seed": self.pipeline.seed + number}), resume)

    def _run(self, pipeline: Pipeline, resume: Path) -> Results:
        from segspectral.evaluate import evaluate as score

        scores, scales = self.scores, self.scores.scales
        predictor: Any = self.predictions or _Segmenter(pipeline, self.numbers, by_level=scales == LEVELS)
        with progress(len(self.data)) as report:

            def on_image(image: ImageScore, done: int, total: int) -> None:
                report.line(f"{done}/{total} {image.id}: {image.seconds:.2f} s")

            results = score(
                self.data,
                predictor,
                measures=scores.measures.split(",") if scores.measures else None,
                protocol=scores.protocol,  # type: ignore[arg-type]
                agreement=scores.matching,  # type: ignore[arg-type]
                settings=None if self.predictions else pipeline.model_dump(mode="json") | {"scales": scales},
                command="segspectral " + " ".join(sys.argv[1:]),
                seed=pipeline.seed,
                resume=resume,
                on_image=on_image,
            )
        if isinstance(predictor, _Segmenter):
            predictor.notes.end()
        return results


class _Segmenter:
    """An image's path -> its label map, or one per number of segments, or one per level of the hierarchy."""

    def __init__(self, pipeline: Pipeline, numbers: list[int], by_level: bool = False) -> None:
        # The levels need no head and no refiner.
        self.pipeline = pipeline.model_copy(update={"hierarchy": True}) if by_level else pipeline
        self.numbers, self.by_level, self.notes = numbers, by_level, ReadingNotes()

    def __call__(self, path: Path) -> Prediction:
        import numpy as np

        from segspectral.evaluate import Prediction
        from segspectral.images.reader import read_image
        from segspectral.values.regions import SWEEP_LEVELS

        image = read_image(path, self.pipeline.reading)
        self.notes(path, image.notes)
        if self.by_level:
            tree = self.pipeline.describe(image).hierarchy
            maps = [tree.labels(level=level) for level in SWEEP_LEVELS]
            return Prediction(np.stack(maps), tree.superpixels.labels)
        if not self.numbers:
            result = self.pipeline(image)
            return Prediction(result.labels, result.superpixels.labels)
        scene = self.pipeline.describe(image)
        results = [self.pipeline.solve(scene, number) for number in self.numbers]
        return Prediction(np.stack([result.labels for result in results]), results[0].superpixels.labels)


def _void(text: str) -> int | Literal["none"]:
    """``none``, or a number."""
    if text == "none":
        return "none"
    try:
        return int(text)
    except ValueError:
        raise SettingsError("give a number such as 255, or the word none", f"--void {text}") from None


def _numbers(text: str | None) -> list[int]:
    """``2,4,8`` or ``2-12`` as numbers; none for None and for levels."""
    if text is None or text == LEVELS:
        return []
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
    for measure in ("semantic", "contour", "region", "boundary"):
        if measure in data["protocol"]:
            console.print(f"{measure}: {data['protocol'][measure]}", highlight=False, markup=False)
    for text in data["notes"][said:]:
        print(f"note: {text}")
    for group, scores in data.get("seeds", {}).items():
        for name, spread in scores.items():
            print(f"{group} {name} over {len(spread['values'])} seeds: {spread['mean']:.4f} +- {spread['sd']:.4f}")
