"""What exporters write: shapes that are computed, weights cut to order, ops of other domains."""

from __future__ import annotations

import numpy as np

from tests.formats.onnx.support.build import Norm, Positive
from tests.formats.onnx.support.cases import Case, case

_ML = {"ai.onnx.ml": 3}
_VIEW = (
    "g = BN(x, a)  s = Shape(x)  n = Gather(s, i)  {lift}  c = Concat<axis=0>(u, m)"
    "  r = Reshape(g, c)  y = Gemm(r, W, b)"
)
_TOKENS = (
    "h = Conv(x, W, b)  s = Shape(h)  n = Slice(s, i, j, i)  c = Concat<axis=0>(n, m)"
    "  r = Reshape(h, c)  g = BN(r, a)  t = Transpose<perm=[0,2,1]>(g)  k = MatMul(t, V)"
    "  y = Add(k, d)"
)
_HEADS = (
    "h = MatMul(x, W)  g = Add(h, b)  q = {cut}(g, o, p, l)  k = {cut}(g, p, r, l)"
    "  v = {cut}(g, r, e, l)  kt = Transpose<perm=[0,2,1]>(k)  s = MatMul(q, kt)  u = Mul(s, f)"
    "  w = Softmax<axis=-1>(u)  y = MatMul(w, v)"
)


def _views() -> list[Case]:
    """x.view(x.size(0), -1), as the opsets write it, with a named and with an unnamed batch."""
    rows = []
    for opset in (9, 11, 12, 13, 15, 21):
        for batch in ("N", "?"):
            lift = "u = Unsqueeze<axes=[0]>(n)" if opset < 13 else "u = Unsqueeze(n, l)"
            rows.append(
                case(
                    f"PyTorch: a flatten by view, opset {opset}, batch {batch}",
                    _VIEW.format(lift=lift),
                    f"T[{batch},3,4,4] x",
                    "Shape Gather Unsqueeze Concat Reshape Gemm",
                    a=Norm(3),
                    i=np.array(0),
                    m=[-1],
                    W=(48, 5),
                    b=(5,),
                    opset=opset,
                    ir_version=8 if opset < 21 else 10,
                    outputs=f"T[{batch},5] y",
                    reference=opset >= 15,
                    family="PyTorch: a flatten by view (Shape, Gather, Concat), opsets 9 to 21",
                    **({} if opset < 13 else {"l": [0]}),
                )
            )
    return rows


def _tokens() -> list[Case]:
    """x.flatten(2).transpose(1, 2): behind such a Reshape onnx knows no rank before opset 14."""
    return [
        case(
            f"PyTorch: patches to tokens, normalized, opset {opset}",
            _TOKENS,
            "T[N,3,4,4] x",
            "Conv Shape Slice Concat Reshape Transpose MatMul Add",
            W=(4, 3, 1, 1),
            b=(4,),
            a=Norm(4),
            i=[0],
            j=[2],
            m=[-1],
            V=(4, 5),
            d=(5,),
            opset=opset,
            outputs="T[N,16,5] y",
            reference=opset >= 15,
            family="PyTorch: patches to tokens, normalized, opsets 11 to 17",
        )
        for opset in (11, 13, 17)
    ]


