"""What the commands share that write models: where to, whether that may be, and the check of what was written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli.common import add, console, size_text, table
from ronn.errors import OptionError

if TYPE_CHECKING:
    from rich.table import Table

    from ronn.ir.graph import IRModel
    from ronn.tools.verify import Row

OutputOpt = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write the model.")]
ForceOpt = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what is there.")]
ExternalOpt = Annotated[
    bool | None,
    typer.Option(
        "--external/--no-external", show_default="when they are larger than 2 GiB",
        help="Keep constants in FILE.data beside the model.",
    ),
]  # fmt: skip
VerifyOpt = Annotated[
    bool, typer.Option("--verify/--no-verify", help="Run the model before and after, and compare the outputs.")
]


def target(model: Path, output: Path | None, word: str, force: bool) -> Path:
    """Where the model goes: ``output``, else ``MODEL.word.onnx`` beside it. OptionError when that is there already."""
    path = model.with_name(f"{model.stem}.{word}.onnx") if output is None else output
    for there in (path, path.with_name(path.name + ".data")):
        if there.exists() and os.path.realpath(there) == os.path.realpath(model):
            raise OptionError(f"{there} is the model that is read", hint="write to another file: -o FILE")
        if there.exists() and not force:
            raise OptionError(f"{there} is there already", hint="--force overwrites it; -o FILE writes to another one")
    if not path.parent.is_dir():
        raise OptionError(f"there is no folder {str(path.parent)!r}")
    return path


def write(model: IRModel, path: Path, external: bool | None) -> list[Path]:
    """Writes the model, and has onnx check it. Gives the files that it consists of."""
    import onnx

    from ronn.errors import ModelError
    from ronn.frontend.proto import save_model

    save_model(model, path, external=external)
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as e:
        if not _is_newer(model):
            raise ModelError(f"{path}: was written, and onnx's checker refuses it: {e}") from e
    data = path.with_name(path.name + ".data")
    return [path, data] if external is not False and data.exists() else [path]


def _is_newer(model: IRModel) -> bool:
    """Whether the model is of an opset that onnx's checker cannot know."""
    from ronn.frontend.check import is_newer

    return any(is_newer(n) for n in model.graph.all_nodes())


def sizes(files: list[Path]) -> str:
    return size_text(sum(f.stat().st_size for f in files))


def difference_table(rows: list[Row]) -> Table:
    """The error of every output."""
    columns = ("inputs", "output", "largest error", "of largest value", "cosine", "verdict")
    shown = table("before against after", *columns, right=columns[2:5])
    for row in rows:
        d = row.difference
        relative = d.max_abs / d.scale if d.scale else d.max_abs
        cosine = "" if d.cosine is None else f"{d.cosine:.7f}"
        add(
            shown,
            row.sample,
            row.output,
            f"{d.max_abs:.3g}",
            f"{relative:.3g}",
            cosine,
            "equal" if d.equal else d.reason,
        )
    return shown


def rows_as_data(rows: list[Row]) -> list[dict[str, Any]]:
    return [
        {
            "inputs": r.sample, "output": r.output, "equal": r.difference.equal, "reason": r.difference.reason,
            "max_abs": r.difference.max_abs, "max_rel": r.difference.max_rel, "cosine": r.difference.cosine,
        }
        for r in rows
    ]  # fmt: skip


def tell(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)


def check_unwritten(model: Path, output: Path | None, overwrite: bool) -> None:
    """OptionError where ``output`` (None: nothing is written) is the model itself, is there already and not to be
    overwritten, or has no folder to lie in."""
    if output is None:
        return
    if output.exists() and output.resolve() == model.resolve():
        raise OptionError(f"{output} is the model that is read", hint="write to another file: -o FILE")
    if output.exists() and not overwrite:
        raise OptionError(f"{output} is there already", hint="--overwrite, or another name")
    if not output.parent.is_dir():
        raise OptionError(f"there is no folder {str(output.parent)!r}")
