"""Versions on disk: numbered, immutable, activated, rolled back, and consistent whenever a process is killed."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.guides import CARD_NAME, hash_files
from models.presets import GuideSpec, Source
from models.versions.registry import PUBLISHED, ROLLED_BACK, Registry, Version
from steering.errors import InputError, LoadError

ROOT = Path(__file__).parents[3]


def made(folder: Path, content: str = "weights", **card: object) -> Path:
    """The files of an adapter; what is in them matters to nobody here."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_text(content)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "optimizer.pt").write_text("no part of a guide")
    (folder / CARD_NAME).write_text(json.dumps(card))
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return opened(tmp_path)


def opened(tmp_path: Path, base_id: str = "base") -> Registry:
    folder = made(tmp_path / "preset", id="preset-wit", version=1, dimension="wit")
    return Registry(tmp_path / "home" / "guides", base_id, [built_in(folder)])


def built_in(folder: Path) -> Version:
    from models.guides import read_card

    spec = GuideSpec(Source(str(folder)), dimension="wit")
    return Version("wit", 1, read_card(folder), spec, is_built_in=True)


def test_without_anything_on_disk_the_presets_guide_is_active(registry: Registry) -> None:
    assert [version.number for version in registry.versions("wit")] == [1]
    active = registry.active("wit")
    assert active is not None
    assert active.is_built_in
    assert registry.history() == ()
    assert registry.dimensions == ("wit",)
    assert not registry.root.exists()


def test_a_version_is_a_copy_with_a_card_that_says_what_it_is(registry: Registry, tmp_path: Path) -> None:
    source = made(tmp_path / "new", n_pairs=60, parent_version=1, metrics={"kl": 0.1}, data_ids=["j1"])
    version = registry.add(source, "wit", {"source": "org/name"})
    assert version.number == 2
    assert version.folder == registry.root / "wit" / "2"
    card = version.card
    assert (card.dimension, card.version, card.base_id, card.id) == ("wit", 2, "base", "base-wit")
    assert (card.n_pairs, card.parent_version, card.metrics, card.data_ids) == (60, 1, {"kl": 0.1}, ("j1",))
    assert card.hash == hash_files(version.folder) == hash_files(source)
    assert sorted(path.name for path in version.folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        CARD_NAME,
    ]
    (source / "adapter_model.safetensors").write_text("changed later")
    assert hash_files(version.folder) == card.hash
    active = registry.active("wit")
    assert active is not None
    assert active.number == 1  # nothing is published by itself


def test_publishing_and_rolling_back_walk_the_same_way_and_are_written_down(registry: Registry, tmp_path: Path) -> None:
    for content in "ab":
        registry.add(made(tmp_path / "new", content), "wit", {})
    active = []
    for number, why in ((2, PUBLISHED), (3, PUBLISHED), (2, ROLLED_BACK), (3, PUBLISHED), (2, ROLLED_BACK)):
        registry.activate("wit", number, why=why)
        version = registry.active("wit")
        assert version is not None
        active.append(version.number)
    assert active == [2, 3, 2, 3, 2]
    assert registry.before("wit").number == 1
    registry.activate("wit", 1, why=ROLLED_BACK)
    with pytest.raises(InputError, match="No other guide for 'wit'"):
        registry.before("wit")
    assert [(entry.version, entry.why) for entry in registry.history("wit")] == [
        (2, "published"),
        (3, "published"),
        (2, "rolled back"),
        (3, "published"),
        (2, "rolled back"),
        (1, "rolled back"),
    ]
    assert registry.history("wit")[0].sha256 == registry.version("wit", 2).card.hash


def test_publishing_the_active_version_again_is_no_second_activation(registry: Registry, tmp_path: Path) -> None:
    registry.add(made(tmp_path / "new"), "wit", {})
    registry.activate("wit", 2)
    registry.activate("wit", 2)
    assert len(registry.history()) == 1


def test_what_is_no_version_cannot_be_activated(registry: Registry) -> None:
    with pytest.raises(InputError, match=r"no version 7 for base. There are: 1\."):
        registry.activate("wit", 7)


