"""Scores of a clustering against known classes, for heads that cluster vectors or the nodes of a graph.

>>> clustering_scores([0, 0, 1, 1], ["b", "b", "a", "a"])
{'nmi': 1.0, 'ari': 1.0, 'accuracy': 1.0}
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from segspectral.metrics.contingency import Contingency, contingency

__all__ = ["clustering_scores", "hungarian_accuracy"]


def clustering_scores(predicted: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """Return the scores of cluster ids (n,) against class labels (n,), which may be of any type.

    ``nmi`` is the mutual information over the mean of the two entropies; ``ari`` is the Rand index adjusted for chance
    (Hubert and Arabie 1985); ``accuracy`` is the ``hungarian_accuracy``.

    Raises
    ------
    ValueError
        The lengths differ, or there is nothing to score.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    clusters, classes = (np.unique(np.asarray(x), return_inverse=True)[1].ravel() for x in (predicted, truth))
    table = contingency(clusters, classes)
    return {
        "nmi": float(normalized_mutual_info_score(classes, clusters)),
        "ari": float(adjusted_rand_score(classes, clusters)),
        "accuracy": hungarian_accuracy(table),
    }


def hungarian_accuracy(table: Contingency) -> float:
    """Return the share of samples that are right under the best one-to-one naming of clusters (Xu, Liu and Gong 2003).

    Samples in clusters without a class count as wrong.
    """
    dense = np.zeros(table.shape)
    dense[table.row, table.column] = table.count
    row, column = linear_sum_assignment(dense, maximize=True)
    return float(dense[row, column].sum() / table.total)
