"""The decoding benchmark's command line, with a model of two layers."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import decode
from benchmarks.shapes import SHAPES
from tests.benchmarks.conftest import TINY

DEMO = Path(__file__).parents[2] / "models" / "demo"
ARGUMENTS = ["--device", "cpu", "--dtype", "float32", "--rounds", "2", "--warm-ups", "1", "--tokens", "6"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the benchmark on a tiny shape and return its report and what it printed."""

    def run(*arguments: str) -> tuple[dict[str, Any], str]:
        monkeypatch.setitem(SHAPES, "7b", TINY)
        assert decode.main(["--shape", "7b", *ARGUMENTS, *arguments]) == 0
        printed = capsys.readouterr().out
        return json.loads(printed.splitlines()[-1]), printed

    return run


@pytest.mark.parametrize("path", ["auto", "static"])
def test_every_case_is_measured_on_every_path(measured: Any, path: str) -> None:
    report, printed = measured("--visitors", "1,3", "--path", path)
    assert list(report["cases"]) == [
        "unguided, no guides loaded",
        "unguided alone",
        "guided alone",
        "side by side, 1 guide",
        "side by side, 2 guides",
        "side by side, 4 guides",
        "grid of 5 blends",
        "grid of 9 blends",
        "1 visitor, side by side",
        "3 visitors, side by side",
        "usual way, guided alone",
        "usual way, side by side",
    ]
    for name, case in report["cases"].items():
        assert name in printed
        assert 0 < case["ms_to_first_token"] <= case["ms_to_last_token"] <= case["ms_whole"]
        assert case["ms_per_token_min"] <= case["ms_per_token"] <= case["ms_per_token_max"]
    assert report["cases"]["side by side, 2 guides"]["ms_to_score"] > 0
    assert report["ratios"]["usual way, side by side / side by side, 2 guides"] > 0
    assert report["ratios"]["all tokens/s: 3 visitors, side by side / 1 visitor, side by side"] > 0
    assert report["path"] == path


def test_the_floor_is_that_of_the_base_without_its_guides(measured: Any) -> None:
    report, _ = measured("--only", "unguided")
    inner = 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48)
    head = 300 * 32
    assert report["model"]["base_bytes"] == 4 * (inner + head)
    assert report["floor_ms"] == pytest.approx(1000 * 4 * (inner + head) / report["copy_bytes_per_second"])
    assert list(report["cases"]) == ["unguided, no guides loaded", "unguided alone"]


def test_models_in_local_folders_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--folder", str(DEMO / "base"), "--guide", str(DEMO / "guides" / "helpfulness")]
    assert decode.main([*folders, "--only", "side", *ARGUMENTS]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(report["cases"]) == ["guided alone", "side by side, 1 guide"]
    assert report["model"]["base"] == "base"


def test_every_prompt_is_new_to_the_engine(measured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that was read before is remembered, and its first token would come sooner than a visitor's."""
    asked: list[str] = []
    request = decode.Cases.prompt

    def noted(cases: decode.Cases) -> str:
        asked.append(request(cases))
        return asked[-1]

    monkeypatch.setattr(decode.Cases, "prompt", noted)
    measured("--only", "grid")
    assert len(asked) > 6
    assert len(set(asked)) == len(asked)
    assert len({prompt[:5] for prompt in asked}) == len(asked)  # they differ from their beginning on


@pytest.mark.parametrize(
    "arguments", [["--tokens", "1"], ["--rounds", "0"], ["--only", "grids"], ["--visitors", "0"], ["--shape", "70b"]]
)
def test_a_bad_option_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        decode.main(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_device_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert decode.main(["--device", "tpu"]) == 1
    assert "tpu" in capsys.readouterr().err
