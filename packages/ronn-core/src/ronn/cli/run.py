"""``ronn run``: runs a model once (or repeatedly) and shows what came out, how long it took, and where it ran."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli.common import (
    DimOpt,
    DisableOpt,
    FileOpt,
    JsonOpt,
    ModelArg,
    OptionOpt,
    ProviderOpt,
    add,
    console,
    open_routed,
    parse_dims,
    session_options,
    table,
    write_json,
)
from ronn.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

TOP = 5
SMALLEST_CLASSIFIER = 10  # classes; below that all values are shown by min and max alone


def run(
    model: ModelArg,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="NAME=FILE",
            help="An input: .npy, .npz, .pb, .json or a picture. The name may be left out for a one-input model.",
        ),
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="Make up the inputs that are not given (done, and said, when none is).")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of made-up inputs.")] = 0,
    dim: DimOpt = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="The shape of a made-up input.", metavar="NAME=1,3,224,224")
    ] = None,
    normalize: Annotated[
        str, typer.Option(help="How a picture becomes floats: unit (0..1), signed (-1..1), imagenet or raw (0..255).")
    ] = "unit",
    provider: ProviderOpt = None,
    optimization: Annotated[
        str | None,
        typer.Option(
            "--optimization", "-O", help="The list of passes: none, basic or full.", metavar="LEVEL",
            show_default="full",
        ),
    ] = None,
    disable_pass: DisableOpt = None,
    option: OptionOpt = None,
    options: FileOpt = None,
    sha256: Annotated[
        str | None, typer.Option(help="The hash that the model file must have.", metavar="HEX", show_default=False)
    ] = None,
    trace: Annotated[
        list[str] | None,
        typer.Option(
            "--trace", "-t", metavar="NAME",
            help="A value inside of the model to show and save too; * and ? stand for any signs. May be repeated.",
        ),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", "-n", min=1, help="How often to run; the median is shown.")] = 1,
    save: Annotated[Path | None, typer.Option("--save", "-o", help="Write all outputs into one .npz file.")] = None,
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Write each output as .npy.")] = None,
    json: JsonOpt = False,
) -> None:
    """Run MODEL: inputs from files or made up; prints outputs, time, and where the nodes ran.

    Examples:

        ronn run model.onnx

        ronn run resnet.onnx -i photo.jpg --normalize imagenet

        ronn run model.onnx -i ids=ids.npy --random --dim sequence=64 --provider cpu --repeat 20
    """
    from ronn.cli.inputs import parse_shapes, random_inputs, read_inputs

    started = time.perf_counter()
    chosen = session_options(optimization, disable_pass, dim, option, options)
    if trace and chosen.router is not None:
        raise OptionError(
            "--trace looks into one model, and the options name a router", hint="leave one of the two out"
        )
    session = open_routed(model, provider, chosen, sha256)
    loaded = time.perf_counter() - started
    given = read_inputs(input or (), session.inputs, normalize)
    missing = [i for i in session.inputs if i.name not in given]
    if missing and given and not random:
        raise OptionError(
            f"inputs are missing: {', '.join(i.name for i in missing)}", hint="give them, or add --random"
        )
    made_up = random_inputs(missing, parse_dims(dim), parse_shapes(shape, session.inputs), seed) if missing else {}
    feed = {i.name: {**given, **made_up}[i.name] for i in session.inputs} | given
    times = []
    outputs = None
    for _ in range(repeat + (repeat > 1)):
        started = time.perf_counter()
        outputs = session.run(feed, trace=trace) if trace else session.run(feed)
        times.append((time.perf_counter() - started) * 1e3)
    assert outputs is not None
    results = dict(outputs.items())
    saved = write_outputs(results, save, output_dir)
    report = Report(model, session, feed, set(made_up), results, loaded * 1e3, times, saved, seed)
    if json:
        write_json(report.as_data())
    else:
        report.show()


class Report:
    """What is told about a run. Times in milliseconds."""

    def __init__(
        self,
        model: Path,
        session: Any,
        feed: Mapping[str, Any],
        made_up: set[str],
        outputs: Mapping[str, Any],
        load_ms: float,
        times_ms: list[float],
        saved: list[str],
        seed: int,
    ) -> None:
        self.model, self.session, self.feed, self.made_up, self.outputs = model, session, feed, made_up, outputs
        self.load_ms, self.times_ms, self.saved, self.seed = load_ms, times_ms, saved, seed

    @property
    def again_ms(self) -> float | None:
        """The median of the runs behind the first, which also compiled the plan."""
        later = sorted(self.times_ms[1:])
        return later[len(later) // 2] if later else None

    @property
    def router(self) -> str | None:
        """What answered in a session's place, where something did."""
        from ronn.session import Session

        return None if isinstance(self.session, Session) else repr(self.session)

    def as_data(self) -> dict[str, Any]:
        return {
            "model": str(self.model),
            "inputs": {k: {**describe(v), "made_up": k in self.made_up} for k, v in self.feed.items()},
            "outputs": {k: {**describe(v), "top": top_classes(v)} for k, v in self.outputs.items()},
            "load_ms": self.load_ms,
            "first_run_ms": self.times_ms[0],
            "run_ms": self.again_ms,
            "placement": {} if self.router else self.session.placement().counts(),
            "router": self.router,
            "files": self.saved,
        }

    def show(self) -> None:
        out = console()
        inputs = table("Inputs", "name", "type", "mean", "range", "from", right=("mean",))
        for name, value in self.feed.items():
            origin = f"made up (seed {self.seed})" if name in self.made_up else "given"
            add(inputs, name, *cells(value), origin)
        out.print(inputs)
        outputs = table("Outputs", "name", "type", "mean", "range", right=("mean",))
        for name, value in self.outputs.items():
            add(outputs, name, *cells(value))
        out.print(outputs)
        for name, value in self.outputs.items():
            for row, classes in enumerate(top_classes(value)):
                found = ", ".join(f"{i}: {score:.4g}" for i, score in classes)
                out.print(f"top {len(classes)} of {name}[{row}]: {found}", markup=False)
        again = "" if self.again_ms is None else f", then {self.again_ms:.2f} ms (median of {len(self.times_ms) - 1})"
        compiles = 0 if self.router else self.session.stats().compiles
        kept = f" ({compiles} kernel modules were compiled, and are kept)" if compiles else ""
        out.print(f"time: load {self.load_ms:.1f} ms, first run {self.times_ms[0]:.2f} ms{kept}{again}")
        if self.router:
            out.print(f"answered by: {self.router}", markup=False)
        else:
            counts = self.session.placement().counts()
            out.print("ran on: " + ", ".join(f"{provider} {n} nodes" for provider, n in counts.items()))
        if self.made_up:
            out.print("The inputs were made up: give real ones with --input.", style="yellow")
        for file in self.saved:
            out.print(f"wrote {file}", soft_wrap=True, markup=False)


