"""The page's looks: Gradio's theme, our style sheet and script."""

import json
from pathlib import Path

import gradio as gr

from steering.types import Side
from ui import wording

_FOLDER = Path(__file__).parent / "components"
_WORDS_PLACE = "/*words*/ {}"


def build_theme() -> gr.themes.Base:
    """A quiet theme with fonts of the machine itself, so that nothing is fetched from elsewhere."""
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        spacing_size="sm",
        radius_size="md",
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        block_shadow="none",
        button_small_padding="4px 10px",
        # White on Gradio's own, one step lighter, is below the 4.5 : 1 that WCAG asks of text.
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_dark="*neutral_700",
    )


def style_sheet() -> str:
    """The pages' CSS."""
    names = ("page.css", "judge.css", "results.css", "studies.css", "guides.css")
    return "".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


def head() -> str:
    """The pages' scripts with their words, as tags for the head."""
    words = json.dumps({"panes": {f"pane-{side}": wording.PANE_REGION[side] for side in Side}})
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    assert _WORDS_PLACE in script
    others = [(_FOLDER / name).read_text(encoding="utf-8") for name in ("judge.js", "studies.js")]
    return "".join(f"<script>{text}</script>" for text in (script.replace(_WORDS_PLACE, words), *others))
