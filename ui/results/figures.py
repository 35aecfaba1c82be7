"""Plotly figures of the results; every text in them is people's, and escaped.

Figures are drawn dark on white, which is also how their PNG comes out; the dark page turns them round in its style
sheet. Numbers go in as lists, since arrays would be packed in a form that older readers of Plotly's JSON do not know.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]

from storage.analysis.intervals import Estimate
from storage.analysis.preference import Preference
from ui import wording_results as wording

MAX_ROWS = 40
LABEL_CHARS, LABEL_LINES, MAX_LABEL_LINES = 18, 2, 6
TITLE_CHARS = 24  # of an axis, which on a phone is 200 pixels long
COLOURS = ("#2e7dd1", "#e66101", "#7b3fa0")
FONT = {"family": "ui-sans-serif, system-ui, sans-serif", "size": 12, "color": "#1f2937"}
GRID = "#d5dae1"
ROW_PIXELS, LINE_PIXELS, FRAME_PIXELS, PLANE_PIXELS = 34, 15, 110, 460


@dataclass(frozen=True)
class Dots:
    """One estimate per row, or None where there is none."""

    name: str
    estimates: Sequence[Estimate | None]


def plain(text: str, n_chars: int = 200) -> str:
    """A text in which Plotly finds no tag: it reads some HTML, and knows only these three entities of the usual."""
    one_line = " ".join(text.split())
    cut = one_line if len(one_line) <= n_chars else one_line[: n_chars - 1] + "…"
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def dots(rows: Sequence[str], series: Sequence[Dots], axis: str, *, is_share: bool, line_at: float) -> go.Figure:
    """Estimates with intervals, one row each, the first on top; ``line_at`` marks what no difference would be."""
    figure = go.Figure()
    for place, (one, colour) in enumerate(zip(series, COLOURS, strict=False)):
        shift = 0.0 if len(series) == 1 else (place - (len(series) - 1) / 2) * 0.26
        there = [(row, found) for row, found in enumerate(one.estimates[:MAX_ROWS]) if found is not None]
        figure.add_scatter(
            x=[found.value for _, found in there],
            y=[row + shift for row, _ in there],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [found.high - found.value for _, found in there],
                "arrayminus": [found.value - found.low for _, found in there],
                "thickness": 1.5,
                "width": 4,
            },
            mode="markers",
            name=plain(one.name),
            marker={"size": 8, "color": colour, "symbol": ("circle", "diamond", "square")[place]},
            hovertext=[_hover(rows[row], one.name, found, is_share) for row, found in there],
            hoverinfo="text",
        )
    figure.add_vline(x=line_at, line={"color": "#6b7280", "width": 1, "dash": "dot"})
    _rows(figure, rows[:MAX_ROWS], axis, is_share)
    figure.update_layout(showlegend=len(series) > 1)
    return figure


def bars(rows: Sequence[str], values: Sequence[float], hover: Sequence[str], axis: str) -> go.Figure:
    """One bar per row, the first on top; ``hover`` is escaped here."""
    figure = go.Figure()
    figure.add_bar(
        x=list(values[:MAX_ROWS]),
        y=list(range(len(rows[:MAX_ROWS]))),
        orientation="h",
        marker={"color": COLOURS[0]},
        hovertext=[plain(text) for text in hover[:MAX_ROWS]],
        hoverinfo="text",
    )
    _rows(figure, rows[:MAX_ROWS], axis, is_share=False)
    return figure


def preference_plane(found: Preference) -> go.Figure:
    """The utility over the plane of the first two weights, the best blends of resamplings, and the preferred one."""
    x_name, y_name = found.axes[:2]
    x, y, utility, deviation = found.grid(x_name, y_name)
    points, best_x, best_y = found.optima[:, :2].tolist(), found.preferred[x_name], found.preferred[y_name]
    figure = go.Figure()
    figure.add_contour(
        x=x.tolist(),
        y=y.tolist(),
        z=utility.tolist(),
        colorscale="Viridis",
        colorbar={"title": {"text": wording.GAIN_AXIS, "side": "right"}, "thickness": 12},
        contours={"showlines": False},
        ncontours=24,
        hovertext=[
            [
                plain(f"{x_name} {a:.2f}, {y_name} {b:.2f}: {value:+.2f} ± {spread:.2f}")
                for a, value, spread in zip(x, values, spreads, strict=True)
            ]
            for b, values, spreads in zip(y, utility, deviation, strict=True)
        ],
        hoverinfo="text",
    )
    figure.add_scatter(
        x=[point[0] for point in points],
        y=[point[1] for point in points],
        mode="markers",
        name=wording.OPTIMA,
        marker={"size": 5, "color": "rgba(255,255,255,0.45)", "line": {"width": 0.5, "color": "rgba(0,0,0,0.5)"}},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[best_x.value],
        y=[best_y.value],
        error_x=_reach(best_x),
        error_y=_reach(best_y),
        mode="markers",
        name=wording.PREFERRED,
        marker={"size": 15, "symbol": "star", "color": "#ffffff", "line": {"width": 1.5, "color": "#000000"}},
        hovertext=[plain(f"{wording.PREFERRED}: {x_name} {best_x.value:.2f}, {y_name} {best_y.value:.2f}")],
        hoverinfo="text",
    )
    figure.update_xaxes(title=plain(x_name, 60))
    figure.update_yaxes(title=plain(y_name, 60))
    return framed(figure, PLANE_PIXELS)


def preference_line(found: Preference) -> go.Figure:
    """The utility along the only weight, with a band of two standard deviations, and the preferred weight."""
    name = found.axes[0]
    weights = np.linspace(found.low, found.high, 61)
    utility, deviation = found.utility(weights)
    x, best = weights[:, 0].tolist(), found.preferred[name]
    figure = go.Figure()
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*(utility + 2 * deviation).tolist(), *reversed((utility - 2 * deviation).tolist())],
        fill="toself",
        fillcolor="rgba(46,125,209,0.2)",
        line={"width": 0},
        hoverinfo="skip",
    )
    figure.add_scatter(x=x, y=utility.tolist(), mode="lines", line={"color": COLOURS[0], "width": 2}, hoverinfo="skip")
    figure.add_vrect(x0=best.low, x1=best.high, fillcolor="#e66101", opacity=0.12, line={"width": 0})
    figure.add_vline(x=best.value, line={"color": "#e66101", "width": 2})
    figure.update_xaxes(title=plain(name, 60), range=[x[0], x[-1]])
    figure.update_yaxes(title=wording.GAIN_AXIS)
    figure.update_layout(showlegend=False)
    return framed(figure, PLANE_PIXELS - 120)


def _reach(found: Estimate) -> dict[str, object]:
    reach = {"array": [found.high - found.value], "arrayminus": [found.value - found.low]}
    return {"type": "data", "symmetric": False, "color": "#ffffff", "thickness": 2, **reach}


def _hover(row: str, name: str, found: Estimate, is_share: bool) -> str:
    value, low, high = (
        f"{number:.1%}" if is_share else f"{number:+.2f}" for number in (found.value, found.low, found.high)
    )
    return f"{plain(row)}<br>{plain(name)}: {value} ({low} – {high})"


def _label(row: str, n_lines: int) -> str:
    lines = textwrap.wrap(row, LABEL_CHARS, max_lines=n_lines, placeholder="…")
    return "<br>".join(plain(line) for line in lines)


def labels(rows: Sequence[str]) -> tuple[list[str], int]:
    """The rows' names in short lines, so that narrow screens have room beside them, and how many lines they may have.

    They are two, or more where names that are not the same would look it.
    """
    for n_lines in range(LABEL_LINES, MAX_LABEL_LINES + 1):
        names = [_label(row, n_lines) for row in rows]
        if len(set(names)) == len(set(rows)):
            break
    return names, n_lines


def _rows(figure: go.Figure, rows: Sequence[str], axis: str, is_share: bool) -> None:
    names, n_lines = labels(rows)
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=names,
        range=[len(rows) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )
    figure.update_xaxes(title="<br>".join(textwrap.wrap(axis, TITLE_CHARS)), zeroline=False)
    if is_share:
        figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%")
    row_pixels = ROW_PIXELS + LINE_PIXELS * (n_lines - LABEL_LINES)
    framed(figure, FRAME_PIXELS + row_pixels * max(2, len(rows)))


def framed(figure: go.Figure, pixels: int) -> go.Figure:
    """Give a figure the looks of all figures, and its height; returns it."""
    figure.update_xaxes(gridcolor=GRID, linecolor=GRID, automargin=True)
    figure.update_yaxes(gridcolor=GRID, linecolor=GRID, automargin=True)
    figure.update_layout(
        template="none",
        height=pixels,
        autosize=True,
        font=FONT,
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        margin={"l": 8, "r": 8, "t": 30, "b": 8},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        dragmode=False,
        hoverlabel={"font": {"size": 12}, "align": "left"},
    )
    return figure
