"""Sets of op types with a property in common."""

# fmt: off

#: Ops whose result shows every change of scale or shift somewhere: nothing can hide it. Others,
#: such as Softmax or a normalization, ignore some changes.
REVEALING = frozenset({
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "Tanh", "Softplus",
    "Softsign", "Erf", "Gelu", "Mish", "Swish", "HardSwish", "HardSigmoid",
    "Clip", "ThresholdedRelu", "Abs", "MaxPool", "GlobalMaxPool", "AveragePool",
    "GlobalAveragePool", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "Conv",
    "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN", "Mul", "Div", "Add",
    "Sub", "Pad", "Concat", "BatchNormalization",
})

#: Ops that take one affine common to all elements along their last axis out of their operand.
NORMALIZING = frozenset({"LayerNormalization", "RMSNormalization", "Softmax", "LogSoftmax"})

#: Ops that draw random numbers: two of them agree only if they are the same op.
RANDOM = frozenset({
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
    "Bernoulli", "Dropout",
})

#: Ops whose later versions only widen the types that they accept.
TIMELESS = frozenset({
    "Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Log", "Sqrt", "Abs", "Floor", "Ceil",
    "Softplus", "Softsign", "Elu", "Selu", "HardSigmoid", "LeakyRelu", "PRelu", "Add",
    "Sub", "Mul", "Div", "Pow", "Max", "Min", "Clip", "Where", "Equal", "Greater", "Less",
    "And", "Or", "Not", "Cast", "Shape", "Reshape", "Concat", "Gather", "Transpose",
    "Identity", "Flatten", "MatMul", "Gemm",
})
