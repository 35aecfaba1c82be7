"""A whole run: what it leaves behind, that a kill changes nothing, that it can be cancelled, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.assembly import load_engine
from models.engine import Engine
from models.guides import hash_files, read_card
from models.options import EngineOptions
from models.presets import GuideSpec, Preset, Source
from models.training.data import DataSettings
from models.training.loss import LossKind, LossSettings
from models.training.rows import read_rows
from models.training.run import train
from models.training.run_folder import COMPLETE, RunFolder, read_progress
from models.training.settings import AdapterSettings, CalibrationSettings, OptimiserSettings, TrainSettings
from models.training.train import main
from models.training.trainer import Cancelled, StopFlag
from steering.errors import SettingsError
from tests.models.training.conftest import some_rows, write_rows

ROOT = Path(__file__).parents[3]
OPTIMISER = OptimiserSettings(
    batch_size=4, micro_batch_size=2, epochs=12.0, eval_share=0.05, dtype="float32", patience=0
)


@pytest.fixture
def settings(base: Path, tmp_path: Path) -> TrainSettings:
    """A run of a minute at most on a tiny base."""
    return TrainSettings(
        base=str(base),
        dimension="cats",
        data=(write_rows(tmp_path / "rows.jsonl", some_rows(60)),),
        out=tmp_path / "run",
        base_id="tiny",
        choice=DataSettings(held_out_share=0.3),
        adapter=AdapterSettings(rank=2, lora_alpha=4),
        optimiser=OPTIMISER,
        calibration=CalibrationSettings(n_prompts=2, n_tokens=8),
    )


def command(settings: TrainSettings, *more: str) -> list[str]:
    """The command line of the same run."""
    given = {
        "--base": settings.base,
        "--base-id": "tiny",
        "--data": str(settings.data[0]),
        "--dimension": "cats",
        "--out": str(settings.out),
        "--held-out-share": "0.3",
        "--rank": "2",
        "--lora-alpha": "4",
        "--batch-size": "4",
        "--micro-batch-size": "2",
        "--epochs": "12",
        "--eval-share": "0.05",
        "--dtype": "float32",
        "--patience": "0",
        "--n-prompts": "2",
        "--n-tokens": "8",
    }
    return [*(word for pair in given.items() for word in pair), *more]


def start(arguments: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    program = [sys.executable, "-m", "models.training.train", *arguments]
    return subprocess.Popen(program, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def wait_for_step(process: subprocess.Popen, folder: Path, step: int) -> None:
    while not any(event.get("step", -1) >= step for event in read_progress(folder)):
        assert process.poll() is None, read_progress(folder)[-1]
        time.sleep(0.02)


def weights(guide: Path) -> dict[str, torch.Tensor]:
    return load_file(guide / "adapter_model.safetensors")


def pair_lines(guide: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (guide / "pairs.jsonl").read_text().splitlines()]


def test_a_run_killed_again_and_again_ends_in_the_very_weights_of_one_that_was_not(settings: TrainSettings) -> None:
    calm = replace(settings, out=settings.out.with_name("calm"))
    expected = weights(train(calm, "calm"))
    for number, step in enumerate((11, 47)):
        process = start(command(settings, *["--resume"] * (number > 0)))
        wait_for_step(process, settings.out, step)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (settings.out / "guide").exists()
    found = weights(train(settings, "resumed", resume=True))
    steps = [event["step"] for event in read_progress(settings.out) if event["event"] == "step"]
    assert len(steps) > len(set(steps)), "nothing was done twice, so the kills came too late"
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    cards = [read_card(run.out / "guide") for run in (calm, settings)]
    assert cards[0].hash == cards[1].hash
    assert cards[0].unit == pytest.approx(cards[1].unit, rel=0.03)  # a last bit may turn a bisection
    assert cards[0].held_out_accuracy == cards[1].held_out_accuracy


def test_a_finished_run_has_a_guide_with_its_card_that_the_engine_loads_and_nothing_else_lying_about(
    settings: TrainSettings,
) -> None:
    guide = train(replace(settings, licence="Apache-2.0"), "python -m models.training.train …")
    card = read_card(guide)
    assert (card.id, card.dimension, card.version, card.base_id) == ("tiny-cats-v1", "cats", 1, "tiny")
    assert card.hash == hash_files(guide)
    assert card.command == "python -m models.training.train …"
    assert card.versions["torch"] == torch.__version__.split("+")[0] or card.versions["torch"] == torch.__version__
    assert card.licence == "Apache-2.0"
    assert card.parent_version is None
    lines = pair_lines(guide)
    halves = {half: {line["id"] for line in lines if line["half"] == half} for half in ("train", "held_out")}
    assert halves["train"] == set(card.data_ids)
    assert not halves["train"] & halves["held_out"]
    assert len(lines) == 60
    measured = card.metrics
    assert measured["n_pairs"] == len(halves["held_out"])
    assert measured["low"] < measured["accuracy"] < measured["high"] or measured["accuracy"] in (0.0, 1.0)
    assert set(measured["by_source"]) == {"s0", "s1"}
    assert sum(each["n_pairs"] for each in measured["by_length"].values()) == measured["n_pairs"]
    assert sorted(path.name for path in settings.out.iterdir()) == ["guide", "progress.jsonl", "settings.json"]
    events = [event["event"] for event in read_progress(settings.out)]
    assert events[:3] == ["started", "data", "before"]
    assert events[-1] == "finished"
    assert str(settings.out) not in (guide / "adapter_config.json").read_text()
    preset = Preset("tiny", Source(settings.base), (GuideSpec(Source(str(guide))),))
    engine = load_engine(preset, device="cpu", dtype="float32", options=EngineOptions(in_background=False))
    assert engine.guides[0].unit == card.unit


@pytest.mark.parametrize(("n_tokens", "n_prompts"), [(112, 2), (128, 0)])
def test_the_unit_is_measured_on_prompts_that_leave_room_and_is_one_where_none_does(
    settings: TrainSettings, caplog: pytest.LogCaptureFixture, n_tokens: int, n_prompts: int
) -> None:
    """The base reads 128 tokens; a few of the prompts are made too long for 112 more."""
    rows = some_rows(60)
    for row in rows[:30:2]:
        row["prompt"] = [{"role": "user", "content": row["prompt"][0]["content"] + " the" * 16}]
    write_rows(settings.data[0], rows)
    calibration = CalibrationSettings(n_prompts=2, n_tokens=n_tokens)
    card = read_card(train(replace(settings, optimiser=replace(OPTIMISER, epochs=1.0), calibration=calibration), ""))
    assert card.metrics["calibration"]["n_prompts"] == n_prompts
    if not n_prompts:
        assert card.unit == 1.0
        assert card.metrics["calibration"]["note"] in caplog.text


def test_the_unit_is_measured_in_the_runs_precision_and_in_a_part_of_the_memory_that_is_left(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def load(preset: Preset, *, dtype: str = "auto", options: EngineOptions = EngineOptions()) -> Engine:  # noqa: B008
        made.append((load_engine(preset, dtype=dtype, options=options), options))
        return made[-1][0]

    monkeypatch.setattr("models.training.run.load_engine", load)
    train(replace(settings, optimiser=replace(OPTIMISER, epochs=0.5, dtype="bfloat16")), "")
    train(replace(settings, out=settings.out.with_name("other"), optimiser=replace(OPTIMISER, epochs=0.5)), "")
    assert [engine.base.dtype for engine, _ in made] == ["bfloat16", "float32"]
    assert all(options.memory_fraction <= 0.2 and options.max_slots <= 24 for _, options in made)


def test_the_checkpoint_is_chosen_on_other_prompts_than_the_card_reports_on(settings: TrainSettings) -> None:
    guide = train(replace(settings, optimiser=replace(OPTIMISER, epochs=1.0, patience=1)), "")
    found, lines = read_card(guide).metrics, pair_lines(guide)
    choosing, reporting = ({each["id"] for each in lines if each["half"] == h} for h in ("choosing", "held_out"))
    assert choosing
    assert (found["n_choosing"], found["n_pairs"]) == (len(choosing), len(reporting))
    (told,) = (e for e in read_progress(settings.out) if e["event"] == "before")
    assert told["n_pairs"] == len(reporting)
    prompts = {each.id: each.prompt_key for each in read_rows(settings.data, "cats").train}
    assert not {prompts[id] for id in choosing} & {prompts[id] for id in reporting}


def test_a_guide_is_trained_further_with_its_earlier_data(settings: TrainSettings, tmp_path: Path) -> None:
    short = replace(settings, optimiser=replace(OPTIMISER, epochs=1.0))
    parent = train(replace(short, choice=DataSettings(held_out_share=0.3, seed=1)), "")
    more = write_rows(tmp_path / "more.jsonl", some_rows(40, seed=5))
    child = train(
        replace(short, data=(more,), out=tmp_path / "child", parent=parent, replay=settings.data), "", resume=False
    )
    card, before = read_card(child), read_card(parent)
    assert (card.version, card.parent_version, card.parent_hash) == (2, 1, before.hash)
    assert card.metrics["data"]["n_replayed"] > 0
    with_both = (*settings.data, more)
    other = train(replace(short, data=with_both, out=tmp_path / "other", parent=child), "")
    tested = {line["id"] for line in pair_lines(other) if line["half"] == "held_out"}
    assert not tested & {*before.data_ids, *card.data_ids}
    assert read_card(other).metrics["data"]["n_seen_by_parent"] > 0
    old = weights(parent)
    assert any(not torch.equal(old[name], weight) for name, weight in weights(child).items())


def test_a_small_model_is_trained_as_a_whole_and_saved_with_its_tokenizer(settings: TrainSettings) -> None:
    whole = replace(
        settings, adapter=AdapterSettings(rank=0), optimiser=replace(OPTIMISER, epochs=1.0, gradient_checkpointing=True)
    )
    guide = train(whole, "")
    assert (guide / "tokenizer.json").exists()
    preset = Preset("tiny", Source(settings.base), (GuideSpec(Source(str(guide))),))
    engine = load_engine(preset, device="cpu", dtype="float32", options=EngineOptions(in_background=False))
    assert engine.guides[0].kind == "model"


def test_single_responses_are_trained_on_with_the_unpaired_loss(settings: TrainSettings, tmp_path: Path) -> None:
    rows = some_rows(40)
    singles = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in rows[:10]
        for side in ("chosen", "rejected")
    ]
    data = (write_rows(tmp_path / "pairs.jsonl", rows[10:]), write_rows(tmp_path / "singles.jsonl", singles))
    unpaired = replace(
        settings, data=data, loss=LossSettings(LossKind.UNPAIRED), optimiser=replace(OPTIMISER, epochs=1.0)
    )
    card = read_card(train(unpaired, ""))
    assert card.n_pairs > 20


def test_sigterm_cancels_and_the_run_can_go_on(settings: TrainSettings) -> None:
    process = start(command(settings))
    wait_for_step(process, settings.out, 10)
    process.terminate()
    assert process.wait(timeout=60) == 143
    assert read_progress(settings.out)[-1]["event"] == "cancelled"
    assert not (settings.out / "guide").exists()
    assert train(settings, "", resume=True).exists()


def test_a_cancel_before_the_first_step_is_a_cancel_too(settings: TrainSettings) -> None:
    with pytest.raises(Cancelled):
        train(settings, "", stop=StopFlag(is_set=True))


def test_a_checkpoint_that_a_kill_left_half_written_is_not_gone_on_with(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step, is_complete in ((5, True), (20, True), (100, False)):
        checkpoint = folder.checkpoints / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        if is_complete:
            (checkpoint / COMPLETE).touch()
    newest = folder.newest_checkpoint()
    assert newest is not None
    assert newest.name == "checkpoint-20"
    assert not (folder.checkpoints / "checkpoint-100").exists()


@pytest.mark.parametrize("what", ["finished", "not_asked", "other_settings", "other_data", "no_run"])
def test_a_folder_that_cannot_be_used_is_refused_and_left_as_it_is(settings: TrainSettings, what: str) -> None:
    if what == "no_run":
        settings.out.mkdir()
        (settings.out / "mine.txt").write_text("mine")
    else:
        with pytest.raises(Cancelled):
            train(settings, "", stop=StopFlag(is_set=True))
    if what == "finished":
        (settings.out / "guide").mkdir()
    if what == "other_data":
        write_rows(settings.data[0], some_rows(61))
    if what == "other_settings":
        settings = replace(settings, loss=LossSettings(beta=0.2))
    before = sorted(path.name for path in settings.out.iterdir())
    with pytest.raises(SettingsError) as caught:
        train(settings, "", resume=what not in ("not_asked", "no_run"))
    assert caught.value.hint
    assert sorted(path.name for path in settings.out.iterdir()) == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--targets", "q_proj,qproj"], "No layer of the base model is called 'qproj'"),
        (["--beta", "0"], "beta is 0.0"),
        (["--dimension", "overall"], "The dimension is 'overall'"),
        (["--parent", "nowhere", "--rank", "4"], "a model of its own"),
        (["--base", "/nowhere"], "nowhere"),
    ],
)
def test_bad_input_ends_with_a_reason(
    settings: TrainSettings, more: list[str], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(command(settings, *more)) in (1, 2)
    assert words in caplog.text


def test_a_failure_is_told_to_whoever_watches(settings: TrainSettings) -> None:
    assert main(command(settings, "--min-reliability", "0.5")) == 2
    last = read_progress(settings.out)[-1]
    assert last["event"] == "failed"
    assert "reliability_unknown" in last["message"]
    assert last["hint"]


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    RunFolder(tmp_path).say("started")
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"event": "st')
    assert [event["event"] for event in read_progress(tmp_path)] == ["started"]


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--base", "--data", "--resume", "--targets", "--label-smoothing", "--target-nats", "--replay"):
        assert option in text


def test_the_published_example_of_a_sharded_run_is_one_that_accelerate_reads() -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import DistributedType

    config = load_config_from_file(str(ROOT / "docs" / "fsdp.yaml"))
    assert config.distributed_type == DistributedType.FSDP
    assert config.fsdp_config["fsdp_version"] == 2
    assert config.mixed_precision == "bf16"


@pytest.fixture(autouse=True)
def sigterm_as_before() -> Callable[[], None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)
