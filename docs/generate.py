"""Writes the pages that say what the code says: `python docs/generate.py`; `--check` fails when one is stale."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ronn_codegen.table import Table

DOCS = Path(__file__).parent
WIDTH = 118  # characters of a line of output
MARK = "<!-- Written by docs/generate.py: do not edit. -->\n\n"
UNFIT = {  # examples of commands that docs/blocks.py does not run
    "ronn warmup": "compiles for half a minute",
    "ronn cache verify --json": "fails where a developer's cache holds a damaged file",
}
NOT_RUN = "<!-- not run: a signature -->"
CPU_INDEX = "../packages/ronn-provider-cpu/src/ronn_provider_cpu/index.py"
SHARED_INDEX = "../packages/ronn-codegen/src/ronn_codegen/index.py"
CLIKE_INDEX = "../packages/ronn-codegen/src/ronn_codegen/clike/index.py"
RULES_INDEX = "../packages/ronn-core/src/ronn/ops/rules_index.py"


def knobs_page() -> str:
    from ronn import knobs

    lines = [
        "# Settings of the environment",
        "",
        "Every variable that RONN reads. Values are read at each use; a value that a setting cannot have is an `OptionError`.",
        "`ronn doctor` shows what is set, and `RONN_` variables that nothing reads.",
    ]
    for knob in knobs.all_knobs():
        kind = {bool: "1 or 0", int: "whole number", str: "text"}[type(knob.default)]
        plain = int(knob.default) if isinstance(knob.default, bool) else knob.default
        default = "empty" if plain == "" else str(plain)
        lines += ["", f"## {knob.name}", "", f"{knob.help}", "", f"Type: {kind}. Default: {default}."]
    return "\n".join(lines)


def passes_page() -> str:
    from ronn.cli.passes import pass_rows
    from ronn.passes.pipelines import names

    lines = [
        "# Passes",
        "",
        f"In the order in which they first run. Levels: {', '.join(names())} (`SessionOptions(optimization=...)`). *Portable*",
        "passes run once a model, *specialised* ones once for each set of input sizes. Every pass that is not *required* can",
        "be left out by name: `SessionOptions(disabled_passes=[...])`, `ronn run --disable-pass NAME`. Passes of providers and",
        "plugins come on top.",
    ]
    for row in pass_rows():
        where = "; ".join(f"{level}: {', '.join(stages)}" for level, stages in row["runs"].items())
        required = " Required." if row["required"] else ""
        summary = "\n".join(f"- {_plain(part)}" for part in row["summary"].split("; "))
        lines += ["", f"## {row['name']}", "", f"Runs at {where}.{required}", "", summary]
    return "\n".join(lines)


def hooks_page() -> str:
    from ronn import hookspecs

    lines = [
        "# Hooks",
        "",
        "A plugin is a module or object with functions marked `@ronn.hookimpl`, named by an entry point of group `ronn`. (A",
        "provider alone needs no hook: the entry point may name its class.) Hooks are called at discovery, load and compile",
        "time, never while a model runs.",
    ]
    for name, spec in {**hook_specs(), **routing_hooks()}.items():
        if name == next(iter(routing_hooks())):
            lines += ["", "## Hooks of ronn-hrm", "", ROUTING_HOOKS]
        arguments = ", ".join(f"{p.name}: {p.annotation}" for p in inspect.signature(spec).parameters.values())
        returns = inspect.signature(spec).return_annotation
        lines += [
            "",
            f"## {name}",
            "",
            NOT_RUN,
            "```python",
            f"def {name}({arguments}) -> {returns}",
            "```",
            "",
            _doc(spec),
        ]
        if {**getattr(spec, "ronn_spec", {}), **getattr(spec, "ronn_hrm_spec", {})}.get("firstresult"):
            lines.append("The first plugin that returns something decides.")
    assert hookspecs.__doc__
    return "\n".join(lines)


ROUTING_HOOKS = """\
They replace parts of the routing. A plugin has functions marked `@ronn_hrm.hookimpl` and is named by an entry
point of group `ronn_hrm`. They are called while a session is put together, never while a request is answered."""


def routing_hooks() -> dict[str, Callable[..., Any]]:
    """Those of ronn-hrm, in the order of their file."""
    from ronn_hrm import hookspecs

    return hookspecs.specs()


def hook_specs() -> dict[str, Callable[..., Any]]:
    """The hooks by name, in the order of their file."""
    from ronn import hookspecs

    return {name: f for name, f in vars(hookspecs).items() if name.startswith("ronn_") and callable(f)}


def operators_page() -> str:
    from ronn.plugins import registry
    from ronn.provider import KernelProvider

    provider = registry().get("cpu").provider
    assert isinstance(provider, KernelProvider)
    kernels: dict[str, dict[str, list[Any]]] = {}
    for kernel in provider.kernel_set:
        kernels.setdefault(kernel.domain, {}).setdefault(kernel.op, []).append(kernel)
    lines = [
        "# Operators of the cpu provider",
        "",
        "Each line is a kernel: the versions of the operator that it takes, and dtypes where it is bound to some (by type",
        "variable of the operator's schema; plain names are those of the first input). Operators that are not here run on the",
        "`reference` provider where it is listed, and composite ones are expanded into operators that are.",
    ]
    for domain in sorted(kernels):
        lines += [
            "",
            f"## {domain or 'ai.onnx'}",
            "",
            "| operator | versions | dtypes | note |",
            "| --- | --- | --- | --- |",
        ]
        for op in sorted(kernels[domain]):
            for kernel in sorted(kernels[domain][op], key=lambda k: (k.since, k.until or 0)):
                until = "" if kernel.until is None else kernel.until
                versions = f"{kernel.since}+" if kernel.until is None else f"{kernel.since}-{until}"
                dtypes = "; ".join(
                    f"{variable}: {', '.join(sorted(allowed))}" if variable else ", ".join(sorted(allowed))
                    for variable, allowed in kernel.dtypes.items()
                )
                lines.append(f"| {op} | {versions} | {dtypes or 'any'} | {_plain(kernel.note)} |")
    return "\n".join(lines)


def options_page() -> str:
    from dataclasses import MISSING, fields

    from ronn.options import SessionOptions

    texts = _described(SessionOptions)
    lines = [
        "# Options of a session",
        "",
        "<!-- given: small_model -->",
        "```python",
        "import ronn",
        "",
        'session = ronn.Session("model.onnx", options={"threads": 2, "memory_limit": "512MB"})',
        "",
        'options = ronn.SessionOptions.builder().provider("cpu").threads(2).memory_limit("512MB").build()',
        'session = ronn.Session("model.onnx", options=options)',
        "print(options)",
        "print(options.replace(threads=1))",
        "```",
        "",
        '```text title="Output"',
        "SessionOptions(providers=('cpu',), threads=2, memory_limit=512000000)",
        "SessionOptions(providers=('cpu',), threads=1, memory_limit=512000000)",
        "```",
        "",
        "A mapping, `SessionOptions(...)` and the builder do the same. The builder has a method for each option, and editors and",
        "type checkers know them, their arguments, and the fields of `replace`; `provider(name, **options)`, `disable_pass(*names)`",
        "and `dimension(name, size)` add to what is there. What `build()` gives is frozen, can be compared, hashed, pickled and",
        "used for any number of sessions, and for `ronn.load`. An unknown option, provider option or dim is an `OptionError` with",
        "the nearest name, and so is a value of the wrong kind ([errors](errors.md)). On the command line: `--option NAME=VALUE`.",
        "",
        "Options may also stand in a TOML file. Its path does wherever options are taken, and `SessionOptions.from_file(path)`",
        "reads it; `ronn run --options deploy.toml` does too. Files that a router's table names are relative to it.",
        "",
        '```toml title="deploy.toml"',
        "threads = 2",
        'memory_limit = "512MB"',
        'providers = ["cpu", ["reference", {}]]',
        "```",
        "",
        "```python",
        'session = ronn.Session("model.onnx", options="deploy.toml")',
        "print(session.options)",
        "```",
        "",
        '```text title="Output"',
        "SessionOptions(providers=('cpu', 'reference'), threads=2, memory_limit=512000000)",
        "```",
        "",
        "The argument `providers=` of `Session` goes before the option. Of the providers listed, the first one that takes a node",
        "gets it; nothing else is used. One that is not installed, or has no device that can be used, is left out with a",
        "`ProviderWarning`, once, as long as another one is listed behind or before it; alone, it is a `ProviderError`.",
        "",
        "| option | type | default |",
        "| --- | --- | --- |",
    ]
    described = []
    for f in fields(SessionOptions):
        default = f.default if f.default is not MISSING else f.default_factory()  # type: ignore[misc]
        shown = "none" if default in (frozenset(), {}) else str(default)
        kind = str(f.type).replace("|", "\\|")
        lines.append(f"| [`{f.name}`](#{f.name}) | `{kind}` | {shown} |")
        described += ["", f"## {f.name}", "", texts[f.name]]
    return "\n".join([*lines, "", texts[""], *described])


def _described(cls: type) -> dict[str, str]:
    """The paragraphs of a docstring's list ``name: text``; under the empty name what stands behind the list."""
    found: dict[str, list[str]] = {}
    at = None
    for line in (cls.__doc__ or "").splitlines()[1:]:
        head = re.match(r"    (\w+): (.*)", line)
        if head is not None:
            at = found.setdefault(head[1], [head[2]])
        elif line.startswith("        ") and at is not None:
            at.append(line.strip())
        elif line.strip():
            at = None
            found.setdefault("", []).append(line.strip())
    texts = {name: " ".join(part).replace("``", "`") for name, part in found.items()}
    return {name: "\n".join(textwrap.wrap(text[:1].upper() + text[1:], 120)) for name, text in texts.items()}


