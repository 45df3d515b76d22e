"""Plots of points over time as SVG, without any library."""

import math
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 300, 70, 46, 40, 190
COLORS = ["#4477aa", "#cc6677", "#228833", "#aa7722"]


def ticks(largest, count=5):
    """Round numbers from 0 to at least `largest`."""
    step = 10.0 ** math.floor(math.log10(largest / count))
    while largest / step > count:
        for factor in (2, 2.5, 2):
            step *= factor
            if largest / step <= count:
                break
    values = [0.0]
    while values[-1] < largest:
        values.append(values[-1] + step)
    return values


def number(value):
    return f"{value:g}" if value < 10_000 else f"{value / 1000:g}k"


def plot(title, x_label, y_label, series, lines=True):
    """One plot. `series`: pairs of a name and its points."""
    points = [point for _, each in series for point in each] or [(0, 0)]
    x_ticks = ticks(max(x for x, _ in points) or 1, 8)
    y_ticks = ticks(max(y for _, y in points) or 1)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(value):
        return LEFT + wide * value / x_ticks[-1]

    def y_of(value):
        return TOP + high * (1 - value / y_ticks[-1])

    out = [
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}'
        "</text>",
        f'<text transform="translate(16 {TOP + high / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]
    for value in y_ticks:
        y = y_of(value)
        out.append(f'<path d="M{LEFT} {y:.1f}h{wide}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in x_ticks:
        x = x_of(value)
        out.append(f'<path d="M{x:.1f} {TOP + high}v5" stroke="#666"/>')
        out.append(
            f'<text x="{x:.1f}" y="{TOP + high + 18}" text-anchor="middle">{number(value)}</text>'
        )
    for at, (name, each) in enumerate(series):
        color = COLORS[at % len(COLORS)]
        if lines:
            path = "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in each)
            if path:
                out.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        else:
            out += [
                f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="1.6" fill="{color}" '
                'fill-opacity="0.45"/>'
                for x, y in each
            ]
        y = TOP + 10 + 20 * at
        x = LEFT + wide + 14
        out.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{color}"/>')
        out.append(f'<text x="{x + 16}" y="{y}">{escape(name)}</text>')
    return out


def document(plots):
    """All plots, one below the other."""
    height = HEIGHT * len(plots)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for at, lines in enumerate(plots):
        out += [f'<g transform="translate(0 {HEIGHT * at})">', *lines, "</g>"]
    return "\n".join([*out, "</svg>", ""])
