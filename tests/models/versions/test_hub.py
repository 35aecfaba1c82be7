"""Pushing a version: what would be uploaded is looked at where the library would send it off."""

import json
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from huggingface_hub import errors as hub_errors

from models.guides import CARD_NAME, hash_files
from models.versions.hub import push
from models.versions.publishing import GuideVersions
from models.versions.registry import Version
from steering.errors import InputError, LoadError
from tests.models.versions.conftest import World, ask, texts


@pytest.fixture
def uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files end up that are uploaded; the network begins behind these two functions."""
    target = tmp_path / "hub"

    def create_repo(repo_id: str, **options: object) -> str:
        target.mkdir()
        (target / ".options").write_text(json.dumps(options))
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(*, repo_id: str, folder_path: Path, commit_message: str) -> None:
        for file in Path(folder_path).iterdir():
            (target / file.name).write_bytes(file.read_bytes())

    monkeypatch.setattr(huggingface_hub, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload_folder)
    return target


def version_of(versions: GuideVersions, folder: str, tmp_path: Path, **card: object) -> Version:
    source = tmp_path / "trained"
    source.mkdir()
    for file in Path(folder).iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    (source / CARD_NAME).write_text(json.dumps(card))
    return versions.add(str(source), "wit")


def test_a_pushed_version_has_its_files_and_a_model_card_and_nothing_private(
    world: World, tmp_path: Path, uploaded: Path
) -> None:
    versions = world.start(tmp_path / "home")
    version = version_of(
        versions,
        world.guide("third"),
        tmp_path,
        licence="Apache-2.0",
        n_pairs=60,
        held_out_accuracy=0.75,
        command="train --data /home/ada/secret.jsonl",
        data_ids=["j1"],
        trained_prompts=["hashed"],
        metrics={
            "accuracy": 0.75,
            "by_source": {"Study of Ada's": {"accuracy": 0.5}},
            "data": {"n_train": 60, "quarantined": ["annotator-7"]},
            "anything_new": "unseen",
        },
    )
    assert push(version, "me/wit", private=True) == "https://huggingface.co/me/wit"
    assert json.loads((uploaded / ".options").read_text()) == {"private": True, "exist_ok": True}
    assert hash_files(uploaded) == version.card.hash
    card = (uploaded / CARD_NAME).read_text()
    assert "secret" not in card
    assert "j1" not in card
    assert "hashed" not in card
    assert json.loads(card)["metrics"] == {"accuracy": 0.75}
    readme = (uploaded / "README.md").read_text()
    _, front, body = readme.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "apache-2.0",
        "base_model": "tiny",
        "library_name": "peft",
        "tags": ["tiller", "genarm", "autoregressive-reward-model"],
    }
    assert "trained on: 60" in body
    assert "accuracy: 0.75" in body
    assert str(version.card.hash) in body


def test_what_was_pushed_can_be_imported_again_as_the_same_guide(world: World, tmp_path: Path, uploaded: Path) -> None:
    versions = world.start(tmp_path / "home")
    version = version_of(versions, world.guide("third"), tmp_path)
    push(version, "me/wit")
    again = versions.add(str(uploaded))
    assert (again.dimension, again.number) == ("wit", version.number + 1)
    assert again.card.hash == version.card.hash
    versions.publish("wit", version.number)
    found = texts(versions.engine, ask())
    versions.publish("wit", again.number)
    assert texts(versions.engine, ask()) == found


def refusing(error: Exception) -> Callable[..., None]:
    def create_repo(*_: object, **__: object) -> None:
        raise error

    return create_repo


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (hub_errors.HFValidationError("no slash"), InputError, "is no name of a repository"),
        (hub_errors.LocalTokenNotFoundError("no token"), LoadError, "hf auth login"),
        (ConnectionError("no route"), LoadError, "could not be pushed"),
    ],
)
def test_trouble_with_the_hub_is_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], words: str
) -> None:
    version = version_of(world.start(tmp_path / "home"), world.guide("third"), tmp_path)
    monkeypatch.setattr(huggingface_hub, "create_repo", refusing(error))
    with pytest.raises(kind, match=words):
        push(version, "me/wit")
