"""A form of a new study as it comes from the page: what the page shows at first, with anything typed into it."""

import base64
import json

from tests.ui.fakes import GUIDES
from ui import wording_studies as wording
from ui.studying.forms import N_BLENDS, N_GOLD, N_QUESTIONS

DIMENSIONS = tuple(guide.dimension for guide in GUIDES)


def typed(**changes: object) -> dict[str, object]:
    """The values by name; a name's underscores stand for the hyphens of a row's (``blend_2_name``)."""
    values: dict[str, object] = {
        "name": "Pilot",
        "source": "pasted",
        "pasted": "One?\nTwo?\nThree?",
        "file": "",
        "built_in": "everyday",
        "compared": "fixed",
        "pairs_per_prompt": 1,
        "overlap": 1,
        "repeat_share": 0,
        "gold_share": 0,
        "seed": 0,
        "order": "fewest",
        "reveal": False,
        "consent": "",
        "publish": False,
        "margin": 0.1,
        "temperature": 0.7,
        "top_p": 0.95,
        "top_k": 0,
        "min_p": 0,
        "max_new_tokens": 20,
        "plausibility": "",
    }
    rows = {"question": (N_QUESTIONS, ("dimension", "text")), "gold": (N_GOLD, ("prompt", "right", "wrong"))}
    for kind, (n_rows, names) in rows.items():
        values |= {f"{kind}-{number}-{name}": "" for number in range(1, n_rows + 1) for name in names}
    for number, (dimension, text) in enumerate(wording.DEFAULT_QUESTIONS.items(), start=1):
        values |= {f"question-{number}-dimension": dimension, f"question-{number}-text": text}
    for number in range(1, N_BLENDS + 1):
        values |= {f"blend-{number}-name": "", **{f"blend-{number}-{dimension}": 0 for dimension in DIMENSIONS}}
    values |= {"blend-1-name": "unguided", "blend-2-name": "balanced"}
    values |= {f"blend-2-{dimension}": 1 for dimension in DIMENSIONS}
    for dimension in DIMENSIONS:
        values |= {f"low-{dimension}": 0, f"high-{dimension}": 3}
    known = {name.replace("-", "_"): name for name in values}
    return values | {known[name]: value for name, value in changes.items()}


def a_file(name: str, content: str | bytes) -> str:
    """A file as the browser sends it."""
    read = content.encode() if isinstance(content, str) else content
    return json.dumps({"name": name, "size": len(read), "content": base64.b64encode(read).decode()})
