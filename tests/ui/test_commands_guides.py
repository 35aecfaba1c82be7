"""Versions of guides from the command line, with the embedded model."""

import json
import os
import shutil
from pathlib import Path

import pytest

from models.guides import read_card
from models.presets import load_preset
from models.versions.starting import open_registry
from ui.cli import main

Capture = pytest.CaptureFixture[str]
MODELS = ("--device", "cpu", "--dtype", "float32")


@pytest.fixture(autouse=True)
def without_settings_of_whoever_runs_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TILLER_")]:
        monkeypatch.delenv(name)


def guides(capsys: Capture, home: Path, *arguments: str) -> tuple[int, str, str]:
    code = main(["guides", *arguments, "--home", str(home)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def generated(capsys: Capture, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[dict[str, object]]]:
    """The guided text, and the guides it names."""
    monkeypatch.setenv("TILLER_HOME", str(home))
    asked = ("--prompt", "Hello", "--weight", "helpfulness=3", "--max-new-tokens", "12", "--json", *MODELS)
    assert main(["generate", *asked]) == 0
    document = json.loads(capsys.readouterr().out)
    return document["answers"][1]["text"], document["guides"]


def demo_guide(dimension: str) -> str:
    index = {"helpfulness": 0, "harmlessness": 1}[dimension]
    return str(load_preset("demo").guides[index].source.folder)


def test_a_guide_is_imported_published_used_and_rolled_back(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    before, first_guides = generated(capsys, home, monkeypatch)
    code, out, _ = guides(
        capsys, home, "import", demo_guide("harmlessness"), "--dimension", "helpfulness", "--publish", *MODELS
    )
    assert code == 0
    assert "helpfulness version 2 was checked on tiller-demo and is kept." in out
    after, second_guides = generated(capsys, home, monkeypatch)
    assert after != before
    assert second_guides[0]["sha256"] == first_guides[1]["sha256"] != first_guides[0]["sha256"]
    _, out, _ = guides(capsys, home, "list")
    assert "helpfulness version 2*" in out
    assert "helpfulness version 2 published" in out
    code, out, _ = guides(capsys, home, "roll-back", "helpfulness")
    assert (code, "helpfulness version 1 is the active one now." in out) == (0, True)
    assert generated(capsys, home, monkeypatch) == (before, first_guides)
    assert guides(capsys, home, "publish", "helpfulness", "2")[0] == 0
    assert generated(capsys, home, monkeypatch)[0] == after


def test_rolling_back_the_first_guide_of_a_dimension_leaves_none(capsys: Capture, tmp_path: Path) -> None:
    open_registry(tmp_path, load_preset("demo")).add(Path(demo_guide("harmlessness")), "wit", {})
    assert guides(capsys, tmp_path, "publish", "wit", "1")[0] == 0
    assert "wit version 1*" in guides(capsys, tmp_path, "list")[1]
    code, out, _ = guides(capsys, tmp_path, "roll-back", "wit")
    assert (code, "There is no guide for wit any more." in out) == (0, True)
    _, out, _ = guides(capsys, tmp_path, "list")
    assert "wit version 1*" not in out
    assert "wit version 1 published" in out
    assert "wit no guide: rolled back" in out
    assert guides(capsys, tmp_path, "roll-back", "wit")[0] == 2


def test_two_versions_are_compared_by_their_cards_and_on_pairs(capsys: Capture, tmp_path: Path) -> None:
    guides(capsys, tmp_path, "import", demo_guide("harmlessness"), "--dimension", "helpfulness", *MODELS)
    rows = [{"prompt": f"{n} and {n}?", "chosen": f"It is {2 * n}.", "rejected": "No."} for n in range(4)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = guides(
        capsys, tmp_path, "compare", "helpfulness", "1", "2", "--pairs", str(tmp_path / "pairs.jsonl"), *MODELS
    )
    assert (code, err) == (0, "")
    for dimension in ("helpfulness", "harmlessness"):
        accuracy = read_card(Path(demo_guide(dimension))).held_out_accuracy
        assert accuracy is not None
        assert f"{accuracy:.3f}" in out
    assert "On 4 pairs: " in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("publish", "helpfulness", "9"), 2, "no version 9"),
        (("roll-back", "helpfulness"), 2, "No other guide for 'helpfulness' was active before"),
        (("roll-back", "wit"), 2, "'wit'"),
        (("import", "./absent"), 1, "There is no folder ./absent"),
    ],
)
def test_what_cannot_be_done_is_one_message(
    capsys: Capture, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    found, _, err = guides(capsys, tmp_path, *arguments)
    assert (found, err.count("\n")) == (code, 1)
    assert words in err


def test_a_truncated_guide_is_refused_and_nothing_is_kept(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "guide"
    shutil.copytree(demo_guide("helpfulness"), folder)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:10_000])
    code, _, err = guides(capsys, tmp_path / "home", "import", str(folder), *MODELS)
    assert code == 1
    assert "are not those its card was written for" in err
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_a_damaged_version_is_not_published(capsys: Capture, tmp_path: Path) -> None:
    guides(capsys, tmp_path, "import", demo_guide("helpfulness"), *MODELS)
    file = tmp_path / "guides" / "helpfulness" / "2" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    code, _, err = guides(capsys, tmp_path, "publish", "helpfulness", "2")
    assert code == 1
    assert "not those its card was written for" in err
    assert "helpfulness version 1*" in guides(capsys, tmp_path, "list")[1]
