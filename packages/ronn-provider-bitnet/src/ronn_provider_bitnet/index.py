"""Which modules of ``lower/`` and ``numpy_kernels/`` are for which operators: others need not be imported."""

LOWERINGS = {
    "conv": "ronn.bitnet::BitConv ronn.bitnet::BlockedBitConv",
    "dense": "ronn.bitnet::BitLinear",
    "integers": "ronn.bitnet::BitInteger ronn.bitnet::BitIntegerToFloat",
    "signs": "ronn.bitnet::SignLinear ronn.bitnet::SignConv",
}
KERNELS = {
    "conv": "ronn.bitnet::BitConv ronn.bitnet::BlockedBitConv",
    "dense": "ronn.bitnet::BitLinear",
    "integers": "ronn.bitnet::BitInteger ronn.bitnet::BitIntegerToFloat",
    "signs": "ronn.bitnet::SignLinear ronn.bitnet::SignConv",
    "trits": "ronn.bitnet::Trits",
}
