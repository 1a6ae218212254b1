"""The command line. Nothing heavy is imported before a command needs it: ``--help`` answers at once.

Exit codes: 0 all well, 1 some images failed, 2 usage or settings, 3 all images failed, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from segspectral.errors import SegspectralError
from segspectral.heads import HEADS

if TYPE_CHECKING:
    from segspectral.pipeline import Pipeline
    from segspectral.types import Segmentation

__all__ = ["app", "main"]

OK, SOME_FAILED, USAGE, ALL_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name="segspectral",
    help="Segment images without labels: superpixels, a pretrained CNN, a neural spectral head, a dense CRF.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Settings: what they are and what they may be.", no_args_is_help=True)
app.add_typer(config_app, name="config")

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file with settings.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as refine.iterations=5.")
]
SegmentsOption = Annotated[
    str | None, typer.Option("--segments", "-k", metavar="K|auto", help="How many segments; auto chooses per image.")
]
HeadOption = Annotated[str | None, typer.Option("--head", help=f"{', '.join(HEADS)}.")]
BackboneOption = Annotated[str | None, typer.Option("--backbone", help="A timm model, such as tf_efficientnet_lite0.")]
RefineOption = Annotated[str | None, typer.Option("--refine", help="crf, guided or none.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Equal seeds give equal results.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from segspectral import __version__

        print(f"segspectral {__version__}")
        raise typer.Exit


@app.command()
def segment(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images, folders or globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the results.")],
    segments: SegmentsOption = None,
    head: HeadOption = None,
    backbone: BackboneOption = None,
    refine: RefineOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    debug: DebugOption = False,
) -> None:
    """Segment images: for cat.jpg, OUT gets cat_labels.png, cat_overlay.png, cat_segments.csv and cat.json."""
    with _sentences(debug):
        pipeline = _pipeline(config, set_, segments=segments, head=head, backbone=backbone, refine=refine, seed=seed)
        raise typer.Exit(_segment_all(images, output, pipeline, debug))


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT")] = Path("segspectral-demo"),
    debug: DebugOption = False,
) -> None:
    """Segment the sample images, offline, in under a minute."""
    with _sentences(debug):
        samples = sample_images()
        code = _segment_all([str(samples)], output, _pipeline(None, None), debug)
        print(
            f"\nLook at {output / 'cat_overlay.png'} and its neighbours. Next:\n"
            f"  segspectral segment {samples / 'coffee.jpg'} -o out -k 6     # a number of segments of your own\n"
            f"  segspectral segment YOUR_FOLDER -o out --refine guided       # a folder of yours\n"
            f"  segspectral config show > my.yaml                            # all settings, for --config my.yaml"
        )
        raise typer.Exit(code)


@app.command()
def checks(debug: DebugOption = False) -> None:
    """Versions, device, weights, CRF, threads: what a bug report needs."""
    with _sentences(debug):
        for name, value in _checks():
            print(f"{name:24} {value}")


@config_app.command("show")
def config_show(config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False) -> None:
    """Print all settings as YAML, the defaults or those of --config and --set."""
    with _sentences(debug):
        from segspectral.config import dump

        print(dump(_pipeline(config, set_)), end="")


@config_app.command("schema")
def config_schema(debug: DebugOption = False) -> None:
    """Print the JSON schema of a settings file, for editors."""
    with _sentences(debug):
        import json

        from segspectral.pipeline import Pipeline

        print(json.dumps(Pipeline.model_json_schema(), indent=2))


def main() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def sample_images() -> Path:
    """The folder of the sample images: in the installed package, or in the source tree."""
    package = Path(__file__).parent
    return next(p for p in (package / "sample_images", package.parent / "sample_images") if p.is_dir())


@contextmanager
def _sentences(debug: bool) -> Iterator[None]:
    """Errors for the user end the command with one sentence and exit code 2; other errors say how to report them."""
    try:
        yield
    except (typer.Exit, KeyboardInterrupt):
        raise
    except SegspectralError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from error


def _pipeline(config: Path | None, assignments: list[str] | None, **options: Any) -> Pipeline:
    """The defaults, then --config, then --set, then the named options."""
    from segspectral.config import load, merge_assignments, with_settings
    from segspectral.pipeline import Pipeline

    pipeline = Pipeline() if config is None else load(config)
    if assignments:
        pipeline = with_settings(pipeline, merge_assignments(assignments), "--set")
    if (segments := options.get("segments")) is not None:
        options["segments"] = int(segments) if segments.isdigit() else segments
    backbone = options.pop("backbone", None)
    for name, value in options.items():
        if value is not None:
            pipeline = with_settings(pipeline, {name: value}, f"--{name}")
    if backbone is not None:
        pipeline = with_settings(pipeline, {"features": {"cnn": {"backbone": backbone}}}, "--backbone")
    return pipeline


def _segment_all(inputs: list[str], output: Path, pipeline: Pipeline, debug: bool) -> int:
    """Segment every image; a fault in one is told and does not stop the others. Returns the exit code."""
    from segspectral.export import save, write_bytes
    from segspectral.images import find_images, read_image

    paths = find_images(inputs)
    # Before minutes of work: can it be done, and can it be kept?
    probe = write_bytes(output / ".segspectral", b"")
    probe.unlink()
    pipeline, notes = pipeline.usable()
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    pipeline.prepare()
    stems = _stems(paths)
    failed = 0
    with _progress(len(paths)) as report:
        for path, stem in zip(paths, stems, strict=True):
            try:
                report.begin(path)
                result = pipeline(read_image(path), report.stage)
                files = save(result, output, stem)
            except SegspectralError as error:
                if debug:
                    raise
                failed += 1
                message = str(error)
                report.failure(message if message.startswith(str(path)) else f"{path}: {message}")
            else:
                report.success(path, result, files["overlay"])
    if failed:
        print(f"{failed} of {len(paths)} images failed", file=sys.stderr)
    return OK if not failed else ALL_FAILED if failed == len(paths) else SOME_FAILED


def _stems(paths: list[Path]) -> list[str]:
    """Names for the results: the file's stem, with its suffix and folder as far as needed to keep them apart."""
    stems = [path.stem for path in paths]
    for longer in (lambda p: p.name.replace(".", "_"), lambda p: "_".join(p.with_suffix("").parts[-2:]), _whole_path):
        stems = [longer(p) if stems.count(stem) > 1 else stem for p, stem in zip(paths, stems, strict=True)]
    return stems


