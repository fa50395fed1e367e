"""Laws of arithmetic, of normalizations that are affines, and of activations."""

from __future__ import annotations

import numpy as np

from tests.formats.onnx.support.build import Norm, Positive
from tests.formats.onnx.support.cases import Case, case

Laws = dict[str, tuple[Case, ...]]
_GEMM = {"W": (4, 3), "b": (3,)}
_SQUARE = {"W": (3, 3), "b": (3,)}
_TWO = "g = Gemm(x, W, b)  h = Gemm(x, V, c)"
_PAIR = {**_GEMM, "V": (4, 3), "c": (3,)}

ACTIVATIONS = {
    "Celu": "m = Celu(h)",
    "Elu": "m = Elu(h)",
    "Erf": "m = Erf(h)",
    "Exp": "m = Exp(h)",
    "Gelu": "m = Gelu(h)",
    "HardSigmoid": "m = HardSigmoid(h)",
    "HardSwish": "m = HardSwish(h)",
    "Hardmax": "m = Hardmax(h)",
    "Log": "m = Log(h)",
    "LogSoftmax": "m = LogSoftmax(h)",
    "Mish": "m = Mish(h)",
    "Pow": "m = Pow(h, p)",
    "Reciprocal": "m = Reciprocal(h)",
    "Selu": "m = Selu(h)",
    "Shrink": "m = Shrink(h)",
    "Sigmoid": "m = Sigmoid(h)",
    "Softmax": "m = Softmax(h)",
    "Softplus": "m = Softplus(h)",
    "Softsign": "m = Softsign(h)",
    "Sqrt": "m = Sqrt(h)",
    "Swish": "m = Swish(h)",
    "Tanh": "m = Tanh(h)",
    "ThresholdedRelu": "m = ThresholdedRelu(h)",
}
_NEWER = {"Swish": 24, "Gelu": 20}
_TYPES: dict[str, dict[str, str]] = {"Celu": {"dtype": "float"}}


def _passes_scale(op: str, **rest: object) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Laws of a positively homogeneous op, which reads h and writes m."""
    name = op.split("(")[0].split("<")[0].split()[-1]
    back = (
        case(
            "a positive scale",
            f"h = Gemm(x, W, b)  {op}  y = Mul(m, s)",
            "T[2,4] x",
            f"Gemm {name}",
            **_GEMM,
            s=Positive((3,)),
            **rest,
        ),
        case(
            "a zero scale",
            f"h = Gemm(x, W, b)  {op}  y = Mul(m, s)",
            "T[2,4] x",
            f"Gemm {name}",
            **_GEMM,
            s=np.array([0.0, 2.0, 0.5]),
            **rest,
        ),
        case(
            "a negative scale",
            f"h = Gemm(x, W, b)  {op}  y = Mul(m, s)",
            "T[2,4] x",
            f"Gemm {name} Mul",
            "backward BNF205",
            **_GEMM,
            s=np.array([1.0, -2.0, 0.5]),
            **rest,
        ),
        case(
            "a shift",
            f"h = Gemm(x, W, b)  {op}  y = Add(m, t)",
            "T[2,4] x",
            f"Gemm {name} Add",
            "backward BNF206",
            **_GEMM,
            t=(3,),
            **rest,
        ),
    )
    forth = (
        case(
            "a positive scale",
            f"h = Mul(x, s)  {op}  y = Gemm(m, W, b)",
            "T[2,3] x",
            f"{name} Gemm",
            **_SQUARE,
            s=Positive((3,)),
            **rest,
        ),
        case(
            "a negative scale",
            f"h = Mul(x, s)  {op}  y = Gemm(m, W, b)",
            "T[2,3] x",
            f"Mul {name} Gemm",
            "forward BNF205",
            **_SQUARE,
            s=np.array([1.0, -2.0, 0.5]),
            **rest,
        ),
        case(
            "a shift",
            f"h = Add(x, t)  {op}  y = Gemm(m, W, b)",
            "T[2,3] x",
            f"Add {name} Gemm",
            "forward BNF206",
            **_SQUARE,
            t=(3,),
            **rest,
        ),
    )
    return back, forth


_HOMOGENEOUS = {
    "Relu": _passes_scale("m = Relu(h)"),
    "LeakyRelu": _passes_scale("m = LeakyRelu<alpha=0.25>(h)"),
    "PRelu": _passes_scale("m = PRelu(h, slope)", slope=(3,)),
    "Abs": _passes_scale("m = Abs(h)"),
    "Clip": _passes_scale("m = Clip(h, low)", low=0.0),
}


def _source(op: str, **rest: object) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Laws of an op that is itself an affine: ``op`` reads h and writes m."""
    back = (
        case(
            "behind a Gemm",
            f"h = Gemm(x, W, b)  {op}  y = Identity(m)",
            "T[3,4] x",
            "Gemm Identity",
            **_GEMM,
            **rest,
        ),
    )
    forth = (
        case(
            "in front of a Gemm",
            f"h = Relu(x)  {op}  y = Gemm(m, W, b)",
            "T[3,3] x",
            "Relu Gemm",
            **_SQUARE,
            **rest,
        ),
    )
    return back, forth


