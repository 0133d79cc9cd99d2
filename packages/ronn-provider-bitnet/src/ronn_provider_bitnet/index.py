"""Which modules of ``lower/`` and ``numpy_kernels/`` are for which operators: others need not be imported."""

LOWERINGS = {
    "dense": "ronn.bitnet::BitLinear",
}
KERNELS = {
    "dense": "ronn.bitnet::BitLinear",
    "trits": "ronn.bitnet::Trits",
}
