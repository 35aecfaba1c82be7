"""Made-up data in the form of the embedded model's, and what a tiny build makes of them."""

import json
import random
from pathlib import Path

import pytest

from models.demo.build.build import build
from models.demo.build.settings import BuildSettings

COMMAND = "python -m models.demo.build --size tiny"
ADJECTIVES = ("red", "old", "small", "quick", "green", "quiet", "happy", "warm")
NOUNS = ("cat", "dog", "house", "river", "garden", "teacher", "train", "apple")
VERBS = ("sees", "likes", "finds", "follows", "paints", "carries")


def sentence(draw: random.Random) -> str:
    """Such as: The red cat sees the old river 17."""
    words = [draw.choice(ADJECTIVES), draw.choice(NOUNS), draw.choice(VERBS), "the", draw.choice(NOUNS)]
    return f"The {' '.join(words)} {draw.randrange(1000)}."


def user(text: str) -> list[dict[str, str]]:
    """A prompt of one turn."""
    return [{"role": "user", "content": text}]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(path: Path) -> list[dict[str, object]]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_data(folder: Path, n_documents: int = 300, n_pairs: int = 80) -> Path:
    """A folder with documents and pairs of both dimensions."""
    draw = random.Random(0)
    documents: list[dict[str, object]] = []
    for index in range(n_documents):
        more: dict[str, object] = {"source": f"source-{index % 3}", "licence": "MIT"}
        text = " ".join(sentence(draw) for _ in range(4))
        answer = [{"role": "assistant", "content": text}]
        documents.append(more | ({"text": text} if index % 4 == 0 else {"messages": user(sentence(draw)) + answer}))
    write(folder / "pretrain.jsonl", documents)
    for dimension in ("helpfulness", "harmlessness"):
        pairs: list[dict[str, object]] = []
        for index in range(n_pairs):
            prompt = user(f"{sentence(draw)} What then, {index // 2}?")
            texts = {"chosen": sentence(draw) + " So it is good.", "rejected": sentence(draw)}
            pairs.append({"prompt": prompt, **texts, "source": "made-up", "licence": "MIT"})
        write(folder / f"pairs_{dimension}.jsonl", pairs)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data's folder."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def built(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole tiny build."""
    out = tmp_path_factory.mktemp("built")
    build(BuildSettings(data, out, size="tiny", device="cpu"), COMMAND)
    return out
