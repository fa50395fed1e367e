"""Opening ONNX models: what is taken, and the one line for what is not."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
import onnx_ir as ir
import pytest
from onnx import TensorProto

from bnfold.core.errors import InputError
from bnfold.formats.onnx.open import open_onnx

FLOAT = TensorProto.FLOAT


def value(name: str, *dims: int | str) -> onnx.ValueInfoProto:
    return oh.make_tensor_value_info(name, FLOAT, list(dims))


def weight(name: str, *dims: int) -> TensorProto:
    return nh.from_array(np.arange(np.prod(dims), dtype=np.float32).reshape(dims), name)


def model(
    nodes: list[onnx.NodeProto] | None = None,
    initializers: list[TensorProto] | None = None,
    *,
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """x -> Gemm(w, b) -> h -> Relu -> y unless told otherwise."""
    default = [
        oh.make_node("Gemm", ["x", "w", "b"], ["h"], name="gemm"),
        oh.make_node("Relu", ["h"], ["y"], name="relu"),
    ]
    graph = oh.make_graph(
        default if nodes is None else nodes,
        "g",
        [value("x", "N", 4)] if inputs is None else inputs,
        [value("y", "N", 3)] if outputs is None else outputs,
        [weight("w", 4, 3), weight("b", 3)] if initializers is None else initializers,
    )
    return oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=ir_version)


def refused(source: onnx.ModelProto | Path) -> str:
    with pytest.raises(InputError) as refusal:
        open_onnx(source)
    text = str(refusal.value)
    assert "\n" not in text
    return text


class TestSources:
    def test_file_and_proto_give_the_same(self, tmp_path: Path) -> None:
        onnx.save(model(), tmp_path / "m.onnx")
        for source in (tmp_path / "m.onnx", str(tmp_path / "m.onnx"), model()):
            opened = open_onnx(source)
            assert [node.op_type for node in opened.graph] == ["Gemm", "Relu"]
            stored = opened.graph.initializers["w"].const_value
            assert stored is not None
            np.testing.assert_array_equal(stored.numpy(), nh.to_array(weight("w", 4, 3)))

    def test_a_given_proto_is_never_changed(self) -> None:
        proto = model()
        proto.graph.value_info.append(value("h", -1, 3))
        proto.opset_import[0].domain = "ai.onnx"
        before = proto.SerializeToString(deterministic=True)
        opened = open_onnx(proto)
        opened.graph.initializers["w"].name = "renamed"
        ir.to_proto(opened)
        assert proto.SerializeToString(deterministic=True) == before

    def test_an_ir_model_is_taken_as_it_is(self) -> None:
        given = ir.from_proto(model())
        assert open_onnx(given) is given

    def test_other_models_are_sent_elsewhere(self, sample_models: Path) -> None:
        assert "not an ONNX model" in refused(sample_models / "conv.keras")

    def test_the_file_is_named(self, tmp_path: Path) -> None:
        onnx.save(model([oh.make_node("Relu", ["gone"], ["y"])]), tmp_path / "m.onnx")
        assert refused(tmp_path / "m.onnx").startswith(f"{tmp_path / 'm.onnx'} cannot be used")

    def test_a_relative_path_outlives_a_change_of_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_external(model(), tmp_path)
        monkeypatch.chdir(tmp_path)
        opened = open_onnx("m.onnx")
        monkeypatch.chdir("/")
        check_weight(opened)


class TestWhatIsTaken:
    def test_initializers_of_ir_3_listed_as_inputs_or_not(self) -> None:
        listed = [value("x", "N", 4), value("w", 4, 3), value("b", 3)]
        for inputs in (None, listed):
            opened = open_onnx(model(inputs=inputs, ir_version=3))
            assert opened.ir_version == 3
            assert set(opened.graph.initializers) == {"w", "b"}
            assert len(opened.graph.inputs) == len(inputs or "x")

    def test_nodes_out_of_order_are_put_in_order(self) -> None:
        proto = model()
        nodes = list(proto.graph.node)[::-1]
        opened = open_onnx(model(nodes))
        assert [node.op_type for node in opened.graph] == ["Gemm", "Relu"]

    def test_order_is_otherwise_kept(self) -> None:
        nodes = [
            oh.make_node("Relu", ["x"], ["a"]),
            oh.make_node("Relu", ["x"], ["b"]),
            oh.make_node("Relu", ["a"], ["c"]),
            oh.make_node("Add", ["b", "c"], ["y"]),
        ]
        opened = open_onnx(model(nodes, []))
        assert [node.outputs[0].name for node in opened.graph] == ["a", "b", "c", "y"]

    def test_duplicate_outputs(self) -> None:
        opened = open_onnx(model(outputs=[value("y", "N", 3), value("y", "N", 3)]))
        assert [output.name for output in opened.graph.outputs] == ["y", "y"]

    def test_an_output_that_is_an_input_or_an_initializer(self) -> None:
        outputs = [value("y", "N", 3), value("x", "N", 4), value("w", 4, 3)]
        assert len(open_onnx(model(outputs=outputs)).graph.outputs) == 3

    def test_missing_optional_inputs(self) -> None:
        nodes = [oh.make_node("Clip", ["x", "", "top"], ["y"])]
        opened = open_onnx(model(nodes, [nh.from_array(np.float32(1), "top")]))
        assert next(iter(opened.graph)).inputs[1] is None

    def test_bodies_read_outer_names(self) -> None:
        body = oh.make_graph(
            [oh.make_node("Gemm", ["x", "w"], ["inner"])], "body", [], [value("inner", "N", 3)]
        )
        nodes = [
            oh.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
        ]
        condition = [nh.from_array(np.array(True), "c"), weight("w", 4, 3)]
        opened = open_onnx(model(nodes, condition))
        branch = next(iter(opened.graph)).attributes["then_branch"].as_graph()
        read = next(iter(branch)).inputs[1]
        assert read is opened.graph.initializers["w"]

    def test_ops_that_onnx_does_not_know_or_that_are_overridden_pass(self) -> None:
        proto = with_function([oh.make_node("Relu", ["a"], ["out"])], ["a"])
        proto.functions[0].domain, proto.functions[0].name = "", "Gemm"
        proto.graph.node[0].op_type, proto.graph.node[0].domain = "Gemm", ""
        for op in ("Attention2", "Relu"):
            proto.graph.node.append(oh.make_node(op, ["x"], [op], domain="com.example", axis="z"))
        proto.graph.node.append(oh.make_node("NoSuchOp", ["x"], ["z"], axis="z"))
        proto.graph.node.append(oh.make_node("Relu", ["x"], ["w2"], unknown_attribute=1))
        assert len(open_onnx(proto).graph) == 5

    def test_negative_dims_become_unknown(self) -> None:
        opened = open_onnx(model(inputs=[value("x", -1, 4)]))
        shape = opened.graph.inputs[0].shape
        assert shape is not None
        assert not isinstance(shape[0], int)
        assert shape[1] == 4

    def test_the_default_opset_by_its_other_name(self) -> None:
        proto = model()
        proto.opset_import[0].domain = "ai.onnx"
        assert open_onnx(proto).opset_imports[""] == 17
        proto.opset_import.append(oh.make_opsetid("", 17))
        assert open_onnx(proto).opset_imports == {"": 17}

    def test_training_information_is_dropped_aloud(self, caplog: pytest.LogCaptureFixture) -> None:
        proto = model()
        proto.training_info.add()
        with caplog.at_level(logging.WARNING):
            open_onnx(proto)
        assert "training information" in caplog.text

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((0, 3), np.float32),
            np.array(2.0, np.float16),
            np.arange(5, dtype=np.uint8),
            np.array([True, False]),
            np.array([1 + 2j], np.complex64),
            np.array([b"a", b"b"], object),
        ],
    )
    def test_tensors_of_all_kinds(self, array: np.ndarray) -> None:
        node = oh.make_node("Constant", [], ["y"], value=nh.from_array(array, "v"))
        opened = open_onnx(model([node], [nh.from_array(array, "w")]))
        for tensor in (
            opened.graph.initializers["w"].const_value,
            next(iter(opened.graph)).attributes["value"].as_tensor(),
        ):
            assert tensor is not None
            np.testing.assert_array_equal(tensor.numpy(), array)

    @pytest.mark.parametrize(
        ("kind", "values", "size"),
        [
            (FLOAT, [1.0, 2.0, 3.0], 3),
            (TensorProto.DOUBLE, [1.0, 2.0, 3.0], 3),
            (TensorProto.INT64, [1, 2, 3], 3),
            (TensorProto.INT8, [1, 2, 3], 3),
            (TensorProto.UINT64, [1, 2, 3], 3),
            (TensorProto.FLOAT16, [1.0, 2.0, 3.0], 3),
            (TensorProto.BFLOAT16, [1.0, 2.0, 3.0], 3),
            (TensorProto.COMPLEX64, [1 + 1j, 2, 3], 3),
            (TensorProto.INT4, [1, -2, 3], 3),
        ],
    )
    def test_typed_data_fields(self, kind: int, values: list[float], size: int) -> None:
        tensor = oh.make_tensor("t", kind, [size], values)
        assert not tensor.HasField("raw_data")
        stored = open_onnx(model(initializers=[*model().graph.initializer, tensor]))
        held = stored.graph.initializers["t"].const_value
        assert held is not None
        assert list(np.asarray(held.numpy()).astype(complex)) == [complex(v) for v in values]


def with_function(body: list[onnx.NodeProto], inputs: list[str]) -> onnx.ModelProto:
    proto = model([oh.make_node("F", ["x"], ["y"], domain="own")], [])
    proto.opset_import.append(oh.make_opsetid("own", 1))
    function = oh.make_function(
        "own", "F", inputs, ["out"], body, [oh.make_opsetid("", 17), oh.make_opsetid("own", 1)]
    )
    proto.functions.append(function)
    return proto


def doubling(depth: int) -> onnx.ModelProto:
    """Functions that each call the next twice."""
    proto = with_function([oh.make_node("F0", ["a"], ["out"], domain="own")], ["a"])
    for level in range(depth):
        callee = f"F{level + 1}" if level + 1 < depth else "Op"
        domain = "own" if level + 1 < depth else "com.example"
        body = [
            oh.make_node(callee, ["a"], ["h"], domain=domain),
            oh.make_node(callee, ["h"], ["out"], domain=domain),
        ]
        imports = [oh.make_opsetid("own", 1)]
        proto.functions.append(oh.make_function("own", f"F{level}", ["a"], ["out"], body, imports))
    return proto


def body_of(name: str) -> onnx.GraphProto:
    """A body that reads an outer name."""
    return oh.make_graph([oh.make_node("Relu", [name], ["t"])], "t", [], [value("t", 1)])


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    proto = model()
    change(proto)
    return proto


def tensor_with(**fields: object) -> onnx.ModelProto:
    proto = model()
    tensor = proto.graph.initializer[0]
    for name, content in fields.items():
        if isinstance(content, list):
            del getattr(tensor, name)[:]
            getattr(tensor, name).extend(content)
        else:
            setattr(tensor, name, content)
    return proto


def nested(depth: int) -> onnx.ModelProto:
    """An If in an If in an If..., built in place: protobuf refuses to copy what is deep."""
    proto = model([], [nh.from_array(np.array(True), "c")])
    graph = proto.graph
    for level in range(depth):
        node = graph.node.add(
            op_type="If", domain="com.example", input=["c"], output=[f"z{level}" if level else "y"]
        )
        attribute = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        graph = attribute.g
        graph.output.add(name=f"z{level + 1}")
    graph.node.add(op_type="Relu", input=["x"], output=[f"z{depth}"])
    return proto


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "no graph": (lambda: onnx.ModelProto(ir_version=8), "holds no graph"),
    "no version": (lambda: changed(lambda m: m.ClearField("ir_version")), "no IR version"),
    "new version": (lambda: model(ir_version=9999), "newer than"),
    "no opset": (lambda: changed(lambda m: m.ClearField("opset_import")), "no opset"),
    "two opsets": (
        lambda: changed(lambda m: m.opset_import.append(oh.make_opsetid("ai.onnx", 9))),
        "two versions of the opset",
    ),
    "opset 0": (
        lambda: changed(lambda m: m.opset_import.append(oh.make_opsetid("a", 0))),
        "version 0",
    ),
    "undefined": (
        lambda: model([oh.make_node("Relu", ["gone"], ["y"], name="r")]),
        "Relu node 'r' reads 'gone', which nothing produces",
    ),
    "output of nothing": (
        lambda: model(outputs=[value("gone", 1)]),
        "output 'gone' of the graph is produced by nothing",
    ),
    "defined twice": (
        lambda: model([oh.make_node("Relu", ["x"], ["y"]), oh.make_node("Elu", ["x"], ["y"])]),
        "'y' is defined twice",
    ),
    "defined over an input": (lambda: model([oh.make_node("Relu", ["x"], ["x"])]), "'x' is def"),
    "defined over a weight": (lambda: model([oh.make_node("Relu", ["x"], ["w"])]), "'w' is def"),
    "two inputs": (
        lambda: model(inputs=[value("x", "N", 4), value("x", "N", 4)]),
        "two inputs of the graph are called 'x'",
    ),
    "two weights": (
        lambda: model(initializers=[weight("w", 4, 3), weight("w", 4, 3), weight("b", 3)]),
        "two initializers of the graph are called 'w'",
    ),
    "nameless weight": (
        lambda: changed(lambda m: m.graph.initializer[0].ClearField("name")),
        "without a name",
    ),
    "nameless input": (
        lambda: changed(lambda m: m.graph.input[0].ClearField("name")),
        "without a name",
    ),
    "self": (lambda: model([oh.make_node("Add", ["x", "y"], ["y"], name="a")]), "a cycle"),
    "cycle": (
        lambda: model(
            [
                oh.make_node("Add", ["x", "r"], ["p"]),
                oh.make_node("Relu", ["p"], ["q"]),
                oh.make_node("Relu", ["q"], ["r"]),
                oh.make_node("Relu", ["r"], ["y"]),
            ]
        ),
        "waits for itself (a cycle)",
    ),
    "cycle through a body": (
        lambda: model(
            [
                oh.make_node(
                    "If",
                    ["c"],
                    ["a"],
                    name="if",
                    then_branch=body_of("y"),
                    else_branch=body_of("y"),
                ),
                oh.make_node("Relu", ["a"], ["y"]),
            ],
            [nh.from_array(np.array(True), "c")],
        ),
        "waits for itself (a cycle)",
    ),
    "undefined in a body": (
        lambda: model(
            [
                oh.make_node(
                    "If",
                    ["x"],
                    ["y"],
                    name="if",
                    then_branch=body_of("gone"),
                    else_branch=body_of("gone"),
                ),
            ]
        ),
        "in the body of If node 'if' reads 'gone'",
    ),
    "no op type": (lambda: changed(lambda m: m.graph.node[0].ClearField("op_type")), "no op type"),
    "attribute twice": (
        lambda: changed(
            lambda m: m.graph.node[0].attribute.extend(
                [oh.make_attribute("alpha", 1.0), oh.make_attribute("alpha", 2.0)]
            )
        ),
        "attribute 'alpha' twice",
    ),
    "attribute without type": (
        lambda: changed(lambda m: m.graph.node[0].attribute.add(name="alpha", f=2.0)),
        "no type that is known",
    ),
    "sparse": (lambda: changed(lambda m: m.graph.sparse_initializer.add()), "make them dense"),
    "map": (
        lambda: changed(
            lambda m: m.graph.output[0].CopyFrom(
                oh.make_value_info(
                    "y",
                    oh.make_sequence_type_proto(
                        oh.make_map_type_proto(
                            TensorProto.STRING, oh.make_tensor_type_proto(FLOAT, [])
                        )
                    ),
                )
            )
        ),
        "zipmap=False",
    ),
    "unknown element type": (
        lambda: changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77)),
        "unknown element type 77",
    ),
    "function calls itself": (
        lambda: with_function([oh.make_node("F", ["a"], ["out"], domain="own")], ["a"]),
        "function 'F' calls itself",
    ),
    "functions that double": (
        lambda: doubling(40),
        "stand for more than 10000000 nodes",
    ),
    "function reads nothing": (
        lambda: with_function([oh.make_node("Relu", ["gone"], ["out"])], ["a"]),
        "in function 'F' reads 'gone'",
    ),
    "too few inputs": (
        lambda: model([oh.make_node("Gemm", ["x"], ["y"], name="g")]),
        "Gemm node 'g' has 1 inputs where 2 to 3 belong",
    ),
    "too many inputs": (
        lambda: model([oh.make_node("Relu", ["x", "w"], ["y"])]),
        "has 2 inputs where 1 belong",
    ),
    "too many outputs": (
        lambda: model([oh.make_node("Relu", ["x"], ["y", "z"])]),
        "has 2 outputs where 1 belong",
    ),
    "empty required input": (
        lambda: model([oh.make_node("Gemm", ["x", ""], ["y"])]),
        "lacks its input 1",
    ),
    "attribute of another type": (
        lambda: model([oh.make_node("Gemm", ["x", "w"], ["y"], alpha=1)]),
        "has a INT as its attribute 'alpha', where FLOAT belongs",
    ),
    "missing attribute": (
        lambda: model([oh.make_node("Cast", ["x"], ["y"])]),
        "lacks its attribute 'to'",
    ),
    "wrong call in a function": (
        lambda: with_function([oh.make_node("Gemm", ["a"], ["out"])], ["a"]),
        "in function 'F' has 1 inputs",
    ),
    "new opset": (
        lambda: changed(lambda m: setattr(m.opset_import[0], "version", 9999)),
        "opset 9999 is newer than",
    ),
    "huge dims": (lambda: tensor_with(dims=[2**40, 2**20]), "48 bytes where"),
    "negative dims": (lambda: tensor_with(dims=[-4, 3]), "negative dimension"),
    "many axes": (lambda: tensor_with(dims=[1] * 100), "100 axes"),
    "short data": (lambda: tensor_with(raw_data=bytes(44)), "44 bytes where 48 belong"),
    "long data": (lambda: tensor_with(raw_data=bytes(49)), "49 bytes where 48 belong"),
    "no data": (lambda: changed(lambda m: m.graph.initializer[0].ClearField("raw_data")), "0 val"),
    "no element type": (lambda: tensor_with(data_type=0), "unknown element type 0"),
    "element type 99": (lambda: tensor_with(data_type=99), "unknown element type 99"),
    "wrong field": (
        lambda: model(
            initializers=[
                *model().graph.initializer,
                TensorProto(name="t", data_type=FLOAT, dims=[2], int64_data=[1, 2]),
            ]
        ),
        "'t' (2) holds 0 values where 2 belong",
    ),
    "damaged constant": (
        lambda: model(
            [
                oh.make_node(
                    "Constant", [], ["y"], name="c", value=TensorProto(data_type=FLOAT, dims=[2])
                )
            ]
        ),
        "attribute 'value' of Constant node 'c'",
    ),
    "external without a folder": (
        lambda: tensor_with(data_location=TensorProto.EXTERNAL),
        "does not say in which folder",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_broken_models_are_refused(case: str, caplog: pytest.LogCaptureFixture) -> None:
    make, message = REFUSED[case]
    proto = make()
    assert message in refused(proto)
    assert not caplog.records


@pytest.mark.parametrize("case", REFUSED)
def test_broken_files_are_refused(tmp_path: Path, case: str) -> None:
    make, message = REFUSED[case]
    (tmp_path / "m.onnx").write_bytes(make().SerializeToString())
    text = refused(tmp_path / "m.onnx")
    assert message in text or case in ("no version", "no graph", "external without a folder")


def test_nesting_is_taken_to_a_depth_and_refused_beyond(tmp_path: Path) -> None:
    assert len(open_onnx(nested(5)).graph) == 1
    for depth in (32, 40, 3000):
        assert "nested" in refused(nested(depth))


def test_files_beyond_protobufs_own_nesting_limit(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model().SerializeToString() + deep_graph(200))
    assert "damaged" in refused(path)


def deep_graph(depth: int) -> bytes:
    """Encode a graph (field 7) whose first node's first attribute holds a graph, and so on."""

    def field(number: int, content: bytes) -> bytes:
        length, size = bytearray(), len(content)
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *length, size]) + content

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


