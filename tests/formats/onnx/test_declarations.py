"""What a rule declares of an op is true of the op: op(A(x)) = A'(op(x)) for random affines A.

This asks the rules themselves, without a planner: whenever a move and its conditions let an affine
pass, in either direction, the op run in float64 must agree. Settings vary what the rules look at:
axes, steps, pads, modes, sizes that coincide, symbolic and unknown dims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from bnfold.core.affine import Affine
from bnfold.core.blocked import Blocked
from bnfold.core.parts import border_before, border_behind, check_law
from bnfold.core.transfer import Commute
from bnfold.formats.onnx.lower import lower
from bnfold.formats.onnx.scope import scopes
from bnfold.formats.onnx.shapes import scratch_copy
from bnfold.verify.evaluate import Float64Model
from tests.formats.onnx.support.build import Typed, Weight, feeds_of, model

Array = NDArray[np.float64]
TRIES = 40


@dataclass(frozen=True)
class Setting:
    """One node that reads x and writes y."""

    node: str
    shape: str
    opset: int = 17
    weights: dict[str, Weight] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Node, shape and constants."""
        constants = ",".join(f"{k}={v}" for k, v in self.weights.items() if isinstance(v, list))
        return f"{self.node} {self.shape} {constants}".replace(" ", "")


def _of(node: str, shape: str, opset: int = 17, **weights: Weight) -> Setting:
    return Setting(node, shape, opset, weights)


def _scales(*numbers: float) -> Typed:
    return Typed("float", np.array(numbers))


