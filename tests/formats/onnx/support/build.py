"""Small ONNX models from text: nodes as ONNX writes them, constants drawn at random.

    model("h = Gemm(x, W, b)  y = BN(h, a)", "T[2,4] x", W=(4, 3), b=(3,), a=Norm(3))

``T`` stands for the model's floating type, ``BN(h, a)`` for a BatchNormalization of ``h`` with the
parameters drawn for ``a``. Statistics are those that hide no bug: gammas of both signs with a zero
among them, nonzero means and shifts, variances in [0.1, 3].
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

Array = NDArray[np.generic]
DTYPES: Mapping[str, np.dtype[np.generic]] = {
    "double": np.dtype(np.float64),
    "float": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
_NORM = re.compile(r"\bBN\(\s*(\w+)\s*,\s*(\w+)\s*\)")
# Sizes that a run gives to symbolic dimensions; batch, channels and width coincide on purpose.
_SYMBOLS = {"N": 3, "B": 2, "C": 3, "L": 5, "H": 5, "W": 4}


@dataclass(frozen=True)
class Norm:
    """Parameters of a BatchNormalization over ``size`` channels."""

    size: int
    sign: str = "any"
    dtype: str = "T"


@dataclass(frozen=True)
class Typed:
    """A weight of its own type rather than the model's."""

    dtype: str
    shape: tuple[int, ...] | Array


@dataclass(frozen=True)
class Positive:
    """A weight whose elements are all greater than zero."""

    shape: tuple[int, ...]


Weight = tuple[int, ...] | Array | list[int] | float | Norm | Typed | Positive


def gammas(rng: np.random.Generator, size: int, sign: str) -> Array:
    """Scales of the wanted signs: "any" has a zero among them, "nonzero" both signs."""
    if sign == "positive":
        return rng.uniform(0.3, 2.0, size)
    drawn = rng.uniform(0.3, 2.0, size) * rng.choice([-1.0, 1.0], size)
    if size > 1:
        drawn[-2:] = -abs(drawn[-2]), abs(drawn[-1])
    if size > 2 and sign == "any":
        drawn[0] = 0.0
    return drawn


def _arrays(name: str, weight: Weight, rng: np.random.Generator, dtype: str) -> dict[str, Array]:
    kind = DTYPES[dtype]
    match weight:
        case Norm():
            own = kind if weight.dtype == "T" else DTYPES[weight.dtype]
            return {
                f"{name}_gamma": gammas(rng, weight.size, weight.sign).astype(own),
                f"{name}_beta": rng.normal(size=weight.size).astype(own),
                f"{name}_mean": rng.normal(size=weight.size).astype(own),
                f"{name}_var": rng.uniform(0.1, 3.0, weight.size).astype(own),
            }
        case Positive():
            return {name: rng.uniform(0.3, 2.0, weight.shape).astype(kind)}
        case Typed(shape=np.ndarray()):
            return {name: weight.shape.astype(DTYPES[weight.dtype])}
        case Typed():
            return {name: rng.normal(size=weight.shape).astype(DTYPES[weight.dtype])}
        case np.ndarray():
            return {name: weight.astype(kind) if weight.dtype.kind == "f" else weight}
        case tuple():
            return {name: np.asarray(rng.normal(size=weight)).astype(kind)}
        case list():
            return {name: np.asarray(weight, dtype=np.int64)}
    return {name: np.asarray(weight, dtype=kind)}


def model(
    nodes: str,
    inputs: str,
    outputs: str = "y",
    *,
    opset: int = 17,
    ir_version: int = 8,
    dtype: str = "double",
    seed: int = 0,
    imports: Mapping[str, int] | None = None,
    functions: Sequence[str] = (),
    listed: Sequence[str] = (),
    **weights: Weight,
) -> ModelProto:
    """A model from its nodes.

    Args:
        nodes: nodes in ONNX's textual syntax, see the module's docstring.
        inputs: declarations such as "T[2,4] x, int64[3] i".
        outputs: names, or declarations where inference does not find the type.
        opset, ir_version, imports: versions; ``imports`` adds domains.
        dtype: what ``T`` stands for.
        seed: for other numbers of the same model.
        functions: local functions in ONNX's textual syntax.
        listed: initializers that are also inputs.
        weights: a shape, an array, a list of integers, `Norm`, `Typed` or `Positive`.
    """
    rng = np.random.default_rng([seed, zlib.crc32((nodes + inputs).encode())])
    nodes = _NORM.sub(
        r"BatchNormalization<epsilon = 0.001>(\1, \2_gamma, \2_beta, \2_mean, \2_var)", nodes
    )
    declared = ", ".join(part if " " in part.strip() else f"T {part}" for part in _split(outputs))
    text = f"g ({inputs}) => ({declared}) {{ {nodes} }}"
    graph = onnx.parser.parse_graph(re.sub(r"\bT\b", dtype, text))
    for name, weight in weights.items():
        for key, array in _arrays(name, weight, rng, dtype).items():
            graph.initializer.append(numpy_helper.from_array(array, key))
    for tensor in graph.initializer:
        if tensor.name in listed or "*" in listed:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    versions = {"": opset, **(imports or {})}
    proto = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid(k, v) for k, v in versions.items()],
        ir_version=ir_version,
        functions=[onnx.parser.parse_function(re.sub(r"\bT\b", dtype, f)) for f in functions],
    )
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type.lower()}{number}"
    return _with_output_types(proto, outputs)


def _split(declarations: str) -> list[str]:
    """At commas outside of brackets."""
    return re.split(r",\s*(?![^\[]*\])", declarations)


def _with_output_types(proto: ModelProto, outputs: str) -> ModelProto:
    bare = {part.strip() for part in _split(outputs) if " " not in part.strip()}
    if not bare:
        return proto
    open_ended = ModelProto()
    open_ended.CopyFrom(proto)
    for output in open_ended.graph.output:
        if output.name in bare:
            output.ClearField("type")
    inferred = onnx.shape_inference.infer_shapes(open_ended, data_prop=True)
    found = {value.name: value for value in (*inferred.graph.output, *inferred.graph.value_info)}
    found |= {value.name: value for value in proto.graph.input}
    for output in proto.graph.output:
        if output.name in bare and found[output.name].type.WhichOneof("value"):
            output.type.CopyFrom(found[output.name].type)
        elif output.name in bare:
            output.type.tensor_type.ClearField("shape")
    return proto


def feeds_of(proto: ModelProto, seed: int = 1) -> dict[str, Array]:
    """Random values for every input that is not an initializer."""
    rng = np.random.default_rng(seed)
    given = {tensor.name for tensor in proto.graph.initializer}
    feeds: dict[str, Array] = {}
    for value in proto.graph.input:
        if value.name in given:
            continue
        kind = value.type.tensor_type
        shape = [
            dim.dim_value if dim.HasField("dim_value") else _SYMBOLS.get(dim.dim_param, 3)
            for dim in kind.shape.dim
        ]
        feeds[value.name] = _random(rng, kind.elem_type, shape)
    return feeds


def _random(rng: np.random.Generator, elem_type: int, shape: list[int]) -> Array:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    if elem_type == TensorProto.BOOL:
        return np.asarray(rng.integers(0, 2, shape), dtype=bool)
    if dtype.kind in "iu":
        return np.asarray(rng.integers(0, 3, shape), dtype=dtype)
    return np.asarray(rng.normal(size=shape)).astype(dtype)
