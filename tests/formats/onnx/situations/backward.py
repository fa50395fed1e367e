"""Backward: the affine stands behind the op whose kernel and bias take it."""

from __future__ import annotations

from itertools import product

import numpy as np

from tests.formats.onnx.support.build import Norm, Positive, Typed
from tests.formats.onnx.support.cases import Case, case

_BIASES: dict[str, tuple[int, ...] | None] = {
    "no C": None,
    "scalar C": (),
    "C of [1]": (1,),
    "C of [N]": (3,),
    "C of [1,N]": (1, 3),
    "C of [M,N]": (3, 3),
    "C of [M,1]": (3, 1),
}


def _gemms() -> list[Case]:
    """Every combination of transposes, factors and shapes of C."""
    rows = []
    for (name, shape), trans_a, trans_b, alpha, beta in product(
        _BIASES.items(), (0, 1), (0, 1), (1.0, -0.5), (1.0, 2.0, 0.0)
    ):
        c = "" if shape is None else ", C"
        weights = {} if shape is None else {"C": shape}
        attributes = f"transA={trans_a}, transB={trans_b}, alpha={alpha}, beta={beta}"
        title = f"Gemm, {name}, {attributes}"
        rows.append(
            case(
                title,
                f"h = Gemm<{attributes}>(x, W{c})  y = BN(h, a)",
                "T[3,3] x",
                "Gemm",
                W=(3, 3),
                a=Norm(3),
                **weights,
                family="Gemm with every transA, transB, alpha, beta and shape of C",
            )
        )
    return rows


_I8 = np.arange(-32, 32, dtype=np.int8)
_I32 = np.array([7, -300, 44], dtype=np.int32)

