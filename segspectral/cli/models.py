"""``segspectral models`` and ``segspectral export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from segspectral.cli.common import BackboneOption, ConfigOption, DebugOption, SetOption, make_pipeline, sentences
from segspectral.errors import SettingsError

if TYPE_CHECKING:
    from segspectral.heads.base import Head

models_app = typer.Typer(
    help="Fitted heads and models as folders with a model card, and to and from the Hugging Face hub."
)
export_app = typer.Typer(help="Fitted heads and CNN features for other programs.")

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A .safetensors file, or a folder that holds one.")]
Repository = Annotated[str, typer.Argument(metavar="USER/NAME", help="Of the repository on the hub.")]


@models_app.command("save")
def models_save(
    model: ModelPath,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write it.")],
    debug: DebugOption = False,
) -> None:
    """Write what fit or cluster --save made as a folder: with config.json and README.md, a model card to complete."""
    with sentences(debug):
        from segspectral.shared import hub as models

        print(f"-> {models.save(model, folder)}")


@models_app.command("load")
def models_load(model: ModelPath, debug: DebugOption = False) -> None:
    """Look whether a file or folder holds a fitted head or model, and say which."""
    with sentences(debug):
        from segspectral.shared import hub as models
        from segspectral.shared.model import Model

        head = models.load(model)
        if isinstance(head, Model):
            about = models.fitted_on(head)
            print(f"{models.model_file(model)}: {head.segments} segments shared by all images, by a", end="")
            print(f" {type(head.head).__name__} fitted on {about}; segspectral segment --model applies it")
            return
        features = getattr(head, "n_features_in_", None)
        print(f"{models.model_file(model)}: {type(head).__name__}, {head.n_clusters} clusters", end="")
        print(f" of {features} features, fitted on {len(head.labels_)} nodes, normalized cut {head.ncut_:.4f}")


@models_app.command("push")
def models_push(
    model: ModelPath,
    repository: Repository,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    debug: DebugOption = False,
) -> None:
    """Upload a fitted head or model with its model card to the hub (hf auth login, or HF_TOKEN)."""
    with sentences(debug):
        from segspectral.shared import hub as models

        print(f"-> {models.push(model, repository, private=private)}")


@models_app.command("pull")
def models_pull(
    repository: Repository,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER")],
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit.")] = None,
    debug: DebugOption = False,
) -> None:
    """Download a fitted head or model from the hub."""
    with sentences(debug):
        from segspectral.shared import hub as models

        print(f"-> {models.pull(repository, output, revision=revision)}")


@export_app.callback()
def export() -> None:
    """Keeps ``onnx`` a subcommand."""


@export_app.command("onnx")
def export_onnx(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.onnx")],
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="A fitted head: .safetensors, or a folder of it.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--features", metavar="HxW", help="The CNN's maps for images of this size instead.")
    ] = None,
    backbone: BackboneOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """A fitted head, or the CNN for images of one size, as an ONNX model (extra onnx)."""
    with sentences(debug):
        if (model is None) == (size is None):
            raise SettingsError("give either a fitted head, MODEL, or the size of the images, --features HxW")
        from segspectral.export import write_bytes
        from segspectral.features.backbones import load_backbone
        from segspectral.shared import hub as models
        from segspectral.shared import onnx as onnx_export

        onnx_export.check_installed()
        if model is not None:
            if models.is_model(model):
                raise SettingsError(
                    "a model of `segspectral fit` takes images and not rows, which ONNX export cannot do; "
                    "heads saved by `segspectral cluster --save` can be exported",
                    model,
                )
            data = onnx_export.head_to_onnx(cast("Head", models.load(model)))
        else:
            cnn = make_pipeline(config, set_, backbone=backbone).features.cnn
            if cnn is None:
                raise SettingsError("features.cnn is null: there is no CNN to export")
            shape = _size(str(size))
            loaded = load_backbone(cnn.backbone, cnn.weights, "cpu")
            strides = sorted({*cnn.strides} & {*loaded.strides}) or [max(loaded.strides)]
            data = onnx_export.features_to_onnx(loaded, shape, strides)
        print(f"-> {write_bytes(output, data)}, {len(data) / 1e6:.1f} MB")


def _size(text: str) -> tuple[int, int]:
    height, by, width = text.lower().partition("x")
    if not by or not height.isdecimal() or not width.isdecimal():
        raise SettingsError(f"--features {text}: write it as height x width in pixels, such as 320x480")
    return int(height), int(width)
