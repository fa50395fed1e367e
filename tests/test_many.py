"""Many models in one run: one row each, whoever fails, and a run taken up again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bnfold.core.errors import InputError
from bnfold.many import JOURNAL, Outcome, Row, fold_many


@pytest.fixture
def models(tmp_path: Path, rng: np.random.Generator) -> list[Path]:
    """Three Gemm-Mul models and a file that is none."""
    paths = []
    for name in ("a", "b", "c"):
        nodes = [
            helper.make_node("Gemm", ["x", "w"], ["h"], name="gemm"),
            helper.make_node("Mul", ["h", "s"], ["y"], name="mul"),
        ]
        arrays = {"w": rng.normal(size=(4, 4)), "s": rng.normal(size=4)}
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
            [numpy_helper.from_array(v.astype(np.float32), k) for k, v in arrays.items()],
        )
        path = tmp_path / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
        paths.append(path)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    return [*paths, broken]


def outcomes(rows: tuple[Row, ...]) -> list[Outcome]:
    return [row.outcome for row in rows]


def test_one_failure_is_one_row(models: list[Path], tmp_path: Path) -> None:
    seen: list[Row] = []
    with ThreadPoolExecutor(2) as pool:
        rows = fold_many(models, tmp_path / "out", executor=pool, progress=seen.append)
    assert outcomes(rows) == [Outcome.FOLDED] * 3 + [Outcome.FAILED]
    assert [row.source for row in rows] == [str(path) for path in models]
    assert sorted(row.source for row in seen) == sorted(row.source for row in rows)
    assert rows[0].folded == 1 and rows[0].verified is True
    assert rows[3].exit_code == 2 and "\n" not in rows[3].error and rows[3].error
    assert sorted(p.name for p in (tmp_path / "out").glob("*.onnx")) == [
        "a.onnx",
        "b.onnx",
        "c.onnx",
    ]


def test_an_interrupted_run_is_taken_up_again(models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with ThreadPoolExecutor(1) as pool:
        fold_many(models[:2], out, executor=pool, verify=False)
        before = (out / "a.onnx").stat().st_mtime_ns
        rows = fold_many(models[:3], out, executor=pool, verify=False)
        assert outcomes(rows) == [Outcome.DONE_BEFORE, Outcome.DONE_BEFORE, Outcome.FOLDED]
        assert (out / "a.onnx").stat().st_mtime_ns == before
        assert rows[0].folded == 1
        # Other options, or another source under the same name, are another job.
        rows = fold_many(models[:1], out, executor=pool, verify=True)
        assert outcomes(rows) == [Outcome.FOLDED]
        models[0].write_bytes(models[1].read_bytes())
        rows = fold_many(models[:1], out, executor=pool, verify=True)
        assert outcomes(rows) == [Outcome.FOLDED]


def test_weights_in_a_file_of_their_own_count_too(models: list[Path], tmp_path: Path) -> None:
    out, source = tmp_path / "out", tmp_path / "large.onnx"
    model = onnx.load(models[0])
    save = {"save_as_external_data": True, "location": "large.data", "size_threshold": 0}
    onnx.save(model, source, **save)
    with ThreadPoolExecutor(1) as pool:
        for outcome in (Outcome.FOLDED, Outcome.DONE_BEFORE):
            rows = fold_many([source], out, executor=pool, verify=False)
            assert outcomes(rows) == [outcome], rows
        data = bytearray((tmp_path / "large.data").read_bytes())
        data[:4] = np.float32(7).tobytes()
        (tmp_path / "large.data").write_bytes(data)
        rows = fold_many([source], out, executor=pool, verify=False)
        assert outcomes(rows) == [Outcome.FOLDED]
        (tmp_path / "large.data").unlink()
        rows = fold_many([source], out, executor=pool, verify=False)
        assert outcomes(rows) == [Outcome.FAILED]


def test_a_result_that_is_not_ours_is_not_replaced(models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.onnx").write_bytes(b"mine")
    with ThreadPoolExecutor(1) as pool:
        rows = fold_many(models[:1], out, executor=pool, verify=False)
        assert outcomes(rows) == [Outcome.FAILED]
        assert (out / "a.onnx").read_bytes() == b"mine"
        rows = fold_many(models[:1], out, executor=pool, verify=False, force=True)
        assert outcomes(rows) == [Outcome.FOLDED]
        # Changed by somebody since: it is no longer ours.
        (out / "a.onnx").write_bytes(b"mine again")
        rows = fold_many(models[:1], out, executor=pool, verify=False)
    assert outcomes(rows) == [Outcome.FAILED]


def test_a_missing_source_is_one_row(models: list[Path], tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        rows = fold_many([tmp_path / "none.onnx", models[0]], tmp_path / "out", executor=pool)
    assert outcomes(rows) == [Outcome.FAILED, Outcome.FOLDED]
    assert rows[0].exit_code == 2 and "cannot be read" in rows[0].error


def test_damaged_journal_is_no_obstacle(models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with ThreadPoolExecutor(1) as pool:
        fold_many(models[:1], out, executor=pool, verify=False)
        (out / JOURNAL / "a.onnx.json").write_text("{")
        rows = fold_many(models[:1], out, executor=pool, verify=False, force=True)
    assert outcomes(rows) == [Outcome.FOLDED]


def test_names_that_would_collide(models: list[Path], tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    (twin / "a.onnx").write_bytes(models[0].read_bytes())
    with pytest.raises(InputError, match="would both be written"):
        fold_many([models[0], twin / "a.onnx"], tmp_path / "out")
    with pytest.raises(InputError, match="replaced by its result"):
        fold_many([models[0]], tmp_path)
    with pytest.raises(InputError, match="no models"):
        fold_many([], tmp_path / "out")


def test_own_pool_of_processes(models: list[Path], tmp_path: Path) -> None:
    rows = fold_many(models, tmp_path / "out", jobs=2, verify=False)
    assert outcomes(rows) == [Outcome.FOLDED] * 3 + [Outcome.FAILED]


def test_a_worker_that_dies_is_one_row(models: list[Path], tmp_path: Path) -> None:
    class Dying(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
            def die() -> None:
                raise RuntimeError("killed")

            if args[0].source.endswith("b.onnx"):
                return super().submit(die)
            return super().submit(fn, *args, **kwargs)

    with Dying(1) as pool:
        rows = fold_many(models[:3], tmp_path / "out", executor=pool, verify=False)
    assert outcomes(rows) == [Outcome.FOLDED, Outcome.FAILED, Outcome.FOLDED]
    assert "the worker failed" in rows[1].error


def test_ctrl_c_stops_what_has_not_begun_and_the_rest_is_done_later(
    models: list[Path], tmp_path: Path
) -> None:
    def interrupt(row: Row) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as pool:
        fold_many(models[:3], out, executor=pool, verify=False, progress=interrupt)
    done = {path.name for path in out.glob("*.onnx")}
    assert "a.onnx" in done and not list(out.glob("*.tmp"))
    with ThreadPoolExecutor(1) as pool:
        rows = fold_many(models[:3], out, executor=pool, verify=False)
    assert {Path(row.output).name for row in rows if row.outcome is Outcome.DONE_BEFORE} == done
    assert all(row.outcome is Outcome.FOLDED for row in rows if Path(row.output).name not in done)


def test_a_distributed_engine(models: list[Path], tmp_path: Path) -> None:
    """Two worker processes of Dask: a row for each model, and the run is taken up elsewhere."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as pool,
    ):
        rows = fold_many([models[0], models[3]], tmp_path / "out", executor=pool, verify=False)
        assert outcomes(rows) == [Outcome.FOLDED, Outcome.FAILED]
        rows = fold_many(models, tmp_path / "out", executor=pool, verify=False)
    assert outcomes(rows) == [Outcome.DONE_BEFORE, *[Outcome.FOLDED] * 2, Outcome.FAILED]
    with ThreadPoolExecutor(1) as threads:
        rows = fold_many(models, tmp_path / "out", executor=threads, verify=False)
    assert outcomes(rows) == [Outcome.DONE_BEFORE] * 3 + [Outcome.FAILED]
