"""What holds for every net: read, converted, folded both ways, written, folded again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

import bnfold
from bnfold.convert.direct import convert
from bnfold.formats.keras.errors import UnsupportedLayerError
from bnfold.formats.keras.fold import KerasFold, fold_graph
from bnfold.formats.keras.graph import KerasGraph
from bnfold.formats.keras.live_fold import fold_live
from bnfold.formats.keras.read import read_keras
from bnfold.formats.keras.write import write_keras
from bnfold.formats.onnx.fold import OnnxFold, fold_model
from bnfold.verify.evaluate import EvaluationError, Float64Model

from ..invariants import BrokenInvariantError, CannotRun, work
from .agreement import disagreement
from .grow import grow
from .net import Net, Recipe

Arrays = list[np.ndarray]
# Of the largest element of an output, in float64. Against Keras with what is rounded to float32:
# attributes of ONNX's activations, TensorFlow's bicubic weights; between two ONNX models nothing.
SHARP, SHARPEST = 1e-7, 1e-9
# How often the error of Keras itself, against the same net in float64, may be that of ONNX.
MARGIN = 30.0


@dataclass
class Checked:
    """A net that passed.

    Attributes:
        folds, kept: affines of the Keras graph.
        error: largest difference, relative to the largest element of its output.
        refused: why the direct road does not take it; "" if it does.
        codes: first refusal code of each affine that stays.
        notes: what was left out of the checks.
    """

    folds: int = 0
    kept: int = 0
    error: float = 0.0
    refused: str = ""
    codes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)


def check_recipe(recipe: Recipe, keras: Any, folder: Path) -> Checked:
    """Grow the net of ``recipe`` and hold it to every invariant.

    Raises:
        BrokenInvariantError: with what broke.
        CannotRun: if Keras cannot make, run or save the net.
    """
    with plain_addition(keras):
        try:
            net = grow(recipe, keras)
            want = run_keras(net.model, net.arrays)
        except Exception as error:
            raise CannotRun(f"{type(error).__name__}: {_first_line(error)}") from error
        if not all(np.isfinite(one.astype(np.float64)).all() for one in want):
            raise CannotRun("Keras gives infinity or NaN")
        return _Check(recipe, keras, folder, net, want).run()


@contextmanager
def plain_addition(keras: Any) -> Iterator[None]:
    """Let Keras 3 add as NumPy does.

    On TensorFlow it takes an array that varies along one axis only for a bias of the last axis, or
    else of the first, wherever the sizes allow it: also where it stands on another axis.
    """
    import tensorflow

    if keras.__name__ != "keras":
        yield
        return
    module = keras.src.backend.numpy
    before = module.add

    def add(x1: Any, x2: Any) -> Any:
        dtypes = [getattr(one, "dtype", type(one)) for one in (x1, x2)]
        kind = keras.src.backend.result_type(*dtypes)
        convert = keras.src.backend.convert_to_tensor
        return tensorflow.add(convert(x1, kind), convert(x2, kind))

    module.add = add
    try:
        yield
    finally:
        module.add = before


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " / ".join(lines[:3])[:200]


class _Check:
    """One net under test."""

    def __init__(self, recipe: Recipe, keras: Any, folder: Path, net: Net, want: Arrays) -> None:
        self.recipe, self.keras, self.folder, self.net, self.want = (
            recipe, keras, folder, net, want,
        )  # fmt: skip
        self.checked = Checked()
        self._truth: Arrays | None = None

    def run(self) -> Checked:
        """All of it."""
        graph = self._read()
        before = [np.array(one) for one in self.net.model.get_weights()]
        self.names = set(graph.layers)
        ours = fold_graph(graph)
        self._refusals_stated(ours.kept, "Keras")
        again = fold_graph(ours.graph)
        # Layers that are called several times are frozen one by one, some for nothing.
        changed = again.folds or again.edits.arrays or again.edits.removed
        if changed and "shared" not in self.net.marks:
            raise BrokenInvariantError(f"Keras: folding again folds {again.folds}")
        self.checked.folds, self.checked.kept = len(ours.folds), len(ours.kept)
        self.checked.codes.update(
            item.refusals[0].reason.code for item in ours.kept if item.refusals
        )
        self._onnx(graph, ours)
        self._written(graph, ours)
        if self.recipe.seed % 40 == 7 and not self.checked.refused:
            self._public()
        for one, other in zip(self.net.model.get_weights(), before, strict=True):
            if not np.array_equal(one, other):
                raise BrokenInvariantError("the weights of the original changed")
        return self.checked

    def _read(self) -> KerasGraph:
        suffix = ".h5" if self.recipe.seed % 3 == 0 else ".keras"
        self.path = self.folder / f"net{suffix}"
        self.path.unlink(missing_ok=True)
        try:
            self.net.model.save(self.path)
        except Exception as error:
            raise CannotRun(f"cannot be saved: {type(error).__name__}: {error!s:.150}") from error
        return read_keras(self.path)

    # -- ONNX

    def _onnx(self, graph: KerasGraph, ours: KerasFold) -> None:
        newest = onnx.defs.onnx_opset_version()
        opset = 17 if self.recipe.seed % 2 else 13 + self.recipe.seed // 2 % (newest - 12)
        try:
            converted = convert(graph, opset=opset)
        except UnsupportedLayerError as error:
            self.checked.refused = _general(error)
            return
        direct = ir.to_proto(converted.model)
        self._input_names = [one.name for one in direct.graph.input]
        if ir.to_proto(convert(graph, opset=opset).model) != direct:
            raise BrokenInvariantError("two conversions differ")
        self._valid(direct, "converted")
        plain = self._run_onnx(direct)
        self._compare(plain, "converted")
        theirs = fold_model(converted.model, labels=converted.labels)
        folded = ir.to_proto(theirs.model)
        self._valid(folded, "folded ONNX")
        self._refusals_stated(theirs.kept, "ONNX")
        if work(folded) > work(direct):
            raise BrokenInvariantError(f"more nodes: {work(folded)} > {work(direct)}")
        got = self._run_onnx(folded)
        self._compare(got, "folded ONNX")
        for one, other in zip(got, plain, strict=True):
            error, size = _error(one, other)
            if self.recipe.policy == "float64" and error > SHARPEST * size:
                raise BrokenInvariantError(
                    f"folded ONNX, before and after: {error:.3g} of {size:.3g}"
                )
        again = fold_model(ir.from_proto(folded))
        if again.plan.graphs:
            raise BrokenInvariantError(f"ONNX: folding again changes {again.folds} {again.kept}")
        from_folded = ir.to_proto(convert(ours.graph, opset=opset).model)
        self._valid(from_folded, "folded Keras, converted")
        self._compare(self._run_onnx(from_folded), "folded Keras, converted")
        self._agree(graph, ours, theirs)

    def _agree(self, graph: KerasGraph, ours: KerasFold, theirs: OnnxFold) -> None:
        why, text = disagreement(graph, ours, theirs, self.net.marks)
        if text and not why:
            raise BrokenInvariantError(f"planners disagree: {text}")
        if why:
            self.checked.notes[f"planners differ: {why}"] += 1

    def _valid(self, proto: onnx.ModelProto, title: str) -> None:
        try:
            onnx.checker.check_model(proto, full_check=True)
            onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
        except Exception as error:
            raise BrokenInvariantError(f"{title}: not valid: {error!s:.300}") from error
        read = _names_read(proto.graph)
        unread = [one.name for one in proto.graph.initializer if one.name not in read]
        unread += [node.name for node in proto.graph.node if not read.intersection(node.output)]
        if unread:
            raise BrokenInvariantError(f"{title}: nobody reads {unread}")

    def _run_onnx(self, proto: onnx.ModelProto) -> Arrays:
        names = [one.name for one in proto.graph.input]
        feeds = dict(zip(names, self.net.arrays, strict=True))
        if self.recipe.policy not in ("float64", "mixed_bfloat16"):
            return _in_runtime(proto, feeds)
        # onnxruntime lacks many ops in these two types.
        try:
            found = Float64Model(ir.from_proto(proto)).run(feeds)
        except EvaluationError as error:
            raise BrokenInvariantError(f"cannot be evaluated: {error}") from error
        kind = onnx.helper.tensor_dtype_to_np_dtype
        return [
            found[one.name].astype(kind(one.type.tensor_type.elem_type))
            for one in proto.graph.output
        ]

    def _public(self) -> None:
        """What users call, checks and all."""
        given = dict(zip(self._input_names, self.net.arrays, strict=True))
        try:
            result = bnfold.fold(self.net.model, converter="direct", inputs=given)
        except bnfold.VerificationError as error:
            raise BrokenInvariantError(f"bnfold.fold: {error!s:.400}") from error
        verification = result.verification
        if verification is None or not verification.passed:
            raise BrokenInvariantError("bnfold.fold says nothing of equivalence")
        self.checked.notes["verified by bnfold.fold"] += 1

    # -- Keras

    def _written(self, graph: KerasGraph, ours: KerasFold) -> None:
        if self.recipe.seed % 5 == 0:
            try:
                model = fold_live(self.net.model).model
            except Exception as error:
                self._blame(error, "cannot be made again")
                return
            self._same_interface(model)
            self._compare(run_keras(model, self.net.arrays), "folded live Keras")
            return
        target = self.path.with_name(f"folded{self.path.suffix}")
        target.unlink(missing_ok=True)
        write_keras(self.path, graph, ours.graph, target)
        written = read_keras(target)
        if fold_graph(written).folds and "shared" not in self.net.marks:
            raise BrokenInvariantError("the written Keras file still folds")
        try:
            model = self.keras.models.load_model(target, compile=False)
        except Exception as error:
            self._blame(error, "cannot be loaded")
            return
        self._same_interface(model)
        try:
            self._compare(run_keras(model, self.net.arrays), "folded Keras")
        except BrokenInvariantError:
            own = self.keras.models.load_model(self.path, compile=False)
            try:
                self._compare(run_keras(own, self.net.arrays), "loaded by Keras")
            except BrokenInvariantError:
                self.checked.notes["Keras loads another net than it saved"] += 1
                return
            raise

    def _blame(self, error: Exception, what: str) -> None:
        """Keras itself may be unable to load what it saved."""
        try:
            self.keras.models.load_model(self.path, compile=False)
        except Exception:
            self.checked.notes["Keras cannot load what it saved"] += 1
            return
        text = f"{type(error).__name__}: {error!s:.300}"
        raise BrokenInvariantError(f"folded Keras {what}: {text}") from error

    def _same_interface(self, model: Any) -> None:
        old = self.net.model
        # Keras 3 makes layers of some operators when it makes a model again.
        names = {layer.name for layer in old.layers} | self.names
        if not names.issuperset(layer.name for layer in model.layers):
            raise BrokenInvariantError(f"new layers: {[one.name for one in model.layers]}")
        for kind in ("input_names", "output_names"):
            if getattr(model, kind, None) != getattr(old, kind, None):
                raise BrokenInvariantError(f"{kind} changed: {getattr(model, kind)}")

    # -- comparing

    def _refusals_stated(self, kept: Sequence[Any], title: str) -> None:
        silent = [item.source for item in kept if not item.refusals]
        if silent:
            raise BrokenInvariantError(f"{title}: {silent} stay and nobody says why")

    def _compare(self, got: Arrays, title: str) -> None:
        if len(got) != len(self.want):
            raise BrokenInvariantError(f"{title}: {len(got)} outputs, not {len(self.want)}")
        for number, (one, want) in enumerate(zip(got, self.want, strict=True)):
            error = self._difference(one, want, number, f"{title}, output {number}")
            self.checked.error = max(self.checked.error, error)

    def _difference(self, got: np.ndarray, want: np.ndarray, number: int, title: str) -> float:
        if got.shape != want.shape:
            raise BrokenInvariantError(f"{title}: shape {want.shape} became {got.shape}")
        if got.dtype != want.dtype:
            raise BrokenInvariantError(f"{title}: {want.dtype} became {got.dtype}")
        if want.dtype.kind in "biu":
            if not np.array_equal(got, want):
                raise BrokenInvariantError(f"{title}: integers differ")
            return 0.0
        error, size = _error(got, want)
        limit = SHARP * size
        if self.recipe.policy != "float64":
            limit = 16 * _epsilon(self.recipe.policy) * size
            if error > limit:
                truth = self._truth_of(number)
                error, _ = _error(got, truth)
                limit = max(limit, MARGIN * _error(want, truth)[0])
        if not error <= limit:
            raise BrokenInvariantError(f"{title}: error {error:.3g} of {size:.3g} ({limit:.2g})")
        return error / size if self.recipe.policy == "float64" else 0.0

    def _truth_of(self, number: int) -> np.ndarray:
        """The same net with the same weights, in float64."""
        if self._truth is None:
            # What follows clears Keras's session, but the nets at hand live on.
            exact = grow(replace(self.recipe, policy="float64"), self.keras)
            exact.model.set_weights(
                [np.asarray(one).astype(_wide(one)) for one in self.net.model.get_weights()]
            )
            arrays = [np.asarray(one).astype(_wide(one)) for one in self.net.arrays]
            self._truth = run_keras(exact.model, arrays)
        return self._truth[number]


def _wide(array: np.ndarray) -> Any:
    return array.dtype if np.asarray(array).dtype.kind in "biu" else np.float64


def _epsilon(policy: str) -> float:
    name = policy.replace("mixed_", "")
    return {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(name, 2.0**-20)


def _error(got: np.ndarray, want: np.ndarray) -> tuple[float, float]:
    """The largest difference, and the largest element to hold it against."""
    wide = want.astype(np.float64)
    size = max(float(np.abs(wide).max(initial=0.0)), 1e-3)
    return float(np.abs(got.astype(np.float64) - wide).max(initial=0.0)), size


def _general(error: UnsupportedLayerError) -> str:
    """What a refusal says, without the name of the layer."""
    return str(error).rpartition(f"{error.layer!r} ")[2]


def _names_read(graph: onnx.GraphProto) -> set[str]:
    """Everything that a node, a body or the caller reads."""
    names = {one.name for one in graph.output}
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names |= _names_read(attribute.g)
    return names


def _in_runtime(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Arrays:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return list(session.run(None, dict(feeds)))
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error):
            raise CannotRun(f"onnxruntime: {error!s:.150}") from error
        raise BrokenInvariantError(f"onnxruntime: {error!s:.300}") from error


def run_keras(model: Any, arrays: Arrays) -> Arrays:
    """The outputs of a live model, flat; dicts in the order of their sorted keys."""
    return [np.asarray(one) for one in _flat(model(_given(model, arrays), training=False))]


def _given(model: Any, arrays: Arrays) -> Any:
    return list(arrays) if len(arrays) > 1 else arrays[0]


def _flat(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return [one for key in sorted(structure) for one in _flat(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [one for part in structure for one in _flat(part)]
    return [structure]
