"""HRMSession: two models behind one ``run``. ``router.py`` has a request's way, ``supervisor.py`` what watches it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from ronn.errors import OptionError, RonnError, session_closed
from ronn.forks import renew_after_fork
from ronn.plan.stop import Stop
from ronn.values import Outputs
from ronn_hrm.decision import Decision
from ronn_hrm.drift.settings import Audit
from ronn_hrm.errors import RoutingError
from ronn_hrm.guarantee.settings import Guarantee
from ronn_hrm.memory.settings import Memory
from ronn_hrm.metrics import Metrics
from ronn_hrm.sleep.settings import Sleep
from ronn_hrm.upkeep import Upkeep

if TYPE_CHECKING:
    from ronn_hrm.advise import Advice
    from ronn_hrm.assembly import Pieces
    from ronn_hrm.assess.groups import Group
    from ronn_hrm.contracts import Policy, Scorer
    from ronn_hrm.embed import Embed
    from ronn_hrm.gates import Escalations, Gate
    from ronn_hrm.guarantee.certificate import Certificate
    from ronn_hrm.sleep.report import Report
    from ronn_hrm.state import State
    from ronn_hrm.task import Task

_DRIFT = ("full", "tell")


class HRMSession:
    """Answers from a cheap model where held-out traffic certifies that it may, else from the expensive one. Safe to use
    from several threads at once.

    fast, full: the two models: sessions, or anything that runs like one, or paths; ``full`` may be a function that
        opens it when it is first needed. Both take the same inputs (``Prepared`` makes them fit) and give the output
        of ``task``.
    task: what an answer is, and how far two are apart (default: classes, by the first output).
    embed: the vector by which memory finds similar inputs; without one, scores rest on the cheap model's answer alone.
    guarantee: the risk that is certified. audit: how much traffic is checked. memory: what is kept, and where.
    policy: who decides once a request is scored (default: ``Cascade``). scorer: how; ``auto`` chooses on records that
        are held out for that.
    groups: of features (default: the cheap model's confidence, and the neighbourhood in memory).
    gates: requests that the cheap model must not answer. escalations: a cap on the expensive model, by client.
    on_drift: ``full``: an alarm voids the certificate and everything goes to the expensive model until a new one;
        ``tell``: alarms are only counted.
    namespace: a function of ``context`` that says whose a request is (a tenant): answers are remembered for each
        alone.
    client: a function of ``context`` that says who asks, for ``escalations``.
    sleep: how consolidation learns, and whether and when it begins by itself.

    Raises RoutingError for models that cannot stand in for each other, OptionError, StateError for a memory folder that
    cannot be read.
    """

    def __init__(
        self,
        fast: Any,
        full: Any,
        *,
        task: Task | None = None,
        embed: Embed | None = None,
        policy: Policy | None = None,
        guarantee: Guarantee | None = None,
        audit: Audit | None = None,
        memory: Memory | None = None,
        scorer: Scorer | str = "auto",
        groups: Sequence[Group] | None = None,
        gates: Sequence[Gate] = (),
        escalations: Escalations | None = None,
        on_drift: str = "full",
        namespace: Callable[[Any], str] | None = None,
        client: Callable[[Any], str] | None = None,
        sleep: Sleep | None = None,
    ) -> None:
        from ronn_hrm.assembly import assemble

        if on_drift not in _DRIFT:
            raise OptionError(f"on_drift={on_drift!r} is unknown", hint=f"one of {', '.join(_DRIFT)}")
        self._namespace = namespace
        self._client = client
        self._closed = False
        self._assemble = functools.partial(
            assemble, fast, full, task=task, embed=embed, policy=policy,
            guarantee=Guarantee() if guarantee is None else guarantee,
            audit=Audit() if audit is None else audit,
            memory=Memory() if memory is None else memory,
            scorer=scorer, groups=groups, gates=gates, escalations=escalations, on_drift=on_drift,
            sleep=Sleep() if sleep is None else sleep, metrics=Metrics(),
        )  # fmt: skip
        self._go_on(self._assemble())
        renew_after_fork(self)

    def _go_on(self, pieces: Pieces) -> None:
        self._parts, self._router, self._supervisor, self._learner = pieces
        self._upkeep = Upkeep(*pieces)

    # --- what it is about

    @property
    def inputs(self) -> Any:
        """What ``run`` takes, in order, as the cheap model declares it."""
        return self._parts.cheap.session.inputs

    @property
    def outputs(self) -> Any:
        """What ``run`` returns: the outputs that both models give, as the cheap one declares them."""
        names = self._parts.cheap.output_names
        if self._parts.full.is_open:
            of_full = [v.name for v in self._parts.full.session().outputs]
            names = None if names is None else tuple(n for n in names if n in of_full)
        return [v for v in self._parts.cheap.session.outputs if names is None or v.name in names]

    @property
    def state(self) -> State:
        """What decides now."""
        return self._router.live.state

    @property
    def metrics(self) -> Metrics:
        """What was counted: ``as_data()``, ``openmetrics()``."""
        return self._parts.metrics

    @property
    def mode(self) -> str:
        """``cold`` (nothing certified yet), ``certified``, or ``guard`` (an alarm voided the certificate)."""
        return self._supervisor.guard.phase

    # --- running

    @overload
    def run(
        self, inputs: Any = None, *, outputs: Sequence[str] | None = None, explain: Literal[False] = False,
        context: Any = None, timeout: float | None = None, stop: Stop | None = None, threads: int | None = None,
    ) -> Outputs: ...  # fmt: skip
    @overload
    def run(
        self, inputs: Any = None, *, outputs: Sequence[str] | None = None, explain: Literal[True],
        context: Any = None, timeout: float | None = None, stop: Stop | None = None, threads: int | None = None,
    ) -> tuple[Outputs, Decision]: ...  # fmt: skip
    def run(
        self,
        inputs: Any = None,
        *,
        outputs: Sequence[str] | None = None,
        explain: bool = False,
        context: Any = None,
        timeout: float | None = None,
        stop: Stop | None = None,
        threads: int | None = None,
    ) -> Outputs | tuple[Outputs, Decision]:
        """Answers one request, as ``ronn.Session.run`` does.

        inputs: a mapping of input name to array, a sequence in input order, or one array for a one-input model.
        outputs: names to return (default: what both models give). What only the expensive model gives, it is asked for.
        explain: also return the ``Decision``. context: for ``namespace`` and ``client``.
        timeout, stop, threads: as for ``Session.run``, of each model's run.

        Raises what the models' ``run`` raises; EscalationLimitError for a client beyond its cap.
        """
        if self._closed:
            raise session_closed()
        options: dict[str, Any] = {}
        if timeout is not None:
            options["timeout"] = timeout
        if stop is not None:
            options["stop"] = stop
        if threads is not None:
            options["threads"] = threads
        space, client = self._whose(context)
        request = self._router.answer(inputs, outputs, space=space, client=client, **options)
        answered: Any = request.outputs
        return (answered, request.decision()) if explain else answered

    __call__ = run

    async def run_async(self, inputs: Any = None, **options: Any) -> Any:
        """As ``run``, on another thread. Cancelling the task ends the run before its next kernel."""
        stop = options.pop("stop", None)
        if stop is None:
            stop = Stop()
        try:
            return await asyncio.to_thread(functools.partial(self.run, inputs, stop=stop, **options))
        except asyncio.CancelledError:
            stop.set()
            raise

    def run_batch(self, requests: Sequence[Any], *, return_exceptions: bool = False, **options: Any) -> list[Any]:
        """Answers many requests, each routed alone, in order; options as for ``run``. With ``return_exceptions`` a
        request that fails has its error in its place."""
        found: list[Any] = []
        for given in requests:
            try:
                found.append(self.run(given, **options))
            except RonnError as e:
                if not return_exceptions:
                    raise
                found.append(e)
        return found

    # --- the guarantee

    def certificate(self) -> Certificate | None:
        """The certificate in force; None while everything goes to the expensive model."""
        return self.state.certificate

    def calibrate(self, inputs: Sequence[Any] | None = None, *, learn: bool = False) -> Certificate | None:
        """Certifies now, with the records that there are; first runs both models on ``inputs`` (requests that neither
        model, scorer nor memory was made from, drawn as the traffic is), if there are any. learn: half of the inputs
        certify, chosen by the coin, and memory and scorer learn from most of the others: for sessions without traffic.

        Raises CalibrationError for inputs that memory was made from. Warns (CalibrationWarning) where nothing could be
        certified, and where the models agree on the inputs so much more than on audited traffic that one of them must
        have been trained on such: then the inputs are left out.
        """
        self._check_open()
        return self._upkeep.calibrate(inputs, learn)

    def advise(self, inputs: Sequence[Any] | None = None) -> Advice:
        """Whether the cascade pays, by the times and shares measured here; see ``ronn_hrm.advise``.

        inputs: requests to take times on (default: what memory holds inputs of).
        """
        self._check_open()
        return self._upkeep.advise(inputs)

    # --- memory and consolidation

    def consolidate(self, budget_s: float | None = None, strategy: str | None = None) -> Report:
        """Learns from what memory holds: refreshes the searched memory, adapts the cheap model or makes a student of
        the expensive one (``strategy``: ``auto``, ``memory``, ``adapter``, ``student``), certifies, and takes the new
        state over only where held-out records say that it is better. Requests go on meanwhile.

        budget_s: seconds after which no further candidate is begun. Both are those of ``Sleep`` where not given.
        """
        self._check_open()
        return self._learner.consolidate(budget_s=budget_s, strategy=strategy)

    sleep = consolidate

    def feedback(self, request: int, label: Any) -> None:
        """Notes what a person says that the answer to a request (``Decision.id``) should have been. It is kept for
        reports, and never mixed with what the expensive model said."""
        self._check_open()
        self._upkeep.feedback(request, label)

    def forget(self, inputs: Any = None, *, namespace: str | None = None, before: float | None = None) -> int:
        """Removes what is remembered of one input, a namespace, or the time before (seconds since 1970): from the
        cache, the episodes and what is searched. What was learnt from it stays in adapters and students, which are
        marked stale and made anew by the next ``consolidate``. Returns how many episodes went."""
        self._check_open()
        return self._upkeep.forget(inputs, namespace=namespace, before=before)

    def snapshot(self, folder: Any) -> None:
        """Writes all that is remembered and learnt to a new folder, while requests go on. It holds the secret key."""
        self._check_open()
        self._upkeep.snapshot(folder)

    def restore(self, folder: Any) -> None:
        """Puts a snapshot in place of all that is remembered and learnt. Requests that come meanwhile fail.

        StateError where the snapshot is of other models, or not whole; what was there goes on then.
        """
        self._check_open()
        from ronn_hrm.memory.snapshot import restore

        kept = self._upkeep.begin_restore(folder)
        try:
            if kept is None:
                restore(folder, self._parts.memory.path)  # type: ignore[arg-type]
        finally:
            self._go_on(self._assemble(kept=kept))

    def drain(self, timeout: float | None = None) -> bool:
        """Waits until audits and episodes behind finished requests are done. False: not within ``timeout`` seconds."""
        return self._upkeep.drain(timeout)

    def close(self) -> None:
        """Finishes audits, writes what is to be kept, closes the models that were opened here. Closing twice is
        fine."""
        if not self._closed:
            self._closed = True
            self._upkeep.close()

    def __enter__(self) -> HRMSession:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self.state
        share = "nothing certified" if state.certificate is None else f"certified share {state.certificate.share:.2f}"
        return f"HRMSession(mode={self.mode!r}, {share}, state={state.id})"

    def __reduce__(self) -> Any:
        raise RoutingError(
            "an HRMSession cannot be pickled or copied: its memory belongs to one process",
            hint="make one in each process, with the same models and a memory folder of its own",
        )

    def _whose(self, context: Any) -> tuple[str, str]:
        """The namespace of a request, and the client."""
        if context is not None and self._namespace is None and self._client is None:
            raise OptionError(
                "context= is for functions that this session was not given",
                hint="HRMSession(..., namespace=lambda context: ...) keeps answers apart",
            )
        found = []
        for name, function in (("namespace", self._namespace), ("client", self._client)):
            told = "" if function is None else function(context)
            if type(told) is not str:
                raise OptionError(f"{name} gave {told!r}, and must give text", hint=f"{name}=lambda context: str(...)")
            found.append(told)
        return found[0], found[1]

    def _check_open(self) -> None:
        if self._closed:
            raise session_closed()

    def after_fork(self) -> None:
        """In a child process: threads and locks are the parent's."""
        self._router.after_fork()
        self._supervisor.after_fork()
        self._learner.after_fork()