_SOURCES = {
    "BatchNormalization": _source("m = BN(h, a)", a=Norm(3)),
    "Mul": _source("m = Mul(s, h)", s=(1, 3)),
    "Add": _source("m = Add(t, h)", t=(3,)),
    "Sub": _source("m = Sub(h, t)", t=(3,)),
    "Div": _source("m = Div(h, s)", s=Positive((3,))),
    "Neg": _source("m = Neg(h)"),
}

BACKWARD: Laws = {
    **{name: rows[0] for name, rows in (_SOURCES | _HOMOGENEOUS).items()},
    "Scaler": (
        case(
            "behind a Gemm",
            "h = Gemm(x, W, b)  m = ai.onnx.ml.Scaler<scale=[2.0,-0.5,0.0], "
            "offset=[1.0,2.0,-3.0]>(h)  y = Identity(m)",
            "T[3,4] x",
            "Gemm Identity",
            **_GEMM,
            imports={"ai.onnx.ml": 3},
            outputs="T[3,3] y",
            dtype="float",
        ),
    ),
    "Sum": (
        case(
            "all branches",
            f"{_TWO}  m = Sum(g, h)  y = BN(m, a)",
            "T[2,4] x",
            "Gemm Gemm Sum",
            **_PAIR,
            a=Norm(3),
        ),
        case(
            "one branch cannot",
            "g = Gemm(x, W, b)  m = Sum(g, z)  y = BN(m, a)",
            "T[2,3] x, T[2,3] z",
            "Gemm Sum BatchNormalization",
            "backward BNF104",
            **_SQUARE,
            a=Norm(3),
        ),
    ),
    "Mean": (
        case(
            "all branches",
            f"{_TWO}  m = Mean(g, h)  y = BN(m, a)",
            "T[2,4] x",
            "Gemm Gemm Mean",
            **_PAIR,
            a=Norm(3),
        ),
        case(
            "a shift goes to one",
            "g = Gemm(x, W, b)  m = Mean(g, x)  y = Add(m, t)",
            "T[2,3] x",
            "Gemm Mean",
            **_SQUARE,
            t=(3,),
        ),
    ),
    "Max": (
        case(
            "all branches",
            f"{_TWO}  m = Max(g, h)  y = BN(m, a)",
            "T[2,4] x",
            "Gemm Gemm Max",
            **_PAIR,
            a=Norm(3, "positive"),
        ),
        case(
            "a negative scale",
            f"{_TWO}  m = Max(g, h)  y = BN(m, a)",
            "T[2,4] x",
            "Gemm Gemm Max BatchNormalization",
            "backward BNF205",
            **_PAIR,
            a=Norm(3),
        ),
    ),
    "Min": (
        case(
            "all branches",
            f"{_TWO}  m = Min(g, h)  y = BN(m, a)",
            "T[2,4] x",
            "Gemm Gemm Min",
            **_PAIR,
            a=Norm(3, "positive"),
        ),
    ),
    "Where": (
        case(
            "both branches",
            f"{_TWO}  m = Where(c0, g, h)  y = BN(m, a)",
            "T[2,4] x, bool[2,3] c0",
            "Gemm Gemm Where",
            **_PAIR,
            a=Norm(3),
        ),
        case(
            "one branch cannot",
            "g = Gemm(x, W, b)  m = Where(c0, g, z)  y = BN(m, a)",
            "T[2,3] x, T[2,3] z, bool[2,3] c0",
            "Gemm Where BatchNormalization",
            "backward BNF104",
            **_SQUARE,
            a=Norm(3),
        ),
    ),
    **{
        name: (
            case(
                "nothing passes",
                f"h = Gemm(x, W, b)  {op}  y = BN(m, a)",
                "T[2,4] x",
                f"Gemm {name} BatchNormalization",
                "backward BNF204",
                **_GEMM,
                a=Norm(3),
                p=2.0,
                opset=_NEWER.get(name, 18),
                **_TYPES.get(name, {}),
            ),
        )
        for name, op in ACTIVATIONS.items()
    },
}
BACKWARD["Mul"] += (
    case(
        "gated by a computed value: the scale",
        "h = Gemm(x, W, b)  k = Gemm(x, V, c)  g = Sigmoid(k)  m = Mul(h, g)  y = Mul(m, s)",
        "T[2,4] x",
        "Gemm Gemm Sigmoid Mul",
        **_PAIR,
        s=(3,),
    ),
)
BACKWARD["Add"] += (
    case(
        "a residual of two products",
        f"{_TWO}  m = Add(g, h)  y = BN(m, a)",
        "T[2,4] x",
        "Gemm Gemm Add",
        **_PAIR,
        a=Norm(3),
    ),
    case(
        "the shift goes to the branch that can",
        "h = Gemm(x, W, b)  m = Add(x, h)  y = Add(m, t)",
        "T[2,3] x",
        "Gemm Add",
        **_SQUARE,
        t=(3,),
    ),
)
BACKWARD["Sub"] += (
    case(
        "a difference of two products",
        f"{_TWO}  m = Sub(g, h)  y = BN(m, a)",
        "T[2,4] x",
        "Gemm Gemm Sub",
        **_PAIR,
        a=Norm(3),
    ),
    case(
        "the value subtracted from a constant",
        "h = Gemm(x, W, b)  y = Sub(t, h)",
        "T[2,4] x",
        "Gemm",
        **_GEMM,
        t=(3,),
    ),
)
BACKWARD["Div"] += (
    case(
        "a constant divided by the value",
        "h = Gemm(x, W, b)  m = Div(t, h)  y = Mul(m, s)",
        "T[2,4] x",
        "Gemm Div",
        **_GEMM,
        t=(3,),
        s=(3,),
    ),
    case(
        "a constant divided by the value: the shift",
        "h = Gemm(x, W, b)  m = Div(t, h)  g = Mul(m, s)  y = Add(g, v)",
        "T[2,4] x",
        "Gemm Div Add",
        "backward BNF210",
        **_GEMM,
        t=(3,),
        s=(3,),
        v=(3,),
    ),
    case(
        "a constant divided by the value, of too few elements",
        "h = Gemm(x, W, b)  m = Div(t, h)  y = Mul(m, s)",
        "T[2,4] x",
        "Gemm Div Mul",
        "backward BNF201",
        **_GEMM,
        t=1.0,
        s=(3,),
    ),
)
BACKWARD["Sum"] += (
    case(
        "with constants it is an affine",
        "h = Gemm(x, W, b)  m = Sum(s, h, t)  y = Sigmoid(m)",
        "T[2,4] x",
        "Gemm Sigmoid",
        **_GEMM,
        s=(3,),
        t=(1, 3),
    ),
    case(
        "with a constant that widens it, it is a sum",
        "h = Gemm(x, W, b)  m = Sum(h, t)  y = Mul(m, s)",
        "T[1,4] x",
        "Gemm Sum",
        **_GEMM,
        s=(3,),
        t=(2, 3),
    ),
)
BACKWARD["Mean"] += (
    case(
        "with a constant it is an affine",
        "h = Gemm(x, W, b)  m = Mean(h, t)  y = Sigmoid(m)",
        "T[2,4] x",
        "Gemm Sigmoid",
        **_GEMM,
        t=(3,),
    ),
)

