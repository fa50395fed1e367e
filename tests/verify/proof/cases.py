"""Correct folds made by hand, and faults planted in them.

Each case builds the original and the folded model with NumPy alone; nothing of the folder or the
prover takes part. Channels, batch and width coincide where a confusion of axes could hide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.verify.proof.nets import Array, Net, Norm, norm, normal, rounded


@dataclass
class Pair:
    """An original and its fold.

    Attributes:
        original, folded: the models under construction.
        folds: names of the affines that went, in any order.
        into: names of the ops that took them.
    """

    original: Net
    folded: Net
    folds: tuple[str, ...] = ()
    into: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)


Builder = Callable[[np.random.Generator], Pair]
CASES: dict[str, Builder] = {}


def case(builder: Builder) -> Builder:
    """Put a builder into the table."""
    CASES[builder.__name__] = builder
    return builder


def conv_scaled(kernel: Array, scale: Array) -> Array:
    """A kernel with its output channels scaled."""
    return kernel.astype(np.float64) * scale.reshape(-1, *(1,) * (kernel.ndim - 1))


@case
def gemm_bn(rng: np.random.Generator) -> Pair:
    w, b, bn = normal(rng, 6, 8), normal(rng, 8), norm(rng, 8)
    original = Net().input("x", ["N", 6]).const(w=w, b=b).add("Gemm", "x w b", "h", name="fc")
    bn.node(original, "h", "y").add("Sigmoid", "y", "z").output("z", ["N", 8])
    folded = (
        Net()
        .input("x", ["N", 6])
        .const(w=rounded(w * bn.scale), b=rounded(b * bn.scale + bn.shift))
        .add("Gemm", "x w b", "y", name="fc")
        .add("Sigmoid", "y", "z")
        .output("z", ["N", 8])
    )
    return Pair(original, folded, ("bn",), ("fc",), {"bn": bn, "w": w, "b": b})


@case
def gemm_bn_transposed_alpha_beta(rng: np.random.Generator) -> Pair:
    w, b, bn = normal(rng, 8, 6), normal(rng, 1, 8), norm(rng, 8)
    attributes = {"transB": 1, "alpha": 0.5, "beta": 2.0}
    original = Net().input("x", ["N", 6]).const(w=w, b=b)
    original.add("Gemm", "x w b", "h", name="fc", **attributes)
    bn.node(original, "h", "y").add("Tanh", "y", "z").output("z", ["N", 8])
    folded = (
        Net()
        .input("x", ["N", 6])
        .const(w=rounded(conv_scaled(w, bn.scale)), b=rounded(b * bn.scale + bn.shift / 2.0))
        .add("Gemm", "x w b", "y", name="fc", **attributes)
        .add("Tanh", "y", "z")
        .output("z", ["N", 8])
    )
    return Pair(original, folded, ("bn",), ("fc",))


@case
def matmul_add_mul_add(rng: np.random.Generator) -> Pair:
    """As Keras comes out of tf2onnx: MatMul, bias Add, then Mul and Add for the BN."""
    w, b, bn = normal(rng, 4, 4), normal(rng, 4), norm(rng, 4)
    s, t = rounded(bn.scale), rounded(bn.shift)
    original = (
        Net()
        .input("x", ["N", 4, 4])
        .const(w=w, b=b, s=s, t=t)
        .add("MatMul", "x w", "m")
        .add("Add", "m b", "h")
        .add("Mul", "h s", "g", name="scale")
        .add("Add", "g t", "y", name="shift")
        .add("Elu", "y", "z")
        .output("z", ["N", 4, 4])
    )
    wide = s.astype(np.float64)
    folded = (
        Net()
        .input("x", ["N", 4, 4])
        .const(w=rounded(w * wide), b=rounded(b * wide + t))
        .add("MatMul", "x w", "m")
        .add("Add", "m b", "y", name="h_op")
        .add("Elu", "y", "z")
        .output("z", ["N", 4, 4])
    )
    return Pair(original, folded, ("scale", "shift"), ("m_op",))


@case
def matmul_becomes_gemm(rng: np.random.Generator) -> Pair:
    w, bn = normal(rng, 6, 8), norm(rng, 8)
    original = Net().input("x", ["N", 6]).const(w=w).add("MatMul", "x w", "h", name="fc")
    bn.node(original, "h", "y").add("Softplus", "y", "z").output("z", ["N", 8])
    folded = (
        Net()
        .input("x", ["N", 6])
        .const(w=rounded(w * bn.scale), b=rounded(bn.shift))
        .add("Gemm", "x w b", "y", name="fc")
        .add("Softplus", "y", "z")
        .output("z", ["N", 8])
    )
    return Pair(original, folded, ("bn",), ("fc",))


@case
def bn_gemm(rng: np.random.Generator) -> Pair:
    w, b, bn = normal(rng, 6, 8), normal(rng, 8), norm(rng, 6)
    original = Net().input("x", ["N", 6]).const(w=w, b=b)
    bn.node(original, "x", "h").add("Gemm", "h w b", "y", name="fc")
    original.add("Sigmoid", "y", "z").output("z", ["N", 8])
    folded = (
        Net()
        .input("x", ["N", 6])
        .const(w=rounded(w * bn.scale[:, None]), b=rounded(b + bn.shift @ w.astype(np.float64)))
        .add("Gemm", "x w b", "y", name="fc")
        .add("Sigmoid", "y", "z")
        .output("z", ["N", 8])
    )
    return Pair(original, folded, ("bn",), ("fc",))


def _conv_bn(rng: np.random.Generator, group: int, outputs: int, inputs: int) -> Pair:
    w, b, bn = normal(rng, outputs, inputs // group, 3, 3), normal(rng, outputs), norm(rng, outputs)
    attributes = {"group": group, "pads": [1, 1, 1, 1], "strides": [2, 2]}
    original = Net().input("x", ["N", inputs, 8, 8]).const(w=w, b=b)
    original.add("Conv", "x w b", "h", name="conv", **attributes)
    bn.node(original, "h", "y").add("Relu", "y", "z").output("z", ["N", outputs, 4, 4])
    folded = (
        Net()
        .input("x", ["N", inputs, 8, 8])
        .const(w=rounded(conv_scaled(w, bn.scale)), b=rounded(b * bn.scale + bn.shift))
        .add("Conv", "x w b", "y", name="conv", **attributes)
        .add("Relu", "y", "z")
        .output("z", ["N", outputs, 4, 4])
    )
    return Pair(original, folded, ("bn",), ("conv",), {"bn": bn, "w": w, "b": b})


@case
def conv_bn(rng: np.random.Generator) -> Pair:
    return _conv_bn(rng, 1, 8, 8)


@case
def grouped_conv_bn(rng: np.random.Generator) -> Pair:
    return _conv_bn(rng, 2, 8, 4)


@case
def depthwise_conv_bn(rng: np.random.Generator) -> Pair:
    return _conv_bn(rng, 4, 8, 4)


@case
def conv_transpose_bn(rng: np.random.Generator) -> Pair:
    """Groups stand on the first axis of the kernel, output channels on the second."""
    w, bn = normal(rng, 4, 3, 2, 2), norm(rng, 6)
    scale = bn.scale.reshape(2, 1, 3, 1, 1)
    scaled = rounded((w.reshape(2, 2, 3, 2, 2).astype(np.float64) * scale).reshape(w.shape))
    original = Net().input("x", ["N", 4, 3, 3]).const(w=w)
    original.add("ConvTranspose", "x w", "h", name="deconv", group=2, strides=[2, 2])
    bn.node(original, "h", "y").add("Tanh", "y", "z").output("z", ["N", 6, 6, 6])
    folded = (
        Net()
        .input("x", ["N", 4, 3, 3])
        .const(w=scaled, b=rounded(bn.shift))
        .add("ConvTranspose", "x w b", "y", name="deconv", group=2, strides=[2, 2])
        .add("Tanh", "y", "z")
        .output("z", ["N", 6, 6, 6])
    )
    return Pair(original, folded, ("bn",), ("deconv",))


@case
def conv_relu_pool_bn(rng: np.random.Generator) -> Pair:
    """A positive affine passes back through MaxPool and, its shift being zero, Relu."""
    w, b = normal(rng, 4, 4, 3, 3), normal(rng, 4)
    bn = norm(rng, 4, positive=True)
    bn = Norm(bn.gamma, np.zeros_like(bn.beta), np.zeros_like(bn.mean), bn.var)
    original = Net().input("x", ["N", 4, 8, 8]).const(w=w, b=b)
    original.add("Conv", "x w b", "h", name="conv").add("Relu", "h", "r")
    original.add("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1])
    bn.node(original, "p", "y").add("Tanh", "y", "z").output("z", ["N", 4, 4, 4])
    folded = (
        Net()
        .input("x", ["N", 4, 8, 8])
        .const(w=rounded(conv_scaled(w, bn.scale)), b=rounded(b * bn.scale))
        .add("Conv", "x w b", "h", name="conv")
        .add("Relu", "h", "r")
        .add(
            "MaxPool", "r", "y", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1], name="p_op"
        )
        .add("Tanh", "y", "z")
        .output("z", ["N", 4, 4, 4])
    )
    return Pair(original, folded, ("bn",), ("conv",))


@case
def pool_bn_zero_scale(rng: np.random.Generator) -> Pair:
    """MaxPool keeps its meaning under a scale of zero, too."""
    w, b = normal(rng, 4, 2, 3, 3), normal(rng, 4)
    bn = norm(rng, 4, positive=True)
    bn.gamma[1] = 0
    original = Net().input("x", ["N", 2, 6, 6]).const(w=w, b=b)
    original.add("Conv", "x w b", "h", name="conv")
    original.add("MaxPool", "h", "p", kernel_shape=[2, 2])
    bn.node(original, "p", "y").add("Tanh", "y", "z").output("z", ["N", 4, 3, 3])
    folded = (
        Net()
        .input("x", ["N", 2, 6, 6])
        .const(w=rounded(conv_scaled(w, bn.scale)), b=rounded(b * bn.scale + bn.shift))
        .add("Conv", "x w b", "h", name="conv")
        .add("MaxPool", "h", "y", kernel_shape=[2, 2], name="p_op")
        .add("Tanh", "y", "z")
        .output("z", ["N", 4, 3, 3])
    )
    return Pair(original, folded, ("bn",), ("conv",))


@case
def shift_back_scale_forward(rng: np.random.Generator) -> Pair:
    """relu(s x + t) = s relu(x + t / s): one BN ends up on both sides of its Relu."""
    w, b = normal(rng, 4, 3, 3, 3), normal(rng, 4)
    v, c, bn = normal(rng, 5, 4, 3, 3), normal(rng, 5), norm(rng, 4, positive=True)
    original = Net().input("x", ["N", 3, 8, 8]).const(w=w, b=b, v=v, c=c)
    original.add("Conv", "x w b", "h", name="first")
    bn.node(original, "h", "g").add("Relu", "g", "r")
    original.add("Conv", "r v c", "y", name="second", pads=[1, 1, 1, 1])
    original.add("Tanh", "y", "z").output("z", ["N", 5, 6, 6])
    wide = v.astype(np.float64) * bn.scale.reshape(1, -1, 1, 1)
    folded = (
        Net()
        .input("x", ["N", 3, 8, 8])
        .const(w=w, b=rounded(b + bn.shift / bn.scale), v=rounded(wide), c=c)
        .add("Conv", "x w b", "h", name="first")
        .add("Relu", "h", "r")
        .add("Conv", "r v c", "y", name="second", pads=[1, 1, 1, 1])
        .add("Tanh", "y", "z")
        .output("z", ["N", 5, 6, 6])
    )
    return Pair(original, folded, ("bn",), ("first", "second"))


@case
def bn_flatten_gemm(rng: np.random.Generator) -> Pair:
    """Flatten repeats each channel's parameters H * W times."""
    bn, w, b = norm(rng, 4), normal(rng, 64, 5), normal(rng, 5)
    scale, shift = np.repeat(bn.scale, 16), np.repeat(bn.shift, 16)
    original = Net().input("x", ["N", 4, 4, 4]).const(w=w, b=b)
    bn.node(original, "x", "h").add("Flatten", "h", "f").add("Gemm", "f w b", "y", name="fc")
    original.add("Softmax", "y", "z").output("z", ["N", 5])
    folded = (
        Net()
        .input("x", ["N", 4, 4, 4])
        .const(w=rounded(w * scale[:, None]), b=rounded(b + shift @ w.astype(np.float64)))
        .add("Flatten", "x", "f")
        .add("Gemm", "f w b", "y", name="fc")
        .add("Softmax", "y", "z")
        .output("z", ["N", 5])
    )
    return Pair(original, folded, ("bn",), ("fc",), {"bn": bn, "w": w, "b": b})


