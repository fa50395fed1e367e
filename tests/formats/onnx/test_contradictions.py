"""Nodes that contradict themselves stay, and what stands apart from them is folded all the same.

onnx.checker passes some of these models, and no runtime runs them.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from bnfold.formats.onnx.fold import fold_model
from tests.formats.onnx.support.build import Norm, Positive
from tests.formats.onnx.support.cases import Case, case
from tests.formats.onnx.support.check import assert_settled, fold, left_in, reasons

_IMAGE = "T[N,3,4,4] x"
_ROWS = "T[N,6] x"
_CONV = {"W": (4, 3, 1, 1), "b": (4,), "a": Norm(4)}

ROWS = [
    case(
        "BatchNormalization of other channels",
        "h = Conv(x, W, b)  y = BN(h, a)",
        _IMAGE,
        "Conv BatchNormalization",
        "here BNF201",
        **{**_CONV, "a": Norm(3)},
    ),
    case(
        "BatchNormalization of parameters that differ in size",
        "h = Conv(x, W, b)  y = BatchNormalization(h, g, t, m, v)",
        _IMAGE,
        "Conv BatchNormalization",
        "here BNF201",
        W=(4, 3, 1, 1),
        b=(4,),
        g=(4,),
        t=(4,),
        m=(4,),
        v=Positive((2,)),
    ),
    case(
        "a Conv whose bias is too short",
        "h = Conv(x, W, b)  y = BN(h, a)",
        _IMAGE,
        "Conv BatchNormalization",
        "backward BNF201",
        **{**_CONV, "b": (3,)},
    ),
    case(
        "a Gemm whose C is too long",
        "h = Gemm(x, W, b)  y = Mul(h, s)",
        _ROWS,
        "Gemm Mul",
        "backward BNF201",
        W=(6, 4),
        b=(5,),
        s=(4,),
    ),
    case(
        "a Conv of no groups",
        "h = Conv<group=0>(x, W, b)  y = BN(h, a)",
        _IMAGE,
        "Conv BatchNormalization",
        "backward BNF105",
        **_CONV,
    ),
    case(
        "a Gemm with a kernel of rank 3",
        "h = Mul(x, s)  y = Gemm(h, W)",
        _ROWS,
        "Mul Gemm",
        "forward BNF201",
        W=(6, 2, 1),
        s=(6,),
    ),
    case(
        "a Slice that does not move on",
        "h = Mul(x, s)  k = Slice(h, i, j, j, i)  y = Gemm(k, W)",
        _ROWS,
        "Mul Slice Gemm",
        "forward BNF105",
        W=(6, 2),
        s=(6,),
        i=[0],
        j=[1],
    ),
    case(
        "a Split into more than there is",
        "h = Mul(x, s)  p, q = Split<axis=1>(h, n)  y = Gemm(p, W)",
        _ROWS,
        "Mul Split Gemm",
        "forward BNF201",
        W=(3, 4),
        s=(6,),
        n=[3, 4],
    ),
    case(
        "a feature that is not there",
        "h = Mul(x, s)  k = ai.onnx.ml.ArrayFeatureExtractor(h, i)  y = Gemm(k, W)",
        _ROWS,
        "Mul ArrayFeatureExtractor Gemm",
        "forward BNF105",
        W=(2, 4),
        s=(6,),
        i=[7, 1],
        imports={"ai.onnx.ml": 3},
    ),
    case(
        "an axis that is not there",
        "h = Mul(x, s)  k = ReduceMean<axes=[9]>(h)  y = MatMul(k, W)",
        _ROWS,
        "Mul ReduceMean MatMul",
        "forward BNF207",
        W=(6, 4),
        s=(6,),
    ),
    case(
        "a Reshape to another number of elements",
        "h = Mul(x, s)  k = Reshape(h, r)  y = MatMul(k, W)",
        "T[3,6] x",
        "Mul Reshape MatMul",
        "forward BNF108",
        W=(7, 4),
        s=(6,),
        r=[4, 7],
    ),
]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.title) for row in ROWS])
def test_a_contradiction_stays(row: Case) -> None:
    proto = row.build("float")
    result, folded = fold(proto)
    assert left_in(folded) == row.left
    assert set(row.why) <= reasons(result.kept)
    assert_settled(proto, folded, None)


def test_the_rest_of_the_model_is_folded() -> None:
    row = case(
        "two branches, one of them broken",
        "h = Conv<group=0>(x, W, b)  y = BN(h, a)  k = Conv(x, W, b)  z = BN(k, a)",
        _IMAGE,
        "Conv BatchNormalization Conv",
        outputs="T[N,4,4,4] y, z",
        **_CONV,
    )
    result, folded = fold(row.build("float"))
    assert left_in(folded) == row.left
    assert len(result.folds) == 1 and len(result.kept) == 1


def test_an_attribute_that_no_matmul_has_means_nothing_to_the_gemm() -> None:
    """A MatMul that is given a bias becomes a Gemm, to which transA would mean something."""
    rng = np.random.default_rng(0)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "W"], ["h"], transA=1),
        onnx.helper.make_node("BatchNormalization", ["h", "g", "t", "m", "v"], ["y"]),
    ]
    arrays = {"W": rng.normal(size=(6, 4)), "v": rng.uniform(0.5, 2, 4)}
    arrays |= {name: rng.normal(size=4) for name in "gtm"}
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
        for name, size in (("x", 6), ("y", 4))
    )
    weights = [numpy_helper.from_array(one.astype(np.float32), n) for n, one in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    folded = fold_model(ir.from_proto(model)).model
    (node,) = folded.graph
    assert node.op_type == "Gemm" and not node.attributes
