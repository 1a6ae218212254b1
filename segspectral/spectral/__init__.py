"""Numerical methods on graphs. They know nothing of images and estimators.

::

    knn         nearest neighbours, and the affinity of vectors
    walker      random walks that end at seeds
    walk        random walks, and the diffusion of features over a graph
    eigen       the smallest eigenpairs of graph Laplacians
    multilevel  the smallest eigenpairs for large graphs, by coarsening
    ritz        the best eigenpairs within the span of given vectors
    discretise  from eigenvectors to partitions
    signs       a rule for the sign of eigenvectors
"""