@case
def transpose_between(rng: np.random.Generator) -> Pair:
    """NCHW convolution, NHWC normalization, as TensorFlow leaves it."""
    w, b, bn = normal(rng, 4, 4, 1, 1), normal(rng, 4), norm(rng, 4)
    s, t = rounded(bn.scale), rounded(bn.shift)
    original = (
        Net()
        .input("x", ["N", 4, 4, 4])
        .const(w=w, b=b, s=s, t=t)
        .add("Conv", "x w b", "h", name="conv")
        .add("Transpose", "h", "n", perm=[0, 2, 3, 1])
        .add("Mul", "n s", "g", name="scale")
        .add("Add", "g t", "y", name="shift")
        .add("Relu", "y", "z")
        .output("z", ["N", 4, 4, 4])
    )
    wide = s.astype(np.float64)
    folded = (
        Net()
        .input("x", ["N", 4, 4, 4])
        .const(w=rounded(conv_scaled(w, wide)), b=rounded(b * wide + t))
        .add("Conv", "x w b", "h", name="conv")
        .add("Transpose", "h", "y", perm=[0, 2, 3, 1], name="n_op")
        .add("Relu", "y", "z")
        .output("z", ["N", 4, 4, 4])
    )
    return Pair(original, folded, ("scale", "shift"), ("conv",))


