#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""plot.py GROUP FIGURES.json TARGET: draws the figures of scripts/bench --group GROUP -o json.

TARGET is a file for the group fleet, and a folder for the group growth, which has a drawing for each
kind of cost. Equal figures give an equal file. The colours do not depend on the viewer's mode: the background
is white.
"""

import collections
import json
import math
import os
import re
import sys
from xml.sax.saxutils import escape

WIDTH = 900
LEFT, RIGHT = 70, 24  # margins of a panel: numbers of the axis, half of the last number
PANEL = 140
LINE = 14  # height of a line of text
LETTER = 6.2  # mean width of a letter of 11 px, to keep labels apart

INK, FAINT, MARK, NOISE = "#222222", "#dddddd", "#4d4d4d", "#999999"
# Told apart by colour-blind readers and, by their dashes, without colours.
LISTS, WATCHES, REFUSED = ("#0072b2", ""), ("#d55e00", ""), ("#882255", "4 2")
MARK_DASHES = "2 3"
SERIES = (LISTS, (WATCHES[0], "7 3"), ("#009e73", "2 2"), (REFUSED[0], "8 2 2 2"))
TALL = 260  # height of a panel that is alone in its drawing


def round_step(rough):
    """The first of 1, 2, 5, 10, 20, ... and their tenths that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def ticks(largest, about):
    """Round numbers from 0 to the first one that is not below `largest`; `about` so many."""
    step = round_step(max(largest, 1) / about)
    return [step * i for i in range(math.ceil(max(largest, 1) / step) + 1)]


def number(value):
    """A coordinate, or the number at a tick, without needless digits."""
    return f"{value:.1f}".removesuffix(".0")


class LinearAxis:
    """From the first of `ticks`, or from `low` below it, to the last."""

    def __init__(self, ticks, low=None):
        self.ticks = ticks
        self.low = ticks[0] if low is None else low

    def at(self, value):
        """The place of a value, from 0 to 1."""
        return (value - self.low) / (self.ticks[-1] - self.low)

    @staticmethod
    def label(value):
        return f"{value:g}"


class LogAxis:
    """From the smallest to the largest of `ticks`. 0 has a place of its own, at the left end."""

    def __init__(self, ticks):
        self.ticks = ticks
        positive = [math.log10(value) for value in ticks if value > 0]
        self.first, self.last = min(positive), max(positive)
        if self.first == self.last:
            self.last += 1
        self.zero = len(positive) < len(ticks)

    def at(self, value):
        start = self.first - (0.7 if self.zero else 0)
        return ((math.log10(value) if value > 0 else start) - start) / (self.last - start)

    @staticmethod
    def label(value):
        return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"


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

    def area(self, data, colour, opacity):
        self.elements.append(f'<path d="{data}" fill="{colour}" fill-opacity="{opacity}" stroke="none"/>')

    def dot(self, x, y, colour):
        self.elements.append(f'<circle cx="{number(x)}" cy="{number(y)}" r="2.6" fill="{colour}"/>')

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
    """Axes from `top` to `top` + `height`, and what is drawn on them."""

    def __init__(self, drawing, top, x_axis, y_axis, height=PANEL):
        self.drawing = drawing
        self.top, self.bottom = top, top + height
        self.x_axis, self.y_axis = x_axis, y_axis
        for value in y_axis.ticks:
            drawing.path(f"M{LEFT} {number(self.y(value))}H{WIDTH - RIGHT}", FAINT)
            drawing.text(LEFT - 6, self.y(value) + 4, y_axis.label(value), 'text-anchor="end"')
        for value in x_axis.ticks:
            drawing.path(f"M{number(self.x(value))} {number(self.bottom)}v4", INK)
            drawing.text(self.x(value), self.bottom + 4 + LINE - 2, x_axis.label(value), 'text-anchor="middle"')
        drawing.path(f"M{LEFT} {number(top)}V{number(self.bottom)}H{WIDTH - RIGHT}", INK)

    def x(self, value):
        return LEFT + self.x_axis.at(value) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        return self.bottom - self.y_axis.at(value) * (self.bottom - self.top)

    def label_y_axis(self, text):
        middle = (self.top + self.bottom) / 2
        self.drawing.text(18, middle, text, f'text-anchor="middle" transform="rotate(-90 18 {number(middle)})"')

    def steps(self, values, style):
        """A line that has values[i] from i to i + 1, then 0."""
        data, last = f"M{LEFT} {number(self.bottom)}", 0
        for i, value in enumerate([*values, 0]):
            if value != last:
                data += f"H{number(self.x(i))}V{number(self.y(value))}"
                last = value
        self.drawing.path(data, *style, width=1.6)

    def band(self, low, high):
        """All x, from low to high."""
        self.drawing.area(f"M{LEFT} {number(self.y(low))}H{WIDTH - RIGHT}V{number(self.y(high))}H{LEFT}z", NOISE, 0.35)

    def spread(self, points, style):
        """The medians as dots on a line, in the area between the quartiles."""
        def line(name, some):
            return "L".join(f"{number(self.x(point['x']))} {number(self.y(point[name]))}" for point in some)
        self.drawing.area(f"M{line('high', points)}L{line('low', points[::-1])}z", style[0], 0.18)
        self.drawing.path(f"M{line('median', points)}", *style, width=1.6)
        for point in points:
            self.drawing.dot(self.x(point["x"]), self.y(point["median"]), style[0])

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


