"""Disks that are full or read-only, and names that files can have: one line, and nothing broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
import pytest

OLD = b"the output of an earlier run"
QUICK = ("--no-verify", "--no-bench")


def bnfold(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bnfold", *(os.fsdecode(os.fsencode(str(a))) for a in arguments)],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])} if cwd else None,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gemm and a BatchNormalization of 400 kB."""
    rng, width = np.random.default_rng(4), 316
    weights = [nh.from_array(rng.standard_normal((width, width)).astype(np.float32), "w")]
    weights += [
        nh.from_array(np.abs(rng.standard_normal(width)).astype(np.float32) + 1, name)
        for name in ("gamma", "beta", "mean", "var")
    ]
    nodes = [
        oh.make_node("Gemm", ["x", "w"], ["h"], name="dense"),
        oh.make_node("BatchNormalization", ["h", "gamma", "beta", "mean", "var"], ["y"], name="bn"),
    ]
    ports = [oh.make_tensor_value_info(name, 1, ["N", width]) for name in "xy"]
    graph = oh.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    onnx.save(oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("nobody may mount file systems here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def in_one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("existed", [False, True])
def test_a_disk_that_is_full(model: Path, small_disk: Path, existed: bool) -> None:
    target = small_disk / "out.onnx"
    if existed:
        target.write_bytes(OLD)
    in_one_line(bnfold(model, "-o", target, "--force", *QUICK), "the disk is full")
    assert [entry.name for entry in small_disk.iterdir()] == ["out.onnx"] * existed
    assert not existed or target.read_bytes() == OLD


def test_a_disk_that_is_full_of_reports(model: Path, small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "filling").write_bytes(bytes(120_000))
    report = small_disk / "report.html"
    done = bnfold(model, "-o", tmp_path / "out.onnx", "--report", report, *QUICK)
    assert done.returncode == 2 and "the disk is full" in done.stderr
    assert [entry.name for entry in small_disk.iterdir()] == ["filling"]


def test_a_disk_that_is_read_only(model: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    in_one_line(bnfold(model, "-o", small_disk / "out.onnx", *QUICK), "may not be written to")


NAMES = [
    "with spaces and 'quotes\".onnx",
    "ünï\u0301code 模型.onnx",
    "two\nlines\tand \x1b[31mred.onnx",
    "C:\\models\\net.onnx",
    "..onnx",
    "%s{0}$HOME`id`.onnx",
    "a" * 240 + ".onnx",
    "caf\udce9.onnx",  # bytes that are no UTF-8
]


@pytest.mark.skipif(os.name == "nt", reason="names that only POSIX allows")
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_odd_names(model: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / "in" / name
    source.parent.mkdir()
    source.symlink_to(model)
    target = tmp_path / name
    done = bnfold(source, "-o", target, *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    with target.open("rb") as file:
        assert onnx.load(file).graph.node
    assert "\x1b" not in done.stdout
    again = bnfold(source, "-o", target, *QUICK)
    in_one_line(again, "exists")
    gone = bnfold("inspect", tmp_path / "not" / name)
    in_one_line(gone, "is not there")


@pytest.mark.skipif(os.name == "nt", reason="there they are paths")
def test_paths_of_windows_where_there_are_none(model: Path, tmp_path: Path) -> None:
    in_one_line(bnfold("inspect", r"C:\models\net.onnx"), "not there")
    in_one_line(bnfold("inspect", r"\\server\share\net.onnx"), "not there")
    done = bnfold(model, "-o", r"folder\out.onnx", *QUICK, cwd=tmp_path)
    assert done.returncode == 0
    assert [entry.name for entry in tmp_path.iterdir()] == [r"folder\out.onnx"]


def test_a_name_that_begins_with_a_dash(model: Path, tmp_path: Path) -> None:
    (tmp_path / "-x.onnx").symlink_to(model)
    done = bnfold("-o", "out.onnx", *QUICK, "--", "-x.onnx", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.onnx").exists()
