"""Images larger than memory: a raster file is read in tiles, solved as one graph, and written as a label raster.

::

    raster     an open raster file: windows of it as images, at its own size or shrunk; maps too large for memory
    nodes      its superpixels, features and region graph, the same whatever the tiles are
    segment    all stages, and the label raster
"""
