"""The table of models: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import onnx

from benchmarks import keras_models, onnx_models

#: Builds the net with its normalizations (True) or its BN-free twin (False).
Build = Callable[[bool], onnx.ModelProto]


@dataclass(frozen=True)
class Case:
    """A model of the suite.

    Attributes:
        name: in tables, plots and on the command line.
        what: its structure in one line.
        keras: True when it needs TensorFlow and Keras to be built.
        build: makes it.
    """

    name: str
    what: str
    keras: bool
    build: Build


def _case(name: str, build: Build, *, keras: bool = False) -> Case:
    function = build.func if isinstance(build, partial) else build
    what = (function.__doc__ or "").splitlines()[0]
    return Case(name, what, keras, build)


CASES = (
    _case("classic-post", keras_models.classic_post_activation, keras=True),
    _case("classic-pre", keras_models.classic_pre_activation, keras=True),
    _case("mlp-3x256", partial(onnx_models.mlp, depth=3, width=256)),
    _case("mlp-20x64", partial(onnx_models.mlp, depth=20, width=64)),
    _case("mlp-3x1024", partial(onnx_models.mlp, depth=3, width=1024)),
    _case("mlp-post-3x256", onnx_models.post_activation_mlp),
    _case("autoencoder", onnx_models.autoencoder),
    _case("rl-policy", onnx_models.rl_policy),
    _case("conv-bn", onnx_models.conv_net),
    _case("conv-relu-pool-bn", onnx_models.conv_then_bn),
    _case("resnet20-v2", onnx_models.pre_activation_resnet),
    _case("mobilenet", onnx_models.mobilenet),
    _case("keras-separable", keras_models.separable, keras=True),
    _case("keras-conv1d", keras_models.conv1d, keras=True),
    _case("keras-lstm", keras_models.lstm, keras=True),
    _case("keras-tabular", keras_models.tabular, keras=True),
    _case("keras-mixed-float16", keras_models.mixed_precision, keras=True),
)
