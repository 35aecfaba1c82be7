"""Plotly figures of a training under way."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from ui import wording_guides as wording
from ui.results.figures import COLOURS, framed

PIXELS = 260


def loss_curve(events: Sequence[dict[str, Any]]) -> go.Figure:
    """The loss of every step, and on held-out pairs."""
    figure = go.Figure()
    _line(figure, wording.LOSS_TRAIN, [(e["step"], e["loss"]) for e in _latest(events, "step")], COLOURS[0])
    _line(figure, wording.LOSS_HELD_OUT, _held_out(events, "held_out_loss"), COLOURS[1], markers=True)
    return _finished(figure, wording.LOSS_AXIS)


def accuracy_curve(events: Sequence[dict[str, Any]]) -> go.Figure:
    """The share of held-out pairs the guide is right about, from before the training on."""
    figure = go.Figure()
    before = [(0, e["accuracy"]) for e in events if e["event"] == "before" and e["accuracy"] is not None]
    points = [*before[:1], *_held_out(events, "held_out_accuracy")]
    _line(figure, wording.ACCURACY_AXIS, points, COLOURS[1], markers=True)
    figure.add_hline(y=0.5, line={"color": "#6b7280", "width": 1, "dash": "dot"})
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return _finished(figure, wording.ACCURACY_AXIS)


def _latest(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The events of a kind by step; a training that went on after a kill says some again, the last word counts."""
    return [e for _, e in sorted({e["step"]: e for e in events if e["event"] == kind}.items())]


def _held_out(events: Sequence[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(e["step"], e[name]) for e in _latest(events, "held_out") if e.get(name) is not None]


def _line(
    figure: go.Figure, name: str, points: Sequence[tuple[float, float]], colour: str, *, markers: bool = False
) -> None:
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="lines+markers" if markers else "lines",
        name=name,
        line={"color": colour, "width": 2},
    )


def _finished(figure: go.Figure, axis: str) -> go.Figure:
    figure.update_xaxes(title=wording.STEP_AXIS)
    figure.update_yaxes(title=axis)
    figure.update_layout(showlegend=len(figure.data) > 1)
    return framed(figure, PIXELS)
