"""Names and order depend on the graph's structure alone."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from bnfold.convert.canonical import canonicalize
from bnfold.convert.layer_scopes import LayerNames

FLOAT = TensorProto.FLOAT


def model(tag: str, order: tuple[int, ...]) -> ir.Model:
    """x -> Conv -> (2 * y) -> two outputs; names and order of nodes as `tag` and `order` say."""
    nodes = [
        helper.make_node("Conv", ["x", f"W{tag}", f"b{tag}"], [f"y{tag}"], f"m/conv/Conv{tag}"),
        helper.make_node("Mul", [f"two{tag}", f"y{tag}"], [f"z{tag}"], f"m/bn/mul{tag}"),
        helper.make_node("Relu", [f"z{tag}"], ["out"], f"Relu{tag}"),
        helper.make_node("Neg", [f"y{tag}"], ["other"], f"m/neg/Neg{tag}"),
    ]
    rng = np.random.default_rng(0)
    constants = {
        f"two{tag}": np.float32(rng.normal(size=(1, 4, 1, 1))),
        f"b{tag}": np.float32(rng.normal(size=4)),
        f"W{tag}": np.float32(rng.normal(size=(4, 3, 3, 3))),
        f"unused{tag}": np.zeros(3, np.float32),
    }
    graph = helper.make_graph(
        [nodes[i] for i in order],
        f"g{tag}",
        [helper.make_tensor_value_info("x", FLOAT, [f"unk{tag}", 3, f"u{tag}", 7])],
        [
            helper.make_tensor_value_info(n, FLOAT, [f"v{tag}", 4, None, 5])
            for n in ("out", "other")
        ],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
        doc_string=tag,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


LAYERS = LayerNames({"m/conv/Conv": "conv", "m/bn/mul": "bn", "m/neg/Neg": "other"})


def canonical(made: ir.Model) -> tuple[bytes, dict[str, str]]:
    labels = canonicalize(made, [("image", [None, 3, None, 7])], ["first", "second"], LAYERS)
    return ir.to_proto(made).SerializeToString(), labels


def test_counters_and_order_leave_no_trace() -> None:
    first, labels = canonical(model("__1", (0, 1, 2, 3)))
    second, again = canonical(model("__977", (0, 3, 1, 2)))
    assert first == second
    assert labels == again == {"conv/Conv": "conv", "bn/Mul": "bn", "other/Neg": "other"}
    onnx.checker.check_model(onnx.load_from_string(first), full_check=True)


def test_names_say_layer_op_and_operand() -> None:
    made = model("__5", (0, 1, 2, 3))
    canonical(made)
    graph = made.graph
    assert [n.name for n in graph] == ["conv/Conv", "bn/Mul", "Relu", "other/Neg"]
    assert list(graph.initializers) == ["conv/Conv.W", "conv/Conv.B", "bn/Mul.B"]
    assert [v.name for v in graph.inputs] == ["image"]
    assert [v.name for v in graph.outputs] == ["first", "second"]
    assert [str(d) for d in graph.inputs[0].shape or ()] == ["batch", "3", "image_dim_2", "7"]
    assert [str(d) for d in graph.outputs[0].shape or ()] == ["batch", "4", "first_dim_2", "5"]
    assert made.opset_imports == {"": 17}


def test_the_constant_of_a_product_stands_second() -> None:
    made = model("__5", (0, 1, 2, 3))
    canonical(made)
    mul = next(node for node in made.graph if node.op_type == "Mul")
    assert [v.name for v in mul.inputs if v] == ["conv/Conv", "bn/Mul.B"]


def test_the_order_of_a_difference_stays() -> None:
    made = model("__5", (0, 1, 2, 3))
    mul = next(node for node in made.graph if node.op_type == "Mul")
    mul.op_type = "Sub"
    canonical(made)
    assert [v.name for v in mul.inputs if v] == ["bn/Sub.A", "conv/Conv"]


def test_an_output_name_that_a_node_would_get_is_given_once() -> None:
    made = model("__5", (0, 1, 2, 3))
    canonicalize(made, [("bn/Mul", [None, 3, None, 7])], ["conv/Conv", "bn/Mul.B"], LAYERS)
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    assert [v.name for v in proto.graph.output] == ["conv/Conv", "bn/Mul.B"]


@pytest.mark.parametrize("tag", ["__1", "__64"])
def test_bodies_are_named_and_sorted_too(tag: str) -> None:
    def body(name: str, op: str) -> onnx.GraphProto:
        nodes = [
            helper.make_node(
                "Mul", [f"c{tag}", f"inner{tag}{op}"], [f"r{tag}{op}"], f"Mul{tag}{op}"
            ),
            helper.make_node(op, ["x"], [f"inner{tag}{op}"], f"{op}{tag}"),
        ]
        out = helper.make_tensor_value_info(f"r{tag}{op}", FLOAT, None)
        return helper.make_graph(nodes, f"{name}{tag}", [], [out])

    graph = helper.make_graph(
        [
            helper.make_node(
                "If",
                ["flag"],
                ["y"],
                f"If{tag}",
                then_branch=body("then", "Relu"),
                else_branch=body("else", "Neg"),
            )
        ],
        "g",
        [
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", FLOAT, ["N"]),
        ],
        [helper.make_tensor_value_info("y", FLOAT, ["N"])],
        [numpy_helper.from_array(np.float32(2), f"c{tag}")],
    )
    made = ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )
    canonicalize(made, [("flag", []), ("x", [None])], ["y"], LayerNames({}))
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    text = proto.SerializeToString()
    assert tag.encode() not in text
    bodies = [attribute.g for attribute in proto.graph.node[0].attribute]
    assert sorted([n.op_type for n in b.node] for b in bodies) == [["Neg", "Mul"], ["Relu", "Mul"]]
