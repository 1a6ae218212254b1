"""The values: what they refuse, and comparisons of their arithmetic with simple, slow versions."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from segspectral.errors import GraphError, ImageError
from segspectral.values import Affinity, Features, Image, Membership, Outcome, Superpixels

RNG = np.random.default_rng(11)


def voronoi(height: int, width: int, count: int, seed: int = 0, void: float = 0.0) -> NDArray[np.int32]:
    """(H, W) ids of the nearest of ``count`` random points, with void in two opposite corners."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (count, 2)) * (height, width)
    rows, cols = np.indices((height, width))
    labels = ((rows[..., None] - points[:, 0]) ** 2 + (cols[..., None] - points[:, 1]) ** 2).argmin(axis=-1)
    if void:
        radius = void * min(height, width)
        labels[rows**2 + cols**2 < radius**2] = -1
        labels[(height - rows) ** 2 + (width - cols) ** 2 < radius**2] = -1
    kept = np.unique(labels[labels >= 0])
    return np.where(labels >= 0, np.searchsorted(kept, labels), -1).astype(np.int32)


@pytest.fixture(params=[0.0, 0.5], ids=["all valid", "with void"])
def superpixels(request: pytest.FixtureRequest) -> Superpixels:
    return Superpixels(voronoi(31, 43, 17, void=request.param))


def graph(n: int = 12, seed: int = 3) -> NDArray[np.float64]:
    """(N, N) dense symmetric weights with a zero diagonal; about half are zero, and a ring connects all nodes."""
    rng = np.random.default_rng(seed)
    weights = np.triu(rng.uniform(0.1, 1, (n, n)) * (rng.uniform(size=(n, n)) < 0.5), 1)
    weights[np.arange(n - 1), np.arange(1, n)] = 0.7
    return weights + weights.T


class TestImage:
    @pytest.mark.parametrize(
        ("rgb", "complaint"),
        [
            (np.zeros((9, 9), np.uint8), "shape"),
            (np.zeros((9, 9, 4), np.uint8), "shape"),
            (np.zeros((0, 9, 3), np.uint8), "shape"),
            (np.zeros((9, 9, 3), np.int32), "int32"),
            (np.zeros((9, 9, 3), bool), "bool"),
            (np.full((9, 9, 3), np.nan), "NaN"),
            (np.full((9, 9, 3), np.inf), "NaN or infinity"),
            (np.full((9, 9, 3), 1.01), "1.01"),
            (np.full((9, 9, 3), -0.5), "-0.5"),
        ],
    )
    def test_an_array_that_is_not_a_colour_image_is_refused_with_its_fault(
        self, rgb: NDArray[np.generic], complaint: str
    ) -> None:
        with pytest.raises(ImageError, match=complaint):
            Image(rgb)

    @pytest.mark.parametrize(
        "mask", [np.ones((9, 8), bool), np.ones((9, 9), np.uint8), np.zeros((9, 9), bool), np.ones((9, 9, 1), bool)]
    )
    def test_a_mask_of_another_shape_or_type_or_without_valid_pixels_is_refused(self, mask: NDArray[np.bool_]) -> None:
        with pytest.raises(ImageError, match=r"mask must be bool|no pixel is valid"):
            Image(np.zeros((9, 9, 3), np.uint8), mask=mask)

    def test_eight_bits_survive_conversion_to_floats_and_back(self) -> None:
        levels = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
        image = Image(levels)
        assert image.float32.dtype == np.float32
        assert image.float32.min() == 0
        assert image.float32.max() == 1
        for precision in (np.float32, np.float64):
            np.testing.assert_array_equal(Image(image.float32.astype(precision)).uint8, levels)

    def test_floats_are_rounded_to_the_nearest_level_and_not_truncated(self) -> None:
        assert Image(np.full((9, 9, 3), 0.999)).uint8[0, 0, 0] == 255
        assert Image(np.full((9, 9, 3), 100.4 / 255)).uint8[0, 0, 0] == 100

    def test_the_shape_is_height_and_width(self) -> None:
        assert Image(np.zeros((9, 12, 3), np.uint8)).shape == (9, 12)


