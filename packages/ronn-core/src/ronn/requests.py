"""What sessions offer to programs with many requests: runs that are awaited, requests that run together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from ronn.batching.decide import Batching
    from ronn.buffers import Out
    from ronn.frontend.pins import Sha256
    from ronn.model import Options, Source
    from ronn.plan.stop import Stop
    from ronn.session import Session
    from ronn.targets import ProviderSpec
    from ronn.values import Outputs


class Requests:
    """The part of ``Session`` that is about many runs."""

    _batching: Batching | None = None

    def run_batch(
        self,
        requests: Sequence[Any],
        *,
        outputs: Sequence[str] | None = None,
        join: bool | None = None,
        max_batch: int = 32,
        sizes: Sequence[int] | None = None,
        timeout: float | None = None,
        stop: Stop | None = None,
        return_exceptions: bool = False,
    ) -> list[Outputs]:
        """Runs many requests (each what ``run`` takes), and gives the outputs of each, in order.

        join: requests of equal shapes go into one run where it is proved that no row of a batch touches another
            (``batching()`` says so, or why not), else one after another. True: you know that they do not touch each
            other, and the shapes are enough. False: never.
        max_batch: rows that one run has at most. sizes: numbers of rows that joined runs may have (each is planned
            once); rows that lack are filled up with copies. Default: powers of two.
        timeout, stop: as for ``run``, for all of it; what is not done by then fails with that error.
        return_exceptions: a request that fails has its error in its place. Otherwise a BatchError is raised when all
            are done, which has the results of the others.

        Joined results equal those of ``run`` to rounding. Raises OptionError for join=True on a model whose shapes
        do not allow it, BatchError.
        """
        from ronn.batching.many import run_batch

        session = cast("Session", self)
        with session._stops.own(timeout, stop) as whole:
            found: Any = run_batch(
                session,
                requests,
                outputs,
                join,
                max_batch,
                sizes,
                return_exceptions,
                lambda v: session.run(v, stop=whole),
            )
        return cast("list[Outputs]", found)

    async def run_async(
        self,
        inputs: Mapping[str, Any] | Sequence[Any] | Any = None,
        *,
        outputs: Sequence[str] | None = None,
        trace: Sequence[str] = (),
        timeout: float | None = None,
        threads: int | None = None,
        out: Out | None = None,
    ) -> Outputs:
        """As ``run``, for asyncio: another thread converts, plans and runs; the event loop is never blocked.

        timeout: seconds from now on, waiting for a thread included. Cancelling the task ends the run before its next
        kernel, and then the task, so that nothing is running behind the caller's back; what waits for a thread, or is
        being planned, is not waited for, and does not run any more. Any number of event loops may use one session.
        """
        from ronn import aio

        return await aio.run(cast("Session", self), inputs, outputs, trace, timeout, threads, out)

    async def run_batch_async(
        self, requests: Sequence[Any], *, timeout: float | None = None, **options: Any
    ) -> list[Outputs]:
        """As ``run_batch``, which has the ``options``, for asyncio. Cancelling acts as in ``run_async``."""
        from ronn import aio

        def call(stop: Stop) -> list[Outputs]:
            return self.run_batch(requests, stop=stop, **options)

        return await aio.run_batch(call, timeout)

    @classmethod
    async def create_async(
        cls,
        source: Source,
        providers: str | Sequence[ProviderSpec] | None = None,
        options: Options | None = None,
        *,
        sha256: Sha256 | None = None,
        warmup: Iterable[Any] = (),
    ) -> Session:
        """A session, made without blocking the event loop: another thread reads the model and compiles it.

        warmup: inputs to run once, so that their sizes are planned. Errors are those of ``Session`` and ``run``.
        """
        from ronn import aio

        made = cast("type[Session]", cls)
        return await aio.create_session(lambda: made(source, providers, options, sha256=sha256), warmup)

    def batching(self) -> Batching:
        """How requests are joined in one run: along which axes, or the reason why not. Found out once."""
        if self._batching is None:
            from ronn.batching.decide import decide

            self._batching = decide(cast("Session", self))
        return self._batching
