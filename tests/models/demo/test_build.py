"""A whole build, tiny: what comes out answers, and a killed one goes on to the same weights."""

import json
import signal
from pathlib import Path

import pytest

from models.answers import ComparisonRequest
from models.assembly import load_engine
from models.demo.build.__main__ import main
from models.demo.build.build import build, weight_sizes
from models.demo.build.settings import SIZES, BuildSettings
from models.guides import check_hash, hash_files, read_card
from models.options import EngineOptions
from models.presets import GuideSpec, Preset, Source
from models.training.run_folder import read_progress
from steering.errors import InputError, SettingsError
from steering.types import Blend, Message, Role, SamplingSettings
from tests.models.demo.conftest import COMMAND
from tests.models.training.running import run_aside

DIMENSIONS = ("helpfulness", "harmlessness")


def hashes(out: Path) -> dict[str, str]:
    """The hash over the weights of base and guides."""
    return {name: hash_files(out / name) for name in ("base", *(f"guides/{each}" for each in DIMENSIONS))}


def test_what_is_built_loads_and_answers_with_both_guides(built: Path) -> None:
    guides = tuple(GuideSpec(Source(str(built / "guides" / dimension))) for dimension in DIMENSIONS)
    preset = Preset("built", Source(str(built / "base")), guides)
    engine = load_engine(preset, device="cpu", dtype="float32", options=EngineOptions(in_background=False))
    assert [guide.dimension for guide in engine.guides] == list(DIMENSIONS)
    blends = (Blend(), Blend({"helpfulness": 2.0, "harmlessness": 1.0}))
    sampling = SamplingSettings(max_new_tokens=8, stop_at_eos=False)
    *_, last = engine.compare(ComparisonRequest((Message(Role.USER, "The red cat?"),), blends, sampling))
    unguided, guided = last.answers()
    assert (len(unguided.token_ids), len(guided.token_ids)) == (8, 8)
    assert (unguided.kl_per_token, guided.kl_per_token) == (0, pytest.approx(guided.kl_per_token, abs=10))
    assert guided.kl_per_token != 0


def test_each_guides_card_tells_its_pairs_its_unit_and_the_hash_of_its_files(built: Path) -> None:
    for dimension in DIMENSIONS:
        folder = built / "guides" / dimension
        card = read_card(folder)
        assert card.hash == check_hash(folder)
        assert (card.dimension, card.base_id, card.licence) == (dimension, "tiller-demo", "Apache-2.0")
        lines = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
        n_train = sum(line["half"] == "train" for line in lines)
        assert card.n_pairs == n_train > 0
        assert card.metrics["n_pairs"] == sum(line["half"] == "held_out" for line in lines) > 0
        assert card.metrics["calibration"]["target_nats"] == 0.1


def test_the_card_counts_documents_pairs_and_bytes(built: Path, data: Path) -> None:
    text = (built / "CARD.md").read_text(encoding="utf-8")
    found = json.loads((built / "work" / "documents.json").read_text())
    assert found["n_read"] == sum(found["left_out"].values()) + found["n_train"] + found["n_validation"] == 300
    assert (
        f"Documents: 300 read, left out: {found['left_out']['tested_prompt'] if found['left_out'] else 'none'}" in text
    )
    assert "| source-0 | MIT |" in text
    assert COMMAND in text


def test_a_killed_build_goes_on_to_the_weights_of_one_that_was_not(built: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    given = ["--data", str(data), "--out", str(out), "--size", "tiny", "--device", "cpu"]
    assert run_aside(given, "step 9", program=main) == [-signal.SIGKILL]
    assert not (out / "work" / "base.json").exists()  # it was killed in the middle
    assert (out / "work" / "base.checkpoint").exists()
    build(BuildSettings(data, out, size="tiny", device="cpu"), COMMAND)
    steps = [event["step"] for event in read_progress(out / "work") if event["event"] == "step"]
    assert max(steps) < len(steps) < max(steps) + 9  # some was done twice, and it did not begin again
    assert hashes(out) == hashes(built)


def test_a_build_that_is_done_is_not_done_again_and_not_gone_on_with_otherwise(built: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*.safetensors")}
    build(BuildSettings(data, built, size="tiny", device="cpu"), COMMAND)
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*.safetensors")} == before
    with pytest.raises(SettingsError, match="had another seed: 0, now 1"):
        build(BuildSettings(data, built, size="tiny", device="cpu", seed=1), COMMAND)


def test_a_base_that_is_given_is_taken_as_it_is_and_gets_new_guides(built: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "guides-only"
    build(BuildSettings(data, out, size="tiny", device="cpu", base=built / "base"), COMMAND)
    assert hashes(out) == hashes(built)  # the same base and the same pairs make the same guides
    assert "taken as it was" in (out / "CARD.md").read_text(encoding="utf-8")


def test_weights_that_are_too_large_to_keep_with_the_code_are_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with (tmp_path / "base" / "model.safetensors").open("wb") as file:
        file.truncate(16_000_001)
    with pytest.raises(InputError, match="largest file 16000001"):
        weight_sizes(tmp_path)


@pytest.mark.parametrize(
    ("given", "code"),
    [(["--data", "nowhere"], 2), (["--data", "nowhere", "--tokens", "-1"], 2)],
    ids=["data", "tokens"],
)
def test_bad_input_ends_with_code_2_and_says_what(
    given: list[str], code: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main([*given, "--out", str(tmp_path / "out"), "--size", "tiny"]) == code
    assert "nowhere" in caplog.text or "must be 0 or more" in caplog.text


def test_sizes_are_those_the_help_speaks_of() -> None:
    assert set(SIZES) == {"small", "base", "tiny"}
