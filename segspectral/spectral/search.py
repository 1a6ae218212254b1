"""The rows that are nearest to others: exactly, or for very many of them by inverted lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segspectral.extras import installed

__all__ = ["Search", "nearest"]

SEARCHED_BELOW = 2000
"""Up to this many rows, those that are nearest are searched here. For more, scikit-learn is faster, whose import takes
a second."""

AT_ONCE = 2**24
"""At most this many numbers, 128 MB, are compared at once."""

LISTS_FROM = 50_000
"""With this many rows or more, inverted lists are used if faiss is installed. Exact search takes 13 s for 60 000 rows
of 50 numbers on two cores, and an hour for a million."""

RECALL = 0.99
"""More lists are searched until this share of the true neighbours of ``CHECKED`` rows is found."""

CHECKED = 200


def nearest(
    rows: NDArray[np.float64], k: int, queries: NDArray[np.float64] | None = None, *, exact: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """``Search.nearest`` for a single search."""
    return Search(rows, exact=exact).nearest(k, queries)


class Search:
    """Rows among which the nearest are searched.

    From ``LISTS_FROM`` rows on, where faiss is installed (extra ``large``), each row is in the list of its nearest
    centre of k-means, and only the lists whose centres are nearest to a query are searched (Sivic and Zisserman 2003;
    Jegou, Douze and Schmid 2011, section IV, without compression). How many lists that are is found out on rows whose
    neighbours are known.

    Parameters
    ----------
    rows : (N, D) float64, finite
    exact : whether to use no lists, whose making takes longer than a few exact searches

    Attributes
    ----------
    recall : the share of the true neighbours that was found for ``CHECKED`` rows; 1 for exact search
    """

    def __init__(self, rows: NDArray[np.float64], *, exact: bool = False) -> None:
        self._rows = rows
        self._lists = None if exact or len(rows) < LISTS_FROM or not installed("faiss") else _Lists(rows)
        self.recall = 1.0

    def __len__(self) -> int:
        return len(self._rows)

    def nearest(
        self, k: int, queries: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Ascending distances (M, k) and indices (M, k) of the rows that are nearest to queries (M, D).

        Without queries, they are the other rows that are nearest to each row. Of equally near rows, the first ones are
        taken if there are fewer than ``SEARCHED_BELOW``.
        """
        if self._lists is not None:
            distance, neighbor, self.recall = self._lists.nearest(k, queries)
            return distance, neighbor
        if len(self._rows) < SEARCHED_BELOW:
            return _searched(self._rows, k, queries)
        from sklearn.neighbors import NearestNeighbors

        # In more than about 15 dimensions, brute force is faster than a tree.
        algorithm = "brute" if self._rows.shape[1] > 15 else "auto"
        return NearestNeighbors(n_neighbors=k, algorithm=algorithm).fit(self._rows).kneighbors(queries)


