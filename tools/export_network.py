#!/usr/bin/env python3
"""Write a network of the package as one ONNX file, for images of any size.

    tools/export_network.py RUN [OUT.onnx]
    tools/export_network.py

RUN is a folder of ``tools/fit_network.py``, of which the default network is made: EfficientNet-Lite0 and an edge
decoder. Without RUN it is EfficientNet-Lite0 as ImageNet left it, without a decoder. This needs the extra onnx; a test
compares the file with torch.

The weights keep single precision (12 MB). In half precision (6 MB) the maps differ by 1 % from those of torch, and of
40 label maps of 10 sample images 14 changed, one to an adjusted Rand index of .05; in single precision none did.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import tempfile
import warnings
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnx import helper
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

import segspectral
from segspectral.features.backbones.base import ARCHITECTURE
from segspectral.features.backbones.edge_decoder import EdgeDecoder, decoder_of
from segspectral.features.backbones.packaged import EDGES, FILE, FINGERPRINT, IMAGENET_FILE, INPUTS, output_of
from segspectral.features.backbones.timm_models import TimmModel, load_timm_model

OPSET = 18

LICENCE = "EfficientNet-Lite0, Apache-2.0"


class Network(nn.Module):
    """Image and half-size CIELAB -> the map of each stride, and the probability of an edge; or image -> maps alone."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: TimmModel, decoder: EdgeDecoder | None) -> None:
        super().__init__()
        self.strides = backbone.strides
        self.network = with_fixed_padding(copy.deepcopy(backbone.network))
        self.decoder = decoder
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(backbone, name)).reshape(1, -1, 1, 1))

    def forward(self, image: Tensor, lab: Tensor | None = None) -> tuple[Tensor, ...]:
        maps = self.network((image - self.mean) / self.std)
        if self.decoder is None or lab is None:
            return tuple(maps)
        odds = self.decoder(lab, dict(zip(self.strides, maps, strict=True)))
        return (*maps, torch.sigmoid(odds))


def with_fixed_padding(module: nn.Module) -> nn.Module:
    """The module with fixed padding instead of timm's, which depends on the size of the image.

    For sides that are multiples of the largest stride both are the same.
    """
    for name, child in module.named_children():
        if isinstance(child, Conv2dSame):
            (kernel, _), (stride, _) = child.kernel_size, child.stride
            assert child.kernel_size == (kernel, kernel)
            assert child.stride == (stride, stride)
            before = (kernel - stride) // 2
            pad = nn.ZeroPad2d((before, kernel - stride - before) * 2)
            convolution = nn.Conv2d(
                child.in_channels, child.out_channels, kernel, stride, groups=child.groups, bias=child.bias is not None
            )
            convolution.weight, convolution.bias = child.weight, child.bias
            setattr(module, name, nn.Sequential(pad, convolution))
        else:
            with_fixed_padding(child)
    return module


def simplified(model: Path, folder: Path) -> onnx.ModelProto:
    """The model after the optimizations that hold on every machine: constants and batch norms are folded."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "simplified.onnx")
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    made = onnx.load(options.optimized_model_filepath)
    del made.opset_import[:]
    made.opset_import.append(helper.make_opsetid("", OPSET))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    package = Path(segspectral.__file__).parent
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="folder of tools/fit_network.py")
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT.onnx")
    arguments = parser.parse_args()
    run: Path | None = arguments.run
    if run is None:
        weights, edges, file, about = None, b"", IMAGENET_FILE, LICENCE
    else:
        weights, edges = str(run / f"{ARCHITECTURE}.safetensors"), (run / "edges.safetensors").read_bytes()
        file, about = FILE, f"{LICENCE}; changed: trained further on BSDS500 train"
    # Without the decoder, there is neither its input nor its output.
    decoder, parts = (decoder_of(edges), 2) if edges else (None, 1)
    inputs, arrays = INPUTS[:parts], (torch.rand(1, 3, 96, 128), torch.rand(1, 3, 48, 64))[:parts]
    out = arguments.out or package / file
    backbone = load_timm_model(weights=weights, device="cpu")
    outputs = [*(output_of(stride) for stride in backbone.strides), *[EDGES] * (decoder is not None)]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = Path(folder) / "exported.onnx"
        # torch's newer exporter does not terminate for a CNN with a variable height and width.
        torch.onnx.export(
            Network(backbone, decoder).eval(),
            arrays,
            exported,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes={name: {2: f"{name}_height", 3: f"{name}_width"} for name in (*inputs, *outputs)},
        )
        model = simplified(exported, Path(folder))
    model.producer_name, model.producer_version = "segspectral", ""
    both = hashlib.sha256(backbone.fingerprint.encode() + edges).hexdigest()
    fingerprint = backbone.fingerprint if decoder is None else both
    helper.set_model_props(model, {FINGERPRINT: fingerprint, "weights": about})
    onnx.checker.check_model(model, full_check=True)
    out.write_bytes(model.SerializeToString())
    print(f"-> {out}, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
