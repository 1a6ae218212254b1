"""The pipeline: Image -> Superpixels -> Features -> Affinity -> Membership -> Segmentation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BeforeValidator, Field, model_validator
from threadpoolctl import threadpool_limits

from segspectral.affinity import KnnAffinity
from segspectral.errors import SettingsError
from segspectral.features import FeatureStack
from segspectral.features.cnn import Seen
from segspectral.features.stack import Measured
from segspectral.heads import DEFAULT_HEAD
from segspectral.heads.base import Head
from segspectral.heads.settings import ChosenHead, head_from, head_schema, head_to
from segspectral.images.planes import as_edges, file_beside, read_edges
from segspectral.images.reader import FLAT, Reading, as_image
from segspectral.levels import count_regions, fitted
from segspectral.refine import DenseCrf, Guided, NoRefinement, crf_installed, segments_of_pixels
from segspectral.resolution import WORKING_PIXELS, WorkingPixels, downsampled, joint_upsampling
from segspectral.seeds.files import SEED_SUFFIXES, read_seeds
from segspectral.seeds.given import By, Seeding, Seeds
from segspectral.seeds.partition import seeded
from segspectral.settings import Settings, with_settings
from segspectral.shared.model import AnyModel, model_from
from segspectral.sizes import LargeLeaves, Sizes, work_leaves
from segspectral.spectral.discretise import soft_membership
from segspectral.spectral.eigen import spectral_embedding
from segspectral.spectral.walk import diffused
from segspectral.superpixels import AnySuperpixels, Watershed
from segspectral.values import Affinity, Bands, Features, Image, Membership, Scene, Segmentation, Superpixels
from segspectral.values.fragments import Fragments
from segspectral.values.later import Later
from segspectral.values.regions import Hierarchy, RegionGraph

__all__ = ["STAGES", "Observer", "Pipeline", "eigengap_segments", "from_edges", "segment", "with_seeds"]

STAGES = ("superpixels", "features", "affinity", "partition", "refine")

TYPICAL_SEGMENTS, LOG_DEVIATION = 6, 0.5
"""The prior of ``eigengap_segments``: people who segment photographs mark about 6 regions. The prior is
log-normal around that, with this standard deviation in ln k."""

T = TypeVar("T")

Observer = Callable[[str, float], None]
"""Called after each stage with its name and its wall-clock time in seconds."""

DESCRIBED_BY = (("working_pixels", "superpixels", "edges"), ("features", "model"), ("affinity",))
"""The settings that each stage of ``Pipeline.describe`` depends on, in addition to those of the stages before it."""

AnyRefiner = Annotated[
    Annotated[DenseCrf | Guided | NoRefinement, Field(discriminator="name")],
    BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value),
]


class Pipeline(Settings):
    """The settings of a segmentation: the strategy of each stage, the number of segments, a seed. A call segments.

    >>> Pipeline(segments=5).segments
    5
    >>> Pipeline(head="exact", refine="none").refine
    NoRefinement(name='none')
    """

    segments: Annotated[int, Field(ge=1, le=10_000)] | Literal["auto"] = Field(
        "auto",
        description="number of segments; auto: from the image's hierarchy, or the eigengap if no boundary is closed",
    )
    max_segments: int = Field(16, ge=2, le=1000, description="maximum number of segments that auto chooses for a head")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="random seed; equal seeds give equal results")
    hierarchy: bool = Field(False, description="cut the hierarchy of the image instead of running the head")
    level: float | None = Field(
        None, ge=0, le=1, description="level at which the hierarchy is cut, instead of into a number of segments"
    )
    reading: Reading = Reading()
    working_pixels: WorkingPixels = WORKING_PIXELS
    superpixels: AnySuperpixels = Watershed()
    features: FeatureStack = FeatureStack()
    affinity: KnnAffinity = KnnAffinity()
    head: ChosenHead = Field(
        None,
        description=f"head; null: {DEFAULT_HEAD} if a number of segments is given, and regions of the hierarchy if not",
    )
    refine: AnyRefiner = DenseCrf()
    sizes: Sizes = Sizes()
    seeds: Seeding = Seeding()
    edges: Path | None = Field(
        None, description="edge map of the image, higher is stronger; or a folder with a map of each image's name"
    )
    model: AnyModel | None = Field(
        None, description="file of a model, from `segspectral fit` or `teach`; its segments mean the same in all images"
    )

    @model_validator(mode="before")
    @classmethod
    def _as_the_model(cls, data: Any) -> Any:
        """Settings of the model become the defaults."""
        if not isinstance(data, Mapping) or data.get("model") is None:
            return data
        model = model_from(data["model"])
        defaults = {**model.settings(), **model.defaults(), "reading": model.recipe.reading}
        return defaults | dict(data) | {"model": model}

    @model_validator(mode="after")
    def _agrees_with_the_model(self) -> Self:
        if self.model is None:
            return self
        if self.hierarchy or self.level is not None:
            raise ValueError("hierarchy and model exclude each other: a hierarchy belongs to one image")
        if new := self.sizes.renumbers:
            raise ValueError(
                f"sizes.{' and sizes.'.join(new)} make new segments, which have no number in a model; leave them out, "
                "or leave out the model"
            )
        for name, value in self.model.settings().items():
            ours, fitted = _plain(getattr(self, name)), _plain(value)
            if ours != fitted:
                where, given, due = _difference(name, ours, fitted)
                raise ValueError(
                    f"{where}={given} contradicts the model {self.model.file}, which was made with {due}; leave this "
                    "setting out, or make another model with it"
                )
        return self

    @model_validator(mode="after")
    def _edges_of_one_image(self) -> Self:
        if self.edges is None:
            return self
        if self.features.contours is None:
            raise ValueError("edges become boundary probabilities; do not set features.contours to null")
        if self.reading.page == "all":
            raise ValueError("edges belong to one image; choose one page instead of all")
        if self.model is not None:
            raise ValueError("edges and model exclude each other: a model was fitted without these edges")
        return self

    @model_validator(mode="after")
    def _seeds_alone(self) -> Self:
        if self.seeds.path is None:
            return self
        if self.hierarchy or self.model is not None:
            other = "hierarchy" if self.hierarchy else "model"
            more = "; seeds.by=hierarchy spreads seeds by the hierarchy" if self.hierarchy else ""
            raise ValueError(f"seeds and {other} exclude each other: both say what the segments are{more}")
        if new := self.sizes.renumbers:
            raise ValueError(f"sizes.{' and sizes.'.join(new)} make new segments, which no seed names; leave them out")
        if self.reading.page == "all":
            raise ValueError("seeds belong to one image; choose one page instead of all")
        return self

    @model_validator(mode="after")
    def _level_of_something(self) -> Self:
        if self.level is not None and not self.hierarchy:
            raise ValueError(
                "level is the level at which the hierarchy is cut; set hierarchy=true as well, or leave level out"
            )
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The JSON schema of a settings file, with the settings of every head."""
        schema = super().model_json_schema(*args, **kwargs)
        # This is computed only here, because it imports all heads.
        head = head_schema()
        schema.setdefault("$defs", {}).update(head.pop("$defs"), Head=head)
        head["anyOf"].append({"type": "null"})
        schema["properties"]["head"]["$ref"] = "#/$defs/Head"
        return schema

    def usable(self) -> tuple[Pipeline, tuple[str, ...]]:
        """This pipeline as it can run on this machine, and a note for each default that had to be replaced.

        Raises
        ------
        SettingsError
            A package of a strategy that the user has chosen is not installed.
        """
        if self.model is None and not self.hierarchy:
            self._head.check_installed()
        if isinstance(self.refine, DenseCrf) and not self.hierarchy and not crf_installed():
            install = "pip install 'segspectral[crf]'"
            if "refine" in self.model_fields_set:
                raise SettingsError(
                    f"refine=crf needs pydensecrf, which is not installed: {install}, or set refine=guided"
                )
            note = f"pydensecrf is not installed, so the guided filter refines segments of a head ({install})"
            return self.model_copy(update={"refine": Guided()}), (note,)
        return self, ()

    def said_of(self, bands: Bands | None) -> str:
        """A sentence that says how bands of an image that are not shown are used; empty if there are no such bands."""
        if self.model is not None:
            return self.model.said_of(bands)
        return self.features.said_of(bands, self.hierarchy)

    def prepare(self) -> None:
        """Load the weights of the backbone, so that an error appears before the first image.

        Raises
        ------
        BackboneError
        """
        self.features.load()

    def __call__(self, image: Any, observer: Observer | None = None) -> Segmentation:
        """Segment one image: describe it, then solve it.

        Parameters
        ----------
        image : an Image, or whatever ``as_image`` reads: a path, a Pillow image, an array, a tensor, bytes

        Raises
        ------
        ImageError
            The image cannot be read.
        SettingsError
            There are fewer superpixels than requested segments, or a package of a strategy is not installed.
        BackboneError, CollapseError
        """
        return self.solve(self.describe(image, observer), observer=observer)

    def describe(self, image: Any, observer: Observer | None = None, *, known: Scene | None = None) -> Scene:
        """Compute what does not depend on the number of segments: superpixels, features, region graph and affinity.

        Features and affinity are computed on first use, because a cut of the hierarchy needs neither.

        An image of a single colour is one segment, whatever number is requested; a note says so.

        Parameters
        ----------
        image : an Image, or whatever ``as_image`` reads
        known : an earlier scene of the same image. The results of its first stages are reused, up to the first stage
            whose settings differ

        Raises
        ------
        ImageError, SettingsError, BackboneError
        """
        pipeline, notes = self.usable()
        image = as_image(image, reading=self.reading)
        notes = (*notes, *image.notes, *filter(None, [pipeline.said_of(image.bands)]))
        if pipeline.edges is not None and image.edges is None:
            edges, said = read_edges(file_beside(pipeline.edges, image.name, "edges"), image.shape)
            image, notes = replace(image, edges=edges), (*notes, *filter(None, [said]))
        if plain := _one_colour(image):
            notes = (*notes, FLAT)
        pipeline.sizes.of_image(image)  # raises before the work if a size cannot be converted to pixels
        clock = _Clock(observer)
        shared = 0 if known is None else _stages_shared(pipeline, known.pipeline)
        # The matrices are small. On busy machines, BLAS threads that wait for each other cost more time than they save.
        with threadpool_limits(1, user_api="blas"):
            if known is None or shared < 1:
                work = downsampled(image, pipeline.working_pixels)
                seen = pipeline.features.see(work) if pipeline.follows_network and work.edges is None else None
                superpixels = clock("superpixels", _one_superpixel if plain else pipeline._divide, work, seen)
            else:
                image, work, superpixels, seen = known.image, known.work, known.work_superpixels, None
            if known is None or shared < 2:
                if pipeline.model is None:
                    measured, graph = clock("features", pipeline._borders, work, superpixels, seen)
                    features = _later(lambda: pipeline.features.of_superpixels(work, superpixels, measured))
                else:
                    made, graph = clock("features", pipeline.model.features, work, superpixels)
                    features = Later(lambda: made)
            else:
                features, graph = known.later_features, known.graph
        if known is None or shared < 3:
            affinity = _later(lambda: pipeline.affinity(features.value, graph))
        else:
            affinity = known.later_affinity
        return Scene(image, work, superpixels, graph, features, affinity, pipeline, notes, clock.seconds)

    def solve(
        self,
        scene: Scene,
        segments: int | Literal["auto"] | None = None,
        observer: Observer | None = None,
        *,
        seeds: Seeds | ArrayLike | None = None,
    ) -> Segmentation:
        """Segment a scene. A scene may be segmented many times.

        Parameters
        ----------
        scene : the result of ``describe`` of this pipeline, or of one that differs only in the head, the refiner, the
            hierarchy or the number of segments
        segments : the number of segments; None means that of the pipeline
        seeds : pixels (H, W) whose labels are known, 0 elsewhere. The segments are then the labels, every seed keeps
            its own, and neither the head nor the refiner runs. None means the seeds of the pipeline, if it has some

        Raises
        ------
        SettingsError
            The scene was described with other settings, there are fewer superpixels than requested segments, or the
            seeds do not fit the image.
        CollapseError
        """
        pipeline, _ = self.usable()
        if changed := [name for names in DESCRIBED_BY for name in names if _differ(pipeline, scene.pipeline, name)]:
            raise SettingsError(
                f"the scene was described with other settings of {' and '.join(changed)}: describe the image again"
            )
        seeds = pipeline._seeds_of(scene.image) if seeds is None else seeds
        if seeds is not None:
            return pipeline._from_seeds(scene, Seeds.of(seeds), observer)
        plain = _one_colour(scene.image) and self.model is None
        number = 1 if plain else pipeline.segments if segments is None else segments
        pipeline = pipeline._for_scene(scene, number)
        sizes, limits = pipeline.sizes, pipeline.sizes.of_image(scene.image)
        if pipeline.hierarchy and not sizes.wanted:
            return pipeline._of_cut(scene, number, observer)
        clock = _Clock(observer, scene.seconds)
        with threadpool_limits(1, user_api="blas"):
            tree = large = before = None
            if pipeline.hierarchy and (limits.least > 1 or np.isfinite(limits.most)):
                before = int(pipeline._cut(scene.graph.hierarchy, number).max()) + 1
                drawn = clock("upsampling", work_leaves, scene)
                fragments, at = Fragments.of(drawn + np.int32(1), drawn)
                large = clock("sizes", LargeLeaves.of, fragments, scene.graph.hierarchy, limits.least)
                leaves, tree = np.append(large.leaf, np.int32(-1))[at], large.tree
            affinity = clock("affinity", getattr, scene, "affinity")
            membership = clock("partition", pipeline.partition, scene.features, scene.graph, affinity, number, tree)
            if large is not None:
                membership = large.within(limits.most, membership, affinity)
                labels = np.append(membership.labels + 1, 0).astype(np.int32)[leaves]
            elif pipeline.hierarchy:
                superpixels = scene.work_superpixels
                labels = superpixels.to_pixels(membership.labels.astype(np.int32) + np.int32(1), void=0)
            else:
                labels = clock("refine", pipeline._label_map, scene.work, scene.work_superpixels, membership)
            if large is None and scene.work is not scene.image:
                labels = clock("upsampling", joint_upsampling, labels, scene.work, scene.image)
            notes = scene.notes
            if sizes.wanted:
                leaves = scene.superpixels.labels if large is None else leaves
                made = clock(
                    "sizes", sizes.of_scene, scene, labels, membership, leaves, self.model is None, before, tree
                )
                labels, membership, more = made
                notes = (*notes, *more)
        resolved = pipeline.model_copy(update={"segments": membership.probabilities.shape[1]})
        names = {} if self.model is None else self.model.names
        return Segmentation(labels, scene, Later(lambda: membership), resolved, notes, clock.seconds, names)

    def _seeds_of(self, image: Image) -> Seeds | None:
        """The seeds in the file of the pipeline, if it has one."""
        if self.seeds.path is None:
            return None
        return read_seeds(file_beside(self.seeds.path, image.name, "seeds", SEED_SUFFIXES), image.shape)

    def _of_cut(self, scene: Scene, number: int | Literal["auto"], observer: Observer | None) -> Segmentation:
        """A cut of the hierarchy. It is not refined, because refined cuts would not be nested any more."""
        clock = _Clock(observer, scene.seconds)
        region = clock("partition", self._cut, scene.graph.hierarchy, number)
        labels = scene.work_superpixels.to_pixels(region + np.int32(1), void=0)
        if scene.work is not scene.image:
            labels = clock("upsampling", joint_upsampling, labels, scene.work, scene.image)
        membership = Later(lambda: _of_regions(scene.affinity, region))
        resolved = self.model_copy(update={"segments": int(region.max()) + 1})
        return Segmentation(labels, scene, membership, resolved, scene.notes, clock.seconds)

    def _from_seeds(self, scene: Scene, seeds: Seeds, observer: Observer | None) -> Segmentation:
        """The partition in which each seed keeps its label; the segments have the numbers of the labels."""
        clock = _Clock(observer, scene.seconds)
        made = clock("seeds", seeded, scene, seeds, self.seeds.by)
        scene, membership, notes = made.scene, made.membership, (*scene.notes, *made.notes)
        labels = scene.work_superpixels.to_pixels(membership.labels.astype(np.int32) + np.int32(1), void=0)
        if scene.work is not scene.image:
            labels = clock("upsampling", joint_upsampling, labels, scene.work, scene.image)
        # At the working size, a superpixel of another label may have covered a few seeds.
        held = (seeds.labels > 0) & (labels > 0)
        labels = np.where(held, seeds.labels, labels)
        if self.sizes.wanted:
            made = clock(
                "sizes",
                self.sizes.of_scene,
                scene,
                labels,
                membership,
                scene.superpixels.labels,
                False,
                None,
                None,
                held,
            )
            labels, membership, more = made
            notes = (*notes, *more)
        resolved = self.model_copy(update={"segments": membership.probabilities.shape[1]})
        return Segmentation(labels, scene, Later(lambda: membership), resolved, notes, clock.seconds, seeds.names)

    def partition(
        self,
        features: Features,
        graph: RegionGraph,
        affinity: Affinity,
        segments: int | Literal["auto"] | None = None,
        tree: Hierarchy | None = None,
    ) -> Membership:
        """The membership of the N superpixels of an image or of a raster.

        It comes from a cut of the hierarchy, from the model, or from the head. Clusters are in order of descending
        area, except those of a model, which have a fixed order.

        Parameters
        ----------
        features, graph, affinity : of the same N superpixels
        segments : the number of segments; None means that of the pipeline
        tree : the hierarchy that is cut; None means that of ``graph``

        Raises
        ------
        SettingsError, CollapseError
            As for ``solve``.
        """
        number = self.segments if segments is None else segments
        if self.hierarchy:
            return _of_regions(affinity, self._cut(graph.hierarchy if tree is None else tree, number))
        if self.model is not None:
            if number not in ("auto", self.model.segments):
                raise SettingsError(
                    f"the model has {self.model.segments} segments and cannot make {number}; make another model"
                )
            return self.model.membership(features)
        # All eigenvalues are kept, even if the number is given, because users look at them to choose another number.
        _, eigenvalues = spectral_embedding(affinity, self.max_segments + 1, seed=self.seed)
        k = self._automatic_number(graph, eigenvalues) if number == "auto" else number
        if k > len(graph):
            raise SettingsError(
                f"{k} segments are more than the image's {len(graph)} superpixels; request fewer segments, or "
                "more superpixels (superpixels.count)"
            )
        if len(graph) == 1:
            return Membership(np.ones((1, 1), np.float32), eigenvalues=eigenvalues)  # no head accepts a single node
        head = self._head.fresh(n_clusters=k, random_state=self.seed)
        # A head that learns a map sees only features. Diffusion gives them the boundaries that the affinity contains.
        inputs = diffused(features.nodes, affinity) if head.learns_map else features.nodes
        membership = head.fit(inputs, affinity=affinity).membership_
        area = np.bincount(membership.labels, graph.area, k)
        return membership.reordered(np.argsort(-area, kind="stable"), eigenvalues)

    @property
    def _head(self) -> Head:
        return head_from(DEFAULT_HEAD) if self.head is None else self.head

    def leaves_it_to_borders(self, number: int | Literal["auto"]) -> bool:
        """Whether the user has chosen neither a number of segments nor what makes them."""
        return number == "auto" and self.head is None and self.model is None and not self.hierarchy

    def _for_scene(self, scene: Scene, number: int | Literal["auto"]) -> Pipeline:
        """This pipeline, or one that cuts the hierarchy, if the user has chosen nothing.

        Regions of the hierarchy match the regions that people draw better than segments of a head do. But boundary
        probabilities ignore further bands, and if no boundary is closed, nearly the whole image is one region.
        """
        if not self.leaves_it_to_borders(number) or scene.graph.boundary is None:
            return self
        bands = scene.image.bands
        further = self.features.bands is not None and bands is not None and bands.unseen
        if further or count_regions(scene.graph.hierarchy, fitted().cut) < 2:
            return self
        return self.model_copy(update={"hierarchy": True})

    @property
    def follows_network(self) -> bool:
        """Whether superpixels follow the pixel edge map of the network, where the user gives none."""
        return isinstance(self.superpixels, Watershed) and self.features.border_network is not None

    def _divide(self, image: Image, seen: Seen | None) -> Superpixels:
        return self.superpixels(image, None if seen is None else seen.edges)

    def _borders(self, work: Image, superpixels: Superpixels, seen: Seen | None) -> tuple[Measured, RegionGraph]:
        measured, graph = self.features.borders(work, superpixels, seen)
        if graph.boundary is not None:
            _ = graph.hierarchy  # It is built here, so that its time counts for this stage.
        return measured, graph

    def _cut(self, tree: Hierarchy, number: int | Literal["auto"]) -> NDArray[np.int32]:
        """(N,) the region of each leaf in a cut of the hierarchy, at a level or into this number of regions."""
        if self.level is not None or number == "auto":
            return tree.regions(level=fitted().cut if self.level is None else self.level)
        return tree.regions(segments=number)

    def _automatic_number(self, graph: RegionGraph, eigenvalues: NDArray[np.float64]) -> int:
        """The number of regions of the hierarchy that are not small, from 2 to ``max_segments``.

        The eigengap decides if no boundary is closed. A single superpixel is a single segment.
        """
        by_eigengap = min(eigengap_segments(eigenvalues), len(graph))
        if graph.boundary is None:
            return by_eigengap
        counted = count_regions(graph.hierarchy, fitted().count)
        return int(np.clip(counted, 2, min(self.max_segments, len(graph)))) if counted else by_eigengap

    def _label_map(self, image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]:
        """(H, W) segments 1..K, 0 on void."""
        return segments_of_pixels(self.refine, image, superpixels, membership) + np.int32(1)


