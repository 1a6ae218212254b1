"""How networks are trained: the loop and its batches, what learns, and training before the training."""
