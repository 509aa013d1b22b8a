"""Curves over a training's steps, as SVG that takes its colours from the page around it."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.loop.run_folder import Row

History = list[Row]

# Columns of the history and their names. Lines differ in dashes as well as in colours: print may be grey.
PANELS: dict[str, dict[str, str]] = {
    "Training loss": {"loss": "loss"},
    "Loss on held-out images": {"validation_loss": "cross-entropy"},
    "Learning rate": {"learning_rate": "learning rate"},
    "Objects kept apart (higher is better)": {"v_rand": "V_rand", "v_info": "V_info"},
    "Objects found (higher is better)": {"object_score": "object score", "f1": "F1", "mean_f1": "mean F1"},
    "Classes (higher is better)": {"mean_dice": "mean Dice", "mean_iou": "mean IoU"},
    "Pixels (higher is better)": {"dice": "Dice", "iou": "IoU", "cl_dice": "clDice"},
    "Wrong pixels (higher is better, error: lower)": {
        "precision": "precision",
        "recall": "recall",
        "pixel_error": "pixel error",
    },
}

# What matplotlib writes, and what the page puts there: ink and colours differ between light and dark.
INK = "#000000"
LINES = {"#0072b2": "-", "#d55e00": "--", "#009e73": ":"}
PAGE_COLOURS = {INK: "currentColor"} | {colour: f"var(--line-{n})" for n, colour in enumerate(LINES, start=1)}

FRAME = (0.13, 0.17, 0.85, 0.73)  # of the axes in the figure; a layout engine would draw each chart twice

FEW = 30  # up to this number of checks, points are drawn as well


@dataclass(frozen=True)
class Chart:
    """A chart of one or more columns of the history; `words` is its text alternative."""

    title: str
    svg: str
    words: str


def draw_charts(history: History, kept: int, labels: Mapping[int, str] = MappingProxyType({})) -> list[Chart]:
    """Draws a chart for each panel that has columns in the history, with a mark at the step of the kept weights.

    `labels`: the class names of a net of several classes, for one more panel each.
    """
    classes = {f"{name} (higher is better)": {f"dice_{i}": "Dice", f"iou_{i}": "IoU"} for i, name in labels.items()}
    charts = []
    for title, wanted in (PANELS | classes).items():
        columns = {column: name for column, name in wanted.items() if column in history[0]}
        if columns:
            charts.append(Chart(title, _svg(history, columns, kept), _words(history, columns)))
    return charts


def _svg(history: History, columns: dict[str, str], kept: int) -> str:
    # text stays text: searchable, and in the page's font; the salt makes ids that other charts on the page lack
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": " ".join(columns), "font.size": 9}):
        figure = Figure(figsize=(4.6, 2.6))
        axes = figure.add_axes(FRAME)
        steps = [row["step"] for row in history]
        for (column, name), (colour, dashes) in zip(columns.items(), LINES.items(), strict=False):
            values = [row[column] for row in history]
            marker = "o" if len(steps) <= FEW else None
            axes.plot(steps, values, color=colour, linestyle=dashes, marker=marker, markersize=3, label=name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.ticklabel_format(axis="y", scilimits=(-2, 4))
        axes.grid(color="#808080", alpha=0.25, linewidth=0.6)
        if len(columns) > 1:
            axes.legend(loc="best", frameon=False)
        _mark(axes, kept)
        written = io.StringIO()
        # no metadata: it would hold the time, and addresses
        figure.savefig(
            written, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return _for_the_page(written.getvalue())


def _mark(axes: Axes, kept: int) -> None:
    axes.axvline(kept, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    side = "right" if kept > sum(axes.get_xlim()) / 2 else "left"  # the words stay over the chart
    axes.text(kept, 1.02, f"kept: step {kept}", transform=axes.get_xaxis_transform(), ha=side, fontsize=8)


def _for_the_page(document: str) -> str:
    """Returns the `<svg>` element in the page's colours, without the ids of groups, which all charts share."""
    svg = re.sub(r'<g id="[^"]*"', "<g", document[document.index("<svg") :])
    for written, shown in PAGE_COLOURS.items():
        svg = svg.replace(written, shown)
    return svg


def _words(history: History, columns: dict[str, str]) -> str:
    first, last = history[0], history[-1]
    courses = [f"{name} {first[column]:.4g} at first, {last[column]:.4g} at last" for column, name in columns.items()]
    return f"Steps {first['step']:.0f} to {last['step']:.0f}: {'; '.join(courses)}."