def _later(make: Callable[[], T]) -> Later[T]:
    """A value of a scene that is computed on first use, with BLAS limited to one thread as in ``describe``."""
    return Later(threadpool_limits.wrap(limits=1, user_api="blas")(make))


def _of_regions(affinity: Affinity, region: NDArray[np.int32]) -> Membership:
    """The membership of regions (N,) of the hierarchy, from 0."""
    return Membership(soft_membership(affinity, region.astype(np.int64), int(region.max()) + 1))


class _Clock:
    """Runs stages and measures their time."""

    def __init__(self, observer: Observer | None, seconds: Mapping[str, float] | None = None) -> None:
        self.observer, self.seconds = observer, dict(seconds or {})

    def __call__(self, name: str, stage: Callable[..., Any], *inputs: Any) -> Any:
        begin = time.perf_counter()
        result = stage(*inputs)
        self.seconds[name] = time.perf_counter() - begin
        if self.observer is not None:
            self.observer(name, self.seconds[name])
        return result


def _stages_shared(ours: Pipeline, theirs: Pipeline) -> int:
    """The number of stages of ``DESCRIBED_BY``, from the first on, whose settings are equal in two pipelines."""
    if ours.follows_network != theirs.follows_network:
        return 0
    for number, names in enumerate(DESCRIBED_BY):
        if any(_differ(ours, theirs, name) for name in names):
            return number
    return len(DESCRIBED_BY)


