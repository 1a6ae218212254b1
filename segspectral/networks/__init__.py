"""Communities in networks: find them, carry them on to nodes that arrive later, write them down.

>>> import numpy as np
>>> from segspectral.networks.graphs import Graph, undirected
>>> from segspectral.values import Affinity
>>> ends = np.array([(0, 1), (1, 2), (2, 0), (3, 0), (3, 1), (3, 2), (4, 5), (5, 6), (6, 4), (0, 4)])
>>> weights, counts = undirected(ends, np.ones(10), 7)
>>> graph = Graph(tuple("abcdefg"), Affinity(weights), counts)
>>> find_communities(graph, 2, head="exact").labels
array([1, 1, 1, 1, 2, 2, 2])
"""

from __future__ import annotations

from segspectral.networks.find import DEFAULT_HEAD, Communities, Search, extend_communities, find_communities
from segspectral.networks.number import Choice, choose_number
from segspectral.networks.write import write_communities

__all__ = [
    "DEFAULT_HEAD",
    "Choice",
    "Communities",
    "Search",
    "choose_number",
    "extend_communities",
    "find_communities",
    "write_communities",
]
