"""Files -> images: finding files, recognising their format by content, and reading them.

::

    finding    the images that files, folders and globs name
    formats    the closed list of formats, recognised by content
    limits     how large an image may be
    raw        what a decoder gives: the values as they are stored
    tiff, pillow, gdal, arrays   the decoders
    interpret  what the values mean: bands, black and white, void
    reader     a file or an array -> Image
"""

from segspectral.images.formats import EXTENSIONS
from segspectral.images.interpret import Reading
from segspectral.images.reader import as_image, image_size, read_image

__all__ = ["EXTENSIONS", "Reading", "as_image", "image_size", "read_image"]
