"""Operator nodes of Keras 2: TensorFlow functions by name, as rows that name Keras 3's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnfold.convert.direct.operators import OPERATORS
from bnfold.convert.direct.operators_moves import indexed
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor


@dataclass(frozen=True)
class _Row:
    """A TensorFlow function.

    Attributes:
        operator: the operator of Keras 3 that computes the same.
        operands: names of TensorFlow's arguments that are operands, in order.
        renamed: names of TensorFlow's other arguments to the operator's options.
    """

    operator: str
    operands: tuple[str, ...] = ("x", "y")
    renamed: Mapping[str, str] = field(default_factory=dict)


def _elementwise(operator: str) -> _Row:
    return _Row(operator)


def _of_x(operator: str, *names: str) -> _Row:
    return _Row(operator, names or ("x",))


def _reduction(operator: str) -> _Row:
    return _Row(operator, ("input_tensor",), {"axis": "axis", "keepdims": "keepdims"})


def _activation(operator: str, **renamed: str) -> _Row:
    return _Row(operator, ("features",), renamed)


_FUNCTIONS: Mapping[str, _Row] = {
    "__operators__.add": _elementwise("Add"),
    "__operators__.eq": _Row("Equal", ("self", "other")),
    "abs": _of_x("Abs"),
    "cast": _Row("Cast", ("x",), {"dtype": "dtype"}),
    "clip_by_value": _Row("Clip", ("t",), {"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "concat": _Row("Concatenate", ("values",), {"axis": "axis"}),
    "einsum": _Row("Einsum", ("equation",)),
    "expand_dims": _Row("ExpandDims", ("input",), {"axis": "axis"}),
    "gather": _Row("Take", ("params", "indices"), {"axis": "axis"}),
    "identity": _of_x("Identity", "input"),
    "linalg.matmul": _Row(
        "Matmul", ("a", "b"), {"transpose_a": "transpose_a", "transpose_b": "transpose_b"}
    ),
    "math.abs": _of_x("Abs"),
    "math.add": _elementwise("Add"),
    "math.ceil": _of_x("Ceil"),
    "math.cos": _of_x("Cos"),
    "math.divide": _elementwise("Divide"),
    "math.equal": _elementwise("Equal"),
    "math.erf": _of_x("Erf"),
    "math.exp": _of_x("Exp"),
    "math.floor": _of_x("Floor"),
    "math.floordiv": _elementwise("FloorDivide"),
    "math.greater": _elementwise("Greater"),
    "math.greater_equal": _elementwise("GreaterEqual"),
    "math.less": _elementwise("Less"),
    "math.less_equal": _elementwise("LessEqual"),
    "math.log": _of_x("Log"),
    "math.log1p": _of_x("Log1p"),
    "math.logical_and": _elementwise("LogicalAnd"),
    "math.logical_not": _of_x("LogicalNot"),
    "math.logical_or": _elementwise("LogicalOr"),
    "math.maximum": _elementwise("Maximum"),
    "math.minimum": _elementwise("Minimum"),
    "math.multiply": _elementwise("Multiply"),
    "math.negative": _of_x("Negative"),
    "math.pow": _elementwise("Power"),
    "math.reciprocal": _of_x("Reciprocal"),
    "math.reduce_logsumexp": _reduction("Logsumexp"),
    "math.reduce_max": _reduction("Max"),
    "math.reduce_mean": _reduction("Mean"),
    "math.reduce_min": _reduction("Min"),
    "math.reduce_prod": _reduction("Prod"),
    "math.reduce_std": _reduction("Std"),
    "math.reduce_sum": _reduction("Sum"),
    "math.reduce_variance": _reduction("Var"),
    "math.round": _of_x("Round"),
    "math.rsqrt": _of_x("Rsqrt"),
    "math.sigmoid": _of_x("Sigmoid"),
    "math.sign": _of_x("Sign"),
    "math.sin": _of_x("Sin"),
    "math.softplus": _activation("Softplus"),
    "math.sqrt": _of_x("Sqrt"),
    "math.square": _of_x("Square"),
    "math.subtract": _elementwise("Subtract"),
    "math.tanh": _of_x("Tanh"),
    "math.truediv": _elementwise("TrueDivide"),
    "nn.elu": _activation("Elu"),
    "nn.gelu": _activation("Gelu", approximate="approximate"),
    "nn.leaky_relu": _activation("LeakyRelu", alpha="negative_slope"),
    "nn.log_softmax": _Row("LogSoftmax", ("logits",), {"axis": "axis"}),
    "nn.relu": _activation("Relu"),
    "nn.relu6": _activation("Relu6"),
    "nn.selu": _activation("Selu"),
    "nn.silu": _activation("Silu"),
    "nn.softmax": _Row("Softmax", ("logits",), {"axis": "axis"}),
    "nn.softplus": _activation("Softplus"),
    "nn.softsign": _activation("Softsign"),
    "nn.swish": _activation("Silu"),
    "reshape": _Row("Reshape", ("tensor",), {"shape": "newshape"}),
    "reverse": _Row("Flip", ("tensor",), {"axis": "axis"}),
    "sigmoid": _of_x("Sigmoid"),
    "split": _Row("Split", ("value",), {"num_or_size_splits": "parts", "axis": "axis"}),
    "squeeze": _Row("Squeeze", ("input",), {"axis": "axis"}),
    "stack": _Row("Stack", ("values",), {"axis": "axis"}),
    "stop_gradient": _of_x("StopGradient", "input"),
    "tanh": _of_x("Tanh"),
    "tile": _Row("Tile", ("input",), {"multiples": "repeats"}),
    "transpose": _Row("Transpose", ("a",), {"perm": "axes"}),
    "where": _Row("Where", ("condition", "x", "y")),
}
# Keras's own functions that may be called on symbolic tensors.
_ALIASES = {
    "keras.activations.relu": "nn.relu",
    "keras.activations.sigmoid": "math.sigmoid",
    "keras.activations.tanh": "math.tanh",
    "linalg.normalize": "",
}


def is_known(function: str) -> bool:
    """Whether a TensorFlow function has a rule."""
    name = _bare(function)
    return name in _FUNCTIONS or name == "__operators__.getitem"


def _bare(function: str) -> str:
    name = function.removeprefix("compat.v1.").removeprefix("compat.v2.")
    return _ALIASES.get(name, name)


def tf_operator(site: Site) -> Tensor | list[Tensor]:
    """TFOpLambda, SlicingOpLambda and TensorFlowOpLayer of Keras 2."""
    name = _bare(str(site.config.get("function", "")))
    kwargs = {key: one for key, one in (site.kwargs or {}).items() if key != "name"}
    if name == "__operators__.getitem":
        return _get_item(site, kwargs)
    row = _FUNCTIONS.get(name)
    if row is None:
        raise site.unsupported(f"calls tf.{name}, for which there is no rule")
    args = list(site.args)
    args += [kwargs.pop(key) for key in row.operands[len(args) :] if key in kwargs]
    options: dict[str, Any] = {}
    for key, one in kwargs.items():
        if one is None or one is False:
            continue
        if key not in row.renamed:
            raise site.unsupported(f"calls tf.{name} with {key}, for which there is no rule")
        options[row.renamed[key]] = one
    if row.operator == "Split":
        options["indices_or_sections"] = _edges(options.pop("parts", None))
    if row.operator == "Where" and len(args) != 3:
        raise site.unsupported("calls tf.where with one argument")
    if row.operator == "Einsum":
        raise site.unsupported("calls tf.einsum")
    return OPERATORS[row.operator](site, args, options)


def _edges(parts: Any) -> Any:
    """TensorFlow gives sizes where Keras 3 gives the places to cut."""
    if not isinstance(parts, (list, tuple)):
        return parts
    edges, total = [], 0
    for size in parts[:-1]:
        total += int(size)
        edges.append(total)
    return edges


def _get_item(site: Site, kwargs: Mapping[str, Any]) -> Tensor:
    spec = kwargs.get("slice_spec", site.args[1] if len(site.args) > 1 else None)
    items = list(spec) if isinstance(spec, (list, tuple)) else [spec]
    decoded = [_item(item) for item in items]
    x = site.args[0]
    if not isinstance(x, Tensor):
        raise site.unsupported("takes elements of something else than a tensor")
    return indexed(site, x, decoded)


def _item(item: Any) -> Any:
    if isinstance(item, dict) and {"start", "stop"} <= set(item):
        return slice(item["start"], item["stop"], item.get("step"))
    return Ellipsis if item == "..." else item
