"""Texts that are cut into tokens whose n-grams are counted."""

from __future__ import annotations

from typing import Any

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, walk
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer_instead
from ronn_provider_cpu.text_ops import DOMAIN, TEXT_COUNTS

_MS = "com.microsoft"


@define_pass("fuse-text", requires_types=True, keeps_types=True)
def fuse_text(graph: Graph, context: PassContext) -> bool:
    """Makes one TextCounts of StringNormalizer, Tokenizer and TfIdfVectorizer, so that no strings are made."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op == "TfIdfVectorizer" and node.domain == "" and node.attributes.get("pool_strings"):
            changed |= _fuse(owner, node, context)
    return changed


def _made_by(graph: Graph, value: Value | None, op: str, domain: str = "") -> Node | None:
    """The node that makes ``value`` when it is such an operator and nobody else uses it."""
    node = None if value is None else value.producer
    if value is None or node is None or node.op != op or node.domain != domain or node.graph is not graph:
        return None
    return node if len(value.uses) == 1 and not graph.is_output(value) else None


def _fuse(graph: Graph, counts: Node, context: PassContext) -> bool:
    tokens = counts.inputs[0]
    flatten = _made_by(graph, tokens, "Flatten")
    if flatten is not None and attr(flatten, "axis", 1) in (1, -1) and flatten.inputs[0] is not None:
        tokens = flatten.inputs[0] if flatten.inputs[0].tensor.rank == 2 else tokens
    tokenizer = _made_by(graph, tokens, "Tokenizer", _MS)
    texts = None if tokenizer is None else tokenizer.inputs[0]
    if tokenizer is None or texts is None or texts.tensor.rank != 1 or attr(tokenizer, "mark", 0):
        return False
    if attr(tokenizer, "pad_value", "") in counts.attributes["pool_strings"]:
        return False
    attributes: dict[str, Any] = {}
    normalizer = _made_by(graph, texts, "StringNormalizer")
    if normalizer is not None:
        if normalizer.attributes.get("stopwords"):
            return False
        attributes["case_change_action"] = attr(normalizer, "case_change_action", "NONE")
        texts = normalizer.inputs[0]
    reshape = _made_by(graph, texts, "Reshape")
    if reshape is not None and reshape.inputs[0] is not None:
        texts = reshape.inputs[0]
    for source in (tokenizer, counts):
        attributes |= {n: attr(source, n) for n in TEXT_COUNTS.attributes if attr(source, n) is not None}
    builder = Builder(graph, counts, context)
    return offer_instead(builder, counts, [counts], "TextCounts", [texts], attributes, domain=DOMAIN)
