"""Line charts as SVG: readable in light and dark, by screen readers, and without a script."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 34, 46


@dataclass(frozen=True)
class Line:
    """One line: its name, its class in the style sheet, its points, and intervals (low, high) if there are any."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float]] = ()


def line_chart(lines: Sequence[Line], *, title: str, x_title: str, y_title: str, y_max: float | None = None) -> str:
    """Draw lines over a common x axis; y begins at 0. The title doubles as the text for screen readers."""
    xs = [x for line in lines for x, _ in line.points]
    tops = [y for line in lines for _, y in line.points] + [high for line in lines for _, high in line.intervals]
    y_end = y_max or _round_up(max(tops))
    x_end = max(max(xs), 1e-9)

    def px(x: float) -> float:
        return round(_LEFT + x / x_end * (WIDTH - _LEFT - _RIGHT), 1)

    def py(y: float) -> float:
        return round(HEIGHT - _BOTTOM - y / y_end * (HEIGHT - _TOP - _BOTTOM), 1)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>']
    for i in range(5):
        y = y_end * i / 4
        parts.append(f'<path class="grid" d="M{_LEFT} {py(y)}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{py(y) + 4}" text-anchor="end">{y:g}</text>')
    for x in sorted(set(xs)) if len(set(xs)) <= 11 else [x_end * i / 5 for i in range(6)]:
        parts.append(f'<text x="{px(x)}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    for i, line in enumerate(lines):
        path = "L".join(f"{px(x)} {py(min(y, y_end))}" for x, y in line.points)
        parts.append(f'<path class="line {line.style}" d="M{path}"/>')
        for (x, _), (low, high) in zip(line.points, line.intervals, strict=False):
            parts.append(f'<path class="bar {line.style}" d="M{px(x)} {py(low)}V{py(high)}"/>')
        for x, y in line.points:
            parts.append(f'<circle class="{line.style}" cx="{px(x)}" cy="{py(min(y, y_end))}" r="3"/>')
        at = _LEFT + 8 + i * 190
        parts.append(
            f'<path class="line {line.style}" d="M{at} 14h22"/><text x="{at + 28}" y="18">{escape(line.name)}</text>'
        )
    middle = (HEIGHT - _BOTTOM + _TOP) / 2
    parts.append(f'<text x="{(WIDTH + _LEFT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_title)}</text>')
    parts.append(
        f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text></svg>'
    )
    return "".join(parts)


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 10, … times a power of ten, so that quarters of it are short to write."""
    if not 0 < value < float("inf"):
        return 1.0
    power = 1.0
    while power < value:
        power *= 10
    while power >= 10 * value:
        power /= 10
    return next(power * part for part in (0.12, 0.16, 0.2, 0.24, 0.32, 0.4, 0.6, 0.8, 1.0) if power * part >= value)
