"""A cheap model out of an expensive one: its weights rounded to a few bits, tried and calibrated on given inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ronn.errors import InputError, OptionError, RonnError
from ronn.plan.budget import size_text
from ronn.records import dataclass
from ronn_hrm.errors import CalibrationError, DoesNotPayError
from ronn_hrm.requests import Feeds, digest_of

if TYPE_CHECKING:
    from ronn.model import Model, Options, Source
    from ronn.targets import ProviderSpec
    from ronn_hrm.advise import Advice
    from ronn_hrm.guarantee.certificate import Certificate
    from ronn_hrm.session import HRMSession

ROUND_MOST, ROUND_SHARE = 256, 0.2
"""Of the inputs, at most as many, and at most this share, are what the rounding goes by."""
FIT_SHARE = 0.15
"""Of the inputs, for the scorer. The others calibrate."""
_TIMED, _SECONDS = 20, 1.0  # inputs that times are taken on, for so long
_PROVIDERS = ("bitnet", "reference")


@dataclass(frozen=True, slots=True)
class Report:
    """What was made of the expensive model, and what it is worth.

    bits: that were asked for; layers: how many have which, in words (the first and the last keep more, small ones all);
    bytes_before, bytes_after: of all constants. rounded, fitted, calibrated: distinct inputs by what
    they were used for; repeated: inputs that were there before. agreement: 1 - mean loss between the two models on the
    calibration inputs. least: calibration inputs below which nothing can be certified. reason: why nothing was, where
    that is so. notes: of the rounding.
    """

    model: str
    bits: str
    layers: str
    bytes_before: int
    bytes_after: int
    rounded: int
    fitted: int
    calibrated: int
    repeated: int
    agreement: float
    least: int
    certificate: Certificate | None
    advice: Advice
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def pays(self) -> bool:
        return self.advice.pays

    def __str__(self) -> str:
        again = f"; {self.repeated} repeated, used once" if self.repeated else ""
        lines = [
            f"{self.model}, layers {self.layers}: {size_text(self.bytes_before)} -> {size_text(self.bytes_after)}",
            f"inputs: {self.rounded} to round by, {self.fitted} for the scorer, {self.calibrated} to calibrate{again}",
            f"agreement with the expensive model: {self.agreement:.1%} of calibration inputs",
        ]
        found = self.certificate
        if found is not None:
            lines.append(
                f"certified: the cheap model answers {found.share:.1%} of traffic, at most {found.alpha:.2%} of it all "
                f"otherwise than the expensive one (bound {found.bound:.2%}, {found.n} records)"
            )
        elif self.calibrated < self.least:
            lack = int(np.ceil((self.least - self.calibrated) / (1.0 - ROUND_SHARE - FIT_SHARE)))
            lines.append(
                f"nothing is certified: {self.calibrated} calibration inputs are too few, {self.least} are the least; "
                f"give about {lack} more, or a larger alpha"
            )
        else:
            lines.append(f"nothing is certified: {self.reason}")
        return "\n".join([*lines, *self.notes, str(self.advice)])


class Made(NamedTuple):
    """A session, and the report about how it was made."""

    session: HRMSession
    report: Report


def from_model(
    model: Source,
    data: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    *,
    round_on: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    calibrate_on: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    bits: str = "1.58",
    settings: Any = None,
    providers: str | Sequence[ProviderSpec] | None = None,
    options: Options | None = None,
    force: bool = False,
    **more: Any,
) -> Made:
    """Makes the cheap model of ``model`` by rounding its weights (needs the package ronn-provider-bitnet), calibrates,
    and says whether the two pay:

        session, report = from_model("model.onnx", inputs)
        print(report)

    model: the expensive one: a path, bytes, a ``ronn.Model``. data: inputs as traffic will have them, that it was not
    trained on: feeds by name, one mapping a request, or arrays by name with one request a row. They are split by a
    hash of their content, so that no input has two uses. round_on, calibrate_on: in the place of ``data``, where the
    split is yours. bits: of weights; settings: ``ronn_provider_bitnet.quantize.Settings`` in their place. providers,
    options: of the expensive model's session. force: also where it does not pay. more: as for ``HRMSession``.

    Raises DoesNotPayError with the figures, unless ``force``; CalibrationError for inputs that are in both lists, or
    too few for any use; OptionError where the package is not installed, or no layer can be rounded.
    """
    quantiser = _quantiser()
    from ronn.model import Model

    loaded = model if isinstance(model, Model) else Model.load(model, options)
    if (data is None) == (round_on is None and calibrate_on is None):
        raise OptionError("give data, or both round_on and calibrate_on", hint="inputs as traffic will have them")
    given = split(loaded, data) if data is not None else _own_split(loaded, round_on, calibrate_on)
    chosen = quantiser.Settings(bits=bits) if settings is None else settings
    made = quantiser.quantize(loaded, data=_joined(given.rounding, loaded), settings=chosen)

    from ronn_hrm.config import RoutedSession

    full = loaded.create_session(options, providers=providers)
    fast = made.session(providers=list(_PROVIDERS), options=full.options.replace(providers=None))
    try:
        session = RoutedSession((fast, full), fast, full, **more)
    except BaseException:
        fast.close()
        full.close()
        raise
    try:
        report = _tried(session, given, made, str(loaded.ir.source), chosen.bits)
        if not report.pays and not force:
            raise _refusal(report)
    except BaseException:
        session.close()
        raise
    return Made(session, report)


def _tried(session: HRMSession, given: Split, made: Any, name: str, bits: str) -> Report:
    """Calibrates and measures."""
    from ronn_hrm.guarantee.kinds import least_records

    parts, upkeep = session._parts, session._upkeep
    upkeep.take_made_from(given.rounding, "train")
    upkeep.take_made_from(given.fitting, "fit")
    upkeep.take_calibration(given.calibration)
    certificate = session._learner.certify()
    session.drain()
    losses = parts.store.episodes(roles=("calibrate",), answers=False).loss
    return Report(
        model=name, bits=bits, layers=_layers(made.report),
        bytes_before=made.report.bytes_before, bytes_after=made.report.bytes_after,
        rounded=len(given.rounding), fitted=len(given.fitting), calibrated=len(given.calibration),
        repeated=given.repeated, agreement=1.0 - float(np.nanmean(losses)) if len(losses) else float("nan"),
        least=least_records(parts.guarantee), certificate=certificate, reason=session._learner.reason,
        advice=upkeep.advise(given.calibration[:_TIMED], _SECONDS), notes=tuple(made.report.faults),
    )  # fmt: skip


def _layers(rounding: Any) -> str:
    """How many layers have which bits, the fewest first."""
    counts = Counter(row.bits for row in rounding.rows)
    found = [f"{counts[bits]} in {bits} bits" for bits in sorted(counts, key=float)]
    if rounding.skipped:
        found.append(f"{len(rounding.skipped)} as before")
    return ", ".join(found)


def _refusal(report: Report) -> DoesNotPayError:
    error = DoesNotPayError(
        f"a cheap model of {report.model} does not pay:\n{report}",
        hint="force=True makes it all the same; more bits, more inputs or a larger alpha may change the figures",
    )
    error.report = report
    return error


def _quantiser() -> Any:
    try:
        from ronn_provider_bitnet import quantize
    except ImportError as e:
        raise OptionError(
            "from_model rounds weights with the package ronn-provider-bitnet, which is not installed",
            hint='pip install "ronn-hrm[bitnet]"; or give HRMSession a cheap model of your own, EarlyExit an exit',
        ) from e
    return quantize


# --- inputs


class Split(NamedTuple):
    """Distinct inputs by what they are used for, and how many were there more than once."""

    rounding: list[Feeds]
    fitting: list[Feeds]
    calibration: list[Feeds]
    repeated: int


def split(model: Model, data: Any) -> Split:
    """Inputs by what they are used for, decided by a hash of their content. CalibrationError for too few."""
    distinct, repeated = _distinct(requests(model, data))
    if len(distinct) < 10:
        raise CalibrationError(
            f"{len(distinct)} distinct inputs are too few to round by, to fit and to calibrate",
            hint="some hundreds at least: 1 % of risk takes 230 to calibrate alone",
        )
    ordered = [feeds for _, feeds in sorted(distinct.items())]  # by digest: random, and the same each time
    rounding = min(ROUND_MOST, max(1, int(ROUND_SHARE * len(ordered))))
    fitting = rounding + int(FIT_SHARE * len(ordered))
    return Split(ordered[:rounding], ordered[rounding:fitting], ordered[fitting:], repeated)


def _own_split(model: Model, round_on: Any, calibrate_on: Any) -> Split:
    if round_on is None or calibrate_on is None:
        raise OptionError("give both round_on and calibrate_on", hint="or data, which is split")
    first, repeated = _distinct(requests(model, round_on))
    second, more = _distinct(requests(model, calibrate_on))
    both = first.keys() & second.keys()
    if both:
        raise CalibrationError(
            f"{len(both)} of {len(second)} inputs to calibrate on are among those to round by",
            hint="calibrate on inputs that had no part in making the cheap model; `data` is split so",
        )
    if not first or not second:
        raise CalibrationError("there are no inputs to round by, or none to calibrate on")
    ordered = [feeds for _, feeds in sorted(second.items())]
    fitting = int(FIT_SHARE * len(ordered))
    return Split(list(first.values()), ordered[:fitting], ordered[fitting:], repeated + more)


def _distinct(given: Sequence[Feeds]) -> tuple[dict[bytes, Feeds], int]:
    found = {digest_of(feeds, b""): feeds for feeds in given}
    return found, len(given) - len(found)


def requests(model: Model, data: Any) -> list[Feeds]:
    """Inputs as one mapping a request. InputError for what does not fit the model's inputs."""
    from ronn.values import gather_inputs

    names = [v.name for v in model.inputs]
    if isinstance(data, Mapping):
        arrays = {n: np.asarray(v) for n, v in data.items()}
        counts = {n: len(a) if a.ndim else 0 for n, a in arrays.items()}
        if len(set(counts.values())) != 1:
            raise InputError(f"arrays of requests have different numbers of rows: {counts}")
        data = [{n: a[i : i + 1] for n, a in arrays.items()} for i in range(next(iter(counts.values())))]
    elif isinstance(data, np.ndarray):
        if len(names) != 1:
            raise InputError(f"one array was given, and the model takes {', '.join(names)}", hint="arrays by name")
        data = [{names[0]: data[i : i + 1]} for i in range(len(data))]
    found = []
    for number, one in enumerate(data):
        try:
            filled = gather_inputs(one, model.graph.inputs, model.ir.overridable)
        except RonnError as e:
            raise InputError(f"request {number}: {e.message}", hint=e.hint) from e
        found.append({n: np.asarray(v) for n, v in filled.items() if v is not None})
    return found


def _joined(feeds: Sequence[Feeds], model: Model) -> Any:
    """The inputs in batches, where the model takes batches and rows fit together."""
    sizes = {n: {(a.shape[1:], a.dtype) for f in feeds for n2, a in f.items() if n2 == n and a.ndim} for n in feeds[0]}
    free = all(i.shape and not isinstance(i.shape[0], int) for i in model.inputs)
    if not free or any(len(shapes) != 1 for shapes in sizes.values()):
        return list(feeds)
    return {n: np.concatenate([f[n] for f in feeds]) for n in feeds[0]}
