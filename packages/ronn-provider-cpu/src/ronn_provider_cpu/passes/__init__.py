"""Passes of the CPU provider, in the order in which they run."""

from __future__ import annotations

from functools import partial

from ronn.passes.deferred import about
from ronn_codegen.passes import EXPANSIONS

_about = partial(about, __name__)

QUANTISED = (
    _about("fuse-qdq", "QuantizeLinear QLinear"),
    _about("fuse-integer-products", "MatMulInteger ConvInteger"),
    _about("spread-scales", "QuantizeLinear DequantizeLinear", keeps_types=True),
)
CLASSICAL = (
    _about("fuse-columns", "OneHotEncoder", keeps_types=True),
    _about("fuse-text", "TfIdfVectorizer", keeps_types=True),
    _about("fuse-distances", "Scan", keeps_types=True),
    _about("split-labels", "LinearClassifier SVMClassifier TreeEnsembleClassifier", keeps_types=True),
    *EXPANSIONS,
)
LATE = (
    _about("byte-weights", "DequantizeLinear", keeps_types=True, late=True),
    _about("fold-dequantised", "DequantizeLinear", keeps_types=True, late=True),
    _about("block-layout", "Conv FusedConv", keeps_types=True, late=True),
    _about("fuse-residual", "BlockedConv", keeps_types=True, late=True),
    _about("split-reductions", "Reduce", keeps_types=True, late=True),
)