class TestSuperpixels:
    @pytest.mark.parametrize(
        "labels",
        [
            np.array([[0, 2]], np.int32),
            np.array([[1, 2]], np.int32),
            np.array([[-2, 0]], np.int32),
            np.array([[-1, -1]], np.int32),
            np.zeros((0, 3), np.int32),
            np.array([[0, 1]], np.int64),
            np.array([0, 1], np.int32),
            np.zeros((2, 2, 1), np.int32),
        ],
    )
    def test_ids_with_gaps_without_pixels_or_of_another_type_are_refused(self, labels: NDArray[np.int32]) -> None:
        with pytest.raises(ImageError, match="superpixel"):
            Superpixels(labels)

    def test_area_and_centre_equal_those_of_a_loop(self, superpixels: Superpixels) -> None:
        assert len(superpixels) == superpixels.labels.max() + 1
        for index in range(len(superpixels)):
            at = np.argwhere(superpixels.labels == index)
            assert superpixels.area[index] == len(at)
            np.testing.assert_allclose(superpixels.centre[index], at.mean(axis=0), rtol=1e-12)
        assert superpixels.area.sum() == superpixels.valid.sum()

    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, np.bool_])
    @pytest.mark.parametrize("channels", [(), (1,), (3,), (2, 4)])
    def test_pooling_is_the_mean_over_each_superpixel(
        self, superpixels: Superpixels, dtype: type, channels: tuple[int, ...]
    ) -> None:
        values = (RNG.uniform(0, 200, (*superpixels.shape, *channels)) * (dtype is not np.bool_)).astype(dtype)
        if dtype is np.bool_:
            values = RNG.uniform(size=values.shape) < 0.5
        pooled = superpixels.pool(values)
        assert pooled.shape == (len(superpixels), *channels)
        assert np.issubdtype(pooled.dtype, np.floating)
        expected = [
            values[superpixels.labels == index].mean(axis=0, dtype=np.float64) for index in range(len(superpixels))
        ]
        np.testing.assert_allclose(pooled, expected, rtol=2e-6)

    def test_void_pixels_do_not_enter_means(self) -> None:
        superpixels = Superpixels(voronoi(31, 43, 17, void=0.5))
        values = RNG.uniform(size=superpixels.shape)
        spoilt = np.where(superpixels.valid, values, 1e9)
        np.testing.assert_array_equal(superpixels.pool(spoilt), superpixels.pool(values))

    @pytest.mark.parametrize("channels", [(), (3,), (2, 2)])
    @pytest.mark.parametrize("void", [0, -1, 7])
    def test_to_pixels_gives_each_pixel_the_value_of_its_superpixel(
        self, superpixels: Superpixels, channels: tuple[int, ...], void: int
    ) -> None:
        values = RNG.integers(0, 1000, (len(superpixels), *channels))
        original = values.copy()
        pixels = superpixels.to_pixels(values, void=void)
        assert pixels.shape == (*superpixels.shape, *channels)
        for row, col in np.ndindex(superpixels.shape):
            index = superpixels.labels[row, col]
            np.testing.assert_array_equal(pixels[row, col], values[index] if index >= 0 else void)
        np.testing.assert_array_equal(values, original)

    def test_pool_inverts_to_pixels(self, superpixels: Superpixels) -> None:
        values = RNG.normal(size=(len(superpixels), 5))
        np.testing.assert_allclose(superpixels.pool(superpixels.to_pixels(values)), values, rtol=1e-12)

    def test_borders_and_their_lengths_equal_those_of_a_loop_over_pixels(self, superpixels: Superpixels) -> None:
        labels, found = superpixels.labels, Counter()
        for row, col in np.ndindex(labels.shape):
            for other in ((row + 1, col), (row, col + 1)):
                if other[0] < labels.shape[0] and other[1] < labels.shape[1]:
                    a, b = int(labels[row, col]), int(labels[other])
                    if a != b and min(a, b) >= 0:
                        found[min(a, b), max(a, b)] += 1
        assert [tuple(pair) for pair in superpixels.borders.tolist()] == sorted(found)
        assert superpixels.border_length.tolist() == [found[pair] for pair in sorted(found)]
        assert superpixels.borders.dtype == np.int32

    @pytest.mark.parametrize("channels", [1, 3])
    def test_means_along_borders_equal_those_of_a_loop_over_pixels(
        self, superpixels: Superpixels, channels: int
    ) -> None:
        values = RNG.normal(size=(*superpixels.shape, channels))
        found: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
        for row, col in np.ndindex(superpixels.shape):
            for other in ((row + 1, col), (row, col + 1)):
                if other[0] < superpixels.shape[0] and other[1] < superpixels.shape[1]:
                    i, j = sorted((int(superpixels.labels[row, col]), int(superpixels.labels[other])))
                    if 0 <= i < j:
                        found.setdefault((i, j), []).append(np.maximum(values[row, col], values[other]))
        expected = [np.mean(found[i, j], axis=0) for i, j in superpixels.borders.tolist()]
        assert len(found) == len(superpixels.borders)
        np.testing.assert_allclose(superpixels.along_borders(values), np.reshape(expected, (-1, channels)), atol=1e-12)

    def test_borders_are_the_edges_of_scikit_images_region_graph(self) -> None:
        from skimage.graph import RAG

        superpixels = Superpixels(voronoi(40, 50, 25))
        expected = sorted((min(a, b), max(a, b)) for a, b in RAG(superpixels.labels, connectivity=1).edges())
        assert [tuple(pair) for pair in superpixels.borders.tolist()] == expected

    def test_a_single_superpixel_has_no_borders(self) -> None:
        whole = Superpixels(np.zeros((5, 6), np.int32))
        assert whole.borders.shape == (0, 2)
        assert whole.border_length.shape == (0,)

    @pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
    def test_pooling_a_grid_equals_bilinear_upsampling_and_then_pooling(
        self, superpixels: Superpixels, stride: int
    ) -> None:
        height, width = superpixels.shape
        cells = -(-height // stride), -(-width // stride)
        values = RNG.normal(size=(*cells, 3))
        fine = upsampled(values, stride)[:height, :width]
        np.testing.assert_allclose(superpixels.pool_grid(values, stride), superpixels.pool(fine), atol=1e-5)

    @pytest.mark.parametrize("offset", [-5, -1, 3, 6])
    def test_a_grid_with_an_offset_repeats_its_outermost_values(self, superpixels: Superpixels, offset: int) -> None:
        height, width = superpixels.shape
        values = RNG.normal(size=(5, 6, 2))
        fine = upsampled(values, 8)
        # Outside the grid, its outermost values are repeated.
        rows = np.clip(np.arange(height) - offset, 0, fine.shape[0] - 1)
        cols = np.clip(np.arange(width) - offset, 0, fine.shape[1] - 1)
        np.testing.assert_allclose(
            superpixels.pool_grid(values, 8, offset), superpixels.pool(fine[np.ix_(rows, cols)]), atol=1e-5
        )

    @pytest.mark.parametrize("cells", [(1, 1), (1, 4), (3, 1)])
    def test_a_grid_of_one_row_or_column_is_pooled(self, superpixels: Superpixels, cells: tuple[int, int]) -> None:
        values = RNG.normal(size=(*cells, 2))
        fine = upsampled(values, 16)
        rows, cols = (np.minimum(np.arange(n), m - 1) for n, m in zip(superpixels.shape, fine.shape, strict=False))
        np.testing.assert_allclose(
            superpixels.pool_grid(values, 16), superpixels.pool(fine[np.ix_(rows, cols)]), atol=1e-5
        )

    def test_a_constant_grid_has_that_constant_as_its_means(self, superpixels: Superpixels) -> None:
        np.testing.assert_allclose(superpixels.pool_grid(np.full((4, 6, 1), 2.5), 8), 2.5, rtol=1e-6)


def upsampled(values: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    tensor = torch.from_numpy(values).permute(2, 0, 1)[None]
    fine = torch.nn.functional.interpolate(tensor, scale_factor=stride, mode="bilinear", align_corners=False)
    return fine[0].permute(1, 2, 0).numpy()


class TestFeatures:
    @pytest.mark.parametrize(
        "nodes",
        [np.zeros(3, np.float32), np.zeros((3, 0), np.float32), np.zeros((3, 2)), np.full((3, 2), np.nan, np.float32)],
    )
    def test_features_that_are_not_finite_floats_are_refused(self, nodes: NDArray[np.float32]) -> None:
        with pytest.raises(ImageError, match="features"):
            Features(nodes)

    def test_parts_are_found_by_name(self) -> None:
        features = Features(np.arange(12, dtype=np.float32).reshape(3, 4), {"a": (0, 1), "b": (1, 4)})
        np.testing.assert_array_equal(features.part("b"), features.nodes[:, 1:])


class TestAffinity:
    def test_the_negative_weight_is_named(self) -> None:
        weights = graph()
        weights[2, 5] = weights[5, 2] = -0.25
        with pytest.raises(GraphError, match=r"2 and 5 is -0\.25"):
            Affinity(sp.csr_array(weights))

    def test_the_asymmetric_pair_is_named(self) -> None:
        weights = graph()
        weights[2, 5] += 0.5
        with pytest.raises(GraphError, match=r"\(2, 5\)"):
            Affinity(sp.csr_array(weights))

    def test_the_node_with_an_edge_to_itself_is_named(self) -> None:
        weights = graph()
        weights[4, 4] = 1
        with pytest.raises(GraphError, match="node 4"):
            Affinity(sp.csr_array(weights))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_weights_that_are_not_finite_are_refused(self, bad: float) -> None:
        weights = graph()
        weights[1, 2] = weights[2, 1] = bad
        with pytest.raises(GraphError, match="NaN or infinity"):
            Affinity(sp.csr_array(weights))

    @pytest.mark.parametrize("weights", [graph(), sp.csr_array((3, 4)), sp.csr_array((0, 0))])
    def test_dense_empty_or_oblong_weights_are_refused(self, weights: sp.csr_array) -> None:
        with pytest.raises(GraphError, match=r"sparse|square"):
            Affinity(weights)

    def test_the_given_weights_are_copied_and_brought_into_standard_form(self) -> None:
        dense = graph(4)
        i, j = dense.nonzero()
        # Each weight occurs as two halves, in no order, and there is an explicit zero.
        order = np.random.default_rng(0).permutation(2 * len(i))
        data = np.tile(dense[i, j] / 2, 2)[order]
        rows, cols = np.tile(i, 2)[order], np.tile(j, 2)[order]
        given = sp.coo_array((np.append(data, 0), (np.append(rows, 0), np.append(cols, 0))), shape=(4, 4))
        affinity = Affinity(given)
        assert affinity.weights.has_canonical_format
        assert affinity.weights.nnz == len(i)
        np.testing.assert_allclose(affinity.weights.toarray(), dense)
        given.data[:] = 9
        np.testing.assert_allclose(affinity.weights.toarray(), dense)

    def test_integer_weights_become_floats(self) -> None:
        assert Affinity(sp.csr_array((graph() > 0).astype(np.int64))).weights.dtype == np.float32

    @pytest.mark.parametrize("kind", ["none", "sym"])
    def test_laplacians_equal_those_of_a_dense_formula(self, kind: str) -> None:
        dense = graph()
        degree = dense.sum(axis=1)
        expected = np.diag(degree) - dense
        if kind == "sym":
            expected /= np.sqrt(np.outer(degree, degree))
        np.testing.assert_allclose(Affinity(sp.csr_array(dense)).laplacian(kind).toarray(), expected, atol=1e-12)

    def test_the_random_walk_laplacian_is_similar_to_the_symmetric_one(self) -> None:
        affinity = Affinity(sp.csr_array(graph()))
        walk = affinity.laplacian("rw").toarray()
        np.testing.assert_allclose(walk.sum(axis=1), 0, atol=1e-12)
        values = np.sort(np.linalg.eigvals(walk).real)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(affinity.laplacian("sym").toarray()), atol=1e-10)

    def test_another_laplacian_is_refused(self) -> None:
        with pytest.raises(ValueError, match="kind"):
            Affinity(sp.csr_array(graph())).laplacian("left")  # type: ignore[arg-type]

    def test_isolated_nodes_cause_no_division_by_zero(self) -> None:
        weights = np.zeros((5, 5))
        weights[:4, :4] = graph(4)
        affinity = Affinity(sp.csr_array(weights))
        with np.errstate(all="raise"):
            assert affinity.degree[4] == 0
            for kind in ("none", "sym", "rw"):
                laplacian = affinity.laplacian(kind).toarray()
                assert np.isfinite(laplacian).all()
                assert not laplacian[4].any()
            assert affinity.components.tolist() == [0, 0, 0, 0, 1]
            assert affinity.ncut(np.array([0, 0, 0, 0, 1])) == 0

    @pytest.mark.parametrize("k", [1, 2, 3, 7])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_ncut_equals_the_dense_formula(self, k: int, dtype: type) -> None:
        weights = graph(20).astype(dtype)
        labels = np.random.default_rng(k).permutation(np.arange(20) % k)
        expected = sum(
            weights[labels == c][:, labels != c].sum(dtype=float) / weights[labels == c].sum(dtype=float)
            for c in range(k)
        )
        assert Affinity(sp.csr_array(weights)).ncut(labels) == pytest.approx(expected, rel=1e-5, abs=1e-7)

    def test_ncut_does_not_change_with_cluster_names_weight_scale_or_node_order(self) -> None:
        weights, labels = graph(20), np.arange(20) % 4
        expected = Affinity(sp.csr_array(weights)).ncut(labels)
        assert Affinity(sp.csr_array(weights)).ncut(np.array([17, -3, 0, 400])[labels]) == pytest.approx(expected)
        assert Affinity(sp.csr_array(1e-3 * weights)).ncut(labels) == pytest.approx(expected)
        order = np.random.default_rng(5).permutation(20)
        assert Affinity(sp.csr_array(weights[np.ix_(order, order)])).ncut(labels[order]) == pytest.approx(expected)

    def test_ncut_is_between_the_sum_of_eigenvalues_and_k(self) -> None:
        affinity = Affinity(sp.csr_array(graph(20)))
        values = np.linalg.eigvalsh(affinity.laplacian("sym").toarray())
        for k in (2, 3, 5):
            for seed in range(10):
                labels = np.random.default_rng(seed).permutation(np.arange(20) % k)
                assert values[:k].sum() - 1e-9 <= affinity.ncut(labels) <= k


class TestMembership:
    @pytest.mark.parametrize(
        "probabilities",
        [
            np.ones(3),
            np.ones((3, 0)),
            np.full((3, 2), 0.6),
            np.array([[1.5, -0.5]]),
            np.array([[np.nan, 1]]),
            np.array([[np.inf, 0]]),
        ],
    )
    def test_rows_that_are_not_probabilities_are_refused(self, probabilities: NDArray[np.float64]) -> None:
        with pytest.raises(GraphError, match="memberships"):
            Membership(probabilities.astype(np.float32))

    def test_reordering_moves_columns_and_keeps_the_rest(self) -> None:
        probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32)
        membership = Membership(probabilities, eigenvalues=np.array([0.0, 0.5]), outcome=Outcome.RETRIED)
        reordered = membership.reordered(np.array([2, 0, 1]))
        np.testing.assert_array_equal(reordered.probabilities, probabilities[:, [2, 0, 1]])
        assert reordered.labels.tolist() == [1, 0]
        assert reordered.outcome is Outcome.RETRIED
        assert reordered.eigenvalues is membership.eigenvalues
        assert membership.reordered(np.arange(3), np.zeros(4)).eigenvalues.tolist() == [0, 0, 0, 0]

    @pytest.mark.parametrize("outcome", Outcome)
    def test_each_outcome_is_a_sentence(self, outcome: Outcome) -> None:
        assert outcome.sentence
        assert "\n" not in outcome.sentence


@pytest.mark.parametrize(
    "value",
    [
        Image(np.zeros((9, 9, 3), np.uint8)),
        Superpixels(np.zeros((2, 2), np.int32)),
        Features(np.zeros((2, 2), np.float32)),
        Affinity(sp.csr_array(graph())),
        Membership(np.ones((2, 1), np.float32)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_frozen(value: object) -> None:
    first = dataclasses.fields(value)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, first, None)