@case
def residual_add(rng: np.random.Generator) -> Pair:
    """Scale to both branches, shift to one."""
    w, b = normal(rng, 4, 4, 3, 3), normal(rng, 4)
    v, c, bn = normal(rng, 4, 4, 3, 3), normal(rng, 4), norm(rng, 4)
    original = Net().input("x", ["N", 4, 6, 6]).const(w=w, b=b, v=v, c=c)
    original.add("Conv", "x w b", "p", name="left").add("Conv", "x v c", "q", name="right")
    original.add("Add", "p q", "h")
    bn.node(original, "h", "y").add("Relu", "y", "z").output("z", ["N", 4, 4, 4])
    folded = (
        Net()
        .input("x", ["N", 4, 6, 6])
        .const(
            w=rounded(conv_scaled(w, bn.scale)),
            b=rounded(b * bn.scale + bn.shift),
            v=rounded(conv_scaled(v, bn.scale)),
            c=rounded(c * bn.scale),
        )
        .add("Conv", "x w b", "p", name="left")
        .add("Conv", "x v c", "q", name="right")
        .add("Add", "p q", "y", name="h_op")
        .add("Relu", "y", "z")
        .output("z", ["N", 4, 4, 4])
    )
    return Pair(original, folded, ("bn",), ("left", "right"), {"bn": bn, "b": b})


