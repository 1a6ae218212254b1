"""Heads: features and affinity -> membership. ``HEADS`` is the one list of them.

To add a head to the package, write a class that keeps the contract (``segspectral.heads.base``) in a file of its own,
and add a line here: the command line, the settings and the contract tests read this list. A head of your own needs no
line here, see ``segspectral.heads.own``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segspectral.heads.base import Head

__all__ = ["ALLOWED", "DEFAULT_HEAD", "HEADS", "head_class"]

HEADS = {
    "neuncut": "segspectral.heads.neuncut:NeuNcut",
    "exact": "segspectral.heads.exact:Exact",
    "spectralnet": "segspectral.heads.spectralnet:SpectralNet",
    "neuralef": "segspectral.heads.neuralef:NeuralEF",
    "rsm": "segspectral.heads.rsm:RSM",
    "kmeans": "segspectral.heads.baselines:KMeans",
    "spectral_clustering": "segspectral.heads.baselines:SpectralClustering",
    "modularity": "segspectral.heads.modularity:Modularity",
    "mincut": "segspectral.heads.mincut:MinCut",
    "deepkmeans": "segspectral.heads.deepkmeans:DeepKMeans",
}
"""Name -> where the class is; imported on use, because torch costs seconds."""

ALLOWED: dict[str, type] = {}
"""Name -> class, of those from outside the package that the user has named in this process (``heads.own``)."""

DEFAULT_HEAD = "neuncut"


def head_class(name: str) -> type[Head]:
    """The class of a head. KeyError if there is none of that name."""
    module, attribute = HEADS[name].split(":")
    return getattr(import_module(module), attribute)
