"""Laws of the ops that move, average or choose elements: an affine passes both ways.

Backward, a convolution or Gemm in front takes it; forward, one behind does.
"""

from __future__ import annotations

import numpy as np

from tests.formats.onnx.support.build import Norm, Typed
from tests.formats.onnx.support.cases import Case, case

Laws = dict[str, tuple[Case, ...]]
_CONV = {"W": (3, 3, 1, 1), "b": (3,)}
_IMAGE = "T[2,3,4,4] x"


def _after_conv(
    title: str, op: str, left: str, *why: str, affine: str = "y = BN(m, a)", **rest: object
) -> Case:
    """Conv -> op -> affine: ``op`` reads h and writes m."""
    rest = {**_CONV, "a": Norm(3), **rest}
    return case(title, f"h = Conv(x, W, b)  {op}  {affine}", _IMAGE, left, *why, **rest)


def _before_conv(
    title: str, op: str, left: str, *why: str, affine: str = "h = BN(x, a)", **rest: object
) -> Case:
    """Affine -> op -> Conv: ``op`` reads h and writes m."""
    rest = {**_CONV, "a": Norm(3), **rest}
    return case(title, f"{affine}  {op}  y = Conv(m, W, b)", _IMAGE, left, *why, **rest)


BACKWARD: Laws = {
    "Reshape": (
        _after_conv("channels kept", "m = Reshape(h, r)", "Conv Reshape", r=[0, 3, -1]),
        _after_conv(
            "channels split",
            "m = Reshape(h, r)",
            "Conv Reshape",
            W=(6, 3, 1, 1),
            b=(6,),
            r=[2, 2, 3, 16],
            affine="n = Mul(m, s)  y = Add(n, t)",
            s=(2, 3, 1),
            t=(3, 1),
        ),
        _after_conv(
            "channels mixed with space",
            "m = Reshape(h, r)",
            "Conv Reshape Mul",
            "backward BNF202",
            r=[2, 4, 12],
            affine="y = Mul(m, s)",
            s=(4, 1),
        ),
    ),
    "Flatten": (
        _after_conv(
            "uniform",
            "m = Flatten(h)",
            "Conv Flatten",
            affine="n = Mul(m, s)  y = Add(n, t)",
            s=(),
            t=(1,),
        ),
        _after_conv(
            "within a channel",
            "m = Flatten(h)",
            "Conv Flatten BatchNormalization",
            "backward BNF202",
            a=Norm(48),
        ),
    ),
    "Squeeze": (
        case(
            "Conv1D as Keras writes it",
            "h = Conv(x, W)  m = Squeeze(h, ax)  n = Mul(m, s)  y = Add(n, t)",
            "T[2,4,1,5] x",
            "Conv Squeeze",
            W=(3, 4, 1, 3),
            ax=[2],
            s=(3, 1),
            t=(3, 1),
        ),
    ),
    "Unsqueeze": (
        _after_conv(
            "a new axis in front",
            "m = Unsqueeze(h, ax)",
            "Conv Unsqueeze",
            ax=[0],
            affine="n = Mul(m, s)  y = Add(n, t)",
            s=(3, 1, 1),
            t=(1, 1, 3, 1, 1),
        ),
    ),
    "Transpose": (
        _after_conv(
            "channels last",
            "m = Transpose<perm=[0,2,3,1]>(h)",
            "Conv Transpose",
            affine="n = Mul(m, s)  y = Add(n, t)",
            s=(3,),
            t=(3,),
        ),
        _after_conv(
            "channels last, but by width",
            "m = Transpose<perm=[0,2,3,1]>(h)",
            "Conv Transpose Mul",
            "backward BNF202",
            affine="y = Mul(m, s)",
            s=(4, 1),
        ),
    ),
    "Identity": (_after_conv("same", "m = Identity(h)", "Conv Identity"),),
    "Cast": (
        _after_conv(
            "to another floating type",
            "m = Cast<to=1>(h)",
            "Conv Cast",
            affine="n = Mul(m, s)  y = Add(n, t)",
            s=(3, 1, 1),
            t=(3, 1, 1),
            dtype="float",
        ),
        _after_conv(
            "through integers",
            "k = Cast<to=6>(h)  m = Cast<to=11>(k)",
            "Conv Cast Cast BatchNormalization",
            "backward BNF105",
            dtype="double",
        ),
    ),
    "CastLike": (_after_conv("same type", "m = CastLike(h, x)", "Conv CastLike"),),
    "Shape": (
        case(
            "only reads the shape",
            "h = Conv(x, W, b)  y = BN(h, a)  z = Shape(h)",
            _IMAGE,
            "Conv Shape",
            outputs="y, z",
            **_CONV,
            a=Norm(3),
        ),
    ),
    "Size": (
        case(
            "only reads the shape",
            "h = Conv(x, W, b)  y = BN(h, a)  z = Size(h)",
            _IMAGE,
            "Conv Size",
            outputs="y, z",
            **_CONV,
            a=Norm(3),
        ),
    ),
    "Dropout": (
        _after_conv("at inference", "m = Dropout(h)", "Conv Dropout"),
        _after_conv(
            "the mask is read",
            "m, mask = Dropout(h)",
            "Conv Dropout BatchNormalization",
            "backward BNF106",
            outputs="y, mask",
        ),
    ),
    "MaxPool": (
        _after_conv(
            "positive scale",
            "m = MaxPool<kernel_shape=[2,2]>(h)",
            "Conv MaxPool",
            a=Norm(3, "positive"),
        ),
        _after_conv(
            "zero scale",
            "m = MaxPool<kernel_shape=[2,2]>(h)",
            "Conv MaxPool",
            affine="y = Mul(m, s)",
            s=0.0,
        ),
        _after_conv(
            "some scale is negative",
            "m = MaxPool<kernel_shape=[2,2]>(h)",
            "Conv MaxPool BatchNormalization",
            "backward BNF205",
        ),
        _after_conv(
            "its indices are read",
            "m, i = MaxPool<kernel_shape=[2,2]>(h)",
            "Conv MaxPool BatchNormalization",
            "backward BNF107",
            outputs="y, i",
            a=Norm(3, "positive"),
        ),
    ),
    "GlobalMaxPool": (
        _after_conv(
            "positive scale", "m = GlobalMaxPool(h)", "Conv GlobalMaxPool", a=Norm(3, "positive")
        ),
        _after_conv(
            "some scale is negative",
            "m = GlobalMaxPool(h)",
            "Conv GlobalMaxPool BatchNormalization",
            "backward BNF205",
        ),
    ),
    "AveragePool": (
        _after_conv("no padding", "m = AveragePool<kernel_shape=[2,2]>(h)", "Conv AveragePool"),
        _after_conv(
            "padding not counted",
            "m = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(h)",
            "Conv AveragePool",
        ),
        _after_conv(
            "padding counted: the scale",
            "m = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(h)",
            "Conv AveragePool",
            affine="y = Mul(m, s)",
            s=(3, 1, 1),
        ),
        _after_conv(
            "padding counted: a shift",
            "m = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(h)",
            "Conv AveragePool Add",
            "backward BNF203",
            affine="y = Add(m, t)",
            t=(3, 1, 1),
        ),
    ),
    "GlobalAveragePool": (
        _after_conv("mean over space", "m = GlobalAveragePool(h)", "Conv GlobalAveragePool"),
    ),
    "ReduceMean": (
        _after_conv("over space", "m = ReduceMean<axes=[2,3], keepdims=0>(h)", "Conv ReduceMean"),
        _after_conv(
            "over channels: uniform",
            "m = ReduceMean<axes=[1]>(h)",
            "Conv ReduceMean",
            affine="n = Mul(m, s)  y = Add(n, t)",
            s=(),
            t=(),
        ),
        _after_conv(
            "over everything",
            "m = ReduceMean<keepdims=0>(h)",
            "Conv ReduceMean",
            affine="y = Mul(m, s)",
            s=(),
        ),
    ),
    "ReduceMax": (
        _after_conv(
            "positive scale",
            "m = ReduceMax<axes=[2,3]>(h)",
            "Conv ReduceMax",
            a=Norm(3, "positive"),
        ),
        _after_conv(
            "negative scale",
            "m = ReduceMax<axes=[2,3]>(h)",
            "Conv ReduceMax BatchNormalization",
            "backward BNF205",
        ),
    ),
    "ReduceMin": (
        _after_conv(
            "positive scale",
            "m = ReduceMin<axes=[2,3]>(h)",
            "Conv ReduceMin",
            a=Norm(3, "positive"),
        ),
    ),
    "ReduceSum": (
        _after_conv(
            "a scale",
            "m = ReduceSum<keepdims=0>(h, ax)",
            "Conv ReduceSum",
            ax=[2, 3],
            affine="y = Mul(m, s)",
            s=(3,),
        ),
        _after_conv(
            "a shift",
            "m = ReduceSum<keepdims=0>(h, ax)",
            "Conv ReduceSum Add",
            "backward BNF207",
            ax=[2, 3],
            affine="y = Add(m, t)",
            t=(3,),
        ),
    ),
    "Slice": (
        _after_conv(
            "of channels", "m = Slice(h, i, j, k)", "Conv Slice", i=[1], j=[3], k=[1], a=Norm(2)
        ),
        _after_conv(
            "of space, with a step",
            "m = Slice(h, i, j, k, d)",
            "Conv Slice",
            i=[-1],
            j=[-10],
            k=[3],
            d=[-2],
        ),
    ),
    "Gather": (
        _after_conv(
            "some channels", "m = Gather<axis=1>(h, i)", "Conv Gather", i=[2, 0], a=Norm(2)
        ),
        _after_conv(
            "one channel twice, differently",
            "m = Gather<axis=1>(h, i)",
            "Conv Gather BatchNormalization",
            "backward BNF207",
            i=[2, 0, 2],
            a=Norm(3, "nonzero"),
        ),
        case(
            "an embedding table",
            "m = Gather(E, i)  n = Mul(m, s)  y = Add(n, t)",
            "int64[2,3] i",
            "Gather",
            E=(5, 3),
            s=(3,),
            t=(3,),
        ),
    ),
    "Expand": (
        case(
            "wider",
            "h = Gemm(x, W, b)  m = Expand(h, r)  n = Mul(m, s)  y = Add(n, t)",
            "T[2,4] x",
            "Gemm Expand",
            W=(4, 3),
            b=(3,),
            r=[5, 2, 3],
            s=(3,),
            t=(3,),
        ),
    ),
    "Tile": (
        case(
            "two copies, alike",
            "h = Gemm(x, W, b)  m = Tile(h, r)  n = Mul(m, s)  y = Add(n, t)",
            "T[2,4] x",
            "Gemm Tile",
            W=(4, 3),
            b=(3,),
            r=[2, 1],
            s=(3,),
            t=(3,),
        ),
        case(
            "two copies, not alike",
            "h = Gemm(x, W, b)  m = Tile(h, r)  y = Mul(m, s)",
            "T[2,4] x",
            "Gemm Tile Mul",
            "backward BNF207",
            W=(4, 3),
            b=(3,),
            r=[1, 2],
            s=(6,),
        ),
    ),
    "DepthToSpace": (
        _after_conv(
            "uniform over a block",
            "m = DepthToSpace<blocksize=2>(h)",
            "Conv DepthToSpace",
            W=(8, 3, 1, 1),
            b=(8,),
            a=Norm(2),
        ),
        _after_conv(
            "columns and rows last",
            'm = DepthToSpace<blocksize=2, mode="CRD">(h)',
            "Conv DepthToSpace",
            W=(8, 3, 1, 1),
            b=(8,),
            a=Norm(2),
        ),
    ),
    "SpaceToDepth": (
        _after_conv(
            "alike within a block",
            "m = SpaceToDepth<blocksize=2>(h)",
            "Conv SpaceToDepth",
            affine="n = Mul(m, s)  y = Add(n, t)",
            s=(),
            t=(),
        ),
        _after_conv(
            "different within a block",
            "m = SpaceToDepth<blocksize=2>(h)",
            "Conv SpaceToDepth BatchNormalization",
            "backward BNF202",
            a=Norm(12, "nonzero"),
        ),
    ),
    "Pad": (
        _after_conv(
            "reflected", 'm = Pad<mode="reflect">(h, p)', "Conv Pad", p=[0, 0, 1, 1, 0, 0, 1, 1]
        ),
        _after_conv(
            "zero: a scale",
            "m = Pad(h, p)",
            "Conv Pad",
            p=[0, 0, 1, 1, 0, 0, 1, 1],
            affine="y = Mul(m, s)",
            s=(3, 1, 1),
        ),
        _after_conv(
            "zero: a shift",
            "m = Pad(h, p)",
            "Conv Pad Add",
            "backward BNF203",
            p=[0, 0, 1, 1, 0, 0, 1, 1],
            affine="y = Add(m, t)",
            t=(3, 1, 1),
        ),
    ),
    "Resize": (
        _after_conv(
            "nearest",
            'm = Resize<mode="nearest">(h, , f)',
            "Conv Resize",
            f=Typed("float", np.array([1.0, 1.0, 2.0, 2.0])),
        ),
        _after_conv("linear", 'm = Resize<mode="linear">(h, , , r)', "Conv Resize", r=[2, 3, 7, 9]),
        _after_conv(
            "cubic",
            'm = Resize<mode="cubic">(h, , , r)',
            "Conv Resize",
            r=[2, 3, 7, 9],
            reference=False,
        ),
        _after_conv(
            "over channels",
            'm = Resize<mode="linear">(h, , , r)',
            "Conv Resize BatchNormalization",
            "backward BNF207",
            r=[2, 6, 4, 4],
            a=Norm(6),
        ),
        _after_conv(
            "crop writes a value of its own",
            'm = Resize<mode="linear", coordinate_transformation_mode='
            '"tf_crop_and_resize", extrapolation_value=7.0>(h, roi, , r)',
            "Conv Resize BatchNormalization",
            "backward BNF203",
            r=[2, 3, 7, 9],
            roi=Typed("float", np.array([0.0, 0, 0.1, 0.1, 1, 1, 1.2, 1.2])),
        ),
    ),
    "Upsample": (
        _after_conv(
            "nearest",
            'm = Upsample<mode="nearest">(h, f)',
            "Conv Upsample",
            f=Typed("float", np.array([1.0, 1.0, 2.0, 2.0])),
            opset=9,
            reference=False,
        ),
    ),
    "Concat": (
        case(
            "the affine is cut",
            "g = Conv(x, W, b)  h = Conv(x, V)  m = Concat<axis=1>(g, h)  y = BN(m, a)",
            _IMAGE,
            "Conv Conv Concat",
            **_CONV,
            V=(4, 3, 1, 1),
            a=Norm(7),
        ),
        case(
            "along space, alike on both",
            "g = Conv(x, W, b)  h = Conv(x, V)  m = Concat<axis=2>(g, h)  y = BN(m, a)",
            _IMAGE,
            "Conv Conv Concat",
            **_CONV,
            V=(3, 3, 1, 1),
            a=Norm(3),
        ),
        case(
            "one branch cannot",
            "g = Conv(x, W, b)  m = Concat<axis=1>(g, z)  y = BN(m, a)",
            _IMAGE + ", T[2,3,4,4] z",
            "Conv Concat BatchNormalization",
            "backward BNF104",
            **_CONV,
            a=Norm(6),
        ),
        case(
            "one branch needs nothing",
            "g = Conv(x, W, b)  m = Concat<axis=1>(g, x)  y = Mul(m, s)",
            _IMAGE,
            "Conv Concat",
            **_CONV,
            s=np.array([2.0, 0.0, -3.0, 1.0, 1.0, 1.0]).reshape(6, 1, 1),
        ),
    ),
    "Split": (
        case(
            "one piece",
            "h = Conv(x, W, b)  m, z = Split<axis=1>(h, p)  y = BN(m, a)",
            _IMAGE,
            "Conv Split",
            outputs="y, z",
            **_CONV,
            p=[2, 1],
            a=Norm(2),
        ),
        case(
            "the last piece, equal sizes",
            "h = Conv(x, W, b)  z, m = Split<axis=1>(h)  y = BN(m, a)",
            _IMAGE,
            "Conv Split",
            outputs="y, z",
            W=(6, 3, 1, 1),
            b=(6,),
            a=Norm(3),
        ),
    ),
}

