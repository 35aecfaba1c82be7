"""What results, exports and the audit read, on real databases; recounted here from what was clicked."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from steering.errors import InputError
from steering.types import Blend, Choice, Side
from storage.analysis.columns import columns_of
from storage.database import Database
from storage.exchange.export import ExportPlan, export_judgements
from storage.exchange.selection import Selection
from storage.records import OVERALL
from storage.records_pairs import CanonicalSide, Outcome, PairFilter, Strength, blend_key, outcome_of
from storage.records_studies import Assignment
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.examples import GUIDES, Ticking, a_click, a_comparison, a_generation
from tests.storage.study_examples import HELPFUL, UNGUIDED, an_open_study, answers_to, judge_all

CHOICES = list(Choice)


@pytest.fixture
def studies(any_database: Database) -> SqlStudies:
    return SqlStudies(any_database, Ticking())


@pytest.fixture
def repository(any_database: Database) -> SqlRepository:
    return SqlRepository(any_database, Ticking())


@pytest.fixture
def results(any_database: Database) -> SqlResults:
    return SqlResults(any_database)


def _choose(assignment: Assignment) -> Choice:
    return CHOICES[assignment.position % len(CHOICES)]


def _expected(assignment: Assignment) -> Outcome:
    """Spelt out, so that a slip in ``outcome_of`` is seen."""
    choice = _choose(assignment)
    if choice in (Choice.LEFT, Choice.RIGHT):
        side = Side(choice.value)
        is_a = (side is Side.LEFT) == (assignment.shown_left is CanonicalSide.A)
        return Outcome.A if is_a else Outcome.B
    return {Choice.TIE: Outcome.TIE, Choice.BOTH_BAD: Outcome.BOTH_BAD, Choice.SKIP: Outcome.SKIP}[choice]


def test_pairs_turn_screen_sides_back_and_lead_to_their_records(
    studies: SqlStudies, repository: SqlRepository, results: SqlResults
) -> None:
    study_id = an_open_study(studies, 30, n_gold=5, overlap=2, gold_share=0.1, repeat_share=0.1)
    given = []
    for name in ("Ada", "Eve"):
        person = repository.annotator(f"hash of {name}'s key", name, group=f"{name}'s group").id
        given += judge_all(studies, study_id, person, _choose)
    expected = {(one.item.comparison.id, one.annotator_id): one for one in given}
    pairs = list(results.pairs(PairFilter()))
    assert len(pairs) == 2 * len(given)
    assert [pair.judged_at for pair in pairs] == sorted(pair.judged_at for pair in pairs)
    comparisons = {one.item.id: one.item.comparison for one in given}
    for pair in pairs:
        one = expected[(pair.comparison_id, pair.annotator_id)]
        left, right = one.item.comparison.left, one.item.comparison.right
        assert pair.outcome is _expected(one)
        assert pair.shown_left is one.shown_left
        helpful = replace(HELPFUL, made_with="helpfulness version 3")
        assert (pair.blend_a, pair.blend_b, pair.study_id) == (UNGUIDED, helpful, study_id)
        assert (pair.generation_a_id, pair.generation_b_id) == (left.id, right.id)
        assert (pair.n_tokens_a, pair.n_tokens_b) == (len(left.token_ids), len(right.token_ids))
        assert (pair.messages, pair.response_a, pair.response_b) == (left.messages, left.text, right.text)
        assert pair.gold_answer is one.item.gold.get(pair.dimension)
        assert pair.is_gold is bool(one.item.gold)
        original = comparisons[one.item.repeat_of].id if one.item.repeat_of else None
        assert pair.repeat_of == original
    assert sum(pair.repeat_of is not None for pair in pairs) >= 4
    light = list(results.pairs(PairFilter(), with_texts=False))
    assert light == [replace(pair, messages=(), response_a="", response_b="") for pair in pairs]
    counts = {
        count.outcome: count.n_judgements
        for count in results.outcome_counts(PairFilter())
        if count.dimension == OVERALL
    }
    regular = Counter(_expected(one) for one in given if not one.item.gold and not one.item.repeat_of)
    assert counts == dict(regular)
    for count in results.annotator_counts(PairFilter()):
        n_items = sum(one.annotator_id == count.annotator_id for one in given)
        assert (count.n_items, count.n_judgements, count.study_id) == (n_items, 2 * n_items, study_id)
        assert count.group == f"{count.display_name}'s group"
        assert count.first_at < count.last_at


def test_a_filter_leaves_out_what_is_not_meant(
    studies: SqlStudies, repository: SqlRepository, results: SqlResults
) -> None:
    ada = repository.annotator("a", "Ada", "nurses").id
    eve = repository.annotator("e", "Eve", "doctors").id
    first, second = an_open_study(studies, 2), an_open_study(studies, 3)
    for study_id, person in ((first, ada), (first, eve), (second, ada)):
        judge_all(studies, study_id, person)
    comparison = a_comparison()
    repository.save_comparison(comparison)
    repository.record_judgement(a_click(comparison.id, eve, Choice.RIGHT))
    every = list(results.pairs(PairFilter(include_steer=True)))
    assert len(every) == 2 * (2 + 2 + 3) + 1
    middle = sorted(pair.judged_at for pair in every)[6]
    for wanted, kept in (
        (PairFilter(study_ids=(first,), include_steer=True), lambda pair: pair.study_id == first),
        (PairFilter(study_ids=()), lambda _: False),
        (PairFilter(study_ids=(), include_steer=True), lambda pair: pair.study_id is None),
        (PairFilter(dimensions=(OVERALL,), include_steer=True), lambda pair: pair.dimension == OVERALL),
        (PairFilter(annotator_ids=(eve,), include_steer=True), lambda pair: pair.annotator_id == eve),
        (PairFilter(groups=("nurses",), include_steer=True), lambda pair: pair.annotator_id == ada),
        (PairFilter(since=middle, include_steer=True), lambda pair: pair.judged_at >= middle),
        (PairFilter(until=middle, include_steer=True), lambda pair: pair.judged_at < middle),
        (PairFilter(), lambda pair: pair.study_id is not None),
    ):
        assert list(results.pairs(wanted)) == [pair for pair in every if kept(pair)]
    (steer,) = [pair for pair in every if pair.study_id is None]
    assert (steer.outcome, steer.study, steer.shown_left) == (Outcome.B, "", CanonicalSide.A)
    assert steer.blend_a.key == "unguided"
    assert steer.blend_b.key == "harmlessness=-0.1 helpfulness=2 (helpfulness version 3)"
    assert steer.blend_b.key.startswith(blend_key(comparison.right.blend.weights))
    (count,) = results.annotator_counts(PairFilter(study_ids=(), include_steer=True))
    assert (count.study_id, count.annotator_id, count.display_name, count.group) == ("", eve, "Eve", "doctors")
    assert (count.n_items, count.n_judgements, count.first_at) == (1, 1, steer.judged_at)
    assert results.annotator_counts(PairFilter(study_ids=(first,), include_steer=True)) == results.annotator_counts(
        PairFilter(study_ids=(first,))
    )


def test_versions_of_a_guide_and_base_exponents_are_blends_of_their_own_unless_the_weight_is_0(
    repository: SqlRepository, results: SqlResults
) -> None:
    """A retrained guide was published: its answers were pooled with those of the version before, at the same weight."""
    eve = repository.annotator("e").id

    def judged(helpful: int | None, harmless: int | None, blend: Blend) -> str:
        guides = (replace(GUIDES[0], version=helpful), replace(GUIDES[1], version=harmless))
        right = a_generation(guides=guides, blend=blend, guide_rewards={})
        comparison = a_comparison(right=right)
        repository.save_comparison(comparison)
        repository.record_judgement(a_click(comparison.id, eve))
        *_, pair = results.pairs(PairFilter(study_ids=(), include_steer=True))
        assert pair.blend_a == UNGUIDED
        return pair.blend_b.key

    blend = Blend({"helpfulness": 2.0, "harmlessness": 0.0})
    assert judged(1, None, blend) == "helpfulness=2 (helpfulness version 1)"
    assert judged(1, 7, blend) == "helpfulness=2 (helpfulness version 1)"
    assert judged(2, 7, blend) == "helpfulness=2 (helpfulness version 2)"
    assert judged(None, None, blend) == "helpfulness=2"
    assert judged(None, 7, replace(blend, base_exponent=0.5)) == "helpfulness=2 (base exponent 0.5)"
    columns = columns_of(results.pairs(PairFilter(study_ids=(), include_steer=True), with_texts=False))
    assert len(columns.names.blends) == 1 + 4


def test_reliability_is_over_all_dimensions_and_times_of_the_same_studies_whatever_is_read(
    studies: SqlStudies, repository: SqlRepository, results: SqlResults, tmp_path: Path
) -> None:
    """An export of one dimension left everybody out, because the right answers were known for another."""
    ada, eve, new = (repository.annotator(name, name).id for name in ("Ada", "Eve", "New"))
    first, other = (an_open_study(studies, 6, n_gold=2, gold_share=0.3) for _ in range(2))

    def choose_a(assignment: Assignment) -> Choice:
        return Choice.LEFT if assignment.shown_left is CanonicalSide.A else Choice.RIGHT

    def choose_b(assignment: Assignment) -> Choice:
        return Choice.RIGHT if assignment.shown_left is CanonicalSide.A else Choice.LEFT

    judge_all(studies, first, ada, choose_a)
    judge_all(studies, first, eve, choose_b)
    judge_all(studies, other, ada, choose_b)
    no_gold = an_open_study(studies, 2)
    judge_all(studies, no_gold, new)
    every = list(results.pairs(PairFilter(study_ids=(first,))))
    last_gold = max(pair.judged_at for pair in every if pair.is_gold and pair.annotator_id == ada)
    for narrowed in ({"dimensions": ("helpfulness",)}, {"since": last_gold + timedelta(microseconds=1)}, {}):
        for study_ids, expected in (
            ((first,), {ada: 1.0, eve: 0.0}),
            (None, {ada: 0.5, eve: 0.0, new: None}),
            ((no_gold,), {new: None}),
        ):
            wanted = PairFilter(study_ids=study_ids, **narrowed)  # type: ignore[arg-type]
            assert {pair.annotator_id: pair.reliability for pair in results.pairs(wanted)} == expected
    plan = ExportPlan(selection=Selection(min_reliability=0.8))
    wanted = PairFilter(study_ids=(first,), dimensions=("helpfulness",))
    assert all(pair.gold_answer is None for pair in results.pairs(wanted))
    manifest = export_judgements(results.pairs(wanted), plan, tmp_path / "out")
    assert (manifest.n_used, manifest.left_out) == (6, {"gold": 4, "unreliable": 6})


def test_annotators_are_found_by_name_also_if_they_judged_nothing(
    repository: SqlRepository, results: SqlResults
) -> None:
    first, second, nameless = (
        repository.annotator(key, name).id for key, name in (("a", "Ada"), ("b", "Ada"), ("c", ""))
    )
    assert results.annotators_called("Ada") == tuple(sorted((first, second)))
    assert results.annotators_called("ada") == results.annotators_called("") == ()
    for annotator in (second, nameless):
        repository.delete_annotator(annotator)
    assert results.annotators_called("Ada") == (first,)
    assert results.annotators_called("") == ()


def test_what_was_taken_back_or_replaced_or_deleted_is_in_no_result(
    studies: SqlStudies, repository: SqlRepository, results: SqlResults
) -> None:
    study_id = an_open_study(studies, 3)
    ada, eve = repository.annotator("a").id, repository.annotator("e").id
    given = judge_all(studies, study_id, ada)
    judge_all(studies, study_id, eve)
    studies.undo(given[0].item.id, ada)
    studies.answer(answers_to(given[1], Choice.RIGHT, strength=Strength.CLEARLY))
    mine = list(results.pairs(PairFilter(annotator_ids=(ada,))))
    assert len(mine) == 4
    assert [pair.strength for pair in mine].count(Strength.CLEARLY) == 2
    repository.delete_annotator(ada, actor="cli")
    assert {pair.annotator_id for pair in results.pairs(PairFilter())} == {eve}
    assert sum(count.n_judgements for count in results.outcome_counts(PairFilter())) == 6
    assert [count.annotator_id for count in results.annotator_counts(PairFilter())] == [eve]
    last = results.audit(record_id=ada)[-1]
    assert (last.actor, last.action, last.record_kind) == ("cli", "deleted", "annotator")
    # Three items in two dimensions, two of them twice.
    assert last.details == {"judgements": 8}


def test_nothing_an_annotator_wrote_is_left_in_the_file_after_deletion(database: Database) -> None:
    repository, studies = SqlRepository(database), SqlStudies(database)
    ada = repository.annotator("h4sh-of-ada", "Ada Lovelace").id
    assignment = studies.next_assignment(an_open_study(studies, 1), ada)
    assert assignment is not None
    studies.answer(answers_to(assignment, reason="because-of-my-secret"))
    file = database.engine.url.database
    assert file is not None

    def bytes_on_disk() -> bytes:
        return b"".join(part.read_bytes() for part in Path(file).parent.iterdir())

    words = (b"because-of-my-secret", b"Ada Lovelace", b"h4sh-of-ada")
    assert all(word in bytes_on_disk() for word in words)
    repository.delete_annotator(ada)
    assert [word for word in words if word in bytes_on_disk()] == []


def test_old_prompts_are_removed_or_emptied_and_what_a_study_shows_stays(
    studies: SqlStudies, repository: SqlRepository, results: SqlResults
) -> None:
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    old, judged, new = a_comparison(), a_comparison(), a_comparison(created_at=moment)
    shared = a_comparison(right=new.right)
    for comparison in (old, judged, new, shared):
        repository.save_comparison(comparison)
    ada = repository.annotator("a").id
    for comparison in (judged, shared):
        repository.record_judgement(a_click(comparison.id, ada))
    study_id = an_open_study(studies, 1)
    done = repository.forget_prompts(moment)
    assert (done.n_comparisons_removed, done.n_generations_emptied) == (1, 3)
    with pytest.raises(Exception, match="no comparison"):
        repository.get_comparison(old.id)
    emptied = repository.get_comparison(judged.id)
    for side, before in ((emptied.left, judged.left), (emptied.right, judged.right)):
        assert (side.messages, side.text, side.token_ids, side.prompt_token_ids) == ((), "", (), ())
        assert side.text_removed_at is not None
        assert side.blend == before.blend
    assert repository.get_comparison(new.id) == new
    assert repository.get_comparison(shared.id).right == new.right
    assert repository.get_comparison(shared.id).left.text_removed_at is not None
    assert studies.items(study_id)[0].comparison.left.text == "A third."
    steer = {pair.comparison_id: pair for pair in results.pairs(PairFilter(include_steer=True))}
    assert steer[judged.id].n_tokens_b == len(judged.right.token_ids)
    again = repository.forget_prompts(moment)
    assert (again.n_comparisons_removed, again.n_generations_emptied) == (0, 0)
    with pytest.raises(InputError, match="zone"):
        repository.forget_prompts(datetime(2026, 5, 1))  # noqa: DTZ001


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("left", list(CanonicalSide))
def test_an_outcome_does_not_depend_on_the_side_of_the_screen(choice: Choice, left: CanonicalSide) -> None:
    mirrored = {Choice.LEFT: Choice.RIGHT, Choice.RIGHT: Choice.LEFT}.get(choice, choice)
    assert outcome_of(choice, left) is outcome_of(mirrored, left.other)


def test_counts_read_no_texts(database: Database) -> None:
    studies, repository, results = SqlStudies(database), SqlRepository(database), SqlResults(database)
    judge_all(studies, an_open_study(studies, 2), repository.annotator("a").id)
    seen: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _u, statement, *_: seen.append(statement))
    results.outcome_counts(PairFilter())
    results.annotator_counts(PairFilter())
    list(results.pairs(PairFilter(), with_texts=False))
    queries = [statement for statement in seen if statement.startswith("SELECT")]
    assert len(queries) == 5  # the judgements alone take three: gold answers and guides are counted and looked up
    assert not any("messages" in statement or ".text" in statement for statement in queries)
