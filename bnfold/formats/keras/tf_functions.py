"""TensorFlow's functions, as rows that name the operators of Keras 3 which compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Options = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A TensorFlow function.

    Attributes:
        operator: the operator of Keras 3 that computes the same.
        operands: names of TensorFlow's arguments that are operands, in order.
        renamed: names of TensorFlow's other arguments to the operator's options.
        fixed: options that the operator has where TensorFlow's arguments do not say another thing.
        ignored: arguments that change nothing.
        prepare: brings options, already renamed, to the operator's form.
    """

    operator: str
    operands: tuple[str, ...] = ("x", "y")
    renamed: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    prepare: Callable[[Options], Options] = lambda options: options


def _of(operator: str, *names: str, **renamed: str) -> Row:
    """Operands by these names ("x" by default), options by TensorFlow's names to Keras's."""
    return Row(operator, names or ("x",), renamed)


def _two(operator: str) -> Row:
    return Row(operator)


def _reduction(operator: str) -> Row:
    return _of(operator, "input_tensor", axis="axis", keepdims="keepdims")


def _activation(operator: str, **renamed: str) -> Row:
    return _of(operator, "features", **renamed)


# -- windows -------------------------------------------------------------------------------


def _window(options: Options) -> Options:
    """TensorFlow's windows over all axes as Keras's over space."""
    layout = str(options.pop("data_format", None) or "N")
    first = layout.startswith("NC")
    result: Options = {"data_format": "channels_first" if first else "channels_last"}
    for key, one in options.items():
        if key in ("pool_size", "strides", "dilation_rate", "size") and not isinstance(one, int):
            given = [int(part) for part in one]
            # One number per axis of the value, or per axis of space.
            whole = len(given) > 2 and (given[0], given[1 if first else -1]) == (1, 1)
            one = (given[2:] if first else given[1:-1]) if whole else given
            one = one[0] if len(one) == 1 else one
        result[key] = one
    return result


def _convolution(operator: str, *names: str, **renamed: str) -> Row:
    given = {"strides": "strides", "padding": "padding", "data_format": "data_format"}
    given |= {"dilations": "dilation_rate", **renamed}
    return Row(operator, names, given, ignored=("use_cudnn_on_gpu",), prepare=_window)


def _pooling(operator: str) -> Row:
    given = {"ksize": "pool_size", "strides": "strides", "padding": "padding"}
    return Row(operator, ("input",), {**given, "data_format": "data_format"}, prepare=_window)


def _blocks(operator: str) -> Row:
    given = {"block_size": "block_size", "data_format": "data_format"}
    return Row(operator, ("input",), given, prepare=_window)


# -- options in another form ---------------------------------------------------------------


def _edges(options: Options) -> Options:
    """TensorFlow gives sizes where Keras 3 gives the places to cut."""
    parts = options.pop("parts", None)
    if isinstance(parts, (list, tuple)):
        edges, total = [], 0
        for size in parts[:-1]:
            total += int(size)
            edges.append(total)
        parts = edges
    return {**options, "indices_or_sections": parts}


def _adjoint(options: Options) -> Options:
    """Of real matrices the adjoint is the transpose."""
    for side in "ab":
        if options.pop(f"adjoint_{side}", None):
            options[f"transpose_{side}"] = True
    return options


def _euclidean(options: Options) -> Options:
    if options.get("ord") == "euclidean":
        del options["ord"]
    return options


def _lower(key: str) -> Callable[[Options], Options]:
    """An option that TensorFlow writes in capitals."""
    return lambda options: {**options, key: str(options.get(key, "constant")).lower()}


_DIAGONAL = {"axis1": -2, "axis2": -1}