def whole(name: str, *content: int) -> TensorProto:
    return nh.from_array(np.array(content[0] if len(content) == 1 else content, np.int64), name)


def ranged(stop: int) -> list[onnx.NodeProto]:
    """A Range up to `stop`, which a Cast reads: shape inference then makes all of it."""
    return [
        oh.make_node("Range", ["from", "to", "by"], ["r"], name="range"),
        oh.make_node("Cast", ["r"], ["y"], to=FLOAT),
    ]


class TestExpansion:
    BOUNDS = (whole("from", 0), whole("by", 1))

    @pytest.mark.parametrize("stop", [2**25, 2**62])
    def test_ranges_of_constants(self, stop: int) -> None:
        proto = model(ranged(stop), [*self.BOUNDS, whole("to", stop)])
        assert "Range node 'range' makes" in refused(proto)

    def test_ranges_of_products_and_declared_dims(self) -> None:
        product = oh.make_node("Mul", ["a", "a"], ["to"])
        proto = model([product, *ranged(0)], [*self.BOUNDS, whole("a", 2**20)])
        assert "Range node" in refused(proto)
        dims = [oh.make_node("Shape", ["x"], ["s"]), oh.make_node("Gather", ["s", "one"], ["to"])]
        weights = [*self.BOUNDS, whole("one", 1)]
        proto = model([*dims, *ranged(0)], weights, inputs=[value("x", "N", 2**40)])
        assert "Range node" in refused(proto)

    def test_concatenations_of_concatenations(self) -> None:
        nodes = [
            oh.make_node("Concat", [source] * 1000, [made], axis=0, name=made)
            for source, made in (("k", "a"), ("a", "b"), ("b", "y"))
        ]
        assert "Concat node 'y' makes" in refused(model(nodes, [nh.from_array(np.ones(1), "k")]))

    @pytest.mark.parametrize("op", ["ConstantOfShape", "Expand", "Tile"])
    def test_absurd_shapes(self, op: str) -> None:
        inputs = ["dims"] if op == "ConstantOfShape" else ["x", "dims"]
        proto = model([oh.make_node(op, inputs, ["y"])], [whole("dims", 2**20, 2**20)])
        assert f"{op} node 'y' makes" in refused(proto)

    def test_what_models_have_is_taken(self) -> None:
        nodes = [
            *ranged(0),
            oh.make_node("Expand", ["x", "dims"], ["e"]),
            oh.make_node("Concat", ["dims", "dims"], ["c"], axis=0),
            oh.make_node("Div", ["to", "from"], ["never"]),
        ]
        weights = [*self.BOUNDS, whole("to", 5000), whole("dims", 64, 512)]
        assert len(open_onnx(model(nodes, weights)).graph) == 5


