"""The table of model kinds: what each road does with each, for Keras 3 and Keras 2.

`test_kinds_table.py` holds every cell; `scripts/keras_kinds.py` writes the page from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.convert import zoo
from tests.convert.direct import kinds
from tests.convert.kinds import builders

READ, KERAS, DIRECT, TF2ONNX = "read", "to Keras", "to ONNX", "to ONNX by tf2onnx"
ROADS = (READ, KERAS, DIRECT, TF2ONNX)
GENERATIONS = (3, 2)


@dataclass(frozen=True)
class Kind:
    """A row of the table.

    Attributes:
        title: of the row.
        build: makes the model with the given Keras.
        source: "file", "live" or "saved model": what the roads are given.
        folds: how many of the normalization layers go: as Keras, and as ONNX where that differs.
        norms: how many there are.
        closed: road, or (road, generation), to why it cannot be taken: part of the message.
        relative: largest error, relative to the largest output.
        unsafe: whether a loader must be told to trust the file.
        note: what the page says beside the row.
    """

    title: str
    build: Callable[[Any], Any]
    folds: tuple[int, ...]
    norms: int
    source: str = "file"
    closed: Mapping[str | tuple[str, int], str] = field(default_factory=dict)
    relative: float = 2e-5
    unsafe: bool = False
    note: str = ""

    def why_closed(self, road: str, generation: int) -> str:
        """Why a road is closed to this kind; "" where it is open."""
        return self.closed.get((road, generation), self.closed.get(road, ""))


def _all_but_tf2onnx(why: str) -> dict[str | tuple[str, int], str]:
    return dict.fromkeys((READ, KERAS, DIRECT), why)


KINDS: tuple[Kind, ...] = (
    Kind("Sequential", zoo.dense_post, (2,), 2),
    Kind("Sequential without an input layer, built by its first call", kinds.deferred, (1,), 1),
    Kind(
        "Functional: outputs in another order, one twice, an input", zoo.two_in_three_out, (2,), 2
    ),
    Kind("Functional: dicts of inputs and outputs", zoo.dict_ports, (1,), 1),
    Kind("residual, squeeze and excitation", kinds.residual, (4,), 4),
    Kind("nested models", zoo.nested, (2,), 2),
    Kind(
        "nested models called several times",
        kinds.nested_twice,
        (0, 2),
        2,
        note="a layer that is called several times changes in Keras only where all its calls want "
        "the same; in ONNX each call has a kernel of its own.",
    ),
    Kind("shared layers", zoo.shared, (2,), 2),
    Kind("layers that are frozen", kinds.frozen, (3,), 3),
    Kind("operators (x + y, x[:, 1:])", zoo.operators, (1,), 1),
    Kind("TimeDistributed", zoo.time_distributed, (1,), 1),
    Kind("LSTM, GRU, Bidirectional", zoo.recurrent, (3,), 3),
    Kind("attention", zoo.attention, (1,), 2),
    Kind("masked sequences", builders.masked, (1,), 1),
    Kind("preprocessing: Rescaling, Normalization", zoo.preprocessing, (3,), 3),
    Kind("tabular: Normalization, Embedding, CategoryEncoding", builders.tabular, (2,), 2),
    Kind(
        "tabular: lookups that have learned their vocabulary",
        builders.learned,
        (1,),
        1,
        closed={TF2ONNX: "LookupTable"},
        note="tf2onnx writes tables from words to numbers only.",
    ),
    Kind("images: augmentation, Resizing, Rescaling", builders.image_pipeline, (2,), 2),
    Kind(
        "images of bytes: Resizing, Rescaling",
        builders.bytes_pipeline,
        (1, 2),
        2,
        note="in Keras the Rescaling stays, as it makes floating-point numbers of whole ones.",
    ),
    Kind("RL policy", builders.policy, (1,), 1),
    Kind("convolutions: strides, dilation, both paddings", zoo.conv_mixed, (3,), 3),
    Kind(
        "causal, gated (WaveNet)",
        builders.wavenet,
        (0,),
        2,
        note="a convolution that pads with zeros lets no shift in (BNF203), and two of them read "
        "each normalization.",
    ),
    Kind("grouped convolutions", zoo.grouped, (1,), 2),
    Kind("separable, depthwise", zoo.separable, (2,), 2),
    Kind("transposed (autoencoder)", builders.autoencoder, (2,), 2),
    Kind("U-Net, free width", builders.unet, (3,), 3),
    Kind("text recognition (CRNN)", builders.crnn, (2,), 2),
    Kind("Conv3D", zoo.conv3d, (1,), 1),
    Kind("free height and width", kinds.free_image, (1,), 1),
    Kind("free length", kinds.free_time, (1,), 1),
    Kind("a batch size that is fixed", kinds.fixed_batch, (0,), 0),
    Kind("channels first", builders.channels_first, (2,), 2),
    Kind("mixed_float16", kinds.mixed_float16, (1,), 1, relative=6e-3),
    Kind("float64", kinds.float64, (1,), 1, relative=1e-13),
    Kind(
        "called with training=True",
        builders.training_calls,
        (0, 1),
        1,
        closed={(DIRECT, 2): "training=True", (TF2ONNX, 2): "training=True"},
        note="Keras 3 predicts with the moving statistics all the same, Keras 2 with those of the "
        "batch; in Keras the layer stays as it is.",
    ),
    Kind(
        "custom layer",
        builders.custom_layer,
        (1,),
        1,
        closed={DIRECT: "not a layer"},
        note="written back untouched; tf2onnx needs `--custom-objects`.",
    ),
    Kind(
        "Lambda",
        builders.lambda_layer,
        (1,),
        1,
        closed={DIRECT: "not a layer"},
        unsafe=True,
        note="written back without being run; tf2onnx needs `--unsafe-load`.",
    ),
    Kind(
        "subclassed",
        builders.subclassed,
        (1,),
        1,
        source="live",
        closed=_all_but_tf2onnx("class of its own"),
        note="its computation is Python code: a live model, or a file with `--custom-objects`.",
    ),
    Kind(
        "SavedModel folder",
        zoo.dense_post,
        (2,),
        2,
        source="saved model",
        closed=_all_but_tf2onnx("SavedModel"),
        note="a TensorFlow graph without layers.",
    ),
)
