"""tf2onnx's own graph optimizers, kept from folding what bnfold folds, and from copying weights."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any


def careful_optimizers(layer_of: Callable[[str], str | None]) -> Mapping[str, Any]:
    """The optimizers of `tf2onnx.optimizer.optimize_graph`, in its order.

    Two things differ from the library's own. The passes do not write every node, with its
    weights, into a protobuf after each of some 36 passes (290 MB of weights took 73 s and 14 GB
    that way): the graph writes all of them once at the end. And Transposes are pushed through
    Mul and Add without multiplying them into a convolution's kernel, unless both nodes are of
    one layer (a convolution's own bias).

    Args:
        layer_of: name of a node to the path of its Keras layer, None where unknown.
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


def _without_folding(original: Any, layer_of: Callable[[str], str | None]) -> Any:
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
                return super()._add_handler(trans, node)
            return self._handle_node_having_branches(trans, node)

    Pushing.__name__ = original.__name__
    return Pushing
