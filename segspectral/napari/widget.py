"""The widget of the napari plug-in.

An image is described once, by superpixels, features and its hierarchy. After that, another number of segments, another
level or another smallest size takes milliseconds, so these change the result as they are moved.
"""

from __future__ import annotations

from typing import Any

import napari
import napari.layers
import numpy as np
from magicgui.widgets import CheckBox, Container, FloatSlider, Label, LineEdit, PushButton, SpinBox, create_widget
from napari.qt.threading import thread_worker
from napari.utils.notifications import show_error
from numpy.typing import NDArray

from segspectral.errors import SegspectralError
from segspectral.export import LabelMap
from segspectral.levels import fitted
from segspectral.napari.layers import image_of, labels_layer, plane_of
from segspectral.pipeline import Pipeline
from segspectral.settings import with_settings
from segspectral.values import Scene, Segmentation

__all__ = ["SegmentWidget"]


class SegmentWidget(Container):
    """Segments the chosen image layer into a Labels layer, which has a table of the segments as its features."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        self.image: Any = create_widget(label="Image", annotation=napari.layers.Image)
        self.seeds: Any = create_widget(label="Seeds", annotation=napari.layers.Labels | None)
        self.seeds.tooltip = "a Labels layer with strokes: its labels spread over the image"
        self.nested = CheckBox(value=True, text="Nested regions", tooltip="cut the hierarchy; else by the head")
        self.segments = SpinBox(value=0, min=0, max=1000, label="Segments", tooltip="0: chosen for the image")
        self.level = FloatSlider(value=fitted().cut, min=0, max=1, step=0.01, label="Level", tooltip="if Segments is 0")
        self.smallest = LineEdit(value="", label="Smallest", tooltip="of a piece: 200 (pixels) or 0.5%")
        self.run = PushButton(text="Segment")
        self.said = Label(value="")
        super().__init__(
            widgets=[self.image, self.seeds, self.nested, self.segments, self.level, self.smallest, self.run, self.said]
        )
        self._viewer = napari_viewer
        self._scene: Scene | None = None
        self._of: tuple[Any, ...] = ()
        self.run.changed.connect(self.segment)
        for choice in (self.seeds, self.nested, self.segments, self.level, self.smallest):
            choice.changed.connect(self._cut_again)

    @property
    def pipeline(self) -> Pipeline:
        """The settings that the widget shows.

        Raises
        ------
        SettingsError
            The smallest size cannot be understood.
        """
        number = self.segments.value
        settings: dict[str, Any] = {"hierarchy": self.nested.value, "segments": number or "auto"}
        if self.nested.value and not number:
            settings["level"] = round(self.level.value, 3)
        if self.smallest.value.strip():
            settings["sizes"] = {"min": self.smallest.value.strip()}
        return with_settings(Pipeline(), settings)

    def segment(self) -> None:
        """Describe the image in the background, if it is another one than before, and cut it."""
        layer = self.image.value
        if layer is None:
            show_error("There is no image layer: open an image, then press Segment.")
            return
        if self._scene is not None and self._of == self._what(layer):
            self._cut_again()
            return
        try:
            image, of = image_of(layer, self._viewer.dims.current_step), self._what(layer)
            pipeline, seeds = self.pipeline, self._strokes()
        except SegspectralError as error:
            show_error(str(error))
            return
        self.run.enabled = False
        self.said.value = "describing the image ..."

        def made(result: tuple[Scene, Segmentation]) -> None:
            self._scene, self._of = result[0], of
            self._show(result[1], layer)

        def failed(error: Exception) -> None:
            self.said.value = "failed"
            show_error(str(error))

        def work() -> tuple[Scene, Segmentation]:
            scene = pipeline.describe(image)
            return scene, pipeline.solve(scene, seeds=seeds)

        def ended() -> None:
            self.run.enabled = True

        worker = thread_worker(work)()
        worker.returned.connect(made)
        worker.errored.connect(failed)
        worker.finished.connect(ended)
        worker.start()

    def _cut_again(self) -> None:
        """Segment the described image with the present choices; nothing happens if there is none yet."""
        layer = self.image.value
        if self._scene is None or layer is None or self._of != self._what(layer):
            return
        try:
            self._show(self.pipeline.solve(self._scene, seeds=self._strokes()), layer)
        except SegspectralError as error:
            self.said.value = str(error)

    def _strokes(self) -> NDArray[np.int32] | None:
        """(H, W) the labels of the layer with seeds, 0 where nothing is painted; None without strokes."""
        layer = self.seeds.value
        if layer is None:
            return None
        strokes = plane_of(layer, self._viewer.dims.current_step).astype(np.int32)
        return strokes if strokes.any() else None

    def _show(self, made: Segmentation, layer: Any) -> None:
        """Add the Labels layer of the image, or replace its contents."""
        name = f"{layer.name} segments"
        place = {key: getattr(layer, key)[-2:] for key in ("scale", "translate")}
        data, arguments, _ = labels_layer(LabelMap.of(made), name, place)
        if name in self._viewer.layers:
            shown = self._viewer.layers[name]
            shown.data, shown.features = data, arguments["features"]
            shown.colormap = arguments["colormap"]
        else:
            self._viewer.add_labels(data, **arguments)
        self.said.value = "; ".join([f"{made.segments} segments", *made.notes])

    def _what(self, layer: Any) -> tuple[Any, ...]:
        """What the scene of a layer depends on: its data, how it is shown, and which plane."""
        limits = None if layer.rgb else tuple(layer.contrast_limits)
        return id(layer.data), limits, tuple(self._viewer.dims.current_step[:-2])
