"""``python -m examples.async_server [--port 9000]`` from the top of the repository; see README.md beside this file."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

import ronn
from benchmarks.zoo.fetch import model_path

LARGEST = 8 << 20  # bytes of one request


async def answer(batcher: ronn.Batcher, message: bytes) -> dict[str, Any]:
    """The answer to one request: an array in NumPy's file format, one row of the model's first input."""
    try:
        row = np.load(io.BytesIO(message), allow_pickle=False)
        outputs = await batcher.run([row], timeout=10)
    except ronn.QueueFullError:
        return {"error": "busy, come again later"}
    except (ronn.RonnError, ValueError) as e:
        return {"error": str(e)}
    scores = outputs[0][0]
    return {"best": int(scores.argmax()), "score": float(scores.max())}


async def converse(batcher: ronn.Batcher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: four bytes of length and a message, an answer as a line of JSON, and again.

    A client that goes away cancels its request, and with it the run, unless others share it.
    """
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            length = int.from_bytes(await reader.readexactly(4), "big")
            if length > LARGEST:
                writer.write(json.dumps({"error": f"{length} bytes are more than {LARGEST}"}).encode() + b"\n")
                break
            reply = await answer(batcher, await reader.readexactly(length))
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(session: ronn.Session, port: int = 0, **options: Any) -> Any:
    """A server on the port (0: a free one) while inside; gives its port and its batcher. Requests in progress are
    answered before it is over."""
    async with ronn.Batcher(session, **options) as batcher:
        server = await asyncio.start_server(lambda r, w: converse(batcher, r, w), "127.0.0.1", port)
        async with server:
            yield server.sockets[0].getsockname()[1], batcher


async def ask(port: int, rows: list[np.ndarray]) -> list[dict[str, Any]]:
    """Sends requests over one connection, one after another, and gives the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for row in rows:
        file = io.BytesIO()
        np.save(file, row)
        writer.write(file.tell().to_bytes(4, "big") + file.getvalue())
        answers.append(json.loads(await reader.readline()))
    writer.close()
    await writer.wait_closed()
    return answers


async def demonstrate(session: ronn.Session, clients: int, requests: int) -> None:
    """Lets some clients ask at once, and says what became of their requests."""
    (taken,) = session.inputs
    shape = [d if isinstance(d, int) else 224 for d in taken.shape or ()][1:]
    rng = np.random.default_rng(0)
    rows = [rng.random((1, *shape), np.float32) for _ in range(requests)]
    async with serving(session, max_batch=8, max_wait=0.01) as (port, batcher):
        began = time.perf_counter()
        answers = await asyncio.gather(*(ask(port, rows) for _ in range(clients)))
        seconds = time.perf_counter() - began
        print(f"{clients} clients, {clients * requests} requests in {seconds:.2f} s; {batcher.stats()}")
    errors = [a["error"] for given in answers for a in given if "error" in a]
    if errors:
        raise SystemExit(errors[0])


async def stay(session: ronn.Session, port: int) -> None:
    """Serves until it is told to end."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with serving(session, port) as (port, batcher):
        print(f"listening on 127.0.0.1:{port}; {batcher.batching}", flush=True)
        await ended.wait()
    print(batcher.stats())


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.async_server", description=__doc__)
    parser.add_argument("--model", type=Path, help="a model of one input (default: EfficientNet-lite0)")
    parser.add_argument("--port", type=int, help="serve on this port until told to end (default: a demonstration)")
    options = parser.parse_args()
    path = model_path("efficientnet-lite0", print) if options.model is None else options.model
    session = await ronn.Session.create_async(path)
    if options.port is None:
        await demonstrate(session, clients=6, requests=4)
    else:
        await stay(session, options.port)


if __name__ == "__main__":
    asyncio.run(main())
