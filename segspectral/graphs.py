"""Networks in files: the public name of their one reader, which ``segspectral.networks`` holds.

>>> from segspectral.graphs import read_graph
>>> graph = read_graph("friends.csv")  # doctest: +SKIP
>>> graph.names, graph.affinity.weights  # doctest: +SKIP
"""

from __future__ import annotations

from segspectral.networks.graphs import Counts, Dialect, Graph, read_graph

__all__ = ["Counts", "Dialect", "Graph", "read_graph"]
