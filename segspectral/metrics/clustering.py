"""Scores of a clustering against known classes, for heads that cluster vectors or the nodes of a graph.

>>> clustering_scores([0, 0, 1, 1], ["b", "b", "a", "a"])
{'nmi': 1.0, 'ari': 1.0, 'accuracy': 1.0}
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from segspectral.metrics.contingency import Contingency, contingency

__all__ = ["adjusted_rand", "clustering_scores", "hungarian_accuracy", "normalized_mutual_information"]


def clustering_scores(predicted: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """``nmi``, ``ari`` and ``accuracy`` of cluster ids (n,) against class labels (n,), both of any kind.

    Raises
    ------
    ValueError
        If the lengths differ or there is nothing to score.
    """
    a, b = (np.unique(np.asarray(x), return_inverse=True)[1].ravel() for x in (predicted, truth))
    table = contingency(a, b)
    return {
        "nmi": normalized_mutual_information(table),
        "ari": adjusted_rand(table),
        "accuracy": hungarian_accuracy(table),
    }


def normalized_mutual_information(table: Contingency) -> float:
    """Mutual information over the mean of the two entropies, scikit-learn's default; 1 if both are 0."""
    n = table.total
    p, q = table.rows[table.rows > 0] / n, table.columns[table.columns > 0] / n
    entropy = float(-(p * np.log(p)).sum() - (q * np.log(q)).sum()) / 2
    if len(p) == len(q) == 1:
        return 1.0
    independent = table.rows[table.row] * table.columns[table.column] / n
    mutual = float((table.count * np.log(table.count / independent)).sum() / n)
    return max(mutual, 0.0) / entropy


def adjusted_rand(table: Contingency) -> float:
    """Rand index adjusted for chance (Hubert and Arabie 1985): 1 for equal partitions, 0 at random."""

    def pairs(sizes: np.ndarray) -> float:
        return float((sizes * (sizes - 1)).sum() / 2)

    both, rows, columns = pairs(table.count), pairs(table.rows), pairs(table.columns)
    every = table.total * (table.total - 1) / 2
    expected = rows * columns / every if every else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def hungarian_accuracy(table: Contingency) -> float:
    """Share of samples that are right under the best one-to-one naming of clusters (Xu, Liu and Gong 2003).

    Samples of clusters without a class are wrong.
    """
    dense = np.zeros(table.shape)
    dense[table.row, table.column] = table.count
    row, column = linear_sum_assignment(dense, maximize=True)
    return float(dense[row, column].sum() / table.total)
