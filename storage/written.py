"""Answers that no model loaded here wrote, as generations: imported ones, and the pairs of gold items."""

from collections.abc import Sequence
from datetime import datetime

from steering.types import Blend, FinishReason, Message, SamplingSettings
from storage.records import Generation


def written_answer(
    id_: str, messages: Sequence[Message], text: str, *, source: str, created_at: datetime
) -> Generation:
    """Return a generation that holds a text and nothing of how it came about; ``source`` stands for the base model."""
    return Generation(
        id=id_,
        messages=tuple(messages),
        blend=Blend(),
        exponents={},
        sampling=SamplingSettings(),
        base_id=source,
        base_revision="",
        guides=(),
        prompt_token_ids=(),
        token_ids=(),
        text=text,
        finish_reason=FinishReason.EOS,
        seconds=0.0,
        created_at=created_at,
    )