def draw_fleet(document):
    """A panel for each outage: the requests of each second, and when so many nodes know the NodePort."""
    groups = collections.defaultdict(dict)
    for figure in document["figures"]:
        groups[figure["group"]][figure["what"]] = figure["value"]
    # The others have no course.
    outages = {group: values for group, values in groups.items()
               if any(what.startswith("second ") for what in values)}
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
        y_ticks = ticks(max(max(course, default=0) for course, _ in courses), 5)
        panel = Panel(drawing, y, LinearAxis(x_ticks), LinearAxis(y_ticks))
        panel.label_y_axis("requests per second")
        for line, style in courses:
            if any(line):
                panel.steps(line, style)
        panel.marks([(values[what], f"{label}: {values[what]:.1f} s") for what, label in shares])
        y += PANEL + 2 * LINE + 8
    drawing.text((LEFT + WIDTH - RIGHT) / 2, y, "seconds after the return of the server", 'text-anchor="middle"')
    return drawing.document(y + LINE, title, "Made by scripts/bench --group fleet --plot.")


def y_axis_for(values):
    """Linear from 0, or from the lowest value below it; logarithmic for values that span decades."""
    if min(values) > 0 and max(values) / min(values) > 50:
        decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
        return LogAxis([10.0 ** decade for decade in decades])
    low, high = min(0, *values), max(0, *values)
    step = round_step((high - low) / 6 or 1)
    steps = range(math.ceil(low / step), math.ceil(high / step) + 1)
    return LinearAxis([step * i for i in steps], low if low < 0 else None)


def draw_growth(growth):
    """One panel: the median and the quartiles of each series."""
    series, noise = growth["series"], growth["noise"]
    if len(series) > len(SERIES):
        raise ValueError(f"{len(series)} series, at most {len(SERIES)} can be told apart")
    points = [point for one in series for point in one["points"]]
    values = [point[name] for point in points for name in ("low", "median", "high")]
    if noise:
        values += [noise["low"], noise["high"]]
    drawing = Drawing()
    drawing.text(LEFT, 24, growth["title"], 'font-size="15" font-weight="bold"')
    entries = [(one["name"], style) for one, style in zip(series, SERIES)]
    drawing.legend(46, entries)
    top = 62
    if noise:
        top += LINE
        drawing.area(f"M{LEFT} 52h24v10h-24z", NOISE, 0.35)
        drawing.text(LEFT + 30, 61, "noise: by how much two equal baselines differ")
    panel = Panel(drawing, top, LogAxis(sorted({point["x"] for point in points})), y_axis_for(values), TALL)
    panel.label_y_axis(growth["y"])
    if min(values) < 0:
        drawing.path(f"M{LEFT} {number(panel.y(0))}H{WIDTH - RIGHT}", MARK)
    if noise:
        panel.band(noise["low"], noise["high"])
    for one, style in zip(series, SERIES):
        panel.spread(one["points"], style)
    bottom = top + TALL + 2 * LINE + 8
    drawing.text((LEFT + WIDTH - RIGHT) / 2, bottom, growth["x"], 'text-anchor="middle"')
    description = "Median, and the middle half of the measurements. Made by scripts/bench --group growth --plot."
    return drawing.document(bottom + LINE, growth["title"], description)


def pictures_of(group, document, target):
    """path → picture."""
    if group == "fleet":
        return {target: draw_fleet(document)}
    pictures = {}
    for growth in document["growths"]:
        if not re.fullmatch(r"[a-z]+", growth["name"]):
            raise ValueError(f"{growth['name']!r} is no name of a file")
        pictures[os.path.join(target, growth["name"] + ".svg")] = draw_growth(growth)
    if not pictures:
        raise ValueError("no growths")
    return pictures


def main():
    groups = ("fleet", "growth")
    if len(sys.argv) != 4 or sys.argv[1] not in groups:
        sys.exit(f"plot.py: usage: plot.py {'|'.join(groups)} FIGURES.json FILE.svg|FOLDER")
    group, figures, target = sys.argv[1:]
    try:
        with open(figures, encoding="utf-8") as file:
            pictures = pictures_of(group, json.load(file), target)
        for path, picture in pictures.items():
            with open(path, "w", encoding="utf-8") as file:
                file.write(picture)
    except OSError as error:
        sys.exit(f"plot.py: {error.filename}: {error.strerror}")
    except (KeyError, TypeError, ValueError) as error:
        sys.exit(f"plot.py: {figures} has no figures of the group {group}: {error!r}")


if __name__ == "__main__":
    main()
