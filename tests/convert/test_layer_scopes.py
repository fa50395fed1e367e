"""Ops belong to the innermost layer that was being called, whatever their names look like."""

from __future__ import annotations

import pytest

from bnfold.convert.layer_scopes import LayerNames, LayerScopes, tf_name, watched


class Graph:
    """Counts ops as a TensorFlow graph does."""

    def __init__(self) -> None:
        self.ops: list[str] = []
        self.current = True

    def count(self) -> int | None:
        return len(self.ops) if self.current else None


class Layer:
    def __init__(self, name: str, graph: Graph, *inner: Layer, fails: bool = False) -> None:
        self.name, self.graph, self.inner, self.fails = name, graph, inner, fails

    def call(self) -> None:
        self.graph.ops.append(f"op{len(self.graph.ops)}")
        for layer in self.inner:
            layer.call()
        self.graph.ops.append(f"op{len(self.graph.ops)}")
        if self.fails:
            raise RuntimeError("broken layer")


class Model:
    def __init__(self, *layers: Layer) -> None:
        self.layers = layers

    def _flatten_layers(self, include_self: bool) -> list[Layer]:
        assert not include_self
        found: list[Layer] = []
        for layer in self.layers:
            found += [layer, *Model(*layer.inner)._flatten_layers(False)]
        return found

    def run(self) -> None:
        for layer in self.layers:
            layer.call()


def test_ops_get_the_path_of_the_innermost_layer() -> None:
    graph = Graph()
    inner = Layer("bn", graph)
    model = Model(Layer("bn", graph), Layer("block", graph, inner), inner)
    scopes = LayerScopes(graph.count)
    with watched(model, scopes):
        model.run()
    layers = scopes.layer_of(graph.ops)
    assert [layers[op] for op in graph.ops] == [
        *["bn", "bn"],
        *["block", "block/bn", "block/bn", "block"],
        *["bn", "bn"],
    ]


def test_ops_outside_every_layer_have_none() -> None:
    graph = Graph()
    scopes = LayerScopes(graph.count)
    graph.ops.append("before")
    with scopes.inside("bn"):
        graph.ops.append("within")
    graph.ops.append("after")
    assert scopes.layer_of(graph.ops) == {"within": "bn"}


def test_what_happens_in_another_graph_is_not_counted() -> None:
    graph = Graph()
    scopes = LayerScopes(graph.count)
    with scopes.inside("rnn"):
        graph.ops.append("loop")
        graph.current = False
        with scopes.inside("cell"):
            pass
        graph.current = True
    assert scopes.layer_of(graph.ops) == {"loop": "rnn"}


def test_layers_are_restored_even_after_an_error() -> None:
    graph = Graph()
    layer = Layer("bn", graph, fails=True)
    with pytest.raises(RuntimeError), watched(Model(layer), LayerScopes(graph.count)):
        layer.call()
    assert "call" not in vars(layer)


def test_a_call_of_the_instance_itself_is_put_back() -> None:
    graph = Graph()
    layer = Layer("op", graph)
    mine = layer.call
    vars(layer)["call"] = mine
    with watched(Model(layer), LayerScopes(graph.count)):
        assert layer.call is not mine
    assert vars(layer)["call"] is mine


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("model/bn_1/mul_1", "model/bn_1/mul_1"),
        ("model/bn_1/mul_1:0", "model/bn_1/mul_1"),
        ("model/bn_1/mul_1__12", "model/bn_1/mul_1"),
        ("model/bn_1/mul_1__12__7:1", "model/bn_1/mul_1"),
        ("model/my__layer/mul", "model/my__layer/mul"),
    ],
)
def test_names_of_tf2onnx_lead_back_to_tensorflow(name: str, op: str) -> None:
    assert tf_name(name) == op


def test_adopted_names_come_first() -> None:
    names = LayerNames({"a/Conv": "a"})
    assert names("a/Conv__3") == "a"
    assert names("Conv__4") is None
    names.adopt("Conv__4", "b")
    assert names("Conv__4") == "b"
