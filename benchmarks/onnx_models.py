"""The nets that come as ONNX, each built by seed, with or without its normalizations."""

from __future__ import annotations

import onnx

from benchmarks.nets import Net

SEED = 20


def mlp(norms: bool, *, depth: int, width: int) -> onnx.ModelProto:
    """Gemm -> BN -> Relu, `depth` times, then Gemm."""
    net = Net([width], norms=norms, seed=SEED)
    x = "x"
    for _ in range(depth):
        x = net.op("Relu", net.norm(net.gemm(x, width, width), width))
    return net.finish(net.gemm(x, width, 10), 2)


def post_activation_mlp(norms: bool) -> onnx.ModelProto:
    """MatMul -> Add -> Relu -> Mul -> Add, three times, then MatMul -> Add -> Softmax."""
    net = Net([256], norms=norms, seed=SEED)
    x = "x"
    for _ in range(3):
        x = net.mul_add(net.op("Relu", net.matmul(x, 256, 256)), 256)
    return net.finish(net.op("Softmax", net.matmul(x, 256, 10)), 2)


def autoencoder(norms: bool) -> onnx.ModelProto:
    """The anomaly detection autoencoder of MLPerf Tiny: Gemm -> BN -> Relu through a neck of 8."""
    net = Net([640], norms=norms, seed=SEED)
    x, inside = "x", 640
    for outside in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = net.op("Relu", net.norm(net.gemm(x, inside, outside), outside))
        inside = outside
    return net.finish(net.gemm(x, inside, 640), 2)


def rl_policy(norms: bool) -> onnx.ModelProto:
    """A locomotion policy: (x - mean) / std, then Gemm -> Elu three times, Gemm, Tanh."""
    net = Net([48], norms=norms, seed=SEED)
    x = "x"
    if norms:
        centered = net.op("Sub", x, net.vector(48))
        x = net.op("Div", centered, net.vector(48, 0.5, 2.0))
    inside = 48
    for outside in (512, 256, 128):
        x = net.op("Elu", net.gemm(x, inside, outside))
        inside = outside
    return net.finish(net.op("Tanh", net.gemm(x, inside, 12)), 2)


def conv_net(norms: bool) -> onnx.ModelProto:
    """Conv -> BN -> Relu four times with pooling, then Flatten -> Gemm -> BN -> Relu -> Gemm."""
    net = Net([3, 32, 32], norms=norms, seed=SEED)
    x, inside = "x", 3
    for number, outside in enumerate((16, 16, 32, 32)):
        x = net.op("Relu", net.norm(net.conv(x, inside, outside), outside))
        if number % 2:
            x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        inside = outside
    flat = net.op("Flatten", x)
    dense = net.op("Relu", net.norm(net.gemm(flat, 32 * 64, 64), 64))
    return net.finish(net.gemm(dense, 64, 10), 2)


def conv_then_bn(norms: bool) -> onnx.ModelProto:
    """Conv -> Relu -> MaxPool -> BN, three times: the order that runtimes do not fold."""
    net = Net([3, 32, 32], norms=norms, seed=SEED)
    x, inside = "x", 3
    for outside in (16, 32, 32):
        x = net.op("Relu", net.conv(x, inside, outside, bias=True))
        x = net.norm(net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), outside)
        inside = outside
    return net.finish(net.gemm(net.op("Flatten", x), 32 * 16, 10), 2)


def pre_activation_resnet(norms: bool) -> onnx.ModelProto:
    """BN -> Relu -> Conv -> BN -> Relu -> Conv beside a shortcut, in nine blocks (ResNet-20 v2)."""
    net = Net([3, 32, 32], norms=norms, seed=SEED)
    x, inside = net.conv("x", 3, 8), 8
    for outside, stride in [(8, 1)] * 3 + [(16, 2)] + [(16, 1)] * 2 + [(32, 2)] + [(32, 1)] * 2:
        before = net.op("Relu", net.norm(x, inside))
        shortcut = x
        if stride > 1:
            shortcut = net.conv(before, inside, outside, size=(1, 1), stride=stride)
        first = net.conv(before, inside, outside, stride=stride)
        between = net.op("Relu", net.norm(first, outside))
        x = net.op("Add", net.conv(between, outside, outside), shortcut)
        inside = outside
    pooled = net.op("GlobalAveragePool", net.op("Relu", net.norm(x, inside)))
    return net.finish(net.gemm(net.op("Flatten", pooled), inside, 10), 2)


def mobilenet(norms: bool) -> onnx.ModelProto:
    """Inverted residuals: 1x1 -> BN -> Relu6 -> depthwise 3x3 -> BN -> Relu6 -> 1x1 -> BN."""
    net = Net([3, 32, 32], norms=norms, seed=SEED)
    low, high = net.constant(0.0), net.constant(6.0)

    def relu6(x: str) -> str:
        return net.op("Clip", x, low, high)

    x, inside = relu6(net.norm(net.conv("x", 3, 8, stride=2), 8)), 8
    for outside, stride in ((8, 1), (16, 2), (16, 1), (24, 2), (24, 1)):
        wide = inside * 4
        y = relu6(net.norm(net.conv(x, inside, wide, size=(1, 1)), wide))
        y = relu6(net.norm(net.conv(y, wide, wide, stride=stride, group=wide), wide))
        y = net.norm(net.conv(y, wide, outside, size=(1, 1)), outside)
        x = net.op("Add", x, y) if stride == 1 and inside == outside else y
        inside = outside
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.finish(net.gemm(pooled, inside, 10), 2)
