"""Scores of segmentations, each under the name of its protocol.

Every measure has a function from label maps to *counts*, which are small frozen values that add up over images with
``+``. Their method ``scores()`` divides once, at the end. So a data set that is scored in parts has the same scores as
one that is scored as a whole.
"""
