"""Every superpixel method, feature extractor, affinity builder and refiner in the package keeps its contract.

What is listed in ``REFINERS`` and in the fields of ``FeatureStack`` is tested the moment it is listed. The laws are
tested in turn: each must reject the defects that are planted at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.affinity import KnnAffinity
from segspectral.features import FeatureStack
from segspectral.refine import REFINERS, Guided, crf_installed
from segspectral.superpixels import Slic, Watershed
from segspectral.values import Affinity, Bands, Features, Image, Index, Membership, Superpixels
from segspectral.values.regions import RegionGraph
from tests.contracts import stage_laws as laws


def along_stripes(count: int) -> Callable[[Image], Superpixels]:
    """Superpixels of images whose edge map, whatever they show, has a stripe at every 17th column."""

    def superpixels(image: Image) -> Superpixels:
        edges = np.zeros(image.shape, np.float32)
        edges[:, ::17] = 0.8
        return Watershed(count=count)(image, edges)

    return superpixels


METHODS = {
    "slic": Slic(count=60),
    "slic, blurred": Slic(count=60, sigma=1.5),
    "slic, few": Slic(count=2),
    "watershed": along_stripes(60),
    "watershed, few": along_stripes(2),
    "watershed, without edges": Watershed(count=60),
}
EXTRACTORS = {
    **FeatureStack().extractors(),
    "all parts": FeatureStack(),
    "one part": FeatureStack(texture=None, position=None, cnn=None),
}
BUILDERS = {
    f"{bandwidth}, {symmetrize}, {'with' if adjacency else 'without'} adjacency": KnnAffinity(
        bandwidth=bandwidth, symmetrize=symmetrize, adjacency=adjacency, neighbors=6
    )
    for bandwidth in ("self_tuning", "median", 0.7)
    for symmetrize in ("max", "mean")
    for adjacency in (True, False)
}
IMAGES = (
    "photograph",
    "floats",
    "with void",
    "little left",
    "specks",
    "one colour",
    "one colour left",
    "two colours",
    "smallest",
    "narrow",
)


def blocks(height: int, width: int, side: int, mask: NDArray[np.bool_] | None = None) -> Superpixels:
    """Square superpixels, split where void pixels divide them."""
    from skimage.measure import label

    row, col = np.indices((height, width)) // side
    labels = 1 + row * (col.max() + 1) + col
    labels = labels if mask is None else np.where(mask, labels, 0)
    return Superpixels((label(labels, connectivity=1, background=0) - 1).astype(np.int32))


def five_bands(cat: NDArray[np.uint8]) -> Bands:
    """Colours, a band that other values and gaps have, and one without any measurement; and an index."""
    row, col = np.indices(cat.shape[:2])
    other = np.where((row > 30) & (row < 44), -1, 2000 + 900 * np.sin(col / 7)).astype(np.int16)
    values = np.dstack([cat.astype(np.int16), other, np.full_like(other, -1)])
    return Bands(
        values, nodata=-1, indices=(Index("ratio", "b4/(b1-b1)+b2"), Index("ndvi", "(b4-b1)/(b4+b1)")), seen=(1, 2, 3)
    )


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest, cat: NDArray[np.uint8]) -> Image:
    row, col = np.indices(cat.shape[:2])
    match request.param:
        case "photograph":
            return Image(cat.copy())
        case "floats":
            return Image(cat / 255.0, bands=five_bands(cat))
        case "with void":
            return Image(cat.copy(), mask=(row - 36) ** 2 + (col - 30) ** 2 > 24**2, bands=five_bands(cat))
        case "little left":
            return Image(cat.copy(), mask=(row > 20) & (row < 34) & (col > 30) & (col < 52))
        case "specks":
            return Image(cat.copy(), mask=(row * 7 + col * 13) % 29 < 3)
        case "one colour left":
            mask = (row > 20) & (col > 30)
            return Image(np.where(mask[..., None], np.array([91, 17, 203], np.uint8), cat), mask=mask)
        case "one colour":
            return Image(np.full((40, 50, 3), 90, np.uint8))
        case "two colours":
            return Image(np.where(col[..., None] < 50, 30, 200).astype(np.uint8) * np.ones(3, np.uint8))
        case "smallest":
            return Image(cat[:8, :8].copy())
        case _:
            return Image(cat[:9].copy())


@pytest.fixture
def superpixels(image: Image) -> Superpixels:
    return blocks(*image.shape, side=9, mask=image.mask)


def some_membership(superpixels: Superpixels, k: int) -> Membership:
    """Memberships that vary smoothly over the image and are uncertain in some places."""
    rng = np.random.default_rng(k)
    logits = np.sin(superpixels.centre @ rng.normal(0, 0.15, (2, k)) + rng.uniform(0, 6, k)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Membership(p.astype(np.float32))


def read_only(*values: Any) -> None:
    for value in values:
        for array in laws.arrays(value):
            array.setflags(write=False)


@pytest.mark.parametrize("law", [*laws.EVERY_STAGE, *laws.SUPERPIXEL_LAWS], ids=lambda law: law.__name__)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_superpixels_keep_the_law(law: Callable[..., None], method: Any, image: Image) -> None:
    law(method, image)


@pytest.mark.parametrize("law", [*laws.EVERY_STAGE, *laws.FEATURE_LAWS], ids=lambda law: law.__name__)
@pytest.mark.parametrize("extractor", EXTRACTORS.values(), ids=EXTRACTORS)
def test_features_keep_the_law(
    law: Callable[..., None], extractor: Any, image: Image, superpixels: Superpixels
) -> None:
    law(extractor, image, superpixels)


@pytest.mark.parametrize("law", [*laws.EVERY_STAGE, *laws.AFFINITY_LAWS], ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", ["separate", "duplicates", "constant", "one node"])
@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
def test_affinities_keep_the_law(law: Callable[..., None], builder: Any, kind: str) -> None:
    law(builder, *graph_inputs(kind))


def graph_inputs(kind: str) -> tuple[Features, RegionGraph]:
    """Features with boundary probabilities between them."""
    superpixels = blocks(8, 8, side=8) if kind == "one node" else blocks(40, 60, side=6)
    n, rng = len(superpixels), np.random.default_rng(0)
    nodes = rng.normal(size=(n, 5)) + 3 * (np.arange(n) % 3)[:, None]
    if kind == "separate":
        nodes[: n // 2] += 1e4
    if kind == "duplicates":
        nodes = nodes[np.arange(n) // 4]
    if kind == "constant":
        nodes[:] = 2.5
    graph = superpixels.region_graph
    return Features(nodes.astype(np.float32)), graph.with_boundary(rng.uniform(size=len(graph.borders)))


@pytest.mark.parametrize("law", [*laws.EVERY_STAGE, *laws.REFINER_LAWS], ids=lambda law: law.__name__)
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("name", REFINERS)
def test_refiners_keep_the_law(
    law: Callable[..., None], name: str, k: int, image: Image, superpixels: Superpixels
) -> None:
    if name == "crf" and not crf_installed():
        pytest.skip("pydensecrf is not installed")
    law(REFINERS[name](), image, superpixels, some_membership(superpixels, k))


def test_every_stage_accepts_read_only_arrays(cat: NDArray[np.uint8]) -> None:
    mask = np.ones(cat.shape[:2], bool)
    mask[:20, :30] = False
    image = Image(cat.copy(), mask=mask)
    superpixels = blocks(*image.shape, side=9, mask=mask)
    features, graph = FeatureStack()(image, superpixels)
    membership = some_membership(superpixels, 3)
    read_only(image, superpixels, features, graph, membership)
    for method in METHODS.values():
        method(image)
    for extractor in EXTRACTORS.values():
        extractor(image, superpixels)
    for builder in BUILDERS.values():
        builder(features, graph)
    for name, refiner in REFINERS.items():
        if name != "crf" or crf_installed():
            refiner()(image, superpixels, membership)


def test_floats_and_bytes_of_the_same_image_give_the_same_features(cat: NDArray[np.uint8]) -> None:
    superpixels = blocks(*cat.shape[:2], side=9)
    for extractor in EXTRACTORS.values():
        a, b = (laws.rows(extractor(Image(rgb), superpixels)) for rgb in (cat, cat / 255.0))
        assert laws.close(a, b)


# The laws themselves: each rejects what is planted for it -------------------------------------------------------------


def masked(cat: NDArray[np.uint8]) -> Image:
    row, col = np.indices(cat.shape[:2])
    return Image(cat.copy(), mask=(row - 36) ** 2 + (col - 30) ** 2 > 24**2)


def drawn(result: Any) -> Any:
    """The unchanged result, after a draw from the global random generator."""
    np.random.uniform()  # noqa: NPY002
    return result


def add(array: NDArray[Any], value: float) -> None:
    np.add(array, np.asarray(value).astype(array.dtype), out=array, casting="unsafe")


def slic(image: Image) -> Superpixels:
    return Slic(count=60)(image)


def slic_of_unmasked(image: Image) -> Superpixels:
    return slic(Image(image.rgb))


def slic_with_two_ids_swapped_at_random(image: Image) -> Superpixels:
    return laws.renumbered(slic(image), int(np.random.randint(1000)))[0]  # noqa: NPY002


def slic_that_joins_the_first_and_the_last(image: Image) -> Superpixels:
    labels = slic(image).labels
    return Superpixels(np.where(labels == labels.max(), 0, labels).astype(np.int32))


def slic_that_darkens(image: Image) -> Superpixels:
    result = slic(image)
    add(image.rgb, 1)
    return result


@pytest.mark.parametrize(
    ("method", "law"),
    [
        (slic_of_unmasked, laws.void_and_only_void_is_minus_one),
        (slic_with_two_ids_swapped_at_random, laws.same_input_same_bytes),
        (lambda image: drawn(slic(image)), laws.global_random_state_is_left_alone),
        (slic_that_joins_the_first_and_the_last, laws.superpixels_are_connected),
        (slic_that_darkens, laws.inputs_are_not_changed),
        (lambda image: Slic(count=10 + int(image.rgb[36, 30, 0]))(image), laws.void_does_not_move_superpixels),
    ],
)
def test_defective_superpixels_are_rejected(method: Any, law: Callable[..., None], cat: NDArray[np.uint8]) -> None:
    with pytest.raises(AssertionError):
        law(method, masked(cat))


def colour(image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
    return superpixels.pool(image.float32)


def colour_that_darkens(image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
    add(image.rgb, 1)
    return colour(image, superpixels)


def colour_of_the_whole_image(image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
    return (colour(image, superpixels) - image.float32.mean(axis=(0, 1))).astype(np.float32)


def colour_divided_by_its_spread(image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
    mean = colour(image, superpixels)
    with np.errstate(all="ignore"):
        return ((mean - mean.mean(axis=0)) / mean.std(axis=0)).astype(np.float32)


@pytest.mark.parametrize(
    ("extractor", "law"),
    [
        (colour_that_darkens, laws.inputs_are_not_changed),
        (colour_of_the_whole_image, laws.void_does_not_move_features),
        (colour_divided_by_its_spread, laws.one_finite_row_per_superpixel),
        (lambda i, s: colour(i, s)[:-1], laws.one_finite_row_per_superpixel),
        (lambda i, s: colour(i, s).astype(np.float64), laws.one_finite_row_per_superpixel),
        (lambda i, s: colour(i, s)[:, :0], laws.one_finite_row_per_superpixel),
        (lambda i, s: np.cumsum(colour(i, s), axis=0), laws.renumbering_permutes_rows),
        (lambda i, s: np.sort(colour(i, s), axis=0), laws.renumbering_permutes_rows),
        (lambda i, s: np.c_[colour(i, s), np.arange(len(s))].astype(np.float32), laws.renumbering_permutes_rows),
        (lambda i, s: colour(i, s) + np.float32(np.random.normal()), laws.same_input_same_bytes),  # noqa: NPY002
        (lambda i, s: drawn(colour(i, s)), laws.global_random_state_is_left_alone),
    ],
)
def test_defective_features_are_rejected(extractor: Any, law: Callable[..., None], cat: NDArray[np.uint8]) -> None:
    image = masked(cat)
    if extractor is colour_divided_by_its_spread:
        image = Image(np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(AssertionError):
        law(extractor, image, blocks(*image.shape, side=9, mask=image.mask))


def knn(features: Features, graph: RegionGraph) -> Affinity:
    return KnnAffinity(neighbors=6)(features, graph)


def knn_left_in_pieces(features: Features, graph: RegionGraph) -> Affinity:
    from sklearn.neighbors import kneighbors_graph

    nearest = sp.csr_array(kneighbors_graph(features.nodes, 3))
    return Affinity(nearest.maximum(nearest.T))


def knn_with_a_chain(features: Features, graph: RegionGraph) -> Affinity:
    n = len(graph)
    chain = sp.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[1, -1])
    return Affinity(sp.csr_array(knn(features, graph).weights + chain))


def knn_that_centres(features: Features, graph: RegionGraph) -> Affinity:
    features.nodes[:] -= features.nodes.mean(axis=0)
    return knn(features, graph)


def knn_with_noise(features: Features, graph: RegionGraph) -> Affinity:
    return Affinity(knn(features, graph).weights * (1 + np.random.uniform()))  # noqa: NPY002


@pytest.mark.parametrize(
    ("builder", "law"),
    [
        (knn_left_in_pieces, laws.the_graph_has_a_node_per_superpixel_and_is_connected),
        (
            lambda f, g: Affinity(knn(f, g).weights[1:, 1:]),
            laws.the_graph_has_a_node_per_superpixel_and_is_connected,
        ),
        (knn_with_a_chain, laws.renumbering_renumbers_the_graph),
        (knn_that_centres, laws.inputs_are_not_changed),
        (knn_with_noise, laws.same_input_same_bytes),
        (lambda f, g: drawn(knn(f, g)), laws.global_random_state_is_left_alone),
    ],
)
def test_defective_affinities_are_rejected(builder: Any, law: Callable[..., None]) -> None:
    with pytest.raises(AssertionError):
        law(builder, *graph_inputs("separate"))


def plain(image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]:
    return superpixels.to_pixels(membership.labels.astype(np.int32), void=-1)


def plain_that_sharpens(image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]:
    membership.probabilities[:] = np.eye(membership.probabilities.shape[1])[membership.labels]
    return plain(image, superpixels, membership)


def plain_but_the_first_cluster_eats_its_neighbours(
    image: Image, superpixels: Superpixels, membership: Membership
) -> NDArray[np.int32]:
    from scipy.ndimage import binary_dilation

    labels = plain(image, superpixels, membership)
    return np.where(binary_dilation(labels == 0, iterations=3) & (labels >= 0), 0, labels).astype(np.int32)


def guided_with_a_wide_window(image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]:
    return Guided(radius=60, epsilon=1e3)(image, superpixels, membership)


def plain_moved_by_what_the_void_holds(
    image: Image, superpixels: Superpixels, membership: Membership
) -> NDArray[np.int32]:
    labels = plain(image, superpixels, membership)
    return np.roll(labels, int(image.rgb[~superpixels.valid].sum()) % 11, axis=0)


@pytest.mark.parametrize(
    ("refiner", "law"),
    [
        (lambda i, s, m: plain(i, s, m) + np.int32(1), laws.labels_are_clusters_and_void_stays_void),
        (lambda i, s, m: np.maximum(plain(i, s, m), 0), laws.labels_are_clusters_and_void_stays_void),
        (lambda i, s, m: plain(i, s, m).astype(np.int64), laws.labels_are_clusters_and_void_stays_void),
        (lambda i, s, m: plain(i, s, m)[:, ::-1], laws.labels_are_clusters_and_void_stays_void),
        (lambda i, s, m: np.where(s.valid, 0, -1).astype(np.int32), laws.permuting_clusters_permutes_labels),
        (plain_but_the_first_cluster_eats_its_neighbours, laws.permuting_clusters_permutes_labels),
        (plain_but_the_first_cluster_eats_its_neighbours, laws.certain_memberships_that_follow_borders_are_kept),
        (guided_with_a_wide_window, laws.certain_memberships_that_follow_borders_are_kept),
        (plain_moved_by_what_the_void_holds, laws.void_does_not_move_labels),
        (plain_that_sharpens, laws.inputs_are_not_changed),
        (lambda i, s, m: drawn(plain(i, s, m)), laws.global_random_state_is_left_alone),
        (
            lambda i, s, m: np.roll(plain(i, s, m), np.random.randint(9), axis=0),  # noqa: NPY002
            laws.same_input_same_bytes,
        ),
    ],
)
def test_defective_refiners_are_rejected(refiner: Any, law: Callable[..., None], cat: NDArray[np.uint8]) -> None:
    image = masked(cat)
    superpixels = blocks(*image.shape, side=9, mask=image.mask)
    with pytest.raises(AssertionError):
        law(refiner, image, superpixels, some_membership(superpixels, 4))


@pytest.mark.parametrize("law", laws.EVERY_STAGE, ids=lambda law: law.__name__)
def test_the_stages_that_the_defects_are_planted_in_pass_without_them(
    law: Callable[..., None], cat: NDArray[np.uint8]
) -> None:
    image = masked(cat)
    superpixels = blocks(*image.shape, side=9, mask=image.mask)
    for stage_law in (law, *laws.FEATURE_LAWS):
        stage_law(colour, image, superpixels)
    for stage_law in (law, *laws.REFINER_LAWS):
        stage_law(plain, image, superpixels, some_membership(superpixels, 4))
