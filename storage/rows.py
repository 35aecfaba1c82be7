"""Records to rows and back. What comes back is checked as if a person had sent it."""

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from steering.errors import InputError, StorageError
from steering.types import Blend, Choice, FinishReason, Message, Role, SamplingSettings
from storage.records import Annotator, Comparison, ComparisonKind, Generation, GuideRecord, Judgement, Strength
from storage.tables import AnnotatorRow, ComparisonRow, GenerationGuideRow, GenerationRow, JudgementRow

T = TypeVar("T")


def generation_values(generation: Generation) -> dict[str, object]:
    """The column values of a generation, its guides left out."""
    sampling = generation.sampling
    return {
        "id": generation.id,
        "messages": messages_json(generation.messages),
        "prompt_token_ids": to_json(generation.prompt_token_ids),
        "token_ids": to_json(generation.token_ids),
        "text": to_json(generation.text),
        "base_id": generation.base_id,
        "base_revision": generation.base_revision,
        "base_exponent": float(generation.blend.base_exponent),
        "temperature": float(sampling.temperature),
        "top_k": sampling.top_k,
        "top_p": float(sampling.top_p),
        "min_p": float(sampling.min_p),
        "max_new_tokens": sampling.max_new_tokens,
        "seed": sampling.seed,
        "plausibility": sampling.plausibility,
        "stop_at_eos": sampling.stop_at_eos,
        "finish_reason": generation.finish_reason.value,
        "seconds": float(generation.seconds),
        "kl_per_token": generation.kl_per_token,
        "created_at": generation.created_at,
        "n_tokens": len(generation.token_ids),
        "text_removed_at": generation.text_removed_at,
    }


def guide_values(generation: Generation) -> list[dict[str, object]]:
    """The column values of a generation's guides, in their order."""
    return [
        {
            "generation_id": generation.id,
            "position": position,
            "guide_id": guide.id,
            "dimension": guide.dimension,
            "version": guide.version,
            "unit": float(guide.unit),
            "sha256": guide.sha256,
            "weight": generation.blend.weights.get(guide.dimension),
            "exponent": generation.exponents.get(guide.dimension),
            "reward": generation.guide_rewards.get(guide.dimension),
        }
        for position, guide in enumerate(generation.guides)
    ]


def comparison_from(row: ComparisonRow) -> Comparison:
    """The comparison of a row.

    Raises:
        StorageError: the row or one of its generations holds something that no Tiller wrote.
    """
    left, right = generation_from(row.left), generation_from(row.right)
    return read(
        f"comparison {row.id}",
        lambda: Comparison(row.id, ComparisonKind(row.kind), left, right, row.sides_known, row.created_at),
    )


def generation_from(row: GenerationRow) -> Generation:
    """The generation of a row.

    Raises:
        StorageError: the row holds something that no Tiller wrote.
    """
    return read(f"generation {row.id}", lambda: _generation(row))


def judgement_from(row: JudgementRow) -> Judgement:
    """The judgement of a row.

    Raises:
        StorageError: the row holds something that no Tiller wrote.
    """
    return read(
        f"judgement {row.id}",
        lambda: Judgement(
            id=row.id,
            comparison_id=row.comparison_id,
            annotator_id=row.annotator_id,
            dimension=row.dimension,
            choice=Choice(row.choice),
            client_key=row.client_key,
            reason=row.reason,
            revision=row.revision,
            judged_at=row.judged_at,
            strength=None if row.strength is None else Strength(row.strength),
            withdrawn_at=row.withdrawn_at,
        ),
    )


def annotator_from(row: AnnotatorRow) -> Annotator:
    """The annotator of a row."""
    return Annotator(row.id, row.display_name, row.key_hash, row.created_at, row.group_name, row.deleted_at)


def messages_from(stored: str) -> tuple[Message, ...]:
    """The messages of a column, which holds JSON.

    Raises:
        ValueError: it holds something else.
    """
    return tuple(_message(entry) for entry in _list(stored))


def text_from(stored: str) -> str:
    """The text of a column, which holds it as JSON.

    Raises:
        ValueError: it holds something else.
    """
    return _string(json.loads(stored))


def _generation(row: GenerationRow) -> Generation:
    guides = row.guides
    return Generation(
        id=row.id,
        messages=messages_from(row.messages),
        blend=Blend({guide.dimension: guide.weight for guide in guides if guide.weight is not None}, row.base_exponent),
        exponents={guide.dimension: guide.exponent for guide in guides if guide.exponent is not None},
        sampling=SamplingSettings(
            temperature=row.temperature,
            top_k=row.top_k,
            top_p=row.top_p,
            min_p=row.min_p,
            max_new_tokens=row.max_new_tokens,
            seed=row.seed,
            plausibility=row.plausibility,
            stop_at_eos=row.stop_at_eos,
        ),
        base_id=row.base_id,
        base_revision=row.base_revision,
        guides=tuple(_guide(guide) for guide in guides),
        prompt_token_ids=tuple(_whole(entry) for entry in _list(row.prompt_token_ids)),
        token_ids=tuple(_whole(entry) for entry in _list(row.token_ids)),
        text=text_from(row.text),
        finish_reason=FinishReason(row.finish_reason),
        seconds=row.seconds,
        kl_per_token=row.kl_per_token,
        guide_rewards={guide.dimension: guide.reward for guide in guides if guide.reward is not None},
        created_at=row.created_at,
        text_removed_at=row.text_removed_at,
    )


def _guide(row: GenerationGuideRow) -> GuideRecord:
    return GuideRecord(row.guide_id, row.dimension, row.version, row.unit, row.sha256)


def _message(entry: object) -> Message:
    if not isinstance(entry, dict) or entry.keys() != {"role", "content"}:
        raise ValueError("a message has a role and a content, nothing else")
    return Message(Role(_string(entry["role"])), _string(entry["content"]))


def _list(stored: str) -> list[object]:
    value = json.loads(stored)
    if not isinstance(value, list):
        raise ValueError("a list was expected")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a token id is not a whole number")
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text was expected")
    return value


def messages_json(messages: Sequence[Message]) -> str:
    """What a column holds for these messages."""
    return to_json([{"role": message.role.value, "content": message.content} for message in messages])


def to_json(value: object) -> str:
    """Compact JSON that stays readable in the database; a NUL is escaped, which PostgreSQL needs."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read(what: str, make: Callable[[], T]) -> T:
    """What ``make`` makes of a stored row.

    Raises:
        StorageError: the row holds something that no Tiller wrote.
    """
    try:
        return make()
    except (ValueError, TypeError, KeyError, InputError) as error:
        raise StorageError(
            f"The stored {what} is damaged: {error}",
            hint="Another program changed the database; put a backup in its place.",
        ) from error
