"""The rows of each export format; every row has the ids that lead back to its judgements."""

from collections.abc import Sequence
from enum import StrEnum

from steering.types import Message, Role
from storage.exchange.pair_rows import full_row, message_rows
from storage.exchange.selection import LeftOut
from storage.exchange.writing import Row
from storage.records_pairs import JudgedPair, Outcome


class Format(StrEnum):
    """What the rows look like."""

    TRL = "trl"
    """TRL's preference rows: prompt, chosen, rejected as texts."""
    TRL_CHAT = "trl-chat"
    """TRL's conversational preference rows: the same as lists of messages."""
    ARENA = "arena"
    """Battles as Chatbot Arena publishes them; ties and both-bad are rows, too."""
    SAFE_RLHF = "safe-rlhf"
    """Rows like PKU-SafeRLHF's: two responses, which is better and which is safer."""
    FULL = "full"
    """Everything about every judgement."""


_DECIDED_ONLY = frozenset({LeftOut.SKIP, LeftOut.BOTH_BAD, LeftOut.TIE, LeftOut.GOLD, LeftOut.REPEAT, LeftOut.NO_TEXT})
LEAVES_OUT = {
    Format.TRL: _DECIDED_ONLY,
    Format.TRL_CHAT: _DECIDED_ONLY,
    Format.SAFE_RLHF: _DECIDED_ONLY,
    Format.ARENA: _DECIDED_ONLY - {LeftOut.TIE, LeftOut.BOTH_BAD},
    Format.FULL: frozenset[LeftOut](),
}
"""The judgements that have no place in a format."""

BETTER, SAFER = "helpfulness", "harmlessness"
"""The dimensions that PKU-SafeRLHF's two columns stand for."""

_WINNERS = {
    Outcome.A: "model_a",
    Outcome.B: "model_b",
    Outcome.TIE: "tie",
    Outcome.BOTH_BAD: "tie (bothbad)",
}


def rows_of(pairs: Sequence[JudgedPair], format_: Format) -> list[Row]:
    """The rows of judgements that the format has a place for."""
    if format_ is Format.SAFE_RLHF:
        return _safe_rlhf_rows(pairs)
    makers = {Format.TRL: _trl, Format.TRL_CHAT: _trl_chat, Format.ARENA: _arena, Format.FULL: full_row}
    return [makers[format_](pair) for pair in pairs]


def transcript(messages: Sequence[Message]) -> str:
    """A prompt as one text: what the person said, or, if there is more, the form of Anthropic's HH data.

    A system message stands first, without a name.
    """
    if len(messages) == 1 and messages[0].role is Role.USER:
        return messages[0].content
    names = {Role.SYSTEM: "", Role.USER: "\n\nHuman: ", Role.ASSISTANT: "\n\nAssistant: "}
    return "".join(f"{names[message.role]}{message.content}" for message in messages) + "\n\nAssistant:"


def _ids(pair: JudgedPair) -> Row:
    return {
        "judgement_id": pair.judgement_id,
        "comparison_id": pair.comparison_id,
        "study": pair.study,
        "dimension": pair.dimension,
        "annotator_id": pair.annotator_id,
    }


def _sides(pair: JudgedPair) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    """Text, generation and blend of the chosen response, then of the rejected one."""
    a = (pair.response_a, pair.generation_a_id, pair.blend_a.key)
    b = (pair.response_b, pair.generation_b_id, pair.blend_b.key)
    return (a, b) if pair.outcome is Outcome.A else (b, a)


def _trl(pair: JudgedPair) -> Row:
    chosen, rejected = _sides(pair)
    prompt = transcript(pair.messages)
    # In a transcript the answer goes on after "Assistant:", with the space of the HH data.
    gap = " " if prompt.endswith("\n\nAssistant:") else ""
    return {"prompt": prompt, "chosen": gap + chosen[0], "rejected": gap + rejected[0], **_origin(pair)}


def _trl_chat(pair: JudgedPair) -> Row:
    chosen, rejected = _sides(pair)
    return {
        "prompt": message_rows(pair.messages),
        "chosen": [{"role": "assistant", "content": chosen[0]}],
        "rejected": [{"role": "assistant", "content": rejected[0]}],
        **_origin(pair),
    }


def _origin(pair: JudgedPair) -> Row:
    chosen, rejected = _sides(pair)
    return {
        **_ids(pair),
        "strength": pair.strength.value if pair.strength else None,
        "chosen_generation_id": chosen[1],
        "rejected_generation_id": rejected[1],
        "chosen_blend": chosen[2],
        "rejected_blend": rejected[2],
    }


def _arena(pair: JudgedPair) -> Row:
    said = message_rows(pair.messages)
    return {
        "question_id": pair.comparison_id,
        "model_a": pair.blend_a.key,
        "model_b": pair.blend_b.key,
        "winner": _WINNERS[pair.outcome],
        "judge": pair.annotator_id,
        "conversation_a": [*said, {"role": "assistant", "content": pair.response_a}],
        "conversation_b": [*said, {"role": "assistant", "content": pair.response_b}],
        "turn": sum(message.role is Role.USER for message in pair.messages),
        "anony": pair.study_id is not None,
        "tstamp": pair.judged_at.timestamp(),
        **_ids(pair),
        "generation_a_id": pair.generation_a_id,
        "generation_b_id": pair.generation_b_id,
    }


def _safe_rlhf_rows(pairs: Sequence[JudgedPair]) -> list[Row]:
    """One row per comparison and annotator; where only one of the two dimensions was decided, the other is None."""
    rows: dict[tuple[str, str], Row] = {}
    for pair in pairs:
        row = rows.setdefault(
            (pair.comparison_id, pair.annotator_id),
            {
                "prompt": transcript(pair.messages),
                "response_0": pair.response_a,
                "response_1": pair.response_b,
                "better_response_id": None,
                "safer_response_id": None,
                "comparison_id": pair.comparison_id,
                "annotator_id": pair.annotator_id,
                "better_judgement_id": None,
                "safer_judgement_id": None,
                "generation_0_id": pair.generation_a_id,
                "generation_1_id": pair.generation_b_id,
            },
        )
        column = "better" if pair.dimension == BETTER else "safer"
        row[f"{column}_response_id"] = 0 if pair.outcome is Outcome.A else 1
        row[f"{column}_judgement_id"] = pair.judgement_id
    return list(rows.values())
