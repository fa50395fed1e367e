"""Steps: layers with a kernel."""

from __future__ import annotations

from typing import Any

from .net import VOCABULARY, NetBuilder, shape_of

ACTIVATIONS = ("elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear")
ACTIVATIONS += ("log_softmax", "mish", "relu", "selu", "sigmoid", "softmax", "softplus")
ACTIVATIONS += ("softsign", "swish", "tanh")
ACTIVATIONS_3 = ("celu", "hard_shrink", "hard_silu", "hard_tanh", "log_sigmoid", "relu6", "silu")
ACTIVATIONS_3 += ("soft_shrink", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus")
ACTIVATIONS_3 += ("tanh_shrink",)


def activation_name(b: NetBuilder) -> str:
    """Any activation; those that an affine passes more often."""
    if b.chance(40):
        return b.pick(("relu", "leaky_relu", "linear"))
    return b.pick(ACTIVATIONS + (ACTIVATIONS_3 if b.generation == 3 else ()))


def _common(b: NetBuilder) -> dict[str, Any]:
    options: dict[str, Any] = {"use_bias": b.chance(70)}
    if b.chance(25):
        options["activation"] = activation_name(b)
    return options


def dense(b: NetBuilder, x: Any) -> Any:
    """Dense, on any number of axes."""
    return b.on(x, "Dense", b.size(), **_common(b))


_EQUATIONS = {
    2: (("ab,bc->ac", ("c", None)), ("ab,bcd->acd", ("d", "cd", "c")), ("...x,xy->...y", ("y",))),
    3: (
        ("abc,cd->abd", ("d", "bd", None)),
        ("abc,cde->abde", ("de", "e", "d")),
        ("abc,bd->adc", ("d", "dc", "c")),
        ("abc,bcd->ad", ("d", None)),
        ("abc,bcd->abd", ("d", "b")),
        ("...x,xy->...y", ("y",)),
        ("abc,cd->adb", ("d", "b")),
    ),
    4: (("abcd,de->abce", ("e", "ce")), ("abcd,cde->abe", ("e",)), ("abcd,bde->abce", ("e", "b"))),
}


def einsum_dense(b: NetBuilder, x: Any) -> Any:
    """EinsumDense of many equations."""
    if len(x.shape) not in _EQUATIONS:
        return None
    equation, axes = b.pick(_EQUATIONS[len(x.shape)])
    left, _, right = equation.partition(",")[0], "", equation.partition("->")[2]
    if "..." in equation:
        shape: Any = (*x.shape[1:-1], b.size())
    else:
        known = dict(zip(left, x.shape, strict=True))
        shape = tuple(known[one] if one in known else b.size() for one in right[1:])
    shape = tuple(None if one is None else int(one) for one in shape)
    options = {"bias_axes": b.pick(axes)}
    if b.chance(20):
        options["activation"] = activation_name(b)
    return b.on(x, "EinsumDense", equation, output_shape=shape, **options)


def _numbers(b: NetBuilder, count: int, low: int, high: int) -> Any:
    if b.chance(50):
        return b.chooser.integer(low, high)
    return tuple(b.chooser.integer(low, high) for _ in range(count))


def _window(b: NetBuilder, count: int, *paddings: str) -> dict[str, Any]:
    options: dict[str, Any] = {"padding": b.pick(("valid", "same", *paddings))}
    kind = b.chooser.integer(0, 3)
    if kind == 1:
        # One stride for all axes: depthwise kernels of TensorFlow know no others.
        options["strides"] = b.chooser.integer(1, 3)
    elif kind == 2:
        options["dilation_rate"] = b.chooser.integer(1, 2)
    return options


def _format(b: NetBuilder) -> dict[str, Any]:
    return {"data_format": "channels_first"} if b.chance(8) else {}


def _channels(x: Any, options: dict[str, Any]) -> int:
    return int(x.shape[1] if options.get("data_format") == "channels_first" else x.shape[-1])


def conv(b: NetBuilder, x: Any) -> Any:
    """Conv1D, Conv2D, Conv3D."""
    count = len(x.shape) - 2
    if count not in (1, 2, 3):
        return None
    order = _format(b)
    channels = _channels(x, order)
    groups = b.pick([one for one in (1, 1, 2, channels) if channels % one == 0])
    groups = 1 if order else groups
    options = {**_window(b, count, *(["causal"] if count == 1 and not order else [])), **order}
    if options.get("strides", 1) != 1 and options["padding"] == "causal":
        options["padding"] = "same"
    filters = groups * b.pick((1, 2, 3))
    kernel = _numbers(b, count, 1, 3)
    return b.on(x, f"Conv{count}D", filters, kernel, groups=groups, **options, **_common(b))


def depthwise(b: NetBuilder, x: Any) -> Any:
    """DepthwiseConv1D, DepthwiseConv2D."""
    count = len(x.shape) - 2
    if count not in (1, 2):
        return None
    options = {**_window(b, count), **_format(b), **_common(b)}
    kernel = b.chooser.integer(1, 3) if count == 1 else _numbers(b, count, 1, 3)
    deep = b.pick((1, 1, 2))
    return b.on(x, f"DepthwiseConv{count}D", kernel, depth_multiplier=deep, **options)


def separable(b: NetBuilder, x: Any) -> Any:
    """SeparableConv1D, SeparableConv2D."""
    count = len(x.shape) - 2
    if count not in (1, 2):
        return None
    causal = ("causal",) if count == 1 and b.generation == 2 else ()
    options = {**_window(b, count, *causal), **_common(b), "depth_multiplier": b.pick((1, 2))}
    kernel = b.chooser.integer(1, 3) if count == 1 else _numbers(b, count, 1, 3)
    return b.on(x, f"SeparableConv{count}D", b.size(), kernel, **options)


def transposed(b: NetBuilder, x: Any) -> Any:
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose."""
    count = len(x.shape) - 2
    if count not in (1, 2, 3):
        return None
    options = {"padding": b.pick(("valid", "same")), **_common(b), **_format(b)}
    strides = b.chooser.integer(1, 3) if b.chance(60) else 1
    if strides > 1 and b.chance(25):
        options["output_padding"] = b.chooser.integer(0, strides - 1)
    kernel = _numbers(b, count, 1, 3)
    return b.on(x, f"Conv{count}DTranspose", b.size(), kernel, strides=strides, **options)


def embedding(b: NetBuilder, x: Any) -> Any:
    """Embedding of ids, sometimes one that makes a mask."""
    masking = len(shape_of(x)) == 1 and b.chance(35)
    if masking:
        b.marks.add("masked")
    return b.on(x, "Embedding", VOCABULARY, b.size(), mask_zero=masking)


def spectral(b: NetBuilder, x: Any) -> Any:
    """SpectralNormalization around a Dense."""
    if b.generation == 2:
        return None
    inner = b.layer("Dense", b.size(), **_common(b))
    return b.call(b.layer("SpectralNormalization", inner), x)