FUNCTIONS: Mapping[str, Row] = {
    "__operators__.add": _two("Add"),
    "__operators__.eq": _of("Equal", "self", "other"),
    "__operators__.ne": _of("NotEqual", "self", "other"),
    "abs": _of("Abs"),
    "argsort": Row(
        "Argsort", ("values",), {"axis": "axis", "direction": "direction"}, ignored=("stable",)
    ),
    "bitwise.bitwise_and": _two("BitwiseAnd"),
    "bitwise.bitwise_or": _two("BitwiseOr"),
    "bitwise.bitwise_xor": _two("BitwiseXor"),
    "bitwise.invert": _of("BitwiseNot"),
    "bitwise.left_shift": _two("LeftShift"),
    "bitwise.right_shift": _two("RightShift"),
    "broadcast_to": _of("BroadcastTo", "input", shape="shape"),
    "cast": _of("Cast", "x", dtype="dtype"),
    "clip_by_norm": _of("ClipByNorm", "t", clip_norm="clip_norm", axes="axis"),
    "clip_by_value": _of("Clip", "t", clip_value_min="x_min", clip_value_max="x_max"),
    "concat": _of("Concatenate", "values", axis="axis"),
    "convert_to_tensor": Row(
        "ConvertToTensor", ("value",), {"dtype": "dtype"}, ignored=("dtype_hint",)
    ),
    "dtypes.saturate_cast": _of("SaturateCast", "value", dtype="dtype"),
    "einsum": _of("Einsum", "equation"),
    "ensure_shape": Row("Identity", ("x",), ignored=("shape",)),
    "expand_dims": _of("ExpandDims", "input", axis="axis"),
    "floor_div": _two("FloorDivide"),
    "gather": Row(
        "Take",
        ("params", "indices"),
        {"axis": "axis", "batch_dims": "batch_dims"},
        ignored=("validate_indices",),
    ),
    "gather_nd": Row(
        "GatherNd",
        ("params", "indices"),
        {"batch_dims": "batch_dims"},
        ignored=("bad_indices_policy",),
    ),
    "identity": _of("Identity", "input"),
    "image.crop_to_bounding_box": _of(
        "CropImages",
        "image",
        offset_height="top_cropping",
        offset_width="left_cropping",
        target_height="target_height",
        target_width="target_width",
    ),
    "image.extract_patches": Row(
        "ExtractPatches",
        ("images",),
        {"sizes": "size", "strides": "strides", "rates": "dilation_rate", "padding": "padding"},
        prepare=_window,
    ),
    "image.flip_left_right": Row("Flip", ("image",), fixed={"axis": -2}),
    "image.flip_up_down": Row("Flip", ("image",), fixed={"axis": -3}),
    "image.hsv_to_rgb": _of("HSVToRGB", "images"),
    "image.pad_to_bounding_box": _of(
        "PadImages",
        "image",
        offset_height="top_padding",
        offset_width="left_padding",
        target_height="target_height",
        target_width="target_width",
    ),
    "image.per_image_standardization": _of("Standardize", "image"),
    "image.resize": _of(
        "Resize",
        "images",
        size="size",
        method="interpolation",
        antialias="antialias",
        preserve_aspect_ratio="pad_to_aspect_ratio",
    ),
    "image.rgb_to_grayscale": _of("RGBToGrayscale", "images"),
    "image.rgb_to_hsv": _of("RGBToHSV", "images"),
    "image.rot90": Row("Rot90", ("image",), {"k": "k"}, {"axes": (-3, -2)}),
    "image.transpose": Row("Swapaxes", ("image",), fixed={"axis1": -3, "axis2": -2}),
    "keras.backend.batch_flatten": _of("Flatten"),
    "linalg.band_part": _of("BandPart", "input", num_lower="num_lower", num_upper="num_upper"),
    "linalg.diag": _of("MatrixDiag", "diagonal", k="k"),
    "linalg.diag_part": Row("Diagonal", ("input",), {"k": "offset"}, _DIAGONAL),
    "linalg.matmul": Row(
        "Matmul",
        ("a", "b"),
        {
            key: key
            for side in "ab"
            for key in (f"transpose_{side}", f"adjoint_{side}", f"{side}_is_sparse")
        },
        prepare=_adjoint,
    ),
    "linalg.matrix_transpose": Row("Swapaxes", ("a",), fixed={"axis1": -2, "axis2": -1}),
    "linalg.trace": Row("Trace", ("x",), fixed=_DIAGONAL),
    "math.abs": _of("Abs"),
    "math.accumulate_n": Row("AddN", ("inputs",), ignored=("shape", "tensor_dtype")),
    "math.acos": _of("Arccos"),
    "math.acosh": _of("Arccosh"),
    "math.add": _two("Add"),
    "math.add_n": _of("AddN", "inputs"),
    "math.argmax": Row("Argmax", ("input",), {"axis": "axis", "output_type": "dtype"}, {"axis": 0}),
    "math.argmin": Row("Argmin", ("input",), {"axis": "axis", "output_type": "dtype"}, {"axis": 0}),
    "math.asin": _of("Arcsin"),
    "math.asinh": _of("Arcsinh"),
    "math.atan": _of("Arctan"),
    "math.atan2": _of("Arctan2", "y", "x"),
    "math.atanh": _of("Arctanh"),
    "math.ceil": _of("Ceil"),
    "math.cos": _of("Cos"),
    "math.cosh": _of("Cosh"),
    "math.count_nonzero": _of("CountNonzero", "input", axis="axis", keepdims="keepdims"),
    "math.cumprod": Row(
        "Cumprod",
        ("x",),
        {"axis": "axis", "exclusive": "exclusive", "reverse": "reverse"},
        {"axis": 0},
    ),
    "math.cumsum": Row(
        "Cumsum",
        ("x",),
        {"axis": "axis", "exclusive": "exclusive", "reverse": "reverse"},
        {"axis": 0},
    ),
    "math.divide": _two("Divide"),
    "math.divide_no_nan": _two("DivideNoNan"),
    "math.equal": _two("Equal"),
    "math.erf": _of("Erf"),
    "math.erfc": _of("Erfc"),
    "math.exp": _of("Exp"),
    "math.expm1": _of("Expm1"),
    "math.floor": _of("Floor"),
    "math.floordiv": _two("FloorDivide"),
    "math.floormod": _two("Mod"),
    "math.greater": _two("Greater"),
    "math.greater_equal": _two("GreaterEqual"),
    "math.in_top_k": Row("InTopKOf", ("predictions", "targets"), {"k": "k"}),
    "math.is_finite": _of("Isfinite"),
    "math.is_inf": _of("Isinf"),
    "math.is_nan": _of("Isnan"),
    "math.l2_normalize": _of("UnitL2", "x", axis="axis", epsilon="epsilon"),
    "math.less": _two("Less"),
    "math.less_equal": _two("LessEqual"),
    "math.log": _of("Log"),
    "math.log1p": _of("Log1p"),
    "math.log_sigmoid": _of("LogSigmoid"),
    "math.logical_and": _two("LogicalAnd"),
    "math.logical_not": _of("LogicalNot"),
    "math.logical_or": _two("LogicalOr"),
    "math.maximum": _two("Maximum"),
    "math.minimum": _two("Minimum"),
    "math.multiply": _two("Multiply"),
    "math.multiply_no_nan": _two("MultiplyNoNan"),
    "math.negative": _of("Negative"),
    "math.not_equal": _two("NotEqual"),
    "math.pow": _two("Power"),
    "math.reciprocal": _of("Reciprocal"),
    "math.reciprocal_no_nan": _of("ReciprocalNoNan"),
    "math.reduce_all": _reduction("All"),
    "math.reduce_any": _reduction("Any"),
    "math.reduce_euclidean_norm": _reduction("EuclideanNorm"),
    "math.reduce_logsumexp": _reduction("Logsumexp"),
    "math.reduce_max": _reduction("Max"),
    "math.reduce_mean": _reduction("Mean"),
    "math.reduce_min": _reduction("Min"),
    "math.reduce_prod": _reduction("Prod"),
    "math.reduce_std": _reduction("Std"),
    "math.reduce_sum": _reduction("Sum"),
    "math.reduce_variance": _reduction("Var"),
    "math.rint": _of("Round"),
    "math.round": _of("Round"),
    "math.rsqrt": _of("Rsqrt"),
    "math.sigmoid": _of("Sigmoid"),
    "math.sign": _of("Sign"),
    "math.sin": _of("Sin"),
    "math.sinh": _of("Sinh"),
    "math.softplus": _activation("Softplus"),
    "math.sqrt": _of("Sqrt"),
    "math.square": _of("Square"),
    "math.squared_difference": _two("SquaredDifference"),
    "math.subtract": _two("Subtract"),
    "math.tan": _of("Tan"),
    "math.tanh": _of("Tanh"),
    "math.top_k": Row("TopK", ("input",), {"k": "k"}, ignored=("sorted",)),
    "math.truediv": _two("TrueDivide"),
    "math.unsorted_segment_max": _of(
        "SegmentMax", "data", "segment_ids", num_segments="num_segments"
    ),
    "math.unsorted_segment_min": _of(
        "SegmentMin", "data", "segment_ids", num_segments="num_segments"
    ),
    "math.unsorted_segment_prod": _of(
        "SegmentProd", "data", "segment_ids", num_segments="num_segments"
    ),
    "math.unsorted_segment_sum": _of(
        "SegmentSum", "data", "segment_ids", num_segments="num_segments"
    ),
    "nn.avg_pool": _pooling("AveragePool"),
    "nn.avg_pool1d": _pooling("AveragePool"),
    "nn.avg_pool2d": _pooling("AveragePool"),
    "nn.avg_pool3d": _pooling("AveragePool"),
    "nn.bias_add": Row("BiasAdd", ("value", "bias"), {"data_format": "data_format"}),
    "nn.conv1d": _convolution("Conv", "input", "filters", stride="strides"),
    "nn.conv2d": _convolution("Conv", "input", "filters"),
    "nn.conv3d": _convolution("Conv", "input", "filters"),
    "nn.convolution": _convolution("Conv", "input", "filters", dilation_rate="dilation_rate"),
    "nn.crelu": _activation("Crelu", axis="axis"),
    "nn.depth_to_space": _blocks("DepthToSpace"),
    "nn.depthwise_conv2d": _convolution("DepthwiseConv", "input", "filters", rate="dilation_rate"),
    "nn.elu": _activation("Elu"),
    "nn.embedding_lookup": Row(
        "Take",
        ("params", "ids"),
        fixed={"axis": 0},
        ignored=("partition_strategy", "validate_indices"),
    ),
    "nn.gelu": _activation("Gelu", approximate="approximate"),
    "nn.leaky_relu": _activation("LeakyRelu", alpha="negative_slope"),
    "nn.local_response_normalization": _of(
        "LocalResponse",
        "input",
        depth_radius="depth_radius",
        bias="bias",
        alpha="alpha",
        beta="beta",
    ),
    "nn.log_softmax": _of("LogSoftmax", "logits", axis="axis"),
    "nn.max_pool": _pooling("MaxPool"),
    "nn.max_pool1d": _pooling("MaxPool"),
    "nn.max_pool2d": _pooling("MaxPool"),
    "nn.max_pool3d": _pooling("MaxPool"),
    "nn.relu": _activation("Relu"),
    "nn.relu6": _activation("Relu6"),
    "nn.selu": _activation("Selu"),
    "nn.silu": _activation("Silu"),
    "nn.softmax": _of("Softmax", "logits", axis="axis"),
    "nn.softplus": _activation("Softplus"),
    "nn.softsign": _activation("Softsign"),
    "nn.space_to_depth": _blocks("SpaceToDepth"),
    "nn.swish": _activation("Silu"),
    "norm": Row(
        "Norm",
        ("tensor",),
        {"ord": "ord", "axis": "axis", "keepdims": "keepdims"},
        prepare=_euclidean,
    ),
    "one_hot": _of(
        "OneHot",
        "indices",
        depth="num_classes",
        on_value="on_value",
        off_value="off_value",
        axis="axis",
        dtype="dtype",
    ),
    "ones_like": Row("OnesLike", ("input",), {"dtype": "dtype"}, ignored=("optimize",)),
    "pad": Row(
        "Pad",
        ("tensor",),
        {"paddings": "pad_width", "mode": "mode", "constant_values": "constant_values"},
        prepare=_lower("mode"),
    ),
    "rank": _of("Ndim", "input"),
    "repeat": _of("Repeat", "input", repeats="repeats", axis="axis"),
    "reshape": _of("Reshape", "tensor", shape="newshape"),
    "reverse": _of("Flip", "tensor", axis="axis"),
    "roll": _of("Roll", "input", shift="shift", axis="axis"),
    "scatter_nd": Row(
        "Scatter", ("indices", "updates"), {"shape": "shape"}, ignored=("bad_indices_policy",)
    ),
    "sequence_mask": _of("SequenceMask", "lengths", maxlen="maxlen", dtype="dtype"),
    "shape": _of("ShapeOf", "input", out_type="out_type"),
    "sigmoid": _of("Sigmoid"),
    "size": _of("Size", "input", out_type="dtype"),
    "slice": _of("Slice", "input_", "begin", size="shape"),
    "sort": _of("Sort", "values", axis="axis", direction="direction"),
    "split": Row(
        "Split", ("value",), {"num_or_size_splits": "parts", "axis": "axis"}, prepare=_edges
    ),
    "squeeze": _of("Squeeze", "input", axis="axis", squeeze_dims="axis"),
    "stack": _of("Stack", "values", axis="axis"),
    "stop_gradient": _of("StopGradient", "input"),
    "tanh": _of("Tanh"),
    "tensor_scatter_nd_add": Row(
        "ScatterUpdate",
        ("tensor", "indices", "updates"),
        fixed={"reduction": "add"},
        ignored=("bad_indices_policy",),
    ),
    "tensor_scatter_nd_update": Row(
        "ScatterUpdate", ("tensor", "indices", "updates"), ignored=("bad_indices_policy",)
    ),
    "tensordot": _of("Tensordot", "a", "b", axes="axes"),
    "tile": _of("Tile", "input", multiples="repeats"),
    "transpose": _of("Transpose", "a", perm="axes", conjugate="conjugate"),
    "unstack": Row("Unstack", ("value",), {"axis": "axis"}, ignored=("num",)),
    "where": _of("Where", "condition", "x", "y"),
    "zeros_like": Row("ZerosLike", ("input",), {"dtype": "dtype"}, ignored=("optimize",)),
}

# Arguments that older functions call otherwise.
SYNONYMS: Mapping[str, str] = {"filter": "filters"}

# Other names of the same functions.
ALIASES: Mapping[str, str] = {
    "keras.activations.relu": "nn.relu",
    "keras.activations.sigmoid": "math.sigmoid",
    "keras.activations.tanh": "math.tanh",
    "linalg.norm": "norm",
    "linalg.transpose": "linalg.matrix_transpose",
    "math.softmax": "nn.softmax",
    "nn.l2_normalize": "math.l2_normalize",
}