class TestText:
    def replaced(self, path: Path, proto: onnx.ModelProto, old: bytes) -> Path:
        data = proto.SerializeToString()
        assert old in data
        path.write_bytes(data.replace(old, old[:-1] + b"\xff"))
        return path

    @pytest.mark.parametrize("old", ["gemm!", "what graph", "note!", "by me", "meta!", "denoted"])
    def test_comments_that_are_not_utf_8_are_read_as_far_as_they_go(
        self, tmp_path: Path, old: str
    ) -> None:
        proto = model()
        proto.graph.node[0].name = "gemm!"
        proto.graph.name = "what graph"
        proto.graph.node[1].doc_string = "note!"
        proto.producer_name = "by me"
        proto.metadata_props.add(key="k", value="meta!")
        proto.graph.input[0].type.denotation = "denoted"
        opened = open_onnx(self.replaced(tmp_path / "m.onnx", proto, old.encode()))
        ir.to_proto(opened)

    @pytest.mark.parametrize("old", ["x!", "w!", "Gemm!", "alpha!", "N!", "domain!"])
    def test_names_that_are_not_utf_8_are_refused(self, tmp_path: Path, old: str) -> None:
        nodes = [
            oh.make_node("Gemm!", ["x!", "w!"], ["h"], domain="domain!", **{"alpha!": 1}),
            oh.make_node("Relu", ["h"], ["y"]),
        ]
        proto = model(nodes, [weight("w!", 4, 3)], inputs=[value("x!", "N!", 4)])
        proto.opset_import.append(oh.make_opsetid("domain!", 1))
        assert "is not UTF-8" in refused(self.replaced(tmp_path / "m.onnx", proto, old.encode()))


