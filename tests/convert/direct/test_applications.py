"""`keras.applications`: converted, folded as ONNX and folded as Keras, each against Keras."""

from __future__ import annotations

from typing import Any

import pytest

import bnfold
from benchmarks.applications import SIZES, build, image
from bnfold.convert.direct import convert, read
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.keras.graph import walk_layers
from bnfold.formats.onnx.fold import fold_model
from bnfold.verify.types import CheckKind, Status
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx

# Rounding grows with depth; a wrong fold is off by whole units.
_RELATIVE = 2e-4


_NORMS = ("BatchNormalization", "Normalization", "Rescaling")
# Layers that go on one of the two roads only.
_DIFFER: dict[str, set[str]] = {
    # Of two in a row in front of a padded convolution either may be what is left.
    "EfficientNetV2B0": {"normalization", "rescaling"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_family(keras3: Any, name: str) -> None:
    model = build(keras3, name)
    images = [image(name)]
    want = run_keras(model, images)
    graph = read(model)
    converted = convert(graph)
    assert_equal(run_onnx(converted.model, images), want, _RELATIVE)
    as_onnx = fold_model(converted.model, labels=converted.labels)
    assert_equal(run_onnx(as_onnx.model, images), want, _RELATIVE)
    as_keras = fold_graph(graph)
    norms = {path for path, layer in walk_layers(graph) if layer.class_name in _NORMS}
    gone = [{one.source for one in result.folds} & norms for result in (as_keras, as_onnx)]
    assert gone[0] ^ gone[1] == _DIFFER.get(name, set())
    assert_equal(run_onnx(convert(as_keras.graph).model, images), want, _RELATIVE)
    keras3.backend.clear_session()


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_family_within_the_derived_bounds(keras3: Any, name: str) -> None:
    """Every check passes, the one against Keras among them; no fixed tolerance.

    On images such as the statistics are of: from others EfficientNet makes outputs of 1e6, which
    rounding moves by as much.
    """
    model = build(keras3, name)
    (port,) = convert(model).model.graph.inputs
    result = bnfold.fold(model, inputs={port.name: image(name)})
    assert result.verification is not None
    assert result.verification.passed, result.verification
    status = {check.kind: check.status for check in result.verification.checks}
    assert status[CheckKind.KERAS] is Status.PASSED
    keras3.backend.clear_session()
