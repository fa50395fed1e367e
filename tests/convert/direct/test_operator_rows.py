"""Every row of the operators' tables against Keras 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import convert
from tests.convert.direct import (
    layer_rows,
    operator_move_rows,
    operator_net_rows,
    operator_rows,
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
SHAPE = (4, 6)
# What ONNX has only since this opset.
SINCE = {"bitwise": 18, "scatter_add": 18}


@pytest.mark.parametrize("name", ROWS)
def test_row(keras3: Any, name: str, tmp_path: Path) -> None:
    start = keras3.layers.Input(SHAPE, name="x")
    model = keras3.Model(start, ROWS[name](keras3.ops, start))
    check(model, tmp_path, SINCE.get(name, 17))


@pytest.mark.parametrize("name", IMAGES)
def test_row_of_images(keras3: Any, name: str, tmp_path: Path) -> None:
    start = keras3.layers.Input((7, 9, 4), name="x")
    check(keras3.Model(start, IMAGES[name](keras3.ops, start)), tmp_path, 17)


def check(model: Any, folder: Path, opset: int) -> None:
    """The live model and its file, converted, compute what Keras computes."""
    arrays = layer_rows.inputs_for(model, np.random.default_rng(5))
    want = run_keras(model, arrays)
    path = folder / "model.keras"
    model.save(path)
    for source in (model, path):
        assert_equal(run_onnx(convert(source, opset=opset).model, arrays), want, 5e-6)