@case
def concat_split_by_channel(rng: np.random.Generator) -> Pair:
    w, v, bn = normal(rng, 3, 4, 1, 1), normal(rng, 5, 4, 1, 1), norm(rng, 8)
    original = Net().input("x", ["N", 4, 4, 4]).const(w=w, v=v)
    original.add("Conv", "x w", "p", name="left").add("Conv", "x v", "q", name="right")
    original.add("Concat", "p q", "h", axis=1)
    bn.node(original, "h", "y").add("Tanh", "y", "z").output("z", ["N", 8, 4, 4])
    folded = (
        Net()
        .input("x", ["N", 4, 4, 4])
        .const(
            w=rounded(conv_scaled(w, bn.scale[:3])),
            b=rounded(bn.shift[:3]),
            v=rounded(conv_scaled(v, bn.scale[3:])),
            c=rounded(bn.shift[3:]),
        )
        .add("Conv", "x w b", "p", name="left")
        .add("Conv", "x v c", "q", name="right")
        .add("Concat", "p q", "y", axis=1, name="h_op")
        .add("Tanh", "y", "z")
        .output("z", ["N", 8, 4, 4])
    )
    return Pair(original, folded, ("bn",), ("left", "right"))


@case
def three_readers(rng: np.random.Generator) -> Pair:
    """One BN before Q, K and V."""
    bn = norm(rng, 4)
    kernels = {name: normal(rng, 4, 4) for name in "qkv"}
    original = Net().input("x", ["N", 4]).const(**kernels)
    bn.node(original, "x", "h")
    for name in "qkv":
        original.add("MatMul", f"h {name}", f"{name}_y", name=name)
    folded = Net().input("x", ["N", 4])
    for name, w in kernels.items():
        folded.const(
            **{
                name: rounded(w * bn.scale[:, None]),
                f"{name}_b": rounded(bn.shift @ w.astype(np.float64)),
            }
        )
        folded.add("Gemm", f"x {name} {name}_b", f"{name}_y", name=name)
    for net in (original, folded):
        net.add("Mul", "q_y k_y", "qk").add("Softmax", "qk", "a").add("Mul", "a v_y", "z")
        net.output("z", ["N", 4])
    return Pair(original, folded, ("bn",), ("q", "k", "v"))


