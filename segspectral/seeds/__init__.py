"""Seeds: pixels whose labels a user gives, and the partition in which they keep them.

::

    given      seeds as arrays and shapes, and the settings
    files      seeds from label images, labelme's JSON and CSV
    partition  from the seeds and a scene to a label map
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segspectral.imports import imported_on_use

if TYPE_CHECKING:
    from segspectral.seeds.files import read_seeds
    from segspectral.seeds.given import Seeding, Seeds, seeds_of_shapes
    from segspectral.seeds.partition import Seeded, seeded

__all__ = ["Seeded", "Seeding", "Seeds", "read_seeds", "seeded", "seeds_of_shapes"]

_HOMES = dict.fromkeys(__all__, "given") | {"read_seeds": "files", "Seeded": "partition", "seeded": "partition"}
__getattr__ = imported_on_use(__name__, _HOMES)
