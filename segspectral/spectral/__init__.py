"""Numbers alone: no image and no estimator is known here.

::

    knn         nearest neighbours, and the affinity of vectors
    walk        random walks, and features that diffuse along them
    eigen       the smallest eigenpairs of graph Laplacians
    multilevel  the same for large graphs, over levels of merged nodes
    ritz        the best eigenpairs within a given span
    discretise  from eigenvectors to partitions
"""