FORWARD: Laws = {
    **{name: rows[1] for name, rows in (_SOURCES | _HOMOGENEOUS).items()},
    "Scaler": (
        case(
            "in front of a Gemm",
            "h = ai.onnx.ml.Scaler<scale=[2.0,-0.5,0.0], "
            "offset=[1.0,2.0,-3.0]>(x)  y = Gemm(h, W, b)",
            "T[3,3] x",
            "Gemm",
            **_SQUARE,
            imports={"ai.onnx.ml": 3},
            outputs="T[3,3] y",
            dtype="float",
        ),
    ),
    "Sum": (
        case(
            "a shift alone passes",
            "h = Add(x, t)  m = Sum(h, z)  y = Gemm(m, W, b)",
            "T[3,3] x, T[3,3] z",
            "Sum Gemm",
            **_SQUARE,
            t=(3,),
        ),
        case(
            "a scale does not",
            "h = Mul(x, s)  m = Sum(h, z)  y = Gemm(m, W, b)",
            "T[3,3] x, T[3,3] z",
            "Mul Sum Gemm",
            "forward BNF208",
            **_SQUARE,
            s=(3,),
        ),
    ),
    "Mean": (
        case(
            "a shift alone passes",
            "h = Add(x, t)  m = Mean(h, z)  y = Gemm(m, W, b)",
            "T[3,3] x, T[3,3] z",
            "Mean Gemm",
            **_SQUARE,
            t=(3,),
        ),
    ),
    "Max": (
        case(
            "the others have no such affine",
            "h = Mul(x, s)  m = Max(h, z)  y = Gemm(m, W, b)",
            "T[3,3] x, T[3,3] z",
            "Mul Max Gemm",
            "forward BNF208",
            **_SQUARE,
            s=Positive((3,)),
        ),
    ),
    "Min": (
        case(
            "the others have no such affine",
            "h = Mul(x, s)  m = Min(h, z)  y = Gemm(m, W, b)",
            "T[3,3] x, T[3,3] z",
            "Mul Min Gemm",
            "forward BNF208",
            **_SQUARE,
            s=Positive((3,)),
        ),
    ),
    "Where": (
        case(
            "the other has no such affine",
            "h = Mul(x, s)  m = Where(c0, h, z)  y = Gemm(m, W, b)",
            "T[3,3] x, T[3,3] z, bool[3,3] c0",
            "Mul Where Gemm",
            "forward BNF208",
            **_SQUARE,
            s=Positive((3,)),
        ),
    ),
    **{
        name: (
            case(
                "nothing passes",
                f"h = BN(x, a)  {op}  y = Gemm(m, W, b)",
                "T[2,3] x",
                f"BatchNormalization {name} Gemm",
                "forward BNF204",
                **_SQUARE,
                a=Norm(3),
                p=2.0,
                opset=_NEWER.get(name, 18),
                **_TYPES.get(name, {}),
            ),
        )
        for name, op in ACTIVATIONS.items()
    },
}
FORWARD["Mul"] += (
    case(
        "gated by a computed value: the scale passes on",
        "h = Mul(x, s)  g = Sigmoid(z)  m = Mul(h, g)  y = Gemm(m, W, b)",
        "T[2,3] x, T[2,3] z",
        "Sigmoid Mul Gemm",
        **_SQUARE,
        s=(3,),
    ),
)
FORWARD["Add"] += (
    case(
        "a shift passes a residual",
        "h = Add(x, t)  m = Add(h, z)  y = Gemm(m, W, b)",
        "T[2,3] x, T[2,3] z",
        "Add Gemm",
        **_SQUARE,
        t=(3,),
    ),
)
FORWARD["Sub"] += (
    case(
        "a shift is subtracted",
        "h = Add(x, t)  m = Sub(z, h)  y = Gemm(m, W, b)",
        "T[2,3] x, T[2,3] z",
        "Sub Gemm",
        **_SQUARE,
        t=(3,),
    ),
)
FORWARD["Div"] += (
    case(
        "a scale passes a quotient",
        "h = Mul(x, s)  m = Div(h, z)  y = Gemm(m, W, b)",
        "T[2,3] x, T[2,3] z",
        "Div Gemm",
        **_SQUARE,
        s=(3,),
    ),
)
FORWARD["Clip"] += (
    case(
        "both bounds",
        "h = Mul(x, s)  m = Clip(h, low, high)  y = Gemm(m, W, b)",
        "T[2,3] x",
        "Mul Clip Gemm",
        "forward BNF204",
        **_SQUARE,
        s=Positive((3,)),
        low=0.0,
        high=6.0,
    ),
)
BACKWARD["Clip"] = (
    *(row for row in BACKWARD["Clip"] if row.title != "a shift"),
    case(
        "a shift by channel",
        "h = Gemm(x, W, b)  m = Clip(h, low)  y = Add(m, t)",
        "T[2,4] x",
        "Gemm Clip Add",
        "backward BNF206",
        **_GEMM,
        low=0.0,
        t=(3,),
    ),
    case(
        "a uniform affine: the bounds follow",
        "h = Gemm(x, W, b)  k = Clip(h, low, high)  m = Mul(k, s)  y = Add(m, t)",
        "T[2,4] x",
        "Gemm Clip",
        **_GEMM,
        low=-0.5,
        high=0.75,
        s=0.5,
        t=3.0,
    ),
    case(
        "a uniform affine, but the bounds are attributes",
        "h = Gemm(x, W, b)  k = Clip<min=-0.5, max=0.75>(h)  y = Mul(k, s)",
        "T[2,4] x",
        "Gemm Clip Mul",
        "backward BNF204",
        **_GEMM,
        s=0.5,
        opset=10,
        reference=False,
    ),
    case(
        "the bounds are inputs",
        "h = Gemm(x, W, b)  k = Clip(h, low)  y = Mul(k, s)",
        "T[2,4] x, T low",
        "Gemm Clip Mul",
        "backward BNF204",
        **_GEMM,
        s=0.5,
    ),
)
FORWARD["Clip"] += (
    case(
        "a uniform affine: the bounds follow",
        "h = Mul(x, s)  k = Add(h, t)  m = Clip(k, low, high)  y = Gemm(m, W, b)",
        "T[2,3] x",
        "Clip Gemm",
        **_SQUARE,
        low=-0.5,
        high=0.75,
        s=0.5,
        t=3.0,
    ),
)
FORWARD["Scaler"] += (
    case(
        "of float64: it also casts",
        "h = ai.onnx.ml.Scaler<scale=[2.0,-0.5,0.0], offset=[1.0,2.0,-3.0]>(x)  y = Gemm(h, W, b)",
        "double[3,3] x",
        "Scaler Gemm",
        "here BNF406",
        **_SQUARE,
        imports={"ai.onnx.ml": 3},
        outputs="T[3,3] y",
        dtype="float",
    ),
)
