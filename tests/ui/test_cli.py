"""Tiller in a terminal: what is printed, what replays, and which exit code says whose fault it was."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from models.guides import read_card
from ui.cli import main

ROOT = Path(__file__).parent.parent.parent
UNITS = {name: read_card(ROOT / "models/demo/guides" / name).unit for name in ("helpfulness", "harmlessness")}
Capture = pytest.CaptureFixture[str]
SHORT = ("--max-new-tokens", "6", "--device", "cpu", "--dtype", "float32")


@pytest.fixture(autouse=True)
def without_settings_of_whoever_runs_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TILLER_"):
            monkeypatch.delenv(name)


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "ui.cli", "generate", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, timeout=120)


def document(capsys: Capture, *arguments: str) -> dict:
    """The document that the command prints, run here; nothing else may be on either stream."""
    assert main(["generate", *arguments, *SHORT]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return json.loads(out)


def test_in_plain_text_the_unguided_answer_comes_first_and_the_guided_one_says_its_blend(capsys: Capture) -> None:
    arguments = ["--prompt", "Hello", "--weight", "helpfulness=2", "--weight", "harmlessness=-0.5"]
    assert main(["generate", *arguments, *SHORT]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "Unguided"
    assert lines[1].startswith("[6 tokens, length, KL 0.000 nats per token]")
    (guided,) = [place for place, line in enumerate(lines) if line.startswith("Guided")]
    helpful, harmless = 2 * UNITS["helpfulness"], -0.5 * UNITS["harmlessness"]
    assert (
        lines[guided] == f"Guided: helpfulness 2 (exponent {helpful:.2g}), harmlessness -0.5 (exponent {harmless:.2g})"
    )
    assert "tokens, length, KL " in lines[guided + 1]


def test_the_document_has_exactly_the_promised_keys(capsys: Capture) -> None:
    made = document(capsys, "--prompt", "Hello", "--weight", "helpfulness=2", "--seed", "3", "--trace", "2")
    assert made.keys() == {"base", "guides", "messages", "prompt_token_ids", "sampling", "answers"}
    assert made["base"].keys() == {"id", "revision", "dtype", "device"}
    assert [guide.keys() for guide in made["guides"]] == [{"id", "dimension", "unit", "sha256"}] * 2
    assert made["messages"] == [{"role": "user", "content": "Hello"}]
    assert made["sampling"]["seed"] == 3
    unguided, guided = made["answers"]
    assert unguided["weights"] == {"helpfulness": 0.0, "harmlessness": 0.0}
    assert guided["weights"] == {"helpfulness": 2.0, "harmlessness": 0.0}
    assert guided["exponents"] == pytest.approx({"helpfulness": 2 * UNITS["helpfulness"], "harmlessness": 0.0})
    for answer in made["answers"]:
        assert answer.keys() == {
            *("weights", "exponents", "base_exponent", "text", "token_ids", "finish_reason", "seconds"),
            *("kl_per_token", "guide_rewards", "steps"),
        }
        assert [step["token_id"] for step in answer["steps"]] == answer["token_ids"]
        for step in answer["steps"]:
            assert step.keys() == {
                *("token_id", "base_logprob", "mixed_logprob", "guide_logprobs", "kl", "entropy", "top")
            }
            assert step["guide_logprobs"].keys() == {"helpfulness", "harmlessness"}
            assert [entry.keys() for entry in step["top"]] == [{"token_id", "base_prob", "mixed_prob"}] * 2
    assert str(ROOT) not in json.dumps(made)


def test_without_a_trace_the_document_has_no_steps_and_a_bare_trace_has_five_alternatives(capsys: Capture) -> None:
    arguments = ("--prompt", "Hello", "--weight", "helpfulness=1")
    assert "steps" not in document(capsys, *arguments, "--json")["answers"][0]
    traced = document(capsys, *arguments, "--trace")["answers"]
    assert {len(step["top"]) for answer in traced for step in answer["steps"]} == {5}
    none = document(capsys, *arguments, "--trace", "0")["answers"]
    assert {len(step["top"]) for answer in none for step in answer["steps"]} == {0}


def test_ignoring_eos_an_answer_goes_on_to_its_limit(capsys: Capture) -> None:
    def length(*options: str) -> int:
        assert main(["generate", "--prompt", "How do I make new friends?", "--seed", "42", "--json", *options]) == 0
        return len(json.loads(capsys.readouterr().out)["answers"][0]["token_ids"])

    by_itself = length("--max-new-tokens", "200")
    assert by_itself < 200
    limit = ("--max-new-tokens", str(by_itself + 3))
    assert (length(*limit), length(*limit, "--ignore-eos")) == (by_itself, by_itself + 3)


def test_temperature_0_gives_every_seed_the_same_answer(capsys: Capture) -> None:
    one, two = (
        document(capsys, "--prompt", "Hello", "--temperature", "0", "--seed", seed, "--json")["answers"][0]
        for seed in ("1", "2")
    )
    assert one["token_ids"] == two["token_ids"]


def test_a_seed_replays_the_same_tokens_in_a_new_process_whatever_the_terminal_speaks(capsys: Capture) -> None:
    arguments = (
        "--prompt",
        "日本語 🜁 <|end|>",
        "--weight",
        "helpfulness=2",
        "--seed",
        "11",
        "--temperature",
        "1",
        "--json",
    )
    here = document(capsys, *arguments)
    done = run(*arguments, *SHORT, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    there = json.loads(done.stdout.decode("utf-8"))
    token_ids = [answer["token_ids"] for answer in here["answers"]]
    for ours, theirs in zip(here.pop("answers"), there.pop("answers"), strict=True):
        assert (theirs["token_ids"], theirs["text"]) == (ours["token_ids"], ours["text"])
        # sums over a vocabulary in fp32 may differ in the last digits with the threads another process has
        assert theirs["kl_per_token"] == pytest.approx(ours["kl_per_token"], rel=1e-4, abs=1e-6)
        assert theirs["guide_rewards"] == pytest.approx(ours["guide_rewards"], rel=1e-4)
    assert there == here
    other = document(capsys, *arguments[:5], "12", *arguments[6:])
    assert [answer["token_ids"] for answer in other["answers"]] != token_ids


def test_a_chat_is_read_from_a_file(capsys: Capture, tmp_path: Path) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Who are you?"},
    ]
    (tmp_path / "chat.json").write_text(json.dumps(chat))
    assert document(capsys, "--messages", str(tmp_path / "chat.json"), "--json")["messages"] == chat


def test_a_prompt_is_read_from_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("From a pipe?\n"))
    (message,) = document(capsys, "--prompt", "-", "--json")["messages"]
    assert message["content"] == "From a pipe?\n"


def refused(capsys: Capture, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command that fails; standard output stays empty."""
    try:
        code = main(["generate", *arguments])
    except SystemExit as error:  # argparse
        code = error.code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return code, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "--prompt"),
        ("--prompt x --messages y", "not allowed with"),
        ("--prompt x --colour red", "unrecognized arguments: --colour"),
        ("--prompt x --temp 1", "unrecognized arguments: --temp"),
        ("--prompt x --seed 1.5", "--seed: invalid int value: '1.5'"),
        ("--prompt x --seed -1", "seed is -1; it must be"),
        ("--prompt x --seed 99999999999999999999", "seed is 99999999999999999999"),
        ("--prompt x --temperature hot", "invalid float value: 'hot'"),
        ("--prompt x --temperature -1", "temperature is -1.0; it must be"),
        ("--prompt x --temperature nan", "temperature is nan"),
        ("--prompt x --top-p 0", "top_p is 0.0; it must be"),
        ("--prompt x --min-p 2", "min_p is 2.0; it must be"),
        ("--prompt x --top-k -3", "top_k is -3; it must be"),
        ("--prompt x --max-new-tokens 0", "max_new_tokens is 0; it must be"),
        ("--prompt x --plausibility 7", "plausibility is 7.0; it must be"),
        ("--prompt x --base-exponent -1", "base exponent is -1"),
        ("--prompt x --base-exponent 0", "nothing to sample from"),
        ("--prompt x --weight helpfulness", "'helpfulness' is not DIMENSION=NUMBER"),
        ("--prompt x --weight =2", "'=2' is not DIMENSION=NUMBER"),
        ("--prompt x --weight helpfulness=much", "'helpfulness=much' is not DIMENSION=NUMBER"),
        ("--prompt x --weight helpfulness=nan", "'helpfulness' is nan"),
        ("--prompt x --weight helpfulness=1e9", "'helpfulness' is 1000000000.0"),
        ("--prompt x --weight a=1 --weight a=2", "gives 'a' twice"),
        ("--prompt x --trace 50", "50; it must be from 0 to 20"),
        ("--prompt x --preset other", "must be one of demo, tulu2-7b"),
        ("--prompt x --config=", "--config is empty"),
        ("--prompt x --preset demo --config x.toml", "only one can be used"),
        ("--prompt x --config absent.toml", "absent.toml cannot be read"),
        ("--prompt x --device tpu", "must be one of auto, cpu, cuda"),
        ("--prompt x --dtype int8", "must be one of auto, float32"),
        ("--messages absent.json", "absent.json cannot be read"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_message_before_anything_is_loaded(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, arguments: str, words: str
) -> None:
    monkeypatch.setattr("models.versions.starting.load_published", lambda *_, **__: pytest.fail("loaded a model"))
    code, err = refused(capsys, *arguments.split())
    assert code == 2
    assert words in err


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_bad_input(capsys: Capture, prompt: str) -> None:
    code, err = refused(capsys, "--prompt", prompt)
    assert (code, err) == (2, "tiller: The prompt is empty. Type a question or a request first.\n")


def test_standard_input_that_is_no_text_is_bad_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    code, err = refused(capsys, "--prompt", "-")
    assert code == 2
    assert err.startswith("tiller: Standard input is no text")


@pytest.mark.parametrize(
    "content",
    [
        *(b"[", b"\xff", b"[" * 100_000, b"7", b"[7]", b'{"role": "user", "content": "x"}', b'[{"role": "user"}]'),
        *(b'[{"role": "robot", "content": "x"}]', b'[{"role": "user", "content": null}]'),
    ],
)
def test_a_chat_that_cannot_be_read_is_bad_input(capsys: Capture, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chat.json").write_bytes(content)
    code, err = refused(capsys, "--messages", str(tmp_path / "chat.json"))
    assert code == 2
    assert "chat.json cannot be read" in err
    assert '{"role": "user" | "assistant" | "system", "content": "…"}' in err


def test_a_chat_without_a_message_is_bad_input(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text("[]")
    assert refused(capsys, "--messages", str(tmp_path / "chat.json"))[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "Hello", "--weight", "wit=2"], "'wit'"),
        (["--prompt", "the cat " * 700, *SHORT[:2]], "fit beside an answer of up to 6 in the context of 1024"),
        (["--prompt", "x\ud800"], "surrogate"),
        (["--prompt", "x", "--weight", "helpfulness=-1", "--plausibility", "0"], "plausibility mask is off"),
    ],
)
def test_what_only_the_model_can_refuse_is_bad_input_too(capsys: Capture, arguments: list[str], words: str) -> None:
    code, err = refused(capsys, *arguments, *SHORT[2:])
    assert code == 2
    assert words in err