SETTINGS = [
    *(
        _of("Reshape(x, r)", shape, r=target)
        for shape, target in (
            ("2,3,4", [2, 12]),
            ("2,3,4", [6, 4]),
            ("2,3,4", [4, 3, 2]),
            ("3,3,3", [9, 3]),
            ("3,3,3", [3, 9]),
            ("3,3,3", [-1]),
            ("2,6,2", [2, 3, 4]),
            ("2,6,2", [2, 2, 3, 2]),
            ("2,3,4", [0, -1]),
            ("2,3,4", [0, 0, 2, 2]),
            ("2,1,3,1", [2, 3]),
            ("2,3", [1, 2, 1, 3]),
            ("N,3,4", [0, 12]),
            ("N,3,4", [-1, 4]),
            ("N,3,4", [-1, 2, 6]),
            ("N,3,H", [0, 3, -1]),
            ("4,3,4", [3, 4, 4]),
        )
    ),
    *(_of(f"Flatten<axis={axis}>(x)", "2,3,3,2") for axis in (0, 1, 2, 3, 4, -1, -2)),
    *(_of("Squeeze(x, a)", "2,1,3,1", a=axes) for axes in ([1], [3], [1, -1])),
    _of("Squeeze(x)", "2,1,3,1"),
    *(_of("Unsqueeze(x, a)", "2,3", a=axes) for axes in ([0], [1], [-1], [0, 3], [1, 2])),
    *(_of(f"Transpose<perm={perm}>(x)", "2,3,3") for perm in ("[0,2,1]", "[2,0,1]", "[1,2,0]")),
    _of("Transpose(x)", "2,3,4"),
    *(
        _of("Slice(x, s, e, a, t)", "3,5,4", s=s, e=e, a=a, t=t)
        for s, e, a, t in (
            ([1], [3], [1], [1]),
            ([-2], [9], [1], [1]),
            ([4], [0], [1], [-2]),
            ([-1], [-99], [-2], [-1]),
            ([0, 1], [2, 4], [0, 2], [1, 2]),
        )
    ),
    _of("Slice(x, s, e)", "3,5,4", s=[1, 2], e=[3, 5]),
    _of("Slice(x, s, e, a)", "N,3,H", s=[1], e=[3], a=[2]),
    *(
        _of(f"Gather<axis={axis}>(x, i)", "3,4,3", i=index)
        for axis in (0, 1, -1)
        for index in ([0, 2], [1, 1, 0], [-1], np.array(1), np.array([[0, 1], [2, 0]]))
    ),
    *(_of("Expand(x, r)", "2,1,3", r=r) for r in ([2, 4, 3], [2, 2, 1, 1], [5, 2, 4, 3], [1])),
    *(_of("Tile(x, r)", "2,3,2", r=r) for r in ([1, 2, 1], [2, 1, 3], [1, 1, 1])),
    *(
        _of(f'DepthToSpace<blocksize=2, mode="{mode}">(x)', shape)
        for mode in ("DCR", "CRD")
        for shape in ("2,8,3,3", "N,4,H,3")
    ),
    *(_of("SpaceToDepth<blocksize=2>(x)", shape) for shape in ("2,2,4,6", "N,3,4,2")),
    *(
        _of(f'Pad<mode="{mode}">(x, p)', "2,3,4,4", p=pads)
        for mode in ("constant", "reflect", "edge")
        for pads in ([0, 0, 1, 2, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 3], [0, 1, 0, 0, 0, 0, 0, 0])
    ),
    *(_of("Pad(x, p, v)", "2,3,4", p=[0, 0, 1, 0, 0, 2], v=value) for value in (0.0, 1.5, -np.inf)),
    _of("Pad(x, p, , a)", "2,3,4", 18, p=[1, 2], a=[-1]),
    _of("Pad(x, p)", "2,3,4", p=[0, 0, -1, 0, 0, 2]),
    *(
        _of(f'Resize<mode="{mode}"{more}>(x, , , r)', "2,3,4,4", r=sizes)
        for mode in ("nearest", "linear", "cubic")
        for more in ("", ', coordinate_transformation_mode="align_corners"')
        for sizes in ([2, 3, 8, 4], [2, 3, 3, 6])
    ),
    _of('Resize<mode="linear">(x, , f)', "1,3,4,4", f=_scales(1, 2, 1, 1)),
    _of('Resize<mode="linear">(x, , f)', "1,3,4,4", f=_scales(1, 1, 1.2, 1)),
    _of('Resize<mode="linear", axes=[-1,2]>(x, , f)', "1,3,4,4", 18, f=_scales(1.2, 2)),
    _of('Resize<mode="nearest", axes=[3]>(x, , , r)', "1,3,4,4", 18, r=[6]),
    _of('Resize<mode="linear">(x, f)', "1,3,4,4", 10, f=_scales(1, 1, 1, 1.2)),
    _of('Upsample<mode="nearest", scales=[1.0, 1.0, 1.2, 2.0]>(x)', "1,3,4,4", 7),
    _of(
        'Resize<mode="linear", axes=[2,3], keep_aspect_ratio_policy="not_larger">(x, , , r)',
        "1,3,10,8",
        18,
        r=[10, 9],
    ),
    _of('Upsample<mode="nearest">(x, f)', "1,3,2,2", 9, f=_scales(1, 1, 2, 3)),
    *(
        _of(f"{op}<kernel_shape=[2,3]{more}>(x)", "2,3,5,5")
        for op in ("MaxPool", "AveragePool")
        for more in (
            "",
            ", strides=[2,2]",
            ", pads=[1,1,0,1]",
            ", ceil_mode=1, strides=[2,2]",
            ', auto_pad="SAME_UPPER"',
        )
    ),
    *(
        _of(f"AveragePool<kernel_shape=[2,3], count_include_pad=1{more}>(x)", "2,3,5,5", 19)
        for more in ("", ", pads=[1,1,0,1]", ", ceil_mode=1, strides=[2,2]")
    ),
    *(_of(f"{op}(x)", "2,3,4,4") for op in ("GlobalAveragePool", "GlobalMaxPool")),
    *(
        _of(f"{op}<axes={axes}, keepdims={keep}>(x)", "2,3,4")
        for op in ("ReduceMean", "ReduceMax", "ReduceMin")
        for axes, keep in (("[1]", 1), ("[-1]", 0), ("[0,2]", 0))
    ),
    _of("ReduceMean(x)", "2,3,4"),
    _of("ReduceSum<keepdims=0>(x, a)", "2,3,4", a=[1]),
    _of("ReduceSum(x)", "2,3,4"),
    _of("ReduceSum<axes=[1,2]>(x)", "2,3,4", 11),
    _of("ReduceSum<noop_with_empty_axes=1>(x)", "2,3,4"),
    *(_of(f"{op}<axes=[1], keepdims=0>(x)", "2,3,4") for op in ("ReduceL1", "ReduceL2")),
    _of("CumSum(x, a)", "2,3,4", a=np.array(1)),
    _of("CumSum<reverse=1, exclusive=1>(x, a)", "2,3,4", a=np.array(-1)),
    *(_of(f"Trilu<upper={upper}>(x)", "2,3,4") for upper in (0, 1)),
    *(
        _of("Compress<axis=1>(x, c)", "2,3,4", c=np.array(chosen))
        for chosen in ([True, False, True], [False, True])
    ),
    *(
        _of(f"GatherElements<axis={axis}>(x, i)", "2,3,3", i=np.array(index))
        for axis, index in (
            (0, [[[0, 1, 0], [1, 1, 0], [0, 0, 0]]]),
            (1, [[[2, 1], [0, 0], [1, 1], [2, 0]]]),
            (-1, [[[2, 1], [0, 0], [1, 1]], [[2, 1], [0, 1], [1, 1]]]),
            (1, [[[2, 1, 0], [0, 0, 2], [1, 1, 0]], [[2, 0, 1], [0, 1, 1], [2, 1, 0]]]),
        )
    ),
    *(
        _of(f"GatherND<batch_dims={batch}>(x, i)", "2,3,4", i=np.array(index))
        for batch, index in (
            (0, [[1], [0], [1]]),
            (0, [[1, 2], [0, 0]]),
            (1, [[[1], [2]], [[0], [0]]]),
            (1, [[1], [2]]),
        )
    ),
    _of("ReverseSequence<time_axis=1, batch_axis=0>(x, n)", "2,3,4", n=np.array([2, 3])),
    _of("ReverseSequence<time_axis=0, batch_axis=1>(x, n)", "3,2,4", n=np.array([2, 3])),
    *(_of("CenterCropPad<axes=[2,-1]>(x, n)", "2,3,4,5", 18, n=n) for n in ([2, 3], [6, 3])),
    *(_of(f"{op}(x)", "2,3,4") for op in ("Relu", "LeakyRelu", "Abs", "Identity", "Dropout")),
    _of("PRelu(x, s)", "2,3,4", s=(3, 1)),
    _of("Clip(x, low)", "2,3", low=0.0),
    _of("Clip(x, low, high)", "2,3,4", low=-0.5, high=0.75),
    _of("Clip(x, , high)", "2,3,4", high=0.25),
    _of("Clip(x, low, high)", "2,3", low=0.0, high=np.finfo(np.float64).max),
]


