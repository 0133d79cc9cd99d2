"""Which modules of ``kernels/`` and ``lower/`` are for which operators: the others need not be imported.

Written by docs/generate.py: do not edit. An operator that is not here is looked for in all of them.
"""

KERNELS = {
    "activation": """
        Celu Elu Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Shrink Sigmoid Softplus Softsign
        SwiGLU Swish ThresholdedRelu com.microsoft::BiasGelu com.microsoft::FastGelu com.microsoft::Gelu
        com.microsoft::QuickGelu
    """,
    "arithmetic": """
        Add BitShift Div Max Mean Min Mod Mul Pow Sub Sum
    """,
    "attention": """
        Attention RotaryEmbedding ai.onnx.preview::FlexAttention
    """,
    "blocked": """
        ronn.cpu::Block ronn.cpu::BlockedConv ronn.cpu::BlockedConvTranspose ronn.cpu::Regroup
        ronn.cpu::Unblock
    """,
    "byte_matmul": """
        ronn.cpu::ByteMatMul
    """,
    "cast": """
        BitCast Cast CastLike
    """,
    "contrib": """
        SimplifiedLayerNormalization com.microsoft::BiasAdd com.microsoft::BiasSplitGelu
        com.microsoft::EmbedLayerNormalization com.microsoft::GroupNorm
        com.microsoft::SkipLayerNormalization com.microsoft::SkipSimplifiedLayerNormalization
    """,
    "contrib_attention": """
        com.microsoft::Attention com.microsoft::MultiHeadAttention com.microsoft::RotaryEmbedding
    """,
    "contrib_integer": """
        com.microsoft::DynamicQuantizeLSTM com.microsoft::DynamicQuantizeMatMul
        com.microsoft::MatMulIntegerToFloat com.microsoft::MatMulNBits com.microsoft::QGemm
    """,
    "contrib_quantised": """
        com.microsoft::NhwcMaxPool com.microsoft::QLinearAdd com.microsoft::QLinearAveragePool
        com.microsoft::QLinearConcat com.microsoft::QLinearGlobalAveragePool com.microsoft::QLinearLeakyRelu
        com.microsoft::QLinearMul com.microsoft::QLinearSigmoid com.microsoft::QLinearSoftmax
        com.microsoft::QLinearWhere
    """,
    "conv": """
        Conv com.microsoft::FusedConv ronn::FusedConv
    """,
    "conv_transpose": """
        ConvTranspose
    """,
    "detection": """
        NonMaxSuppression
    """,
    "distance": """
        com.microsoft::CDist
    """,
    "gather": """
        Compress Gather GatherElements GatherND NonZero OneHot ReverseSequence Scatter ScatterElements
        ScatterND TensorScatter ai.onnx.ml::ArrayFeatureExtractor
    """,
    "generate": """
        Bernoulli Constant ConstantOfShape Det Dropout EyeLike Multinomial RandomNormal RandomNormalLike
        RandomUniform RandomUniformLike Range
    """,
    "integer": """
        ConvInteger MatMulInteger QLinearConv QLinearMatMul
    """,
    "linear_attention": """
        CausalConvWithState LinearAttention
    """,
    "logic": """
        And BitwiseAnd BitwiseOr BitwiseXor Equal Greater GreaterOrEqual Less LessOrEqual Or Where Xor
    """,
    "loss": """
        NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss
    """,
    "matmul": """
        Einsum Gemm MatMul com.microsoft::FusedGemm com.microsoft::FusedMatMul ronn::FusedGemm
        ronn::FusedMatMul
    """,
    "ml_encode": """
        ai.onnx.ml::CastMap ai.onnx.ml::CategoryMapper ai.onnx.ml::DictVectorizer
        ai.onnx.ml::FeatureVectorizer ai.onnx.ml::LabelEncoder ai.onnx.ml::OneHotEncoder ai.onnx.ml::ZipMap
    """,
    "ml_linear": """
        ai.onnx.ml::LinearClassifier ai.onnx.ml::LinearRegressor
    """,
    "ml_scale": """
        ai.onnx.ml::Binarizer ai.onnx.ml::Imputer ai.onnx.ml::Normalizer ai.onnx.ml::Scaler
    """,
    "ml_svm": """
        ai.onnx.ml::SVMClassifier ai.onnx.ml::SVMRegressor
    """,
    "ml_tree": """
        ai.onnx.ml::TreeEnsemble ai.onnx.ml::TreeEnsembleClassifier ai.onnx.ml::TreeEnsembleRegressor
    """,
    "movement": """
        CenterCropPad Concat Pad Slice Split Tile Trilu
    """,
    "normalization": """
        BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization
        MeanVarianceNormalization RMSNormalization
    """,
    "one_hot_columns": """
        ronn.cpu::OneHotColumns
    """,
    "order": """
        ArgMax ArgMin CumProd CumSum TopK Unique
    """,
    "pool": """
        AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool MaxUnpool
    """,
    "quantised_nhwc": """
        ronn.cpu::ConvIntegerToFloat ronn.cpu::QConvNhwc
    """,
    "quantize": """
        DequantizeLinear DynamicQuantizeLinear QuantizeLinear com.microsoft::DequantizeLinear
        com.microsoft::QuantizeLinear
    """,
    "rearrange": """
        Col2Im DepthToSpace SpaceToDepth
    """,
    "recurrent": """
        GRU LSTM RNN
    """,
    "reduce": """
        ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
        ReduceSumSquare
    """,
    "resize": """
        Resize Upsample
    """,
    "sampling": """
        AffineGrid DeformConv GridSample MaxRoiPool RoiAlign
    """,
    "sequence": """
        ConcatFromSequence Optional OptionalGetElement OptionalHasElement SequenceAt SequenceConstruct
        SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence
    """,
    "shape": """
        Expand Flatten Identity Reshape Shape Size Squeeze Transpose Unsqueeze
    """,
    "signal": """
        BlackmanWindow DFT HammingWindow HannWindow MelWeightMatrix STFT
    """,
    "softmax": """
        Hardmax LogSoftmax Softmax
    """,
    "strings": """
        RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer com.microsoft::Tokenizer
    """,
    "text_counts": """
        ronn.cpu::TextCounts
    """,
    "training": """
        ai.onnx.preview.training::Adagrad ai.onnx.preview.training::Adam ai.onnx.preview.training::Momentum
    """,
    "unary": """
        Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Clip Cos Cosh Erf Exp Floor IsInf IsNaN Log Neg
        Not Reciprocal Round Sign Sin Sinh Sqrt Tan Tanh
    """,
}

