"""Laws of the ops whose data or attributes say which elements they take."""

from __future__ import annotations

import numpy as np

from tests.formats.onnx.support.build import Norm, Positive
from tests.formats.onnx.support.cases import Case, case

Laws = dict[str, tuple[Case, ...]]
_GEMM = {"W": (3, 3), "b": (3,)}
_CONV = {"W": (3, 3, 1, 1), "b": (3,)}
_ROWS = "T[4,3] x"
_STEPS = "T[2,4,3] x"
_IMAGE = "T[2,3,4,4] x"
_HALF = np.array([True, False, True, False])
_INDEX = np.array([[0, 3, 1], [2, 2, 0]])
_ROIS = {
    "rois": np.array([[0.0, 0.0, 3.0, 3.0], [1.0, 0.0, 3.0, 2.0]]),
    "which": np.array([0, 1], dtype=np.int64),
}
_BOXES = {"boxes": np.array([[0.0, 0.0, 0.0, 3.0, 3.0], [1.0, 1.0, 0.0, 3.0, 2.0]])}
_PATCH = "output_height=2, output_width=2"
_P = Positive((3, 1, 1))


def _behind(op: str, left: str, *why: str, behind: str = "y = BN(m, a)", **rest: object) -> Case:
    """Gemm -> op -> affine: ``op`` reads h and writes m."""
    rest = {**_GEMM, "a": Norm(3), **rest}
    return case("all of it", f"h = Gemm(x, W, b)  {op}  {behind}", _ROWS, left, *why, **rest)


def _before(op: str, left: str, *why: str, **rest: object) -> Case:
    """Affine -> op -> Gemm: ``op`` reads h and writes m."""
    rest = {**_GEMM, "a": Norm(3), **rest}
    return case("all of it", f"h = BN(x, a)  {op}  y = Gemm(m, W, b)", _ROWS, left, *why, **rest)


def _scale_back(op: str, kind: str, code: str, **rest: object) -> tuple[Case, Case]:
    """Behind a Conv the op passes a positive scale, and no shift."""
    nodes = f"h = Conv(x, W, b)  {op}"
    return (
        case("a scale", f"{nodes}  y = Mul(m, p)", _IMAGE, f"Conv {kind}", **_CONV, p=_P, **rest),
        case(
            "a shift",
            f"{nodes}  y = Add(m, t)",
            _IMAGE,
            f"Conv {kind} Add",
            f"backward {code}",
            **_CONV,
            t=0.5,
            **rest,
        ),
    )


def _scale_on(op: str, kind: str, code: str, **rest: object) -> tuple[Case, Case]:
    """Before a Conv the op passes a positive scale, and no shift."""
    nodes = f"{op}  y = Conv(m, W, b)"
    return (
        case("a scale", f"h = Mul(x, p)  {nodes}", _IMAGE, f"{kind} Conv", **_CONV, p=_P, **rest),
        case(
            "a shift",
            f"h = Add(x, t)  {nodes}",
            _IMAGE,
            f"Add {kind} Conv",
            f"forward {code}",
            **_CONV,
            t=0.5,
            **rest,
        ),
    )


# Ops that pass a positive scale only: what they compute, the code of a shift, their constants.
_SCALED: dict[str, tuple[str, str, dict[str, object]]] = {
    "LpPool": ("m = LpPool<kernel_shape=[2,2]>(h)", "BNF206", {}),
    "GlobalLpPool": ("m = GlobalLpPool(h)", "BNF206", {"reference": False}),
    "ReduceL1": ("m = ReduceL1<axes=[3]>(h)", "BNF206", {}),
    "ReduceL2": ("m = ReduceL2<axes=[2,3]>(h)", "BNF206", {}),
    "CumSum": ("m = CumSum(h, axis)", "BNF203", {"axis": np.array(3)}),
    "Trilu": ("m = Trilu(h)", "BNF203", {}),
    "RoiAlign": (f"m = RoiAlign<{_PATCH}>(h, rois, which)", "BNF203", _ROIS),
    "MaxRoiPool": (
        "m = MaxRoiPool<pooled_shape=[2,2]>(h, boxes)",
        "BNF203",
        {**_BOXES, "runs": False},
    ),
}

