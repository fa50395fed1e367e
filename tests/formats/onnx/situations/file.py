"""The file around it: opsets, types, where constants live, subgraphs, functions, names."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, helper

from bnfold.formats.onnx.fold import FoldOptions
from tests.formats.onnx.support.build import Norm, Positive, Typed
from tests.formats.onnx.support.cases import Case, case

_CONV = {"W": (3, 3, 3, 3), "b": (3,)}
_GEMM = {"W": (3, 3), "b": (3,)}
_NEWEST = onnx.defs.onnx_opset_version()
_CONV_BN = "h = Conv(x, W, b)  y = BN(h, a)"


def _ir_version(opset: int) -> int:
    return max(3, helper.find_min_ir_version_for([helper.make_opsetid("", opset)]))


def _repeat_output(proto: ModelProto) -> None:
    proto.graph.output.append(proto.graph.output[0])


def _unnamed(proto: ModelProto) -> None:
    for node in proto.graph.node:
        node.name = ""


def _same_names(proto: ModelProto) -> None:
    for node in proto.graph.node:
        node.name = "node"


def _documented(proto: ModelProto) -> None:
    proto.doc_string, proto.producer_name, proto.producer_version = "a model", "me", "1.2"
    proto.domain, proto.model_version = "org.example", 7
    proto.graph.doc_string = "a graph"
    helper.set_model_props(proto, {"author": "me", "classes": "3"})
    for node in proto.graph.node:
        node.doc_string = f"doc of {node.name}"


def _if(then: str, orelse: str) -> str:
    return (
        f"y = If(c) <then_branch = left () => (T[2,3] t) {{ {then} }}, "
        f"else_branch = right () => (T[2,3] t) {{ {orelse} }}>"
    )


ROWS: list[Case] = [
    # -- opsets ---------------------------------------------------------------------------------
    *(
        case(
            f"opset {opset}",
            "h = Conv(x, W, b)  g = BN(h, a)  r = Relu(g)  p = GlobalAveragePool(r)"
            "  f = Flatten(p)  k = BN(f, c)  y = Gemm(k, V, d)",
            "T[2,3,5,5] x",
            "Conv Relu GlobalAveragePool Flatten Gemm",
            **_CONV,
            a=Norm(3),
            c=Norm(3),
            V=(3, 4),
            d=(4,),
            outputs="T[2,4] y",
            opset=opset,
            ir_version=_ir_version(opset),
            reference=opset >= 15,
            family=f"opset 7 to {_NEWEST}",
            listed=("*",) if opset < 9 else (),
        )
        for opset in range(7, _NEWEST + 1)
    ),
    case(
        "BatchNormalization of opset 7 with spatial=0 behind a Gemm",
        "h = Gemm(x, W, b)  y = BatchNormalization<spatial=0>(h, g, t, m, v)",
        "T[2,3] x",
        "Gemm",
        **_GEMM,
        g=(3,),
        t=(3,),
        m=(3,),
        v=Positive((3,)),
        opset=7,
        reference=False,
    ),
    case(
        "BatchNormalization of opset 7 with spatial=0 behind a Conv: not per channel",
        "h = Conv(x, W, b)  y = BatchNormalization<spatial=0>(h, g, t, m, v)",
        "T[2,3,3,3] x",
        "Conv BatchNormalization",
        "backward BNF202",
        W=(3, 3, 1, 1),
        b=(3,),
        g=(3, 3, 3),
        t=(3, 3, 3),
        m=(3, 3, 3),
        v=Positive((3, 3, 3)),
        opset=7,
        runs=False,
    ),
    case(
        "BatchNormalization of opset 9 with momentum",
        "h = Conv(x, W, b)  y = BatchNormalization<momentum=0.5>(h, g, t, m, v)",
        "T[2,3,3,3] x",
        "Conv",
        **_CONV,
        g=(3,),
        t=(3,),
        m=(3,),
        v=Positive((3,)),
        opset=9,
        reference=False,
    ),
    case(
        "BatchNormalization of opset 15 with training_mode=0 given",
        "h = Conv(x, W, b)  y = BatchNormalization<training_mode=0>(h, g, t, m, v)",
        "T[2,3,3,3] x",
        "Conv",
        **_CONV,
        g=(3,),
        t=(3,),
        m=(3,),
        v=Positive((3,)),
    ),
    case(
        "BatchNormalization with the default epsilon, which is a float32, and tiny variances",
        "h = Conv(x, W, b)  y = BatchNormalization(h, g, t, m, v)",
        "T[2,3,3,3] x",
        "Conv",
        **_CONV,
        g=(3,),
        t=(3,),
        m=(3,),
        v=np.array([1e-6, 2e-6, 5e-7]),
    ),
    # -- types ----------------------------------------------------------------------------------
    *(
        case(
            f"type {dtype}",
            "h = Conv(x, W, b)  g = BN(h, a)  y = Relu(g)",
            "T[2,3,4,4] x",
            "Conv Relu",
            **_CONV,
            a=Norm(3),
            dtype=dtype,
            opset=22,
            ir_version=10,
            runs=dtype != "bfloat16",
        )
        for dtype in ("float16", "bfloat16", "float", "double")
    ),
    case(
        "float16 data, float32 statistics",
        "h = Conv(x, W, b)  y = BatchNormalization(h, g, t, m, v)",
        "T[2,3,4,4] x",
        "Conv",
        **_CONV,
        g=(3,),
        t=(3,),
        m=Typed("float", (3,)),
        v=Typed("float", np.array([0.5, 1.0, 2.0])),
        dtype="float16",
        runs=False,
    ),
    # -- where constants live -------------------------------------------------------------------
    case(
        "weights as Constant nodes",
        "W = Constant<value = T[2,2] {1, -2, 3, 0.5}>()  b = Constant<value = T[2] {1, 2}>()"
        "  s = Constant<value = T[2] {0.5, -3}>()  h = Gemm(x, W, b)  y = Mul(h, s)",
        "T[2,2] x",
        "Gemm",
    ),
    case(
        "Constant nodes with value_floats and value_float",
        "s = Constant<value_floats=[0.5, -3.0, 1.5]>()  t = Constant<value_float=2.0>()"
        "  h = Gemm(x, W, b)  g = Mul(h, s)  y = Add(g, t)",
        "T[2,3] x",
        "Gemm",
        **_GEMM,
        dtype="float",
    ),
    case(
        "weights and statistics through Identity",
        "Wi = Identity(W)  g = Identity(a_gamma)  h = Conv(x, Wi, b)"
        "  y = BatchNormalization(h, g, a_beta, a_mean, a_var)",
        "T[2,3,4,4] x",
        "Conv",
        **_CONV,
        a=Norm(3),
    ),
    case(
        "weights from a constant subexpression",
        "Wt = Transpose<perm=[1,0]>(W)  Ws = Mul(Wt, k)  h = MatMul(x, Ws)  y = Mul(h, s)",
        "T[2,3] x",
        "MatMul",
        W=(4, 3),
        k=2.0,
        s=(4,),
    ),
    case(
        "weights made by ConstantOfShape",
        "W = ConstantOfShape<value = T[1] {0.5}>(n)  h = Conv(x, W)  y = BN(h, a)",
        "T[2,3,4,4] x",
        "Conv",
        n=[3, 3, 3, 3],
        a=Norm(3),
    ),
    case(
        "a weight that a subexpression shares with another reader",
        "Wt = Transpose<perm=[1,0]>(W)  h = MatMul(x, Wt)  y = Mul(h, s)  z = MatMul(x, Wt)",
        "T[2,3] x",
        "Transpose MatMul MatMul",
        outputs="y, z",
        W=(4, 3),
        s=(4,),
    ),
    case(
        "a weight cast from float16",
        "Wc = Cast<to=1>(W)  h = MatMul(x, Wc)  y = Mul(h, s)",
        "T[2,3] x",
        "MatMul",
        W=Typed("float16", (3, 4)),
        s=(4,),
        dtype="float",
    ),
    # -- shared constants -----------------------------------------------------------------------
    case(
        "a kernel shared with a Conv that has no affine",
        "h = Conv(x, W, b)  y = BN(h, a)  z = Conv(x, W, b)",
        "T[2,3,4,4] x",
        "Conv Conv",
        outputs="y, z",
        **_CONV,
        a=Norm(3),
    ),
    case(
        "a kernel and a bias shared by two Convs with affines of their own",
        "h = Conv(x, W, b)  y = BN(h, a)  k = Conv(x, W, b)  z = BN(k, c)",
        "T[2,3,4,4] x",
        "Conv Conv",
        outputs="y, z",
        **_CONV,
        a=Norm(3),
        c=Norm(3),
    ),
    case(
        "a kernel, a bias and statistics shared by two Convs",
        "h = Conv(x, W, b)  y = BN(h, a)  k = Conv(z, W, b)  w = BN(k, a)",
        "T[2,3,4,4] x, T[2,3,4,4] z",
        "Conv Conv",
        outputs="y, w",
        **_CONV,
        a=Norm(3),
    ),
    case(
        "one constant is kernel and scale",
        "h = MatMul(x, W)  y = Mul(h, W)",
        "T[3,3] x",
        "MatMul Mul",
        "backward BNF201",
        W=(3, 3),
    ),
    case(
        "a BatchNormalization whose statistics are one constant",
        "h = Conv(x, W, v)  y = BatchNormalization(h, v, v, v, v)",
        "T[2,3,4,4] x",
        "Conv",
        W=(3, 3, 3, 3),
        v=Positive((3,)),
    ),
    case(
        "a bias that is also the other operand of a later Add",
        "h = Conv(x, W, b)  g = Mul(h, s)  k = Reshape(b, r)  y = Add(g, k)",
        "T[2,3,4,4] x",
        "Conv",
        **_CONV,
        s=(3, 1, 1),
        r=[3, 1, 1],
    ),
    # -- outputs --------------------------------------------------------------------------------
    case(
        "the affine's result is an output and is read",
        "h = Conv(x, W, b)  y = BN(h, a)  z = Relu(y)",
        "T[2,3,4,4] x",
        "Conv Relu",
        outputs="y, z",
        **_CONV,
        a=Norm(3),
    ),
    case(
        "the Conv's own result is an output too",
        _CONV_BN,
        "T[2,3,4,4] x",
        "Conv BatchNormalization",
        "backward BNF102",
        outputs="y, h",
        **_CONV,
        a=Norm(3),
    ),
    case(
        "an output given twice",
        _CONV_BN,
        "T[2,3,4,4] x",
        "Conv",
        **_CONV,
        a=Norm(3),
        change=_repeat_output,
        runs=False,
    ),
    case(
        "a constant that is an output",
        "h = Gemm(x, W, b)  y = Mul(h, s)  z = Identity(s)",
        "T[2,3] x",
        "Gemm Identity",
        outputs="y, z",
        **_GEMM,
        s=(3,),
        expected="",
    ),
    case(
        "an identity affine between input and output must remain an op",
        "y = Mul(x, s)",
        "T[2,3] x",
        "Mul",
        "here BNF102",
        s=1.0,
    ),
    # -- subgraphs ------------------------------------------------------------------------------
    case(
        "within the branches of an If, weights outside",
        _if("h = Gemm(x, W, b)  t = BN(h, a)", "h2 = Gemm(x, W, b)  t = Mul(h2, s)"),
        "bool c, T[2,3] x",
        "If Gemm Gemm",
        outputs="T[2,3] y",
        **_GEMM,
        a=Norm(3),
        s=(3,),
    ),
    case(
        "both branches use the same names",
        _if("t = Mul(x, s)", "t = Sigmoid(x)"),
        "bool c, T[2,3] x",
        "If Mul Sigmoid",
        "backward BNF103",
        outputs="T[2,3] y",
        s=(3,),
    ),
    case(
        "an affine whose result a branch reads",
        "g = BN(x, a)  " + _if("t = Gemm(g, W, b)", "t = Identity(g)"),
        "bool c, T[2,3] x",
        "BatchNormalization If Gemm Identity",
        "forward BNF103",
        outputs="T[2,3] y",
        **_GEMM,
        a=Norm(3),
    ),
    case(
        "an affine that a branch reads behind another op",
        "h = BN(x, a)  s = Sigmoid(h)  g = Gemm(h, W, b)"
        "  y = If(c) <then_branch = t () => (T[2,3] u) { u = Identity(s) },"
        " else_branch = e () => (T[2,3] v) { v = Identity(g) }>",
        "T[2,3] x, bool c",
        "BatchNormalization Sigmoid Gemm If Identity Identity",
        "forward BNF204",
        W=(3, 3),
        b=(3,),
        a=Norm(3),
    ),
    case(
        "a Conv's result that a branch reads beside the affine",
        "h = Gemm(x, W, b)  g = BN(h, a)  "
        + _if("t = Sigmoid(h)", "t = Identity(h)")
        + "  z = Relu(g)",
        "bool c, T[2,3] x",
        "Gemm BatchNormalization If Sigmoid Identity Relu",
        "backward BNF103",
        outputs="T[2,3] y, z",
        **_GEMM,
        a=Norm(3),
    ),
    case(
        "within the body of a Loop",
        "y = Loop(n, , x) <body = step (int64 i, bool k, T[2,3] v) => (bool k2, T[2,3] v2) "
        "{ k2 = Identity(k)  h = Gemm(v, W, b)  v2 = BN(h, a) }>",
        "T[2,3] x",
        "Loop Identity Gemm",
        outputs="T[2,3] y",
        **_GEMM,
        a=Norm(3),
        n=np.array(2),
    ),
    case(
        "within the body of a Scan",
        "y = Scan<num_scan_inputs=1, body = step (T[3] v) => (T[3] w) "
        "{ h = MatMul(v, W)  w = Mul(h, s) }>(x)",
        "T[2,3] x",
        "Scan MatMul",
        outputs="T[2,3] y",
        W=(3, 3),
        s=(3,),
    ),
    # -- functions and domains --------------------------------------------------------------------
    case(
        "within a local function, its weights Constant nodes",
        "y = my.block(x)",
        "T[2,2] x",
        "block Gemm",
        outputs="T[2,2] y",
        imports={"my": 1},
        functions=(
            '<opset_import: ["": 17], domain: "my"> block (x) => (y) {'
            " W = Constant<value = T[2,2] {1, -2, 3, 0.5}>()"
            " s = Constant<value = T[2] {0.5, -3}>()  h = Gemm(x, W)  y = Mul(h, s) }",
        ),
    ),
    case(
        "within a local function that is called with two shapes, and calls another",
        "h = my.block(x)  k = my.block(z)  y = Relu(h)  w = Relu(k)",
        "T[2,2] x, T[5,2] z",
        "block block Relu Relu Gemm Add inner",
        "forward BNF105",
        outputs="T[2,2] y, T[5,2] w",
        imports={"my": 1},
        functions=(
            '<opset_import: ["": 17], domain: "my"> inner (x) => (y) {'
            " W = Constant<value = T[2,2] {1, -2, 3, 0.5}>()"
            " s = Constant<value = T[2] {0.5, -3}>()  h = Gemm(x, W)  y = Mul(h, s) }",
            '<opset_import: ["": 17, "my": 1], domain: "my"> block (x) => (y) {'
            " t = Constant<value = T[2] {0.25, 4}>()  h = Add(x, t)  y = my.inner(h) }",
        ),
    ),
    case(
        "within a local function whose attribute the caller gives",
        "y = my.block<axis = 1>(x)",
        "T[2,2] x",
        "block Concat Mul",
        outputs="T[2,4] y",
        imports={"my": 1},
        functions=(
            '<opset_import: ["": 17], domain: "my"> block <axis>(x) => (y) {'
            " s = Constant<value = T[4] {0.5, -3, 1, 2}>()"
            "  h = Concat<axis: int = @axis>(x, x)  y = Mul(h, s) }",
        ),
    ),
    case(
        "within a local function that is called with a size that its constant widens",
        "y = my.block(x)  w = my.block(z)",
        "T[3,2] x, T[3,1] z",
        "block block Mul Mul",
        "here BNF108",
        outputs="T[3,2] y, T[3,2] w",
        imports={"my": 1},
        functions=(
            '<opset_import: ["": 17], domain: "my"> block (x) => (y) {'
            " s = Constant<value = T[2] {2, 4}>()  r = Constant<value = T[2] {0.5, 0.25}>()"
            "  h = Mul(x, s)  y = Mul(h, r) }",
        ),
    ),
    case(
        "within a local function whose shapes rest on an attribute of the caller",
        "y = my.block<perm = [0, 1]>(x)",
        "T[2,1] x",
        "block Transpose Mul Mul",
        outputs="T[2,2] y",
        imports={"my": 1},
        functions=(
            '<opset_import: ["": 17], domain: "my"> block <perm>(x) => (y) {'
            " s = Constant<value = T[2] {2, 4}>()  r = Constant<value = T[2] {0.5, 0.25}>()"
            "  k = Transpose<perm: ints = @perm>(x)  h = Mul(k, s)  y = Mul(h, r) }",
        ),
    ),
    case(
        "within a local function, its weights handed over by the caller",
        "y = my.block(x, W, s)",
        "T[2,3] x",
        "block MatMul Mul",
        outputs="T[2,3] y",
        imports={"my": 1},
        functions=(
            '<opset_import: ["": 17], domain: "my"> block (x, W, s) => (y) {'
            " h = MatMul(x, W)  y = Mul(h, s) }",
        ),
        W=(3, 3),
        s=(3,),
    ),
    case(
        "a call of a function is no op that an affine passes",
        "h = Gemm(x, W, b)  g = my.block(h)  y = Mul(g, s)",
        "T[2,3] x",
        "Gemm block Mul Relu",
        "backward BNF105",
        outputs="T[2,3] y",
        imports={"my": 1},
        functions=('<opset_import: ["": 17], domain: "my"> block (x) => (y) { y = Relu(x) }',),
        **_GEMM,
        s=Positive((3,)),
    ),
    case(
        "an op of a domain that nobody here knows, behind the affine",
        "h = Gemm(x, W, b)  g = BN(h, a)  y = org.example.Strange<k=3>(g)",
        "T[2,3] x",
        "Gemm Strange",
        outputs="T[2,3] y",
        imports={"org.example": 1},
        **_GEMM,
        a=Norm(3),
        runs=False,
    ),
    case(
        "an op of a domain that nobody here knows, named like one that everybody does",
        "h = org.example.Gemm(x, W, b)  y = BN(h, a)",
        "T[2,3] x",
        "Gemm BatchNormalization",
        "here BNF108",
        outputs="T[2,3] y",
        imports={"org.example": 1},
        **_GEMM,
        a=Norm(3),
        runs=False,
    ),
    # -- inputs and versions ----------------------------------------------------------------------
    case(
        "IR 3: initializers are listed as inputs, and constant all the same",
        "h = Gemm(x, W, b)  y = BN(h, a)",
        "T[2,3] x",
        "Gemm",
        **_GEMM,
        a=Norm(3),
        listed=("*",),
        ir_version=3,
        opset=8,
        reference=False,
    ),
    case(
        "IR 3 with initializers that are not listed",
        "h = Gemm(x, W, b)  y = BN(h, a)",
        "T[2,3] x",
        "Gemm",
        **_GEMM,
        a=Norm(3),
        ir_version=3,
        opset=8,
        runs=False,
        valid=False,
    ),
    case(
        "overridable initializers, allowed by the option",
        "h = Gemm(x, W, b)  y = BN(h, a)",
        "T[2,3] x",
        "Gemm",
        **_GEMM,
        a=Norm(3),
        listed=("*",),
        options=FoldOptions(fold_overridable=True),
    ),
    case(
        "symbolic batch, height and width",
        "h = Conv(x, W, b)  g = BN(h, a)  y = Relu(g)",
        "T[N,3,H,W] x",
        "Conv Relu",
        outputs="T[N,3,h,w] y",
        W=(3, 3, 2, 2),
        b=(3,),
        a=Norm(3),
    ),
    case(
        "symbolic channels: how many there are, only the BatchNormalization tells",
        "h = BN(x, a)  y = Conv<pads=[1,1,1,1]>(h, W)",
        "T[N,C,4,4] x",
        "BatchNormalization Conv",
        "forward BNF203",
        outputs="T[N,4,4,4] y",
        W=(4, 3, 3, 3),
        a=Norm(3),
    ),
    case(
        "symbolic channels: a constant of as many might widen the value",
        "h = Mul(x, s)  y = Conv(h, W)",
        "T[N,C,4,4] x",
        "Mul Conv",
        "here BNF108",
        outputs="T[N,4,2,2] y",
        W=(4, 3, 3, 3),
        s=(3, 1, 1),
    ),
    case(
        "a body whose shapes rest on constants of the graph around it",
        "y = If(c) <then_branch = a () => (T[2,4] u) { r = Reshape(x, n)  g = BN(r, e)"
        "  p = GlobalAveragePool(g)  f = Flatten(p)  u = Gemm(f, W, b) },"
        " else_branch = d () => (T[2,4] v) { q = Reshape(x, n)  p2 = GlobalAveragePool(q)"
        "  f2 = Flatten(p2)  v = Gemm(f2, W, b) }>",
        "T[2,48] x, bool c",
        "If Reshape GlobalAveragePool Flatten Gemm Reshape GlobalAveragePool Flatten Gemm",
        outputs="T[2,4] y",
        n=[0, 3, 4, 4],
        W=(3, 4),
        b=(4,),
        e=Norm(3),
    ),
    case(
        "an empty batch",
        _CONV_BN,
        "T[0,3,4,4] x",
        "Conv",
        **_CONV,
        a=Norm(3),
        runs=False,
    ),
    # -- names and notes -----------------------------------------------------------------------
    case(
        "names that a folded constant would take are taken",
        "W_folded = Relu(x)  h = Gemm(W_folded, W, b)  y = BN(h, a)  b_folded = Gemm(x, W, b)",
        "T[2,3] x",
        "Relu Gemm Gemm",
        outputs="y, b_folded",
        **_GEMM,
        a=Norm(3),
        W_folded_2=(1,),
    ),
    case(
        "a bias that is created does not take a name in use",
        "h_bias = Relu(x)  h = Conv(h_bias, W)  y = BN(h, a)",
        "T[2,3,4,4] x",
        "Relu Conv",
        W=(3, 3, 3, 3),
        a=Norm(3),
    ),
    case(
        "nodes without names",
        "h = Conv(x, W, b)  g = BN(h, a)  y = Sigmoid(g)",
        "T[2,3,4,4] x",
        "Conv Sigmoid",
        **_CONV,
        a=Norm(3),
        change=_unnamed,
    ),
    case(
        "nodes of one name",
        "h = Conv(x, W, b)  g = BN(h, a)  y = Sigmoid(g)",
        "T[2,3,4,4] x",
        "Conv Sigmoid",
        **_CONV,
        a=Norm(3),
        change=_same_names,
        runs=False,
    ),
    case(
        "documentation, metadata, producer and order",
        "h = Conv(x, W, b)  g = BN(h, a)  k = Relu(g)  m = BN(x, c)  y = Sigmoid(m)  z = Neg(k)",
        "T[2,3,4,4] x",
        "Conv Relu BatchNormalization Sigmoid Neg",
        "forward BNF204",
        outputs="y, z",
        **_CONV,
        a=Norm(3),
        c=Norm(3),
        change=_documented,
    ),
]
