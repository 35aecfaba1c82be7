"""What the sliders were measured to do, as text: for the terminal, and as tables, figure and answers for docs/."""

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
from playwright.sync_api import sync_playwright
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from benchmarks.slider_answers import HARMLESSNESS, HELPFULNESS, Judged, Weights, share
from models.demo.blocked import has_blocked_word

PAGE, FIGURE, ANSWERS = "sliders.md", "sliders.png", "embedded-answers.md"
N_SHOWN = 40
SHOWN: dict[str, Weights] = {"unguided": (0.0, 0.0), "helpfulness 2": (2.0, 0.0), "harmlessness 2": (0.0, 2.0)}
_CHROMIUM = "/usr/bin/chromium"
_WIDTH, _HEIGHT, _MOST_CHARS = 980, 430, 300

Report = Mapping[str, Any]


def print_report(report: Report) -> None:
    """Print hardware, judges, curves and plane."""
    for name, value in report["hardware"].items():
        print(f"{name}: {value}")
    print("\n".join(_page(report)))


def write_pages(folder: Path, report: Report, judged: Sequence[Judged]) -> None:
    """Write the page with its figure and the answers into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text("\n".join(_page(report)) + "\n", encoding="utf-8")
    (folder / ANSWERS).write_text("\n".join(_answers(report, judged)) + "\n", encoding="utf-8")
    draw(report, folder / FIGURE)


def draw(report: Report, path: Path) -> None:
    """Draw both judges' scores over the plane as a PNG, with the browser that the tests use."""
    weights = sorted({row[HELPFULNESS] for row in report["plane"]})
    names = (HELPFULNESS, HARMLESSNESS)
    figure = make_subplots(cols=2, subplot_titles=[f"{name} judge" for name in names], horizontal_spacing=0.16)
    for column, name in enumerate(names, start=1):
        found = {(row[HELPFULNESS], row[HARMLESSNESS]): row["scores"][name][0] for row in report["plane"]}
        z = [[found[x, y] for x in weights] for y in weights]
        text = [[f"{value:.2f}" for value in row] for row in z]
        bar = {"x": 0.43 if column == 1 else 1.01, "thickness": 12}
        heat = go.Heatmap(x=weights, y=weights, z=z, text=text, texttemplate="%{text}", colorbar=bar)
        figure.add_trace(heat, row=1, col=column)
        figure.update_xaxes(title_text="weight of helpfulness", dtick=1, row=1, col=column)
        figure.update_yaxes(title_text="weight of harmlessness", dtick=1, row=1, col=column)
    figure.update_layout(
        width=_WIDTH, height=_HEIGHT, margin={"t": 50, "b": 60, "l": 60, "r": 60}, template="plotly_white"
    )
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "figure.html"
        figure.write_html(page_file, include_plotlyjs=True, config={"staticPlot": True})
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _WIDTH + 16, "height": _HEIGHT + 16})
        page.goto(page_file.as_uri())
        page.locator(".main-svg").first.wait_for()
        page.screenshot(path=path)
        browser.close()


def _page(report: Report) -> list[str]:
    lines = [
        "# What the sliders of the embedded model do",
        "",
        f"    {report['command']}",
        "",
        f"{report['n_prompts']} held-out prompts, half of them risky, answers of at most {report['n_tokens_at_most']} "
        "tokens at the page's usual sampling, the same seed at every weight. The judges are sequence-level reward "
        f"models; a score is in the units of their loss. {_seen(report['share_seen_by_guides'])} Intervals are 95 %, "
        "bootstrapped over prompts.",
        "",
        "| judge of | pairs | held-out pair accuracy | interval | held-out pairs |",
        "|---|---|---|---|---|",
    ]
    for dimension, card in report["judges"].items():
        low, high = card["interval"]
        lines.append(
            f"| {dimension} | {card['n_pairs']} | {card['held_out_accuracy']:.3f} | {low:.3f} to {high:.3f} | "
            f"{card['n_held_out']} |"
        )
    for dimension, curve in report["curves"].items():
        lines += ["", *_curve(dimension, curve)]
    lines += ["", *_plane(report)]
    blocked = report["n_answers_with_blocked_words"]
    lines += ["", f"{blocked} of {report['n_answers']} answers have a word of the list in `models/demo/blocked.txt`."]
    lines += [
        "",
        f"The model loads in {report['seconds_loading']:.2f} s; 100 tokens side by side take "
        f"{report['seconds_side_by_side_100_tokens']:.2f} s ({report['hardware']['device']}, "
        f"{report['hardware']['cores']} cores, {report['hardware']['date']}).",
    ]
    return lines


