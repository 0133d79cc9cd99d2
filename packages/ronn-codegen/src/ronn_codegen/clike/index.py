"""Which modules of ``lower/`` are for which operators: the others need not be imported.

Written by docs/generate.py: do not edit. An operator that is not here is looked for in all of them.
"""

LOWERINGS = {
    "attention": """
        Attention CausalConvWithState LinearAttention RotaryEmbedding ai.onnx.preview::FlexAttention
        com.microsoft::MultiHeadAttention com.microsoft::RotaryEmbedding
    """,
    "blocked": """
        DequantizeLinear QuantizeLinear
    """,
    "conv": """
        Conv ConvTranspose com.microsoft::FusedConv ronn::FusedConv
    """,
    "conv_integer": """
        ConvInteger QLinearConv
    """,
    "deform": """
        DeformConv
    """,
    "einsum": """
        Einsum
    """,
    "matmul": """
        Gemm MatMul com.microsoft::FusedGemm com.microsoft::FusedMatMul ronn::FusedGemm ronn::FusedMatMul
    """,
    "matmul_integer": """
        MatMulInteger QLinearMatMul com.microsoft::DynamicQuantizeMatMul com.microsoft::MatMulIntegerToFloat
        com.microsoft::QGemm
    """,
    "nbits": """
        com.microsoft::MatMulNBits
    """,
    "pool": """
        AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool com.microsoft::NhwcMaxPool
        com.microsoft::QLinearAveragePool com.microsoft::QLinearGlobalAveragePool
    """,
    "recurrent": """
        GRU LSTM RNN
    """,
    "resize": """
        Resize Upsample
    """,
}
