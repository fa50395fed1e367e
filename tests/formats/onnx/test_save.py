"""Saving ONNX models: the bytes, the data file, and what is left when it fails."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
import onnx_ir as ir
import pytest
from onnx import TensorProto

from bnfold.core.errors import InputError, OutputError
from bnfold.formats.onnx import save as save_module
from bnfold.formats.onnx.open import open_onnx
from bnfold.formats.onnx.save import model_bytes, save_onnx

FLOAT = TensorProto.FLOAT
WIDTH = 64


def chain(layers: int = 3, width: int = WIDTH, seed: int = 0) -> onnx.ModelProto:
    """A stack of Gemms with weights large enough for a data file, and small ones."""
    rng = np.random.default_rng(seed)
    nodes, weights = [], []
    for index in range(layers):
        names = [f"h{index}", f"w{index}", f"b{index}"]
        nodes.append(oh.make_node("Gemm", names, [f"h{index + 1}"], name=f"gemm{index}"))
        kernel = rng.standard_normal((width, width)).astype(np.float32)
        weights.append(nh.from_array(kernel, names[1]))
        weights.append(nh.from_array(rng.standard_normal(width).astype(np.float32), names[2]))
    graph = oh.make_graph(
        nodes,
        "chain",
        [oh.make_tensor_value_info("h0", FLOAT, ["N", width])],
        [oh.make_tensor_value_info(f"h{layers}", FLOAT, ["N", width])],
        weights,
    )
    return oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8)


def everything() -> onnx.ModelProto:
    """A model with one of each thing that a ModelProto can hold and bnfold passes through."""
    proto = chain(1)
    body = oh.make_graph(
        [oh.make_node("MatMul", ["h1", "inner"], ["s"])],
        "body",
        [],
        [oh.make_tensor_value_info("s", FLOAT, None)],
        [nh.from_array(np.eye(WIDTH, dtype=np.float32), "inner")],
    )
    proto.graph.node.extend(
        [
            oh.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body),
            oh.make_node("Own", ["z"], ["o"], domain="own", note="ü", gains=[1.0, 2.0]),
            oh.make_node("Constant", [], ["k"], value=nh.from_array(np.arange(3), "k")),
        ]
    )
    proto.graph.initializer.extend(
        [
            nh.from_array(np.array(True), "c"),
            nh.from_array(np.array([b"a", b"bc"], object), "strings"),
            oh.make_tensor("halves", TensorProto.BFLOAT16, [2], [0.5, 1.5]),
            oh.make_tensor("nibbles", TensorProto.INT4, [3], [1, -2, 3]),
            nh.from_array(np.zeros((0, 4), np.float32), "none"),
        ]
    )
    proto.graph.doc_string = "what it is"
    proto.graph.output.append(oh.make_tensor_value_info("o", FLOAT, None))
    note = proto.graph.metadata_props.add(key="b", value="2")
    proto.metadata_props.extend([note, onnx.StringStringEntryProto(key="a", value="1")])
    proto.producer_name, proto.producer_version, proto.domain = "tests", "1", "org.example"
    proto.model_version, proto.doc_string = 7, "all of it"
    proto.opset_import.append(oh.make_opsetid("own", 1))
    proto.functions.append(
        oh.make_function(
            "own",
            "Own",
            ["a"],
            ["b"],
            [oh.make_node("Relu", ["a"], ["b"])],
            [oh.make_opsetid("", 17)],
            ["note", "gains"],
        )
    )
    annotation = proto.graph.quantization_annotation.add(tensor_name="w0")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="b0")
    return proto


def values(path: Path) -> dict[str, np.ndarray]:
    """All weights of a file, read by onnx itself."""
    proto = onnx.load(path)
    return {tensor.name: nh.to_array(tensor) for tensor in proto.graph.initializer}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


class TestBytes:
    def test_they_are_those_of_protobuf_itself(self) -> None:
        for proto in (everything(), chain()):
            model = ir.from_proto(proto)
            expected = ir.to_proto(model)
            weights = {tensor.name for tensor in expected.graph.initializer}
            described = [v for v in expected.graph.value_info if v.name in weights]
            for info in described:
                expected.graph.value_info.remove(info)
            for tensor in expected.graph.initializer:
                if tensor.data_type != TensorProto.STRING and not tensor.HasField("raw_data"):
                    raw = ir.from_proto(tensor).tobytes()
                    for field, _ in tensor.ListFields():
                        if field.name.endswith("_data") and field.name != "raw_data":
                            tensor.ClearField(field.name)
                    tensor.raw_data = raw
            assert model_bytes(model) == expected.SerializeToString(deterministic=True)

    def test_nothing_is_lost(self, tmp_path: Path) -> None:
        before = everything()
        save_onnx(open_onnx(before), tmp_path / "m.onnx")
        after = onnx.load(tmp_path / "m.onnx")
        for field, content in before.ListFields():
            if field.name not in ("graph", "functions", "metadata_props"):
                assert getattr(after, field.name) == content, field.name
        assert {e.key: e.value for e in after.metadata_props} == {"a": "1", "b": "2"}
        for branch in after.graph.node[1].attribute:
            del branch.g.value_info[:]  # types of the weights, which say them already
        assert list(after.graph.node) == list(before.graph.node)
        assert after.graph.quantization_annotation == before.graph.quantization_annotation
        assert len(after.functions) == 1
        assert same(
            values(tmp_path / "m.onnx"),
            {tensor.name: nh.to_array(tensor) for tensor in before.graph.initializer},
        )

    @pytest.mark.parametrize("external", ["never", "always"])
    def test_two_runs_write_the_same(self, tmp_path: Path, external: str) -> None:
        written = []
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            files = save_onnx(
                open_onnx(everything()),
                tmp_path / folder / "m.onnx",
                external=external,  # type: ignore[arg-type]
            )
            assert sorted(file.name for file in files) == names(tmp_path / folder)
            written.append([(file.name, file.read_bytes()) for file in files])
        assert written[0] == written[1]

    def test_saving_what_was_saved_changes_nothing(self, tmp_path: Path) -> None:
        first = model_bytes(open_onnx(everything()))
        (tmp_path / "m.onnx").write_bytes(first)
        assert model_bytes(open_onnx(tmp_path / "m.onnx")) == first

    def test_the_model_is_not_changed(self) -> None:
        model = open_onnx(everything())
        kept = {name: value.const_value for name, value in model.graph.initializers.items()}
        model_bytes(model)
        for name, value in model.graph.initializers.items():
            assert value.const_value is kept[name]

    def test_initializers_without_data_are_left_out(self) -> None:
        """In IR 3, as in a graph whose input was an initializer once."""
        model = open_onnx(chain(1))
        value = model.graph.initializers["b0"]
        value.const_value = None
        proto = onnx.load_model_from_string(model_bytes(model))
        assert [tensor.name for tensor in proto.graph.initializer] == ["w0"]

    def test_a_weight_takes_the_name_of_its_value(self) -> None:
        model = open_onnx(chain(1))
        model.graph.initializers["w0"].name = "renamed"
        proto = onnx.load_model_from_string(model_bytes(model))
        assert {tensor.name for tensor in proto.graph.initializer} == {"renamed", "b0"}
        assert proto.graph.node[0].input[1] == "renamed"


def lazy(array: np.ndarray, calls: list[str], name: str = "") -> ir.LazyTensor:
    def compute() -> ir.Tensor[np.ndarray]:
        calls.append(name)
        return ir.Tensor(array * np.float32(2))

    return ir.LazyTensor(compute, ir.DataType.FLOAT, ir.Shape(array.shape))


class TestWeights:
    @pytest.mark.parametrize("external", ["never", "always"])
    def test_of_every_kind(self, tmp_path: Path, external: str) -> None:
        """In memory, not contiguous, in a protobuf, in a file, computed on demand."""
        (tmp_path / "in").mkdir()
        save_onnx(open_onnx(chain(3)), tmp_path / "in" / "m.onnx", external="always")
        model = open_onnx(tmp_path / "in" / "m.onnx")
        plain = np.arange(WIDTH * WIDTH, dtype=np.float32).reshape(WIDTH, WIDTH)
        calls: list[str] = []
        model.graph.initializers["w0"].const_value = ir.Tensor(plain.T)
        model.graph.initializers["w1"].const_value = lazy(plain, calls)
        save_onnx(model, tmp_path / "m.onnx", external=external)  # type: ignore[arg-type]
        assert calls == [""]
        expected = values(tmp_path / "in" / "m.onnx") | {"w0": plain.T, "w1": plain * 2}
        assert same(values(tmp_path / "m.onnx"), expected)
        onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)

    def test_a_weight_that_is_not_as_large_as_declared(self, tmp_path: Path) -> None:
        model = open_onnx(chain(1))
        model.graph.initializers["w0"].const_value = ir.LazyTensor(
            lambda: ir.Tensor(np.zeros(5, np.float32)), ir.DataType.FLOAT, ir.Shape([WIDTH, WIDTH])
        )
        with pytest.raises(InputError, match="gives 20 bytes where 16384 belong"):
            save_onnx(model, tmp_path / "m.onnx")
        assert names(tmp_path) == []

    def test_data_files_that_vanish_or_shrink(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        source = tmp_path / "in" / "m.onnx"
        _, data = save_onnx(open_onnx(chain(2)), source, external="always")
        for external in ("never", "always"):
            model = open_onnx(source)
            whole = data.read_bytes()
            data.write_bytes(whole[:-5000])
            with pytest.raises(InputError, match="cannot be read any more"):
                save_onnx(model, tmp_path / "m.onnx", external=external)  # type: ignore[arg-type]
            data.unlink()
            with pytest.raises(InputError, match="cannot be read any more"):
                save_onnx(model, tmp_path / "m.onnx", external=external)  # type: ignore[arg-type]
            data.write_bytes(whole)
        assert names(tmp_path) == ["in"]

    def test_memory_does_not_grow_with_the_model(self, tmp_path: Path) -> None:
        width, layers = 512, 24
        calls: list[str] = []
        for external in ("never", "always"):
            model = open_onnx(chain(layers))
            for index in range(layers):
                weight = np.broadcast_to(np.float32(index), (width, width))
                model.graph.initializers[f"w{index}"].const_value = lazy(weight, calls)
            tracemalloc.start()
            save_onnx(model, tmp_path / f"{external}.onnx", external=external)  # type: ignore[arg-type]
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 6 * width * width * 4, f"{peak} bytes for {layers} weights of 1 MB"


class TestDataFile:
    def test_by_size(self, tmp_path: Path) -> None:
        model = open_onnx(chain(2))
        size = len(model_bytes(model))
        assert save_onnx(model, tmp_path / "a.onnx", largest_file=size + 1000)[1:] == ()
        model_file, data = save_onnx(model, tmp_path / "b.onnx", largest_file=size - 1)
        assert model_file.stat().st_size < 3000
        assert data.parent == tmp_path
        assert same(values(tmp_path / "a.onnx"), values(tmp_path / "b.onnx"))

    def test_never_refuses_what_does_not_fit(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="larger than one ONNX file"):
            save_onnx(open_onnx(chain(2)), tmp_path / "a", external="never", largest_file=5000)
        assert names(tmp_path) == []

    def test_small_weights_stay_in_the_model(self, tmp_path: Path) -> None:
        save_onnx(open_onnx(chain(1)), tmp_path / "m.onnx", external="always")
        proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
        external = {t.name for t in proto.graph.initializer if t.data_location}
        assert external == {"w0"}
        entries = {e.key: e.value for e in proto.graph.initializer[0].external_data}
        assert int(entries["offset"]) % 4096 == 0

    def test_weights_of_bodies_move_too(self, tmp_path: Path) -> None:
        files = save_onnx(open_onnx(everything()), tmp_path / "m.onnx", external="always")
        proto = onnx.load(files[0], load_external_data=False)
        inner = proto.graph.node[1].attribute[0].g.initializer[0]
        assert inner.data_location == TensorProto.EXTERNAL
        assert model_bytes(open_onnx(files[0])) == model_bytes(open_onnx(everything()))

    def test_it_runs(self, tmp_path: Path) -> None:
        ort = pytest.importorskip("onnxruntime")
        save_onnx(open_onnx(chain()), tmp_path / "m.onnx", external="always")
        x = np.ones((2, WIDTH), np.float32)
        session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
        plain = ort.InferenceSession(
            chain().SerializeToString(), providers=["CPUExecutionProvider"]
        )
        np.testing.assert_array_equal(
            session.run(None, {"h0": x})[0], plain.run(None, {"h0": x})[0]
        )

    def test_the_data_of_an_old_output_is_never_written_over(self, tmp_path: Path) -> None:
        target = tmp_path / "m.onnx"
        _, old = save_onnx(open_onnx(chain(seed=1)), target, external="always")
        before = old.read_bytes()
        _, new = save_onnx(open_onnx(chain(seed=2)), target, external="always", force=True)
        assert old != new
        assert old.read_bytes() == before
        assert same(values(target), values_of(chain(seed=2)))

    def test_in_place(self, tmp_path: Path) -> None:
        target = tmp_path / "m.onnx"
        files = save_onnx(open_onnx(chain()), target, external="always")
        inode = files[1].stat().st_ino
        again = save_onnx(open_onnx(target), target, external="always", force=True)
        assert again == files
        assert files[1].stat().st_ino == inode
        assert same(values(target), values_of(chain()))

    def test_a_data_file_of_the_same_name_that_was_damaged_is_mended(self, tmp_path: Path) -> None:
        target = tmp_path / "m.onnx"
        _, data = save_onnx(open_onnx(chain()), target, external="always")
        data.write_bytes(b"rubbish")
        save_onnx(open_onnx(chain()), target, external="always", force=True)
        assert same(values(target), values_of(chain()))

    def test_a_checksum_that_was_contrived_is_no_reason_to_keep_other_data(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(save_module._TrailingDigest, "hexdigest", lambda self: "same")
        target = tmp_path / "m.onnx"
        save_onnx(open_onnx(chain()), target, external="always")
        before = values(target)
        model = open_onnx(target)
        save_onnx(model, target, external="always", force=True)
        model.graph.initializers["w0"].const_value = ir.tensor(np.ones((WIDTH, WIDTH), np.float32))
        with pytest.raises(OutputError, match="holds weights of the input"):
            save_onnx(model, target, external="always", force=True)
        assert same(values(target), before)

    def test_the_input_data_cannot_be_the_target(self, tmp_path: Path) -> None:
        _, data = save_onnx(open_onnx(chain()), tmp_path / "m.onnx", external="always")
        model = open_onnx(tmp_path / "m.onnx")
        with pytest.raises(OutputError, match="holds weights of the input"):
            save_onnx(model, data, force=True)
        assert same(values(tmp_path / "m.onnx"), values_of(chain()))

    @pytest.mark.parametrize(
        "name",
        ["ü 模型.onnx", "a\nb.onnx", "back\\slash.onnx", os.fsdecode(b"\xff.onnx"), "y" * 220],
    )
    def test_odd_names(self, tmp_path: Path, name: str) -> None:
        if os.name == "nt":
            pytest.skip("not names there")
        target = tmp_path / name
        _, data = save_onnx(open_onnx(chain()), target, external="always")
        opened = open_onnx(target)
        assert model_bytes(opened) == model_bytes(open_onnx(chain()))
        assert data.parent == tmp_path


def values_of(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: nh.to_array(tensor) for tensor in proto.graph.initializer}


class TestFailures:
    @pytest.mark.parametrize("external", ["never", "always"])
    @pytest.mark.parametrize("existed", [True, False])
    def test_errors_of_the_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, external: str, existed: bool
    ) -> None:
        """Each call of the system that puts something on the disk fails once, in turn."""
        target = tmp_path / "m.onnx"
        if existed:
            save_onnx(open_onnx(chain(seed=1)), target, external=external)  # type: ignore[arg-type]
        before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
        reached = 0
        for function in ("open", "fsync", "link", "replace"):
            for turn in range(12):
                calls = 0
                true = getattr(os, function)

                def fail(
                    *given: object,
                    _true: object = true,
                    _turn: int = turn,
                    _all: bool = function != "open",
                    **more: object,
                ) -> object:
                    nonlocal calls
                    if _all or (len(given) > 1 and given[1] & os.O_RDWR):  # type: ignore[operator]
                        calls += 1
                        if calls > _turn:
                            raise OSError(errno.ENOSPC, "No space left on device")
                    return _true(*given, **more)  # type: ignore[operator]

                monkeypatch.setattr(os, function, fail)
                try:
                    with pytest.raises(OutputError, match="disk is full") as refusal:
                        save_onnx(
                            open_onnx(chain(seed=2)),
                            target,
                            force=True,
                            external=external,  # type: ignore[arg-type]
                        )
                except pytest.fail.Exception:
                    break
                finally:
                    monkeypatch.undo()
                reached += 1
                assert "\n" not in str(refusal.value)
                after = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
                assert after == before, (function, turn)
            for name in set(names(tmp_path)) - set(before):
                (tmp_path / name).unlink()
            for name, content in before.items():
                (tmp_path / name).write_bytes(content)
        # pathlib of Python 3.10 keeps its own os.replace, which no test can make fail.
        assert reached >= (3 if sys.version_info >= (3, 11) else 2)

    def test_a_target_that_appears_meanwhile(self, tmp_path: Path) -> None:
        """The data file that was put in place for nothing is taken away again."""
        target = tmp_path / "m.onnx"
        model = open_onnx(chain())
        calls: list[str] = []

        def appear() -> ir.Tensor[np.ndarray]:
            target.write_bytes(b"another")
            return ir.Tensor(np.ones((WIDTH, WIDTH), np.float32))

        assert not calls
        model.graph.initializers["w0"].const_value = ir.LazyTensor(
            appear, ir.DataType.FLOAT, ir.Shape([WIDTH, WIDTH])
        )
        for external in ("always", "never"):
            with pytest.raises(OutputError, match="exists"):
                save_onnx(model, target, external=external)  # type: ignore[arg-type]
            assert target.read_bytes() == b"another"
            assert names(tmp_path) == ["m.onnx"]
            target.unlink()

    def test_what_exists_is_refused_before_any_work(self, tmp_path: Path) -> None:
        calls: list[str] = []
        model = open_onnx(chain())
        model.graph.initializers["w0"].const_value = lazy(np.ones((WIDTH, WIDTH)), calls)
        (tmp_path / "m.onnx").write_bytes(b"old")
        for target in (tmp_path / "m.onnx", tmp_path, tmp_path / "gone" / "m.onnx"):
            with pytest.raises(OutputError):
                save_onnx(model, target)
        assert calls == []
        assert (tmp_path / "m.onnx").read_bytes() == b"old"

    @pytest.mark.skipif(sys.platform != "linux", reason="resource limits of POSIX")
    @pytest.mark.parametrize("external", ["never", "always"])
    def test_a_disk_that_is_full_half_way(self, tmp_path: Path, external: str) -> None:
        script = (
            "import resource, signal, sys\n"
            "from bnfold.formats.onnx.open import open_onnx\n"
            "from bnfold.formats.onnx.save import save_onnx\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
            "save_onnx(open_onnx(sys.argv[1]), sys.argv[2], external=sys.argv[3])\n"
        )
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "m.onnx").write_bytes(chain().SerializeToString())
        run = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "in" / "m.onnx", tmp_path / "o", external],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "OutputError" in run.stderr
        assert "larger than the system allows" in run.stderr
        assert names(tmp_path) == ["in"]


ENDLESS_SAVER = (
    "import sys\n"
    "from bnfold.formats.onnx.open import open_onnx\n"
    "from bnfold.formats.onnx.save import save_onnx\n"
    "models = [open_onnx(path) for path in sys.argv[3:]]\n"
    "print('ready', flush=True)\n"
    "while True:\n"
    "    for model in models:\n"
    "        save_onnx(model, sys.argv[1], external=sys.argv[2], force=True)\n"
)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("external", ["never", "always"])
def test_killed_and_contended_output_is_always_whole(
    tmp_path: Path, rng: np.random.Generator, external: str
) -> None:
    """Two processes write to one target, are killed at random moments, and start again."""
    sources = []
    for seed in (1, 2, 3):
        sources.append(tmp_path / f"source{seed}.onnx")
        sources[-1].write_bytes(chain(6, seed=seed).SerializeToString())
    expected = [values(source) for source in sources]
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "m.onnx"

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS_SAVER, target, external, *sources],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    def end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
        assert process.poll() is None, "the writer died by itself"
        process.send_signal(how)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    rival = start()
    seen = set()
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = start()
        for _ in range(10):
            time.sleep(rng.uniform(0, 0.02))
            if target.exists():
                found = values(target)
                which = [index for index, each in enumerate(expected) if same(each, found)]
                assert len(which) == 1
                seen.update(which)
        end(process, how)
    end(rival, signal.SIGKILL)
    assert len(seen) > 1
    assert any(same(each, values(target)) for each in expected)
