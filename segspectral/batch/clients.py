"""The connection to a Dask cluster, and a ``map`` whose function runs on its workers."""

from __future__ import annotations

import logging
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

from segspectral.errors import BatchError, SettingsError
from segspectral.extras import require

__all__ = ["DaskMap", "connect", "local_workers"]


def local_workers(target: str) -> int:
    """How many workers ``local:4`` asks for, 0 for the address of a scheduler.

    Raises
    ------
    SettingsError
        The target has neither form, or Dask is not installed.
    """
    kind, _, count = target.partition(":")
    if not ((kind == "local" and count.isdecimal() and int(count) > 0) or "://" in target):
        raise SettingsError(f"--dask {target}: write tcp://HOST:PORT of a scheduler, or local:4 for four workers")
    require("cluster", "--dask")
    return int(count) if kind == "local" else 0


def connect(target: str, stack: ExitStack) -> Any:
    """A client of the scheduler, or of workers that are threads of this process; it is closed with the ``stack``.

    Raises
    ------
    BatchError
        The target is not an address, no scheduler answers, it has no workers, or they have other versions of packages.
    """
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # our own sentence reports a lost scheduler
    stack.enter_context(dask.config.set({"distributed.comm.timeouts.connect": "10s"}))
    if local := local_workers(target):
        cluster = LocalCluster(
            n_workers=local,
            threads_per_worker=1,
            processes=False,
            host="tcp://127.0.0.1",
            dashboard_address="127.0.0.1:0",
        )
        stack.enter_context(cluster)
        return stack.enter_context(Client(cluster))
    try:
        client = Client(target)
    except OSError as error:
        raise BatchError("no Dask scheduler answers there", target) from error
    except ValueError as error:
        raise BatchError(f"is not the address of a Dask scheduler: {error}", target) from error
    stack.enter_context(client)
    try:
        client.wait_for_workers(1, timeout=30)
        client.get_versions(check=True)
    except TimeoutError as error:
        raise BatchError(
            f"the scheduler has no workers; start some with: dask worker {target} --nthreads 1 --death-timeout 60",
            target,
        ) from error
    except OSError as error:
        raise BatchError("no Dask scheduler answers there", target) from error
    except ValueError as error:
        raise BatchError(f"the cluster has other package versions than this machine: {error}", target) from error
    return client


class DaskMap:
    """``map`` on the workers of a Dask cluster: results come in the order of the items, and equal those of ``map``.

    The function goes to each worker once, and every thread of a worker has its own copy of it. Two items for each
    thread are on their way or waiting, so that neither they nor their results fill the memory.

    Parameters
    ----------
    target : as for ``DaskCluster``

    Raises
    ------
    SettingsError
        The target has neither form, or Dask is not installed.
    BatchError
        As ``connect``, already before there is anything to do: what comes before may take long.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        if not local_workers(target):
            with ExitStack() as stack:
                connect(target, stack)

    def __call__(self, function: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        with ExitStack() as stack:
            client = connect(self.target, stack)
            do = _Copied(uuid4().hex, client.scatter(pickle.dumps(function), broadcast=True, hash=False))
            slots = 2 * sum(client.nthreads().values())
            waiting: deque[Any] = deque()
            try:
                for item in items:
                    sent = client.scatter(item, hash=False)
                    waiting.append(client.submit(do, do.payload, sent, pure=False))
                    if len(waiting) >= slots:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except KilledWorker as error:
                raise BatchError("the same work has killed several Dask workers; give them more memory") from error
            except (FutureCancelledError, CancelledError) as error:
                raise BatchError(
                    f"the Dask scheduler {self.target} is lost; a head that --save has written goes on with --model"
                ) from error


class _Copied:
    """A function that each thread unpickles once."""

    _own = threading.local()

    def __init__(self, run: str, payload: Any) -> None:
        self.run, self.payload = run, payload

    def __call__(self, payload: bytes, item: Any) -> Any:
        if getattr(self._own, "run", None) != self.run:
            self._own.run, self._own.function = self.run, pickle.loads(payload)
        return self._own.function(item)