ROWS = [
    *_views(),
    *_tokens(),
    case(
        "PyTorch: the attention scale goes to the queries' part of one kernel for Q, K and V",
        _HEADS.format(cut="Slice"),
        "T[2,5,3] x",
        "MatMul Add Slice Slice Slice Transpose MatMul Softmax MatMul",
        W=(3, 12),
        b=(12,),
        o=[0],
        p=[4],
        r=[8],
        e=[12],
        l=[2],
        f=0.5,
    ),
    case(
        "PyTorch: the same where the slices overlap",
        _HEADS.replace("{cut}(g, p, r, l)", "{cut}(g, n, m, l)").format(cut="Slice"),
        "T[2,5,3] x",
        "MatMul Add Slice Slice Slice Transpose MatMul Mul Softmax MatMul",
        "backward BNF101",
        W=(3, 12),
        b=(12,),
        o=[0],
        p=[4],
        n=[3],
        m=[7],
        r=[8],
        e=[12],
        l=[2],
        f=0.5,
    ),
    case(
        "PyTorch: of one Transpose of the value only the shape is read",
        "g = BN(x, a)  t = Transpose<perm=[0,2,1]>(g)  s = Shape(t)  z = ConstantOfShape(s)"
        "  k = Transpose<perm=[0,2,1]>(g)  h = MatMul(k, W)  y = Add(h, b)",
        "T[2,3,4] x",
        "Transpose Shape ConstantOfShape Transpose MatMul Add",
        outputs="y, float[2,4,3] z",
        W=(3, 4),
        b=(4,),
        a=Norm(3),
    ),
    case(
        "PyTorch without optimization: a bias of zeros by Expand and CastLike",
        "n = Shape<start=0, end=1>(W)  e = Expand(o, n)  z = CastLike(e, x)  h = Conv(x, W, z)"
        "  y = BN(h, a)",
        "T[2,3,4,4] x",
        "Conv",
        W=(4, 3, 1, 1),
        a=Norm(4),
        o=0.0,
    ),
    case(
        "PyTorch without optimization: gates of an LSTM cut from its weights and put in order",
        "a = Slice(W, i, j, i)  b = Slice(W, j, k, i)  v = Concat<axis=0>(b, a)"
        "  w = Unsqueeze(v, i)  m = Mul(x, s)  n = Add(m, t)  y = LSTM<hidden_size=2>(n, w, R)",
        "T[5,2,3] x",
        "LSTM",
        outputs="T[5,1,2,2] y",
        W=(8, 3),
        R=(1, 8, 2),
        s=(3,),
        t=(3,),
        i=[0],
        j=[4],
        k=[8],
    ),
    case(
        "a reader on which no output depends",
        "h = Conv(x, W)  y = BN(h, a)  z = Sigmoid(h)",
        "T[2,3,4,4] x",
        "Conv Sigmoid",
        W=(4, 3, 1, 1),
        a=Norm(4),
    ),
    case(
        "a piece of a Split that nobody reads",
        "h = BN(x, a)  p, q = Split<axis=1>(h, n)  y = Conv(q, W, b)",
        "T[2,4,4,4] x",
        "Split Conv",
        W=(3, 2, 1, 1),
        b=(3,),
        a=Norm(4),
        n=[2, 2],
    ),
    case(
        "scikit-learn: StandardScaler, then a multilayer perceptron",
        "h = ai.onnx.ml.Scaler<offset=[1.0,2.0,3.0], scale=[0.5,2.0,-1.0]>(x)  c = Cast<to=1>(h)"
        "  g = MatMul(c, W)  k = Add(g, b)  r = Relu(k)  l = MatMul(r, V)  y = Add(l, d)",
        "T[N,3] x",
        "Cast Gemm Relu MatMul Add",
        outputs="T[N,2] y",
        W=(3, 4),
        b=(4,),
        V=(4, 2),
        d=(2,),
        imports=_ML,
        dtype="float",
    ),
    case(
        "scikit-learn: SimpleImputer, StandardScaler, then PCA",
        "i = ai.onnx.ml.Imputer<imputed_value_floats=[0.5], replaced_value_float=-9.0>(x)"
        "  h = ai.onnx.ml.Scaler<offset=[1.0,2.0,3.0], scale=[0.5,2.0,-1.0]>(i)  g = Sub(h, m)"
        "  y = MatMul(g, W)",
        "T[N,3] x",
        "Imputer Gemm",
        outputs="T[N,2] y",
        m=(3,),
        W=(3, 2),
        imports=_ML,
        dtype="float",
    ),
    case(
        "scikit-learn: a ColumnTransformer with a scaler for each group of columns",
        "p = ai.onnx.ml.ArrayFeatureExtractor(x, i)  q = ai.onnx.ml.ArrayFeatureExtractor(x, j)"
        "  h = ai.onnx.ml.Scaler<offset=[1.0,2.0], scale=[0.5,-1.0]>(p)  g = Mul(q, s)"
        "  k = Add(g, t)  c = Concat<axis=1>(h, k)  l = MatMul(c, W)  y = Add(l, b)",
        "T[N,4] x",
        "ArrayFeatureExtractor ArrayFeatureExtractor Concat Gemm",
        outputs="T[N,3] y",
        i=[0, 2],
        j=[1, 3],
        s=(1, 2),
        t=(1, 2),
        W=(4, 3),
        b=(3,),
        imports=_ML,
        dtype="float",
    ),
    case(
        "scikit-learn: StandardScaler, then a LinearRegressor, whose coefficients are attributes",
        "h = ai.onnx.ml.Scaler<offset=[1.0,2.0,3.0], scale=[0.5,2.0,-1.0]>(x)"
        "  y = ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0,3.0], intercepts=[0.5]>(h)",
        "T[N,3] x",
        "Scaler LinearRegressor",
        "forward BNF105",
        outputs="T[N,1] y",
        imports=_ML,
        dtype="float",
    ),
    case(
        "a LayerNormalization by parts, its scale and shift into the next Gemm",
        "m = ReduceMean<axes=[-1]>(x)  d = Sub(x, m)  p = Pow(d, e)  v = ReduceMean<axes=[-1]>(p)"
        "  w = Add(v, f)  q = Sqrt(w)  n = Div(d, q)  g = Mul(n, s)  h = Add(g, t)"
        "  y = Gemm(h, W, b)",
        "T[N,4] x",
        "ReduceMean Sub Pow ReduceMean Add Sqrt Div Gemm",
        "backward BNF204",
        s=(4,),
        t=(4,),
        e=2.0,
        f=1e-5,
        W=(4, 3),
        b=(3,),
    ),
    case(
        "GeM pooling: a norm of each channel passes positive scales",
        "h = Conv(x, W)  p = GlobalLpPool<p=3>(h)  f = Flatten(p)  y = Mul(f, s)",
        "T[2,3,4,4] x",
        "Conv GlobalLpPool Flatten",
        W=(4, 3, 1, 1),
        s=Positive((4,)),
        reference=False,
    ),
]
