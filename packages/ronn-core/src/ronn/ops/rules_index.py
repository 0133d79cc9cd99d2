"""Which modules of ``rules/`` are for which operators: the others need not be imported.

Written by docs/generate.py: do not edit. An operator that is not here is looked for in all of them.
"""

RULES = {
    "attention": """
        Attention
    """,
    "classical": """
        ai.onnx.ml::ArrayFeatureExtractor ai.onnx.ml::Binarizer ai.onnx.ml::CastMap
        ai.onnx.ml::CategoryMapper ai.onnx.ml::DictVectorizer ai.onnx.ml::FeatureVectorizer
        ai.onnx.ml::Imputer ai.onnx.ml::LabelEncoder ai.onnx.ml::LinearClassifier
        ai.onnx.ml::LinearRegressor ai.onnx.ml::Normalizer ai.onnx.ml::OneHotEncoder
        ai.onnx.ml::SVMClassifier ai.onnx.ml::SVMRegressor ai.onnx.ml::Scaler ai.onnx.ml::TreeEnsemble
        ai.onnx.ml::TreeEnsembleClassifier ai.onnx.ml::TreeEnsembleRegressor ai.onnx.ml::ZipMap
    """,
    "control": """
        If Loop Scan SequenceMap
    """,
    "convolution": """
        AveragePool Conv ConvInteger ConvTranspose GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool
        MaxPool QLinearConv
    """,
    "creation": """
        Bernoulli BlackmanWindow Constant ConstantOfShape HammingWindow HannWindow Multinomial RandomNormal
        RandomNormalLike RandomUniform RandomUniformLike Range
    """,
    "elementwise": """
        Abs Acos Acosh Add And Asin Asinh Atan Atanh BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr
        BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh CumProd CumSum Div Dropout Elu Equal Erf Exp Floor
        Gelu Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax Identity
        InstanceNormalization IsInf IsNaN LRN LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization Max
        Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not Or PRelu Pow RMSNormalization Reciprocal
        Relu ReverseSequence RotaryEmbedding Round Scatter ScatterElements ScatterND Selu Shrink Sigmoid
        Sign Sin Sinh Softmax Softplus Softsign Sqrt StringConcat Sub Sum Swish Tan Tanh TensorScatter
        ThresholdedRelu Trilu Where Xor
    """,
    "indexing": """
        CenterCropPad EyeLike Gather GatherElements GatherND MaxUnpool OneHot
    """,
    "matrix": """
        Det Einsum Gemm MatMul MatMulInteger QLinearMatMul
    """,
    "normalisation": """
        BatchNormalization LayerNormalization
    """,
    "quantised": """
        DequantizeLinear DynamicQuantizeLinear QuantizeLinear
    """,
    "recurrent": """
        GRU LSTM RNN
    """,
    "reduction": """
        ArgMax ArgMin Compress MaxRoiPool NonMaxSuppression NonZero ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare RoiAlign STFT
        TfIdfVectorizer TopK Unique
    """,
    "resampling": """
        AffineGrid GridSample Resize Upsample
    """,
    "reshaping": """
        Concat DepthToSpace Expand Flatten Reshape Shape Size SpaceToDepth Squeeze Tile Transpose Unsqueeze
    """,
    "sequences": """
        ConcatFromSequence Optional OptionalGetElement OptionalHasElement RegexFullMatch SequenceAt
        SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence
        StringNormalizer StringSplit
    """,
    "slicing": """
        Pad Slice Split
    """,
}
