"""Which modules of ``lower/`` are for which operators: the others need not be imported.

Written by docs/generate.py: do not edit. An operator that is not here is looked for in all of them.
"""

LOWERINGS = {
    "counted": """
        Compress NonMaxSuppression NonZero Unique
    """,
    "detection": """
        AffineGrid Col2Im GridSample MaxRoiPool MaxUnpool RoiAlign
    """,
    "gather": """
        Gather GatherElements GatherND ReverseSequence Scatter ScatterElements ScatterND TensorScatter
        ai.onnx.ml::ArrayFeatureExtractor
    """,
    "generate": """
        Constant ConstantOfShape EyeLike OneHot Range Shape Size Trilu
    """,
    "linear_attention": """
        LinearAttention
    """,
    "loss": """
        NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss
    """,
    "lrn": """
        LRN
    """,
    "movement": """
        CenterCropPad Concat Expand Pad Slice Split Tile
    """,
    "order": """
        CumProd CumSum TopK
    """,
    "pointwise": """
        Abs Acos Acosh Add And Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd BitwiseNot
        BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh DequantizeLinear Div Elu Equal Erf Exp
        Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log
        Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu Round Selu Shrink
        Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum SwiGLU Swish Tan Tanh ThresholdedRelu Where Xor
        com.microsoft::BiasAdd com.microsoft::BiasGelu com.microsoft::DequantizeLinear
        com.microsoft::FastGelu com.microsoft::Gelu com.microsoft::QuantizeLinear com.microsoft::QuickGelu
    """,
    "quantised": """
        DynamicQuantizeLinear com.microsoft::QLinearAdd com.microsoft::QLinearConcat
        com.microsoft::QLinearLeakyRelu com.microsoft::QLinearMul com.microsoft::QLinearSigmoid
        com.microsoft::QLinearSoftmax
    """,
    "reduce": """
        ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
        ReduceProd ReduceSum ReduceSumSquare
    """,
    "rotary": """
        RotaryEmbedding com.microsoft::RotaryEmbedding
    """,
    "rows": """
        GroupNormalization Hardmax InstanceNormalization LayerNormalization LogSoftmax LpNormalization
        MeanVarianceNormalization RMSNormalization SimplifiedLayerNormalization Softmax
        com.microsoft::SkipLayerNormalization com.microsoft::SkipSimplifiedLayerNormalization
    """,
    "views": """
        BitCast DepthToSpace Dropout Flatten Identity Reshape SpaceToDepth Squeeze Transpose Unsqueeze
    """,
}
