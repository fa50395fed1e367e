"""Files that old and new versions of Keras really wrote, against what each of them predicted.

`tests/formats/keras/versions` holds them; docs/keras-versions.md says how they are made.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from bnfold.convert.direct import convert
from bnfold.core.errors import InputError
from bnfold.formats.keras.errors import UnsupportedLayerError, UnsupportedModelError
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.keras.graph import KerasGraph, walk_layers
from bnfold.formats.keras.order import order_of
from bnfold.formats.keras.read import read_keras
from bnfold.formats.keras.write import write_keras
from bnfold.formats.sniff import describe
from scripts.keras_version_files import (
    ENVIRONMENTS,
    LOADED,
    LOST,
    PAGE,
    TOO_OLD,
    archive_of,
    has_saved_model,
    members,
    unpack,
)
from scripts.keras_versions_page import page
from tests.convert.direct.side_by_side import assert_equal, run_onnx

# Normalizations that fold, of all; as many in every version.
FOLDED = {
    "activations": (2, 3),  # ThresholdedReLU lets nothing pass; Keras 3 has none
    "attention": (1, 1),
    "branches": (2, 2),
    "conv": (3, 3),
    "custom": (1, 2),
    "deferred": (1, 1),
    "dense": (3, 3),
    "depthwise": (1, 2),  # the other one is not per channel
    "double": (1, 1),
    "gru": (3, 3),
    "half": (2, 2),
    "masked": (2, 2),
    "nested": (3, 3),
    "operators": (6, 6),
    "preprocess": (3, 3),
    "recurrent": (4, 4),
    "siamese": (2, 2),
    "spaces": (2, 3),  # a UpSampling of a causal convolution's result, then Cropping
    "tokens": (1, 1),
}
# Behind a layer of the user's own shapes are known only where the file states them.
_STATES_SHAPES = ("tf.keras-2.15", "custom.keras")
_OTHERWISE = {("keras-2.0.8-theano", "spaces"): (3, 3)}
# float16 has 11 bits. Keras on JAX and Theano computes part of float64 in float32.
_RELATIVE = {"half": 6e-3, "double": 1e-14}
_ROUNDED = {"keras-3.12": 1e-6, "keras-2.0.8-theano": 1e-9}
_OWN = "named"  # a model of the user's class

ROWS = [(name, file) for name in ENVIRONMENTS for file in members(name)]
_GOOD = [row for row in ROWS if row not in LOST and Path(row[1]).stem != _OWN]
# Of each kind of file one version at all times, the others where time does not matter.
_ALWAYS = ("keras-2.0.8-theano", "keras-2.1.6", "tf.keras-1.15", "tf.keras-2.12", "keras-3.6")
_MARKED = [
    row if row[0] in _ALWAYS else pytest.param(*row, marks=pytest.mark.slow) for row in _GOOD
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> functools._lru_cache_wrapper[Path]:
    """Unpacks a version's files when it is first asked for them."""
    return functools.lru_cache(lambda name: unpack(name, tmp_path_factory.mktemp(name)))