def test_a_version_for_another_base_is_neither_seen_nor_overwritten(registry: Registry, tmp_path: Path) -> None:
    registry.add(made(tmp_path / "new"), "wit", {})
    registry.activate("wit", 2)
    other = opened(tmp_path, "another base")
    assert [version.number for version in other.versions("wit")] == [1]
    active = other.active("wit")
    assert active is not None
    assert active.is_built_in
    assert other.add(made(tmp_path / "third"), "wit", {}).number == 3
    assert [version.number for version in registry.versions("wit")] == [1, 2]


def test_a_guide_trained_for_another_base_is_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="was trained for 'llama'; the base is 'base'"):
        registry.add(made(tmp_path / "new", base_id="llama"), "wit", {})
    assert [version.number for version in registry.versions("wit")] == [1]
    assert list(registry.root.glob(".aside*")) == []


def test_files_that_are_not_those_of_the_card_are_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="not those its card was written for"):
        registry.add(made(tmp_path / "new", hash="0" * 64), "wit", {})
    assert list(registry.root.glob("*/*")) == []


@pytest.mark.parametrize("dimension", ["../evil", "..", ".", "a/b", "wit & charm", "Witz größer"])
def test_a_dimension_never_leads_out_of_the_folder(registry: Registry, tmp_path: Path, dimension: str) -> None:
    version = registry.add(made(tmp_path / "new"), dimension, {})
    assert version.folder is not None
    assert version.folder.resolve().parent.parent == registry.root.resolve()
    assert registry.dimensions == ("wit", dimension)
    assert registry.versions(dimension) == (version,)


def test_a_list_of_activations_that_cannot_be_read_says_what_to_do(registry: Registry, tmp_path: Path) -> None:
    registry.add(made(tmp_path / "new"), "wit", {})
    (registry.root / "activations.json").write_text('{"activations": [{"version": 2}]}')
    with pytest.raises(LoadError, match="Mend it, or remove it"):
        registry.active("wit")


def test_a_folder_that_was_removed_by_hand_is_passed_over(registry: Registry, tmp_path: Path) -> None:
    for content in "ab":
        registry.add(made(tmp_path / "new", content), "wit", {})
    registry.activate("wit", 2)
    registry.activate("wit", 3)
    for file in (registry.root / "wit" / "3").iterdir():
        file.unlink()
    (registry.root / "wit" / "3").rmdir()
    active = registry.active("wit")
    assert active is not None
    assert active.number == 2


ADDING_FOR_EVER = """
import sys
from pathlib import Path
from models.versions.registry import Registry
from tests.models.versions.test_registry import opened, made
tmp = Path(sys.argv[1])
registry = opened(tmp)
print("ready", flush=True)
while True:
    version = registry.add(tmp / "new", "wit", {})
    registry.activate("wit", version.number)
    registry.activate("wit", registry.before("wit").number, why="rolled back")
    registry.activate("wit", version.number)
"""


def test_killed_ten_times_while_publishing_the_registry_is_consistent(tmp_path: Path) -> None:
    """What another process finds after each kill: whole versions only, and an active one that is there."""
    made(tmp_path / "new", "x" * 200_000)
    registry = opened(tmp_path)
    chance = random.Random(5)
    n_versions = n_activations = 0
    for _ in range(10):
        code = [sys.executable, "-c", ADDING_FOR_EVER, str(tmp_path)]
        with subprocess.Popen(code, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.01, 0.15))
            process.send_signal(signal.SIGKILL)
        versions, history = registry.versions("wit"), registry.history("wit")
        for version in versions[1:]:
            assert version.folder is not None
            assert hash_files(version.folder) == version.card.hash
        folders = list((registry.root / "wit").iterdir()) if versions[1:] else []
        assert len(folders) == len(versions) - 1
        active = registry.active("wit")
        assert active is not None
        assert active.number == (history[-1].version if history else 1)
        assert len(versions) >= n_versions
        assert len(history) >= n_activations
        n_versions, n_activations = len(versions), len(history)
    assert n_versions > 5
    last = registry.add(tmp_path / "new", "wit", {})
    registry.activate("wit", last.number)
    assert list(registry.root.glob(".aside*")) == []  # what the killed ones left is gone
