"""Plots of the HTML report as inline SVG: latency, errors beside their bounds.

Labels stand above the marks, so that a plot can be as narrow as a phone and still be read.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from html import escape

from bnfold.bench.types import Benchmark
from bnfold.report import wording
from bnfold.verify.types import OutputComparison

_WIDTH, _LEFT, _RIGHT = 360.0, 10.0, 52.0
_INNER = _WIDTH - _LEFT - _RIGHT


class _Scale:
    """A logarithmic axis over the width of a plot."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = math.log(low), math.log(high)
        if not self.high > self.low:
            self.low, self.high = self.low - 0.5, self.high + 0.5

    def __call__(self, value: float) -> float:
        place = (math.log(max(value, 1e-300)) - self.low) / (self.high - self.low)
        return _LEFT + _INNER * min(1.0, max(0.0, place))


def _svg(height: float, title: str, parts: Iterable[str]) -> str:
    return (
        f'<svg class="plot" role="img" aria-label="{_text(title)}" viewBox="0 0 {_WIDTH:g} '
        f'{height:g}" xmlns="http://www.w3.org/2000/svg"><title>{_text(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def _label(y: float, text: str) -> str:
    return f'<text class="label" x="{_LEFT:g}" y="{y:g}">{_text(text)}</text>'


def _tick(x: float, y: float, text: str, top: float = 6) -> str:
    return (
        f'<path class="grid" d="M{x:.1f} {top:g} V{y - 13:g}"/><text class="tick" x="{x:.1f}" '
        f'y="{y:g}" text-anchor="middle">{text}</text>'
    )


def speedup_svg(benchmark: Benchmark) -> str:
    """The speedup of every launch with the interval; behind it the original against itself."""
    rows = benchmark.comparisons
    if not rows:
        return ""
    values = [
        v
        for c in rows
        for v in (c.low, c.high, c.control_low, c.control_high, 1.0, *c.speedups)
        if math.isfinite(v) and v > 0
    ]
    x, step = _Scale(min(values) * 0.97, max(values) * 1.03), 50
    height = step * len(rows) + 24
    parts = [_tick(x(1), height - 6, "1x")]
    parts += [
        _tick(x(v), height - 6, f"{v:g}x")
        for v in (0.5, 0.8, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
        if min(values) < v < max(values) and abs(x(v) - x(1)) > 34
    ]
    for number, c in enumerate(rows):
        y, tone = 34 + step * number, c.verdict.name.lower()
        parts += [
            _label(y - 17, wording.setting(c)),
            f'<rect class="control" x="{x(c.control_low):.1f}" y="{y - 9}" height="18" '
            f'width="{max(1.0, x(c.control_high) - x(c.control_low)):.1f}"/>',
            *(f'<circle class="launch" cx="{x(v):.1f}" cy="{y}" r="2.5"/>' for v in c.speedups),
            f'<path class="interval {tone}" d="M{x(c.low):.1f} {y} H{x(c.high):.1f}"/>',
            f'<circle class="{tone}" cx="{x(c.speedup):.1f}" cy="{y}" r="5"/>',
            f'<text class="value" x="{_WIDTH - 4:g}" y="{y + 4}" text-anchor="end">'
            f"{c.speedup:.2f}x</text>",
        ]
    return _svg(height, "Speedup of every launch, with its interval", parts)


def times_svg(benchmark: Benchmark) -> str:
    """Time per call of both models: 5 to 95 % as a line, 25 to 75 % as a box, the median."""
    rows = [c for c in benchmark.comparisons if c.baseline_spread and c.candidate_spread]
    values = [v for c in rows for v in (*c.baseline_spread, *c.candidate_spread) if v > 0]
    if not values:
        return ""
    x, step = _Scale(min(values) * 0.95, max(values) * 1.05), 64
    height = step * len(rows) + 24
    parts = [_tick(x(v), height - 6, wording.seconds(v)) for v in _steps(values, x)]
    for number, c in enumerate(rows):
        y = 34 + step * number
        parts.append(_label(y - 17, wording.setting(c)))
        parts += _boxplot(c.baseline_spread, x, y, "before") + _boxplot(
            c.candidate_spread, x, y + 18, "after"
        )
        parts += [_beside(y, c.baseline_seconds), _beside(y + 18, c.candidate_seconds)]
    return _svg(height, "Time per call, original above folded", parts)


def _beside(y: float, value: float) -> str:
    return (
        f'<text class="value" x="{_WIDTH - 4:g}" y="{y + 4:g}" text-anchor="end">'
        f"{_text(wording.seconds(value))}</text>"
    )


def _boxplot(spread: Sequence[float], x: _Scale, y: float, tone: str) -> list[str]:
    least, low, middle, high, most = (x(value) for value in spread)
    return [
        f'<path class="whisker" d="M{least:.1f} {y:g} H{most:.1f}"/>',
        f'<rect class="box {tone}" x="{low:.1f}" y="{y - 6:g}" '
        f'width="{max(2.0, high - low):.1f}" height="12" rx="2"/>',
        f'<path class="middle" d="M{middle:.1f} {y - 6:g} v12"/>',
    ]


def _steps(values: Sequence[float], x: _Scale) -> list[float]:
    """Round values across a span, not nearer to each other than their labels are wide."""
    found: list[float] = []
    for power in range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1):
        for digit in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0):
            value = digit * 10.0**power
            inside = min(values) * 0.95 <= value <= max(values) * 1.05
            if inside and (not found or x(value) - x(found[-1]) > 58):
                found.append(value)
    return found


