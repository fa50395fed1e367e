"""Two matrix products in a row as one, where that makes them smaller.

``(x W1 + b1) W2 + b2 = x (W1 W2) + (b1 W2 + b2)``, computed in float64 and rounded once. It is
an option, not a fold: the sum is taken in another order, so results differ within the rounding
of a product of that size, and a narrow layer in between (a factorization) must not be undone,
which is why the product has to be smaller than its factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bnfold.core.affine import Array
from bnfold.formats.onnx.attributes import float_attribute
from bnfold.formats.onnx.constants import is_float
from bnfold.formats.onnx.scope import Scope, scopes


@dataclass(frozen=True)
class _Product:
    """``x W + b`` with a constant W [k, n] and b, None for none."""

    node: ir.Node
    data: ir.Value
    kernel: Array
    bias: Array | None
    dtype: ir.DataType


def collapse_products(model: ir.Model) -> list[tuple[str, str]]:
    """Replace pairs of products by one, in place; the names of the nodes that became one."""
    pairs: list[tuple[str, str]] = []
    for scope in scopes(model):
        if not isinstance(scope.graph, ir.Graph):
            continue
        merged: dict[str, _Product] = {}
        for node in list(scope.graph):
            second = _product(scope, node)
            first = None if second is None else _before(scope, second, merged)
            if first is None or second is None or not _is_smaller(first, second):
                continue
            pairs.append((first.node.name or "", node.name or ""))
            merged[node.outputs[0].name or ""] = _merge(scope, first, second)
    return pairs


def _product(scope: Scope, node: ir.Node) -> _Product | None:
    if node.op_type not in ("Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
        return None
    data, weight = node.inputs[0], node.inputs[1]
    if data is None or weight is None or not scope.constants.is_constant(weight.name or ""):
        return None
    dtype = weight.dtype or (weight.const_value.dtype if weight.const_value else None)
    kernel = scope.constants.value(weight.name or "")
    if kernel is None or kernel.ndim != 2 or dtype is None or not is_float(dtype):
        return None
    if node.op_type == "MatMul":
        return _Product(node, data, kernel, None, dtype)
    attributes = node.attributes
    if "transA" in attributes and attributes["transA"].as_int():
        return None
    if "transB" in attributes and attributes["transB"].as_int():
        kernel = kernel.T
    kernel = kernel * float_attribute(node, "alpha", 1.0)
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = None
    if given is not None:
        value = scope.constants.value(given.name or "")
        if value is None or (value.ndim == 2 and value.shape[0] != 1):
            return None
        beta = float_attribute(node, "beta", 1.0)
        bias = np.broadcast_to(beta * value.reshape(-1), (kernel.shape[1],))
    return _Product(node, data, kernel, bias, dtype)


def _before(scope: Scope, second: _Product, merged: dict[str, _Product]) -> _Product | None:
    """The product whose result only ``second`` reads, which may be one of two already."""
    value = second.data
    node = value.producer()
    if node is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    if node.graph is not scope.graph:
        return None
    first = merged.get(value.name or "") or _product(scope, node)
    if first is None or first.dtype != second.dtype:
        return None
    # A MatMul's data may have any rank, a Gemm's has two: with a bias one of them must be a Gemm.
    biased = first.bias is not None or second.bias is not None
    known = "Gemm" in (first.node.op_type, second.node.op_type)
    return first if known or not biased else None


def _is_smaller(first: _Product, second: _Product) -> bool:
    k, m = first.kernel.shape
    n = second.kernel.shape[1]
    return bool(k * n < k * m + m * n)


def _merge(scope: Scope, first: _Product, second: _Product) -> _Product:
    kernel = first.kernel @ second.kernel
    bias = second.bias
    if first.bias is not None:
        bias = first.bias @ second.kernel + (0.0 if bias is None else bias)
    node = second.node
    is_gemm = "Gemm" in (first.node.op_type, node.op_type)
    stem = node.outputs[0].name or "product"
    inputs = [first.data, _constant(scope, kernel, second.dtype, f"{stem}_kernel")]
    if bias is not None:
        inputs.append(_constant(scope, bias, second.dtype, f"{stem}_bias"))
    old = [v for v in (*node.inputs[1:], *first.node.inputs[1:]) if v is not None]
    node.resize_inputs(0)
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
    node.op_type = "Gemm" if is_gemm else "MatMul"
    node.attributes.clear()
    assert isinstance(scope.graph, ir.Graph)
    scope.graph.remove(first.node, safe=True)
    for value in old:
        name = value.name or ""
        free = not value.uses() and not value.is_graph_input() and not value.is_graph_output()
        if free and name in scope.graph.initializers:
            del scope.graph.initializers[name]
    return _Product(node, first.data, kernel, bias, second.dtype)


def _constant(scope: Scope, exact: Array, dtype: ir.DataType, stem: str) -> ir.Value:
    assert isinstance(scope.graph, ir.Graph)
    name, count = stem, 1
    taken = scope.graph.initializers
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    tensor = ir.Tensor(exact.astype(np.dtype(dtype.numpy())), dtype=dtype, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(exact.shape), type=ir.TensorType(dtype), const_value=tensor
    )
    scope.graph.register_initializer(value)
    return value