def _differ(ours: Pipeline, theirs: Pipeline, name: str) -> bool:
    return bool(_plain(getattr(ours, name)) != _plain(getattr(theirs, name)))


def segment(source: Any, segments: int | Literal["auto"] | None = None, **settings: Any) -> Segmentation:
    """Segment one image.

    Parameters
    ----------
    source : whatever ``as_image`` reads: a path, a Pillow image, an array (H, W) or (H, W, B), a tensor, bytes
    segments : number of segments, or "auto"; None means that of ``pipeline``, or its default
    settings : ``pipeline=`` a Pipeline, ``observer=`` an Observer, fields of ``Pipeline``, and fields of its
        ``reading``, such as ``bands=(4, 3, 2)``, ``stretch="min,max"`` or ``page=3``

    Returns
    -------
    A Segmentation; its ``labels`` are (H, W) int32, from 1, and 0 on void pixels.

    Raises
    ------
    ImageError, SettingsError, BackboneError, CollapseError

    Examples
    --------
    >>> import numpy as np
    >>> halves = np.zeros((60, 80, 3), np.uint8)
    >>> halves[:, 40:] = (200, 30, 30)
    >>> s = segment(halves, segments=2, features={"cnn": None}, refine="none")
    >>> bool(s.labels[30, 20] != s.labels[30, 60]), s.segments
    (True, 2)
    """
    observer = settings.pop("observer", None)
    pipeline, image = _asked(settings.pop("pipeline", None) or Pipeline(), source, segments, settings)
    return pipeline(image, observer)


