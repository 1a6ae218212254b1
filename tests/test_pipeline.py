"""The whole pipeline: planted images, changes of the image with a known effect, and the public names."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

import segspectral
from segspectral.affinity import KnnAffinity
from segspectral.config import make_pipeline
from segspectral.errors import SettingsError
from segspectral.features import FeatureStack
from segspectral.heads import DEFAULT_HEAD, HEADS, head_class
from segspectral.heads.base import Head, Solution
from segspectral.images.reader import as_image
from segspectral.levels import count_regions, fitted
from segspectral.metrics.communities import modularity
from segspectral.pipeline import STAGES, Pipeline, eigengap_segments, segment
from segspectral.refine import REFINERS, DenseCrf, Guided, crf_installed
from segspectral.settings import with_settings
from segspectral.values import Affinity, Image, Membership, Segmentation, Superpixels

FEW = {"superpixels": {"count": 120}}
PLAIN = {"features": {"cnn": None, "texture": None}}
"""Planted images have no texture, and a network or filters would take the borders between quadrants for objects."""

LIGHT = FEW | {"features": {"cnn": None}, "head": "exact", "refine": "none"}
"""Settings of tests that are not about features, heads or refinement."""


def inner(truth: NDArray[np.integer], margin: int = 5) -> NDArray[np.bool_]:
    """(H, W) True at least ``margin`` pixels away from any border between labels."""
    from scipy.ndimage import maximum_filter, minimum_filter

    size = 2 * margin + 1
    return maximum_filter(truth, size) == minimum_filter(truth, size)


def agreement(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    return float(adjusted_rand_score(a.ravel(), b.ravel()))


@pytest.fixture(scope="class")
def each_problem_is_solved_once() -> Iterator[None]:
    """A head that is given what it was given before has its solution ready: what comes behind it differs."""
    solved: dict[tuple[str, bytes, bytes], Solution] = {}

    def remembering(solve: Callable[..., Solution]) -> Callable[..., Solution]:
        def once(head: Head, X: NDArray[np.float64], affinity: Affinity, *others: Any) -> Solution:
            problem = (f"{type(head)} {head.get_params()}", X.tobytes(), affinity.weights.data.tobytes())
            if problem not in solved:
                solved[problem] = solve(head, X, affinity, *others)
            return solved[problem]

        return once

    with pytest.MonkeyPatch.context() as patch:
        for head in map(head_class, HEADS):
            patch.setattr(head, "_solve", remembering(head._solve))
        yield


@pytest.mark.usefixtures("each_problem_is_solved_once")
class TestPlanted:
    @pytest.mark.parametrize("refine", [r for r in REFINERS if r != "crf" or crf_installed()])
    @pytest.mark.parametrize("head", HEADS)
    def test_four_coloured_quadrants_are_found_exactly_except_at_their_borders(
        self, quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]], head: str, refine: str
    ) -> None:
        # With unequal sizes, the optimum of modularity and MinCut is another partition (see the next test).
        part = np.s_[22:, 36:] if head in ("modularity", "mincut") else np.s_[:, :]
        rgb, truth = (array[part] for array in quadrants)
        result = segment(rgb, segments=4, head=head, refine=refine, **FEW | PLAIN)
        # The quadrants and the segments are numbered by descending area.
        np.testing.assert_array_equal(result.labels[inner(truth)], truth[inner(truth)])

    def test_the_modularity_of_unequal_quadrants_is_below_what_the_head_finds(
        self, quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]]
    ) -> None:
        rgb, truth = quadrants
        plain = FEW | PLAIN | {"affinity": {"scale": 0.45}, "refine": "none"}
        exact, found = (segment(rgb, segments=4, head=head, **plain) for head in ("exact", "modularity"))
        np.testing.assert_array_equal(exact.labels[inner(truth)], truth[inner(truth)])
        planted, other = (modularity(r.affinity, r.membership.labels) for r in (exact, found))
        assert other > planted + 0.01

    def test_with_all_defaults_quadrants_are_found_except_for_some_superpixels(
        self, quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]]
    ) -> None:
        rgb, truth = quadrants
        assert agreement(segment(rgb, segments=4).labels, truth) > 0.7

    def test_the_number_of_quadrants_is_found_from_colours(
        self, quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]]
    ) -> None:
        result = segment(quadrants[0], **FEW | PLAIN)
        assert result.segments == 4
        assert result.pipeline.segments == 4
        assert (segment(quadrants[0], pipeline=result.pipeline).labels == result.labels).all(), "a number, in its tree"

    def test_without_closed_boundaries_the_eigengap_decides_and_no_segment_is_nearly_everything(
        self, samples: Path
    ) -> None:
        result = segment(samples / "galaxies.jpg")
        assert count_regions(result.hierarchy, fitted().count) == 0, "specks beside the whole sky are no regions"
        assert result.membership.eigenvalues is not None
        assert result.segments == eigengap_segments(result.membership.eigenvalues) > 2
        assert np.bincount(result.labels.ravel()).max() < 0.9 * result.labels.size

    def test_without_number_and_head_regions_are_segments(self, cat: NDArray[np.uint8]) -> None:
        result = segment(cat)
        assert result.pipeline.hierarchy
        assert (result.labels == result.hierarchy.labels(level=fitted().cut)).all()
        assert (segment(cat, pipeline=result.pipeline).labels == result.labels).all()

    def test_auto_among_other_numbers_means_regions_too(self, cat: NDArray[np.uint8]) -> None:
        pipeline = Pipeline(segments=4, **FEW)
        made = pipeline.solve(pipeline.describe(cat), "auto")
        assert (made.labels == made.hierarchy.labels(level=fitted().cut)).all()

    def test_further_bands_run_the_head_because_borders_do_not_see_them(self, cat: NDArray[np.uint8]) -> None:
        near_infrared = np.indices(cat.shape[:2])[1] // (cat.shape[1] // 2 + 1) * 200
        bands = np.dstack([cat, near_infrared.astype(np.uint8)]).astype(np.uint16) * 257
        assert not segment(bands, bands=(1, 2, 3), **FEW).pipeline.hierarchy
        assert segment(bands[..., :3], bands=(1, 2, 3), **FEW).pipeline.hierarchy

    def test_a_number_alone_runs_the_default_head(self, cat: NDArray[np.uint8]) -> None:
        alone, named = segment(cat, segments=4, **FEW), segment(cat, segments=4, head=DEFAULT_HEAD, **FEW)
        assert (alone.labels == named.labels).all()
        assert alone.pipeline.segments == 4

    def test_a_head_alone_gets_the_number_of_regions(self, cat: NDArray[np.uint8]) -> None:
        result = segment(cat, head=DEFAULT_HEAD, **FEW)
        assert result.pipeline.segments == count_regions(result.scene.graph.hierarchy, fitted().count)

    def test_settings_of_a_head_without_a_name_are_those_of_the_default_head(self) -> None:
        head = with_settings(Pipeline(), {"head": {"steps": 7}}, "--set").head
        assert head is not None
        assert (type(head), head.get_params()["steps"]) == (head_class(DEFAULT_HEAD), 7)

    @pytest.mark.parametrize("contours", [None, {}])
    def test_noise_of_one_superpixel_is_one_segment(self, contours: object) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
        result = segment(noise, **LIGHT | {"features": {"cnn": None, "contours": contours}})
        assert (len(result.superpixels), result.segments) == (1, 1)

    def test_textures_with_equal_mean_colours_are_separated(self) -> None:
        row, col = np.indices((96, 128))
        stripes = np.where(col < 64, 128 + 60 * np.sign(np.sin(row * 1.6)), 128 + 60 * np.sign(np.sin(col * 0.4)))
        rgb = np.repeat(stripes[..., None], 3, axis=2).astype(np.uint8)
        result = segment(rgb, segments=2, superpixels={"count": 48, "compactness": 200})
        assert agreement(result.labels, (col >= 64).astype(int)) > 0.8

    def test_one_segment_is_the_whole_image(self, cat: NDArray[np.uint8]) -> None:
        assert (segment(cat, segments=1, **LIGHT).labels == 1).all()

    def test_with_as_many_segments_as_superpixels_each_is_one_superpixel(self, cat: NDArray[np.uint8]) -> None:
        count = len(segment(cat, segments=2, **LIGHT).superpixels)
        result = segment(cat, segments=count, **LIGHT)
        assert agreement(result.labels, result.superpixels.labels) == 1


class TestMetamorphic:
    @pytest.fixture(scope="class")
    @staticmethod
    def result(cat: NDArray[np.uint8]) -> Segmentation:
        return segment(cat, segments=3, **FEW)

    @pytest.mark.parametrize(
        "turn", [lambda a: a[:, ::-1], lambda a: a[::-1], lambda a: np.swapaxes(a, 0, 1)], ids=["left", "up", "aside"]
    )
    def test_a_flipped_image_has_nearly_the_flipped_segments(
        self, quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]], turn: Any
    ) -> None:
        rgb = quadrants[0]
        straight = segment(rgb, segments=3, **FEW).labels
        assert agreement(turn(straight), segment(turn(rgb), segments=3, **FEW).labels) > 0.9

    def test_the_type_of_the_source_does_not_matter(
        self, result: Segmentation, cat: NDArray[np.uint8], tmp_path: Path
    ) -> None:
        path = tmp_path / "cat.png"
        PIL.Image.fromarray(cat).save(path)
        for source in (path, str(path), PIL.Image.fromarray(cat), Image(cat), cat.tolist() and cat.copy()):
            np.testing.assert_array_equal(segment(source, segments=3, **FEW).labels, result.labels)

    def test_a_grey_image_equals_an_image_with_equal_channels(self, cat: NDArray[np.uint8]) -> None:
        grey = cat.mean(axis=2).astype(np.uint8)
        a, b = segment(grey, segments=3, **FEW), segment(np.dstack([grey] * 3), segments=3, **FEW)
        np.testing.assert_array_equal(a.labels, b.labels)
        assert a.segments == 3

    def test_equal_seeds_give_equal_bytes(self, result: Segmentation, cat: NDArray[np.uint8]) -> None:
        np.random.seed(123)  # noqa: NPY002
        again = segment(cat, segments=3, seed=0, **FEW)
        assert again.labels.tobytes() == result.labels.tobytes()
        assert again.membership.probabilities.tobytes() == result.membership.probabilities.tobytes()
        assert again.features.nodes.tobytes() == result.features.nodes.tobytes()

    def test_slight_noise_changes_little(self, quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
        rgb = quadrants[0]
        noisy = np.clip(rgb + np.random.default_rng(1).normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)
        a, b = (segment(image, segments=4, **FEW | PLAIN) for image in (rgb, noisy))
        assert agreement(a.labels, b.labels) > 0.95

    def test_the_source_is_not_changed(self, cat: NDArray[np.uint8]) -> None:
        source = cat.copy()
        segment(source, segments=2, **FEW)
        np.testing.assert_array_equal(source, cat)


class TestVoid:
    @pytest.fixture
    def masked(self, cat: NDArray[np.uint8]) -> Image:
        rows, cols = np.indices(cat.shape[:2])
        return Image(cat, mask=(rows - 36) ** 2 + (cols - 30) ** 2 > 18**2)

    @pytest.mark.parametrize("refine", [r for r in REFINERS if r != "crf" or crf_installed()])
    def test_void_pixels_and_no_others_are_0(self, masked: Image, refine: str) -> None:
        result = segment(masked, segments=3, refine=refine, **FEW)
        np.testing.assert_array_equal(result.labels > 0, masked.mask)
        assert np.unique(result.labels).tolist() == [0, 1, 2, 3]

    def test_the_values_of_void_pixels_change_nothing(self, masked: Image) -> None:
        assert masked.mask is not None
        other = Image(np.where(masked.mask[..., None], masked.rgb, 255 - masked.rgb), mask=masked.mask)
        np.testing.assert_array_equal(
            segment(masked, segments=3, **FEW).labels, segment(other, segments=3, **FEW).labels
        )

    def test_an_image_of_one_colour_with_coloured_void_has_one_colour(self, cat: NDArray[np.uint8]) -> None:
        mask = np.indices(cat.shape[:2])[1] > 40
        result = segment(Image(np.where(mask[..., None], np.uint8(90), cat), mask=mask), **LIGHT)
        assert "one colour" in result.notes[0]
        np.testing.assert_array_equal(result.labels, mask.astype(int))

    def test_islands_in_the_void_are_segmented(self, cat: NDArray[np.uint8]) -> None:
        row, col = np.indices(cat.shape[:2])
        mask = (row % 24 < 14) & (col % 32 < 20)
        result = segment(Image(cat, mask=mask), segments=3, **FEW)
        assert np.unique(result.labels[mask]).tolist() == [1, 2, 3]


class TestResult:
    def test_segments_are_numbered_by_descending_area_before_refinement(self, cat: NDArray[np.uint8]) -> None:
        for head in HEADS:
            result = segment(cat, segments=6, **LIGHT | {"head": head})
            assert (np.diff(np.bincount(result.labels.ravel())[1:]) <= 0).all()
            assert result.segments == 6

    def test_the_parts_of_a_result_fit_together(self, cat: NDArray[np.uint8]) -> None:
        result = segment(cat, segments=3, **LIGHT)
        n = len(result.superpixels)
        assert result.features.nodes.shape[0] == len(result.affinity) == len(result.membership.probabilities) == n
        assert result.labels.shape == result.image.shape == cat.shape[:2]
        assert result.labels.dtype == np.int32
        assert list(result.features.parts) == ["colour", "texture", "position"]
        assert result.ncut == pytest.approx(result.affinity.ncut(result.membership.labels))
        np.testing.assert_array_equal(result.labels - 1, result.superpixels.to_pixels(result.membership.labels))

    def test_the_observer_is_called_once_per_stage_in_order_with_its_seconds(self, cat: NDArray[np.uint8]) -> None:
        seen: list[tuple[str, float]] = []
        result = segment(cat, segments=3, observer=lambda *call: seen.append(call), **LIGHT)
        assert [name for name, _ in seen] == list(STAGES)
        assert dict(seen) == dict(result.seconds)
        assert all(seconds > 0 for _, seconds in seen)

    def test_a_cut_of_the_hierarchy_asks_for_features_and_affinity_only_when_the_user_does(
        self, cat: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, affinity, combine = [], KnnAffinity.__call__, FeatureStack.combine
        monkeypatch.setattr(KnnAffinity, "__call__", lambda *given: made.append("affinity") or affinity(*given))
        monkeypatch.setattr(FeatureStack, "combine", lambda *given: made.append("features") or combine(*given))
        result = segment(cat, hierarchy=True, features={"cnn": None})
        assert result.segments == result.pipeline.segments > 1
        assert made == []
        sent = pickle.loads(pickle.dumps(result))
        assert made == ["features", "affinity"], "a copy for another process has all"
        assert sent.ncut == result.ncut > 0
        labels = sent.superpixels.to_pixels(sent.membership.labels.astype(np.int32) + np.int32(1), void=0)
        np.testing.assert_array_equal(labels, result.labels)
        assert made == ["features", "affinity"], "and each is computed once"

    def test_no_segment_is_lost_in_refinement(self, cat: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
        def greedy(self: Any, image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]:
            return np.where(superpixels.valid, 0, -1).astype(np.int32)

        monkeypatch.setattr(Guided, "__call__", greedy)
        mask = np.ones(cat.shape[:2], bool)
        mask[:9] = False
        result = segment(Image(cat, mask=mask), segments=5, **LIGHT | {"refine": "guided"})
        assert np.unique(result.labels).tolist() == [0, 1, 2, 3, 4, 5]

    def test_the_resolved_pipeline_repeats_the_result(self, cat: NDArray[np.uint8]) -> None:
        first = segment(cat, **LIGHT)
        assert isinstance(first.pipeline.segments, int)
        again = first.pipeline(as_image(cat))
        np.testing.assert_array_equal(again.labels, first.labels)
        assert again.pipeline == first.pipeline

    def test_without_the_crf_the_guided_filter_runs_and_a_note_says_so(
        self, cat: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("segspectral.pipeline.crf_installed", lambda: False)
        unset = {name: value for name, value in LIGHT.items() if name != "refine"}
        result = segment(cat, segments=3, **unset)
        assert isinstance(result.pipeline.refine, Guided)
        assert len(result.notes) == 1
        assert "pydensecrf" in result.notes[0]
        np.testing.assert_array_equal(result.labels, segment(cat, segments=3, **LIGHT | {"refine": "guided"}).labels)

    @pytest.mark.parametrize("named", ["crf", DenseCrf(), {"iterations": 3}])
    def test_a_crf_that_is_requested_by_name_is_not_replaced(
        self, cat: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, named: Any
    ) -> None:
        monkeypatch.setattr("segspectral.pipeline.crf_installed", lambda: False)
        asked = (
            make_pipeline({"refine": named})
            if named != {"iterations": 3}
            else with_settings(Pipeline(), {"refine": named})
        )
        # Changes of other settings neither request the CRF nor withdraw the request.
        for pipeline in (
            asked,
            with_settings(asked, {"seed": 3}),
            with_settings(with_settings(asked, {}), {"segments": 4}),
        ):
            with pytest.raises(SettingsError, match=r"pip install 'segspectral\[crf\]'"):
                pipeline(Image(cat))
        assert with_settings(Pipeline(), {"seed": 3}).usable()[1]
        assert with_settings(asked, {"refine": "none"}).usable() == (Pipeline(refine="none"), ())

    def test_without_pydensecrf_the_crf_says_what_to_install(
        self, cat: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
        whole = Superpixels(np.zeros(cat.shape[:2], np.int32))
        with pytest.raises(SettingsError, match=r"pip install.*guided"):
            DenseCrf()(Image(cat), whole, Membership(np.ones((1, 1), np.float32)))


class TestOneColour:
    @pytest.mark.parametrize("value", [0, 77, 255])
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"segments": 4},
            {"hierarchy": True},
            {"hierarchy": True, "segments": 3},
            {"hierarchy": True, "level": 0.2},
        ],
    )
    def test_it_is_one_segment_with_a_note(self, value: int, settings: dict[str, Any]) -> None:
        light = LIGHT if "hierarchy" not in settings else {k: v for k, v in LIGHT.items() if k == "features"}
        result = segment(np.full((40, 50, 3), value, np.uint8), **light | settings)
        assert (result.labels == 1).all()
        assert result.segments == 1
        assert "one colour" in result.notes[-1]

    def test_one_other_pixel_makes_it_another_image(self) -> None:
        rgb = np.full((40, 50, 3), 77, np.uint8)
        rgb[3, 4] = 78
        assert segment(rgb, **LIGHT).notes == ()


class TestRefusals:
    def test_more_segments_than_superpixels_are_refused_with_both_numbers(self, cat: NDArray[np.uint8]) -> None:
        count = len(segment(cat, segments=2, **LIGHT).superpixels)
        with pytest.raises(SettingsError, match=rf"{count + 1} segments are more than the image's {count} superpixels"):
            segment(cat, segments=count + 1, **LIGHT)

    def test_an_unknown_setting_is_refused_with_a_suggestion(self, cat: NDArray[np.uint8]) -> None:
        with pytest.raises(SettingsError, match="did you mean superpixels"):
            segment(cat, superpixel={"count": 3})
        with pytest.raises(SettingsError, match="segments"):
            segment(cat, segments=0)

    @pytest.mark.parametrize("size", [(8, 8), (8, 200), (9, 31)])
    def test_images_of_the_minimum_size_are_segmented(self, cat: NDArray[np.uint8], size: tuple[int, int]) -> None:
        rgb = np.array(PIL.Image.fromarray(cat).resize(size[::-1]))
        assert segment(rgb, segments=2).segments == 2
        assert segment(rgb).segments >= 2

    def test_a_level_without_the_hierarchy_is_refused(self) -> None:
        with pytest.raises(ValueError, match="set hierarchy=true"):
            Pipeline(level=0.3)
        assert Pipeline(level=0.3, hierarchy=True).level == 0.3

    def test_two_colours_are_two_segments(self) -> None:
        rgb = np.zeros((40, 60, 3), np.uint8)
        rgb[:, 25:] = (200, 30, 30)
        result = segment(rgb, segments=2, **FEW)
        assert agreement(result.labels, (np.indices((40, 60))[1] >= 25).astype(int)) > 0.95
        assert segment(rgb, **FEW).segments >= 2


class TestEigengap:
    @pytest.mark.parametrize("k", [3, 4, 6, 8])
    def test_a_clear_gap_decides(self, k: int) -> None:
        eigenvalues = np.concatenate([np.linspace(0, 0.01, k), np.linspace(0.9, 1.0, 13 - k)])
        assert eigengap_segments(eigenvalues) == k

    @pytest.mark.parametrize("values", [[0.0], [0.0, 0.1], [0.0, 0.1, 0.2], [0.0] * 13])
    def test_the_choice_is_between_2_and_the_number_of_eigengaps(self, values: list[float]) -> None:
        assert 2 <= eigengap_segments(np.array(values)) <= max(2, len(values) - 1)

    def test_the_unit_of_the_eigenvalues_does_not_matter(self) -> None:
        eigenvalues = np.sort(np.random.default_rng(0).uniform(size=13))
        assert eigengap_segments(eigenvalues) == eigengap_segments(eigenvalues / 7)


class TestSurface:
    def test_a_pipeline_reads_what_it_is_called_with(self, cat: NDArray[np.uint8], tmp_path: Path) -> None:
        """A path, an array or an Image; by its own settings for reading."""
        PIL.Image.fromarray(cat).save(tmp_path / "cat.png")
        pipeline = Pipeline(segments=3, features={"cnn": None}, refine="none")
        of_image = pipeline(segspectral.read_image(tmp_path / "cat.png")).labels
        for source in (tmp_path / "cat.png", str(tmp_path / "cat.png"), cat):
            assert (pipeline(source).labels == of_image).all()
        scene = pipeline.describe(tmp_path / "cat.png")
        assert (pipeline.solve(scene).labels == of_image).all()

    def test_the_public_names_are_sorted_and_exist(self) -> None:
        assert segspectral.__all__ == sorted(segspectral.__all__)
        for name in segspectral.__all__:
            assert getattr(segspectral, name).__doc__
        assert set(segspectral.__all__) <= set(dir(segspectral))
        with pytest.raises(AttributeError, match="no attribute 'segmant'"):
            segspectral.segmant

    def test_the_public_names_of_every_module_are_sorted_and_exist(self) -> None:
        from importlib import import_module
        from importlib.util import find_spec
        from pkgutil import walk_packages

        for module in walk_packages(segspectral.__path__, "segspectral."):
            if module.name == "segspectral.napari.widget" and find_spec("napari") is None:
                continue
            if not module.name.endswith("__main__"):
                found = import_module(module.name)
                names = list(getattr(found, "__all__", ()))
                assert all(hasattr(found, name) for name in names), module.name
                # Constants, then classes, then functions, each in alphabetical order.
                assert names == sorted(names, key=lambda n: (not n.isupper(), n[0].islower(), n)), module.name

    def test_importing_the_package_imports_nothing_heavy(self) -> None:
        code = (
            "import sys, segspectral; segspectral.__version__; dir(segspectral)\n"
            "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'skimage', 'timm', 'cv2', 'PIL', 'pydantic'}\n"
            "print(sorted(heavy & set(sys.modules)))"
        )
        root = Path(segspectral.__file__).parents[1]
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
        assert done.stdout == "[]\n"