def _arrays(folder: Path, net: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    with np.load(folder / f"{net}.npz") as found:
        sides = (sorted(key for key in found if key.startswith(side)) for side in ("in", "out"))
        inputs, outputs = ([found[key] for key in keys] for keys in sides)
    return inputs, outputs


def _computed(graph: KerasGraph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """By ONNX; Keras casts what it is given to what its inputs are."""
    model = convert(graph).model
    kinds = [value.dtype.numpy() for value in model.graph.inputs]
    return run_onnx(model, [one.astype(kind) for one, kind in zip(inputs, kinds, strict=True)])


def _relative(version: str, net: str) -> float:
    return _ROUNDED.get(version, 1e-14) if net == "double" else _RELATIVE.get(net, 1e-5)


@pytest.mark.parametrize(("version", "file"), _MARKED)
def test_file(
    folders: functools._lru_cache_wrapper[Path],
    version: str,
    file: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Read, converted, folded, written back and read again: equal to that version's predict."""
    source, net = folders(version) / file, Path(file).stem
    inputs, wanted = _arrays(source.parent, net)
    caplog.set_level(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = read_keras(source)
        result = fold_graph(graph)
        target = tmp_path / file
        write_keras(source, graph, result.graph, target)
        again = read_keras(target)
    assert not caplog.records
    _check_order(graph)
    _check_order(again)
    _check_fold(version, file, graph, again, (len(result.folds), len(result.kept)))
    assert describe(target).kind is describe(source).kind
    assert describe(target).keras_version == describe(source).keras_version
    if net == "custom":
        with pytest.raises(UnsupportedLayerError, match=r"'own' \(Twice\)"):
            convert(graph)
        return
    relative = _relative(version, net)
    assert_equal(_computed(graph, inputs), wanted, relative)
    assert_equal(_computed(again, inputs), wanted, 2 * relative)


def _check_order(graph: KerasGraph) -> None:
    """Layers stand as Keras lists them: by that order every version finds the arrays of a file."""
    inner = [layer.graph for _, layer in walk_layers(graph) if layer.graph is not None]
    for one in (graph, *inner):
        if not one.sequential:
            assert order_of(one) == list(one.layers)


def _check_fold(
    version: str, file: str, graph: KerasGraph, again: KerasGraph, counts: tuple[int, int]
) -> None:
    net = Path(file).stem
    folds, norms = _OTHERWISE.get((version, net), FOLDED[net])
    if net == "activations" and graph.generation == 3:
        folds = 3
    if net == "custom" and (graph.generation == 3 or (version, file) == _STATES_SHAPES):
        folds = 2
    assert counts == (folds, norms - folds)
    names = [path for path, _ in walk_layers(graph)]
    left = [path for path, _ in walk_layers(again)]
    assert set(left) <= set(names)
    assert again.input_names() == graph.input_names()
    assert again.output_names() == graph.output_names()
    assert again.name == graph.name


@pytest.mark.parametrize(("version", "file"), [row for row in ROWS if Path(row[1]).stem == _OWN])
def test_a_model_of_the_users_class(
    folders: functools._lru_cache_wrapper[Path], version: str, file: str
) -> None:
    """Its call may be another than its layers tell."""
    with pytest.raises(UnsupportedModelError, match="class of its own, whose code is not in"):
        read_keras(folders(version) / file)


@pytest.mark.parametrize(("version", "file"), sorted(LOST))
def test_arrays_that_were_lost(
    folders: functools._lru_cache_wrapper[Path], version: str, file: str
) -> None:
    with pytest.raises(InputError, match=r"several arrays under one name.*save the model again"):
        read_keras(folders(version) / file)


@pytest.mark.parametrize("version", ENVIRONMENTS)
def test_halves_of_a_model(folders: functools._lru_cache_wrapper[Path], version: str) -> None:
    """An architecture, or weights alone: one line that tells what to do."""
    halves = sorted(folders(version).glob("halves*"))
    assert len(halves) >= 2
    for half in halves:
        with pytest.raises(InputError, match=r"without its weights|with weights only") as caught:
            describe(half)
        assert str(caught.value).endswith("save the whole model (model.save('model.keras')).")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", TOO_OLD)
def test_too_old(folders: functools._lru_cache_wrapper[Path], version: str) -> None:
    with pytest.raises(InputError, match=r"Keras 1\.2\.2.*load and save it with Keras 2\.2 first"):
        read_keras(folders(version) / "dense.h5")


def test_no_tensorflow_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bnfold.convert.direct import convert, read\n"
        "from bnfold.formats.keras.fold import fold_graph\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    convert(fold_graph(read(path)).graph)\n"
        "assert not {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules)\n"
    )
    files = []
    for version in ("keras-2.1.6", "tf.keras-2.3", "tf.keras-2.12", "keras-3.3-tensorflow"):
        folder = unpack(version, tmp_path / version)
        files += [str(path) for path in folder.iterdir() if path.stem in ("conv", "recurrent")]
    files = [file for file in files if file.endswith((".h5", ".keras"))]
    assert len(files) == 12
    done = subprocess.run(
        [sys.executable, "-c", code, *files], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.keras
@pytest.mark.parametrize(
    "version",
    [
        name if name == "tf.keras-2.3" else pytest.param(name, marks=pytest.mark.slow)
        for name in ENVIRONMENTS
        if has_saved_model(name)
    ],
)
def test_saved_model(folders: functools._lru_cache_wrapper[Path], version: str) -> None:
    pytest.importorskip("tf2onnx")
    from bnfold.convert.tf2onnx_road import convert_keras

    folder = folders(version)
    inputs, wanted = _arrays(folder, "dense")
    model = convert_keras(folder / "dense.saved_model").model
    assert_equal(run_onnx(model, [inputs[0].astype(np.float32)]), wanted, 1e-5)


def test_what_is_kept_is_small() -> None:
    sizes = [path.stat().st_size for path in archive_of("x").parent.iterdir()]
    assert max(sizes) < 100_000
    assert sum(sizes) < 1_500_000


def test_every_folded_file_was_loaded_by_the_version_that_wrote_it() -> None:
    """What that version said is kept; where it cannot load its own file, nothing is asked."""
    loaded = json.loads(LOADED.read_text("utf-8"))
    assert len(loaded) >= 14
    for version, said in loaded.items():
        expected = {file for name, file in _GOOD if name == version}
        assert expected <= set(said["folded"])
        for file in expected:
            assert not said["folded"][file] or said["originals"][file], (version, file)


def test_the_page_is_what_the_files_say() -> None:
    assert PAGE.read_text("utf-8") == page()


def test_made_by_the_versions_that_are_named() -> None:
    for name in ENVIRONMENTS:
        with tarfile.open(archive_of(name)) as archive:
            member = archive.extractfile("made.json")
            assert member is not None
            made = json.load(io.TextIOWrapper(member))["version"]
        stated = name.removeprefix("tf.").removeprefix("keras-").partition("-")[0]
        assert f"{made['keras']}.".startswith(f"{stated}."), name
