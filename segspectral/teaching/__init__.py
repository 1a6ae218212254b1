"""Classes from a few labels: a folder of images, labels of some pixels -> a model whose segments are named classes.

::

    labels  files of labels -> the class of some pixels of some images
    album   a folder of images -> their regions, described once for any labels
    learn   regions and labels -> a ``TaughtModel``
    held    what labels of held-out images decide: spreading, refiner, temperature
    places  what to label next: those that say the most about the others
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segspectral.imports import imported_on_use

if TYPE_CHECKING:
    from segspectral.teaching.album import Album
    from segspectral.teaching.labels import Labels, read_labels
    from segspectral.teaching.learn import teach
    from segspectral.teaching.places import Place, suggest

__all__ = ["Album", "Labels", "Place", "read_labels", "suggest", "teach"]

__getattr__ = imported_on_use(
    __name__,
    {
        "Album": "album",
        "Labels": "labels",
        "Place": "places",
        "read_labels": "labels",
        "suggest": "places",
        "teach": "learn",
    },
)
