"""Every cell of the table of kinds: read, folded to Keras, converted both ways, by both Keras."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.convert.direct import convert, read
from bnfold.convert.tf2onnx_road import convert_keras
from bnfold.core.errors import InputError
from bnfold.formats.keras.fold import KerasFold, fold_graph
from bnfold.formats.keras.write import write_keras
from bnfold.formats.onnx.fold import fold_model
from tests.convert import zoo
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx
from tests.convert.direct.test_kinds import inputs_of
from tests.convert.kinds import builders
from tests.convert.kinds.table import DIRECT, KERAS, KINDS, READ, TF2ONNX, Kind

_NORMS = ("BatchNormalization", "Normalization", "Rescaling")


def _cases(road: str) -> Any:
    return pytest.mark.parametrize("kind", [pytest.param(one, id=one.title) for one in KINDS])


class _Made:
    """A model of a kind, what it is given and gives, and where the roads start."""

    def __init__(self, keras: Any, kind: Kind, folder: Path) -> None:
        self.keras = keras
        self.generation = 2 if keras.__name__ == "tf_keras" else 3
        self.model = zoo.randomize(kind.build(keras))
        self.source: Any = self.model
        self.arrays, self.want = self._reference(kind)
        self.custom = {"Twist": builders.twist_of(keras)}
        if kind.source == "file":
            self.source = folder / "model.keras"
            self.model.save(self.source)
        elif kind.source == "saved model":
            self.source = folder / "saved"
            save = self.model.export if self.generation == 3 else self.model.save
            save(str(self.source))

    def _reference(self, kind: Kind) -> tuple[list[np.ndarray], list[np.ndarray]]:
        if kind.build is builders.subclassed:
            array = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
            return [array], [np.asarray(self.model(array, training=False))]
        arrays = inputs_of(self.model)
        if kind.build is builders.channels_first:
            # The CPU has no kernels for these: the same weights, channels last.
            twin = builders.channels_first(self.keras, "channels_last")
            twin.set_weights(self.model.get_weights())
            moved = [np.ascontiguousarray(arrays[0].transpose(0, 2, 3, 1))]
            return arrays, run_keras(twin, moved)
        return arrays, run_keras(self.model, arrays)


def _refused(kind: Kind, made: _Made, road: str, action: Any) -> bool:
    """Whether the road is closed; then what stands in its way is what the table says."""
    why = kind.why_closed(road, made.generation)
    if not why:
        return False
    with pytest.raises(InputError, match=why) as caught:
        action()
    assert "\n" not in str(caught.value)
    return True


def _gone(result: Any, road: str) -> int:
    if road == KERAS:
        return len({one.source for one in result.folds if one.op_type in _NORMS})
    return len({one.source for one in result.folds})


@_cases(READ)
def test_read(keras: Any, kind: Kind, tmp_path: Path) -> None:
    made = _Made(keras, kind, tmp_path)
    if not _refused(kind, made, READ, partial(read, made.source)):
        graph = read(made.source)
        assert graph.generation == made.generation
        assert len(graph.input_names()) == len(made.arrays)
        assert len(graph.output_names()) == len(made.want)


@_cases(KERAS)
def test_to_keras(keras: Any, kind: Kind, tmp_path: Path) -> None:
    """Written back in the form that it came in, loaded by the Keras that made it."""
    made = _Made(keras, kind, tmp_path)
    if _refused(kind, made, KERAS, partial(read, made.source)):
        return
    graph = read(made.source)
    result: KerasFold = fold_graph(graph)
    assert _gone(result, KERAS) == kind.folds[0]
    target = tmp_path / "folded.keras"
    write_keras(made.source, graph, result.graph, target)
    if kind.build is builders.channels_first:
        converted = convert(target)
        assert_equal(run_onnx(converted.model, made.arrays), made.want, kind.relative)
        return
    options = {"safe_mode": False} if kind.unsafe else {}
    folded = keras.models.load_model(target, compile=False, custom_objects=made.custom, **options)
    assert type(folded) is type(made.model)
    assert_equal(run_keras(folded, made.arrays), made.want, kind.relative)


@_cases(DIRECT)
def test_to_onnx(keras: Any, kind: Kind, tmp_path: Path) -> None:
    made = _Made(keras, kind, tmp_path)
    if _refused(kind, made, DIRECT, partial(convert, made.source)):
        return
    converted = convert(made.source)
    assert_equal(run_onnx(converted.model, made.arrays), made.want, kind.relative)
    _check_folded(kind, made, converted.model, converted.labels)


@pytest.mark.slow
@_cases(TF2ONNX)
def test_by_tf2onnx(keras: Any, kind: Kind, tmp_path: Path) -> None:
    made = _Made(keras, kind, tmp_path)
    options = {"opset": 17, "unsafe_load": kind.unsafe, "custom_objects": made.custom}
    action = partial(convert_keras, made.source, **options)
    if _refused(kind, made, TF2ONNX, action):
        return
    converted = action()
    if kind.source == "saved model":
        (port,) = converted.model.graph.inputs
        assert port.name
    assert_equal(run_onnx(converted.model, made.arrays), made.want, kind.relative)
    folded = fold_model(converted.model, labels=converted.labels)
    assert_equal(run_onnx(folded.model, made.arrays), made.want, 5 * kind.relative)
    if kind.source != "file":
        assert len({one.source for one in folded.folds}) == kind.folds[-1]


def _check_folded(kind: Kind, made: _Made, model: ir.Model, labels: Any) -> None:
    """Folded as ONNX: equal, and the same layers gone as in Keras, or as many as is said."""
    folded = fold_model(model, labels=labels)
    assert_equal(run_onnx(folded.model, made.arrays), made.want, 5 * kind.relative)
    names = {path.rpartition("/")[2] for path in _norm_names(made.source)}
    gone = {one.source for one in folded.folds if one.source.rpartition("/")[2] in names}
    assert len(gone) == kind.folds[-1]
    assert len(_norm_names(made.source)) == kind.norms


def _norm_names(source: Any) -> list[str]:
    from bnfold.formats.keras.graph import walk_layers

    return [path for path, layer in walk_layers(read(source)) if layer.class_name in _NORMS]