def save_external(proto: onnx.ModelProto, folder: Path, location: str = "m.data") -> Path:
    """Save with all weights in `location`, whatever it is; the data is in m.data."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    data = b""
    for tensor in copy.graph.initializer:
        entry = {"location": location, "offset": len(data), "length": len(tensor.raw_data)}
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, content in entry.items():
            tensor.external_data.add(key=key, value=str(content))
    (folder / "m.data").write_bytes(data)
    (folder / "m.onnx").write_bytes(copy.SerializeToString())
    return folder / "m.onnx"


def check_weight(opened: ir.Model) -> None:
    for name, dims in (("w", (4, 3)), ("b", (3,))):
        stored = opened.graph.initializers[name].const_value
        assert isinstance(stored, ir.ExternalTensor)
        np.testing.assert_array_equal(stored.numpy(), nh.to_array(weight(name, *dims)))


class TestExternalData:
    def test_it_stays_in_its_file_until_asked_for(self, tmp_path: Path) -> None:
        opened = open_onnx(save_external(model(), tmp_path))
        stored = opened.graph.initializers["w"].const_value
        assert isinstance(stored, ir.ExternalTensor)
        assert stored.raw is None
        check_weight(opened)

    def test_in_a_folder_below(self, tmp_path: Path) -> None:
        path = save_external(model(), tmp_path, "data/weights.bin")
        (tmp_path / "data").mkdir()
        (tmp_path / "m.data").rename(tmp_path / "data" / "weights.bin")
        check_weight(open_onnx(path))

    def test_separators_of_windows(self, tmp_path: Path) -> None:
        path = save_external(model(), tmp_path, "data\\weights.bin")
        (tmp_path / "data").mkdir()
        (tmp_path / "m.data").rename(tmp_path / "data" / "weights.bin")
        check_weight(open_onnx(path))

    def test_without_offset_and_length(self, tmp_path: Path) -> None:
        path = save_external(
            model(
                initializers=[weight("w", 4, 3)], nodes=[oh.make_node("Gemm", ["x", "w"], ["y"])]
            ),
            tmp_path,
        )
        proto = onnx.load(path, load_external_data=False)
        del proto.graph.initializer[0].external_data[1:]
        path.write_bytes(proto.SerializeToString())
        stored = open_onnx(path).graph.initializers["w"].const_value
        assert stored is not None
        np.testing.assert_array_equal(stored.numpy(), nh.to_array(weight("w", 4, 3)))

    def test_in_attributes_bodies_and_functions(self, tmp_path: Path) -> None:
        (tmp_path / "m.data").write_bytes(np.arange(12, dtype=np.float32).tobytes())
        tensor = TensorProto(name="t", data_type=FLOAT, dims=[4, 3], data_location=1)
        tensor.external_data.add(key="location", value="m.data")
        constant = oh.make_node("Constant", [], ["k"], value=tensor)
        inner = TensorProto()
        inner.CopyFrom(tensor)
        inner.name = "inner"
        body = oh.make_graph(
            [constant, oh.make_node("Add", ["k", "inner"], ["s"])], "b", [], [value("s", 4, 3)]
        )
        body.initializer.append(inner)
        proto = with_function([constant, oh.make_node("MatMul", ["a", "k"], ["out"])], ["a"])
        proto.graph.node.append(
            oh.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
        )
        proto.graph.initializer.append(nh.from_array(np.array(True), "c"))
        (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
        opened = open_onnx(tmp_path / "m.onnx")
        branch = list(opened.graph)[1].attributes["then_branch"].as_graph()
        function = next(iter(opened.functions.values()))
        found = [
            branch.initializers["inner"].const_value,
            next(iter(branch)).attributes["value"].as_tensor(),
            next(iter(function)).attributes["value"].as_tensor(),
        ]
        for each in found:
            assert each is not None
            assert each.numpy().sum() == 66

    def test_links_within_the_folder_are_followed(self, tmp_path: Path) -> None:
        path = save_external(model(), tmp_path, "link.data")
        (tmp_path / "link.data").symlink_to("m.data")
        check_weight(open_onnx(path))

    def test_a_model_that_is_a_link_has_its_data_beside_the_real_one(self, tmp_path: Path) -> None:
        """As in the caches of download tools: links to files named by their digests."""
        blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
        blobs.mkdir()
        snapshot.mkdir()
        save_external(model(), blobs)
        (blobs / "m.onnx").rename(blobs / "0a1b")
        (blobs / "m.data").rename(blobs / "2c3d")
        (snapshot / "m.onnx").symlink_to("../blobs/0a1b")
        (snapshot / "m.data").symlink_to("../blobs/2c3d")
        check_weight(open_onnx(snapshot / "m.onnx"))

    @pytest.mark.parametrize(
        ("location", "message"),
        [
            ("../m.data", "outside of the model's folder"),
            ("sub/../../m.data", "outside of the model's folder"),
            ("sub\\..\\..\\m.data", "outside of the model's folder"),
            ("/etc/passwd", "an absolute path"),
            ("C:\\weights.bin", "an absolute path"),
            ("\\\\server\\share\\w", "an absolute path"),
            ("", "names no file"),
            (".", "names no file"),
            ("a\0b", "names no file"),
            ("missing.data", "is missing"),
            ("*/_ORT_MEM_ADDR_/*", "is missing"),
            ("folder", "not a regular file"),
            ("x" * 5000, "is missing"),
        ],
    )
    def test_locations_that_are_refused(self, tmp_path: Path, location: str, message: str) -> None:
        inner = tmp_path / "inner"
        (inner / "sub").mkdir(parents=True)
        (inner / "folder").mkdir()
        path = save_external(model(), inner, location)
        (tmp_path / "m.data").write_bytes((inner / "m.data").read_bytes())
        assert message in refused(path)

    def test_a_link_out_of_the_folder_is_refused(self, tmp_path: Path) -> None:
        inner = tmp_path / "inner"
        inner.mkdir()
        path = save_external(model(), inner, "link.data")
        (inner / "m.data").rename(tmp_path / "secret")
        (inner / "link.data").symlink_to(tmp_path / "secret")
        assert "leads out of the model's folder" in refused(path)
        (inner / "link.data").unlink()
        (inner / "sub").symlink_to(tmp_path)
        path = save_external(model(), inner, "sub/secret")
        assert "leads out of the model's folder" in refused(path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        path = save_external(model(), tmp_path, "pipe")
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in refused(path)

    def test_hard_links_are_refused(self, tmp_path: Path) -> None:
        path = save_external(model(), tmp_path)
        os.link(tmp_path / "m.data", tmp_path / "other")
        assert "hard links" in refused(path)

    @pytest.mark.parametrize(
        ("key", "content", "message"),
        [
            ("offset", "13", "truncated"),
            ("offset", str(2**63), "truncated"),
            ("offset", "-1", "damaged offset"),
            ("offset", "1e3", "damaged offset"),
            ("offset", "9" * 5000, "damaged offset"),
            ("length", "47", "its dims say"),
            ("length", str(2**60), "its dims say"),
        ],
    )
    def test_ranges_that_are_refused(
        self, tmp_path: Path, key: str, content: str, message: str
    ) -> None:
        path = save_external(model(), tmp_path)
        proto = onnx.load(path, load_external_data=False)
        for entry in proto.graph.initializer[0].external_data:
            if entry.key == key:
                entry.value = content
        path.write_bytes(proto.SerializeToString())
        assert message in refused(path)

    def test_a_truncated_data_file(self, tmp_path: Path) -> None:
        path = save_external(model(), tmp_path)
        (tmp_path / "m.data").write_bytes((tmp_path / "m.data").read_bytes()[:-1])
        assert "truncated" in refused(path)
