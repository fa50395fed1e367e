"""The figures of a model that need no run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from bnfold.formats.onnx.save import save_onnx
from bnfold.report.facts import model_bytes, model_facts

TEXT = """
    <ir_version: 8, opset_import: ["": 17, "own": 1]>
    g (float[n] x, bool c) => (float[n] y) <float[3] w = {1, 2, 3}> {
        a = Relu(x)
        b = Relu(a)
        d = own.Thing(b)
        y = If(c) <
            then_branch = t () => (float[n] p) { p = Add(d, w) },
            else_branch = e () => (float[n] q) { q = Relu(d) }
        >
    }
"""


def test_every_node_counts_also_in_bodies() -> None:
    facts = model_facts(ir.from_onnx_text(TEXT), "m.onnx", "ONNX")
    assert facts.nodes == 6
    assert facts.op_counts == {"Add": 1, "If": 1, "Relu": 3, "own::Thing": 1}
    assert (facts.name, facts.format, facts.opset) == ("m.onnx", "ONNX", 17)


def test_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    model = ir.from_onnx_text(TEXT)
    model.graph.initializers["v"] = ir.val("v", const_value=ir.tensor(np.zeros(0, np.float32)))
    model.graph.initializers["u"] = ir.val("u", const_value=ir.tensor(["a", "bc"], name="u"))
    save_onnx(model, tmp_path / "m.onnx")
    assert model_bytes(model) == (tmp_path / "m.onnx").stat().st_size


def test_no_weight_is_read_to_tell_the_size() -> None:
    def never() -> ir.Tensor:
        raise AssertionError("computed")

    model = ir.from_onnx_text(TEXT)
    lazy = ir.LazyTensor(never, ir.DataType.FLOAT, ir.Shape([1000, 1000]), name="w")
    model.graph.initializers["w"].const_value = lazy
    assert model_bytes(model) > 4_000_000


def test_external_weights_count(tmp_path: Path) -> None:
    model = ir.from_onnx_text(TEXT)
    model.graph.initializers["w"].const_value = ir.tensor(np.zeros(5000, np.float32), name="w")
    inside = model_bytes(model)
    ir.save(model, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    outside = model_bytes(ir.load(tmp_path / "m.onnx"))
    assert 20_000 < outside < inside + 500
