"""From a frozen TensorFlow graph to an ONNX ModelProto, by tf2onnx, with errors that are errors."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bnfold.convert.extra_ops import EXTRA_OPS
from bnfold.convert.layer_scopes import LayerNames, tf_name
from bnfold.convert.optimizers import careful_optimizers
from bnfold.convert.patches import patched
from bnfold.core.errors import InputError
from bnfold.formats.keras import runtime
from bnfold.formats.text import clip

if TYPE_CHECKING:
    import onnx

_BFLOAT16 = 14  # DT_BFLOAT16, which tf2onnx would silently write as float16


class _Errors(logging.Handler):
    """Collects what tf2onnx only logs: the nodes that it could not convert, with their op."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.failed: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        unsupported = re.match(r"Tensorflow op \[(?P<name>.*): (?P<op>\w+)\] is not", message)
        if unsupported:
            self.failed.append((unsupported["name"], unsupported["op"]))
        elif message.startswith("Failed to convert node") and isinstance(record.args, tuple):
            self.failed.append((str(record.args[0]), ""))


def graph_to_onnx(
    graph_def: Any,
    tables: Mapping[Any, Any],
    inputs: list[str],
    outputs: list[str],
    opset: int,
    layer_of: LayerNames,
) -> onnx.ModelProto:
    """Convert a frozen graph.

    Args:
        graph_def: the TensorFlow GraphDef, without variables.
        tables: contents of lookup tables.
        inputs, outputs: names of tensors in the graph, in order.
        opset: 9 to 18.
        layer_of: the layer of a node by its name.

    Raises:
        InputError: an op has no equivalent; the text names its layer.
    """
    runtime.import_tf2onnx()
    tf = runtime.start_tensorflow()
    from tf2onnx import optimizer
    from tf2onnx.tfonnx import process_tf_graph

    _refuse_types(graph_def, layer_of)
    with runtime.quiet(), _collected() as errors, patched():
        try:
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(graph_def, name="")
                converted = process_tf_graph(
                    graph,
                    opset=opset,
                    input_names=inputs,
                    output_names=outputs,
                    initialized_tables=dict(tables),
                    custom_op_handlers=dict(EXTRA_OPS),
                )
            if errors.failed:
                raise _unsupported(errors.failed, graph_def, layer_of, opset, "")
            converted = optimizer.optimize_graph(
                converted, catch_errors=False, optimizers=careful_optimizers(layer_of)
            )
            model: onnx.ModelProto = converted.make_model("", graph_name="bnfold")
        except InputError:
            raise
        except Exception as error:
            reason = runtime.said(error)
            if errors.failed:
                raise _unsupported(errors.failed, graph_def, layer_of, opset, reason) from error
            raise InputError(
                f"tf2onnx cannot convert this model at opset {opset}: {reason}"
            ) from error
    _refuse_foreign_ops(model, layer_of, opset)
    return model


@contextmanager
def _collected() -> Iterator[_Errors]:
    handler = _Errors()
    logger = logging.getLogger("tf2onnx")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _refuse_types(graph_def: Any, layer_of: LayerNames) -> None:
    for node in graph_def.node:
        if any(
            node.attr[key].type == _BFLOAT16 for key in ("T", "dtype", "DstT") if key in node.attr
        ):
            raise InputError(
                f"{_where(node.name, layer_of)} computes in bfloat16, which tf2onnx would write "
                "as float16: use the direct converter, or build the model with another dtype."
            )


def _unsupported(
    failed: list[tuple[str, str]],
    graph_def: Any,
    layer_of: LayerNames,
    opset: int,
    reason: str,
) -> InputError:
    kinds = {node.name: node.op for node in graph_def.node}
    texts: dict[str, None] = {}
    for name, op in failed:
        op = op or kinds.get(tf_name(name), "") or "?"
        texts[f"{_where(name, layer_of)} uses the TensorFlow op {op}"] = None
    shown = "; ".join(list(texts)[:5])
    more = f"; and {len(texts) - 5} more" if len(texts) > 5 else ""
    detail = f" ({reason})" if reason else ""
    return InputError(f"{shown}{more}: tf2onnx cannot write that at opset {opset}{detail}.")


def _where(name: str, layer_of: LayerNames) -> str:
    layer = layer_of(name)
    return f"Layer {clip(layer)!r}" if layer else f"Node {clip(name)!r}"


def _refuse_foreign_ops(model: onnx.ModelProto, layer_of: LayerNames, opset: int) -> None:
    """tf2onnx leaves what it does not know in the graph: every op must be one of ONNX's."""
    import onnx

    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in _all_nodes(model.graph):
        try:
            onnx.defs.get_schema(node.op_type, versions.get(node.domain, opset), node.domain)
        except onnx.defs.SchemaError:
            raise InputError(
                f"{_where(node.name, layer_of)} uses the op {clip(node.op_type)}, which ONNX does "
                f"not have at opset {opset}."
            ) from None


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g)
