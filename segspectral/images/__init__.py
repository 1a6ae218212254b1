"""Files -> images: finding files, recognising their format by content, and reading them.

::

    finding    the images that files, folders and globs name
    formats    the closed list of formats, recognised by content
    limits     how large an image may be
    raw        what a decoder gives: the values as they are stored
    tiff, pillow, gdal, omezarr, arrays   the decoders
    interpret  what the values mean: bands, black and white, void
    place      the place of an image on the Earth
    reader     a file or an array -> Image
"""