BACKWARD: Laws = {
    **{op: _scale_back(text, op, code, **rest) for op, (text, code, rest) in _SCALED.items()},
    "Compress": (_behind("m = Compress<axis=0>(h, c)", "Gemm Compress", c=_HALF),),
    "ReverseSequence": (
        case(
            "along the steps",
            "h = MatMul(x, W)  m = ReverseSequence<time_axis=1, batch_axis=0>(h, n)  y = Mul(m, s)",
            _STEPS,
            "MatMul ReverseSequence",
            W=(3, 3),
            s=(3,),
            n=np.array([2, 4]),
        ),
        case(
            "a scale that varies along them",
            "h = MatMul(W, x)  m = ReverseSequence<time_axis=1, batch_axis=0>(h, n)  y = Mul(m, s)",
            _STEPS,
            "MatMul ReverseSequence Mul",
            "backward BNF207",
            W=(4, 4),
            s=(4, 1),
            n=np.array([2, 4]),
        ),
    ),
    "GatherElements": (
        _behind("m = GatherElements<axis=0>(h, i)", "Gemm GatherElements", i=_INDEX),
        _behind(
            "m = GatherElements<axis=0>(h, i)",
            "Gemm GatherElements Mul",
            "backward BNF207",
            behind="y = Mul(m, s)",
            i=_INDEX[:, :2],
            s=(2,),
            runs=False,
        ),
    ),
    "GatherND": (
        _behind("m = GatherND(h, i)", "Gemm GatherND", i=np.array([[3], [0], [3]])),
        case(
            "within each batch",
            "h = MatMul(x, W)  m = GatherND<batch_dims=1>(h, i)  y = Mul(m, s)",
            _STEPS,
            "MatMul GatherND",
            W=(3, 3),
            s=(3,),
            i=np.array([[[1], [1], [0]], [[3], [2], [0]]]),
        ),
        case(
            "a scale of the places",
            "h = MatMul(x, W)  m = GatherND<batch_dims=1>(h, i)  y = Mul(m, s)",
            _STEPS,
            "MatMul GatherND Mul",
            "backward BNF207",
            W=(3, 3),
            s=(4, 1),
            i=np.array([[[1], [1], [0], [2]], [[3], [2], [0], [0]]]),
        ),
    ),
    "ArrayFeatureExtractor": (
        case(
            "some channels",
            "h = Gemm(x, W, b)  m = ai.onnx.ml.ArrayFeatureExtractor(h, i)  g = Mul(m, s)"
            "  y = Add(g, t)",
            _ROWS,
            "Gemm ArrayFeatureExtractor",
            **_GEMM,
            i=[2, 0],
            s=(2,),
            t=(2,),
            imports={"ai.onnx.ml": 3},
            outputs="T[4,2] y",
        ),
    ),
    "CenterCropPad": (
        case(
            "the middle",
            "h = Conv(x, W, b)  m = CenterCropPad<axes=[2,3]>(h, n)  y = BN(m, a)",
            _IMAGE,
            "Conv CenterCropPad",
            **_CONV,
            a=Norm(3),
            n=[2, 3],
            opset=18,
        ),
        case(
            "zeros around: the scale",
            "h = Conv(x, W, b)  m = CenterCropPad<axes=[2,3]>(h, n)  y = BN(m, a)",
            _IMAGE,
            "Conv CenterCropPad BatchNormalization",
            "backward BNF203",
            **_CONV,
            a=Norm(3),
            n=[6, 3],
            opset=18,
        ),
    ),
}

FORWARD: Laws = {
    **{
        op: _scale_on(text, op, code, **rest)
        for op, (text, code, rest) in _SCALED.items()
        if not op.startswith("Reduce")
    },
    **{
        op: (
            case(
                "a scale",
                f"h = Mul(x, p)  m = {op}<axes=[1], keepdims=0>(h)  y = Gemm(m, W, b)",
                _STEPS,
                f"{op} Gemm",
                **_GEMM,
                p=Positive((3,)),
            ),
        )
        for op in ("ReduceL1", "ReduceL2")
    },
    "Compress": (_before("m = Compress<axis=0>(h, c)", "Compress Gemm", c=_HALF),),
    "ReverseSequence": (
        case(
            "along the steps",
            "g = Mul(x, s)  h = Add(g, t)  m = ReverseSequence<time_axis=1, batch_axis=0>(h, n)"
            "  k = MatMul(m, W)  y = Add(k, b)",
            _STEPS,
            "ReverseSequence MatMul Add",
            **_GEMM,
            s=(3,),
            t=(3,),
            n=np.array([2, 4]),
        ),
    ),
    "GatherElements": (
        _before("m = GatherElements<axis=0>(h, i)", "GatherElements Gemm", i=_INDEX),
    ),
    "GatherND": (_before("m = GatherND(h, i)", "GatherND Gemm", i=np.array([[3], [0], [3]])),),
    "ArrayFeatureExtractor": (
        case(
            "some channels",
            "g = Mul(x, s)  h = Add(g, t)  m = ai.onnx.ml.ArrayFeatureExtractor(h, i)"
            "  y = Gemm(m, W, b)",
            _ROWS,
            "ArrayFeatureExtractor Gemm",
            **_GEMM,
            i=[2, 0, 2],
            s=(3,),
            t=(3,),
            imports={"ai.onnx.ml": 3},
            outputs="T[4,3] y",
        ),
    ),
    "CenterCropPad": (
        case(
            "the middle",
            "h = BN(x, a)  m = CenterCropPad<axes=[2,3]>(h, n)  y = Conv(m, W, b)",
            _IMAGE,
            "CenterCropPad Conv",
            **_CONV,
            a=Norm(3),
            n=[2, 3],
            opset=18,
        ),
    ),
}
