"""Graph convolutions: a network in which a node sees its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.heads.networks import Mlp
from segspectral.settings import Settings

if TYPE_CHECKING:
    import torch

__all__ = ["Encoder", "Gcn", "GraphConvolution", "convolution"]

SLOPE = 0.01
"""Slope of the leaky ReLU for negative values."""


class GraphConvolution(Settings):
    """How a ``Gcn`` is trained; the widths of its layers are ``hidden`` of the head."""

    dropout: float = Field(0.2, ge=0, lt=1, description="share of hidden units that are left out in each step")
    neighbors: int = Field(
        10, ge=1, description="neighbours drawn per node and layer, where a batch is not the whole graph"
    )
    components: int = Field(64, ge=1, description="more features than this enter by as many principal components")


Encoder = Literal["mlp", "gcn"] | GraphConvolution
"""What maps a node to the outputs of a head: an MLP of its features, or graph convolutions. "gcn" has the defaults."""


def convolution(encoder: Encoder) -> GraphConvolution | None:
    """The settings of the graph convolutions; None if the encoder is an MLP."""
    if isinstance(encoder, GraphConvolution):
        return encoder
    return GraphConvolution() if encoder == "gcn" else None


@dataclass(frozen=True, eq=False)
class Gcn:
    """Graph convolutions: each layer maps h to leaky ReLU(W_l [T h, h] + b_l); a linear layer of each node comes last.

    T = D^-1 W averages over the neighbours (Hamilton, Ying and Leskovec 2017, the mean aggregator, with the node's own
    row concatenated as a skip connection). Kipf and Welling 2017 weight by D^-1/2 W D^-1/2 instead. The mean has
    the same scale for nodes of all degrees, also for those that arrive later, and sampled neighbours estimate it
    without bias.

    Parameters
    ----------
    weights : of each layer, (out, 2 in) float32: for the mean of the neighbours, and for the node itself
    biases : of each layer, (out,) float32
    last : the layer that makes the outputs
    """

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    last: Mlp

    @classmethod
    def random(cls, widths: tuple[int, ...], seed: int) -> Self:
        """A network of these widths (inputs, hidden..., outputs) with He initialisation."""
        rng = np.random.default_rng(seed)
        shapes = list(pairwise(widths[:-1]))
        weights = tuple(rng.normal(0, np.sqrt(1 / a), (b, 2 * a)).astype(np.float32) for a, b in shapes)
        return cls(weights, tuple(np.zeros(b, np.float32) for _, b in shapes), Mlp.random(widths[-2:], seed + 1))

    def __call__(self, X: NDArray[np.float64], walk: sp.csr_array) -> NDArray[np.float64]:
        """(N, D) features and the (N, N) ``walk_matrix`` -> (N, outputs), in float64."""
        return self.last(self.hidden(X, walk))

    def hidden(self, X: NDArray[np.float64], walk: sp.csr_array) -> NDArray[np.float64]:
        """(N, width) the last hidden layer, an embedding of the nodes."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            near, own = np.split(weight.T.astype(np.float64), 2)
            X = walk @ (X @ near) + X @ own + bias
            X = np.where(X > 0, X, SLOPE * X)
        return X

    def with_last(self, last: Mlp) -> Gcn:
        """The network with another last layer."""
        return replace(self, last=last)

    def after(self, shift: NDArray[np.float64], turn: NDArray[np.float64]) -> Gcn:
        """This network of (x - shift) @ turn as a network of x, which exists because the rows of the walk sum to one.

        Parameters
        ----------
        shift : (D,)
        turn : (D, inputs)
        """
        near, own = (half @ turn.T for half in np.split(self.weights[0].astype(np.float64), 2, axis=1))
        bias = self.biases[0] - (near + own) @ shift
        first = np.concatenate([near, own], axis=1).astype(np.float32)
        return Gcn((first, *self.weights[1:]), (bias.astype(np.float32), *self.biases[1:]), self.last)

    def module(self, device: str = "cpu") -> torch.nn.ModuleList:
        """A trainable torch copy: the linear layers, and the last one; ``learner.Learner`` runs it."""
        import torch

        return torch.nn.ModuleList([self._linear.module(device), self.last.module(device)])

    def trained(self, module: Any) -> Gcn:
        """The network with the present weights of a module that ``module`` has made."""
        linear = self._linear.trained(module[0])
        return Gcn(linear.weights, linear.biases, self.last.trained(module[1]))

    @property
    def _linear(self) -> Mlp:
        return Mlp(self.weights, self.biases, np.ones(len(self.weights)))
