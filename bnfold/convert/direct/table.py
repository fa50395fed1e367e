"""The emission table: layer class to rule. A layer in none of its rows has no direct road."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bnfold.convert.direct import (
    activations,
    attention,
    audio,
    convolutions,
    dense,
    masks,
    merging,
    normalizations,
    preprocessing,
    recurrent,
    shaping,
    tf_operators,
)
from bnfold.convert.direct.activations import ACTIVATION_LAYERS, is_known_activation
from bnfold.convert.direct.operators import OPERATORS, operator
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor
from bnfold.formats.keras.graph import Layer
from bnfold.formats.keras.operator_calls import is_known
from bnfold.formats.keras.roles import is_application_layer

Rule = Callable[[Site], "Tensor | list[Tensor]"]

LAYERS: Mapping[str, Rule] = {
    **ACTIVATION_LAYERS,
    "ActivityRegularization": shaping.identity,
    "Add": merging.merge("Add"),
    "AdditiveAttention": attention.attention,
    "AlphaDropout": shaping.random_only,
    "Attention": attention.attention,
    "AugMix": shaping.random_only,
    "Average": merging.average,
    "AveragePooling1D": shaping.pooling("AveragePool"),
    "AveragePooling2D": shaping.pooling("AveragePool"),
    "AveragePooling3D": shaping.pooling("AveragePool"),
    "BatchNormalization": normalizations.batch_norm,
    "BatchNormalizationV1": normalizations.batch_norm,
    "BatchNormalizationV2": normalizations.batch_norm,
    "Bidirectional": recurrent.bidirectional,
    "CategoryEncoding": preprocessing.category_encoding,
    "CenterCrop": preprocessing.center_crop,
    "Concatenate": merging.concatenate,
    "Conv1D": convolutions.conv,
    "Conv1DTranspose": convolutions.transposed,
    "Conv2D": convolutions.conv,
    "Conv2DTranspose": convolutions.transposed,
    "Conv3D": convolutions.conv,
    "Conv3DTranspose": convolutions.transposed,
    "Convolution1D": convolutions.conv,
    "Convolution2D": convolutions.conv,
    "Convolution3D": convolutions.conv,
    "Cropping1D": shaping.cropping,
    "Cropping2D": shaping.cropping,
    "Cropping3D": shaping.cropping,
    "CustomScaleLayer": merging.custom_scale,
    "Dense": dense.dense,
    "DepthwiseConv1D": convolutions.depthwise,
    "DepthwiseConv2D": convolutions.depthwise,
    "Discretization": preprocessing.discretization,
    "Dot": merging.dot,
    "Dropout": shaping.random_only,
    "EinsumDense": dense.einsum_dense,
    "Embedding": dense.embedding,
    "Flatten": shaping.flatten_layer,
    "GRU": recurrent.recurrent,
    "GRUV1": recurrent.recurrent,
    "GaussianDropout": shaping.random_only,
    "GaussianNoise": shaping.random_only,
    "GlobalAveragePooling1D": shaping.global_pooling("GlobalAveragePool", "ReduceMean"),
    "GlobalAveragePooling2D": shaping.global_pooling("GlobalAveragePool", "ReduceMean"),
    "GlobalAveragePooling3D": shaping.global_pooling("GlobalAveragePool", "ReduceMean"),
    "GlobalMaxPooling1D": shaping.global_pooling("GlobalMaxPool", "ReduceMax"),
    "GlobalMaxPooling2D": shaping.global_pooling("GlobalMaxPool", "ReduceMax"),
    "GlobalMaxPooling3D": shaping.global_pooling("GlobalMaxPool", "ReduceMax"),
    "GroupNormalization": normalizations.group_norm,
    "GroupQueryAttention": attention.grouped_query,
    "GroupedQueryAttention": attention.grouped_query,
    "Identity": shaping.identity,
    "IntegerLookup": preprocessing.lookup,
    "LSTM": recurrent.recurrent,
    "LSTMV1": recurrent.recurrent,
    "LayerNormalization": normalizations.layer_norm,
    "LayerScale": normalizations.layer_scale,
    "Masking": masks.masking,
    "MaxPooling1D": shaping.pooling("MaxPool"),
    "MaxPooling2D": shaping.pooling("MaxPool"),
    "MaxPooling3D": shaping.pooling("MaxPool"),
    "Maximum": merging.merge("Max"),
    "MelSpectrogram": audio.mel_spectrogram,
    "Minimum": merging.merge("Min"),
    "MultiHeadAttention": attention.multi_head,
    "Multiply": merging.merge("Mul"),
    "Normalization": normalizations.normalization,
    "Permute": shaping.permute_layer,
    "RMSNormalization": normalizations.rms_norm,
    "RandAugment": shaping.random_only,
    "RandomBrightness": shaping.random_only,
    "RandomColorDegeneration": shaping.random_only,
    "RandomColorJitter": shaping.random_only,
    "RandomContrast": shaping.random_only,
    "RandomElasticTransform": shaping.random_only,
    "RandomErasing": shaping.random_only,
    "RandomFlip": shaping.random_only,
    "RandomGaussianBlur": shaping.random_only,
    "RandomGrayscale": shaping.random_only,
    "RandomHeight": shaping.random_only,
    "RandomHue": shaping.random_only,
    "RandomInvert": shaping.random_only,
    "RandomPerspective": shaping.random_only,
    "RandomPosterization": shaping.random_only,
    "RandomRotation": shaping.random_only,
    "RandomSaturation": shaping.random_only,
    "RandomSharpness": shaping.random_only,
    "RandomShear": shaping.random_only,
    "RandomTranslation": shaping.random_only,
    "RandomWidth": shaping.random_only,
    "RandomZoom": shaping.random_only,
    "RepeatVector": shaping.repeat_vector,
    "Rescaling": normalizations.rescaling,
    "Reshape": shaping.reshape_layer,
    "Resizing": preprocessing.resizing,
    "STFTSpectrogram": audio.stft_spectrogram,
    "SeparableConv1D": convolutions.separable,
    "SeparableConv2D": convolutions.separable,
    "SimpleRNN": recurrent.recurrent,
    "SlicingOpLambda": tf_operators.tf_operator,
    "SpatialDropout1D": shaping.random_only,
    "SpatialDropout2D": shaping.random_only,
    "SpatialDropout3D": shaping.random_only,
    "StochasticDepth": shaping.random_only,
    "StringLookup": preprocessing.lookup,
    "Subtract": merging.subtract,
    "SyncBatchNormalization": normalizations.batch_norm,
    "TFDConcat": merging.concatenate,
    "TFDIdentity": shaping.identity,
    "TFOpLambda": tf_operators.tf_operator,
    "UnitNormalization": normalizations.unit_norm,
    "UpSampling1D": shaping.upsampling,
    "UpSampling2D": shaping.upsampling,
    "UpSampling3D": shaping.upsampling,
    "ZeroPadding1D": shaping.zero_padding,
    "ZeroPadding2D": shaping.zero_padding,
    "ZeroPadding3D": shaping.zero_padding,
}

WRAPPERS = frozenset({"SpectralNormalization", "TimeDistributed"})


def rule_of(layer: Layer) -> Rule | None:
    """The layer's rule; None if there is none (wrappers and nested models have none here)."""
    if layer.is_operator:
        return operator if layer.class_name in OPERATORS else None
    if not layer.is_own and not is_application_layer(layer):
        return None
    return LAYERS.get(layer.class_name.rpartition(">")[2])


def why_unsupported(layer: Layer) -> str:
    """Why a layer cannot be emitted, as the end of a sentence; "" where it can."""
    if layer.policy.quantized:
        return f"is quantized ({layer.policy.quantized}), for which there is no rule"
    if layer.class_name == "InputLayer" or (layer.graph is not None and layer.is_own):
        return ""
    if layer.is_own and layer.class_name in WRAPPERS:
        return next((why for part in layer.parts.values() if (why := why_unsupported(part))), "")
    if rule_of(layer) is None:
        return "is not a layer that the direct converter knows"
    if layer.class_name in ("TFOpLambda", "SlicingOpLambda"):
        function = str(layer.config.get("function", "__operators__.getitem"))
        if not is_known(function):
            return f"calls tf.{function}, for which there is no rule"
    spec = layer.config.get("activation")
    if "activation" in layer.config and not is_known_activation(spec):
        return f"has the activation {activations.activation_name(spec)!r}, which has no rule"
    return ""
