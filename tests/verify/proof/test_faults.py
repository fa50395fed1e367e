"""Every planted fault is refuted, with the op named; none is ever proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bnfold.verify.proof import Proof, ProofStatus, prove
from bnfold.verify.proof.faults import describe
from bnfold.verify.proof.forms import of_constant
from bnfold.verify.proof.rounding import FLOAT32
from tests.verify.proof.cases import CASES, Pair
from tests.verify.proof.nets import Array, Net, Norm, norm, normal, rounded

Plant = Callable[[Pair], None]


@dataclass(frozen=True)
class Fault:
    """A case, what is done to its fold, and the ops one of which must be named."""

    name: str
    case: str
    plant: Plant
    named: tuple[str, ...]


def refold(pair: Pair, bn: Norm) -> None:
    """Fold again with wrong parameters."""
    w, b = pair.extras["w"], pair.extras["b"]
    scale = bn.scale if w.ndim == 2 else bn.scale.reshape(-1, 1, 1, 1)
    pair.folded.const(w=rounded(w * scale), b=rounded(b * bn.scale + bn.shift))


def wrong_epsilon(pair: Pair) -> None:
    refold(pair, replace(pair.extras["bn"], epsilon=2e-3))


def swapped_mean_and_beta(pair: Pair) -> None:
    bn = pair.extras["bn"]
    refold(pair, replace(bn, mean=bn.beta, beta=bn.mean))


def variance_not_rooted(pair: Pair) -> None:
    bn = pair.extras["bn"]
    refold(pair, replace(bn, gamma=bn.gamma / np.sqrt(bn.var + np.float32(1e-3))))


def dropped_shift(pair: Pair) -> None:
    bn, b = pair.extras["bn"], pair.extras["b"]
    pair.folded.const(b=rounded(b * bn.scale))


def shift_on_both_branches(pair: Pair) -> None:
    bn = pair.extras["bn"]
    pair.folded.const(c=rounded(pair.folded.constants["c"] + bn.shift))


def one_element(name: str, place: int) -> Plant:
    def plant(pair: Pair) -> None:
        array = pair.folded.constants[name].copy()
        array.reshape(-1)[place] *= 1 + 1e-4
        pair.folded.const(**{name: array})

    return plant


def one_channel(name: str, axis: int, place: int) -> Plant:
    def plant(pair: Pair) -> None:
        array = pair.folded.constants[name].copy()
        index = [slice(None)] * array.ndim
        index[axis] = slice(place, place + 1)
        array[tuple(index)] *= 1 + 1e-4
        pair.folded.const(**{name: array})

    return plant


def swapped_channels(name: str, axis: int) -> Plant:
    def plant(pair: Pair) -> None:
        array = pair.folded.constants[name]
        order = np.arange(array.shape[axis])
        order[[0, 3]] = order[[3, 0]]
        pair.folded.const(**{name: np.take(array, order, axis)})

    return plant


def swapped_axes(name: str) -> Plant:
    def plant(pair: Pair) -> None:
        array = pair.folded.constants[name]
        pair.folded.const(**{name: np.swapaxes(array, 0, 1).copy()})

    return plant


def without(op: str) -> Plant:
    """The op is gone; its readers read what it read."""

    def plant(pair: Pair) -> None:
        node = next(n for n in pair.folded.nodes if n.op_type == op)
        node.op_type = "Identity"
        del node.input[1:]
        del node.attribute[:]

    return plant


def attribute(op: str, **values: object) -> Plant:
    def plant(pair: Pair) -> None:
        from onnx import helper

        node = next(n for n in pair.folded.nodes if n.op_type == op)
        for name, value in values.items():
            kept = [a for a in node.attribute if a.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return plant


FAULTS = [
    Fault("wrong epsilon, Gemm", "gemm_bn", wrong_epsilon, ("z_op", "fc")),
    Fault("wrong epsilon, Conv", "conv_bn", wrong_epsilon, ("z_op", "conv")),
    Fault("mean and beta swapped", "gemm_bn", swapped_mean_and_beta, ("z_op", "fc")),
    Fault("divided by the variance", "conv_bn", variance_not_rooted, ("z_op", "conv")),
    Fault("shift dropped, Gemm", "gemm_bn", dropped_shift, ("z_op", "fc")),
    Fault("shift dropped, depthwise", "depthwise_conv_bn", dropped_shift, ("z_op", "conv")),
    Fault("shift on both branches", "residual_add", shift_on_both_branches, ("z_op", "right")),
    Fault("an element of a Gemm", "gemm_bn", one_element("w", 11), ("fc",)),
    Fault("an element of a Conv", "conv_bn", one_element("w", 70), ("conv",)),
    Fault("an element of a bias", "gemm_bn", one_element("b", 3), ("z_op", "fc")),
    Fault("an element of an LSTM", "bn_lstm", one_element("w", 4), ("lstm",)),
    Fault("an element of a table", "embedding_bn", one_element("table", 21), ("embed",)),
    Fault("an element after Flatten", "bn_flatten_gemm", one_element("w", 100), ("fc",)),
    Fault("a column of a Gemm", "gemm_bn", one_channel("w", 1, 4), ("z_op", "fc")),
    Fault("a row of a Gemm", "bn_gemm", one_channel("w", 0, 0), ("fc",)),
    Fault("a column of Q", "three_readers", one_channel("q", 1, 0), ("q", "qk_op", "z_op")),
    Fault("a channel of a grouped Conv", "grouped_conv_bn", one_channel("w", 0, 5), ("z_op",)),
    Fault("a scale of a quantized weight", "quantized_weight", one_channel("q", 0, 3), ("z_op",)),
    Fault("channels swapped, Gemm", "gemm_bn", swapped_channels("w", 1), ("fc",)),
    Fault("channels swapped, Conv", "conv_bn", swapped_channels("w", 0), ("conv",)),
    Fault("bias channels swapped", "conv_transpose_bn", swapped_channels("b", 0), ("z_op",)),
    Fault("activation removed", "conv_bn", without("Relu"), ("z_op",)),
    Fault("activation removed before a head", "conv_relu_pool_bn", without("Relu"), ("p_op",)),
    Fault("pool removed", "pool_bn_zero_scale", without("MaxPool"), ("p_op", "z_op")),
    Fault("stride changed", "conv_bn", attribute("Conv", strides=[1, 1]), ("conv",)),
    Fault("padding changed", "depthwise_conv_bn", attribute("Conv", pads=[0, 0, 2, 2]), ("conv",)),
    Fault(
        "group changed",
        "conv_transpose_bn",
        attribute("ConvTranspose", strides=[1, 1]),
        ("deconv",),
    ),
    Fault(
        "alpha changed",
        "gemm_bn_transposed_alpha_beta",
        attribute("Gemm", alpha=0.5001),
        ("z_op", "fc"),
    ),
    Fault("softmax along the batch", "bn_flatten_gemm", attribute("Softmax", axis=0), ("z_op",)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
@pytest.mark.parametrize("seed", [5, 6])
def test_is_refuted(fault: Fault, seed: int) -> None:
    pair = CASES[fault.case](np.random.default_rng(seed))
    fault.plant(pair)
    proof = prove(pair.original.model(), pair.folded.model())
    assert_refuted(proof, fault.named)


def assert_refuted(proof: Proof, named: tuple[str, ...]) -> None:
    """Refuted, one of the ops named first, with a reason."""
    assert proof.status is ProofStatus.REFUTED, (proof.outputs, proof.notes)
    assert proof.refutations
    first = proof.refutations[0]
    assert first.op in named or set(first.holders) & set(named), first
    assert first.reason
    assert proof.share_proved < 1.0


def head(net: Net) -> Net:
    return net.add("Tanh", "y", "z").output("z", [4, 4])


def test_per_row_taken_for_per_column() -> None:
    """Batch, channels and width are all 4: only the algebra can tell a row from a column."""
    rng = np.random.default_rng(0)
    w, s = normal(rng, 4, 4), normal(rng, 4, 1)
    original = Net().input("x", [4, 4]).const(w=w, s=s).add("MatMul", "x w", "h", name="fc")
    head(original.add("Mul", "h s", "y", name="scale"))
    wrong = Net().input("x", [4, 4]).const(w=rounded(w * s.T))
    proof = prove(original.model(), head(wrong.add("MatMul", "x w", "y", name="fc")).model())
    assert_refuted(proof, ("z_op",))
    assert proof.refutations[0].removed == ("scale",)


def test_width_taken_for_channels() -> None:
    rng = np.random.default_rng(1)
    w, s = normal(rng, 4, 4, 1, 1), normal(rng, 4)
    original = Net().input("x", ["N", 4, 4, 4]).const(w=w, s=s)
    original.add("Conv", "x w", "h", name="conv").add("Mul", "h s", "y", name="scale")
    wrong = Net().input("x", ["N", 4, 4, 4]).const(w=rounded(w * s.reshape(4, 1, 1, 1)))
    wrong.add("Conv", "x w", "y", name="conv")
    for net in (original, wrong):
        net.add("Tanh", "y", "z").output("z", ["N", 4, 4, 4])
    assert_refuted(prove(original.model(), wrong.model()), ("z_op",))


def test_flatten_tiled_instead_of_repeated() -> None:
    rng = np.random.default_rng(2)
    pair = CASES["bn_flatten_gemm"](rng)
    bn, w, b = pair.extras["bn"], pair.extras["w"], pair.extras["b"]
    scale, shift = np.tile(bn.scale, 16), np.tile(bn.shift, 16)
    pair.folded.const(w=rounded(w * scale[:, None]), b=rounded(b + shift @ w.astype(np.float64)))
    assert_refuted(prove(pair.original.model(), pair.folded.model()), ("fc",))


def test_negative_gamma_across_relu() -> None:
    rng = np.random.default_rng(3)
    w, v, bn = normal(rng, 4, 4), normal(rng, 4, 4), norm(rng, 4)
    original = Net().input("x", ["N", 4]).const(w=w, v=v).add("MatMul", "x w", "h", name="fc")
    original.add("Relu", "h", "r")
    bn.node(original, "r", "y").add("MatMul", "y v", "z", name="head").output("z", ["N", 4])
    wrong = Net().input("x", ["N", 4])
    wrong.const(w=rounded(w * bn.scale), v=v, b=rounded(bn.shift @ v.astype(np.float64)))
    wrong.add("MatMul", "x w", "h", name="fc").add("Relu", "h", "r")
    wrong.add("Gemm", "r v b", "z", name="head").output("z", ["N", 4])
    proof = prove(original.model(), wrong.model())
    assert_refuted(proof, ("r_op", "head"))


def test_shift_across_zero_padding() -> None:
    """The border sees fewer taps than the inside."""
    rng = np.random.default_rng(4)
    w, b, bn = normal(rng, 5, 4, 3, 3), normal(rng, 5), norm(rng, 4)
    original = Net().input("x", ["N", 4, 6, 6]).const(w=w, b=b)
    bn.node(original, "x", "h").add("Conv", "h w b", "y", name="conv", pads=[1, 1, 1, 1])
    wide = w.astype(np.float64)
    wrong = (
        Net()
        .input("x", ["N", 4, 6, 6])
        .const(
            w=rounded(wide * bn.scale.reshape(1, 4, 1, 1)),
            b=rounded(b + np.einsum("oikl,i->o", wide, bn.shift)),
        )
    )
    wrong.add("Conv", "x w b", "y", name="conv", pads=[1, 1, 1, 1])
    for net in (original, wrong):
        net.add("Tanh", "y", "z").output("z", ["N", 5, 6, 6])
    assert_refuted(prove(original.model(), wrong.model()), ("conv",))


@pytest.mark.parametrize("padding", ["SAME_UPPER", "SAME_LOWER"])
def test_shift_across_automatic_padding(padding: str) -> None:
    rng = np.random.default_rng(4)
    w, bn = normal(rng, 5, 4, 3, 3), norm(rng, 4)
    original = Net().input("x", ["N", 4, 6, 6]).const(w=w)
    bn.node(original, "x", "h").add("Conv", "h w", "y", name="conv", auto_pad=padding)
    wide = w.astype(np.float64)
    wrong = (
        Net()
        .input("x", ["N", 4, 6, 6])
        .const(
            w=rounded(wide * bn.scale.reshape(1, 4, 1, 1)),
            b=rounded(np.einsum("oikl,i->o", wide, bn.shift)),
        )
    )
    wrong.add("Conv", "x w b", "y", name="conv", auto_pad=padding)
    for net in (original, wrong):
        net.add("Tanh", "y", "z").output("z", ["N", 5, 6, 6])
    assert_refuted(prove(original.model(), wrong.model()), ("conv",))


def test_the_other_reader_sees_the_change() -> None:
    rng = np.random.default_rng(5)
    pair = CASES["gemm_bn"](rng)
    for net, name in ((pair.original, "h"), (pair.folded, "y")):
        net.add("Identity", name, "side").output("side", ["N", 8])
    proof = prove(pair.original.model(), pair.folded.model())
    assert proof.status is ProofStatus.REFUTED
    statuses = {output.name: output.status for output in proof.outputs}
    assert statuses == {"z": ProofStatus.PROVED, "side": ProofStatus.REFUTED}
    assert proof.share_proved == 0.5


def test_training_mode_taken_for_inference() -> None:
    rng = np.random.default_rng(6)
    pair = CASES["gemm_bn"](rng)
    node = next(n for n in pair.original.nodes if n.op_type == "BatchNormalization")
    node.output.extend(["running_mean", "running_var"])
    from onnx import helper

    node.attribute.append(helper.make_attribute("training_mode", 1))
    proof = prove(pair.original.model(), pair.folded.model())
    assert proof.status is not ProofStatus.PROVED


def test_overridable_weights_are_no_constants() -> None:
    """From IR 4 on the caller may give another value for an initializer that is an input."""
    rng = np.random.default_rng(7)
    pair = CASES["gemm_bn"](rng)
    pair.original.input("bn_gamma", [8])
    pair.folded.input("bn_gamma", [8]).const(bn_gamma=pair.extras["bn"].gamma)
    models = pair.original.model(), pair.folded.model()
    assert prove(*models).status is not ProofStatus.PROVED
    assert prove(*models, overridable=True).status is ProofStatus.PROVED
    older = pair.original.model(ir_version=3), pair.folded.model(ir_version=3)
    assert prove(*older).status is ProofStatus.PROVED


def test_another_default_of_an_input_is_not_proved() -> None:
    """Who does not give an overridable weight gets its default."""
    rng = np.random.default_rng(7)
    w = normal(rng, 4, 4)

    def net(default: Array | None) -> Net:
        made = Net().input("x", ["N", 4]).input("w", [4, 4])
        if default is not None:
            made.const(w=default)
        return made.add("MatMul", "x w", "z", name="fc").output("z", ["N", 4])

    assert prove(net(w).model(), net(w).model()).status is ProofStatus.PROVED
    for other in (w * np.float32(1 + 1e-4), None):
        proof = prove(net(w).model(), net(other).model())
        assert proof.status is not ProofStatus.PROVED


def test_nan_is_never_proved() -> None:
    pair = CASES["gemm_bn"](np.random.default_rng(8))
    array = pair.folded.constants["b"].copy()
    array[2] = np.nan
    pair.folded.const(b=array)
    assert prove(pair.original.model(), pair.folded.model()).status is not ProofStatus.PROVED


def test_another_output_name_or_type() -> None:
    pair = CASES["gemm_bn"](np.random.default_rng(9))
    model = pair.folded.model()
    model.graph.outputs[0].name = "other"
    proof = prove(pair.original.model(), model)
    assert proof.status is ProofStatus.REFUTED
    assert "called" in proof.outputs[0].argument


def test_an_unknown_shift_is_called_unknown() -> None:
    """Behind a fault a shift may be anything: what is known there speaks, and never a NaN."""
    shape = (1, 3)
    old = of_constant(shape, None, np.array([[1.0, 2.0, 3.0]]), FLOAT32)
    unknown = replace(old, const=np.array([[np.nan, 2.0, 3.0]]))
    assert describe(unknown, old) == (
        "has a shift that is not known at [:, 0]: an op before it differs"
    )
    beside = replace(old, const=np.array([[np.nan, 2.0, 3.5]]))
    assert describe(beside, old) == "has shift 3.5 where the original has 3 at [:, 2]"


def runs_alike(one: Net, two: Net) -> bool:
    """Whether both models give the very same on an input that reaches all of their parts."""
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(12)
    feeds = {given.name: random_input(given, rng) for given in one.inputs}
    first, second = (ReferenceEvaluator(net.proto()).run(None, feeds) for net in (one, two))
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def random_input(given: Any, rng: np.random.Generator) -> Array:
    kind = given.type.tensor_type
    shape = [dim.dim_value or 7 for dim in kind.shape.dim]
    if kind.elem_type == 7:
        return rng.integers(0, 11, shape)
    if kind.elem_type == 9:
        return np.asarray(True)
    return normal(rng, *shape)


@pytest.mark.parametrize("name", [name for name in CASES if name != "half_precision"])
def test_any_single_weight(name: str) -> None:
    """Any weight of a fold, scaled by 1 + 1e-4, is noticed, unless it changes nothing.

    (A bias that a Relu cuts off in a channel of gamma zero changes nothing.)
    """
    rng = np.random.default_rng(10)
    for _ in range(6):
        pair, fault = (CASES[name](np.random.default_rng(11)) for _ in range(2))
        floats = [k for k, v in pair.folded.constants.items() if v.dtype == np.float32]
        if not floats:
            continue
        key = floats[rng.integers(len(floats))]
        array = pair.folded.constants[key].copy()
        if not array.any():
            continue
        # A small element of a bias may lie below the rounding of the terms it is a sum of.
        large = np.flatnonzero(np.abs(array) >= np.abs(array).max() / 2)
        array.reshape(-1)[rng.choice(large)] *= 1 + 1e-4
        fault.folded.const(**{key: array})
        proof = prove(pair.original.model(), fault.folded.model())
        if proof.status is ProofStatus.PROVED:
            assert runs_alike(pair.folded, fault.folded), (name, key)
        else:
            assert proof.status is ProofStatus.REFUTED, (name, key, proof.notes, proof.outputs)
