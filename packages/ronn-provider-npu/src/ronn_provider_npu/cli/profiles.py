"""``ronn npu profiles`` and ``profile``: what accelerators can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ronn.cli.common import JsonOpt, add, console, table, write_json

if TYPE_CHECKING:
    from ronn_provider_npu.profiles import DeviceProfile

NameArg = Annotated[
    str,
    typer.Argument(help="A profile that is shipped, or the path of a TOML file.", metavar="NAME", show_default=False),
]


def profiles(json: JsonOpt = False) -> None:
    """List the profiles of accelerators that are shipped. Their figures are assumptions, with sources in the files.

    Examples:

        ronn npu profiles

        ronn npu profiles --json
    """
    from ronn_provider_npu.profiles import DeviceProfile, shipped_names
    from ronn_provider_npu.profiles.text import binary, large, small

    found = [DeviceProfile.shipped(name) for name in shipped_names()]
    if json:
        write_json([data_of(p) for p in found])
        return
    out = console()
    shown = table("Profiles", "name", "matrix unit", "products", "on the chip", "memory", "power", "description")
    for p in found:
        unit = f"{p.matrix.rows} x {p.matrix.columns}" if p.has_matrix_unit else "none"
        dtype, rate = max(p.products.pairs, key=lambda pair: pair[1])
        peak = f"{large(rate, 'op/s')} of {'any dtype' if dtype == '*' else dtype}"
        add(
            shown, p.name, unit, peak, binary(p.memory.on_chip), large(p.memory.bandwidth, "B/s"),
            small(p.power.tdp_w, "W"), p.description,
        )  # fmt: skip
    out.print(shown)


def profile(
    name: NameArg,
    toml: Annotated[bool, typer.Option("--toml", help="Write the file itself, to start one of your own.")] = False,
    json: JsonOpt = False,
) -> None:
    """Show what an accelerator can do, in words.

    Examples:

        ronn npu profile edge-npu-8tops

        ronn npu profile edge-npu-8tops --toml > my-npu.toml

        ronn npu profile my-npu.toml --json
    """
    from ronn_provider_npu.profiles import DeviceProfile
    from ronn_provider_npu.profiles.profile import toml_of

    found = DeviceProfile.of(name)
    if json:
        write_json(data_of(found))
    else:
        typer.echo(toml_of(found).rstrip("\n") if toml else str(found))


def data_of(profile: DeviceProfile) -> dict[str, Any]:
    """A profile as plain data."""
    from dataclasses import fields

    from ronn_provider_npu.profiles.reading import SECTIONS

    data: dict[str, Any] = {}
    for f in fields(profile):
        value = getattr(profile, f.name)
        if f.name in SECTIONS:
            data[f.name] = {key: _plain(getattr(value, key)) for key in SECTIONS[f.name][1]}
        else:
            data[f.name] = value
    return {**data, "int8_only": profile.int8_only, "kernel_bytes": profile.kernel_bytes}


def _plain(value: Any) -> Any:
    from ronn_provider_npu.profiles import Rates

    if isinstance(value, Rates):
        return dict(value.pairs)
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return {key: list(names) for key, names in value}
    return list(value) if isinstance(value, tuple) else value
