"""Batches of images: no image is lost or done twice, in this process, in several processes, or on a cluster.

``find_jobs`` lists the images, ``Segmenter`` is the work on each image, an engine runs the work, and ``run`` keeps the
journal.
"""

from __future__ import annotations

from segspectral.batch.clients import DaskMap
from segspectral.batch.engines import DaskCluster, Engine, InProcess, Processes, usable_cores
from segspectral.batch.jobs import WHOLE, Job, Shard, find_jobs
from segspectral.batch.journal import History, Journal, Record, Status, read_history
from segspectral.batch.run import Tally, run
from segspectral.batch.together import all_ended, write_together
from segspectral.batch.work import Segmenter, Work
from segspectral.batch.worker import Limits

__all__ = [
    "WHOLE",
    "DaskCluster",
    "DaskMap",
    "Engine",
    "History",
    "InProcess",
    "Job",
    "Journal",
    "Limits",
    "Processes",
    "Record",
    "Segmenter",
    "Shard",
    "Status",
    "Tally",
    "Work",
    "all_ended",
    "find_jobs",
    "read_history",
    "run",
    "usable_cores",
    "write_together",
]
