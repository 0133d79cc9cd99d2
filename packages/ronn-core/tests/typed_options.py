"""Read by mypy (``nox -s typecheck``), never run: an error that is none is one there, and the other way."""

from __future__ import annotations

import ronn
from ronn.options import SessionOptions


def right() -> None:
    options: SessionOptions = (
        SessionOptions.builder()
        .provider("cuda", device=1)
        .providers(["cpu", ("reference", {})])
        .optimization("basic")
        .disable_pass("fuse-gelu")
        .dimension("batch", 1)
        .threads(2)
        .memory_limit("512MB")
        .max_nodes(1000)
        .build()
    )
    options = options.replace(threads=3, memory_limit=None, providers="cpu")
    ronn.Session("model.onnx", options=options, sha256="0" * 64)
    loaded = ronn.load("model.onnx", {"max_model_bytes": "1GB"}, sha256={"model.onnx": "0" * 64})
    ronn.Session("model.onnx", options="deploy.toml")
    options = SessionOptions.from_file("deploy.toml").replace(router=("hrm", {"fast": "small.onnx"}))
    options = SessionOptions.builder().router("hrm").router({"hrm": {"alpha": 0.01}}).router(None).build()
    session: ronn.Session = loaded.create_session(options)
    session.run(timeout=1.0)
    loaded.create_session("deploy.toml", providers=["cpu"]).close()
    loaded.create_session(router="hrm").whatever_the_router_has()


def wrong() -> None:
    builder = SessionOptions.builder()
    builder.thread(2)  # type: ignore[attr-defined]
    builder.threads("two")  # type: ignore[arg-type]
    builder.threads()  # type: ignore[call-arg]
    options = builder.build()
    options.replace(thread=3)  # type: ignore[call-arg]
    options.replace(threads="three")  # type: ignore[arg-type]
    options.threads = 3  # type: ignore[misc]
    builder.router(3)  # type: ignore[arg-type]
    ronn.load("model.onnx").create_session(options).whatever()  # type: ignore[attr-defined]
    SessionOptions(thread=3)  # type: ignore[call-arg]
    SessionOptions(optimization=3)  # type: ignore[arg-type]
