"""Everything that is run on this repository: ``nox -l`` lists it, ``nox -s NAME`` runs one.

Packages are read from packages/*/pyproject.toml, so a new package needs no change here.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typecheck", "tests"]
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
SUPPORTED = ("3.11", "3.12", "3.13")
HEAVY = "torch"  # the extra that `nox -s training` installs alone: gigabytes of its wheels are for GPUs
SOFT_LINES, HARD_LINES = 400, 600  # of one module

PROJECTS = {
    str(project["project"]["name"]): project
    for project in (nox.project.load_toml(path) for path in sorted(ROOT.glob("packages/*/pyproject.toml")))
}
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")
TESTED = [name for name in PROJECTS if any((ROOT / "packages" / name / "tests").rglob("test_*.py"))]
REPOSITORY = "repository"  # the examples, benchmarks and docs, with every package installed
MASKS = {
    "avx2": {"RONN_CPU_LEVEL": "avx2"},
    "baseline": {"RONN_CPU_LEVEL": "baseline"},
    "guard": {"RONN_GUARD": "1"},
}
MEMORY_PER_WORKER = 3 << 30  # bytes; for deciding how many test processes there are


def found_pythons() -> list[str]:
    """The supported Pythons of this machine; in CI the one that runs nox, which is also the one without a choice."""
    if os.environ.get("CI") or CURRENT not in SUPPORTED:
        return [CURRENT]
    return [v for v in SUPPORTED if v == CURRENT or _answers(v)]


@cache
def _answers(version: str) -> bool:
    program = shutil.which(f"python{version}")
    if program is None:
        return False
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
    return done.returncode == 0 and f"Python {version}." in done.stdout


def closure(names: list[str]) -> list[str]:
    """The packages of this repository that ``names`` need (those themselves first, as pip requirements with paths)."""
    extras: dict[str, set[str]] = {}
    todo = list(names)
    while todo:
        matched = re.match(r"([\w.-]+)(?:\[([\w, -]+)\])?", todo.pop(0))
        if matched is None or matched[1] not in PROJECTS:
            continue
        name, wanted = matched[1], {e.strip() for e in (matched[2] or "").split(",") if e.strip()}
        if name in extras and wanted <= extras[name]:
            continue
        extras.setdefault(name, set()).update(wanted)
        project = PROJECTS[name]["project"]
        todo += project.get("dependencies", [])
        todo += [r for e in wanted for r in project.get("optional-dependencies", {}).get(e, [])]
    out = []
    for name, wanted in extras.items():
        out += ["-e", f"./packages/{name}" + (f"[{','.join(sorted(wanted))}]" if wanted else "")]
    return out


def group(*names: str) -> list[str]:
    return list(nox.project.dependency_groups(GROUPS, *names))


def needs_of(package: str) -> list[str]:
    """What the tests of a package ask for: the package with its extras, and its ``test`` dependency group."""
    if package == REPOSITORY:
        return [with_extras(name) for name in PROJECTS]
    return [with_extras(package), *PROJECTS[package].get("dependency-groups", {}).get("test", [])]


def with_extras(name: str) -> str:
    extras = ",".join(e for e in PROJECTS[name]["project"].get("optional-dependencies", {}) if e != HEAVY)
    return f"{name}[{extras}]" if extras else name


def install_for_tests(session: nox.Session, package: str, *options: str) -> None:
    needs = needs_of(package)
    foreign = [n for n in needs if re.split(r"[\[<>=~! ]", n)[0] not in PROJECTS]
    beside = ["-r", "benchmarks/requirements.txt", *group("examples")] if package == REPOSITORY else []
    session.install(*options, *closure(needs), *group("test"), *foreign, *beside)


def workers() -> str:
    """How many test processes fit in this machine's cores and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        memory = MEMORY_PER_WORKER
    return str(max(1, min(cores, memory // MEMORY_PER_WORKER, 8)))


def run_tests(session: nox.Session, package: str) -> None:
    folders = ["examples", "benchmarks", "docs"] if package == REPOSITORY else [f"packages/{package}/tests"]
    present = [f for f in folders if any((ROOT / f).rglob("test_*.py"))]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    session.run("pytest", "-q", "-n", workers(), *present, *session.posargs, env=one_thread)


@nox.session(python=found_pythons())
@nox.parametrize("package", [*TESTED, REPOSITORY], ids=[*TESTED, REPOSITORY])
def tests(session: nox.Session, package: str) -> None:
    """The tests, package by package, each with nothing installed but what it says it needs."""
    install_for_tests(session, package)
    run_tests(session, package)


@nox.session(python=CURRENT)
@nox.parametrize("mask", list(MASKS), ids=list(MASKS))
def levels(session: nox.Session, mask: str) -> None:
    """The CPU provider's tests with instructions masked (avx2, baseline) and with guard zones round every buffer."""
    package = "ronn-provider-cpu"
    install_for_tests(session, package)
    session.env.update(MASKS[mask])
    run_tests(session, package)


@nox.session(python=CURRENT)
@nox.parametrize("package", TESTED, ids=TESTED)
def minimums(session: nox.Session, package: str) -> None:
    """The tests with the lowest versions of direct dependencies that the packages allow."""
    if session.venv_backend != "uv":
        session.error("this session needs the uv backend: pip install 'nox[uv]'")
    install_for_tests(session, package, "--resolution=lowest-direct")
    run_tests(session, package)


@nox.session(python=CURRENT)
def demo(session: nox.Session) -> None:
    """Reads the text in a picture (a sample, or the file that follows --) and says where each part ran."""
    session.install("-q", *closure(["ronn"]), "pillow>=11.1", "platformdirs>=4.3", "pip")
    session.run("python", "-m", "examples.read_text", *session.posargs)


@nox.session(python=CURRENT)
def examples(session: nox.Session) -> None:
    """Runs the examples on small inputs of their own: all, or those behind --, with arguments for a single one."""
    session.install("-q", *closure(["ronn", "ronn-provider-bitnet", "ronn-hrm"]), *group("examples"))
    found = sorted(path.parent.name for path in ROOT.glob("examples/*/__main__.py"))
    named = [word for word in session.posargs if word in found]
    rest = [word for word in session.posargs if word not in found]
    if session.posargs and (not named or (rest and len(named) > 1)):
        session.error(f"which example? There are {', '.join(found)}")
    for name in named or found:
        session.run("python", "-m", f"examples.{name}", *rest)


@nox.session(python=CURRENT)
def quickstart(session: nox.Session) -> None:
    """The quick start, word for word, with nothing installed but what it says: an empty environment, home and cache."""
    session.install("pip", "platformdirs>=4.3")  # fetch the model's archive, as the page does by hand
    packages = ("ronn-core", "ronn-codegen", "ronn-provider-cpu", "ronn")
    session.install(*(f"./packages/{name}" for name in packages), "pillow")
    home = session.create_tmp()
    empty = {"HOME": home, "XDG_CACHE_HOME": f"{home}/.cache", "PYTHONPATH": ""}
    session.run("python", "docs/blocks.py", "docs/getting-started.md", env=empty)


@nox.session(python=CURRENT)
def conformance(session: nox.Session) -> None:
    """ONNX's own backend tests on RONN and ONNX Runtime; writes docs/conformance.md, docs/native.md, docs/support.md,
    docs/native-npu.md with the list that the provider's tests hold, and benchmarks/results/."""
    session.install(*closure(["ronn", "ronn-testkit", "ronn-provider-npu[pocl]"]), *group("test"))
    results = ["--all", "--json", "benchmarks/results/conformance.json", "--markdown", "docs/conformance.md"]
    session.run("python", "-m", "ronn_testkit.onnx_backend", *(session.posargs or results))
    if not session.posargs:
        session.run("python", "docs/native.py")
        session.run("python", "docs/native_npu.py")
        session.run("python", "docs/support.py")


@nox.session(python=CURRENT)
def lint(session: nox.Session) -> None:
    """Style (ruff) and module sizes."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    long = {
        path.relative_to(ROOT): n
        for path in ROOT.glob("packages/*/src/**/*.py")
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > SOFT_LINES
    }
    for path, n in sorted(long.items(), key=lambda kv: -kv[1]):
        session.log(f"{path}: {n} lines (aim {SOFT_LINES}, bound {HARD_LINES})")
    if any(n > HARD_LINES for n in long.values()):
        session.error(f"a module has more than {HARD_LINES} lines")


@nox.session(python=CURRENT)
def typecheck(session: nox.Session) -> None:
    """mypy --strict over ronn-core and ronn-testkit, and over the other packages by their own settings."""
    session.install(*closure(list(PROJECTS)), *group("typecheck"))
    typed = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("packages/ronn-core/tests/typed_*.py"))
    session.run("mypy", *(f"packages/ronn-{n}/src" for n in ("core", "testkit", "serve")), *typed)
    for name, project in PROJECTS.items():
        if "mypy" in project.get("tool", {}):
            session.run("mypy", "--config-file", f"packages/{name}/pyproject.toml", f"packages/{name}/src")


@nox.session(python=CURRENT)
def docs(session: nox.Session) -> None:
    """Builds the documentation into site/, strictly, and runs its code blocks. ``-- serve`` shows it while you write,
    ``-- build --strict`` leaves the blocks out (``tests-3.x(repository)`` runs them)."""
    install_for_tests(session, REPOSITORY)
    session.install(*group("docs"))
    session.run("python", "docs/generate.py", "--check")
    session.env["NO_MKDOCS_2_WARNING"] = "1"
    session.run("mkdocs", *(session.posargs or ["build", "--strict"]))
    if not session.posargs:
        session.run("pytest", "-q", "-n", workers(), "docs")


@nox.session(python=CURRENT)
def browser(session: nox.Session) -> None:
    """The pages of inspect, profile and hrm report in Chromium, which must be installed: they work, without errors and
    without network."""
    needs = [n for n in needs_of("ronn-hrm") if n.startswith("scikit-learn")]
    session.install(*closure(["ronn", "ronn-hrm"]), *group("browser"), *needs)
    pages = ["packages/ronn-core/tests/page/test_browser.py", "packages/ronn-hrm/tests/test_report.py"]
    session.run("pytest", "-q", *pages, *session.posargs)


@nox.session(python=CURRENT)
def screenshots(session: nox.Session) -> None:
    """Takes the pictures of the pages in docs/images anew, in Chromium; ``-- inspect profile`` for some of them."""
    packages = closure(["ronn", "ronn-hrm", "ronn-provider-bitnet"])
    session.install(*packages, *group("browser"), "-r", "benchmarks/requirements.txt", "pip")
    session.run("python", "-m", "docs.screenshots", *session.posargs)


@nox.session(python=CURRENT)
def bench(session: nox.Session) -> None:
    """Times RONN, ONNX Runtime and OpenVINO in turn on 1 and 2 threads, and holds the figures against the targets:
    JSON, tables, pictures. With options behind -- only the timing that they ask for."""
    session.install(*closure(["ronn"]), "-r", "benchmarks/requirements.txt", "pip")
    session.run("python", "-m", "benchmarks.bench", *(session.posargs or ["--threads", "1", "2"]))
    if not session.posargs:
        session.run("python", "-m", "benchmarks.targets")


@nox.session(python=CURRENT)
def bench_bitnet(session: nox.Session) -> None:
    """Times products with weights of one and two bits against float32, ONNX Runtime's, llama.cpp's and, with
    ``-- --bitnet-cpp LIBRARY``, bitnet.cpp's kernels; ``-- --write`` keeps table and picture. llama.cpp is built from
    its binding's source package unless ``-- --llama FOLDER`` says where libggml is; where it cannot be built, it is
    reported as missing."""
    session.install(*closure(["ronn", "ronn-provider-bitnet"]), "-r", "benchmarks/requirements.txt", "pip")
    if "--llama" not in session.posargs:
        session.install("llama-cpp-python>=0.3.16", success_codes=[0, 1, 2])
    session.run("python", "-m", "benchmarks.bitnet", *session.posargs)


@nox.session(python=CURRENT)
def bench_hrm(session: nox.Session) -> None:
    """The goals of ronn-hrm (the bound, the certified share, a drifting stream, sleep, mail, overhead, crashes, replay,
    early exits) beside baselines; ``-- --only g3``, ``-- --write`` keeps figures and pictures."""
    install_for_tests(session, "ronn-hrm")  # G7 and G8 run tests
    session.install(*closure(["ronn", "ronn-hrm[bitnet]"]), "-r", "benchmarks/requirements.txt", "pip")
    session.run("python", "-m", "benchmarks.hrm", *session.posargs, env={"OPENBLAS_NUM_THREADS": "1"})


@nox.session(python=CURRENT)
def bench_npu(session: nox.Session) -> None:
    """The goals of ronn-provider-npu (products beside clBLAST, ONNX's node tests, the zoo, int8 on photographs, lines
    of a new device), half an hour; ``-- --only gemm`` measures a part, ``-- --stored`` prints the figures kept last."""
    session.install(*closure(["ronn", "ronn-testkit", "ronn-provider-npu[pocl]"]), *group("test"))
    session.install("-r", "benchmarks/requirements.txt", "pip")
    session.run("python", "-m", "benchmarks.npu", *session.posargs, success_codes=[0, 1])


@nox.session(python=CURRENT)
def accuracy_bitnet(session: nox.Session) -> None:
    """What quantising trained models costs; ``-- photos --write`` measures a part and keeps its figures. Parts mnist
    and text take networks that ``training -- examples`` trains."""
    package = "ronn-provider-bitnet"
    session.install(*closure(["ronn", f"{package}[torch]"]), "-r", "benchmarks/requirements.txt", "pip")
    session.run("python", "-m", "benchmarks.bitnet_accuracy", *session.posargs, env={"OPENBLAS_NUM_THREADS": "1"})


@nox.session(python=CURRENT)
def training(session: nox.Session) -> None:
    """The tests of training with few bits, which need PyTorch and are skipped elsewhere; with ``-- examples [--write]``
    the trained examples of docs/bitnet.md."""
    package = "ronn-provider-bitnet"
    needs = closure([f"{package}[torch]", "ronn-testkit", "ronn"])
    session.install(*needs, *group("test"), "-r", "benchmarks/requirements.txt", "pip")
    if session.posargs[:1] == ["examples"]:
        session.run("python", "-m", "benchmarks.qat", *session.posargs[1:])
    else:
        session.run("pytest", "-q", f"packages/{package}/tests/test_training.py", "benchmarks/tests/test_qat.py")


@nox.session(python=CURRENT)
def bench_chat(session: nox.Session) -> None:
    """Times a language model in few bits beside onnxruntime and, where CHAT_LLAMA names a Python with llama_cpp,
    llama.cpp; ``-- --quality`` counts bits per byte, ``-- --write`` keeps the figures."""
    needed = [*closure(["ronn", "ronn-provider-bitnet"]), *group("examples"), "-r", "benchmarks/requirements.txt"]
    session.install(*needed)
    session.run("python", "-m", "benchmarks.chat", *session.posargs, env={"OPENBLAS_NUM_THREADS": "1"})


@nox.session(python=CURRENT)
def soak(session: nox.Session) -> None:
    """Sessions under load for ten minutes: bits, memory, threads, files must not change. ``-- --ci``: one minute."""
    session.install(*closure(["ronn"]), "-r", "benchmarks/requirements.txt", "pip")
    session.run("python", "-m", "benchmarks.soak", *session.posargs)


@nox.session(python=CURRENT)
def fuzz(session: nox.Session) -> None:
    """Fuzzes model files and the inputs of sessions, guided by coverage (atheris). ``-- executor --seconds 600`` for a
    long one; what breaks is kept in fuzz-findings/, and ``-- executor --replay FILE`` shows it again."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        session.skip("atheris has wheels for Linux on x86-64 only")
    session.install(*closure(["ronn"]), *group("fuzz"))
    session.run("python", "-m", "fuzz", *session.posargs)


@nox.session(python=CURRENT)
def models(session: nox.Session) -> None:
    """Compares RONN's outputs with ONNX Runtime's on the zoo. ``-- --write`` makes docs/models.md."""
    session.install(*closure(["ronn"]), "-r", "benchmarks/requirements.txt", "pip")
    session.run("python", "-m", "benchmarks.compare", *session.posargs)


@nox.session(python=CURRENT)
def clients(session: nox.Session) -> None:
    """Programs that import onnxruntime, each in an environment of its own, with onnxruntime and with RONN in its place;
    writes docs/clients.md. ``-- magika ddddocr`` for some of them."""
    session.install("uv>=0.5")
    session.run("python", "-m", "benchmarks.clients.compare", *session.posargs)


@nox.session(python=CURRENT)
def changelog(session: nox.Session) -> None:
    """Puts the fragments of packages/NAME/changelog into its CHANGELOG.md: ``-- NAME VERSION [--draft]``."""
    if len(session.posargs) < 2:
        session.error("which package and version? nox -s changelog -- ronn-core 0.2.0")
    name, version, *rest = session.posargs
    session.install(*group("changelog"))
    session.run("towncrier", "build", "--dir", f"packages/{name}", "--config", f"packages/{name}/pyproject.toml",
                "--version", version, *rest)  # fmt: skip
