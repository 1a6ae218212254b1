"""Evaluation of predictions on a data set: counts per image, results, files and a report.

>>> import segspectral
>>> data = segspectral.open_dataset("bsds", root)  # doctest: +SKIP
>>> results = segspectral.evaluate(data, segspectral.Pipeline())  # doctest: +SKIP
>>> results.write("out")  # doctest: +SKIP

The predictor is a pipeline, a folder of label maps, or a function from an image's path to its label map. Every image
has counts that add up. Results are computed only from the list of counts, in the order of the data set. So a run that
was stopped and resumed, or split over machines and merged by ``Results.of``, has the same results to the last digit.
"""

from segspectral.evaluation.comparison import Comparison, compare
from segspectral.evaluation.plan import MEASURES, PROTOCOLS, ImageScore, Plan
from segspectral.evaluation.predictions import Prediction
from segspectral.evaluation.results import Results, seed_spread
from segspectral.evaluation.scoring import evaluate
from segspectral.evaluation.segmenting import Scales, Segmenting, default_scales

__all__ = [
    "MEASURES",
    "PROTOCOLS",
    "Comparison",
    "ImageScore",
    "Plan",
    "Prediction",
    "Results",
    "Scales",
    "Segmenting",
    "compare",
    "default_scales",
    "evaluate",
    "seed_spread",
]
