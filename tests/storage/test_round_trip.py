"""Whatever can be saved is read back equal, on every kind of database; the rest is refused when it is made."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steering.errors import InputError
from steering.types import MAX_EXPONENT, MAX_SEED, Blend, Choice, FinishReason, Message, Role, SamplingSettings
from storage.database import Database
from storage.records import (
    MAX_TOKEN_ID,
    Comparison,
    ComparisonKind,
    Generation,
    GuideRecord,
    new_id,
)
from storage.sql_repository import SqlRepository
from tests.storage.examples import GUIDES, START, a_click, a_comparison, a_generation

anything = st.characters(codec="utf-8")
texts = st.text(anything)
labels = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=100)
finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.floats(allow_nan=False)
weights = st.floats(-MAX_EXPONENT, MAX_EXPONENT)
whole_ids = st.lists(st.integers(0, MAX_TOKEN_ID), max_size=20).map(tuple)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
guides = st.lists(
    st.builds(GuideRecord, labels, labels, st.none() | st.integers(0, 2**31 - 1), finite, labels),
    max_size=3,
    unique_by=lambda guide: guide.dimension,
).map(tuple)
samplings = st.builds(
    SamplingSettings,
    temperature=st.floats(0, 10) | st.integers(0, 10),
    top_k=st.integers(0, 2**31 - 1),
    top_p=st.floats(0, 1, exclude_min=True),
    min_p=st.floats(0, 1),
    max_new_tokens=st.integers(1, 2**20),
    seed=st.integers(0, MAX_SEED) | st.just(MAX_SEED),
    plausibility=st.none() | st.floats(0, 1),
    stop_at_eos=st.booleans(),
)


@st.composite
def generations(draw: st.DrawFn) -> Generation:
    listed = draw(guides)
    some = st.dictionaries(st.sampled_from([guide.dimension for guide in listed]), numbers) if listed else st.just({})
    weighted = {dimension: draw(weights) for dimension in draw(some)}
    return Generation(
        id=new_id(),
        messages=draw(st.lists(st.builds(Message, st.sampled_from(Role), texts), max_size=4).map(tuple)),
        blend=Blend(weighted, draw(st.floats(0.5, MAX_EXPONENT))),
        exponents=draw(some),
        sampling=draw(samplings),
        base_id=draw(labels),
        base_revision=draw(labels),
        guides=listed,
        prompt_token_ids=draw(whole_ids),
        token_ids=draw(whole_ids),
        text=draw(texts),
        finish_reason=draw(st.sampled_from(FinishReason)),
        seconds=draw(st.floats(0, 1e9)),
        kl_per_token=draw(st.none() | numbers),
        guide_rewards=draw(some),
        created_at=draw(times),
    )


comparisons = st.builds(
    Comparison,
    st.builds(new_id),
    st.sampled_from(ComparisonKind),
    generations(),
    generations(),
    st.booleans(),
    times,
)


@pytest.fixture
def store(any_database: Database) -> SqlRepository:
    return SqlRepository(any_database)


# Every example has ids of its own, so they may share one database.
share_the_database = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@share_the_database
@given(comparison=comparisons)
def test_any_comparison_is_read_back_equal(store: SqlRepository, comparison: Comparison) -> None:
    store.save_comparison(comparison)
    assert store.get_comparison(comparison.id) == comparison
    store.save_comparison(comparison)


@share_the_database
@given(dimension=labels, reason=labels | st.just(""), choice=st.sampled_from(Choice))
def test_any_judgement_is_read_back_equal(store: SqlRepository, dimension: str, reason: str, choice: Choice) -> None:
    comparison = a_comparison()
    store.save_comparison(comparison)
    person = store.annotator("hash").id
    stored = store.record_judgement(a_click(comparison.id, person, choice, dimension=dimension, reason=reason))
    assert (stored.dimension, stored.reason, stored.choice) == (dimension, reason, choice)
    assert store.history_of(comparison.id, dimension, person) == (stored,)


def test_what_is_hardest_to_keep_is_kept_exactly(store: SqlRepository) -> None:
    hard = a_generation(
        messages=(Message(Role.USER, "\0\x01\u2028\ufeff</script>${x}\\u0000\\"),),
        text="a\0b 🙂\uffff é e\u0301",
        token_ids=(),
        seconds=5e-324,
        kl_per_token=float("inf"),
        blend=Blend({"helpfulness": 0.1 + 0.2, "harmlessness": 5e-324}, base_exponent=1 / 3),
        sampling=SamplingSettings(seed=MAX_SEED, top_p=5e-324, temperature=0.1),
    )
    comparison = a_comparison(right=hard)
    store.save_comparison(comparison)
    read = store.get_comparison(comparison.id).right
    assert read == hard
    # Equality forgives 1 for 1.0 and True for 1; the text of a record does not.
    assert repr(read.sampling) == repr(hard.sampling)
    assert read.text.encode() == hard.text.encode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": "half an emoji: \ud83d"}, "U\\+D83D.* position 15"),
        ({"messages": (Message(Role.USER, "\udc00"),)}, "U\\+DC00"),
        ({"base_id": "a\0b"}, "NUL"),
        ({"base_id": ""}, "from 1 to 4096"),
        ({"id": "A" * 32}, "32 lowercase hexadecimal"),
        ({"token_ids": (-1,)}, "whole number from 0"),
        ({"token_ids": (1.0,)}, "whole number from 0"),
        ({"prompt_token_ids": (2**31,)}, "whole number from 0"),
        ({"seconds": float("nan")}, "finite"),
        ({"seconds": -1.0}, "0 or more"),
        ({"kl_per_token": float("nan")}, "NaN"),
        ({"exponents": {"helpfulness": float("nan")}}, "NaN"),
        ({"guides": ()}, "the guides are: none"),
        ({"guide_rewards": {"honesty": 0.0}}, "'honesty'"),
        ({"guides": (GUIDES[0], GUIDES[0])}, "same dimension"),
        ({"created_at": START.replace(tzinfo=None)}, "not in UTC"),
        ({"created_at": START.astimezone(timezone(timedelta(hours=1)))}, "not in UTC"),
    ],
    ids=str,
)
def test_a_generation_that_cannot_be_kept_is_refused_when_it_is_made(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        a_generation(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"comparison_id": "1"},
        {"annotator_id": "\0" * 32},
        {"dimension": ""},
        {"dimension": "\ud800"},
        {"client_key": "k" * 101},
        {"reason": "r" * 2001},
        {"reason": "\0"},
    ],
    ids=repr,
)
def test_a_click_that_cannot_be_kept_is_refused_when_it_is_made(changes: dict[str, Any]) -> None:
    click = a_click(new_id(), new_id())
    with pytest.raises(InputError):
        replace(click, **changes)


def test_a_comparison_of_a_generation_with_itself_is_refused() -> None:
    generation = a_generation()
    with pytest.raises(InputError, match="Both sides"):
        a_comparison(left=generation, right=generation)
