"""A convolution's own bias goes into it; what only looks like one stays where it is."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from bnfold.convert.biases import attach_biases

RNG = np.random.default_rng(5)
LABELS = {"conv": "layer", "squeeze": "layer", "add": "layer"}


def model(
    bias: np.ndarray,
    *,
    op: str = "Conv",
    squeezed: bool = True,
    end: str = "relu",
    own_bias: bool = False,
    group: int = 1,
) -> ir.Model:
    """Conv of 4 channels to 4 (kernel 1x3, height 1, width 4), [Squeeze], Add, [Relu]."""
    size = (4, 4 // group, 1, 3)
    constants = {"W": RNG.normal(size=size).astype(np.float32), "bias": bias.astype(np.float32)}
    if own_bias:
        constants["b"] = np.ones(4, np.float32)
    constants["axes"] = np.array([2], np.int64)
    last = "sum" if end == "relu" else "y"
    nodes = [
        helper.make_node(
            op,
            ["x", "W", *(["b"] if own_bias else [])],
            ["c"],
            "conv",
            pads=[0, 1, 0, 1],
            group=group,
        )
    ]
    if squeezed:
        nodes.append(helper.make_node("Squeeze", ["c", "axes"], ["s"], "squeeze"))
    nodes.append(helper.make_node("Add", ["s" if squeezed else "c", "bias"], [last], "add"))
    outputs = ["y"]
    if end == "relu":
        nodes.append(helper.make_node("Relu", ["sum"], ["y"], "relu"))
    if end == "other":
        nodes.append(helper.make_node("Neg", ["s" if squeezed else "c"], ["n"], "neg"))
        outputs.append("n")
    shape = ["batch", 4, 4] if squeezed else ["batch", 4, 1, 4]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 1, 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return ir.from_proto(made)


def run(made: ir.Model) -> list[np.ndarray]:
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString())
    x = np.random.default_rng(1).normal(size=(2, 4, 1, 4)).astype(np.float32)
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize(("op", "group"), [("Conv", 1), ("Conv", 2), ("ConvTranspose", 1)])
@pytest.mark.parametrize("end", ["relu", "output"])
@pytest.mark.parametrize("squeezed", [True, False])
def test_own_bias_is_attached(op: str, group: int, end: str, squeezed: bool) -> None:
    shape = (1, 4, 1) if squeezed else (4, 1, 1)
    made = model(RNG.normal(size=shape), op=op, squeezed=squeezed, end=end, group=group)
    expected = run(made)
    assert attach_biases(made, LABELS) == ["add"]
    assert "Add" not in [node.op_type for node in made.graph]
    assert [v.name for v in made.graph.outputs] == ["y"]
    assert "bias" not in made.graph.initializers
    for result, wanted in zip(run(made), expected, strict=True):
        assert np.allclose(result, wanted, rtol=0, atol=1e-6)


STAYS = {
    "along the width, which has as many": {"bias": np.ones((4,))},
    "along the width, spelt out": {"bias": np.ones((1, 1, 4))},
    "a single number": {"bias": np.ones((1,))},
    "a bias is there": {"bias": np.ones((1, 4, 1)), "own_bias": True},
    "another reader": {"bias": np.ones((1, 4, 1)), "end": "other"},
}


@pytest.mark.parametrize("case", STAYS)
def test_what_is_no_bias_stays(case: str) -> None:
    made = model(**STAYS[case])  # type: ignore[arg-type]
    assert attach_biases(made, LABELS) == []
    run(made)


@pytest.mark.parametrize("labels", [{}, LABELS | {"add": "bn"}, {"add": "layer", "conv": "layer"}])
def test_another_layers_shift_stays(labels: dict[str, str]) -> None:
    assert attach_biases(model(np.ones((1, 4, 1))), labels) == []
