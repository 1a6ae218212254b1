"""``segspectral models`` and ``segspectral export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from segspectral.cli.options import Only, PipelineOptions, command
from segspectral.errors import SettingsError
from segspectral.extras import require
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.heads.base import Head

models_app = typer.Typer(
    help="Write fitted heads and models as folders with a model card; send them to the Hugging Face hub, or get them.",
    no_args_is_help=True,
)
export_app = typer.Typer(help="Fitted heads and CNN features for other programs.", no_args_is_help=True)

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A .safetensors file, or a folder that holds one.")]
Repository = Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository on the hub.")]


@models_app.command("save")
@command
def models_save(
    model: ModelPath, folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write it.")]
) -> None:
    """Write what fit or cluster --save made as a folder, with config.json and a model card to complete, README.md."""
    from segspectral.shared import hub

    print(f"-> {hub.save(model, folder)}")


@models_app.command("load")
@command
def models_load(model: ModelPath) -> None:
    """Show which fitted head or model a file or folder holds."""
    from segspectral.shared import hub
    from segspectral.shared.model import Model

    head, file = hub.load(model), hub.model_file(model)
    if isinstance(head, Model):
        segments = plural(head.segments, "segment")
        print(f"{file}: {segments} shared by all images, by {head.made_by}; segspectral segment --model applies it")
        return
    features = plural(getattr(head, "n_features_in_", 0), "feature")
    print(
        f"{file}: {type(head).__name__}, {plural(head.n_clusters, 'cluster')} of {features}, fitted on "
        f"{plural(len(head.labels_), 'node')}, normalized cut {head.ncut_:.4f}"
    )


@models_app.command("push")
@command
def models_push(
    model: ModelPath,
    repository: Repository,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Upload a fitted head or model with its model card to the hub (hf auth login, or HF_TOKEN)."""
    from segspectral.shared import hub

    print(f"-> {hub.push(model, repository, private=private)}")


@models_app.command("pull")
@command
def models_pull(
    repository: Repository,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write it.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
) -> None:
    """Download a fitted head or model from the hub."""
    from segspectral.shared import hub

    print(f"-> {hub.pull(repository, output, revision=revision)}")


@export_app.callback()
def export() -> None:
    """Keeps ``onnx`` a subcommand."""


@export_app.command("onnx")
@command
def export_onnx(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.onnx", help="The ONNX file.")],
    options: Annotated[PipelineOptions, Only("backbone", "config", "set_")],
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="A fitted head: .safetensors, or a folder of it.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--features", metavar="HxW", help="The CNN's maps for images of this size instead.")
    ] = None,
) -> None:
    """Write a fitted head, or the CNN for images of one size, as an ONNX model (extra onnx)."""
    if (model is None) == (size is None):
        raise SettingsError("give either a fitted head, MODEL, or the size of the images, --features HxW")
    from segspectral.export import write_bytes
    from segspectral.shared import hub, onnx

    require("onnx", "ONNX export")
    if model is not None:
        if hub.is_model(model):
            raise SettingsError(
                "a model of `segspectral fit` or `teach` takes images and not rows, which ONNX export cannot do; "
                "heads saved by `segspectral cluster --save` can be exported",
                model,
            )
        data = onnx.head_to_onnx(cast("Head", hub.load(model)))
    else:
        data = _features(options, _size(str(size)))
    print(f"-> {write_bytes(output, data)}, {len(data) / 1e6:.1f} MB")


def _features(options: PipelineOptions, size: tuple[int, int]) -> bytes:
    """The CNN of a pipeline as an ONNX model. Raises SettingsError if the pipeline has none."""
    from segspectral.features.backbones import DEFAULT_BACKBONE
    from segspectral.features.backbones.packaged_torch import load_in_torch
    from segspectral.features.backbones.timm_models import load_timm_model
    from segspectral.shared import onnx

    cnn = options.pipeline().features.cnn
    if cnn is None:
        raise SettingsError("features.cnn is null: there is no CNN to export")
    loaded = load_in_torch() if cnn.backbone == DEFAULT_BACKBONE else load_timm_model(cnn.backbone, cnn.weights, "cpu")
    strides = sorted({*cnn.strides} & {*loaded.strides}) or [max(loaded.strides)]
    return onnx.features_to_onnx(loaded, size, strides)


def _size(text: str) -> tuple[int, int]:
    height, by, width = text.lower().partition("x")
    if not by or not height.isdecimal() or not width.isdecimal():
        raise SettingsError("write it as height x width in pixels, such as 320x480", f"--features {text}")
    return int(height), int(width)