class _Lists:
    """Inverted lists of faiss. It computes in float32; the distances of what it finds are then computed exactly."""

    def __init__(self, rows: NDArray[np.float64]) -> None:
        import faiss

        self._rows = rows
        self._middle = rows.mean(axis=0)
        self._size = max(float(np.abs(rows - self._middle).max()), np.finfo(np.float64).tiny)
        n, width = rows.shape
        # Of 4 sqrt(N) lists with sqrt(N) / 4 rows each, comparing the centres costs as much as searching 16 lists.
        lists = int(4 * np.sqrt(n))
        self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, lists)
        how = self._index.cp
        how.niter, how.min_points_per_centroid, how.max_points_per_centroid = 10, 1, 64
        some = np.random.default_rng(0).choice(n, min(n, 64 * lists), replace=False)
        self._index.train(self._single(rows[some]))
        for start in range(0, n, AT_ONCE // width):
            self._index.add(self._single(rows[start : start + AT_ONCE // width]))

    def nearest(
        self, k: int, queries: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        points = self._rows if queries is None else queries
        recall = self._tune(k, points, own=queries is None)
        found = [
            self._exactly(points[i : i + 10_000], k, i if queries is None else None)
            for i in range(0, len(points), 10_000)
        ]
        return np.concatenate([d for d, _ in found]), np.concatenate([j for _, j in found]), recall

    def _tune(self, k: int, points: NDArray[np.float64], *, own: bool) -> float:
        """Search as few lists as find ``RECALL`` of the neighbours of some points; returns the share that is found."""
        import faiss

        some = np.random.default_rng(1).choice(len(points), min(CHECKED, len(points)), replace=False)
        true = faiss.knn(self._single(points[some]), self._single(self._rows), k + own)[0][:, -1]
        self._index.nprobe = 4
        while True:
            distance = self._index.search(self._single(points[some]), k + own)[0]
            # Ties and rounding: a row is a true neighbour if it is as near as the last of them.
            recall = float((distance <= true[:, None] * (1 + 1e-5)).mean())
            if recall >= RECALL or self._index.nprobe >= self._index.nlist:
                return recall
            self._index.nprobe *= 2

    def _exactly(
        self, points: NDArray[np.float64], k: int, first: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The nearest rows of some points; ``first`` is the number of the first point among the rows, if it is one."""
        import faiss

        own = first is not None
        neighbor = self._index.search(self._single(points), k + own)[1]
        # Where the lists that were searched hold fewer rows, all are searched.
        if (few := (neighbor < 0).any(axis=1)).any():
            neighbor[few] = faiss.knn(self._single(points[few]), self._single(self._rows), k + own)[1]
        apart = self._rows[neighbor] - points[:, None]
        distance = np.sqrt(np.einsum("ijk,ijk->ij", apart, apart))
        if first is not None:
            distance[neighbor == np.arange(first, first + len(points))[:, None]] = np.inf
        order = np.argsort(distance, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distance, order, axis=1), np.take_along_axis(neighbor, order, axis=1)

    def _single(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.ascontiguousarray((rows - self._middle) / self._size, dtype=np.float32)


def _searched(
    rows: NDArray[np.float64], k: int, queries: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """``Search.nearest`` by brute force.

    |x|^2 + |y|^2 - 2 x'y is fast, but rounded. It finds the candidates, whose distances are then computed exactly.
    """
    n, middle, points = len(rows), rows.mean(axis=0), rows if queries is None else queries
    near = rows - middle
    square = np.einsum("ij,ij->i", near, near)
    # Twice the largest rounding error, as a share of |x|^2 + |y|^2 (Higham 2002, section 3.1).
    rounding = 2 * (rows.shape[1] + 8) * np.finfo(np.float64).eps
    group = max(1, n // (8 * k))
    distance, neighbor = np.empty((len(points), k)), np.empty((len(points), k), dtype=np.int64)
    step = max(1, AT_ONCE // rows.size)
    for start in range(0, len(points), step):
        some = points[start : start + step]
        here = np.arange(len(some))
        centred = some - middle
        own = np.einsum("ij,ij->i", centred, centred)
        rough = centred @ near.T
        rough *= -2
        rough += square
        rough += own[:, None]
        if queries is None:
            rough[here, start + here] = np.inf
        # k groups of rows have a row within the k-th smallest minimum of a group. It costs less than that of all rows.
        least = rough[:, : n - n % group].reshape(len(some), group, -1).min(axis=1)
        largest = np.partition(least, k - 1, axis=1)[:, k - 1] + rounding * (own + square.max())
        i, j = np.divmod(np.flatnonzero(rough <= largest[:, None]), n)
        apart = some[i] - rows[j]
        exact = np.einsum("ij,ij->i", apart, apart)
        chosen = np.lexsort((j, exact, i))[np.searchsorted(i, here)[:, None] + np.arange(k)]
        distance[start + here], neighbor[start + here] = np.sqrt(exact[chosen]), j[chosen]
    return distance, neighbor