@case
def bn_lstm(rng: np.random.Generator) -> Pair:
    bn, w, r = norm(rng, 3), normal(rng, 1, 8, 3), normal(rng, 1, 8, 2)
    b = normal(rng, 1, 16)
    s, t = rounded(bn.scale), rounded(bn.shift)
    original = Net(17).input("x", [5, "N", 3]).const(w=w, r=r, b=b, s=s, t=t)
    original.add("Mul", "x s", "g", name="scale").add("Add", "g t", "h", name="shift")
    original.add("LSTM", "h w r b", "y last", name="lstm", hidden_size=2)
    original.output("last", [1, "N", 2])
    wide = w.astype(np.float64)
    b2 = b.astype(np.float64).copy()
    b2[:, :8] += wide @ t.astype(np.float64)
    folded = (
        Net(17)
        .input("x", [5, "N", 3])
        .const(w=rounded(wide * s), r=r, b=rounded(b2))
        .add("LSTM", "x w r b", "y last", name="lstm", hidden_size=2)
        .output("last", [1, "N", 2])
    )
    return Pair(original, folded, ("scale", "shift"), ("lstm",))


@case
def embedding_bn(rng: np.random.Generator) -> Pair:
    table, bn = normal(rng, 11, 4), norm(rng, 4)
    s, t = rounded(bn.scale), rounded(bn.shift)
    original = Net().input("i", ["N", 3], np.int64).const(table=table, s=s, t=t)
    original.add("Gather", "table i", "e", name="embed").add("Mul", "e s", "g", name="scale")
    original.add("Add", "g t", "y", name="shift").add("Tanh", "y", "z").output("z", ["N", 3, 4])
    folded = (
        Net()
        .input("i", ["N", 3], np.int64)
        .const(table=rounded(table.astype(np.float64) * s + t))
        .add("Gather", "table i", "y", name="embed")
        .add("Tanh", "y", "z")
        .output("z", ["N", 3, 4])
    )
    return Pair(original, folded, ("scale", "shift"), ("embed",))


@case
def quantized_weight(rng: np.random.Generator) -> Pair:
    """The scale of a dequantized weight takes the fold; the integers stay."""
    w = rng.integers(-128, 127, (4, 3, 3, 3)).astype(np.int8)
    q = rng.uniform(0.01, 0.1, 4).astype(np.float32)
    zero = np.zeros(4, np.int8)
    bn = norm(rng, 4)
    original = Net().input("x", ["N", 3, 6, 6]).const(w=w, q=q, zero=zero)
    original.add("DequantizeLinear", "w q zero", "k", axis=0).add("Conv", "x k", "h", name="conv")
    bn.node(original, "h", "y").add("Tanh", "y", "z").output("z", ["N", 4, 4, 4])
    folded = (
        Net()
        .input("x", ["N", 3, 6, 6])
        .const(w=w, q=rounded(q * bn.scale), zero=zero, b=rounded(bn.shift))
        .add("DequantizeLinear", "w q zero", "k", axis=0)
        .add("Conv", "x k b", "y", name="conv")
        .add("Tanh", "y", "z")
        .output("z", ["N", 4, 4, 4])
    )
    return Pair(original, folded, ("bn",), ("conv",))