LOWERINGS = {
    "attention": """
        Attention CausalConvWithState ai.onnx.preview::FlexAttention com.microsoft::MultiHeadAttention
    """,
    "blocked_transpose": """
        ronn.cpu::BlockedConvTranspose
    """,
    "byte_weights": """
        ronn.cpu::ByteMatMul
    """,
    "conv": """
        Conv ConvTranspose com.microsoft::FusedConv ronn.cpu::BlockedConv ronn::FusedConv
    """,
    "deform": """
        DeformConv
    """,
    "einsum": """
        Einsum
    """,
    "layout": """
        ronn.cpu::Block ronn.cpu::Regroup ronn.cpu::Unblock
    """,
    "matmul": """
        Gemm MatMul com.microsoft::FusedGemm com.microsoft::FusedMatMul ronn::FusedGemm ronn::FusedMatMul
    """,
    "ml": """
        ai.onnx.ml::LinearClassifier ai.onnx.ml::LinearRegressor ai.onnx.ml::Normalizer
        ai.onnx.ml::SVMClassifier ai.onnx.ml::SVMRegressor ai.onnx.ml::Scaler com.microsoft::CDist
    """,
    "nbits": """
        com.microsoft::MatMulNBits
    """,
    "pool": """
        AveragePool GlobalAveragePool GlobalMaxPool MaxPool
    """,
    "quantised_pools": """
        com.microsoft::NhwcMaxPool com.microsoft::QLinearAveragePool com.microsoft::QLinearGlobalAveragePool
    """,
    "quantised_recurrent": """
        com.microsoft::DynamicQuantizeLSTM
    """,
    "quantized": """
        ConvInteger MatMulInteger QLinearConv QLinearMatMul com.microsoft::DynamicQuantizeMatMul
        com.microsoft::MatMulIntegerToFloat com.microsoft::QGemm ronn.cpu::ConvIntegerToFloat
        ronn.cpu::QConvNhwc
    """,
    "recurrent": """
        GRU LSTM RNN
    """,
    "resize": """
        Resize Upsample
    """,
    "trees": """
        ai.onnx.ml::TreeEnsemble ai.onnx.ml::TreeEnsembleClassifier ai.onnx.ml::TreeEnsembleRegressor
    """,
}
