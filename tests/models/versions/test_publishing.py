"""Versions and the engine that answers with them: what is refused, what goes on, and what a start makes of it."""

import json
import logging
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file

from models.files import LOCK
from models.guides import CARD_NAME
from models.versions.publishing import GuideVersions
from steering.errors import LoadError, TillerError, VocabularyError
from tests.models.tiny import make_tokenizer, save_lora, save_model
from tests.models.versions.conftest import PLAIN, World, answered, ask, texts

ROOT = Path(__file__).parents[3]
Spoil = Callable[[World, Path], Path]


def truncated(world: World, folder: Path) -> Path:
    shutil.copytree(world.guide("third"), folder)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return folder


def not_a_number(world: World, folder: Path) -> Path:
    shutil.copytree(world.guide("third"), folder)
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    weights[min(weights)][0, 0] = torch.nan
    save_file(weights, file)
    return folder


def changed_since(world: World, folder: Path) -> Path:
    shutil.copytree(world.guide("third"), folder)
    (folder / CARD_NAME).write_text(json.dumps({"hash": "0" * 64}))
    return folder


def of_another_vocabulary(world: World, folder: Path) -> Path:
    tokenizer = make_tokenizer()
    document = json.loads(tokenizer.backend_tokenizer.to_str())
    words = document["model"]["vocab"]
    a, b = sorted(words, key=words.get)[40:42]
    words[a], words[b] = words[b], words[a]
    save_model(folder, "llama", seed=3)
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return folder


def of_another_base(world: World, folder: Path) -> Path:
    return save_lora(folder, save_model(folder / "gpt", "gpt2", seed=3), seed=4)


