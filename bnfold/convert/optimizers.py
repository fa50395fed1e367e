"""tf2onnx's own graph optimizers, kept from folding what bnfold folds, and from copying weights."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from bnfold.convert.layer_scopes import LayerNames


def careful_optimizers(layer_of: LayerNames) -> Mapping[str, Any]:
    """The optimizers of `tf2onnx.optimizer.optimize_graph`, in its order.

    Two things differ from the library's own. The passes do not write every node, with its
    weights, into a protobuf after each of some 36 passes (290 MB of weights took 73 s and 14 GB
    that way): the graph writes all of them once at the end. And Transposes are pushed through
    Mul and Add without multiplying them into a convolution's kernel, unless both nodes are of
    one layer (a convolution's own bias).

    Args:
        layer_of: the layer of a node by its name; learns the names of nodes made anew.
    """
    package = importlib.import_module("tf2onnx.optimizer")
    originals: Mapping[str, Any] = package._get_optimizers()
    result: OrderedDict[str, Any] = OrderedDict()
    for name, original in originals.items():
        base = _without_sync(original)
        if name == "optimize_transpose":
            base = _without_folding(base, layer_of)
        result[name] = base
    return result


def _without_sync(original: Any) -> Any:
    class Quick(original):  # type: ignore[misc]
        def optimize(self, graph: Any, iteration: int) -> Any:
            self.opt_iteration = iteration
            graph = self._optimize(graph)
            graph.delete_unused_nodes(graph.outputs)
            return graph

    Quick.__name__ = original.__name__
    return Quick


def _without_folding(original: Any, layer_of: LayerNames) -> Any:
    class Pushing(original):  # type: ignore[misc]
        def _mul_handler(self, trans: Any, node: Any) -> Any:
            # The library folds a constant into the kernel only where it is the second operand.
            if len(node.input) == 2 and node.inputs[1] is not None and node.inputs[1].is_const():
                node.input.reverse()
            return super()._mul_handler(trans, node)

        def _add_handler(self, trans: Any, node: Any) -> Any:
            producer = trans.inputs[0]
            layer = layer_of(node.name)
            if producer is not None and layer is not None and layer == layer_of(producer.name):
                done = super()._add_handler(trans, node)
                made = trans.inputs[0] if trans.graph is not None else None
                if made is not None and made.type == producer.type:  # with the bias, anew
                    layer_of.adopt(made.name, layer)
                return done
            return self._handle_node_having_branches(trans, node)

    Pushing.__name__ = original.__name__
    return Pushing
