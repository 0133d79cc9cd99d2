"""asyncio: runs and loads that are awaited. The event loop only hands over and takes back; threads do the work."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ronn import carriers
from ronn.model import Model, Options, Source, load
from ronn.plan.stop import Stop, check_timeout

if TYPE_CHECKING:
    from ronn.buffers import Out
    from ronn.frontend.pins import Sha256
    from ronn.session import Session
    from ronn.values import Outputs

T = TypeVar("T")


class Mailbox:
    """Calls of other threads for an event loop. Those that come before it wakes up share one wake-up: each costs
    a system call, and the threads a turn at the interpreter.

    Calls lead back to their loop: whoever waits for one holds the mailbox, so that what a loop that was closed never
    came to goes with it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._calls: deque[Callable[[], None]] = deque()
        self._woken = False

    def post(self, call: Callable[[], None]) -> bool:
        """Has the loop make a call soon; False when there is no such loop any more."""
        self._calls.append(call)
        if self._woken:
            return True
        self._woken = True
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._empty)
                return True
        except RuntimeError:
            pass  # it is closed
        self._calls.clear()
        return False

    def _empty(self) -> None:
        self._woken = False  # first: what is posted from here on wakes it again
        while self._calls:
            self._calls.popleft()()


_mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Mailbox]] = weakref.WeakKeyDictionary()


def mailbox() -> Mailbox:
    """The mailbox of the running event loop, as long as somebody holds it."""
    loop = asyncio.get_running_loop()
    known = _mailboxes.get(loop)
    found = None if known is None else known()
    if found is None:
        found = Mailbox(loop)
        _mailboxes[loop] = weakref.ref(found)
    return found


class Task(Generic[T]):
    """Work on a carrier's thread for one event loop. ``work`` gets the task, and calls ``begin`` when it goes from what
    cannot be stopped (planning) to what can.

    dropped: given the result when nobody waits for it any more.
    """

    def __init__(
        self, work: Callable[[Task[T]], T], timeout: float | None, dropped: Callable[[T], object] | None = None
    ) -> None:
        self.stop = Stop(timeout)
        self._work: Callable[[Task[T]], T] | None = work
        self._dropped = dropped
        self._begun = False

    def begin(self) -> None:
        """Said before the first kernel. CancelledError when the task is to end already."""
        self._begun = True
        if self.stop.due:
            raise self.stop.error()

    async def on(self, threads: carriers.Carriers) -> T:
        """Has one of ``threads`` do the work and waits for it.

        When the waiting is cancelled the work is stopped; work that has begun is waited for first, so that it is over
        when the caller goes on. What has not begun yet is left to itself, and will not begin.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        timer = None if self.stop.timeout is None else loop.call_later(self.stop.timeout, self._expire, waiter)
        box = mailbox()
        threads.start(lambda: self._carry(box, waiter))
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            self.stop.set()
            if self._begun:
                await asyncio.wait((waiter,))
            raise
        finally:
            if timer is not None:
                timer.cancel()
            waiter.add_done_callback(_look)

    def _expire(self, waiter: asyncio.Future[T]) -> None:
        # A run that has begun ends by itself: it knows the deadline.
        if not waiter.done() and not self._begun:
            waiter.set_exception(self.stop.error())

    def _carry(self, box: Mailbox, waiter: asyncio.Future[T]) -> None:
        work, self._work = self._work, None
        assert work is not None
        result: Any = None
        error: BaseException | None = None
        try:
            with carriers.stopped_at_exit(self.stop):
                if self.stop.due:
                    raise self.stop.error()
                result = work(self)
        except BaseException as e:
            error = e
        try:
            if not box.post(partial(self._deliver, waiter, result, error)):
                self._drop(result, error)
        finally:
            error = None  # its traceback holds this frame

    def _deliver(self, waiter: asyncio.Future[T], result: Any, error: BaseException | None) -> None:
        if waiter.done():
            self._drop(result, error)
        elif error is not None:
            waiter.set_exception(error)
        else:
            waiter.set_result(result)
            if self.stop.reason is not None:
                self._drop(result, None)

    def _drop(self, result: Any, error: BaseException | None) -> None:
        if error is None and self._dropped is not None:
            self._dropped(result)


def _look(waiter: asyncio.Future[Any]) -> None:
    """Keeps asyncio from complaining of an error that nobody waits for any more."""
    if not waiter.cancelled():
        waiter.exception()


async def run(
    session: Session,
    inputs: Any,
    outputs: Sequence[str] | None,
    trace: Sequence[str],
    timeout: float | None,
    threads: int | None,
    out: Out | None,
) -> Outputs:
    """See ``Session.run_async``."""
    check_timeout(timeout)

    def work(task: Task[Outputs]) -> Outputs:
        with session._watched(), session._stops.own(None, task.stop, threads) as stop:
            return session._run_any(inputs, outputs, trace, stop, out, task.begin)

    return await Task(work, timeout).on(carriers.runs)


async def run_batch(call: Callable[[Stop], list[Outputs]], timeout: float | None) -> list[Outputs]:
    """See ``Session.run_batch_async``."""
    check_timeout(timeout)

    def work(task: Task[list[Outputs]]) -> list[Outputs]:
        task.begin()
        return call(task.stop)

    return await Task(work, timeout).on(carriers.runs)


async def load_async(source: Source, options: Options | None = None, *, sha256: Sha256 | None = None) -> Model:
    """As ``ronn.load``, without blocking the event loop: another thread reads the model."""
    return await Task(lambda _: load(source, options, sha256=sha256), None).on(carriers.loads)


async def create_session(make: Callable[[], Session], warmup: Iterable[Any]) -> Session:
    """See ``Session.create_async``."""

    def work(task: Task[Session]) -> Session:
        session = make()
        try:
            for inputs in warmup:
                if task.stop.due:
                    raise task.stop.error()
                session.run(inputs, stop=task.stop)
        except BaseException:
            session.close()
            raise
        return session

    return await Task(work, None, lambda session: session.close()).on(carriers.loads)
