"""The situations in which an affine can be met, by where it goes."""

from __future__ import annotations

from tests.formats.onnx.situations import (
    backward,
    between,
    converters,
    file,
    forward,
    networks,
    stays,
)
from tests.formats.onnx.support.cases import Case

TABLE: dict[str, list[Case]] = {
    "Backward": backward.ROWS,
    "Forward": forward.ROWS,
    "Between": between.ROWS,
    "Networks": networks.ROWS,
    "As exporters write it": converters.ROWS,
    "The file around it": file.ROWS,
    "Must stay": stays.ROWS,
}
