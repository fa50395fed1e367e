"""Which layers make floating-point numbers of whole ones although they change nothing else."""

from __future__ import annotations

# Layers of images that give their own dtype, whatever they are given; others leave bytes alone.
_GIVES_FLOATS = {
    2: frozenset({"RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation"})
    | {"RandomTranslation", "RandomZoom"},
    3: frozenset({"AugMix", "CutMix", "RandAugment", "RandomElasticTransform", "RandomErasing"})
    | {"RandomFlip", "RandomGaussianBlur", "RandomPerspective", "RandomRotation"}
    | {"RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom", "Solarization"},
}


def gives_floats(class_name: str, generation: int) -> bool:
    """Whether a layer that does nothing at inference gives its compute dtype all the same."""
    return class_name in _GIVES_FLOATS[generation]