def from_edges(
    source: Any, edges: ArrayLike, segments: int | Literal["auto"] | None = None, weight: float = 1.0, **settings: Any
) -> Segmentation:
    """Segment one image with an edge map of your own: its hierarchy is built from these edges.

    Parameters
    ----------
    source : as for ``segment``
    edges : (H, W), higher is stronger: uint8 or uint16, or other numbers from 0, which are divided by the largest one
        if it is above 1
    segments : number of segments; None cuts the hierarchy at the level of ``auto``
    weight : 1 replaces the learned boundary probabilities; a smaller weight averages both
    settings : as for ``segment``. ``hierarchy=False`` runs the head, whose affinity contains the edges

    Returns
    -------
    A Segmentation; its ``hierarchy.contour_map`` is the ultrametric contour map of the edges (Arbelaez 2006).

    Raises
    ------
    ImageError, SettingsError, BackboneError, CollapseError

    Examples
    --------
    >>> import numpy as np
    >>> edges = np.zeros((60, 80)); edges[:, 39:41] = 1
    >>> noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    >>> s = from_edges(noise, edges, segments=2, features={"cnn": None})
    >>> bool(s.labels[30, 20] != s.labels[30, 60])
    True
    """
    observer = settings.pop("observer", None)
    pipeline = settings.pop("pipeline", None) or Pipeline(hierarchy=True)
    pipeline, image = _asked(pipeline, source, segments, settings)
    contours = pipeline.features.contours
    if contours is None:
        raise SettingsError("edges become boundary probabilities; do not set features.contours to null")
    pipeline = with_settings(pipeline, {"features": {"contours": {"own": weight}}})
    given, said = as_edges(edges, image.shape)
    return pipeline(replace(image, edges=given, notes=(*image.notes, *filter(None, [said]))), observer)


