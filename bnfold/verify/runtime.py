"""onnxruntime, as the verification uses it: one thread, one model, one answer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]

# Beyond this many bytes of weights a model goes through a file, which the runtime can map, rather
# than through two copies in memory.
_IN_MEMORY = 1 << 27


class RuntimeUnavailableError(Exception):
    """onnxruntime does not load or run the model; the text says why, in one line."""


def _options(optimize: bool) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = (
        ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        if optimize
        else ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    return options


def one_line(error: BaseException) -> str:
    """The first line of an error's text, shortened."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


class Session:
    """A model loaded in onnxruntime.

    Args:
        model: the model as it would be shipped.
        optimize: with onnxruntime's own graph optimizations (ENABLE_ALL), or none.

    Raises:
        RuntimeUnavailableError: if it does not load.
    """

    def __init__(self, model: ir.Model, *, optimize: bool = True) -> None:
        try:
            self._session = _load(model, _options(optimize))
        except Exception as error:
            raise RuntimeUnavailableError(one_line(error)) from error
        self.inputs: dict[str, str] = {i.name: i.type for i in self._session.get_inputs()}
        self.outputs: list[str] = [o.name for o in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Any]:
        """The outputs by name.

        Raises:
            RuntimeUnavailableError: if the run fails.
        """
        feeds = {name: _as_fed(v) for name, v in feeds.items() if name in self.inputs}
        try:
            values = self._session.run(self.outputs, feeds)
        except Exception as error:
            raise RuntimeUnavailableError(one_line(error)) from error
        return dict(zip(self.outputs, values, strict=True))


def _as_fed(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return value.astype(object)
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) and value.ndim else value


def _load(model: ir.Model, options: Any) -> Any:
    """A session; what is large, or refers to files, is loaded from a temporary folder."""
    import onnxruntime as ort

    from bnfold.formats.onnx.save import save_onnx

    providers = ["CPUExecutionProvider"]
    tensors = [
        value.const_value
        for graph in (model.graph, *model.graph.subgraphs())
        for value in graph.initializers.values()
        if value.const_value is not None
    ]
    small = sum(tensor.nbytes for tensor in tensors) < _IN_MEMORY
    if small and not any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors):
        data = ir.to_proto(model).SerializeToString()
        return ort.InferenceSession(data, options, providers=providers)
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        path = Path(folder) / "model.onnx"
        save_onnx(model, path, largest_file=_IN_MEMORY)
        return ort.InferenceSession(str(path), options, providers=providers)


class NodeRunner:
    """One node alone in onnxruntime, in float32: the last road for an op nobody else knows."""

    def __init__(self, node: onnx.NodeProto, opsets: Mapping[str, int]) -> None:
        self._node = node
        self._opsets = dict(opsets)
        self._sessions: dict[tuple[str, ...], Any] = {}

    @classmethod
    def for_node(cls, node: onnx.NodeProto, opsets: Mapping[str, int]) -> NodeRunner | None:
        """None for a node that cannot stand alone: with a body or attributes of a function."""
        for attribute in node.attribute:
            if attribute.ref_attr_name or attribute.HasField("g") or attribute.graphs:
                return None
        return cls(node, opsets)

    def run(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The node's outputs for these arrays (None where an input is left out)."""
        feeds = {
            f"x{i}": v.astype(np.float32) if v.dtype == np.float64 else v
            for i, v in enumerate(inputs)
            if v is not None
        }
        session = self._session(feeds, len(inputs))
        names = [o.name for o in session.get_outputs()]
        found = dict(zip(names, session.run(names, feeds), strict=True))
        return tuple(found.get(f"y{i}") for i in range(len(self._node.output)))

    def _session(self, feeds: Mapping[str, Array], count: int) -> Any:
        import onnxruntime as ort

        key = tuple(f"{name}:{v.dtype}:{v.ndim}" for name, v in feeds.items())
        if key not in self._sessions:
            node = onnx.NodeProto()
            node.CopyFrom(self._node)
            del node.input[:]
            node.input.extend(f"x{i}" if f"x{i}" in feeds else "" for i in range(count))
            names = [f"y{i}" if name else "" for i, name in enumerate(self._node.output)]
            del node.output[:]
            node.output.extend(names)
            inputs = [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), [None] * v.ndim
                )
                for name, v in feeds.items()
            ]
            outputs = [onnx.helper.make_empty_tensor_value_info(n) for n in names if n]
            graph = onnx.helper.make_graph([node], "node", inputs, outputs)
            opsets = [onnx.helper.make_opsetid(d, v) for d, v in self._opsets.items()]
            model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
            self._sessions[key] = ort.InferenceSession(
                model.SerializeToString(), _options(False), providers=["CPUExecutionProvider"]
            )
        return self._sessions[key]
