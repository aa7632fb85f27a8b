"""Charts as SVG, without a library: grouped bars and lines, legible on a light and on a dark page."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 64, 84
LIGHT = ("#0969da", "#bf8700", "#1a7f37", "#8250df", "#57606a", "#bc4c00")
DARK = ("#58a6ff", "#e3b341", "#56d364", "#bc8cff", "#8b949e", "#ffa657")
SERIES = len(LIGHT)


def _colours(colours):
    """Written out for each series: not every viewer knows variables of CSS."""
    return "\n".join(f"  .bar.s{n}, .dot.s{n} {{ fill: {c} }} .line.s{n} {{ stroke: {c} }}" for n, c in enumerate(colours))


STYLE = f"""
  text {{ font: 13px system-ui, sans-serif; fill: #24292f }}
  .title {{ font-size: 16px; font-weight: 600 }} .value {{ font-size: 11px }}
  .page {{ fill: #ffffff }} .grid {{ stroke: #d0d7de }} .axis, .tick {{ stroke: #6e7781 }} .whisker {{ stroke: #24292f }}
  .line {{ stroke-width: 2.5; fill: none }}
  .goal {{ stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 6 4 }} .goaltext {{ fill: #cf222e }}
{_colours(LIGHT)}
  @media (prefers-color-scheme: dark) {{
  text {{ fill: #e6edf3 }} .page {{ fill: #0d1117 }} .grid {{ stroke: #30363d }} .axis, .tick {{ stroke: #8b949e }} .whisker {{ stroke: #e6edf3 }}
  .goal {{ stroke: #ff7b72 }} .goaltext {{ fill: #ff7b72 }}
{_colours(DARK)}
  }}
"""


def bars(title, unit, groups, series, values, goal=None):
    """Bars in GROUPS (labels along the x axis), one for each of SERIES; VALUES[series][group] is a number, a tuple (middle, least,
    most) or None. GOAL is a level to draw, with its text: (value, text)."""
    middles = [_middle(v) for row in values for v in row if v is not None]
    scale = _Linear(max([m for m in middles] + ([goal[0]] if goal else []) + [0.0]))
    chart = _Chart(title, unit, series, f"{title}: bars by {', '.join(groups)}")
    chart.y_axis(scale)
    room = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    width = room * 0.8 / max(len(series), 1)
    for g, label in enumerate(groups):
        chart.x_label(LEFT + room * (g + 0.5), label)
        for s in range(len(series)):
            if values[s][g] is not None:
                chart.bar(s, LEFT + room * (g + 0.1) + width * s, width * 0.92, scale, values[s][g])
    if goal:
        chart.goal_line(scale.y(goal[0]), goal[1])
    return chart.text()


def lines(title, x_label, unit, series, points, log_y=False):
    """One line for each of SERIES; POINTS[series] is a list of (x, y). The x axis is logarithmic, since sizes are."""
    xs = [x for row in points for x, _ in row]
    ys = [y for row in points for _, y in row]
    if not xs:
        xs, ys = [1, 10], [1]
    scale = _Logarithmic(min(ys), max(ys)) if log_y and min(ys) > 0 else _Linear(max(ys + [0.0]))
    low, high = math.log10(min(xs)), math.log10(max(xs))

    def x_of(x):
        return LEFT + 20 + (WIDTH - LEFT - RIGHT - 40) * ((math.log10(x) - low) / (high - low) if high > low else 0.5)

    chart = _Chart(title, unit, series, f"{title}: lines over {x_label}")
    chart.y_axis(scale)
    for x in sorted(set(xs)):
        chart.x_label(x_of(x), f"{x:,}", tick=True)
    chart.add(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 44}" text-anchor="middle">{escape(x_label)}</text>')
    for s, row in enumerate(points):
        placed = [(x_of(x), scale.y(y), y) for x, y in row]
        chart.add(f'<polyline class="line s{s % SERIES}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y, _ in placed)}"/>')
        for x, y, value in placed:
            chart.add(f'<circle class="dot s{s % SERIES}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
            chart.add(f'<text class="value" x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{short(value)}</text>')
    return chart.text()


def short(value):
    """A number as people write it on a chart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class _Linear:
    def __init__(self, most):
        step = _nice_step(most / 5) if most > 0 else 1
        self.top = step * max(1, math.ceil(most * 1.04 / step))
        self.ticks = [step * i for i in range(round(self.top / step) + 1)]

    def y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(value, 0) / self.top, 1)


class _Logarithmic:
    def __init__(self, least, most):
        self.low, self.high = math.floor(math.log10(least)), max(math.ceil(math.log10(most)), math.floor(math.log10(least)) + 1)
        self.ticks = [10**e for e in range(self.low, self.high + 1)]

    def y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(value) - self.low) / (self.high - self.low)


class _Chart:
    def __init__(self, title, unit, series, description):
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
            f"<title>{escape(title)}</title><desc>{escape(description)}</desc><style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
            f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>',
            f'<text x="{LEFT}" y="48">{escape(unit)}</text>',
        ]
        at = LEFT
        for s, name in enumerate(series):
            self.add(
                f'<rect class="bar s{s % SERIES}" x="{at:.0f}" y="{HEIGHT - 25}" width="12" height="12"/><text x="{at + 17:.0f}" y="{HEIGHT - 14}">{escape(name)}</text>'
            )
            at += 34 + 6.9 * len(name)

    def add(self, part):
        self._parts.append(part)

    def y_axis(self, scale):
        for tick in scale.ticks:
            y = scale.y(tick)
            self.add(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/><text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>'
            )
        self.add(
            f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
        )

    def x_label(self, x, label, tick=False):
        if tick:
            self.add(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 5}"/>')
        self.add(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{escape(label)}</text>')

    def bar(self, s, x, width, scale, value):
        middle, least, most = value if isinstance(value, tuple) else (value, None, None)
        y, centre = scale.y(middle), x + width / 2
        self.add(
            f'<rect class="bar s{s % SERIES}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"/>'
        )
        above = y
        if least is not None:
            above = scale.y(most)
            self.add(f'<line class="whisker" x1="{centre:.1f}" x2="{centre:.1f}" y1="{scale.y(least):.1f}" y2="{above:.1f}"/>')
        self.add(f'<text class="value" x="{centre:.1f}" y="{above - 4:.1f}" text-anchor="middle">{short(middle)}</text>')

    def goal_line(self, y, text):
        self.add(
            f'<line class="goal" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/><text class="goaltext" x="{LEFT + 6}" y="{y - 5:.1f}">{escape(text)}</text>'
        )

    def text(self):
        return "\n".join(self._parts + ["</svg>"]) + "\n"


def _middle(value):
    return max(v for v in value if v is not None) if isinstance(value, tuple) else value


def _nice_step(raw):
    power = 10 ** math.floor(math.log10(raw))
    return next(power * nice for nice in (1, 2, 2.5, 5, 10) if raw <= power * nice * 1.0001)
