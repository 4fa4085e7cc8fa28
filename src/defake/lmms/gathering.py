"""Questions that arrive one by one, answered many at a time by one thread that owns the model."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Job = TypeVar("Job")
Out = TypeVar("Out")


class Gatherer(Generic[Job, Out]):
    """Hands jobs to `work` in groups: as many as have arrived when none came for `wait_s`, at most `size`.

    `work` gives a result or an exception for each job, in order; an exception it raises is every job's. The thread is a
    daemon and starts with the first job.
    """

    def __init__(
        self, work: Callable[[Sequence[Job]], Sequence[Out | Exception]], size: int, wait_s: float = 0.02
    ) -> None:
        self.work = work
        self.size = size
        self.wait_s = wait_s
        self._queue: queue.Queue[tuple[Job, Future[Out]] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    async def ask(self, job: Job) -> Out:
        """The result of a job; other tasks of the event loop go on meanwhile.

        Raises: what `work` gave or raised.
        """
        future: Future[Out] = Future()
        self._queue.put((job, future))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="defake-lmm")
                self._thread.start()
        pause_s = 0.001
        while not future.done():
            # Any event loop will do (asyncio, trio): the thread knows none.
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.05)
        return future.result()

    def close(self) -> None:
        """End the thread once the jobs under way are done."""
        with self._starting:
            if self._thread is not None:
                self._queue.put(None)
                self._thread.join()
                self._thread = None

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            gathered, closing = [first], False
            while len(gathered) < self.size and not closing:
                try:
                    more = self._queue.get(timeout=self.wait_s)
                except queue.Empty:
                    break
                if more is None:
                    closing = True
                else:
                    gathered.append(more)
            self._answer(gathered)
            if closing:
                return

    def _answer(self, gathered: list[tuple[Job, Future[Out]]]) -> None:
        try:
            results: Sequence[Out | Exception] = self.work([job for job, _ in gathered])
        except Exception as error:  # noqa: BLE001 - it is handed to everyone who waits
            results = [error] * len(gathered)
        for (_, future), result in zip(gathered, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