def describe(value: Any) -> dict[str, Any]:
    """Shape, dtype and spread of a value, for JSON."""
    import numpy as np

    if isinstance(value, list):
        return {"kind": "sequence", "length": len(value)}
    if not isinstance(value, np.ndarray):
        return {"kind": type(value).__name__, "value": str(value)}
    data: dict[str, Any] = {"kind": "tensor", "dtype": str(value.dtype), "shape": list(value.shape)}
    return {**data, **spread(value)}


def spread(array: np.ndarray) -> dict[str, float]:
    """min, mean, max of a numeric array, and how many elements are not finite; empty for others."""
    import numpy as np

    if array.size == 0 or array.dtype.kind in "OSUTc":
        return {}
    wide = array.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    if not finite.size:
        return {"not_finite": int(wide.size)}
    out = {"min": float(finite.min()), "mean": float(finite.mean()), "max": float(finite.max())}
    return out if finite.size == wide.size else {**out, "not_finite": int(wide.size - finite.size)}


def cells(value: Any) -> tuple[str, str, str]:
    """Type, mean and range of a value for the tables; short values are shown whole."""
    import numpy as np

    if isinstance(value, list):
        return f"sequence of {len(value)}", "", ", ".join(cells(v)[0] for v in value[:3])
    if not isinstance(value, np.ndarray):
        return type(value).__name__, "", str(value)[:80]
    type_text = f"{value.dtype}{list(value.shape)}" if value.dtype != object else f"string{list(value.shape)}"
    found = spread(value)
    if "min" not in found:
        return type_text, "", str(value.reshape(-1)[:3].tolist())[:80] if value.size else "empty"
    if value.size <= 4:
        return type_text, f"{found['mean']:.4g}", ", ".join(f"{v:.5g}" for v in value.reshape(-1).astype(np.float64))
    bad = f", {found['not_finite']} not finite" if "not_finite" in found else ""
    return type_text, f"{found['mean']:.4g}", f"{found['min']:.4g} .. {found['max']:.4g}{bad}"


def top_classes(value: Any) -> list[list[tuple[int, float]]]:
    """The best classes of each row (four at most) when ``value`` looks like class scores: float (rows, classes), also
    with further dims of 1."""
    import numpy as np

    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.ndim:
        return []
    shape = value.shape if value.ndim > 1 else (1, *value.shape)
    if any(d != 1 for d in shape[2:]):
        return []
    rows = value.reshape(shape[:2])
    if rows.shape[1] < SMALLEST_CLASSIFIER or rows.shape[0] == 0 or not np.isfinite(rows).all():
        return []
    best = np.argsort(-rows[:4], axis=1, kind="stable")[:, :TOP]
    return [[(int(i), float(row[i])) for i in order] for row, order in zip(rows, best, strict=False)]


def write_outputs(outputs: Mapping[str, Any], save: Path | None, folder: Path | None) -> list[str]:
    """Writes the tensors among the outputs; the names of the files written."""
    import re

    import numpy as np

    arrays = {k: v.astype("U") if v.dtype == object else v for k, v in outputs.items() if isinstance(v, np.ndarray)}
    written = []
    if save is not None:
        path = save if save.suffix == ".npz" else save.with_name(save.name + ".npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        written.append(str(path))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            path = folder / (re.sub(r"[^\w.-]", "_", name) + ".npy")
            np.save(path, array)
            written.append(str(path))
    return written
