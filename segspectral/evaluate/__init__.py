"""Evaluation of predictions on a data set: counts per image, results, files and a report.

>>> from segspectral.evaluate.datasets import open_dataset
>>> from segspectral.evaluate import evaluate
>>> results = evaluate(open_dataset("bsds", root), "predictions")  # doctest: +SKIP
>>> results.write("out")  # doctest: +SKIP

The predictor is a folder of label maps, or a function from an image's path to its label map. Every image has counts
that add up. Results are computed only from the list of counts, in the order of the data set. So a run that was stopped
and resumed, or split over machines and merged by ``Results.of``, has the same results to the last digit.
"""

from segspectral.evaluate.comparison import Comparison, compare
from segspectral.evaluate.plan import MEASURES, PROTOCOLS, ImageScore, Plan
from segspectral.evaluate.predictions import Prediction
from segspectral.evaluate.results import Results, seed_spread
from segspectral.evaluate.scoring import evaluate

__all__ = [
    "MEASURES",
    "PROTOCOLS",
    "Comparison",
    "ImageScore",
    "Plan",
    "Prediction",
    "Results",
    "compare",
    "evaluate",
    "seed_spread",
]
