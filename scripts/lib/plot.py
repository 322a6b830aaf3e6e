#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""plot.py GROUP FIGURES.json FILE.svg: draws the figures of scripts/bench --group GROUP -o json.

Equal figures give an equal file. The colours do not depend on the viewer's mode: the background
is white.
"""

import collections
import json
import math
import re
import sys
from xml.sax.saxutils import escape

WIDTH = 900
LEFT, RIGHT = 70, 24  # margins of a panel: numbers of the axis, half of the last number
PANEL = 140
LINE = 14  # height of a line of text
LETTER = 6.2  # mean width of a letter of 11 px, to keep labels apart

INK, FAINT, MARK = "#222222", "#dddddd", "#4d4d4d"
# Told apart by colour-blind readers and, by their dashes, without colours.
LISTS, WATCHES, REFUSED = ("#0072b2", ""), ("#d55e00", ""), ("#882255", "4 2")
MARK_DASHES = "2 3"


def ticks(largest, about):
    """Round numbers from 0 to the first one that is not below `largest`; `about` so many."""
    rough = max(largest, 1) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * i for i in range(math.ceil(max(largest, 1) / step) + 1)]


def number(value):
    """A coordinate, or the number at a tick, without needless digits."""
    return f"{value:.1f}".removesuffix(".0")


class Drawing:
    """The elements of an SVG file."""

    def __init__(self):
        self.elements = []

    def text(self, x, y, text, attributes=""):
        attributes = f" {attributes}" if attributes else ""
        self.elements.append(f'<text x="{number(x)}" y="{number(y)}"{attributes}>{escape(text)}</text>')

    def path(self, data, colour, dashes="", width=1.0):
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.elements.append(f'<path d="{data}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}/>')

    def legend(self, y, entries):
        """One line of (name, (colour, dashes))."""
        x = LEFT
        for name, style in entries:
            self.path(f"M{number(x)} {number(y - 4)}h24", *style, width=1.6)
            self.text(x + 30, y, name)
            x += 54 + len(name) * LETTER

    def document(self, height, title, description):
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {number(height)}" width="{WIDTH}" '
            f'height="{number(height)}" role="img" font-family="sans-serif" font-size="11" fill="{INK}">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *self.elements,
            "</svg>",
        ]) + "\n"


class Panel:
    """Axes from `top` to `top` + PANEL, and what is drawn on them."""

    def __init__(self, drawing, top, x_ticks, y_ticks):
        self.drawing = drawing
        self.top, self.bottom = top, top + PANEL
        self.x_scale = (WIDTH - LEFT - RIGHT) / x_ticks[-1]
        self.y_scale = PANEL / y_ticks[-1]
        for value in y_ticks:
            drawing.path(f"M{LEFT} {number(self.y(value))}H{WIDTH - RIGHT}", FAINT)
            drawing.text(LEFT - 6, self.y(value) + 4, f"{value:g}", 'text-anchor="end"')
        for value in x_ticks:
            drawing.path(f"M{number(self.x(value))} {number(self.bottom)}v4", INK)
            drawing.text(self.x(value), self.bottom + 4 + LINE - 2, f"{value:g}", 'text-anchor="middle"')
        drawing.path(f"M{LEFT} {number(top)}V{number(self.bottom)}H{WIDTH - RIGHT}", INK)

    def x(self, value):
        return LEFT + value * self.x_scale

    def y(self, value):
        return self.bottom - value * self.y_scale

    def label_y_axis(self, text):
        middle = self.top + PANEL / 2
        self.drawing.text(18, middle, text, f'text-anchor="middle" transform="rotate(-90 18 {number(middle)})"')

    def steps(self, values, style):
        """A line that has values[i] from i to i + 1, then 0."""
        data, last = f"M{LEFT} {number(self.bottom)}", 0
        for i, value in enumerate([*values, 0]):
            if value != last:
                data += f"H{number(self.x(i))}V{number(self.y(value))}"
                last = value
        self.drawing.path(data, *style, width=1.6)

    def marks(self, entries):
        """Vertical lines for (x, label); the labels are above the panel, in as many lines as they need."""
        ends = []
        for value, label in entries:
            x, width = self.x(value), len(label) * LETTER + 10
            # A label that would cross the right edge stands left of its line.
            left = x + width > WIDTH
            start = x - width if left else x
            row = next((i for i, end in enumerate(ends) if end <= start), len(ends))
            ends[row:row + 1] = [start + width]
            y = self.top - 4 - row * LINE
            self.drawing.path(f"M{number(x)} {number(self.bottom)}V{number(y - 8)}", MARK, MARK_DASHES)
            self.drawing.text(x - 3 if left else x + 3, y, label, 'text-anchor="end"' if left else "")


def draw_fleet(figures):
    """A panel for each outage: the requests of each second, and when so many nodes know the NodePort."""
    outages = collections.defaultdict(dict)
    for figure in figures:
        outages[figure["group"]][figure["what"]] = figure["value"]
    seconds = {}
    for outage, values in outages.items():
        kinds = seconds[outage] = collections.defaultdict(dict)
        for what, value in values.items():
            if found := re.fullmatch(r"second (\d+), (lists|watches|lists refused)", what):
                kinds[found.group(2)][int(found.group(1))] = value
    shares = (("stale, median", "50 % know"), ("stale, 90 %", "90 %"), ("stale, 99 %", "99 %"),
              ("stale, longest", "last node"))

    def course(outage, kind):
        """The values of all seconds, from 0 on; seconds without requests have no figure."""
        return [seconds[outage][kind].get(i, 0) for i in range(max(seconds[outage][kind], default=-1) + 1)]

    # One time axis for all, to compare them.
    x_ticks = ticks(max(max(len(course(outage, "lists")), len(course(outage, "watches")),
                            values["stale, longest"]) for outage, values in outages.items()), 12)
    drawing = Drawing()
    title = "How a fleet of nodes returns to an API server that was away"
    drawing.text(LEFT, 24, title, 'font-size="15" font-weight="bold"')
    drawing.legend(46, [("lists", LISTS), ("watches", WATCHES), ("lists refused (429)", REFUSED),
                        ("share of the nodes that know the new NodePort", (MARK, MARK_DASHES))])
    y = 58
    for outage, values in outages.items():
        y += LINE
        drawing.text(LEFT, y, outage, 'font-size="12" font-weight="bold"')
        y += len(shares) * LINE + 6
        courses = [(course(outage, "lists"), LISTS), (course(outage, "watches"), WATCHES),
                   (course(outage, "lists refused"), REFUSED)]
        panel = Panel(drawing, y, x_ticks, ticks(max(max(course, default=0) for course, _ in courses), 5))
        panel.label_y_axis("requests per second")
        for line, style in courses:
            if any(line):
                panel.steps(line, style)
        panel.marks([(values[what], f"{label}: {values[what]:.1f} s") for what, label in shares])
        y += PANEL + 2 * LINE + 8
    drawing.text((LEFT + WIDTH - RIGHT) / 2, y, "seconds after the return of the server", 'text-anchor="middle"')
    return drawing.document(y + LINE, title, "Made by scripts/bench --group fleet --plot.")


GROUPS = {"fleet": draw_fleet}


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in GROUPS:
        sys.exit(f"plot.py: usage: plot.py {'|'.join(GROUPS)} FIGURES.json FILE.svg")
    group, figures, target = sys.argv[1:]
    try:
        with open(figures, encoding="utf-8") as file:
            picture = GROUPS[group](json.load(file)["figures"])
        with open(target, "w", encoding="utf-8") as file:
            file.write(picture)
    except OSError as error:
        sys.exit(f"plot.py: {error.filename}: {error.strerror}")
    except (KeyError, TypeError, ValueError) as error:
        sys.exit(f"plot.py: {figures} has no figures of the group {group}: {error!r}")


if __name__ == "__main__":
    main()