FORWARD: Laws = {
    "Reshape": (
        _before_conv(
            "channels kept",
            "k = Reshape(h, r)  m = Reshape(k, q)",
            "Reshape Reshape Conv",
            r=[0, 3, -1],
            q=[2, 3, 2, 8],
        ),
        case(
            "flattened by hand, channels first",
            "h = BN(x, a)  m = Reshape(h, r)  y = Gemm(m, W, b)",
            _IMAGE,
            "Reshape Gemm",
            r=[2, -1],
            W=(48, 3),
            b=(3,),
            a=Norm(3),
        ),
        case(
            "space in the batch",
            "h = BN(x, a)  m = Reshape(h, r)  y = Gemm(m, W, b)",
            _IMAGE,
            "Mul Reshape Gemm",
            "forward BNF201",
            r=[24, 4],
            W=(4, 3),
            b=(3,),
            a=Norm(3, "nonzero"),
        ),
    ),
    "Flatten": (
        case(
            "channels first: runs",
            "h = BN(x, a)  m = Flatten(h)  y = Gemm(m, W, b)",
            _IMAGE,
            "Flatten Gemm",
            W=(48, 3),
            b=(3,),
            a=Norm(3),
        ),
        case(
            "channels last: tiles",
            "h = Mul(x, s)  g = Add(h, t)  m = Flatten(g)  y = Gemm(m, W, b)",
            "T[2,3,3,3] x",
            "Flatten Gemm",
            W=(27, 3),
            b=(3,),
            s=(3,),
            t=(3,),
        ),
    ),
    "Squeeze": (
        case(
            "Dense behind it",
            "h = BN(x, a)  m = Squeeze(h, ax)  y = Gemm(m, W, b)",
            "T[2,3,1,1] x",
            "Squeeze Gemm",
            ax=[2, 3],
            W=(3, 4),
            b=(4,),
            a=Norm(3),
        ),
    ),
    "Unsqueeze": (
        case(
            "a convolution behind it",
            "h = Mul(x, s)  g = Add(h, t)  m = Unsqueeze(g, ax)  y = Conv(m, W, b)",
            "T[2,3,4] x",
            "Unsqueeze Conv",
            ax=[2],
            **_CONV,
            s=(3, 1),
            t=(3, 1),
        ),
    ),
    "Transpose": (
        case(
            "into Q",
            "h = BN(x, a)  m = Transpose<perm=[0,2,1]>(h)  k = MatMul(m, W)  y = Add(k, b)",
            "T[2,3,3] x",
            "Transpose MatMul Add",
            W=(3, 3),
            b=(3,),
            a=Norm(3),
        ),
        case(
            "the other axis",
            "h = Mul(x, s)  m = Transpose<perm=[0,2,1]>(h)  y = MatMul(m, W)",
            "T[2,3,3] x",
            "Mul Transpose MatMul",
            "forward BNF102",
            W=(3, 3),
            s=(3,),
        ),
    ),
    "Identity": (_before_conv("same", "m = Identity(h)", "Identity Conv"),),
    "Cast": (_before_conv("same type", "m = Cast<to=11>(h)", "Cast Conv", dtype="double"),),
    "CastLike": (_before_conv("same type", "m = CastLike(h, x)", "CastLike Conv"),),
    "Shape": (
        case(
            "only reads the shape",
            "h = BN(x, a)  z = Shape(h)  y = Conv(h, W, b)",
            _IMAGE,
            "Shape Conv",
            outputs="y, z",
            **_CONV,
            a=Norm(3),
        ),
    ),
    "Size": (
        case(
            "only reads the shape",
            "h = BN(x, a)  z = Size(h)  y = Conv(h, W, b)",
            _IMAGE,
            "Size Conv",
            outputs="y, z",
            **_CONV,
            a=Norm(3),
        ),
    ),
    "Dropout": (
        _before_conv("at inference", "m = Dropout(h)", "Dropout Conv"),
        _before_conv(
            "in training",
            "m = Dropout(h, , live)",
            "BatchNormalization Dropout Conv",
            "forward BNF106",
            live=np.array(True),
            runs=False,
        ),
    ),
    "MaxPool": (
        _before_conv(
            "positive scale",
            "m = MaxPool<kernel_shape=[2,2]>(h)",
            "MaxPool Conv",
            a=Norm(3, "positive"),
        ),
        _before_conv(
            "some scale is negative",
            "m = MaxPool<kernel_shape=[2,2]>(h)",
            "Mul MaxPool Conv",
            "forward BNF205",
        ),
    ),
    "GlobalMaxPool": (
        _before_conv(
            "positive scale", "m = GlobalMaxPool(h)", "GlobalMaxPool Conv", a=Norm(3, "positive")
        ),
    ),
    "AveragePool": (
        _before_conv("no padding", "m = AveragePool<kernel_shape=[2,2]>(h)", "AveragePool Conv"),
        _before_conv(
            "padding counted: a shift",
            "m = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(h)",
            "Add AveragePool Conv",
            "forward BNF203",
            affine="h = Add(x, t)",
            t=(3, 1, 1),
        ),
    ),
    "GlobalAveragePool": (
        case(
            "mean over space",
            "h = BN(x, a)  k = GlobalAveragePool(h)  m = Flatten(k)  y = Gemm(m, W, b)",
            _IMAGE,
            "GlobalAveragePool Flatten Gemm",
            W=(3, 3),
            b=(3,),
            a=Norm(3),
        ),
        case(
            "parameters along space",
            "h = Mul(x, s)  m = GlobalAveragePool(h)  y = Conv(m, W, b)",
            _IMAGE,
            "Mul GlobalAveragePool Conv",
            "forward BNF207",
            **_CONV,
            s=(4,),
        ),
    ),
    "ReduceMean": (
        case(
            "over space",
            "h = BN(x, a)  m = ReduceMean<axes=[2,3], keepdims=0>(h)  y = Gemm(m, W, b)",
            _IMAGE,
            "ReduceMean Gemm",
            W=(3, 3),
            b=(3,),
            a=Norm(3),
        ),
        case(
            "over the sequence",
            "h = Mul(x, s)  g = Add(h, t)  m = ReduceMean<keepdims=0>(g, ax)  y = Gemm(m, W, b)",
            "T[3,3,3] x",
            "ReduceMean Gemm",
            W=(3, 3),
            b=(3,),
            s=(3,),
            t=(3,),
            ax=[1],
            opset=18,
        ),
    ),
    "ReduceMax": (
        case(
            "positive scale",
            "h = BN(x, a)  m = ReduceMax<axes=[2,3], keepdims=0>(h)  y = Gemm(m, W, b)",
            _IMAGE,
            "ReduceMax Gemm",
            W=(3, 3),
            b=(3,),
            a=Norm(3, "positive"),
        ),
        case(
            "negative scale",
            "h = BN(x, a)  m = ReduceMax<axes=[2,3], keepdims=0>(h)  y = Gemm(m, W, b)",
            _IMAGE,
            "Mul ReduceMax Gemm",
            "forward BNF205",
            W=(3, 3),
            b=(3,),
            a=Norm(3),
        ),
    ),
    "ReduceMin": (
        case(
            "positive scale",
            "h = BN(x, a)  m = ReduceMin<axes=[2,3], keepdims=0>(h)  y = Gemm(m, W, b)",
            _IMAGE,
            "ReduceMin Gemm",
            W=(3, 3),
            b=(3,),
            a=Norm(3, "positive"),
        ),
    ),
    "ReduceSum": (
        case(
            "a scale",
            "h = Mul(x, s)  m = ReduceSum<keepdims=0>(h, ax)  y = Gemm(m, W, b)",
            _IMAGE,
            "ReduceSum Gemm",
            ax=[2, 3],
            W=(3, 3),
            b=(3,),
            s=(3, 1, 1),
        ),
        case(
            "a shift",
            "h = Add(x, t)  m = ReduceSum<keepdims=0>(h, ax)  y = Gemm(m, W, b)",
            _IMAGE,
            "Add ReduceSum Gemm",
            "forward BNF207",
            ax=[2, 3],
            W=(3, 3),
            b=(3,),
            t=(3, 1, 1),
        ),
    ),
    "Slice": (
        _before_conv(
            "of channels",
            "m = Slice(h, i, j, k)",
            "Slice Conv",
            i=[1],
            j=[3],
            k=[1],
            W=(3, 2, 1, 1),
        ),
        _before_conv(
            "of space",
            "m = Slice(h, i, j, k, d)",
            "Slice Conv",
            i=[0, 3],
            j=[9, 0],
            k=[2, -1],
            d=[2, -1],
        ),
    ),
    "Gather": (
        _before_conv(
            "some channels, one twice", "m = Gather<axis=1>(h, i)", "Gather Conv", i=[2, -3, 2]
        ),
        case(
            "one position",
            "h = Mul(x, s)  g = Add(h, t)  m = Gather<axis=1>(g, i)  y = Gemm(m, W, b)",
            "T[3,3,3] x",
            "Gather Gemm",
            i=np.array(0),
            W=(3, 3),
            b=(3,),
            s=(3,),
            t=(3,),
        ),
        case(
            "at run time, along another axis",
            "h = Mul(x, s)  g = Add(h, t)  m = Gather<axis=0>(g, i)  k = MatMul(m, W)"
            "  y = Add(k, b)",
            "T[5,3] x, int64[2,3] i",
            "Gather MatMul Add",
            W=(3, 3),
            b=(3,),
            s=(3,),
            t=(3,),
        ),
        case(
            "at run time, along the same axis",
            "h = Mul(x, s)  m = Gather<axis=1>(h, i)  y = Gemm(m, W, b)",
            "T[5,3] x, int64[3] i",
            "Mul Gather Gemm",
            "forward BNF207",
            W=(3, 3),
            b=(3,),
            s=(3,),
        ),
    ),
    "Expand": (
        case(
            "wider",
            "h = Mul(x, s)  g = Add(h, t)  m = Expand(g, r)  k = MatMul(m, W)  y = Add(k, b)",
            "T[2,3] x",
            "Expand MatMul Add",
            r=[4, 2, 3],
            W=(3, 3),
            b=(3,),
            s=(3,),
            t=(3,),
        ),
    ),
    "Tile": (
        case(
            "each parameter twice",
            "h = BN(x, a)  m = Tile(h, r)  y = Gemm(m, W, b)",
            "T[2,3] x",
            "Tile Gemm",
            r=[1, 2],
            W=(6, 3),
            b=(3,),
            a=Norm(3),
        ),
    ),
    "DepthToSpace": (
        case(
            "different within a block",
            "h = BN(x, a)  m = DepthToSpace<blocksize=2>(h)  y = Conv(m, W, b)",
            "T[1,12,2,2] x",
            "BatchNormalization DepthToSpace Conv",
            "forward BNF202",
            **_CONV,
            a=Norm(12, "nonzero"),
        ),
        case(
            "alike within a block",
            "h = Mul(x, s)  m = DepthToSpace<blocksize=2>(h)  y = Conv(m, W, b)",
            "T[1,12,2,2] x",
            "DepthToSpace Conv",
            **_CONV,
            s=np.tile([2.0, -1.5, 0.0], 4).reshape(12, 1, 1),
        ),
    ),
    "SpaceToDepth": (
        _before_conv(
            "each parameter four times",
            "m = SpaceToDepth<blocksize=2>(h)",
            "SpaceToDepth Conv",
            W=(5, 12, 1, 1),
            b=(5,),
        ),
    ),
    "Pad": (
        _before_conv("edge", 'm = Pad<mode="edge">(h, p)', "Pad Conv", p=[0, 0, 1, 2, 0, 0, 0, 1]),
        _before_conv(
            "zero: a scale",
            "m = Pad(h, p)",
            "Pad Conv",
            affine="h = Mul(x, s)",
            p=[0, 0, 1, 1, 0, 0, 1, 1],
            s=(3, 1, 1),
        ),
        _before_conv(
            "zero: a shift",
            "m = Pad(h, p)",
            "Add Pad Conv",
            "forward BNF203",
            affine="h = Add(x, t)",
            p=[0, 0, 1, 1, 0, 0, 1, 1],
            t=(3, 1, 1),
        ),
        _before_conv(
            "another constant: a shift alone cannot",
            "m = Pad(h, p, v)",
            "Add Pad Conv",
            "forward BNF203",
            affine="h = Add(x, t)",
            p=[0, 0, 1, 1, 0, 0, 1, 1],
            t=(3, 1, 1),
            v=2.5,
        ),
    ),
    "Resize": (
        _before_conv(
            "nearest",
            'm = Resize<mode="nearest">(h, , f)',
            "Resize Conv",
            f=Typed("float", np.array([1.0, 1.0, 2.0, 2.0])),
        ),
        _before_conv(
            "along width",
            'm = Resize<mode="linear">(h, , , r)',
            "Mul Resize Conv",
            "forward BNF207",
            r=[2, 3, 4, 9],
            affine="h = Mul(x, s)",
            s=(4,),
        ),
    ),
    "Upsample": (
        _before_conv(
            "nearest",
            'm = Upsample<mode="nearest">(h, f)',
            "Upsample Conv",
            f=Typed("float", np.array([1.0, 1.0, 2.0, 2.0])),
            opset=9,
            reference=False,
        ),
    ),
    "Concat": (
        case(
            "from one branch",
            "h = BN(x, a)  m = Concat<axis=1>(h, z)  y = Conv(m, W, b)",
            "T[2,3,4,4] x, T[2,2,4,4] z",
            "Concat Conv",
            W=(3, 5, 1, 1),
            b=(3,),
            a=Norm(3),
        ),
        case(
            "from both",
            "h = BN(x, a)  g = BN(z, c)  m = Concat<axis=1>(h, g)  y = Conv(m, W, b)",
            "T[2,3,4,4] x, T[2,2,4,4] z",
            "Concat Conv",
            W=(3, 5, 1, 1),
            b=(3,),
            a=Norm(3),
            c=Norm(2),
        ),
        case(
            "along space, from one branch",
            "h = BN(x, a)  m = Concat<axis=2>(h, z)  y = Conv(m, W, b)",
            "T[2,3,4,4] x, T[2,3,4,4] z",
            "BatchNormalization Concat Conv",
            "forward BNF202",
            **_CONV,
            a=Norm(3),
        ),
    ),
    "Split": (
        case(
            "into all pieces",
            "h = BN(x, a)  k, m = Split<axis=1>(h, p)  y = Conv(k, W, b)  z = Conv(m, V)",
            _IMAGE,
            "Split Conv Conv",
            outputs="y, z",
            W=(4, 1, 1, 1),
            b=(4,),
            V=(3, 2, 1, 1),
            p=[1, 2],
            a=Norm(3),
        ),
        case(
            "one piece is an output",
            "h = BN(x, a)  k, z = Split<axis=1>(h, p)  y = Conv(k, W, b)",
            _IMAGE,
            "BatchNormalization Split Conv",
            "forward BNF102",
            outputs="y, z",
            W=(4, 1, 1, 1),
            b=(4,),
            p=[1, 2],
            a=Norm(3),
        ),
    ),
}
