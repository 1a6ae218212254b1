"""Files -> images: finding files, recognising their format by content, and reading them.

::

    finding   the images that files, folders and globs name
    formats   the closed list of formats, recognised by content
    reader    a file or an array -> Image
    gdal      raster files opened by GDAL, and their georeference
"""

from segspectral.images.formats import EXTENSIONS
from segspectral.images.reader import as_image, image_size, read_image

__all__ = ["EXTENSIONS", "as_image", "image_size", "read_image"]
