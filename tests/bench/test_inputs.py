"""Generated and given inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.bench.inputs import Slot, given_feeds, make_feeds, slots_of
from bnfold.core.errors import InputError

Builder = Callable[..., ir.Model]
IMAGE = Slot("image", "FLOAT", ("N", 3, None, "width"))


def test_slots_are_the_inputs_without_a_constant_behind_them(build: Builder) -> None:
    model = build()
    model.graph.inputs.append(model.graph.initializers["w"])
    assert slots_of(model) == (Slot("x", "FLOAT", ("N", 8)),)


def test_a_sequence_is_no_slot(build: Builder) -> None:
    model = build()
    model.graph.inputs[0].type = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    with pytest.raises(InputError, match="'x' is not a dense tensor"):
        slots_of(model)


def test_batches_take_the_first_symbolic_dimension_and_defaults_are_named() -> None:
    one, many = make_feeds([IMAGE], [1, 32], {"width": 20}, seed=3)
    assert one.arrays["image"].shape == (1, 3, 224, 20)
    assert many.arrays["image"].shape == (32, 3, 224, 20)
    assert (one.batch, many.batch) == (1, 32)
    assert one.lines == ("image: float32 [1, 3, 224, 20], generated, dimension 2=224 by default",)


def test_the_batch_symbol_means_the_same_everywhere() -> None:
    slots = [Slot("a", "FLOAT", ("N", 4)), Slot("mask", "BOOL", (1, "N"))]
    (feeds,) = make_feeds(slots, [5], {}, seed=0)
    assert feeds.arrays["mask"].shape == (1, 5)


def test_a_fixed_batch_is_measured_once_and_reported_as_it_is() -> None:
    (feeds,) = make_feeds([Slot("x", "FLOAT", (8, 4))], [1, 32, 1024], {}, seed=0)
    assert feeds.batch == 8
    assert feeds.arrays["x"].shape == (8, 4)


def test_a_batch_symbol_set_by_dims_is_fixed() -> None:
    (feeds,) = make_feeds([Slot("x", "FLOAT", ("N", 4))], [1, 32], {"N": 7}, seed=0)
    assert feeds.batch == 7


@pytest.mark.parametrize(
    ("dtype", "numpy"),
    [
        ("FLOAT", "float32"),
        ("DOUBLE", "float64"),
        ("FLOAT16", "float16"),
        ("INT64", "int64"),
        ("UINT8", "uint8"),
        ("BOOL", "bool"),
    ],
)
def test_types_and_values(dtype: str, numpy: str) -> None:
    (feeds,) = make_feeds([Slot("x", dtype, ("N", 500))], [2], {}, seed=0)
    array = feeds.arrays["x"]
    assert array.dtype == np.dtype(numpy)
    if numpy.startswith("float"):
        assert abs(float(array.astype(np.float64).mean())) < 0.15
        assert 0.85 < float(array.astype(np.float64).std()) < 1.15
    else:
        assert set(np.unique(array)) == {0, 1}


def test_a_seed_gives_the_same_arrays_and_another_seed_others() -> None:
    first, again, other = (make_feeds([IMAGE], [1], {}, seed=s)[0].arrays for s in (1, 1, 2))
    assert np.array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], other["image"])


@pytest.mark.parametrize(
    ("slot", "dims", "message"),
    [
        (Slot("s", "STRING", ("N",)), {}, "'s' has type string"),
        (Slot("s", "FLOAT", None), {}, "rank of input 's'"),
        (Slot("s", "FLOAT", ("N", "T")), {"Q": 3}, "'Q' .symbolic ones: N, T"),
        (Slot("s", "FLOAT", (2,)), {"Q": 3}, "none, all are fixed"),
        (Slot("s", "FLOAT", ("N", "T")), {"T": 0}, "'T' must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_generated_is_said(slot: Slot, dims: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_feeds([slot], [1], dims, seed=0)


def test_given_inputs_are_used_as_they_are() -> None:
    image = np.zeros((6, 3, 2, 2), np.float32)
    feeds = given_feeds([IMAGE], {"image": image})
    assert feeds.batch == 6
    assert feeds.arrays["image"] is image
    assert feeds.lines == ("image: float32 [6, 3, 2, 2], given",)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "no array given for input 'image'"),
        ({"image": np.zeros(1), "extra": np.zeros(1)}, "no input called 'extra'"),
        ({"image": np.array([None])}, "Python objects"),
    ],
)
def test_given_inputs_must_fit_the_interface(inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        given_feeds([IMAGE], inputs)