def errors_page() -> str:
    from ronn import errors

    lines = [
        "# Errors",
        "",
        "Everything that RONN raises on purpose is a `RonnError`. Its text names the node, the operator and its version, the",
        "provider, the inputs with types and producers, and a hint; `.message`, `.node_label`, `.op` and `.hint` hold the parts.",
        "The cause, where there is one, is `__cause__`. All can be pickled.",
        "",
        "## Wrong uses, and what they print",
        "",
        "What stands here was printed by `docs/wrong_uses.py`, which runs each of these programs. `model.onnx` takes `image`,",
        "float32 `(batch, 3, 4, 4)`, and gives `scores`; `session` is a session on it, and `image` is an array that fits.",
        *wrong_uses(),
        "",
        "## All errors",
    ]
    classes = [c for c in vars(errors).values() if isinstance(c, type) and c.__module__ == errors.__name__]
    for cls in classes:
        bases = ", ".join(f"`{b.__name__}`" for b in cls.__bases__)
        lines += ["", f"### {cls.__name__}", "", _doc(cls), "", f"Is a {bases}."]
    return "\n".join(lines)


def wrong_uses() -> list[str]:
    """What each program of ``wrong_uses.py`` raises, as Markdown."""
    spec = importlib.util.spec_from_file_location("docs_wrong_uses", DOCS / "wrong_uses.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    lines: list[str] = []
    for wrong, error in module.outcomes():
        text = f"{type(error).__name__}: {error}"
        lines += [
            "",
            f"### {wrong.title}",
            "",
            "<!-- not run: docs/wrong_uses.py runs it -->",
            "```python",
            wrong.code,
            "```",
        ]
        lines += ["", "```text", *(part for line in text.splitlines() for part in _wrapped(line)), "```"]
    return lines


def _wrapped(line: str) -> list[str]:
    """A line of an error, cut at spaces where it is wider than a page."""
    if len(line) <= WIDTH:
        return [line]
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def cli_page() -> str:
    from ronn.cli.app import COMMANDS, EPILOG
    from ronn_hrm.cli import COMMANDS as ROUTING
    from ronn_provider_npu.cli import COMMANDS as DEVICES

    lines = [
        "# Command line",
        "",
        "<!-- given: command line -->",
        "",
        'Comes with the extra `cli` (`pip install "ronn-core[cli]"`; `pip install ronn` has it). `python -m ronn` is the same.',
        f"{EPILOG} With `RONN_DEBUG=1` or higher an error shows its traceback.",
        "`ronn hrm` comes with the package `ronn-hrm`, `ronn npu` with `ronn-provider-npu`.",
    ]
    groups = {f"{group} {n}": c for group, more in (("hrm", ROUTING), ("npu", DEVICES)) for n, c in more.items()}
    for name, command in {**COMMANDS, **groups}.items():
        text, _, examples = inspect.cleandoc(command.__doc__ or "").partition("Example")
        lines += ["", f"## ronn {name}", "", text.strip()]
        shown = [line.strip() for line in examples.splitlines()[1:] if line.strip()]
        for reason, examples in groupby(shown, UNFIT.get):
            mark = [f"<!-- not run: {reason} -->"] if reason else []
            lines += ["", *mark, "```console", *(f"$ {example}" for example in examples), "```"]
        lines += ["", "| option | what it does | default |", "| --- | --- | --- |", *_options(command)]
    return "\n".join(lines)


def decisions_page() -> str:
    lines = [
        "# Decisions",
        "",
        "What was decided and could have been decided otherwise: context, decision, alternatives, cost. Later ones may replace",
        "earlier ones; nothing is rewritten afterwards.",
        "",
    ]
    for page in sorted((DOCS / "adr").glob("0*.md")):
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({page.name})")
    return "\n".join(lines)


def cpu_index() -> str:
    """The module of the CPU provider that says which of its modules are for which operators."""
    from ronn.families import word
    from ronn.provider.kernels import marked
    from ronn_provider_cpu.lowering import TABLE
    from ronn_provider_cpu.provider import NUMPY_KERNELS

    kernels = [(word(k.domain, k.op), m.__name__) for m in NUMPY_KERNELS.all() for k in marked(m)]
    return _index("``kernels/`` and ``lower/``", KERNELS=kernels, LOWERINGS=_homes(TABLE, "ronn_provider_cpu."))


def shared_index() -> str:
    """The module of ronn-codegen that says which modules of lowerings for every device are for which operators."""
    from ronn_codegen.table import SHARED

    return _index("``lower/``", LOWERINGS=_homes(SHARED, "ronn_codegen."))


def clike_index() -> str:
    """The module of ronn-codegen that says which modules of lowerings for C-like devices are for which operators."""
    from ronn_codegen.clike.table import CLIKE

    return _index("``lower/``", LOWERINGS=_homes(CLIKE, "ronn_codegen."))


def _homes(table: Table, own: str) -> list[tuple[str, str]]:
    """The modules of a table's lowerings, by operator; other packages may have added some of theirs."""
    from ronn.families import word

    found = [(word(*key), entry.fn.__module__) for key, entries in table.own().items() for entry in entries]
    return [(operator, module) for operator, module in found if module.startswith(own)]


def rules_index() -> str:
    """The module of the core that says which modules of shape rules are for which operators."""
    from ronn.families import word
    from ronn.ops.infer import all_rules

    homes = [(word(*key), found.__module__) for key, found in all_rules().items()]
    return _index("``rules/``", RULES=[(w, m) for w, m in homes if m.startswith("ronn.ops.rules.")])


def _index(folders: str, **tables: list[tuple[str, str]]) -> str:
    lines = [
        f'"""Which modules of {folders} are for which operators: the others need not be imported.',
        "",
        "Written by docs/generate.py: do not edit. An operator that is not here is looked for in all of them.",
        '"""',
    ]
    for name, pairs in tables.items():
        homes: dict[str, set[str]] = {}
        for operator, module in pairs:
            homes.setdefault(module, set()).add(operator)
        lines += ["", f"{name} = {{"]
        for module, operators in sorted(homes.items()):
            lines.append(f'    "{module.rpartition(".")[2]}": """')
            lines += textwrap.wrap(" ".join(sorted(operators)), 108, initial_indent=" " * 8, subsequent_indent=" " * 8)
            lines.append('    """,')
        lines.append("}")
        if not homes:
            lines[-2:] = [f"{name}: dict[str, str] = {{}}"]
    return "\n".join(lines)


def _options(command: Callable[..., Any]) -> list[str]:
    rows = []
    hints = typing.get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        info = hints[name].__metadata__[0]
        flag = "--" + name.replace("_", "-")
        # In an Annotated hint, typer keeps the first flag where the default would stand.
        first = [info.default] if isinstance(info.default, str) and info.default.startswith("-") else []
        words = [f"`{d}`" for d in ([*first, *(info.param_decls or ())] or [flag])]
        if type(info).__name__ == "ArgumentInfo":
            words = [f"`{info.metavar or name.upper()}`"]
        elif info.metavar:
            words[-1] = f"`{words[-1].strip('`')} {info.metavar}`"
        default = parameter.default
        shown = info.show_default if isinstance(info.show_default, str) else ""
        if not shown and default is not None and default is not False and default is not inspect.Parameter.empty:
            shown = str(default)
        rows.append(f"| {', '.join(words)} | {_plain(info.help or '').replace('|', chr(92) + '|')} | {_plain(shown)} |")
    return rows


def _doc(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "").replace("``", "`")


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to format."""
    for sign in ("*", "_", "<", ">"):
        text = text.replace(sign, f"\\{sign}")
    return text


def _is_built_of_parts(module: str, name: str) -> bool:
    """Whether a class has bases of RONN that are not public, so that their members are its own to the reader."""
    home = importlib.import_module(module)
    thing = getattr(home, name.removeprefix(f"{module}."), None)
    bases = thing.__mro__[1:] if isinstance(thing, type) else ()
    return any(b.__module__.startswith("ronn.") and b.__name__ not in home.__all__ for b in bases)


def reference_page(module: str, title: str, about: str, more: dict[str, Sequence[str]]) -> Callable[[], str]:
    """The page that asks mkdocstrings for every public name of a module; ``more`` are sections of further names."""

    def page() -> str:
        owner = importlib.import_module(module)
        errors, names, modules = [], [], []
        for name in owner.__all__:
            thing = getattr(owner, name)
            is_error = isinstance(thing, type) and issubclass(thing, Exception)
            (modules if inspect.ismodule(thing) else errors if is_error else names).append(f"{module}.{name}")
        lines = [f"# {title}", "", about]
        if modules:
            pages = ", ".join(f"[`{m}`]({m.rpartition('.')[2]}.md)" for m in modules)
            lines += ["", f"Modules of their own: {pages}."]
        for heading, members in {"": names, "Errors": errors, **more}.items():
            lines += ["", f"## {heading}"] if heading and members else []
            level = 3 if heading else 2
            for member in members:
                lines += ["", f"::: {member}", "    options:", f"      heading_level: {level}"]
                lines += ["      inherited_members: true"] if _is_built_of_parts(module, member) else []
        return "\n".join(lines)

    return page


def soak_page() -> str:
    return _beside("soak")


def hrm_page() -> str:
    return _beside("promises")


def _beside(module: str) -> str:
    """The page that a module of this folder makes."""
    sys.path.insert(0, str(DOCS))
    try:
        return str(importlib.import_module(module).page())
    finally:
        sys.path.remove(str(DOCS))


IN_PART = {"hrm.md"}
"""Pages of which only a table is written."""
PAGES: dict[str, Callable[[], str]] = {
    "knobs.md": knobs_page,
    "passes.md": passes_page,
    "hooks.md": hooks_page,
    "operators.md": operators_page,
    "errors.md": errors_page,
    "soak.md": soak_page,
    "options.md": options_page,
    "cli.md": cli_page,
    "adr/index.md": decisions_page,
    "hrm.md": hrm_page,
    "reference/ronn.md": reference_page(
        "ronn",
        "Module ronn",
        "What programs import. Everything here is loaded when it is first used: `import ronn` alone takes milliseconds.",
        {
            "What sessions tell": [
                "ronn.placement.Placement",
                "ronn.usage.Memory",
                "ronn.usage.Stats",
                "ronn.profile.Profile",
                "ronn.benchmark.Benchmark",
                "ronn.benchmark.Row",
                "ronn.inspection.inspect_model",
                "ronn.inspection.Inspection",
            ]
        },
    ),
    "reference/provider.md": reference_page(
        "ronn.provider",
        "Module ronn.provider",
        "What authors of [providers](../writing-a-provider.md) import. Imports neither onnx nor numba.",
        {},
    ),
    "reference/events.md": reference_page(
        "ronn.events",
        "Module ronn.events",
        "What [listeners](../observability.md#events) are told. Loaded when it is first used.",
        {},
    ),
    CPU_INDEX: cpu_index,
    SHARED_INDEX: shared_index,
    CLIKE_INDEX: clike_index,
    RULES_INDEX: rules_index,
}


def render(name: str) -> str:
    """The text that a page should have."""
    return ("" if name.endswith(".py") or name in IN_PART else MARK) + PAGES[name]().rstrip() + "\n"


def stale() -> list[str]:
    """The pages whose file is not what the code says."""
    return [n for n in PAGES if not (DOCS / n).is_file() or (DOCS / n).read_text(encoding="utf-8") != render(n)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a page is stale")
    options = parser.parse_args()
    old = stale()
    if options.check:
        for name in old:
            print(f"docs/{name} is stale: run python docs/generate.py", file=sys.stderr)
        return 1 if old else 0
    for name in old:
        (DOCS / name).write_text(render(name), encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
