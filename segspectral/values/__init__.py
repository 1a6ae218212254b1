"""The values that flow through segspectral, each checked when it is made, and the words of the field.

::

    Image -> Superpixels -> Features, RegionGraph -> Affinity     (together: a Scene)     -> Membership -> Segmentation

Every value is frozen. numpy stands between the stages; torch stays inside them.

Glossary
--------
superpixel      a small connected group of similar pixels, a node of the graph; ids 0..N-1, -1 on void pixels
affinity        W, symmetric (N, N), W_ij >= 0: how alike the superpixels i and j are
degree          d_i = sum_j W_ij;  D = diag(d);  vol(A) = sum of d over A
Laplacian       L = D - W (none), I - D^-1/2 W D^-1/2 (sym), I - D^-1 W (rw)
normalized cut  Ncut(A_1..A_K) = sum_c cut(A_c, rest) / vol(A_c)                       (Shi and Malik 2000, eq. 2)
embedding       the K eigenvectors of the rw-Laplacian with the smallest eigenvalues, one row per node
eigengap        lambda_{k+1} - lambda_k; a large one says that k groups are natural
membership      P (N, K), rows sum to one: how much each node belongs to each cluster
head            what turns features and affinity into a membership (``segspectral.heads``)
backbone        the pretrained CNN or ViT that features come from (``segspectral.features.backbones``)
refiner         what turns memberships of superpixels into a label map of pixels (``segspectral.refine``)
cluster         a column of a membership;  segment: a region of one image;  class: a name shared over images
label map       (H, W) integers; segments are 1..K
void            pixels that belong to nothing (transparent, nodata): 0 in a label map, False in a mask

Positions are row and column, never x and y; shapes are written (H, W): height and width in pixels.
N superpixels, D feature channels, K clusters, M borders between superpixels.
"""

from __future__ import annotations

from segspectral.values.affinity import Affinity
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
    "Features",
    "Hierarchy",
    "Image",
    "ImageHierarchy",
    "Membership",
    "Outcome",
    "Refiner",
    "RegionGraph",
    "Scene",
    "Segmentation",
    "SuperpixelMethod",
    "Superpixels",
]
