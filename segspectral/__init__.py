"""Unsupervised image segmentation by superpixel graphs and neural spectral clustering."""

__version__ = "0.1.0"