def _asked(
    pipeline: Pipeline, source: Any, segments: int | Literal["auto"] | None, settings: dict[str, Any]
) -> tuple[Pipeline, Image]:
    """The pipeline with the settings of a call, and the image as this pipeline reads it."""
    if segments is not None:
        settings["segments"] = segments
    if reading := {name: settings.pop(name) for name in Reading.model_fields if name in settings}:
        pipeline = with_settings(pipeline, {"reading": reading})
    if settings:
        pipeline = with_settings(pipeline, settings)
    return pipeline, as_image(source, reading=pipeline.reading)


def with_seeds(segmentation: Segmentation, seeds: Seeds | ArrayLike, by: By = "walker") -> Segmentation:
    """The scene of a segmentation, segmented from seeds; see ``Segmentation.with_seeds``."""
    pipeline = segmentation.pipeline.model_copy(update={"seeds": Seeding(by=by), "model": None, "hierarchy": False})
    return pipeline.solve(segmentation.scene, seeds=seeds)


def eigengap_segments(eigenvalues: NDArray[np.float64]) -> int:
    """The number k, from 2, with the largest product of the relative eigengap after k and a prior on k.

    Without the prior, the result is nearly always 2, for the background and the most prominent object.

    Parameters
    ----------
    eigenvalues : (k_max + 1,) ascending, of the normalized Laplacian (von Luxburg 2007, section 8.3)
    """
    if len(eigenvalues) < 4:
        return 2
    k = np.arange(2, len(eigenvalues))
    gaps = np.diff(eigenvalues)[1:] / np.maximum(eigenvalues[2:], 1e-12)
    return int(k[(gaps * np.exp(-0.5 * (np.log(k / TYPICAL_SEGMENTS) / LOG_DEVIATION) ** 2)).argmax()])


def _one_colour(image: Image) -> bool:
    """Whether an image has neither differences of colour nor edges of its own."""
    return image.flat and image.edges is None


def _one_superpixel(image: Image, seen: Seen | None) -> Superpixels:
    shape = image.rgb.shape[:2]
    return Superpixels(np.zeros(shape, np.int32) if image.mask is None else image.mask.astype(np.int32) - np.int32(1))


def _plain(value: Any) -> Any:
    """Settings as plain data, without those that do not change the result."""
    if isinstance(value, Head):
        value = head_to(value)
    data = value.model_dump() if isinstance(value, Settings) else value
    if isinstance(data, Mapping):
        return {key: _plain(inner) for key, inner in data.items() if key not in ("cache", "device")}
    return data


def _difference(name: str, ours: Any, fitted: Any) -> tuple[str, Any, Any]:
    """The full name of the first setting that differs, and its two values."""
    if isinstance(ours, Mapping) and isinstance(fitted, Mapping):
        for key in (*ours, *fitted):
            if ours.get(key) != fitted.get(key):
                return _difference(f"{name}.{key}", ours.get(key), fitted.get(key))
    return name, ours, fitted
