"""Files -> images: finding files, recognising their format by content, and reading them.

::

    finding   the images that files, folders and globs name
    formats   the closed list of formats, recognised by content
    reader    a file or an array -> Image
    gdal      raster files opened by GDAL, and their georeference
"""
