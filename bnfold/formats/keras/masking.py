"""Which layers make, pass on and drop the masks of sequences."""

from __future__ import annotations

from bnfold.formats.keras.graph import Layer

# Layers that pass a mask on as it is; all others drop it, or have a way of their own.
_CARRY = {"ActivityRegularization", "AlphaDropout", "BatchNormalization", "BatchNormalizationV1"}
_CARRY |= {"BatchNormalizationV2", "Dense", "Dropout", "GaussianDropout", "GaussianNoise"}
_CARRY |= {"GroupNormalization", "LayerNormalization", "SpatialDropout1D", "SpatialDropout2D"}
_CARRY |= {"SpatialDropout3D", "SyncBatchNormalization", "UnitNormalization"}
_CARRY |= {"Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU"}
_CARRY_3 = frozenset({"Identity", "Normalization", "Rescaling"})
# Layers whose results have masks that their own rules make.
OWN_MASKS = frozenset({"Add", "AdditiveAttention", "Attention", "Average", "Bidirectional"})
OWN_MASKS |= {"Concatenate", "Embedding", "GRU", "GRUV1", "GroupQueryAttention", "LSTM", "LSTMV1"}
OWN_MASKS |= {"GroupedQueryAttention", "Masking", "Maximum", "Minimum", "MultiHeadAttention"}
OWN_MASKS |= {"Multiply", "Pipeline", "RNN", "ReversibleEmbedding", "SimpleRNN", "Subtract"}
OWN_MASKS |= {"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "SpectralNormalization"}
OWN_MASKS |= {"TimeDistributed"}


def carries_mask(layer: Layer, generation: int) -> bool:
    """Whether Keras lets the mask of the input be that of the output."""
    name = layer.class_name
    if layer.is_operator:
        return False
    return layer.is_own and (name in _CARRY or (generation == 3 and name in _CARRY_3))


def may_be_masked(layer: Layer, generation: int, from_input: bool) -> bool:
    """Whether a result may carry a mask; ``from_input`` says whether an input may.

    What is not known may do anything with it.
    """
    name = layer.class_name
    embeds = name in ("Embedding", "ReversibleEmbedding")
    if name == "Masking" or (embeds and layer.config.get("mask_zero")):
        return True
    # The operators of Keras 3 lose masks, although some have the names of layers that do not.
    if not from_input or layer.is_operator:
        return False
    return not layer.is_own or name in OWN_MASKS or carries_mask(layer, generation)