def error_svg(outputs: Collection[OutputComparison]) -> str:
    """RMSE of both models from float64 and the bound, on one logarithmic scale."""
    rows = [
        (o, [v for v in (o.rmse_original, o.rmse_folded, o.bound) if v is not None and v > 0])
        for o in outputs
    ]
    values = [v for _, found in rows for v in found if math.isfinite(v)]
    if not values:
        return ""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    high = max(high, low + 1)
    x, step = _Scale(10.0**low, 10.0**high), 56
    height = step * len(rows) + 24
    gap = max(1, (high - low) // 6)
    parts = [_tick(x(10.0**k), height - 6, f"1e{k}") for k in range(low, high + 1, gap)]
    for number, (output, _) in enumerate(rows):
        y = 38 + step * number
        parts.append(_label(y - 21, _short(output.name, 48)))
        for tone, value, shift in (
            ("before", output.rmse_original, -7),
            ("after", output.rmse_folded, 5),
        ):
            if value is not None and value > 0:
                parts.append(
                    f'<path class="bar {tone}" d="M{_LEFT:g} {y + shift} H{x(value):.1f}"/>'
                )
        if output.bound is not None and output.bound > 0:
            parts.append(f'<path class="bound" d="M{x(output.bound):.1f} {y - 15} v28"/>')
    return _svg(height, "Distance from float64: original, folded, bound", parts)


def shares_svg(rows: Sequence[tuple[str, float | None, float | None]]) -> str:
    """What part of its rounding bound each affine's fold uses, by label: runtime and channel."""
    rows = [row for row in rows if row[1] is not None or row[2] is not None]
    if not rows:
        return ""
    most = max(1.0, *(v for row in rows for v in row[1:] if v is not None and math.isfinite(v)))
    step = 40
    height = step * len(rows) + 24

    def x(value: float) -> float:
        return _LEFT + _INNER * min(1.0, value / most / 1.05)

    parts = [_tick(x(v), height - 6, f"{100 * v:g} %") for v in (0.0, 0.25, 0.5, 0.75)]
    parts.append(f'<path class="bound" d="M{x(1.0):.1f} 6 V{height - 19}"/>')
    parts.append(
        f'<text class="tick" x="{x(1.0):.1f}" y="{height - 6}" text-anchor="middle">bound</text>'
    )
    for number, (name, rounding, channel) in enumerate(rows):
        y = 26 + step * number
        parts.append(_label(y - 10, _short(name, 48)))
        for value, shift, tone in ((rounding, 0, "after"), (channel, 11, "before")):
            if value is not None:
                parts.append(
                    f'<path class="bar thin {tone}" d="M{_LEFT:g} {y + shift} '
                    f'H{max(x(value), _LEFT + 1.5):.1f}"/>'
                )
    return _svg(height, "Error of each fold as a share of its rounding bound", parts)


def meter(share: float) -> str:
    """A share of a bound as a small bar."""
    return (
        f'<meter min="0" max="1" value="{min(share, 1):.4f}">'
        f"{share:.2g}</meter> {_text(f'{100 * share:.2g} %')}"
    )


def _text(value: str) -> str:
    return escape(wording.printable(value))


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else "…" + text[-(length - 1) :]
