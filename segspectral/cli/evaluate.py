"""``segspectral evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from segspectral.cli.common import (
    BackboneOption,
    ConfigOption,
    DebugOption,
    HeadOption,
    ModelOption,
    RefineOption,
    SeedOption,
    SegmentsOption,
    SetOption,
    make_pipeline,
    progress,
    sentences,
)
from segspectral.errors import SettingsError

LEVELS = "levels"

if TYPE_CHECKING:
    from segspectral.evaluate import ImageScore, Prediction, Results
    from segspectral.pipeline import Pipeline


def evaluate(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="voc, cityscapes, camvid, bsds or folder.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Where the data set lies.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the results.")],
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", help="Score these: DIR/ID.png, .npy, .npz or ID_labels.png, instead of segmenting."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Part of the data set; default: val, or all of a folder without it.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many images.")] = None,
    ids: Annotated[Path | None, typer.Option("--ids", help="A file with one image id a line.")] = None,
    class_: Annotated[str | None, typer.Option("--class", help="Only images that hold this class.")] = None,
    void: Annotated[
        str | None,
        typer.Option(
            "--void",
            metavar="VALUE|none",
            help="For folder: the value of mask pixels that are not scored, such as 255, or that there is none.",
        ),
    ] = None,
    measures: Annotated[
        str | None,
        typer.Option("--measures", help="Some of semantic,contour,region,boundary; default: what fits."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol", help="How segments get classes: P1, P2, P3, P4 or direct; default: P1 with --model, else P3."
        ),
    ] = None,
    matching: Annotated[str, typer.Option("--matching", help="What a matching maximises: iou or pixels.")] = "iou",
    scales: Annotated[
        str | None,
        typer.Option(
            "--scales",
            metavar="K,K,...|levels",
            help="For ODS and OIS: numbers of segments, 2,4,8 or 2-12, or levels of the hierarchy; default for bsds "
            "without -k: levels.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Run with so many seeds; mean and spread.")] = 1,
    segments: SegmentsOption = None,
    head: HeadOption = None,
    model: ModelOption = None,
    backbone: BackboneOption = None,
    refine: RefineOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the results that OUT holds.")] = False,
    debug: DebugOption = False,
) -> None:
    """Score segmentations on a data set: OUT gets results.json, scores.csv and report.html.

    A run that was stopped goes on where it was when it is started again with the same OUT and settings. Results of
    other settings are replaced with --overwrite alone.
    """
    with sentences(debug):
        from segspectral.evaluate import evaluate as score
        from segspectral.evaluate import seed_spread
        from segspectral.evaluate.datasets import open_dataset
        from segspectral.evaluate.folder import IMAGES, claim, images_of

        options = {
            "segments": segments,
            "head": head,
            "model": model,
            "backbone": backbone,
            "refine": refine,
            "seed": seed,
        }
        if predictions is not None and (scales or seeds > 1 or config or set_ or any(options.values())):
            raise SettingsError("--predictions scores label maps as they are: leave out the options that make segments")
        if scales is None and predictions is None and dataset == "bsds" and segments is None and model is None:
            scales = LEVELS
        data = open_dataset(
            dataset,
            root,
            split=split,
            limit=limit,
            ids=ids,
            with_class=class_,
            void=None if void is None else _void(void),
        )
        pipeline = make_pipeline(config, set_, **options)
        shared = pipeline.model is not None
        protocol = protocol or ("P1" if shared else "P3")
        if predictions is None and protocol in ("P1", "P2", "direct") and not shared:
            raise SettingsError(
                f"protocol {protocol} needs segments that mean the same in all images; those of one image do not: "
                "give --model or --predictions, or --protocol P3"
            )
        if shared and (seeds > 1 or scales):
            raise SettingsError("--seeds and --scales change nothing of a model: fit one for each, and evaluate these")
        claim(
            output,
            data,
            {
                "dataset": data.name,
                "root": root.resolve(),
                "split": data.split,
                "void": void,
                "images": images_of(data),
                "predictions": predictions and predictions.resolve(),
                "measures": measures,
                "protocol": protocol,
                "matching": matching,
                "scales": scales,
                "seeds": seeds,
                "settings": {} if predictions else pipeline.model_dump(mode="json"),
            },
            overwrite=overwrite,
        )
        for note in data.notes:
            print(note)
        if predictions is None:
            pipeline.prepare()
        runs = []
        for number in range(seeds):
            pipeline_of_run = pipeline.model_copy(update={"seed": pipeline.seed + number})
            predictor: Any = predictions or _Segmenter(pipeline_of_run, _numbers(scales), by_level=scales == LEVELS)
            settings = None if predictions else pipeline_of_run.model_dump(mode="json") | {"scales": scales}
            with progress(len(data)) as report:

                def on_image(image: ImageScore, done: int, total: int, report: Any = report) -> None:
                    report.line(f"{done}/{total} {image.id}: {image.seconds:.2f} s")

                runs.append(
                    score(
                        data,
                        predictor,
                        measures=measures.split(",") if measures else None,
                        protocol=protocol,  # type: ignore[arg-type]
                        agreement=matching,  # type: ignore[arg-type]
                        settings=settings,
                        command="segspectral " + " ".join(sys.argv[1:]),
                        seed=pipeline_of_run.seed,
                        resume=output / IMAGES / str(number) if seeds > 1 else output / IMAGES,
                        on_image=on_image,
                    )
                )
        results = runs[0]
        if seeds > 1:
            results.data["seeds"] = seed_spread(runs)
        written = results.write(output)
        _print(results, said=len(data.notes))
        print(f"-> {written['report.html']}")


class _Segmenter:
    """An image's path -> its label map, or one per number of segments, or one per level of the hierarchy."""

    def __init__(self, pipeline: Pipeline, numbers: list[int], by_level: bool = False) -> None:
        # The levels need no head and no refiner.
        self.pipeline = pipeline.model_copy(update={"hierarchy": True}) if by_level else pipeline
        self.numbers, self.by_level = numbers, by_level

    def __call__(self, path: Path) -> Prediction:
        import numpy as np

        from segspectral.evaluate import Prediction
        from segspectral.images.reader import read_image
        from segspectral.values.regions import SWEEP_LEVELS

        image = read_image(path)
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
        raise SettingsError(f"--void {text}: give a number such as 255, or the word none") from None


def _numbers(text: str | None) -> list[int]:
    """``2,4,8`` or ``2-12`` as numbers; none for None and for levels."""
    if text is None or text == LEVELS:
        return []
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
            raise SettingsError(f"--scales {text}: write numbers of segments as 2,4,8 or 2-12, or the word levels")
        numbers += range(int(first), int(last if dash else first) + 1)
    return numbers


def _print(results: Results, said: int) -> None:
    """The table, the protocols, and the notes after those that were ``said`` at the beginning."""
    from rich.console import Console
    from rich.table import Table

    data = results.data
    table = Table(
        title=f"{' '.join(filter(None, (data['dataset']['name'], data['dataset']['split'])))}, {data['images']} images"
    )
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
    for note in data["notes"][said:]:
        print(f"note: {note}")
    for group, scores in data.get("seeds", {}).items():
        for name, spread in scores.items():
            print(f"{group} {name} over {len(spread['values'])} seeds: {spread['mean']:.4f} +- {spread['sd']:.4f}")
