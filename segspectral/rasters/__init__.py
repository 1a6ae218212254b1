"""Images larger than memory: a raster is read in tiles, segmented as one graph, and written as a label raster.

::

    raster     an open raster file, and windows of it as images; maps that are too large for memory
    nodes      the superpixels, features and region graph of a raster, which do not depend on the tiles
    segment    all stages, and the label raster
"""
