"""Studies from the command line, on real files: made, judged, read, exported, moved, backed up, forgotten."""

import csv
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from steering.types import Blend, Choice
from storage.database import open_database
from storage.exchange.export import FileKind
from storage.exchange.formats import Format
from storage.records import new_id
from storage.records_pairs import CanonicalSide
from storage.records_studies import Assignment, ItemRole
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies
from tests.storage.examples import a_click, a_comparison, a_generation
from tests.storage.study_examples import judge_all
from tests.ui.test_commands_study_files import example
from ui.cli import main
from ui.commands.exchange import ARCHIVE, FORMATS, KINDS
from ui.studies import study_named

NAME = "Pilot: helpful and harmless"
MODELS = ("--device", "cpu", "--dtype", "float32")
Capture = pytest.CaptureFixture[str]
RANK = ["unguided", "helpful", "both"]  # what both annotators like, the best last


@pytest.fixture(autouse=True, scope="module")
def without_settings_of_whoever_runs_the_tests() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TILLER_")]:
            patch.delenv(name)


def prefers(assignment: Assignment, *, right: bool) -> Choice:
    """The choice of somebody who likes the blends in the order of RANK, and gets gold items right or wrong."""
    item = assignment.item
    if item.role is ItemRole.GOLD:
        better = CanonicalSide.A if right else CanonicalSide.B
    else:
        better = CanonicalSide.A if RANK.index(item.blend_a.key) > RANK.index(item.blend_b.key) else CanonicalSide.B
    return Choice.LEFT if assignment.shown_left is better else Choice.RIGHT


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the documentation's study, generated with the embedded model and judged by Ada and a careless Bob."""
    home = tmp_path_factory.mktemp("judged")
    (home / "pilot.toml").write_text(example(), "utf-8")
    assert main(["study", "create", str(home / "pilot.toml"), "--home", str(home)]) == 0
    assert main(["study", "generate", NAME, "--home", str(home), *MODELS]) == 0
    with open_database(f"sqlite:///{home}/tiller.db") as database:
        studies = SqlStudies(database)
        study_id = study_named(studies, NAME).id
        for name, right in (("Ada", True), ("Bob \x1b[31m", False)):
            annotator = SqlRepository(database).annotator(f"key of {name[:3]}", name.replace("\0", ""))
            studies.accept_consent(study_id, annotator.id)
            judge_all(studies, study_id, annotator.id, lambda given, right=right: prefers(given, right=right))
    return home


