"""Configurations: a mapping, or a table ``[router.hrm]`` of a TOML file, as an ``HRMSession``.

    [router.hrm]
    fast = "small.onnx"                          # or a table: model, providers, options
    alpha = 0.01                                 # with delta, kind: the guarantee
    audit = 0.05                                 # the rate, or a table of ``Audit``
    memory = "state/"                            # the folder, or a table of ``Memory``
    task = "classification"                      # or a table: kind, and what that takes
    policy = {kind = "static-threshold", confidence = 0.95}

``KEYS`` says what there is. Programs may give objects in the place of text and tables (``task=Custom(...)``), and what
only they can make: ``namespace``, ``client``, ``gates``, ``groups``.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ronn.errors import OptionError, RonnError, nearest
from ronn.options_file import FILE, beside
from ronn_hrm.session import HRMSession

if TYPE_CHECKING:
    from ronn.model import Model
    from ronn.options import SessionOptions

KEYS: dict[str, str] = {
    "fast": "the cheap model: a path, or a table with model, providers, options",
    "exit": "in the place of fast: the value at which the model ends early",
    "head": "of an early exit: the path of its head",
    "lazy": "whether the expensive model is opened when it is first needed",
    "task": "classification, regression, token-labels, or a table with kind",
    "embed": "the value of the cheap model by which memory finds similar inputs, or a table with output or input",
    "policy": "cascade, always-full, always-fast, static-threshold, budgeted, or a table with kind",
    "alpha": "the risk that is certified",
    "delta": "how often a certificate may be wrong",
    "kind": "of the guarantee: ucb, crc, selective, anytime",
    "guarantee": "a table of alpha, delta, kind",
    "audit": "the share of requests that is checked, or a table of Audit",
    "memory": "the folder where state is kept, or a table of Memory",
    "scorer": "auto, confidence or margin",
    "max_tokens": "a table with input and most: longer inputs go to the expensive model",
    "max_elements": "inputs of more elements go to the expensive model",
    "escalations": "a table with most and seconds: runs of the expensive model that a client may have",
    "on_drift": "full or tell",
    "sleep": "whether consolidation begins by itself, or a table of Sleep (student: a table of Distil, or false)",
    "groups": "feature groups", "gates": "hard gates", "namespace": "a function", "client": "a function",
    FILE: "the file that the configuration came from",
}  # fmt: skip
_AS_THEY_ARE = ("on_drift", "groups", "namespace", "client")


def session_of(model: Model, options: SessionOptions, config: Mapping[str, Any]) -> RoutedSession:
    """The session that a configuration describes, with ``model`` as the expensive one.

    options: of the sessions of both models; ``fast`` may have some of its own. Raises OptionError naming the key, the
    file it is in and the nearest name; RoutingError, ModelError and others as ``HRMSession`` does.
    """
    return _Reader(config).session(model, options)


class RoutedSession(HRMSession):
    """An ``HRMSession`` that closes the sessions that were made for it."""

    def __init__(self, owned: Sequence[Any], *models: Any, **settings: Any) -> None:
        self._owned = tuple(owned)
        super().__init__(*models, **settings)

    def close(self) -> None:
        super().close()
        for session in self._owned:
            session.close()


class _Reader:
    """Reads one configuration; its errors say where it stands."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        file = config.get(FILE)
        self.where = "router.hrm" if file is None else f"{file}: router.hrm"

    def session(self, model: Model, options: SessionOptions) -> RoutedSession:
        config = self.config
        self._known("", config, KEYS)
        settings = {name: config[name] for name in _AS_THEY_ARE if name in config}
        readers: dict[str, Callable[[Any], Any]] = {
            "task": self._task, "embed": self._embed, "policy": self._policy, "audit": self._audit,
            "memory": self._memory, "escalations": self._escalations, "sleep": self._sleep,
        }  # fmt: skip
        for name, read in readers.items():
            if name in config:
                settings[name] = self._at(name, partial(read, config[name]))
        settings["guarantee"] = self._at("guarantee", self._guarantee)
        settings["gates"] = self._gates()
        if "scorer" in config:
            settings["scorer"] = self._scorer(config["scorer"], settings)
        owned, fast, full = self._models(model, options)
        try:
            return RoutedSession(owned, fast, full, **settings)
        except BaseException:
            for session in owned:
                session.close()
            raise

    # --- models

    def _models(self, model: Model, options: SessionOptions) -> tuple[list[Any], Any, Any]:
        config = self.config
        if ("fast" in config) == ("exit" in config):
            why = "names both fast and exit" if "fast" in config else "names no cheap model"
            raise OptionError(
                f"{self.where} {why}",
                hint='one of: fast = "small.onnx" (another model), exit = "relu_6" with head = "head.onnx" (an early '
                "exit of this one); ronn_hrm.from_model makes a cheap model of an expensive one",
            )
        if "exit" in config:
            return self._early(model, options)
        if "head" in config:
            raise OptionError(f"{self.where}.head is of an early exit", hint="give exit, or leave head out")
        given = config["fast"]
        if hasattr(given, "run"):
            fast, owned = given, []
        else:
            fast = self._at("fast", lambda: self._fast(given, options))
            owned = [fast]
        if self._lazy():
            return owned, fast, lambda: model.create_session(options)
        full = model.create_session(options)
        return [*owned, full], fast, full

    def _fast(self, given: Any, options: SessionOptions) -> Any:
        from ronn.model import Model
        from ronn.options import SessionOptions

        providers = None
        if isinstance(given, Mapping):
            self._known("fast", given, ("model", "providers", "options"))
            if "model" not in given:
                raise OptionError("it names no model", hint='for instance {model = "small.onnx"}')
            providers, own = given.get("providers"), given.get("options")
            if own is not None:
                options = options.replace(**own) if isinstance(own, Mapping) else SessionOptions.of(own)
            given = given["model"]
        path = beside(self.config, given) if isinstance(given, (str, os.PathLike)) else given
        model = path if isinstance(path, Model) else Model.load(path, options)
        return model.create_session(options, providers=providers)

    def _early(self, model: Model, options: SessionOptions) -> tuple[list[Any], Any, Any]:
        from ronn_hrm.early_exit import EarlyExit

        config = self.config
        if "head" not in config:
            raise OptionError(
                f"{self.where}.head is missing: an early exit at {config['exit']!r} needs a head",
                hint="EarlyExit(model, exit).fit(samples).head is one; save_model(head.ir, path) writes it",
            )
        if self._lazy():
            raise OptionError(f"{self.where}.lazy: an early exit shares its beginning with the whole model")
        head = config["head"]
        path = beside(config, head) if isinstance(head, (str, os.PathLike)) else head
        early = self._at("exit", lambda: EarlyExit(model, config["exit"], path, options=options))
        return [early], early.fast, early.full

    def _lazy(self) -> bool:
        lazy = self.config.get("lazy", False)
        if not isinstance(lazy, bool):
            raise OptionError(f"{self.where}.lazy={lazy!r} is not a switch", hint="true or false")
        return lazy

    # --- settings

    def _task(self, given: Any) -> Any:
        from ronn_hrm.task import Classification, Regression, TokenLabels

        kinds = {"classification": Classification, "regression": Regression, "token-labels": TokenLabels}
        return self._of_kind("task", given, kinds)

    def _policy(self, given: Any) -> Any:
        from ronn_hrm.policies import AlwaysFast, AlwaysFull, Budgeted, Cascade, StaticThreshold

        kinds = {
            "cascade": Cascade, "always-full": AlwaysFull, "always-fast": AlwaysFast,
            "static-threshold": StaticThreshold, "budgeted": Budgeted,
        }  # fmt: skip
        return self._of_kind("policy", given, kinds)

    def _embed(self, given: Any) -> Any:
        from ronn_hrm.embed import FromInput, FromOutput

        if isinstance(given, str):
            return FromOutput(given)
        if not isinstance(given, Mapping):
            return given
        self._known("embed", given, ("output", "input"))
        if len(given) != 1:
            raise OptionError("it names no value, or two", hint='{output = "hidden"} or {input = "x"}')
        return FromOutput(given["output"]) if "output" in given else FromInput(given["input"])

    def _guarantee(self) -> Any:
        from ronn_hrm.guarantee.settings import Guarantee

        config = self.config
        short = {name: config[name] for name in ("alpha", "delta", "kind") if name in config}
        given = config.get("guarantee")
        if given is None:
            return Guarantee(**short)
        if short:
            raise OptionError(f"there is {', '.join(short)} beside it", hint="put all of it in one place")
        return self._made("guarantee", Guarantee, given) if isinstance(given, Mapping) else given

    def _audit(self, given: Any) -> Any:
        from ronn_hrm.drift.settings import Audit

        if isinstance(given, (int, float)) and not isinstance(given, bool):
            return Audit(rate=given) if given <= Audit().max_rate else Audit(rate=given, max_rate=given)
        return self._made("audit", Audit, given) if isinstance(given, Mapping) else given

    def _memory(self, given: Any) -> Any:
        from ronn_hrm.memory.settings import Memory

        if isinstance(given, (str, os.PathLike)):
            given = {"path": given}
        if not isinstance(given, Mapping):
            return given
        path = given.get("path")
        known = dict(given) if path is None else {**given, "path": str(beside(self.config, path))}
        return self._made("memory", Memory, known)

    def _sleep(self, given: Any) -> Any:
        from ronn_hrm.sleep.settings import Sleep
        from ronn_hrm.sleep.student import Distil

        if isinstance(given, bool):
            return Sleep(auto=given)
        if not isinstance(given, Mapping):
            return given
        student = given.get("student")
        if student is False:
            given = {**given, "student": None}
        elif isinstance(student, Mapping):
            wide = student.get("hidden")
            taught = student if wide is None else {**student, "hidden": tuple(wide)}
            given = {**given, "student": self._made("sleep.student", Distil, taught)}
        return self._made("sleep", Sleep, given)

    def _escalations(self, given: Any) -> Any:
        from ronn_hrm.gates import Escalations

        return self._made("escalations", Escalations, given) if isinstance(given, Mapping) else given

    def _gates(self) -> tuple[Any, ...]:
        from ronn_hrm.gates import Gate

        config, found = self.config, list(self.config.get("gates", ()))
        if "max_tokens" in config:
            given = config["max_tokens"]
            self._known("max_tokens", given, ("input", "most"))
            if not isinstance(given, Mapping) or len(given) != 2:
                raise OptionError(f"{self.where}.max_tokens={given!r}", hint='for instance {input = "ids", most = 128}')
            found.append(Gate.max_tokens(given["input"], given["most"]))
        if "max_elements" in config:
            found.append(Gate.max_elements(config["max_elements"]))
        return tuple(found)

    def _scorer(self, given: Any, settings: Mapping[str, Any]) -> Any:
        if not isinstance(given, str) or given == "auto":
            return given
        from ronn_hrm.assess.assessor import Assessor
        from ronn_hrm.scorers import ConfidenceScorer, MarginScorer
        from ronn_hrm.task import Classification

        kinds = {"confidence": ConfidenceScorer, "margin": MarginScorer}
        if given not in kinds:
            raise self._unknown("scorer", given, ("auto", *kinds))
        task = settings.get("task")
        return kinds[given].of(Assessor(Classification() if task is None else task, settings.get("groups")).names)

    # --- in general

    def _of_kind(self, name: str, given: Any, kinds: Mapping[str, Callable[..., Any]]) -> Any:
        if isinstance(given, str):
            given = {"kind": given}
        if not isinstance(given, Mapping):
            return given
        kind = str(given.get("kind"))
        if kind not in kinds:
            raise self._unknown(f"{name}.kind", kind, tuple(kinds))
        return self._made(name, kinds[kind], {k: v for k, v in given.items() if k != "kind"})

    def _made(self, name: str, cls: Callable[..., Any], given: Mapping[str, Any]) -> Any:
        """An object of a table: its keys are the arguments."""
        parameters = inspect.signature(cls).parameters
        self._known(name, given, tuple(parameters))
        lacking = [n for n, p in parameters.items() if p.default is inspect.Parameter.empty and n not in given]
        if lacking:
            raise OptionError(f"{', '.join(lacking)} is missing", hint=f"{name} takes {', '.join(parameters)}")
        return cls(**given)

    def _at(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives; its OptionErrors say where they come from."""
        try:
            return make()
        except OptionError as e:
            if e.message.startswith(self.where):
                raise
            raise OptionError(f"{self.where}.{name}: {e.message}", hint=e.hint) from e
        except RonnError as e:
            e.add_note(f"from {self.where}.{name}")
            raise

    def _known(self, name: str, given: Any, keys: Any) -> None:
        """OptionError for a key that is none, with the nearest."""
        for key in given if isinstance(given, Mapping) else ():
            if key not in keys:
                near = nearest(key, tuple(keys))
                place = f"{self.where}.{name}" if name else self.where
                hint = f"did you mean {near!r}?" if near else f"known: {', '.join(keys)}"
                raise OptionError(f"{place} has no key {key!r}", hint=hint)

    def _unknown(self, name: str, given: Any, known: Sequence[str]) -> OptionError:
        near = nearest(str(given), known)
        return OptionError(
            f"{self.where}.{name}={given!r} is not known",
            hint=f"did you mean {near!r}?" if near else f"one of {', '.join(known)}",
        )
