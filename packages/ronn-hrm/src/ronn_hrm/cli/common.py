"""What the commands share: models, inputs, settings, folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.errors import OptionError

if TYPE_CHECKING:
    from ronn_hrm.kept import Kept
    from ronn_hrm.session import HRMSession
    from ronn_hrm.task import Task

FastArg = Annotated[Path, typer.Argument(help="The cheap model.", show_default=False, metavar="FAST")]
FullArg = Annotated[Path, typer.Argument(help="The expensive model.", show_default=False, metavar="FULL")]
FolderArg = Annotated[
    Path,
    typer.Argument(help="The folder of Memory(path=...), or its memory.sqlite.", show_default=False, metavar="FOLDER"),
]
TrafficOpt = Annotated[
    list[str],
    typer.Option(
        "--data", metavar="WHAT",
        help="Requests: a file or folder of .npz, .npy, .pb, .json or pictures, NAME=FILE, random:5; repeatable.",
    ),
]  # fmt: skip
WholeOpt = Annotated[
    bool, typer.Option("--whole", help="A file is one request; without, each row of its arrays (first axis) is one.")
]
TaskOpt = Annotated[
    str,
    typer.Option(
        metavar="KIND", help="What an answer is: classification, probabilities, token-labels, or regression=TOLERANCE."
    ),
]
OutputOpt = Annotated[
    str | None, typer.Option("--output", metavar="NAME", help="The output that answers.", show_default="the first")
]
EmbedOpt = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A tensor of FAST, or an input, by which memory finds similar requests."),
]
AlphaOpt = Annotated[float, typer.Option(min=0, max=1, help="The share of requests that may get another answer.")]
DeltaOpt = Annotated[float, typer.Option(min=0, max=1, help="How often a certificate may be wrong.")]
KindOpt = Annotated[str, typer.Option("--kind", metavar="ucb|crc|selective|anytime", help="Of the guarantee.")]
AuditOpt = Annotated[float, typer.Option("--audit", min=0, max=1, help="The share of requests that is checked.")]


def task_of(text: str, output: str | None) -> Task:
    """The task of ``--task`` and ``--output``."""
    from ronn_hrm.task import Classification, Regression, TokenLabels

    kind, _, value = text.partition("=")
    if kind == "regression":
        try:
            return Regression(float(value), output)
        except ValueError:
            raise OptionError(f"--task {text!r} has no tolerance", hint="for instance --task regression=0.1") from None
    if value:
        raise OptionError(f"--task {kind!r} takes no value, given {value!r}")
    if kind in ("classification", "probabilities"):
        return Classification(output, probabilities=kind == "probabilities")
    if kind == "token-labels":
        return TokenLabels(output)
    raise OptionError(
        f"there is no task {kind!r}", hint="classification, probabilities, token-labels or regression=TOLERANCE"
    )


def embed_of(name: str | None, fast: Any) -> Any:
    """What ``--embed`` names: an input of the cheap model as it is, or a tensor in it."""
    from ronn_hrm.embed import FromInput, FromOutput

    if name is None:
        return None
    return FromInput(name) if any(i.name == name for i in fast.inputs) else FromOutput(name)


def requests_of(data: Sequence[str], inputs: Any, whole: bool, dims: Mapping[str, int]) -> list[dict[str, Any]]:
    """The requests in ``data``: feeds by name, in order."""
    import numpy as np

    from ronn.numerics.samples import Reading, read_samples

    found: list[dict[str, Any]] = []
    for sample in read_samples(list(data), inputs, Reading(dict(dims))):
        feed = {name: np.asarray(value) for name, value in sample.feed.items()}
        rows = {a.shape[0] if a.ndim else 0 for a in feed.values()}
        if whole or len(rows) != 1 or rows == {0}:
            found.append(feed)
        else:
            found += [{name: a[i : i + 1] for name, a in feed.items()} for i in range(rows.pop())]
    return found


def folder_of(given: Path) -> Path:
    """The folder that is meant; its database stands for it."""
    return given.parent if given.is_file() else given


@contextmanager
def opened(given: Path) -> Iterator[Kept]:
    """The memory in a folder, to be looked at."""
    from ronn_hrm.kept import Kept

    with Kept(folder_of(given)) as kept:
        yield kept


@contextmanager
def closing(session: HRMSession) -> Iterator[HRMSession]:
    """A session that is closed, and with it both models."""
    try:
        yield session
    finally:
        session.close()


def check_new(path: Path, overwrite: bool = False) -> None:
    """OptionError where a file that is to be written is there already, or its folder is not."""
    if path.exists() and not overwrite:
        raise OptionError(f"{path} is there already", hint="--overwrite, or another name")
    if not path.parent.is_dir():
        raise OptionError(f"there is no folder {str(path.parent)!r}")
