"""Every row of the operators' tables against Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bnfold.convert.direct import UnsupportedLayerError, convert
from bnfold.convert.direct.operators import OPERATORS
from tests.convert.direct import (
    layer_rows,
    operator_move_rows,
    operator_net_rows,
    operator_rows,
    test_operators,
)
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx

ROWS = {
    **operator_rows.ELEMENTWISE,
    **operator_rows.REDUCED,
    **operator_rows.ORDERED,
    **operator_rows.PRODUCTS,
    **operator_move_rows.MOVED,
    **operator_move_rows.TAKEN,
    **operator_move_rows.MADE,
}
IMAGES = {**operator_net_rows.NETS, **operator_net_rows.IMAGES}
SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(ROWS, (4, 6)),
    **dict.fromkeys(IMAGES, (7, 9, 4)),
}
# What ONNX has only since this opset.
SINCE = {"add_small_ints": 14, "bitwise": 18, "scatter": 16, "scatter_add": 18}
NEWEST = onnx.defs.onnx_opset_version()


@pytest.mark.parametrize("name", SHAPES)
def test_row(keras3: Any, name: str, tmp_path: Path) -> None:
    start = keras3.layers.Input(SHAPES[name], name="x")
    row: Callable[[Any, Any], Any] = {**ROWS, **IMAGES}[name]
    check(keras3.Model(start, row(keras3.ops, start)), tmp_path, SINCE.get(name, 13))


@pytest.mark.parametrize("name", SHAPES)
def test_row_behind_a_convolution(keras3: Any, name: str) -> None:
    """Values stand with channels first; sizes are free where Keras and the rule allow it."""
    shape, row = SHAPES[name], {**ROWS, **IMAGES}[name]
    data = np.random.default_rng(5).normal(size=(3, *shape)).astype(np.float32)
    tried = 0
    for sizes in ((*(None for _ in shape[:-1]), shape[-1]), shape):
        try:
            model = _behind_a_convolution(keras3, sizes, row)
            want = run_keras(model, [data])
        except Exception:
            # Keras itself needs the sizes.
            assert sizes != shape
            continue
        try:
            converted = convert(model, opset=NEWEST).model
        except UnsupportedLayerError:
            assert sizes != shape
            continue
        assert_equal(run_onnx(converted, [data]), want, 5e-6)
        tried += 1
    assert tried


def _behind_a_convolution(
    K: Any, shape: tuple[int | None, ...], row: Callable[[Any, Any], Any]
) -> Any:
    """The row on what a convolution by the identity makes of the input."""
    start, count, channels = K.layers.Input(shape), len(shape) - 1, shape[-1] or 1
    layer = (K.layers.Conv1D if count == 1 else K.layers.Conv2D)(channels, 1, use_bias=False)
    x = layer(start)
    layer.set_weights([np.eye(channels).reshape((1,) * count + (channels, channels))])
    return K.Model(start, row(K.ops, x))


def check(model: Any, folder: Path, opset: int) -> None:
    """The live model and its file, converted, compute what Keras computes."""
    arrays = layer_rows.inputs_for(model, np.random.default_rng(5))
    want = run_keras(model, arrays)
    path = folder / "model.keras"
    model.save(path)
    for source, version in ((model, opset), (path, max(opset, 17))):
        assert_equal(run_onnx(convert(source, opset=version).model, arrays), want, 5e-6)


# What only Keras 2 calls, or no function makes a node of.
_ELSEWHERE = ["Abs", "BandPart", "Conj", "ConvTranspose", "Flatten"]
_ELSEWHERE += ["GatherNd", "Identity", "Mish", "Ndim"]


def test_every_operator_has_a_row(keras3: Any) -> None:
    seen: set[str] = set()
    for name, row in [*ROWS.items(), *IMAGES.items(), *test_operators.KERAS3.items()]:
        start = keras3.layers.Input(SHAPES.get(name, (4, 6)))
        model = keras3.Model(start, row(keras3.ops, start))
        seen |= {type(one).__name__ for one in model.operations}
    assert sorted(set(OPERATORS) - seen) == _ELSEWHERE


def test_transposed_convolution(keras3: Any) -> None:
    """Keras 3.15 itself cannot run a graph that has one: it mixes its arguments up."""
    rng = np.random.default_rng(7)
    data = rng.normal(size=(3, 7, 9, 4)).astype(np.float32)
    kernel = rng.normal(size=(3, 2, 5, 4)).astype(np.float32)
    for options in ({"strides": 2, "padding": "same"}, {"strides": (1, 3)}):
        start = keras3.layers.Input((7, 9, 4))
        model = keras3.Model(start, keras3.ops.conv_transpose(start, kernel, **options))
        want = np.asarray(keras3.ops.conv_transpose(data, kernel, **options))
        assert_equal(run_onnx(convert(model).model, [data]), [want], 5e-6)
