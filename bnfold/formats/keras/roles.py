"""Which arrays a layer of a known class has, in the order in which Keras keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bnfold.formats.keras.graph import Layer

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Role:
    """One array.

    Attributes:
        name: what it is for: "kernel", "query/bias".
        trainable: whether Keras counts it among the trainable ones (it lists those first).
        holders: attributes of the layer, either of which is the object that keeps it; () where
            the layer itself does.
    """

    name: str
    trainable: bool = True
    holders: tuple[str, ...] = ()


def _plain(*names: str) -> Callable[[Config], tuple[Role, ...]]:
    """These arrays; the bias only where the config says so."""

    def roles(config: Config) -> tuple[Role, ...]:
        biased = config.get("use_bias", True)
        return tuple(Role(name) for name in names if name != "bias" or biased)

    return roles


def _cell(config: Config) -> tuple[Role, ...]:
    return tuple(Role(role.name, True, ("cell",)) for role in _RECURRENT(config))


def _batch_norm(config: Config) -> tuple[Role, ...]:
    names = [
        name for name, key in (("gamma", "scale"), ("beta", "center")) if config.get(key, True)
    ]
    fixed = ["moving_mean", "moving_variance"]
    if config.get("renorm"):
        fixed += ["moving_stddev", "renorm_mean", "renorm_stddev"]
    return tuple(Role(name) for name in names) + tuple(Role(name, False) for name in fixed)


def _scale_center(config: Config) -> tuple[Role, ...]:
    # rms_scaling keeps no beta, whatever "center" says.
    beta = config.get("center", True) and not config.get("rms_scaling")
    gamma = config.get("scale", True) or config.get("rms_scaling")
    return tuple(Role(name) for name, has in (("gamma", gamma), ("beta", beta)) if has)


def _normalization(config: Config) -> tuple[Role, ...]:
    if config.get("mean") is not None:
        return ()
    return tuple(Role(name, False) for name in ("mean", "variance", "count"))


def _einsum(config: Config) -> tuple[Role, ...]:
    return (Role("kernel"), Role("bias")) if config.get("bias_axes") else (Role("kernel"),)


def _multi_head(config: Config) -> tuple[Role, ...]:
    parts = ["query", "key"] + (["gate"] if config.get("use_gate") else []) + ["value", "output"]
    return tuple(
        Role(f"{part}/{role.name}", True, (f"{part}_dense", f"_{part}_dense"))
        for part in parts
        for role in _plain("kernel", "bias")(config)
    )


def _attention(config: Config) -> tuple[Role, ...]:
    names = ["scale"] if config.get("use_scale") else []
    if config.get("score_mode") == "concat":
        names.append("concat_score_weight")
    return tuple(Role(name) for name in names)


def _additive(config: Config) -> tuple[Role, ...]:
    return (Role("scale"),) if config.get("use_scale", True) else ()


def _reversible(config: Config) -> tuple[Role, ...]:
    tied = config.get("tie_weights", True)
    return (Role("embeddings"),) if tied else (Role("embeddings"), Role("reverse_embeddings"))


def _stft(config: Config) -> tuple[Role, ...]:
    others = {"real": "imag", "imag": "real"}
    mode = config.get("mode")
    return tuple(Role(f"{name}_kernel") for name, other in others.items() if mode != other)


def _spectral(config: Config) -> tuple[Role, ...]:
    return (Role("vector_u", False),)


_CONV = _plain("kernel", "bias")
_RECURRENT = _plain("kernel", "recurrent_kernel", "bias")
_SEPARABLE = _plain("depthwise_kernel", "pointwise_kernel", "bias")

_ROLES: Mapping[str, Callable[[Config], tuple[Role, ...]]] = {
    "AdditiveAttention": _additive,
    "Attention": _attention,
    "BatchNormalization": _batch_norm,
    "BatchNormalizationV1": _batch_norm,
    "BatchNormalizationV2": _batch_norm,
    "SyncBatchNormalization": _batch_norm,
    "Conv1D": _CONV,
    "Conv2D": _CONV,
    "Conv3D": _CONV,
    "Convolution1D": _CONV,
    "Convolution2D": _CONV,
    "Conv1DTranspose": _CONV,
    "Conv2DTranspose": _CONV,
    "Conv3DTranspose": _CONV,
    "ConvLSTM1D": _cell,
    "ConvLSTM2D": _cell,
    "ConvLSTM3D": _cell,
    "Dense": _CONV,
    "DepthwiseConv1D": _CONV,
    "DepthwiseConv2D": _CONV,
    "EinsumDense": _einsum,
    "Embedding": _plain("embeddings"),
    "GRU": _cell,
    "GRUCell": _RECURRENT,
    "GRUV1": _cell,
    "GroupNormalization": _scale_center,
    "GroupQueryAttention": _multi_head,
    "GroupedQueryAttention": _multi_head,
    "LSTM": _cell,
    "LSTMCell": _RECURRENT,
    "LSTMV1": _cell,
    "LayerNormalization": _scale_center,
    "LayerScale": _plain("gamma"),
    "LocallyConnected1D": _CONV,
    "LocallyConnected2D": _CONV,
    "MultiHeadAttention": _multi_head,
    "Normalization": _normalization,
    "PReLU": _plain("alpha"),
    "ReversibleEmbedding": _reversible,
    "RMSNormalization": _plain("scale"),
    "STFTSpectrogram": _stft,
    "SeparableConv1D": _SEPARABLE,
    "SeparableConv2D": _SEPARABLE,
    "SimpleRNN": _cell,
    "SimpleRNNCell": _RECURRENT,
    "SpectralNormalization": _spectral,
}

# Keras's own layers that keep arrays of which this table says nothing.
_OTHER_NAMES = """
    CuDNNGRU CuDNNLSTM HashedCrossing RandomFourierFeatures TFSMLayer TextVectorization
    TorchModuleWrapper FlaxLayer JaxLayer VectorQuantizer Lambda
"""
_OTHERS = frozenset(_OTHER_NAMES.split())


def is_application_layer(layer: Layer) -> bool:
    """Whether the class is one that Keras defines beside its layers, for its applications."""
    bare = layer.class_name.rpartition(">")[2]
    return bare in _APPLICATION_LAYERS and ".applications." in layer.module


_APPLICATION_LAYERS = frozenset({"CustomScaleLayer", "LayerScale", "StochasticDepth"})


def roles(layer: Layer) -> tuple[Role, ...] | None:
    """The arrays that the layer itself keeps; None where its class is not known.

    Layers inside it (`parts`, `graph`) keep their own.
    """
    if layer.is_operator:
        return ()
    bare = layer.class_name.rpartition(">")[2]
    if not (layer.is_own or is_application_layer(layer)) or layer.class_name in _OTHERS:
        return None
    known = _ROLES.get(bare)
    return known(layer.config) if known is not None else ()
