"""``TextCounts`` of the ``ronn.cpu`` domain: from texts to counts of n-grams at once.

``TextCounts(x)``: float32 ``[texts, width]`` of the strings x, whatever their shape: what StringNormalizer (where
``case_change_action`` is given), com.microsoft Tokenizer and TfIdfVectorizer make of them one after the other. It has
the attributes of all three, but no stopwords and no marks, and takes no notice of the token that pads shorter texts.
"""

from __future__ import annotations

from ronn.ir.dims import product
from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.schema import Formal, OpSchema, register_schema
from ronn_provider_cpu.ops import DOMAIN

TEXT_COUNTS = OpSchema(
    DOMAIN, "TextCounts", 1, (Formal("x", "tensor(string)"),), (Formal("y", "tensor(float)"),),
    defaults={"mincharnum": 1},
    attributes={
        "case_change_action": "STRING", "separators": "STRINGS", "tokenexp": "STRING", "mincharnum": "INT",
        "pool_strings": "STRINGS", "ngram_counts": "INTS", "ngram_indexes": "INTS", "weights": "FLOATS",
        "mode": "STRING", "min_gram_length": "INT", "max_gram_length": "INT", "max_skip_count": "INT",
    },
    required=frozenset({
        "pool_strings", "ngram_counts", "ngram_indexes", "mode", "min_gram_length", "max_gram_length", "max_skip_count"
    }),
    min_inputs=1, max_inputs=1,
)  # fmt: skip

__all__ = ["DOMAIN", "TEXT_COUNTS"]

register_schema(TEXT_COUNTS)


@rule("TextCounts", domain=DOMAIN)
def text_counts(c: InferContext) -> None:
    shape, width = c.shape(0), max(c.attr("ngram_indexes", [0])) + 1
    known = [] if shape is None else [d for d in shape if d is not None]
    texts = product(known) if shape is not None and len(known) == len(shape) else None
    if c.attr("case_change_action") and not (isinstance(texts, int) and texts > 0):
        texts = None  # StringNormalizer makes one empty text of none
    c.set(0, DType.FLOAT32, (texts, width))