def test_too_long_a_prompt_is_refused_with_both_numbers(capsys: Capture) -> None:
    _, err = refused(capsys, "--prompt", "the cat " * 700, *SHORT)
    assert "has 140" in err  # two tokens a time and the template's own few
    assert "1018 fit" in err


def toml(folder: Path, text: str) -> str:
    """The path of a configuration file with this text."""
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


def test_a_configuration_that_is_wrong_is_bad_input(capsys: Capture, tmp_path: Path) -> None:
    code, err = refused(capsys, "--prompt", "x", "--config", toml(tmp_path, "[base\n"))
    assert code == 2
    assert "mine.toml is not valid TOML" in err


def test_a_model_folder_that_is_missing_is_exit_code_1(capsys: Capture, tmp_path: Path) -> None:
    code, err = refused(capsys, "--prompt", "x", "--config", toml(tmp_path, '[base]\nid = "./absent"\n'))
    assert code == 1
    assert err == f"tiller: There is no folder {tmp_path}/absent. Check the path in the preset or configuration.\n"


def test_a_hub_that_cannot_be_reached_is_exit_code_1(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    code, err = refused(capsys, "--prompt", "x", "--config", toml(tmp_path, '[base]\nid = "org/model"\n'))
    assert code == 1
    assert "the Hub cannot be reached" in err


def test_an_interruption_is_exit_code_1_without_a_traceback(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("models.versions.starting.load_published", interrupt)
    assert refused(capsys, "--prompt", "x") == (1, "tiller: stopped.\n")


def test_exit_codes_reach_the_shell() -> None:
    done = run("--prompt", "x", "--weight", "helpfulness")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"tiller: --weight 'helpfulness'")
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = [sys.executable, "-m", "ui.cli", "generate", "--prompt", "Hello", *SHORT]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
