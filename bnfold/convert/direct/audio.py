"""Spectrograms: the Fourier transform of windows of a signal as one convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnfold.convert.direct.convolutions import is_channels_first, result_of
from bnfold.convert.direct.dense import last_axis_product
from bnfold.convert.direct.layout import reshape, transpose, value
from bnfold.convert.direct.ops import cast, concat, elementwise, pad, reduce, scalar, slices, unary
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, plain
from bnfold.formats.keras.geometry import Window
from bnfold.formats.keras.graph import AnyArray

_EPSILON = 1e-7


def stft_spectrogram(site: Site) -> Tensor:
    """STFTSpectrogram: its kernels are weights."""
    x, config = site.input, site.config
    mode, length = str(config.get("mode", "log")), int(config.get("frame_length", 256))
    first = is_channels_first(site)
    channels, time = (x.shape[1], x.shape[2]) if first else (x.shape[2], x.shape[1])
    if mode == "angle" or not isinstance(channels, int):
        raise site.unsupported("gives angles, or is given an unknown number of channels")
    signal = x if first else transpose(site, x, (0, 2, 1))
    batch = x.shape[0]
    merged: Dim = batch if channels == 1 else site.emitter.fresh_dim()
    if isinstance(batch, int):
        merged = batch * channels
    signal = reshape(site, signal, (merged, 1, time))
    window = Window(
        (length,), (int(config.get("frame_step") or length // 2),), (1,), str(config["padding"])
    )
    names = [name for name, other in (("real", "imag"), ("imag", "real")) if mode != other]
    parts = []
    for name in names:
        kernel = site.weight(f"{name}_kernel", (length, 1, None)).transpose(2, 1, 0)
        parts.append(_conv(site, signal, kernel, window, name))
    y = _combined(site, mode, parts)
    bins, steps = y.shape[1], y.shape[2]
    if not isinstance(bins, int):
        raise AssertionError("the number of frequencies is that of the kernel")
    spread = reshape(site, y, (batch, channels, bins, steps))
    if config.get("expand_dims"):
        return transpose(site, spread, (0, 1, 3, 2) if first else (0, 3, 2, 1))
    flat = reshape(site, spread, (batch, channels * bins, steps))
    return flat if first else transpose(site, flat, (0, 2, 1))


def _combined(site: Site, mode: str, parts: list[Tensor]) -> Tensor:
    """The real and imaginary parts [batch, frequencies, time] as the mode wants them."""
    if mode in ("real", "imag"):
        return parts[0]
    if mode == "stft":
        return concat(site, parts, 1)
    power = _power(site, parts[0], parts[1])
    if mode == "psd":
        inner = slices(site, power, {1: (1, -1, 1)})
        return elementwise(site, "Add", power, pad(site, inner, [(0, 0), (1, 1), (0, 0)]))
    floor = scalar(site, _EPSILON, power)
    y = unary(site, "Sqrt", elementwise(site, "Max", power, floor))
    return y if mode == "magnitude" else unary(site, "Log", elementwise(site, "Max", y, floor))


def _power(site: Site, real: Tensor, imaginary: Tensor) -> Tensor:
    squares = [elementwise(site, "Mul", one, one) for one in (real, imaginary)]
    return elementwise(site, "Add", *squares)


def _conv(site: Site, signal: Tensor, kernel: AnyArray, window: Window, name: str) -> Tensor:
    time = signal.shape[2]
    (steps,) = result_of(site, window, (time,))
    shape = (signal.shape[0], kernel.shape[0], steps)
    made = site.node(
        "Conv",
        [value(site, signal, plain(3)), site.constant(kernel, f"{name}_kernel")],
        (signal.dtype, shape),
        kernel_shape=[kernel.shape[2]],
        **window.attributes((time,)),
    )
    return Tensor(shape, signal.dtype, {plain(3): made})


def mel_spectrogram(site: Site) -> Tensor:
    """MelSpectrogram: power in bands that a matrix forms, in decibels."""
    x, config = site.input, site.config
    if x.rank != 2:
        raise site.unsupported(f"is given a signal with {x.rank} axes")
    fft, stride = int(config["fft_length"]), int(config["sequence_stride"])
    length = int(config.get("sequence_length") or fft)
    dtype = x.dtype if x.dtype in ("float32", "float64") else "float32"
    x = cast(site, x, dtype)
    kernel = _fourier(site, fft, length).astype(dtype)
    padded = pad(site, x, [(0, 0), (fft // 2, fft // 2)], "reflect")
    signal = reshape(site, padded, (x.shape[0], 1, padded.shape[1]))
    both = _conv(site, signal, kernel, Window((fft,), (stride,), (1,), "valid"), "fourier")
    bins = fft // 2 + 1
    power = _power(
        site, slices(site, both, {1: (0, bins, 1)}), slices(site, both, {1: (bins, None, 1)})
    )
    exponent = float(config.get("mag_exp", 2.0))
    if exponent != 2.0:
        power = elementwise(site, "Pow", power, scalar(site, exponent / 2, power))
    matrix = _mel_matrix(site, bins).astype(dtype)
    y = last_axis_product(site, transpose(site, power, (0, 2, 1)), matrix, None, "mel")
    if config.get("power_to_db", True):
        y = _decibels(site, y)
    return cast(site, transpose(site, y, (0, 2, 1)), site.dtype)


def _fourier(site: Site, fft: int, length: int) -> AnyArray:
    """[real and imaginary frequencies, 1, time]: a windowed discrete Fourier transform."""
    window = taper(site, site.config.get("window", "hann"), fft, length)
    turns = np.outer(np.arange(fft // 2 + 1), np.arange(fft)) % fft
    angle = 2 * np.pi * turns / fft
    waves = np.concatenate([np.cos(angle), -np.sin(angle)]) * window
    return waves[:, None, :]


_TAPERS = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46)}


def taper(site: Site, name: Any, fft: int, length: int) -> AnyArray:
    """The factors [fft] of a part of a signal, the window of ``length`` in their middle."""
    if name is None:
        return np.ones(fft)
    if not isinstance(name, str) or name not in _TAPERS:
        raise site.unsupported(f"has the window {name!r}")
    level, swing = _TAPERS[name]
    # TensorFlow's windows are periodic where their length is even, and symmetric where it is odd.
    period = max(length - length % 2, 1)
    shape = level - swing * np.cos(2.0 * np.pi * np.arange(length) / period)
    left = (fft - length) // 2
    return np.pad(shape, (left, fft - length - left))


def _mel_matrix(site: Site, bins: int) -> AnyArray:
    """[frequencies, bands]: triangles that are equally wide on the mel scale (HTK's)."""
    config = site.config
    rate, bands = float(config["sampling_rate"]), int(config["num_mel_bins"])
    high = config.get("max_freq") or rate / 2

    def mel(hertz: AnyArray | float) -> AnyArray:
        return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))

    edges = np.linspace(mel(float(config.get("min_freq", 20.0))), mel(float(high)), bands + 2)
    points = mel(np.linspace(0, rate / 2, bins)[1:])[:, None]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (points - lower) / (centre - lower)
    falling = (upper - points) / (upper - centre)
    found: AnyArray = np.maximum(0.0, np.minimum(rising, falling))
    return np.pad(found, [(1, 0), (0, 0)])


def _decibels(site: Site, y: Tensor) -> Tensor:
    """Ten times the decadic logarithm, no further below the largest of all than "top_db"."""
    config = site.config
    smallest = float(config.get("min_power", 1e-10))
    floor = scalar(site, smallest, y)
    natural = unary(site, "Log", elementwise(site, "Max", y, floor))
    y = elementwise(site, "Mul", natural, scalar(site, 10.0 / np.log(10.0), y))
    reference = 10.0 * np.log10(max(abs(float(config.get("ref_power", 1.0))), smallest))
    if reference:
        y = elementwise(site, "Sub", y, scalar(site, reference, y))
    loudest = reduce(site, "ReduceMax", y, list(range(y.rank)), True)
    limit = elementwise(site, "Sub", loudest, scalar(site, float(config.get("top_db", 80.0)), y))
    return elementwise(site, "Max", y, limit)
