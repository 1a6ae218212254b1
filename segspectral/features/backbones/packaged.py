"""The networks that come with segspectral, each as one ONNX file for onnxruntime.

torch and timm need 5 seconds to be imported, and 5 GB of disk; onnxruntime needs .03 s and 70 MB. The default network
is made by ``tools/fit_network.py`` and ``tools/export_network.py``; ``docs/concepts/network.md`` says what it was
trained on. The other one is EfficientNet-Lite0 as ImageNet left it, without a decoder of edges. It knows kinds of
objects better than borders, so models over many images see with it.
"""

from __future__ import annotations

import os
from functools import cached_property
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.features.backbones.base import DEFAULT_BACKBONE, PACKAGED, Activations, Backbone, FeatureMap, padded
from segspectral.features.edges import full_size, half_lab

__all__ = ["EDGES", "FILE", "FINGERPRINT", "IMAGENET_FILE", "INPUTS", "PackagedNetwork", "output_of"]

FILE, IMAGENET_FILE = (f"features/weights/{name}.onnx" for name in PACKAGED)
INPUTS = ("image", "lab")
"""Names of the inputs: (1, 3, H, W) RGB in [0, 1], H and W multiples of the largest stride; and its ``half_lab``."""

EDGES = "edges"
"""Name of the output (1, 1, h, w), the probability of an edge at half the size of the image."""

FINGERPRINT = "fingerprint"
"""Key in the file's metadata: the fingerprint of the weights that it was made from."""


def output_of(stride: int) -> str:
    """The name of the output (1, C, H / stride, W / stride)."""
    return f"stride{stride}"


class PackagedNetwork(Backbone):
    """A network of ``PACKAGED`` on the CPU. It uses as many threads as OMP_NUM_THREADS says, or as there are cores."""

    def __init__(self, name: str = DEFAULT_BACKBONE) -> None:
        import onnxruntime

        self.name, file = name, FILE if name == DEFAULT_BACKBONE else IMAGENET_FILE
        self.source = f"segspectral/{file}"

        options = onnxruntime.SessionOptions()
        threads = os.environ.get("OMP_NUM_THREADS", "")
        options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
        # Idle threads would spin, which costs the other processes of a batch their processor time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Plans of the memory are made for one size, but images have many.
        options.enable_mem_pattern = False
        options.log_severity_level = 3  # errors
        with as_file(files("segspectral").joinpath(file)) as path:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in self._session.get_outputs()]
        self._draws = EDGES in names
        self.strides = tuple(int(name.removeprefix("stride")) for name in names if name != EDGES)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the weights that the file was made from."""
        return str(self._session.get_modelmeta().custom_metadata_map[FINGERPRINT])

    def activations(self, rgb: NDArray[np.float32], *, edges: bool = False) -> Activations:
        """See ``Backbone``. Both come from the same pass."""
        rows = padded(rgb, max(self.strides))
        image, lab = INPUTS
        inputs = {image: rows.transpose(2, 0, 1)[None]}
        if self._draws:
            inputs[lab] = half_lab(rows)
        wanted = [output_of(stride) for stride in self.strides] + [EDGES] * (edges and self._draws)
        made: list[Any] = self._session.run(wanted, inputs)
        maps = [
            FeatureMap(values[0].transpose(1, 2, 0), stride) for values, stride in zip(made, self.strides, strict=False)
        ]
        return Activations(maps, full_size(made[-1][0, 0], rgb.shape[:2]) if edges and self._draws else None)