def _lowered(proto: ModelProto) -> Commute:
    (scope,) = scopes(scratch_copy(ir.from_proto(proto)))
    (op,) = lower(scope, {}).graph.ops
    assert isinstance(op.transfer, Commute), op.transfer
    return op.transfer


def _affines(shape: tuple[int, ...], rng: np.random.Generator) -> list[Affine]:
    """Affines that vary along some axes, of all kinds that rules tell apart."""
    found = []
    for _ in range(TRIES):
        mask = rng.random(len(shape)) < rng.choice([0.0, 0.3, 0.6])
        sizes = tuple(int(n) if m else 1 for n, m in zip(shape, mask, strict=True))
        scale = rng.uniform(0.5, 2.0, sizes)
        shift = rng.normal(size=sizes)
        kind = rng.integers(5)
        if kind == 0:
            shift = np.zeros(sizes)
        elif kind == 1:
            scale = np.ones(sizes)
        elif kind == 2:
            scale = scale * rng.choice([-1.0, 1.0], sizes)
        elif kind == 3:
            scale = scale * rng.choice([0.0, 1.0], sizes)
        found.append(Affine.of(scale, shift, len(shape)))
    return found


class _Subject:
    """The node, run in float64, with a border of one's choice."""

    def __init__(self, setting: Setting) -> None:
        weights = dict(setting.weights)
        self.proto = model(
            f"y = {setting.node}", f"T[{setting.shape}] x", opset=setting.opset, **weights
        )
        self.transfer = _lowered(self.proto)
        self.x = feeds_of(self.proto)["x"]

    def run(self, x: Array, borders: Mapping[int | None, float] | None = None) -> Array:
        proto = ModelProto()
        proto.CopyFrom(self.proto)
        node = proto.graph.node[0]
        for operand, value in (borders or {}).items():
            if operand is None:
                continue
            name = f"border{operand}"
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
            node.input.extend([""] * (operand + 1 - len(node.input)))
            node.input[operand] = name
        return Float64Model(ir.from_proto(proto)).run({"x": x})["y"]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.id)
def test_what_a_rule_declares_is_true(setting: Setting) -> None:
    rng = np.random.default_rng(7)
    subject = _Subject(setting)
    transfer, x = subject.transfer, subject.x
    y = subject.run(x)
    passed = 0
    for affine in _affines(x.shape, rng):
        try:
            check_law(transfer, affine, transfer.to_output)
            after = transfer.move.forward(affine)
            borders = {
                border.operand: border_before(border, border.value, affine)
                for border in transfer.borders
            }
        except Blocked:
            continue
        passed += 1
        expected = subject.run(affine.scale * x + affine.shift)
        inner = subject.run(x, borders) if borders else y
        with np.errstate(invalid="ignore"):  # zero times an infinite border
            _assert_close(expected, after.scale * inner + after.shift)
    for affine in _affines(y.shape, rng):
        try:
            check_law(transfer, affine, transfer.to_input)
            before = transfer.move.backward(affine)
            borders = {
                border.operand: border_behind(border, border.value, affine)
                for border in transfer.borders
            }
        except Blocked:
            continue
        passed += 1
        got = subject.run(before.scale * x + before.shift, borders)
        with np.errstate(invalid="ignore"):
            _assert_close(affine.scale * y + affine.shift, got)
    assert passed >= 5, "too few affines pass for the test to say anything"


def _assert_close(expected: Array, got: Array) -> None:
    assert expected.shape == got.shape
    finite = np.isfinite(expected)
    assert np.array_equal(finite, np.isfinite(got))
    size = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    assert float(np.abs(expected - got)[finite].max(initial=0.0)) <= 1e-9 * size
