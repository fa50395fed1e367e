"""Inputs: drawn so that a model can run on them, or taken as they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from bnfold.core.errors import InputError
from bnfold.verify.inputs import (
    NoInputsError,
    generate_inputs,
    load_inputs,
    rows_of,
    save_feed,
)
from bnfold.verify.prepare import prepare
from bnfold.verify.roles import Kind, roles_of
from tests.verify.pairs import forward


def model(inputs: str, body: str = "", weights: str = "", outputs: str = "float[N] y") -> ir.Model:
    body = body or "y = Constant <value_float: float = 1.0> ()"
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> m ({inputs}) => ({outputs}) {weights} '
        f"{{ {body} }}"
    )


# ------------------------------------------------------------------ generated


def test_rows_add_up_and_batches_differ() -> None:
    feeds = generate_inputs(model("float[N, 4] x"), samples=30)
    assert [rows_of(feed) for feed in feeds] == [1, 3, 8, 8, 8, 2]
    assert all(feed["x"].dtype == np.float32 for feed in feeds)


def test_a_fixed_batch_is_kept() -> None:
    feeds = generate_inputs(model("float[4, 3] x"), samples=10)
    assert [feed["x"].shape for feed in feeds] == [(4, 3)] * 3


def test_a_normalization_tells_how_many_channels_there_are() -> None:
    made = model(
        "float[N, C, H, W] x",
        "y = BatchNormalization (x, s, s, s, s)",
        "<float[5] s = {1, 2, 3, 4, 5}>",
        "float[N, C, H, W] y",
    )
    feeds = generate_inputs(made, samples=12, accepts=lambda feed: feed["x"].shape[1] == 5)
    assert {feed["x"].shape[1] for feed in feeds} == {5}


def test_inputs_that_share_a_symbol_share_its_size() -> None:
    made = model("float[N, T, 4] x, float[N, T] m, float[B, 2] z")
    feeds = generate_inputs(made, samples=12, accepts=lambda feed: True)
    assert len({feed["x"].shape[1] for feed in feeds}) > 1  # several sizes
    for feed in feeds:
        assert feed["x"].shape[:2] == feed["m"].shape
        assert feed["z"].shape[0] == feed["x"].shape[0]  # every leading symbol is the batch


def test_the_same_seed_draws_the_same() -> None:
    once, again, other = (
        generate_inputs(model("float[N, 4] x"), seed=s)[2]["x"] for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


def test_integers_stay_inside_the_table_they_index() -> None:
    """Through a Cast and a Reshape, and the smallest of two tables counts."""
    made = model(
        "int64[N, 3] i, int32[N] j",
        "f = Cast <to: int = 6> (i)  g = Gather <axis: int = 0> (table, f) "
        "h = Gather <axis: int = 1> (other, f)  k = Unsqueeze (j, axes) "
        "l = Gather (other, k)  y = ReduceSum (g)",
        "<float[7, 2] table = {1,2,3,4,5,6,7,8,9,10,11,12,13,14}, float[2, 5] other ="
        " {1,2,3,4,5,6,7,8,9,10}, int64[1] axes = {1}>",
    )
    roles = {role.name: role for role in roles_of(made)}
    assert (roles["i"].kind, roles["i"].limit) == (Kind.INTEGER, 5)
    assert roles["j"].limit == 2
    feeds = generate_inputs(made, samples=64)
    values = np.concatenate([feed["i"].ravel() for feed in feeds])
    assert values.min() == 0 and values.max() == 4
    assert feeds[0]["j"].dtype == np.int32


def test_floats_that_index_are_whole_numbers() -> None:
    made = model(
        "float[N] x",
        "i = Cast <to: int = 7> (x)  y = Gather (table, i)",
        "<float[3] table = {1, 2, 3}>",
    )
    for feed in generate_inputs(made, samples=20):
        assert set(feed["x"].ravel()) <= {0.0, 1.0, 2.0}


def test_masks_booleans_bytes_and_text() -> None:
    made = model("int64[N, 6] attention_mask, bool[N] flag, uint8[N, 4] image, string[N] words")
    feeds = generate_inputs(made, samples=64)
    mask = np.concatenate([feed["attention_mask"] for feed in feeds])
    assert set(mask.ravel()) == {0, 1} and (np.diff(mask, axis=1) <= 0).all()
    assert {bool(v) for feed in feeds for v in feed["flag"]} == {True, False}
    image = np.concatenate([feed["image"] for feed in feeds])
    assert image.dtype == np.uint8 and image.max() > 200
    assert feeds[0]["words"].dtype == object


def test_sequence_lengths_do_not_exceed_the_sequence() -> None:
    made = model(
        "float[T, N, 3] x, int32[N] lengths, float[1, 6, 3] w, float[1, 6, 2] r",
        "y = GRU <hidden_size: int = 2> (x, w, r, , lengths)",
    )
    assert {r.name: r.kind for r in roles_of(made)}["lengths"] is Kind.LENGTH
    for feed in generate_inputs(made, samples=16):
        assert 1 <= feed["lengths"].min() <= feed["lengths"].max() <= feed["x"].shape[0]


def test_a_normalization_says_what_its_data_look_like() -> None:
    made = forward(4).original
    (role,) = roles_of(made)
    weights = made.graph.initializers
    mean, variance = (weights[f"n_{k}"].const_value.numpy() for k in ("mean", "variance"))
    np.testing.assert_allclose(np.ravel(role.mean), mean)
    np.testing.assert_allclose(np.ravel(role.std), np.sqrt(variance), rtol=1e-6)
    rows = np.concatenate([feed["x"] for feed in generate_inputs(made, samples=2000)])
    np.testing.assert_allclose(rows.mean(axis=0), mean, atol=0.35)


@pytest.mark.parametrize(
    ("body", "mean", "std"),
    [
        ("a = Sub (x, m)  y = Div (a, s)", [1.0, 2.0], [4.0, 0.5]),
        ("a = Sub (x, m)  y = Mul (a, s)", [1.0, 2.0], [0.25, 2.0]),
        ("y = Mul (x, s)", [0.0], [0.25, 2.0]),
        ("y = Relu (x)", [0.0], [1.0]),
    ],
)
def test_scalers_say_so_too(body: str, mean: list[float], std: list[float]) -> None:
    made = model("float[N, 2] x", body, "<float[2] m = {1, 2}, float[2] s = {4, 0.5}>")
    (role,) = roles_of(made)
    np.testing.assert_allclose(np.ravel(role.mean), mean)
    np.testing.assert_allclose(np.ravel(role.std), std)


def test_only_sizes_that_run_are_used() -> None:
    """The product fixes a dimension that the interface leaves open."""
    made = model(
        "float[N, K] x",
        "y = MatMul (x, w)",
        "<float[16, 1] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}>",
        "float[N, 1] y",
    )
    feeds = generate_inputs(made, samples=8, accepts=prepare(made, made, None, None).runs)
    assert {feed["x"].shape[1] for feed in feeds} == {16}
    with pytest.raises(NoInputsError, match="runs on none of"):
        generate_inputs(made, accepts=lambda feed: False)


@pytest.mark.parametrize("declared", ["seq(float[2]) x", "float x_ignored, optional(float) x"])
def test_what_cannot_be_drawn_is_said(declared: str) -> None:
    with pytest.raises(NoInputsError, match=r"'x'.*Give inputs of your own"):
        generate_inputs(model(declared))


def test_overridable_initializers_are_fed_sometimes() -> None:
    made = model("float[N] x, float[2] w", "y = Neg (x)", "<float[2] w = {1, 2}>")
    feeds = generate_inputs(made)
    assert [len(feed) for feed in feeds[:5]] == [1, 2, 1, 1, 2]
    assert feeds[1]["w"].shape == (2,) and feeds[1]["w"].dtype == np.float32
    assert not np.array_equal(feeds[1]["w"], [1, 2])
    assert all(len(feed) == 1 for feed in generate_inputs(made, overrides=False))
    picky = generate_inputs(made, accepts=lambda feed: "w" not in feed)
    assert all(len(feed) == 1 for feed in picky)


# ------------------------------------------------------------------ the user's own

TWO = model("float[N, 2] a, int64[N] b")
ONE = model("float[N, 2] a")
A, B = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([1, 2, 3])


def test_arrays_by_name_are_used_as_they_are() -> None:
    (feed,) = load_inputs({"a": A, "b": B}, TWO)
    assert feed["a"] is A and feed["b"] is B


def test_arrays_in_order_and_a_single_array() -> None:
    assert list(load_inputs([A, B], TWO)[0]) == ["a", "b"]
    assert load_inputs(A, ONE)[0]["a"] is A


def test_an_iterable_gives_a_feed_each() -> None:
    feeds = load_inputs(({"a": A + k, "b": B} for k in range(4)), TWO)
    assert len(feeds) == 4
    np.testing.assert_array_equal(feeds[3]["a"], A + 3)
    assert len(load_inputs([[A, B], {"b": B, "a": A}], TWO)) == 2


def test_npz_and_npy(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", a=A, b=B)
    np.save(tmp_path / "in.npy", A)
    np.testing.assert_array_equal(load_inputs(tmp_path / "in.npz", TWO)[0]["b"], B)
    np.testing.assert_array_equal(load_inputs(str(tmp_path / "in.npy"), ONE)[0]["a"], A)


def test_test_data_set_folders(tmp_path: Path) -> None:
    for number in range(11):
        folder = tmp_path / f"test_data_set_{number}"
        folder.mkdir()
        for index, (name, array) in enumerate((("a", A + number), ("b", B))):
            tensor = numpy_helper.from_array(array, name)
            (folder / f"input_{index}.pb").write_bytes(tensor.SerializeToString())
        (folder / "output_0.pb").write_bytes(b"ignored")
    feeds = load_inputs(tmp_path, TWO)
    assert [feed["a"][0, 0] for feed in feeds] == list(range(11))  # in the order of numbers
    assert len(load_inputs(tmp_path / "test_data_set_3", TWO)) == 1


def test_unnamed_tensors_of_a_folder_go_by_position(tmp_path: Path) -> None:
    for index, array in enumerate((A, B)):
        data = numpy_helper.from_array(array).SerializeToString()
        (tmp_path / f"input_{index}.pb").write_bytes(data)
    np.testing.assert_array_equal(load_inputs(tmp_path, TWO)[0]["b"], B)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"a": A}, "lack 'b'"),
        ({"a": A, "b": B, "c": B}, "no input 'c'; it has a, b"),
        ([A], "1 input arrays were given, but the model has 2 inputs: a, b"),
        (iter(()), "are empty"),
        (3.5j, "cannot be read from complex"),
        ({"a": [[1], [1, 2]], "b": B}, "is not an array"),
    ],
)
def test_unusable_inputs_get_one_clear_line(given: object, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        load_inputs(given, TWO)
    assert "\n" not in str(caught.value)


def test_unusable_files_get_one_clear_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"not an archive")
    (tmp_path / "input_0.pb").write_bytes(b"\xff\xff")
    pickled = tmp_path / "pickled.npy"
    np.save(pickled, np.array([{"run": "me"}], dtype=object), allow_pickle=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (bad, tmp_path, pickled, empty, tmp_path / "missing.npz"):
        with pytest.raises(InputError, match=str(path)):
            load_inputs(path, ONE)


def test_a_saved_feed_is_read_back(tmp_path: Path) -> None:
    feed = {"a": A.astype(np.float16), "b": np.array(["x", "yz"], dtype=object)}
    path = save_feed(feed, tmp_path / "deep" / "feed")
    (again,) = load_inputs(path, model("float16[N, 2] a, string[M] b"))
    assert path.suffix == ".npz"
    assert again["a"].dtype == np.float16 and again["b"].dtype == object
    np.testing.assert_array_equal(again["b"], feed["b"])