@case
def merged_and_left(rng: np.random.Generator) -> Pair:
    """Two affines become one Mul and one Add where nothing can take them."""
    one, two = norm(rng, 4), norm(rng, 4)
    original = Net().input("x", ["N", 4, 4, 4])
    one.node(original, "x", "h", "first")
    two.node(original, "h", "y", "second").add("Relu", "y", "z").output("z", ["N", 4, 4, 4])
    scale, shift = one.scale * two.scale, one.shift * two.scale + two.shift
    folded = (
        Net()
        .input("x", ["N", 4, 4, 4])
        .const(s=rounded(scale).reshape(4, 1, 1), t=rounded(shift).reshape(4, 1, 1))
        .add("Mul", "x s", "h", name="first")
        .add("Add", "h t", "y", name="second")
        .add("Relu", "y", "z")
        .output("z", ["N", 4, 4, 4])
    )
    return Pair(original, folded)


@case
def renamed_and_reordered(rng: np.random.Generator) -> Pair:
    """No name is kept, weights are Constant nodes, dead ops are gone, an Identity has come."""
    w, b, bn = normal(rng, 4, 4), normal(rng, 4), norm(rng, 4)
    v, c = normal(rng, 4, 4), normal(rng, 4)
    original = Net().input("x", ["N", 4]).const(w=w, b=b, v=v, c=c)
    original.add("Gemm", "x w b", "h", name="fc")
    bn.node(original, "h", "y").add("Relu", "y", "r").add("Exp", "h", "dead")
    original.add("Gemm", "r v c", "z", name="head").output("z", ["N", 4])
    folded = (
        Net()
        .input("x", ["N", 4])
        .const(c9=c, b9=rounded(b * bn.scale + bn.shift))
        .add("Identity", "x", "x9", name="n0")
        .add("Gemm", "x9 w9 b9", "y9", name="n2")
        .add("Relu", "y9", "r9", name="n3")
        .add("Gemm", "r9 v9 c9", "z", name="n4")
        .output("z", ["N", 4])
    )
    folded.constant_node("v9", v, 0)
    folded.constant_node("w9", rounded(w * bn.scale), 0)
    return Pair(original, folded, ("bn",), ("n2",))


@case
def within_a_body(rng: np.random.Generator) -> Pair:
    """Both branches of an If hold a Gemm and its BN; the weights come from outside."""
    w, b, bn = normal(rng, 4, 4), normal(rng, 4), norm(rng, 4)

    def net(kernel: Array, bias: Array, normalized: bool) -> Net:
        then, other = Net(), Net()
        then.add("Gemm", "x w b", "t_h" if normalized else "t_y", name="fc")
        if normalized:
            words = " ".join(["t_h", *bn.constants()])
            then.add("BatchNormalization", words, "t_y", name="bn", epsilon=bn.epsilon)
        then.output("t_y", ["N", 4])
        other.add("Tanh", "x", "e_y").output("e_y", ["N", 4])
        whole = Net().input("x", ["N", 4]).input("c", [], np.bool_).const(w=kernel, b=bias)
        if normalized:
            whole.const(**bn.constants())
        whole.add(
            "If",
            "c",
            "y",
            name="branch",
            then_branch=then.body("then"),
            else_branch=other.body("else"),
        )
        return whole.add("Sigmoid", "y", "z").output("z", ["N", 4])

    folded = net(rounded(w * bn.scale), rounded(b * bn.scale + bn.shift), False)
    return Pair(net(w, b, True), folded, ("bn",), ("fc",))


@case
def half_precision(rng: np.random.Generator) -> Pair:
    """float16 data and weights with float32 statistics would not be valid before opset 15."""
    w, b = normal(rng, 6, 8, dtype=np.float16), normal(rng, 8, dtype=np.float16)
    bn = norm(rng, 8)
    original = Net(17).input("x", ["N", 6], np.float16).const(w=w, b=b)
    original.add("Gemm", "x w b", "h", name="fc")
    bn.node(original, "h", "y").add("Sigmoid", "y", "z").output("z", ["N", 8], np.float16)
    folded = (
        Net(17)
        .input("x", ["N", 6], np.float16)
        .const(w=rounded(w * bn.scale, np.float16), b=rounded(b * bn.scale + bn.shift, np.float16))
        .add("Gemm", "x w b", "y", name="fc")
        .add("Sigmoid", "y", "z")
        .output("z", ["N", 8], np.float16)
    )
    return Pair(original, folded, ("bn",), ("fc",))