def _seen(seen: float | None) -> str:
    judges = "The judges have not been trained on these prompts."
    if seen is None:
        return (
            f"{judges} The guides may have been, and on the judges' pairs too: their cards do not say what they were "
            "trained on."
        )
    return f"{judges} The guides have been trained on {100 * seen:.1f} % of the judges' and the tested pairs."


def _curve(dimension: str, curve: Report) -> list[str]:
    verdict = "rises up to weight 2" if curve["rises"] else "does not rise for certain up to weight 2"
    lines = [
        f"## {dimension.capitalize()} alone",
        "",
        f"The score {verdict}; its best gain is {curve['best_gain']:.2f} standard deviations of the unguided scores "
        f"({curve['standard_deviation']:.2f}). Wanted are a rise and 0.5: {'met' if curve['is_met'] else 'not met'}.",
        "",
        "| weight | score | gain in standard deviations | KL per token | refusals, risky | refusals, ordinary | ended "
        "by itself | tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return [*lines, *map(_point, curve["points"])]


def _point(point: Report) -> str:
    cells = [
        f"{point['weight']:g}",
        _estimate(point["score"]),
        _estimate(point["gain"]),
        _estimate(point["kl"], 3),
        _share(point["refusals_risky"]),
        _share(point["refusals_ordinary"]),
        _share(point["ended"]),
        f"{point['tokens']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _plane(report: Report) -> list[str]:
    weights = sorted({row[HELPFULNESS] for row in report["plane"]})
    lines = [
        "## Both together",
        "",
        f"{report['n_plane_prompts']} of the prompts at 5 × 5 weights: helpfulness across, harmlessness down.",
        "",
        f"![Scores of both judges over the plane of weights]({FIGURE})",
    ]
    found = {(row[HELPFULNESS], row[HARMLESSNESS]): row for row in report["plane"]}
    cells: dict[str, Callable[[Report], str]] = {
        "Score of the helpfulness judge": lambda row: _estimate(row["scores"][HELPFULNESS]),
        "Score of the harmlessness judge": lambda row: _estimate(row["scores"][HARMLESSNESS]),
        "KL per token": lambda row: f"{row['kl']:.3f}",
    }
    for title, cell in cells.items():
        lines += ["", f"{title}:", "", "| |" + "".join(f" {x:g} |" for x in weights), "|---" * (len(weights) + 1) + "|"]
        lines += [f"| {y:g} |" + "".join(f" {cell(found[x, y])} |" for x in weights) for y in weights]
    return lines


def _answers(report: Report, judged: Sequence[Judged]) -> list[str]:
    by_prompt: dict[int, dict[Weights, Judged]] = {}
    for each in judged:
        by_prompt.setdefault(id(each.prompt), {})[each.weights] = each
    prompts = [rows for rows in by_prompt.values() if not has_blocked_word(_said(rows[0.0, 0.0]))]
    drawn = random.Random(0).sample(prompts, min(N_SHOWN, len(prompts)))
    lines = [
        "# Answers of the embedded model, as they are",
        "",
        f"    {report['command']}",
        "",
        f"{len(drawn)} of {report['n_prompts']} held-out prompts, drawn by chance, with what the model wrote at "
        f"temperature 0.7 in at most {report['n_tokens_at_most']} tokens. It has 7.5 million parameters: it knows next "
        "to nothing, and nothing here is advice. The prompts are cut to their last turn and 300 characters; half "
        "of them ask for what should be refused. Their sources and licences stand beside them.",
        "",
        "Of all answers these ended by themselves: "
        + ", ".join(f"{name} {_share(_ended(judged, weights))}" for name, weights in SHOWN.items())
        + ".",
    ]
    for number, rows in enumerate(drawn, start=1):
        prompt = rows[0.0, 0.0].prompt
        lines += [
            "",
            f"## {number}. {prompt.kind} ({prompt.source}, {prompt.licence})",
            "",
            _quoted(_said(rows[0.0, 0.0])),
        ]
        for name, weights in SHOWN.items():
            each = rows[weights]
            lines += ["", f"**{name}**{'' if each.ended else ' (cut)'}: {_one_line(each.text)}"]
    return lines


def _said(judged: Judged) -> str:
    return judged.prompt.messages[-1].content


def _quoted(text: str) -> str:
    line = _one_line(text)
    return "> " + (line if len(line) <= _MOST_CHARS else line[: _MOST_CHARS - 1] + "…")


def _one_line(text: str) -> str:
    """A text as one line of Markdown in which nothing is markup."""
    line = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for sign in "*_`#[]|":
        line = line.replace(sign, f"\\{sign}")
    return line or "(nothing)"


def _ended(judged: Sequence[Judged], weights: Weights) -> float | None:
    return share([each.ended for each in judged if each.weights == weights])


def _estimate(values: Sequence[float], digits: int = 2) -> str:
    mean, low, high = values
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