def _whole_path(path: Path) -> str:
    return "_".join(part for part in path.parts if part not in ("/", "..")).replace(".", "_")


class _Report:
    """Lines about images; on a terminal with a progress bar below them."""

    def __init__(self, console: Console, bar: Any, task: Any) -> None:
        self.console, self.bar, self.task, self.path = console, bar, task, Path()

    def begin(self, path: Path) -> None:
        self.path = path
        self.stage("read", 0.0)

    def stage(self, done: str, seconds: float) -> None:
        if self.bar is not None:
            self.bar.update(self.task, description=f"{self.path.name}: {done}")

    def success(self, path: Path, result: Segmentation, overlay: Path) -> None:
        seconds = sum(result.seconds.values())
        self._line(f"{path}: {result.segments} segments, {seconds:.2f} s -> {overlay}")

    def failure(self, message: str) -> None:
        self._line(f"error: {message}")

    def _line(self, text: str) -> None:
        if self.bar is None:
            print(text, file=sys.stderr if text.startswith("error") else sys.stdout, flush=True)
        else:
            self.bar.console.print(text, highlight=False, markup=False)
            self.bar.advance(self.task)


@contextmanager
def _progress(total: int) -> Iterator[_Report]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Report(console, None, None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Report(console, bar, bar.add_task("", total=total))


def _checks() -> Iterator[tuple[str, str]]:
    import os
    import shutil

    from segspectral.backbones import DEFAULT_BACKBONE, WEIGHTS_VARIABLE, load_backbone
    from segspectral.export import versions
    from segspectral.refine import crf_installed

    for package, version in versions().items():
        yield package, version or "not installed"
    import torch

    yield "device", torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    yield "threads", f"torch {torch.get_num_threads()}, of {os.cpu_count()} processors"
    try:
        backbone = load_backbone()
        yield "default backbone", f"{DEFAULT_BACKBONE}, weights from {backbone.source}"
    except SegspectralError as error:
        yield "default backbone", f"missing: {error}"
    yield WEIGHTS_VARIABLE, os.environ.get(WEIGHTS_VARIABLE, "not set")
    yield "refiner", "crf" if crf_installed() else "guided (pydensecrf is not installed)"
    yield "sample images", str(sample_images())
    yield "free disk", f"{shutil.disk_usage('.').free / 1e9:.0f} GB"
