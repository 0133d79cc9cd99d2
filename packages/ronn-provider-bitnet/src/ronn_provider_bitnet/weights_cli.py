"""``ronn put-weights``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ronn.cli.common import JsonOpt, ModelArg, add, console, size_text, table, write_json
from ronn.errors import OptionError

if TYPE_CHECKING:
    from ronn_provider_bitnet.formats.ggml import I2sOrder
    from ronn_provider_bitnet.formats.graphs import Form
    from ronn_provider_bitnet.formats.huggingface import LinearClass
    from ronn_provider_bitnet.formats.ternary import Ternary


def put_weights(
    model: ModelArg,
    weights: Annotated[
        Path, typer.Option("--weights", "-w", metavar="CHECKPOINT", help="A .safetensors, its folder, or a .gguf.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the model.")],
    form: Annotated[str, typer.Option(metavar="int2|trits", help="trits: the smallest, for provider bitnet.")] = "int2",
    linear_class: Annotated[
        str | None,
        typer.Option(metavar="bitlinear|autobitlinear", help="Which way scales go.", show_default="config.json"),
    ] = None,
    order: Annotated[str, typer.Option(metavar="128|64|rows", help="Of the codes of I2_S tensors.")] = "128",
    name: Annotated[
        list[str] | None, typer.Option(metavar="NODE=LAYER", help="The layer of a node; may be repeated.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Leave layers out that the model does not have.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite what is there.")] = False,
    json: JsonOpt = False,
) -> None:
    """Put the ternary weights of a BitNet checkpoint into an exported MODEL's MatMuls and Gemms, by their names.

    Example:

        ronn put-weights model.onnx --weights checkpoint/ -o ternary.onnx
    """
    import onnx

    from ronn_provider_bitnet.formats import graphs

    if output.exists() and not overwrite:
        raise OptionError(f"{output} is there already", hint="--overwrite, or another name")
    pairs = [n.partition("=") for n in name or ()]
    if any(not separator for _, separator, _ in pairs):
        raise OptionError("--name takes NODE=LAYER", hint="for instance --name MatMul_3=model.layers.0.mlp.up_proj")
    layers = _read(weights, linear_class, order)
    names = {node: layer for node, _, layer in pairs}
    made = graphs.put_weights(model, layers, names=names, form=cast("Form", form), partial=partial)
    onnx.save(made, output)
    sizes = {"model": model.stat().st_size, "output": output.stat().st_size}
    if json:
        write_json({"layers": {n: list(t.shape) for n, t in layers.items()}, "bytes": sizes})
        return
    shown = table("Layers of the checkpoint", "layer", "N x K", "scales", "activations")
    for key, t in layers.items():
        scales = f"by {t.group}" if t.group else "one" if t.scale.size == 1 else "by row"
        add(shown, key, f"{t.shape[0]} x {t.shape[1]}", scales, "8 bits" if t.activations else "as they are")
    console().print(shown)
    before, after = (size_text(size) for size in sizes.values())
    console().print(f"wrote {output}: {before} -> {after}", markup=False, soft_wrap=True)


def _read(path: Path, linear_class: str | None, order: str) -> dict[str, Ternary]:
    from ronn_provider_bitnet.formats import read, read_gguf, read_safetensors

    if path.suffix == ".gguf":
        return read_gguf(path, order=cast("I2sOrder", order))
    if linear_class is not None:
        return read_safetensors(path, linear_class=cast("LinearClass", linear_class))
    return read(path)
