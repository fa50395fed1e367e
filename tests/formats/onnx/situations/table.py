"""The situations in which an affine can be met, by the direction in which it goes."""

from __future__ import annotations

from tests.formats.onnx.situations import backward, between, forward
from tests.formats.onnx.support.cases import Case

TABLE: dict[str, list[Case]] = {
    "Backward": backward.ROWS,
    "Forward": forward.ROWS,
    "Between": between.ROWS,
}