def empty(world: World, folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (truncated, LoadError, "is damaged"),
        (not_a_number, LoadError, "that are no numbers"),
        (changed_since, LoadError, "not those its card was written for"),
        (of_another_vocabulary, VocabularyError, "A guide needs the base's vocabulary"),
        (of_another_base, LoadError, "Is it an adapter for another base model"),
        (empty, LoadError, r"no \.safetensors file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_guide_that_cannot_be_used_is_refused_and_the_old_one_goes_on(
    world: World, tmp_path: Path, spoil: Spoil, kind: type[TillerError], words: str
) -> None:
    versions = world.start(tmp_path / "home")
    before = texts(versions.engine, ask())
    with pytest.raises(kind, match=words):
        versions.add(str(spoil(world, tmp_path / "spoilt")), "wit")
    assert [version.number for version in versions.versions("wit")] == [0]
    assert texts(versions.engine, ask()) == before
    assert versions.engine._lineups.n_alive == 1


@pytest.fixture
def two(world: World, tmp_path: Path) -> GuideVersions:
    """Versions 1 and 2 published, one after the other, over the preset's."""
    versions = world.start(tmp_path / "home")
    for name in ("third", "other"):
        versions.publish("wit", versions.add(world.guide(name), "wit").number)
    return versions


def damage(versions: GuideVersions, number: int) -> None:
    folder = versions.registry.version("wit", number).folder
    assert folder is not None
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def test_a_version_damaged_on_the_disk_is_not_published(two: GuideVersions) -> None:
    before = texts(two.engine, ask())
    damage(two, 1)
    with pytest.raises(LoadError, match="not those its card was written for"):
        two.publish("wit", 1)
    with pytest.raises(LoadError):
        two.roll_back("wit")
    assert two.answering("wit") == 2
    assert len(two.history()) == 2
    assert texts(two.engine, ask()) == before


def test_an_active_version_that_cannot_be_stored_as_such_does_not_answer(
    two: GuideVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the activation is to be written: what answers and what is on disk stay the same."""
    before = texts(two.engine, ask())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("models.versions.registry.write_whole", full)
        with pytest.raises(LoadError, match="No space left on device"):
            two.publish("wit", 1)
    assert two.answering("wit") == 2
    assert texts(two.engine, ask()) == before


class RefusedError(Exception):
    """What the one who publishes without a person's word raises."""


@pytest.mark.parametrize("refused_at", [1, 2])
def test_what_is_refused_by_its_check_is_not_published_and_the_guide_that_answered_goes_on(
    two: GuideVersions, refused_at: int
) -> None:
    before, n_checked = texts(two.engine, ask()), 0

    def check() -> None:
        nonlocal n_checked
        n_checked += 1
        if n_checked == refused_at:
            raise RefusedError

    with pytest.raises(RefusedError):
        two.publish("wit", 1, check=check)
    assert n_checked == refused_at
    assert [each.version for each in two.history()] == [1, 2]
    assert two.answering("wit") == 2
    assert texts(two.engine, ask()) == before
    two.publish("wit", 1, check=check)
    assert two.answering("wit") == 1


def test_a_check_is_made_where_no_thread_and_at_last_no_process_can_publish_meanwhile(two: GuideVersions) -> None:
    found = []

    def check() -> None:
        try:
            with FileLock(two.registry.root / LOCK, blocking=False):
                is_alone = False
        except Timeout:
            is_alone = True
        found.append((two._one_at_a_time.locked(), is_alone))

    two.publish("wit", 1, check=check)
    assert found == [(True, False), (True, True)]


def test_a_start_takes_the_active_versions(two: GuideVersions, world: World, tmp_path: Path) -> None:
    again = world.start(tmp_path / "home")
    assert again.answering("wit") == 2
    assert again.notes == ()
    assert texts(again.engine, ask()) == texts(two.engine, ask())


def test_a_broken_active_version_is_passed_over_at_the_start_loudly(
    two: GuideVersions, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(two, 2)
    with caplog.at_level(logging.ERROR):
        again = world.start(tmp_path / "home")
    assert again.answering("wit") == 1
    assert len(again.notes) == 1
    assert "wit version 2 is active and cannot be used" in again.notes[0]
    assert again.notes[0] in caplog.text
    damage(two, 1)
    last = world.start(tmp_path / "home")
    assert last.answering("wit") is None  # the preset's own, whose card has no number
    assert len(last.notes) == 2


def test_a_list_of_activations_that_cannot_be_read_does_not_keep_tiller_from_starting(
    two: GuideVersions, world: World, tmp_path: Path
) -> None:
    (two.registry.root / "activations.json").write_text("{")
    again = world.start(tmp_path / "home")
    assert again.answering("wit") is None
    assert "cannot be read" in again.notes[0]


def test_what_another_process_published_is_taken_in_when_asked(
    two: GuideVersions, world: World, tmp_path: Path
) -> None:
    other = world.start(tmp_path / "home")
    assert two.refresh() == {}
    other.publish("wit", 1)
    assert two.answering("wit") == 2
    assert [version and version.number for version in two.refresh().values()] == [1]
    assert two.answering("wit") == 1
    assert texts(two.engine, ask()) == texts(other.engine, ask())


def test_a_guide_for_a_new_dimension_joins_the_others(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path / "home")
    unguided = texts(versions.engine, ask())[0]
    versions.publish("new", versions.add(world.guide("fourth"), "new").number)
    assert [guide.dimension for guide in versions.engine.guides] == ["wit", "kind", "new"]
    found = texts(versions.engine, ask(new=3.0))
    assert found[0] == unguided
    assert found[1] != unguided
    again = world.start(tmp_path / "home")
    assert texts(again.engine, ask(new=3.0)) == found


PUBLISHING_FOR_EVER = """
import os, signal, sys, threading, time
from pathlib import Path
from tests.models.versions.conftest import IN_BACKGROUND, World, ask, texts

def publish_for_ever(ready):
    versions = World(Path(sys.argv[1])).start(Path(sys.argv[2]), IN_BACKGROUND)
    def visit():
        while True:
            texts(versions.engine, ask())
    threading.Thread(target=visit, daemon=True).start()
    while True:
        for number in (1, 2):
            versions.publish("wit", number)
        os.write(ready, b"!")

for line in sys.stdin:  # importing everything takes long: it is done once, and each process begins as a copy
    read, ready = os.pipe()
    child = os.fork()
    if not child:
        publish_for_ever(ready)
    os.read(read, 1)
    time.sleep(float(line))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def test_killed_ten_times_during_swaps_the_engine_starts_with_what_the_registry_says(
    two: GuideVersions, world: World, tmp_path: Path
) -> None:
    chance = random.Random(5)
    expected = {2: texts(two.engine, ask())}
    two.publish("wit", 1)
    expected[1] = texts(two.engine, ask())
    n_before = n_activations = len(two.history())
    code = [sys.executable, "-c", PUBLISHING_FOR_EVER, str(world.root), str(tmp_path / "home")]
    with subprocess.Popen(code, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(10):
            print(chance.uniform(0.05, 0.5), file=process.stdin, flush=True)
            assert process.stdout.readline() == "killed\n"
            again = world.start(tmp_path / "home")
            assert again.notes == ()
            history = again.history()
            assert again.answering("wit") == history[-1].version
            assert texts(again.engine, ask()) == expected[history[-1].version]
            assert len(history) >= n_activations
            n_activations = len(history)
    assert n_activations > n_before + 5


def test_answers_record_the_hash_of_the_version_that_wrote_them(two: GuideVersions) -> None:
    _, guides = answered(two.engine, ask())
    assert guides[0].sha256 == two.registry.version("wit", 2).card.hash
    two.roll_back("wit")
    _, guides = answered(two.engine, ask())
    assert guides[0].sha256 == two.registry.version("wit", 1).card.hash


def test_a_plain_start_needs_no_folder(world: World, tmp_path: Path) -> None:
    versions = world.start(tmp_path / "absent", PLAIN)
    assert versions.active("wit") is not None
    assert not (tmp_path / "absent").exists()
