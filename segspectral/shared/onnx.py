"""Fitted heads and backbones as ONNX models, for programs without Python. They need the extra ``onnx``.

A model is made from the torch module that is trained and the head's own readout. The tests compare what onnxruntime
computes with what segspectral computes in numpy.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

import segspectral
from segspectral.errors import BackboneError, SettingsError
from segspectral.extras import require
from segspectral.features.backbones.timm_models import TimmModel
from segspectral.heads.base import Head
from segspectral.heads.extension import FeatureMap
from segspectral.heads.spaces import Scattering, into

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

__all__ = ["feature_module", "features_to_onnx", "head_module", "head_to_onnx"]


def head_to_onnx(head: Head) -> bytes:
    """A fitted head as an ONNX model.

    The input is ``features`` (nodes, D) float32 for any number of nodes. The outputs are ``memberships`` (nodes, K)
    float32, whose rows sum to one, and ``embedding`` (nodes, K) float32 if the head has a spectral embedding.

    Raises
    ------
    SettingsError
        The head has not learned a map from features, or a package is missing.
    """
    import torch

    module = head_module(head)
    example = into(head.space_, np.zeros((1, head.n_features_in_)))
    embeds = head.extension_.embedding(example, sp.csr_array((1, 0))) is not None
    outputs = ["memberships", "embedding"][: 1 + embeds]
    nodes = torch.export.Dim("nodes")
    about = {"head": type(head).__name__, "clusters": str(head.n_clusters)}
    return _exported(module, torch.zeros(2, head.n_features_in_), "features", outputs, about, ({0: nodes},))


def features_to_onnx(backbone: TimmModel, size: tuple[int, int], strides: Sequence[int]) -> bytes:
    """The feature maps of a backbone for images of one size as an ONNX model.

    The input is ``image`` (1, 3, H, W) float32 in [0, 1], sRGB. The outputs are ``stride4``, ... (1, C, h, w) float32,
    one for each of ``strides``. The model normalizes the image, and pads it to a multiple of the largest stride.

    Parameters
    ----------
    size : H, W. They are fixed, because torch's exporter does not terminate for a CNN with a variable height and width

    Raises
    ------
    SettingsError
        The size is below 1, or a package is missing.
    BackboneError
        The backbone has no map at one of the strides, or does not accept images of this size.
    """
    import torch

    if min(size) < 1:
        raise SettingsError(f"the size of an image must be at least 1x1 pixels, not {size[0]}x{size[1]}")
    if missing := [stride for stride in strides if stride not in backbone.strides]:
        raise BackboneError(f"'{backbone.name}' has maps at strides {backbone.strides}, not at {missing[0]}")
    module = feature_module(backbone, strides)
    example = torch.zeros(1, 3, *size)
    try:
        with torch.inference_mode():
            module(example)
    except (AssertionError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise BackboneError(
            f"'{backbone.name}' does not accept an image of {size[0]} x {size[1]} pixels ({why})"
        ) from error
    about = {"backbone": backbone.name, "fingerprint": backbone.fingerprint}
    return _exported(module, example, "image", [f"stride{stride}" for stride in strides], about, None)


def head_module(head: Head) -> torch.nn.Module:
    """A torch module: features (N, D) float32 -> memberships (N, K), and the embedding (N, K) if the head has one.

    Raises
    ------
    SettingsError
        The head has not learned a map from features.
    """
    import torch

    extension = head.extension_
    if not extension.inductive:
        raise SettingsError(
            f"{type(head).__name__} has not learned a map from features that could be exported: its memberships "
            "of new points come from the nodes it was fitted on; use spectralnet, neuralef, rsm, deepkmeans or neuncut "
            "with hidden layers"
        )
    if not isinstance(extension, FeatureMap):
        raise SettingsError(
            f"{type(head).__name__} has a graph network, which maps nodes with their neighbours, not features alone: "
            "fit a head with the encoder mlp to export it"
        )

    if isinstance(head.space_, Scattering):
        raise SettingsError(
            f"{type(head).__name__} was fitted on the scattering of images, which is not a network that could be "
            "exported; fit it with another space, or on the pixels (--of raw, or SpaceSettings(name=..., of='raw'))"
        )
    whole = extension.network if head.space_ is None else head.space_.then(extension.network)
    network, readout = whole.module(), extension.readout

    class HeadModule(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # In double precision, as heads compute in numpy: a rotation may magnify the rounding of single precision.
            self.network = network.double()

        def forward(self, features: Any) -> Any:
            raw: Any = self.network(features.double())
            memberships, embedding = readout.memberships(raw), readout.embedding(raw)
            return memberships if embedding is None else (memberships, torch.asarray(embedding).float())

    return HeadModule().eval()


def feature_module(backbone: TimmModel, strides: Sequence[int]) -> torch.nn.Module:
    """A torch module: image (1, 3, H, W) in [0, 1] -> a map (1, C, h, w) per stride, as ``TimmModel`` has them."""
    import torch

    step = max(backbone.strides)
    last = str(getattr(backbone.network, "output_fmt", "NCHW")).endswith("NHWC")
    deepest = {stride: i for i, stride in enumerate(backbone.strides)}  # the last map of each stride; a ViT has several

    class FeatureModule(torch.nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = backbone.network
            for name in ("mean", "std"):
                self.register_buffer(name, torch.tensor(getattr(backbone, name)).reshape(1, -1, 1, 1))

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            pad = (0, (-image.shape[3]) % step, 0, (-image.shape[2]) % step)
            padded = torch.nn.functional.pad(image, pad, mode="replicate")
            maps = self.network((padded - self.mean) / self.std)
            return tuple(maps[i].permute(0, 3, 1, 2) if last else maps[i] for i in map(deepest.__getitem__, strides))

    return FeatureModule().eval()


def _exported(
    module: torch.nn.Module,
    example: torch.Tensor,
    name: str,
    outputs: Sequence[str],
    about: Mapping[str, str],
    dynamic: Any,
) -> bytes:
    require("onnx", "ONNX export")
    import onnx
    import torch

    with _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=[name],
            output_names=list(outputs),
            dynamic_shapes=dynamic,
            custom_translation_table={torch.ops.aten.leaky_relu.default: _leaky_relu},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.producer_name, model.producer_version = "segspectral", segspectral.__version__
    onnx.helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """onnxruntime has no leaky ReLU of doubles."""
    from onnx.helper import TensorProto, make_tensor
    from onnxscript import opset18

    op: Any = opset18

    def constant(name: str, value: float) -> Any:
        return op.CastLike(op.Constant(value=make_tensor(name, TensorProto.DOUBLE, [], [value])), x)

    return op.Where(op.Greater(x, constant("zero", 0.0)), x, op.Mul(constant("slope", negative_slope), x))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, whose messages are for its developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