ROWS = [
    *_gemms(),
    # -- MatMul ---------------------------------------------------------------------------
    case(
        "MatMul, rank 2, BatchNormalization: becomes a Gemm",
        "h = MatMul(x, W)  y = BN(h, a)",
        "T[3,4] x",
        "Gemm",
        W=(4, 3),
        a=Norm(3),
    ),
    case(
        "MatMul -> Add -> Mul -> Add (Keras Dense and BN)",
        "h = MatMul(x, W)  g = Add(h, b)  k = Mul(g, s)  y = Add(k, t)",
        "T[N,4] x",
        "Gemm",
        W=(4, 3),
        b=(3,),
        s=(3,),
        t=(3,),
    ),
    case(
        "MatMul, bias on the left of the Add",
        "h = MatMul(x, W)  g = Add(b, h)  k = Mul(s, g)  y = Add(t, k)",
        "T[N,4] x",
        "Gemm",
        W=(4, 3),
        b=(3,),
        s=(3,),
        t=(3,),
    ),
    case(
        "MatMul, rank 3, without bias: the shift is its bias",
        "h = MatMul(x, W)  k = Mul(h, s)  y = Add(k, t)",
        "T[N,3,3] x",
        "MatMul Add",
        W=(3, 3),
        s=(3,),
        t=(3,),
    ),
    case(
        "MatMul, rank 4, kernel per head",
        "h = MatMul(x, W)  y = Mul(h, s)",
        "T[N,3,3,3] x",
        "MatMul",
        W=(3, 3, 3),
        s=(3, 1, 3),
    ),
    case(
        "MatMul, constant on the left",
        "h = MatMul(W, x)  k = Mul(h, s)  y = Add(k, t)",
        "T[N,4,3] x",
        "MatMul Add",
        W=(3, 4),
        s=(3, 1),
        t=(3, 1),
    ),
    case(
        "MatMul -> Transpose -> BatchNormalization on a rank 3 value",
        "h = MatMul(x, W)  g = Add(h, b)  k = Transpose<perm=[0,2,1]>(g)  y = BN(k, a)",
        "T[3,3,3] x",
        "MatMul Add Transpose",
        W=(3, 3),
        b=(3,),
        a=Norm(3),
    ),
    case(
        "MatMul -> Reshape -> BatchNormalization (Dense on 3-D)",
        "h = MatMul(x, W)  g = Reshape(h, r)  k = BN(g, a)  y = Reshape(k, q)",
        "T[2,3,3] x",
        "MatMul Reshape Add Reshape",
        W=(3, 3),
        a=Norm(3),
        r=[6, 3],
        q=[2, 3, 3],
    ),
    case(
        "MatMul -> Reshape with a computed shape -> Mul -> Add",
        "z = Shape(x)  n = Slice(z, i0, i2, i0)  r = Concat<axis=0>(n, w)  h = MatMul(x, W)"
        "  g = Reshape(h, r)  k = Mul(g, s)  y = Add(k, t)",
        "T[N,L,4] x",
        "Shape Slice Concat MatMul Reshape Add",
        outputs="T[N,L,1,3] y",
        W=(4, 3),
        s=(3,),
        t=(3,),
        i0=[0],
        i2=[2],
        w=[1, 3],
        runs=True,
    ),
    # -- convolutions -----------------------------------------------------------------------
    *(
        case(
            f"Conv {rank}-D",
            "h = Conv(x, W, b)  y = BN(h, a)",
            f"T[2,4{',5' * rank}] x",
            "Conv",
            W=(3, 4, *(2,) * rank),
            b=(3,),
            a=Norm(3),
            family="Conv 1-D, 2-D, 3-D",
        )
        for rank in (1, 2, 3)
    ),
    case(
        "Conv, padded, strided, dilated",
        "h = Conv<pads=[1,2,1,0], strides=[2,1], dilations=[1,2]>(x, W)  y = BN(h, a)",
        "T[2,4,7,7] x",
        "Conv",
        W=(3, 4, 3, 3),
        a=Norm(3),
    ),
    case(
        "Conv with auto_pad",
        'h = Conv<auto_pad="SAME_UPPER">(x, W, b)  y = BN(h, a)',
        "T[2,4,5,5] x",
        "Conv",
        W=(3, 4, 3, 3),
        b=(3,),
        a=Norm(3),
    ),
    case(
        "Conv, grouped",
        "h = Conv<group=2>(x, W, b)  y = BN(h, a)",
        "T[2,4,4,4] x",
        "Conv",
        W=(4, 2, 3, 3),
        b=(4,),
        a=Norm(4),
    ),
    case(
        "Conv, depthwise with multiplier 2",
        "h = Conv<group=3>(x, W)  y = BN(h, a)",
        "T[2,3,4,4] x",
        "Conv",
        W=(6, 1, 3, 3),
        a=Norm(6),
    ),
    case(
        "separable: depthwise, then pointwise",
        "g = Conv<group=3>(x, D)  h = Conv(g, W, b)  y = BN(h, a)",
        "T[2,3,4,4] x",
        "Conv Conv",
        D=(3, 1, 3, 3),
        W=(5, 3, 1, 1),
        b=(5,),
        a=Norm(5),
    ),
    case(
        'Conv whose bias is given as ""',
        "h = Conv(x, W, )  y = BN(h, a)",
        "T[2,4,4,4] x",
        "Conv",
        W=(3, 4, 3, 3),
        a=Norm(3),
    ),
    case(
        "Conv -> Mul -> Add by [C,1,1]",
        "h = Conv(x, W, b)  g = Mul(h, s)  y = Add(t, g)",
        "T[2,4,4,4] x",
        "Conv",
        W=(3, 4, 3, 3),
        b=(3,),
        s=(3, 1, 1),
        t=(1, 3, 1, 1),
    ),
    case(
        "Conv -> Sub -> Div by scalars",
        "h = Conv(x, W)  g = Sub(h, t)  y = Div(g, s)",
        "T[2,4,4,4] x",
        "Conv",
        W=(3, 4, 3, 3),
        s=2.5,
        t=0.75,
    ),
    case(
        "Conv -> Squeeze -> affine (Keras Conv1D)",
        "h = Conv(x, W)  q = Squeeze(h, ax)  g = Add(q, b)  k = Mul(g, s)  y = Add(k, t)",
        "T[N,4,1,7] x",
        "Conv Squeeze",
        W=(3, 4, 1, 3),
        ax=[2],
        b=(3, 1),
        s=(3, 1),
        t=(3, 1),
    ),
    case(
        "Conv -> Transpose to channels last -> affine (Keras Conv2D)",
        "h = Conv(x, W)  q = Transpose<perm=[0,2,3,1]>(h)  g = Add(q, b)  k = Mul(g, s)"
        "  y = Add(k, t)",
        "T[N,4,5,5] x",
        "Conv Transpose",
        W=(3, 4, 3, 3),
        b=(3,),
        s=(3,),
        t=(3,),
    ),
    case(
        "ConvTranspose",
        "h = ConvTranspose<strides=[2,2], output_padding=[1,1]>(x, W, b)  y = BN(h, a)",
        "T[2,4,4,4] x",
        "ConvTranspose",
        W=(4, 3, 3, 3),
        b=(3,),
        a=Norm(3),
    ),
    case(
        "ConvTranspose, grouped, with output_padding",
        "h = ConvTranspose<group=2, strides=[2,2], output_padding=[1,1]>(x, W)  y = BN(h, a)",
        "T[2,4,4,4] x",
        "ConvTranspose",
        W=(4, 3, 3, 3),
        a=Norm(6),
        reference=False,
    ),
    # -- other kernels ------------------------------------------------------------------------
    case(
        "Einsum (Keras EinsumDense)",
        'h = Einsum<equation="abc,cd->abd">(x, W)  g = Add(h, b)  k = Mul(g, s)  y = Add(k, t)',
        "T[N,3,4] x",
        "Einsum Add",
        W=(4, 3),
        b=(3,),
        s=(3,),
        t=(3,),
    ),
    case(
        "Einsum into heads",
        'h = Einsum<equation="abc,cde->adbe">(x, W)  y = Mul(h, s)',
        "T[N,3,4] x",
        "Einsum",
        W=(4, 3, 3),
        s=(3, 1, 3),
    ),
    case(
        "an embedding table (Gather on a constant)",
        "h = Gather(E, i)  g = Mul(h, s)  y = Add(g, t)",
        "int64[N,L] i",
        "Gather",
        E=(5, 3),
        s=(3,),
        t=(3,),
    ),
    case(
        "an embedding table, then Transpose and BatchNormalization",
        "h = Gather(E, i)  g = Transpose<perm=[0,2,1]>(h)  y = BN(g, a)",
        "int64[N,L] i",
        "Gather Transpose",
        E=(5, 3),
        a=Norm(3),
    ),
    case(
        "a LayerNormalization's own scale and bias",
        "h = LayerNormalization(x, g, b)  k = Mul(h, s)  y = Add(k, t)",
        "T[N,3,3] x",
        "LayerNormalization",
        g=(3,),
        b=(3,),
        s=(3,),
        t=(3,),
    ),
    # -- quantized weights -----------------------------------------------------------------
    case(
        "weight behind DequantizeLinear, per axis",
        "d = DequantizeLinear<axis=0>(q, ws, z)  h = Conv(x, d, b)  y = BN(h, a)",
        "T[2,4,3,3] x",
        "DequantizeLinear Conv",
        q=_I8[:48].reshape(3, 4, 2, 2),
        ws=Positive((3,)),
        z=np.array([1, -2, 0], dtype=np.int8),
        b=(3,),
        a=Norm(3),
        dtype="float",
        opset=13,
        reference=False,
    ),
    case(
        "weight behind DequantizeLinear, per axis of a Gemm with transB",
        "d = DequantizeLinear<axis=0>(q, ws)  h = Gemm<transB=1>(x, d, b)  y = BN(h, a)",
        "T[2,4] x",
        "DequantizeLinear Gemm",
        q=_I8[:12].reshape(3, 4),
        ws=Positive((3,)),
        b=(3,),
        a=Norm(3),
        dtype="float",
        opset=13,
        reference=False,
    ),
    case(
        "weight behind DequantizeLinear, per tensor, uniform affine",
        "d = DequantizeLinear(q, ws)  h = Conv(x, d, b)  g = Mul(h, s)  y = Add(g, t)",
        "T[2,4,3,3] x",
        "DequantizeLinear Conv",
        q=_I8[:48].reshape(3, 4, 2, 2),
        ws=Positive(()),
        b=(3,),
        s=(),
        t=(),
        dtype="float",
        opset=13,
        reference=False,
    ),
    case(
        "int32 bias behind DequantizeLinear takes a scale in its own scale",
        "d = DequantizeLinear<axis=0>(q, ws)  e = DequantizeLinear<axis=0>(qb, bs)"
        "  h = Conv(x, d, e)  y = Mul(h, s)",
        "T[2,4,3,3] x",
        "DequantizeLinear DequantizeLinear Conv",
        q=_I8[:48].reshape(3, 4, 2, 2),
        ws=Positive((3,)),
        qb=_I32,
        bs=Positive((3,)),
        s=(3, 1, 1),
        dtype="float",
        opset=13,
        reference=False,
    ),
    case(
        "int32 bias behind DequantizeLinear cannot take a shift exactly: only the scale goes",
        "d = DequantizeLinear<axis=0>(q, ws)  e = DequantizeLinear<axis=0>(qb, bs)"
        "  h = Conv(x, d, e)  y = BN(h, a)",
        "T[2,4,3,3] x",
        "DequantizeLinear DequantizeLinear Conv Add",
        "backward BNF210",
        q=_I8[:48].reshape(3, 4, 2, 2),
        ws=Positive((3,)),
        qb=_I32,
        bs=Positive((3,)),
        a=Norm(3),
        dtype="float",
        opset=13,
        reference=False,
    ),
    case(
        "a dequantized value takes a uniform scale",
        "d = DequantizeLinear(q, ws)  y = Mul(d, s)",
        "int8[3,4] q",
        "DequantizeLinear",
        ws=Positive(()),
        s=0.25,
        dtype="float",
        opset=13,
        reference=False,
    ),
    # -- mixed precision -------------------------------------------------------------------
    case(
        "Cast to float32 between (mixed precision)",
        "h = Conv(x, W, b)  c = Cast<to=1>(h)  g = Mul(c, s)  k = Add(g, t)  y = Cast<to=10>(k)",
        "float16[2,4,4,4] x",
        "Conv Cast Cast",
        W=(3, 4, 3, 3),
        b=(3,),
        s=Typed("float", (3, 1, 1)),
        t=Typed("float", (3, 1, 1)),
        dtype="float16",
    ),
    # -- several readers ---------------------------------------------------------------------
    case(
        "two branches of one input, each with its own affine",
        "h = Conv(x, W)  k = Conv(x, V)  g = BN(h, a)  m = BN(k, c)  y = Add(g, m)",
        "T[2,4,4,4] x",
        "Conv Conv Add",
        W=(3, 4, 3, 3),
        V=(3, 4, 3, 3),
        a=Norm(3),
        c=Norm(3),
    ),
    case(
        "a Shape reads the same value",
        "h = Conv(x, W)  y = BN(h, a)  z = Shape(h)",
        "T[N,4,4,4] x",
        "Conv Shape",
        outputs="y, z",
        W=(3, 4, 3, 3),
        a=Norm(3),
    ),
]
