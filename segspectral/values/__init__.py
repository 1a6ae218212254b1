"""The values that flow through segspectral, each of which validates itself on creation, and the glossary.

::

    Image -> Superpixels -> Features, RegionGraph -> Affinity     (together: a Scene)     -> Membership -> Segmentation

All values are frozen. The stages exchange numpy arrays; torch stays inside a stage.

Glossary
--------
Pixels

label map       an array (H, W) of integers; the segments of an image are 1..K
void            pixels that belong to nothing (transparent, nodata): 0 in a label map, -1 in superpixels, False in masks
working size    the size at which a large image is segmented; its label map is upsampled to the image's own size
band            one of the values that a file holds for each pixel: red, near infrared, a height; counted from 1
index           a further band that a formula computes from others, such as NDVI
cell            one element of a coarser grid: of a CNN's feature map, of a downsampled image or raster
pixel edge map  (H, W) the probability that a person would draw an edge at each pixel

Regions and their graph

superpixel      a small connected group of similar pixels; ids 0..N-1
region          a connected group of superpixels, or one superpixel
region graph    the regions as nodes, and the borders between those that touch (region adjacency graph)
border          the line along which two regions touch; its length counts pairs of touching pixels
boundary        the outline of an object; the boundary probability of a border is the probability that it is one.
                The settings ``features.contours`` and ``affinity.contour`` concern these probabilities
contour         a line of borders with high boundary probabilities; a closed one surrounds a region
hierarchy       the binary tree that merges the regions of an image one by one until one is left
altitude        the height of a merge in the tree, in [0, 1]; altitudes rise from the leaves to the root
level           a number in [0, 1] at which the tree is cut: all merges up to that altitude are done (a horizontal cut)
contour map     (H, W) the altitude at which the regions on both sides of a pixel merge (ultrametric contour map)

Spectral clustering

node            an element of the graph that is clustered: a superpixel, a region of a model, a vertex of a network
affinity        W, symmetric (N, N), W_ij >= 0: how similar the nodes i and j are
graph edge      a pair of nodes with W_ij > 0; they need not touch in the image
degree          d_i = sum_j W_ij;  D = diag(d);  vol(A) = the sum of d over A
Laplacian       L = D - W (none), I - D^-1/2 W D^-1/2 (sym), I - D^-1 W (rw)
normalized cut  Ncut(A_1..A_K) = sum_c cut(A_c, rest) / vol(A_c)                       (Shi and Malik 2000, eq. 2)
embedding       the K eigenvectors of the rw-Laplacian with the smallest eigenvalues, one row per node
eigengap        lambda_{k+1} - lambda_k; a large one suggests k natural groups
membership      P (N, K), rows sum to one: how much each node belongs to each cluster

From nodes to segments

head            turns features and affinity into a membership (``segspectral.heads``)
backbone        the pretrained CNN or ViT that computes features (``segspectral.features.backbones``)
refiner         turns memberships of superpixels into a label map of pixels (``segspectral.refine``)
scene           an image with its superpixels, features, region graph and affinity: all that does not depend on the
                number of segments
cluster         a column of a membership
segment         a set of pixels of one image that share a number; it may have several connected parts
class           a name that the segments of several images share
recipe          the settings with which a model is fitted
model           one head that was fitted on many images, so that a segment's number means the same in all of them

Positions are row and column, never x and y; shapes are written (H, W): height and width in pixels.
N nodes (superpixels, for an image), D feature channels, K clusters, M borders, R regions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segspectral.imports import imported_on_use

if TYPE_CHECKING:
    from segspectral.values.affinity import Affinity
    from segspectral.values.bands import Bands, BandSums, Index
    from segspectral.values.contracts import AffinityBuilder, Refiner, SuperpixelMethod
    from segspectral.values.features import Features
    from segspectral.values.image import Image
    from segspectral.values.membership import Membership, Outcome
    from segspectral.values.regions import Hierarchy, RegionGraph
    from segspectral.values.segmentation import ImageHierarchy, Scene, Segmentation
    from segspectral.values.superpixels import Superpixels

__all__ = [
    "Affinity",
    "AffinityBuilder",
    "BandSums",
    "Bands",
    "Features",
    "Hierarchy",
    "Image",
    "ImageHierarchy",
    "Index",
    "Membership",
    "Outcome",
    "Refiner",
    "RegionGraph",
    "Scene",
    "Segmentation",
    "SuperpixelMethod",
    "Superpixels",
]

_HOMES = {
    "Affinity": "affinity",
    "AffinityBuilder": "contracts",
    "BandSums": "bands",
    "Bands": "bands",
    "Features": "features",
    "Hierarchy": "regions",
    "Image": "image",
    "ImageHierarchy": "segmentation",
    "Index": "bands",
    "Membership": "membership",
    "Outcome": "membership",
    "Refiner": "contracts",
    "RegionGraph": "regions",
    "Scene": "segmentation",
    "Segmentation": "segmentation",
    "SuperpixelMethod": "contracts",
    "Superpixels": "superpixels",
}
__getattr__ = imported_on_use(__name__, _HOMES)
