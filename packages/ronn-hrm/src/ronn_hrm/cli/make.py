"""``ronn hrm advise``, ``calibrate`` and ``sleep``: what runs models."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli import EXIT_DIFFERS
from ronn.cli.common import (
    DimOpt,
    JsonOpt,
    OptionOpt,
    ProviderOpt,
    console,
    open_session,
    parse_dims,
    progress,
    write_json,
)
from ronn.errors import OptionError
from ronn_hrm.cli.common import (
    AlphaOpt,
    AuditOpt,
    DeltaOpt,
    EmbedOpt,
    FastArg,
    FolderArg,
    FullArg,
    KindOpt,
    OutputOpt,
    TaskOpt,
    TrafficOpt,
    WholeOpt,
    closing,
    embed_of,
    folder_of,
    opened,
    requests_of,
    task_of,
)

if TYPE_CHECKING:
    from ronn_hrm.guarantee.settings import Guarantee
    from ronn_hrm.session import HRMSession

_TIMED = 50  # requests that times are taken on


def advise(
    fast: FastArg,
    full: FullArg,
    data: TrafficOpt,
    share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Of requests that FAST answers.", show_default="what --data certify at --alpha",
        ),
    ] = None,
    audit: AuditOpt = 0.05,
    alpha: AlphaOpt = 0.01,
    delta: DeltaOpt = 0.1,
    kind: KindOpt = "ucb",
    task: TaskOpt = "classification",
    output: OutputOpt = None,
    embed: EmbedOpt = None,
    whole: WholeOpt = False,
    provider: ProviderOpt = None,
    dim: DimOpt = None,
    option: OptionOpt = None,
    json: JsonOpt = False,
) -> None:  # fmt: skip
    """Say whether FAST in front of FULL pays: times both and what is done between them, in turn, and counts audits.

    It may well say no, and then what would have to change. Nothing is written.

    Examples:

        ronn hrm advise fast.onnx full.onnx --data requests.npz

        ronn hrm advise fast.onnx full.onnx --data requests.npz --share 0.7
    """
    from ronn_hrm.advise import advise as judge
    from ronn_hrm.errors import CalibrationWarning
    from ronn_hrm.guarantee.settings import Guarantee

    models = [open_session(m, provider, "full", None, dim, option) for m in (fast, full)]
    requests = requests_of(data, models[0].inputs, whole, parse_dims(dim))
    made = _session(models, None, task, output, embed, Guarantee(alpha, delta, kind), audit)
    with closing(made) as session, progress("running both models", not json), warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # that nothing is certified is part of the advice
        if share is None:
            session.calibrate(requests, learn=True)
        found = session.advise(requests[:_TIMED])
    if share is not None:
        costs = found.costs
        found = judge(
            costs.fast, costs.router, costs.full, share, audit, runs=costs.runs, certified=True, memory=found.memory
        )
    if json:
        write_json(found.as_data())
    else:
        console().print(str(found), markup=False, soft_wrap=True)


def calibrate(
    fast: FastArg,
    full: FullArg,
    folder: Annotated[
        Path, typer.Argument(help="The folder to make, for Memory(path=...).", show_default=False, metavar="FOLDER")
    ],
    data: TrafficOpt,
    alpha: AlphaOpt = 0.01,
    delta: DeltaOpt = 0.1,
    kind: KindOpt = "ucb",
    task: TaskOpt = "classification",
    output: OutputOpt = None,
    embed: EmbedOpt = None,
    audit: AuditOpt = 0.05,
    whole: WholeOpt = False,
    provider: ProviderOpt = None,
    dim: DimOpt = None,
    option: OptionOpt = None,
    json: JsonOpt = False,
) -> None:
    """Run both models on requests, choose a scorer, certify a threshold, and keep it all in FOLDER for sessions.

    The requests must be drawn as the traffic is, and neither model may have been trained on them. A keyed coin divides
    them: half certify, a tenth judges consolidation, the others teach memory and scorer. A folder that is there already
    is gone on with. Exit code 4 where nothing can be certified.

    Examples:

        ronn hrm calibrate fast.onnx full.onnx state/ --data requests.npz --alpha 0.02
    """
    from ronn_hrm.errors import CalibrationWarning
    from ronn_hrm.guarantee.settings import Guarantee
    from ronn_hrm.report.data import why_not

    models = [open_session(m, provider, "full", None, dim, option) for m in (fast, full)]
    requests = requests_of(data, models[0].inputs, whole, parse_dims(dim))
    made = _session(models, folder, task, output, embed, Guarantee(alpha, delta, kind), audit)
    running = progress(f"running both models on {len(requests)} requests", not json)
    with closing(made) as session, running, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "nothing is certified", CalibrationWarning)  # it is told below
        found = session.calibrate(requests, learn=True)
    with opened(folder) as kept:
        reason = why_not(kept) if found is None else ""
        counts = {role: kept.store.count(role) for role in ("calibrate", "gate", "fit", "train")}
    if json:
        certificate = None if found is None else found.as_data()
        write_json({"folder": str(folder), "records": counts, "reason": reason, "certificate": certificate})
    else:
        out = console()
        out.print(str(found) if found is not None else reason, markup=False, soft_wrap=True)
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        out.print(f"{folder}: {len(requests)} requests ({told})", markup=False, soft_wrap=True)
    if found is None:
        raise typer.Exit(EXIT_DIFFERS)


def sleep(
    folder: FolderArg,
    fast: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The cheap model.", show_default="as the folder says")
    ] = None,
    full: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The expensive model.", show_default="as the folder says")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.001, help="After which nothing more is tried.", show_default="none"),
    ] = None,
    strategy: Annotated[
        str, typer.Option(metavar="KIND", help="auto, memory, adapter or student.")
    ] = "auto",
    provider: ProviderOpt = None,
    dim: DimOpt = None,
    option: OptionOpt = None,
    json: JsonOpt = False,
) -> None:  # fmt: skip
    """Teach the cheap model from what the expensive one said (replay), and take the result into service if held-out
    records say that it is better.

    No session may have the folder open; one that runs has `session.sleep()`. Exit code 0 whether the new state is
    promoted or not; the report says why.

    Examples:

        ronn hrm sleep state/ --budget 60
    """
    made = _session_of(folder_of(folder), fast, full, provider, dim, option)
    with closing(made) as session, progress("consolidating", not json):
        found = session.consolidate(budget_s=budget, strategy=strategy)
    if json:
        write_json(found.as_data())
    else:
        console().print(str(found), markup=False, soft_wrap=True)


def _session(
    models: list[Any], folder: Path | None, task: str, output: str | None, embed: str | None, guarantee: Guarantee,
    audit: float,
) -> HRMSession:  # fmt: skip
    """The session of the options; in memory alone where there is no folder."""
    from ronn_hrm.drift.settings import Audit
    from ronn_hrm.memory.settings import Memory
    from ronn_hrm.session import HRMSession

    return HRMSession(
        models[0], models[1], task=task_of(task, output), embed=embed_of(embed, models[0]), guarantee=guarantee,
        audit=Audit(audit, max_rate=max(audit, Audit().max_rate)), memory=Memory(path=folder),
    )  # fmt: skip


def _session_of(
    folder: Path, fast: Path | None, full: Path | None, provider: list[str] | None, dim: list[str] | None,
    option: list[str] | None,
) -> HRMSession:  # fmt: skip
    """The session that a folder is of, made anew. OptionError where the folder does not say how, or is of other models:
    opening it with those would void what it holds."""
    from ronn_hrm.fingerprint import fingerprint
    from ronn_hrm.kept import session_settings
    from ronn_hrm.memory.settings import Memory
    from ronn_hrm.session import HRMSession

    with opened(folder) as kept:
        settings, known = session_settings(kept), kept.store.get("fingerprints", {})
        paths = [
            kept.settings.get(name) if given is None else given for name, given in (("fast", fast), ("full", full))
        ]
    models = []
    for name, path in zip(("fast", "full"), paths, strict=True):
        if path is None or not Path(path).is_file():
            raise OptionError(f"the {name} model of {folder} is not known", hint=f"--{name} FILE")
        models.append(open_session(Path(path), provider, "full", None, dim, option))
        if name in known and fingerprint(models[-1]) != known[name]:
            raise OptionError(
                f"{path} is not the {name} model that {folder} is of, or has other providers or options",
                hint="give the model, the providers and the options that it was made with",
            )
    return HRMSession(*models, memory=Memory(path=folder), **settings)