@pytest.fixture
def home(judged: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    place = tmp_path / "home"
    place.mkdir()
    assert main(["backup", str(place / "tiller.db"), "--home", str(judged)]) == 0
    return place


@pytest.fixture
def tiller(home: Path, capsys: Capture) -> Callable[..., str]:
    """Run a command on the copy; what it printed."""
    capsys.readouterr()

    def run(*arguments: object, code: int = 0, at: Path = home) -> str:
        got = main([*map(str, arguments), "--home", str(at)])
        out, err = capsys.readouterr()
        assert got == code, err
        assert bool(err) == bool(code), err
        assert "\x1b" not in out + err
        return out or err

    return run


def rows(home: Path, query: str, *values: object) -> list[tuple]:
    connection = sqlite3.connect(home / "tiller.db")
    found = connection.execute(query, values).fetchall()
    connection.close()
    return found


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_study_is_listed_with_what_was_answered_and_closed(tiller: Callable[..., str], home: Path) -> None:
    assert NAME in (line := tiller("study", "list").splitlines()[1])
    assert line.split()[-6:] == ["open", datetime.now(UTC).strftime("%Y-%m-%d"), "18", "36", "36", "no"]
    assert tiller("study", "close", NAME) == f"Study {NAME} is closed.\n"
    assert rows(home, "SELECT state FROM studies") == [("closed",)]
    assert rows(home, "SELECT actor, action FROM audit ORDER BY number DESC LIMIT 1") == [("cli", "closed")]


def test_a_preference_export_chooses_what_the_reliable_annotator_chose(
    tiller: Callable[..., str], home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = tiller("export", out, "--study", NAME, "--min-reliability", "0.7")
    made = lines(out / "train.jsonl")
    (ada,) = rows(home, "SELECT id FROM annotators WHERE display_name = 'Ada'")[0]
    assert len(made) == 2 * 18  # two questions about 18 comparisons; gold items and repetitions are no preferences
    for row in made:
        assert row["annotator_id"] == ada
        assert RANK.index(row["chosen_blend"]) > RANK.index(row["rejected_blend"])
        (text,) = rows(home, "SELECT text FROM generations WHERE id = ?", row["chosen_generation_id"])[0]
        assert row["chosen"] == [{"role": "assistant", "content": json.loads(text)}]
        assert rows(home, "SELECT count(*) FROM judgements WHERE id = ?", row["judgement_id"]) == [(1,)]
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    (n_judgements,) = rows(home, "SELECT count(*) FROM judgements WHERE superseded_at IS NULL")[0]
    assert manifest["n_judgements"] == n_judgements == 36 + sum(manifest["left_out"].values())
    assert said.splitlines()[0] == f"{out}: 36 of {n_judgements} judgements."
    for reason, n_left_out in manifest["left_out"].items():
        assert [reason, str(n_left_out)] in [line.split() for line in said.splitlines()]


@pytest.mark.parametrize("format_", FORMATS[:-1])
@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_written_in_every_kind_it_can_have(
    format_: str, kind: str, tiller: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    if kind == "csv" and format_ in ("trl-chat", "arena"):
        assert "CSV has no cells" in tiller("export", out, "--format", format_, "--kind", kind, code=2)
        assert not out.exists()
        return
    tiller("export", out, "--format", format_, "--kind", kind, "--test-share", "0.4", "--seed", "3")
    assert listed(out) == {f"train.{kind}", f"test.{kind}", "manifest.json"}
    n_rows = {}
    for file in (f"train.{kind}", f"test.{kind}"):
        if kind == "csv":
            with (out / file).open(encoding="utf-8-sig", newline="") as opened:
                n_rows[file] = len(list(csv.reader(opened))[1:])
        else:
            n_rows[file] = len(lines(out / file)) if kind == "jsonl" else pq.read_table(out / file).num_rows
    assert n_rows == json.loads((out / "manifest.json").read_text("utf-8"))["n_rows"]
    assert sum(n_rows.values()) > 0


def test_the_words_of_the_command_are_those_of_the_storage() -> None:
    assert (*(format_.value for format_ in Format), ARCHIVE) == FORMATS
    assert tuple(kind.value for kind in FileKind) == KINDS


def test_dates_and_dimensions_narrow_an_export(tiller: Callable[..., str], tmp_path: Path) -> None:
    today, tomorrow = datetime.now(UTC).date(), datetime.now(UTC).date() + timedelta(days=1)
    assert ": 0 of 0 judgements" in tiller("export", tmp_path / "later", "--since", tomorrow)
    assert ": 0 of 0 judgements" in tiller("export", tmp_path / "before", "--until", today - timedelta(days=1))
    tiller("export", tmp_path / "one", "--since", today, "--until", tomorrow, "--dimension", "overall")
    assert {row["dimension"] for row in lines(tmp_path / "one/train.jsonl")} == {"overall"}
    assert len(lines(tmp_path / "one/train.jsonl")) == 36


def test_an_archive_goes_into_an_empty_database_and_comes_out_the_same(
    tiller: Callable[..., str], tmp_path: Path
) -> None:
    tiller("export", tmp_path / "first", "--format", "archive")
    tiller("import", tmp_path / "first", at=tmp_path / "other")
    tiller("export", tmp_path / "second", "--format", "archive", at=tmp_path / "other")
    assert listed(tmp_path / "first") == listed(tmp_path / "second")
    for name in listed(tmp_path / "first"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert "not empty" in tiller("import", tmp_path / "first", code=1)


def test_preferences_of_others_come_in_once_and_go_out_again(tiller: Callable[..., str], tmp_path: Path) -> None:
    tiller("export", tmp_path / "out", "--format", "trl", "--study", NAME, "--dimension", "overall")
    file = tmp_path / "hh.jsonl"
    file.write_text((tmp_path / "out/train.jsonl").read_text("utf-8") + "{}\n", "utf-8")
    rows = [(row["prompt"], row["chosen"], row["rejected"]) for row in lines(tmp_path / "out/train.jsonl")]
    pairs = {row for row in rows if row[1] != row[2]}  # two blends may have given the same answer
    n_same = sum(chosen == rejected for _, chosen, rejected in rows)
    said = tiller("import", file, at=tmp_path / "other")
    assert f"Study imported hh: {len(pairs)} new judgements of 37 lines." in said
    assert f"{n_same + 1} lines cannot be used:" in said
    assert "line 37:" in said
    assert f": 0 new judgements of 37 lines.\n{len(pairs)} were there already" in tiller(
        "import", file, at=tmp_path / "other"
    )
    tiller("export", tmp_path / "again", "--format", "trl", at=tmp_path / "other")
    again = {(row["prompt"], row["chosen"], row["rejected"]) for row in lines(tmp_path / "again/train.jsonl")}
    assert again == pairs


def test_results_say_what_the_annotators_like(tiller: Callable[..., str], home: Path) -> None:
    found = json.loads(tiller("results", NAME, "--json"))
    (n_judgements,) = rows(home, "SELECT count(*) FROM judgements WHERE superseded_at IS NULL")[0]
    assert found["counts"]["n_judgements"] == n_judgements
    overall = found["dimensions"][1]
    assert overall["dimension"] == "overall"
    assert [rate["blend"] for rate in overall["win_rates"]] == RANK[::-1]
    assert [rate["share"]["value"] for rate in overall["win_rates"]] == [1.0, 0.5, 0.0]
    assert [one["blend"] for one in overall["ratings"]["blends"]] == RANK[::-1]
    assert overall["agreement"]["raw"] == 1.0
    gold = {found["annotator_names"][one["annotator_id"]]: one["gold"]["value"] for one in found["annotators"]}
    assert gold == {"Ada": 1.0, "Bob \x1b[31m": 0.0}
    text = tiller("results", NAME)
    assert "Bob \\x1b[31m" in text
    (won,) = [line.split() for line in text.split("== overall")[1].splitlines() if line.startswith("both ")][:1]
    assert won[:6] == ["both", "24", "0", "0", "0", "100%"]
    assert "Preferred blend" in text


def test_slight_preferences_weigh_less_in_results_by_strength(tiller: Callable[..., str], home: Path) -> None:
    with closing(sqlite3.connect(home / "tiller.db")) as connection, connection:
        connection.execute("UPDATE judgements SET strength = 'slightly' WHERE choice IN ('left', 'right')")
    plain, weighed = (json.loads(tiller("results", NAME, "--json", *how)) for how in ((), ("--by-strength",)))
    best = [found["dimensions"][1]["ratings"]["blends"][0] for found in (plain, weighed)]
    assert best[0]["blend"] == best[1]["blend"] == RANK[-1]
    assert 0 < best[1]["rating"]["value"] < best[0]["rating"]["value"]
    assert plain["dimensions"][1]["win_rates"] == weighed["dimensions"][1]["win_rates"]
    assert f"({plain['counts']['n_ties']} ties, 0 clear wins, {plain['counts']['n_slight']} slight ones)" in tiller(
        "results", NAME
    )


def test_results_of_nothing_say_what_is_missing(tiller: Callable[..., str]) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    found = json.loads(tiller("results", NAME, "--json", "--since", tomorrow))
    assert found["dimensions"] == []
    assert found["together"] == {"missing": "judgements", "have": 0, "need": 1}
    assert "0 judgements" in tiller("results", NAME, "--since", tomorrow)


def test_a_backup_is_restored_equal_and_neither_overwrites_anything(
    tiller: Callable[..., str], home: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    said = tiller("backup", copy)
    (n_judgements,) = rows(home, "SELECT count(*) FROM judgements")[0]
    assert said == f"{copy}: {copy.stat().st_size} bytes, {n_judgements} judgements, verified.\n"
    before = copy.read_bytes()
    assert "is there already" in tiller("backup", copy, code=2)
    assert "is there already" in tiller("restore", copy, code=2)
    assert copy.read_bytes() == before
    (tmp_path / "new").mkdir()
    tiller("restore", copy, at=tmp_path / "new")
    assert tiller("results", NAME, "--json", at=tmp_path / "new") == tiller("results", NAME, "--json")
    copy.write_bytes(before[: len(before) // 2])
    (tmp_path / "newer").mkdir()
    tiller("restore", copy, at=tmp_path / "newer", code=1)
    assert listed(tmp_path / "newer") == set()


def test_what_was_typed_on_the_steer_page_is_forgotten_after_some_days(tiller: Callable[..., str], home: Path) -> None:
    old, new = datetime.now(UTC) - timedelta(days=40), datetime.now(UTC) - timedelta(days=20)
    with open_database(f"sqlite:///{home}/tiller.db") as database:
        repository = SqlRepository(database)
        for at in (old, old, new):
            sides = [a_generation(created_at=at, blend=Blend(), text=f"Secret of {at}") for _ in range(2)]
            repository.save_comparison(a_comparison(created_at=at, left=sides[0], right=sides[1]))
            comparison_id = rows(home, "SELECT id FROM comparisons ORDER BY rowid DESC LIMIT 1")[0][0]
        old_id = rows(home, "SELECT id FROM comparisons WHERE kind = 'steer' AND id != ? LIMIT 1", comparison_id)[0][0]
        repository.record_judgement(a_click(old_id, repository.annotator("somebody").id))
    assert tiller("forget", "--older-than", "30") == (
        "1 comparisons that nobody judged were removed.\n"
        "2 answers of judged comparisons were emptied, with their prompts.\n"
    )
    kept = rows(home, "SELECT DISTINCT text FROM generations WHERE text LIKE '%Secret%'")
    assert [json.loads(text) for (text,) in kept] == [f"Secret of {new}"]
    assert rows(home, "SELECT count(*) FROM comparisons WHERE kind = 'study'")[0][0] >= 18  # a study's stay
    for days in ("-1", "nan", "inf", "1e9"):
        assert "--older-than is" in tiller("forget", "--older-than", days, code=2)


def test_a_deleted_annotator_is_in_no_export_made_afterwards(
    tiller: Callable[..., str], home: Path, tmp_path: Path
) -> None:
    (bob,) = rows(home, "SELECT id FROM annotators WHERE display_name LIKE 'Bob%'")[0]
    tiller("export", tmp_path / "before", "--format", "full")
    assert bob in (tmp_path / "before/train.jsonl").read_text("utf-8")
    assert bob in tiller("delete-annotator", "Bob \x1b[31m")
    tiller("export", tmp_path / "after", "--format", "full")
    assert bob not in (tmp_path / "after/train.jsonl").read_text("utf-8")
    assert rows(home, "SELECT display_name FROM annotators WHERE id = ?", bob) == [("",)]
    assert "Nobody called" in tiller("delete-annotator", "Bob", code=2)
    assert "Nobody called" in tiller("delete-annotator", "", code=2)
    (ada,) = rows(home, "SELECT id FROM annotators WHERE display_name = 'Ada'")[0]
    assert ada in tiller("delete-annotator", ada)
    tiller("delete-annotator", new_id(), code=1)
    assert rows(home, "SELECT count(*) FROM judgements") == [(0,)]


def test_two_annotators_of_one_name_are_deleted_by_their_ids_only(tiller: Callable[..., str], home: Path) -> None:
    connection = sqlite3.connect(home / "tiller.db")
    with connection:
        connection.execute("UPDATE annotators SET display_name = 'Ada'")
    connection.close()
    said = tiller("delete-annotator", "Ada", code=2)
    assert all(id_ in said for (id_,) in rows(home, "SELECT id FROM annotators"))
    assert rows(home, "SELECT count(*) FROM judgements") != [(0,)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("study", "create", "missing.toml"),
        ("study", "generate", "no such study"),
        ("study", "close", "no such study"),
        ("results", "no such study"),
        ("results", NAME, "--level", "2"),
        ("export", "out", "--study", "no such study"),
        ("export", "out", "--study", NAME, "--include-steer"),
        ("export", "out", "--test-share", "1.5"),
        ("export", "out", "--min-reliability", "nan"),
        ("export", "out", "--format", "archive", "--study", NAME),
        ("export", "out", "--format", "archive", "--seed", "1"),
        ("export", "out", "--since", "2026-02-01", "--until", "2026-01-01"),
        ("export", "."),
        ("import", "missing.jsonl"),
        ("import", "prompts.txt"),
        ("import", "."),
        ("results", NAME, "--database-url", "mysql://somewhere/else"),
        ("study", "list", "--database-url", "sqlite:///missing.db"),
    ],
)
def test_bad_input_ends_with_2_and_leaves_nothing_behind(
    arguments: tuple[str, ...], tiller: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "here").mkdir()
    monkeypatch.chdir(folder)
    assert tiller(*arguments, code=2).startswith("tiller: ")
    assert listed(folder) == set()


@pytest.mark.parametrize("file", ["missing.jsonl", "no archive", "pilot.toml"])
def test_an_import_of_nothing_makes_no_database(file: str, tiller: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "no archive").mkdir()
    tiller("import", tmp_path / file, at=tmp_path / "other", code=2)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_cannot_be_written_ends_with_1_and_leaves_nothing(
    tiller: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder", "utf-8")
    for arguments in (("export", tmp_path / "file/out"), ("backup", tmp_path / "file/copy.db")):
        tiller(*arguments, code=1)
    assert (tmp_path / "file").read_text("utf-8") == "no folder"
    assert listed(tmp_path) == {"file", "home"}


def test_hostile_names_and_prompts_come_through_files_and_cannot_steer_the_terminal(
    tiller: Callable[..., str], home: Path, tmp_path: Path
) -> None:
    name, prompt = "\x1b]0;owned\x07\u202e=cmd()", "<script>\n\x1b[2J =HYPERLINK() <|im_end|>"
    document = (
        example()
        .replace(json.dumps(NAME), json.dumps(name))
        .replace('"Explain what a vaccine does."', json.dumps(prompt))
    )
    file = tmp_path / "hostile.toml"
    file.write_text(document, "utf-8")
    assert "\\x1b]0;owned\\x07\\u202e=cmd()" in tiller("study", "create", file)
    assert "\\u202e" in tiller("study", "list")
    assert "\\u202e" in tiller("results", name)
    assert "\\x1b" in tiller("results", "\x1b[2J", code=2)
    with open_database(f"sqlite:///{home}/tiller.db") as database:
        studies = SqlStudies(database)
        assert studies.study(study_named(studies, name).id).settings.prompts[2][0].content == prompt


def test_the_judged_study_is_what_the_other_tests_take_it_for(judged: Path) -> None:
    """The fixture itself: both annotators answered every comparison, the gold item, and repetitions."""
    counted = dict(
        rows(
            judged, "SELECT role, count(*) FROM assignments JOIN study_items ON item_id = study_items.id GROUP BY role"
        )
    )
    assert counted["regular"] == 36
    assert counted["gold"] == 2
    assert counted["repeat"] >= 2


@pytest.mark.parametrize(
    "command",
    [
        *("", "study", "study create", "study generate", "study list", "study close"),
        *(
            "guides",
            "guides list",
            "guides import",
            "guides publish",
            "guides roll-back",
            "guides compare",
            "guides push",
        ),
        *("results", "export", "import", "backup", "restore", "forget", "delete-annotator"),
    ],
)
def test_every_command_explains_itself(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert f"usage: python -m ui.cli {command}".strip() in capsys.readouterr().out
