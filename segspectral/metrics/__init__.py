"""Scores of segmentations, each under the name of its protocol.

Every measure is a function from label maps to *counts* (small frozen values that add up over images with
``+``) and a method ``scores()`` that divides once, at the end; a data set scored in parts gives the score of
the whole.
"""
