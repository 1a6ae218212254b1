"""``segspectral checks`` and ``segspectral config``."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from segspectral.cli.common import ConfigOption, DebugOption, SetOption, make_pipeline, sample_images, sentences
from segspectral.errors import SegspectralError

config_app = typer.Typer(help="Settings: what they are and what they may be.", no_args_is_help=True)


def checks(debug: DebugOption = False) -> None:
    """Versions, device, weights, CRF, threads: what a bug report needs."""
    with sentences(debug):
        for name, value in _checks():
            print(f"{name:24} {value}")


@config_app.command("show")
def config_show(config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False) -> None:
    """Print all settings as YAML, the defaults or those of --config and --set."""
    with sentences(debug):
        from segspectral.config import dump

        print(dump(make_pipeline(config, set_)), end="")


@config_app.command("schema")
def config_schema(debug: DebugOption = False) -> None:
    """Print the JSON schema of a settings file, for editors."""
    with sentences(debug):
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
