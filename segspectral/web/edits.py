"""What a user does to a segmentation: cut the hierarchy, merge, split, rename, recolour; undo and redo."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from segspectral.errors import SegspectralError, SettingsError
from segspectral.export import LabelMap
from segspectral.heads.exact import Exact
from segspectral.pipeline import Pipeline
from segspectral.values import Affinity, Segmentation
from segspectral.wording import plural

__all__ = ["MOST_IN_A_CUT", "Cut", "Edit", "Edits"]

STEPS = 100
"""How far one can go back."""

MOST_IN_A_CUT = 1000
"""Segments that one may ask of the hierarchy: beyond, their memberships would fill the memory."""

Segment = Annotated[int, Field(ge=1, le=65535, strict=True)]


class _Edit(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Merge(_Edit):
    """Several segments become one, under the number, name and colour of the first."""

    action: Literal["merge"]
    segments: list[Segment] = Field(min_length=2, max_length=1000)


class Split(_Edit):
    """A segment falls into parts, by the normalized cut of its superpixels."""

    action: Literal["split"]
    segment: Segment
    parts: int = Field(2, ge=2, le=8, strict=True)


class Cut(_Edit):
    """The hierarchy of merged superpixels, cut into a number of segments or at a level, instead of what there is."""

    action: Literal["cut"]
    segments: int | None = Field(None, ge=1, le=MOST_IN_A_CUT, strict=True)
    level: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.segments is None) == (self.level is None):
            raise ValueError("a cut takes either segments or a level")
        return self


class Rename(_Edit):
    """An empty name takes the name away."""

    action: Literal["rename"]
    segment: Segment
    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)]


class Recolour(_Edit):
    action: Literal["recolour"]
    segment: Segment
    colour: str = Field(pattern="^#[0-9a-fA-F]{6}$")


class Step(_Edit):
    action: Literal["undo", "redo"]


Edit = Annotated[Cut | Merge | Split | Rename | Recolour | Step, Field(discriminator="action")]


@dataclass(frozen=True)
class _State:
    """Labels deflated: a hundred steps of a large image cost less than one photograph."""

    labels: bytes
    names: Mapping[int, str]
    colours: Mapping[int, tuple[int, int, int]]
    cut: Cut | None


class Edits:
    """The label map of a result as the user has changed it; safe to use from several threads.

    ``revision`` grows with every change, undone ones too. ``cut`` is that of the hierarchy from which the labels come,
    None for those of the pipeline; ``item.segmentation`` is what the labels were before they were edited.
    """

    def __init__(self, item: LabelMap, segmentation: Segmentation) -> None:
        self._lock = Lock()
        self._segmentation = segmentation
        self.item = item
        self.cut: Cut | None = None
        self.revision = 0
        self._past: list[_State] = []
        self._future: list[_State] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    @property
    def regions_changed(self) -> bool:
        """Whether labels differ from those of ``pipeline``."""
        item = self.item
        return item.segmentation is None or not np.array_equal(item.labels, item.segmentation.labels)

    def pipeline(self, wanted: Pipeline) -> Pipeline:
        """The pipeline that makes the segments before they were edited, for a job of the pipeline ``wanted``."""
        return wanted if self.cut is None else _cutting(wanted, self.cut)

    def apply(self, edit: Edit) -> None:
        """Do it.

        Raises
        ------
        SettingsError
            A segment does not exist, cannot be split, or there is nothing to undo.
        """
        with self._lock:
            if isinstance(edit, Step):
                self._step(edit.action)
                return
            before = self._state()
            if isinstance(edit, Cut):
                made = self._made(edit)
                self.item, self.cut = (
                    replace(self.item, labels=made.labels, names={}, colours={}, segmentation=made),
                    edit,
                )
            else:
                self.item = self._changed(edit)
            self._past = [*self._past[-STEPS + 1 :], before]
            self._future = []
            self.revision += 1

    def _changed(self, edit: Merge | Split | Rename | Recolour) -> LabelMap:
        item = self.item
        wanted = edit.segments if isinstance(edit, Merge) else [edit.segment]
        for segment in wanted:
            if segment not in item.segments:
                raise SettingsError(f"there is no segment {segment}")
        if isinstance(edit, Merge):
            if len(set(edit.segments)) < 2:
                raise SettingsError("give two different segments to merge")
            first = edit.segments[0]
            labels = np.where(np.isin(item.labels, edit.segments), np.int32(first), item.labels)
            gone = set(edit.segments) - {first}
            names = {s: name for s, name in item.names.items() if s not in gone}
            colours = {s: colour for s, colour in item.colours.items() if s not in gone}
            return replace(item, labels=labels, names=names, colours=colours)
        if isinstance(edit, Split):
            return replace(item, labels=self._split(edit.segment, edit.parts))
        if isinstance(edit, Rename):
            if not edit.name.isprintable():
                raise SettingsError("a name has printable characters only")
            names = {**item.names, edit.segment: edit.name}
            return replace(item, names={s: name for s, name in names.items() if name})
        red, green, blue = bytes.fromhex(edit.colour[1:])
        return replace(item, colours={**item.colours, edit.segment: (red, green, blue)})

    def _made(self, cut: Cut | None) -> Segmentation:
        """What the pipeline gives with a cut; what comes before the head is not computed again."""
        first = self._segmentation
        if cut is None:
            return first
        if cut.level is not None and (found := first.hierarchy.segments_at(cut.level)) > MOST_IN_A_CUT:
            raise SettingsError(f"at level {cut.level} there are {found} segments; a cut may have {MOST_IN_A_CUT}")
        wanted = _cutting(first.pipeline, cut)
        made = wanted.solve(first.scene)
        return replace(made, pipeline=wanted.model_copy(update={"segments": made.segments}))

    def _split(self, segment: int, parts: int) -> NDArray[np.int32]:
        """The largest part keeps the number; the others get new ones."""
        labels, made = self.item.labels, self._segmentation
        inside = labels == segment
        nodes, node = np.unique(made.superpixels.labels[inside], return_inverse=True)
        if len(nodes) < parts:
            raise SettingsError(
                f"segment {segment} is made of {plural(len(nodes), 'superpixel')}; it cannot have {parts} parts"
            )
        affinity = Affinity(made.affinity.weights[nodes][:, nodes])
        try:
            cluster = Exact(parts).fit_predict(made.features.nodes[nodes], affinity=affinity)
        except SegspectralError as error:
            raise SettingsError(f"segment {segment} cannot be split: {error}") from error
        part = cluster[node]
        by_size = np.argsort(-np.bincount(part, minlength=parts), kind="stable")
        numbers = np.empty(parts, dtype=np.int32)
        top = max([int(labels.max()), *self.item.names, *self.item.colours])
        numbers[by_size] = [segment, *range(top + 1, top + parts)]
        if numbers.max() > 65535:
            raise SettingsError("there are no numbers left for more segments")
        split = labels.copy()
        split[inside] = numbers[part]
        return split

    def _step(self, action: Literal["undo", "redo"]) -> None:
        source, target = (self._past, self._future) if action == "undo" else (self._future, self._past)
        if not source:
            raise SettingsError(f"there is nothing to {action}")
        target.append(self._state())
        state = source.pop()
        flat = np.frombuffer(zlib.decompress(state.labels), dtype=np.uint16)
        labels = flat.astype(np.int32).reshape(self.item.labels.shape)
        made = self.item.segmentation if state.cut == self.cut else self._made(state.cut)
        self.item = replace(self.item, labels=labels, names=state.names, colours=state.colours, segmentation=made)
        self.cut = state.cut
        self.revision += 1

    def _state(self) -> _State:
        packed = zlib.compress(self.item.labels.astype(np.uint16).tobytes(), 1)
        return _State(packed, self.item.names, self.item.colours, self.cut)


def _cutting(pipeline: Pipeline, cut: Cut) -> Pipeline:
    """With the hierarchy; what it does not use is left at its defaults, so that the command stays short."""
    unused = {"head": None, "refine": Pipeline().refine, "max_segments": Pipeline().max_segments}
    number = "auto" if cut.segments is None else cut.segments
    return pipeline.model_copy(update={"hierarchy": True, "segments": number, "level": cut.level, **unused})
