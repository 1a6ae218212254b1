"""``segspectral checks`` and ``segspectral config``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import typer

from segspectral.cli.common import sample_images
from segspectral.cli.options import PipelineOptions, command
from segspectral.errors import SegspectralError
from segspectral.extras import installed

config_app = typer.Typer(help="Settings: what they are and what they may be.", no_args_is_help=True)


@command
def checks() -> None:
    """Versions, device, weights, CRF, threads: what a bug report needs."""
    for name, value in _checks():
        print(f"{name:24} {value}")


@config_app.command("list")
@command
def config_list() -> None:
    """Print the presets, which are settings files of the package, with their descriptions."""
    from segspectral.registry import presets

    for name, path in presets().items():
        lines = path.read_text(encoding="utf-8").splitlines()
        header = itertools.takewhile(lambda line: line.startswith("#"), lines)
        print("\n  ".join([name, *(line.removeprefix("#").strip() for line in header)]))


@config_app.command("show")
@command
def config_show(options: PipelineOptions) -> None:
    """Print all settings as YAML: the defaults, as changed by the options."""
    from segspectral.config import dump

    print(dump(options.pipeline()), end="")


@config_app.command("schema")
@command
def config_schema() -> None:
    """Print the JSON schema of a settings file, for editors."""
    import json

    from segspectral.pipeline import Pipeline

    print(json.dumps(Pipeline.model_json_schema(), indent=2))


def _checks() -> Iterator[tuple[str, str]]:
    import os
    import shutil

    from segspectral.export import versions
    from segspectral.features.backbones import DEFAULT_BACKBONE, WEIGHTS_VARIABLE, load_backbone
    from segspectral.refine import crf_installed

    for package, version in versions().items():
        yield package, version or "not installed"
    if installed("torch"):
        import torch

        yield "GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch finds"
    else:
        yield "GPU", "not used without torch (pip install 'segspectral[torch]')"
    yield "threads", f"at most {os.environ.get('OMP_NUM_THREADS') or os.cpu_count()}, of {os.cpu_count()} processors"
    try:
        backbone = load_backbone()
        yield "default backbone", f"{DEFAULT_BACKBONE}, weights from {backbone.source}"
    except SegspectralError as error:
        yield "default backbone", f"missing: {error}"
    yield WEIGHTS_VARIABLE, os.environ.get(WEIGHTS_VARIABLE, "not set")
    yield "refiner", "crf" if crf_installed() else "guided (pydensecrf is not installed)"
    yield "sample images", str(sample_images())
    yield "free disk", f"{shutil.disk_usage('.').free / 1e9:.0f} GB"
