"""Files -> images: which files there are, what they are by their content, and what is in them.

::

    finding   the images that files, folders and globs name
    formats   the closed list of formats, told by content
    reader    a file or an array -> Image
"""

from segspectral.images.formats import EXTENSIONS
from segspectral.images.reader import as_image, image_size, read_image

__all__ = ["EXTENSIONS", "as_image", "image_size", "read_image"]
