"""The search of ``ronn.bisect``: see there for its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ronn.errors import OptionError, RonnError, describe_value
from ronn.numerics import bisection as verdicts
from ronn.numerics.apart import Outcome, Work, apart, can_fork, here
from ronn.numerics.bisection import Bisection, Suspect, Trial
from ronn.numerics.candidate import Candidate, Step
from ronn.numerics.change import Change, change_between
from ronn.numerics.difference import Tolerance, each, worst
from ronn.numerics.expectation import REFERENCE, Expectation
from ronn.numerics.interpret import NobodyComputes
from ronn.numerics.kernels import Begun, Checked, first_operator, look_at_kernels
from ronn.numerics.repro import Part, Reproducer
from ronn.numerics.samples import Sample
from ronn.options import SessionOptions
from ronn.session import Session
from ronn.targets import resolve_targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ronn.model import Model
    from ronn.partition import Target

Progress = Callable[[str], None]
"""Told what is done next."""


class Search:
    """One bisection."""

    def __init__(
        self,
        model: Model,
        targets: Sequence[Target],
        options: SessionOptions,
        tolerance: Tolerance,
        expectation: Expectation,
        timeout: float | None,
        isolate: bool | None,
        progress: Progress | None,
    ) -> None:
        self.model, self.targets, self.options, self.tolerance = model, targets, options, tolerance
        self.expectation, self.timeout, self.progress = expectation, timeout, progress
        self.isolate = isolate
        self.specs: list[Any] = [(t.name, dict(t.options)) for t in targets]
        self.trials: list[Trial] = []
        self.started = time.perf_counter()
        self.names: frozenset[str] = frozenset()  # of values that guilty nodes make
        self.worst_output = ""
        self.candidate: Candidate
        self.expected: Mapping[str, Any]
        self.result = Bisection(verdicts.EQUAL, str(model.ir.source))

    # --- the search

    def run(self, samples: Sequence[Sample]) -> Bisection:
        for sample in samples:
            self.candidate = Candidate.of(self.model.ir, self.targets, self.options, sample.feed)
            self.say(f"what is expected of {sample.name}")
            self.expected = self.expectation.of(self.candidate, sample)
            whole = self.trial(None, "as a session runs it")
            if whole.bad:
                self.result.sample = sample.name if len(samples) > 1 else ""
                self.differing(whole, sample)
                break
        else:
            self.in_one_session(samples)
        self.result.trials = tuple(self.trials)
        self.result.seconds = time.perf_counter() - self.started
        return self.result

    def in_one_session(self, samples: Sequence[Sample]) -> None:
        """Each sample is right by itself. Later sizes are planned with what the first have taught: right as well?"""
        candidates = [Candidate.of(self.model.ir, self.targets, self.options, s.feed) for s in samples]
        if len({c.signature for c in candidates}) < 2:
            return
        self.say("all samples in one session")

        def work(tell: Callable[[Any], None]) -> None:
            with Session(self.model, self.specs, self.options) as session:
                for sample in samples:
                    tell(dict(session.run(sample.feed).items()))

        outcome = self.run_apart(work)
        for number, (sample, candidate) in enumerate(zip(samples, candidates, strict=True)):
            self.expected = self.expectation.of(candidate, sample)
            if number < len(outcome.told):
                self.worst_output, trial = self.judge(outcome.told[number])
            else:
                assert outcome.error is not None
                trial = Trial("", None, True, error=_told(outcome.error))
            self.trials.append(replace(trial, what=f"{sample.name}, after the others"))
            if trial.bad:
                result = self.result
                result.verdict, result.sample, result.output = verdicts.SIZES, sample.name, self.worst_output
                result.difference, result.error = trial.difference, trial.error
                result.advice = (
                    "RONN_PASS_LIMIT=1000000 has every size planned in full, RONN_VERIFY=1 RONN_DEBUG=1 tells how the "
                    "short way differs: please report it",
                )
                return

    def differing(self, whole: Trial, sample: Sample) -> None:
        result = self.result
        result.verdict, result.difference, result.error = verdicts.UNKNOWN, whole.difference, whole.error
        result.output = self.worst_output
        result._make_repro = self.reproducer
        if not self.candidate.in_one and self.splits():
            # Sizes that only a run tells: easier to follow when all is planned at once, if it is wrong then too.
            in_one = replace(self.candidate, in_one=True)
            if self.trial(None, "planned at once", in_one).bad:
                self.candidate = in_one
        self.say("counting rewrites")
        steps, failure = self.candidate.rewrites()
        counted = sum(s.rewrite.counts for s in steps)
        result.rewrites = counted
        first = self.trial(0, "without passes that are not required", self.forgiving())
        if first.bad:
            self.without_rewrites(first, failure, sample)
            return
        high = counted + (failure is not None)
        if failure is None and not self.trial(counted, f"{counted} rewrites").bad:
            result.advice = (
                "with all rewrites counted and none left out the numbers are right: they hang on what a run plans by "
                "itself (sizes that only a run tells), or differ from run to run",
            )
            return
        low = 0
        while high - low > 1:
            middle = (low + high) // 2
            if self.trial(middle, f"{middle} of {counted} rewrites", self.forgiving()).bad:
                high = middle
            else:
                low = middle
        self.at_rewrite(high, counted, failure)

    def without_rewrites(self, first: Trial, failure: RonnError | None, sample: Sample) -> None:
        """It is wrong with no rewrite at all: a required pass, kernels, or what operators mean."""
        if failure is not None and failure.pass_name is not None:
            self.blame(failure.pass_name, "", None, failure)
            return
        if first.error and failure is None:
            if not self.kernels(0):
                self.result.advice = ("it fails without any rewrite: see the error",)
            return
        if not self.expectation.kernels and self.graph_is_bad(0, rewrite=0):
            self.operators(sample)
            return
        steps, _ = self.forgiving().rewrites(0)
        if steps and self.graph_is_bad(0, rewrite=len(steps)):
            self.required(0, steps, 0)
            return
        self.kernels(0)

    def at_rewrite(self, number: int, counted: int, failure: RonnError | None) -> None:
        """One rewrite less is right, ``number`` are wrong."""
        steps, failed = self.forgiving().rewrites(number)
        place = [i for i, s in enumerate(steps) if s.rewrite.counts]
        if number > len(place):  # the pass fails before it has told of this rewrite
            found = failed if failed is not None else failure
            name = None if found is None else found.pass_name
            if name is None:
                self.result.advice = (f"it fails after {number - 1} rewrites: see the error",)
                return
            self.blame(name, "", number, found)
            return
        start = place[number - 1]
        step = steps[start]
        if self.graph_is_bad(number, row=step.row) is not False:
            self.blame_step(step, number, number)
        elif self.graph_is_bad(number, rewrite=len(steps)):
            self.required(start + 1, steps, number)
        elif self.kernels(number):
            entry = step.rewrite
            trial = self.without(entry.pass_name)
            rule = f" (rule {entry.rule})" if entry.rule else ""
            made = f"rewrite {number}, of pass {entry.pass_name}{rule}, is right, "
            ending = "" if trial is None or trial.bad else f"; without the pass: {disabling(entry.pass_name)}"
            self.result.advice += (f"{made}but it makes what the kernel runs{ending}",)
        else:
            self.blame_step(step, number, number)
            self.result.advice += (
                "the rewrite is right on reference kernels, and so is each kernel by itself: it rounds elsewhere, and "
                "the difference grows (of quantised models by a whole step: --share 0.01 lets 1 % of elements differ)",
            )

    def required(self, low: int, steps: Sequence[Step], limit: int) -> None:
        """The graph is right after the first ``low`` of these rewrites and wrong after the last; all between are of
        required passes."""
        high = len(steps)
        while high - low > 1:
            middle = (low + high) // 2
            if self.graph_is_bad(limit, rewrite=middle):
                high = middle
            else:
                low = middle
        step = steps[high - 1]
        own = sum(s.rewrite.pass_name == step.rewrite.pass_name for s in steps[:high])
        self.blame_step(step, own, limit, place=high)

    # --- who it was

    def blame_step(self, step: Step, number: int, limit: int, *, place: int = 0) -> None:
        """Names a rewrite: ``number`` ``limit`` of those that count, or one of a required pass in a ``place`` among
        all."""
        entry = step.rewrite
        self.blame(entry.pass_name, entry.rule, number, None, required=not entry.counts)
        self.say("what the rewrite did")
        graphs = self.forgiving()
        if entry.counts:
            before, after = graphs.graph_at(limit - 1, row=step.row), graphs.graph_at(limit, row=step.row)
        else:
            before, after = graphs.graph_at(limit, rewrite=place - 1), graphs.graph_at(limit, rewrite=place)
        change: Change = change_between(before, after)
        result = self.result
        result.nodes, result.before, result.after = change.nodes, change.before, change.after
        result.inputs, self.names = change.inputs, change.names
        if not change.nodes and entry.detail:
            result.nodes = (entry.detail,)

    def blame(
        self, name: str, rule: str, number: int | None, failure: RonnError | None, *, required: bool = False
    ) -> None:
        result = self.result
        result.verdict, result.pass_name, result.rule, result.rewrite = verdicts.PASS, name, rule, number
        result.required = required
        if failure is not None:
            result.error = str(failure)
            result.nodes = () if failure.node_label is None else (failure.node_label,)
        if required:
            result.advice = ("the pass is required and cannot be left out: please report it with the reproducer",)
            return
        trial = self.without(name)
        if trial is None:
            result.advice = (f"pass {name} is required and cannot be left out: please report it with the reproducer",)
            return
        right = "the numbers are right" if not trial.bad else "something else is wrong besides"
        result.advice = (f"without the pass {right}: {disabling(name)}",)

    def without(self, name: str) -> Trial | None:
        """A run without a pass; None for one that is required."""
        try:
            options = replace(self.options, disabled_passes=frozenset({*self.options.disabled_passes, name}))
            return self.trial(None, f"without {name}", replace(self.candidate, options=options))
        except OptionError:
            return None

    def kernels(self, limit: int) -> bool:
        """Looks for a kernel that is wrong by itself, in the plan made after so many rewrites."""
        self.say("kernels, one by one")
        candidate = self.forgiving()
        outcome = self.run_apart(
            lambda tell: look_at_kernels(
                candidate,
                limit,
                self.expectation.interpreter,
                self.tolerance,
                lambda made: self.judge(made)[1].bad,
                tell,
            )
        )
        result = self.result
        checks = [t for t in outcome.told if isinstance(t, Checked)]
        begun = [t for t in outcome.told if isinstance(t, Begun)]
        if outcome.died and len(begun) > len(checks):
            died = replace(begun[-1].suspect, error=str(outcome.error))
            return self.guilty(replace(begun[-1], suspect=died), ())
        bad = [c for c in checks if c.bad]
        if bad:
            first, others = bad[0], sorted(bad[1:], key=lambda c: -c.suspect.difference.badness)
            return self.guilty(first, tuple(c.suspect for c in others[:4]))
        if outcome.error is not None:
            result.advice = (f"kernels could not be looked at one by one: {outcome.error}",)
            return False
        if not outcome.result:
            result.verdict = verdicts.PLAN
            result.advice = (
                "RONN_GUARD=1 finds kernels that write where they may not; threads=1 tells whether it hangs on threads",
            )
            return True
        off = sorted((c.suspect for c in checks), key=lambda s: -s.difference.badness)
        result.verdict, result.suspects = verdicts.SUM, tuple(s for s in off[:5] if s.difference.max_abs > 0)
        result.advice = ("a smaller --rtol looks closer at single kernels, a larger one accepts their sum",)
        return False

    def guilty(self, found: Begun | Checked, others: tuple[Suspect, ...]) -> bool:
        result, suspect = self.result, found.suspect
        result.verdict, result.nodes, result.inputs = verdicts.KERNEL, suspect.nodes, found.inputs
        self.names = found.makes
        result.suspects = (suspect, *others)
        others_named = [t.name for t in self.targets if t.name not in (suspect.provider, "reference")]
        listed = [*others_named, "reference"]
        flags = " ".join(f"--provider {n}" for n in listed)
        result.advice = (f"run without provider {suspect.provider}: {flags}, providers={listed!r}",)
        if suspect.native and suspect.provider == "cpu":
            result.advice += ('run its NumPy kernels: RONN_CPU_LEVEL=none, providers=[("cpu", {"kernels": "numpy"})]',)
        return True

    def operators(self, sample: Sample) -> None:
        """Reference kernels are not what is expected: with ONNX Runtime at hand, which node's."""
        result = self.result
        result.verdict = verdicts.OPERATORS
        if self.expectation.runtime is None:
            result.advice = ("--against onnxruntime tells which node; or the expected outputs are of other inputs",)
            return
        self.say("nodes, one by one, on what ONNX Runtime makes of those before")
        candidate = self.candidate
        expected = self.expectation.runtime.values(sample.feed, candidate.imported())
        found = first_operator(candidate, self.expectation.interpreter, expected, self.tolerance)
        if found is not None:
            node, suspect = found
            result.nodes, result.suspects = (node.label,), (suspect,)
            result.inputs = tuple(describe_value(v) for v in node.inputs if v is not None)

    def reproducer(self) -> Part:
        maker = Reproducer(self.candidate, self.tolerance, self.run_apart)
        return maker.make(self.names, self.result.nodes, check=self.result.verdict != verdicts.OPERATORS)

    # --- runs

    def trial(self, limit: int | None, what: str, candidate: Candidate | None = None) -> Trial:
        """Runs a candidate and judges its outputs."""
        self.say(what)
        chosen = self.candidate if candidate is None else candidate
        started = time.perf_counter()
        work: Work = lambda tell: chosen.outputs(limit)  # noqa: E731
        first = not self.trials
        outcome = apart(work, self.timeout) if self.isolate is None and first else self.run_apart(work)
        if self.isolate is None and first:
            self.isolate = outcome.died
        seconds = time.perf_counter() - started
        if outcome.error is not None:
            made = Trial(what, limit, True, error=_told(outcome.error), seconds=seconds)
            self.worst_output = ""
        else:
            self.worst_output, judged = self.judge(outcome.result)
            made = replace(judged, what=what, limit=limit, seconds=seconds)
        self.trials.append(made)
        return made

    def judge(self, outputs: Mapping[str, Any]) -> tuple[str, Trial]:
        """The output that is farthest off, and whether that is too far."""
        found = dict(each(self.expected, outputs, self.tolerance))
        difference = worst(list(found.values()))
        name = next((n for n, d in found.items() if d is difference), "")
        return name, Trial("", None, not difference.equal, difference)

    def run_apart(self, work: Work) -> Outcome:
        return apart(work, self.timeout) if self.isolate and can_fork() else here(work)

    def forgiving(self) -> Candidate:
        """The candidate with the reference behind its providers: without passes they may not take every node."""
        return replace(self.candidate, targets=(*self.candidate.targets, *self._spare()))

    def _spare(self) -> tuple[Any, ...]:
        listed = any(t.name == REFERENCE for t in self.candidate.targets)
        return () if listed else resolve_targets([REFERENCE], self.options)

    def splits(self) -> bool:
        """Whether a part of the plan is made while it runs."""
        from ronn.plan.tail import Tail

        candidate = self.candidate
        found = self.run_apart(
            lambda tell: any(isinstance(call.fn, Tail) for call in candidate.plan(candidate.assigned()).calls)
        )
        return found.error is None and bool(found.result)

    def graph_is_bad(self, limit: int, *, row: int | None = None, rewrite: int | None = None) -> bool | None:
        """Whether the graph at some point of the way (see ``Candidate.graph_at``), on reference kernels, gives other
        outputs than are expected. None when it cannot be computed."""
        where = f"pass run {row}" if rewrite is None else f"{rewrite} rewrites of any pass"
        what = f"the graph after {where}, on reference kernels"
        self.say(what)
        started = time.perf_counter()
        graph = self.forgiving().graph_at(limit, row=row, rewrite=rewrite)
        try:
            outputs = self.expectation.interpreter.outputs(graph, self.candidate.values)
        except NobodyComputes:
            return None
        except RonnError as e:
            self.trials.append(Trial(what, limit, True, error=_told(e), seconds=time.perf_counter() - started))
            return True
        judged = self.judge(outputs)[1]
        self.trials.append(replace(judged, what=what, limit=limit, seconds=time.perf_counter() - started))
        return judged.bad

    def say(self, text: str) -> None:
        if self.progress is not None:
            self.progress(text)


def disabling(name: str) -> str:
    """How to leave a pass out."""
    return f"--disable-pass {name}, SessionOptions(disabled_passes=[{name!r}])"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
