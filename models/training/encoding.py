"""Preferences as token ids, read as the engine will read them when the guide steers."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from models.prompting import Ending, has_half_a_pair, prompt_ending, prompt_token_ids, response_token_ids
from models.training.ancestry import Seen
from models.training.batches import Example
from models.training.data import NOTHING, DataSettings, Split, choose
from models.training.rows import Preference, RowsRead
from steering.errors import InputError, PromptError
from steering.types import Message

_REMEMBERED = 65536


class Encoder:
    """Turns preferences into examples.

    Args:
        tokenizer: of the base model.
        eos_token_id: the token that ends an answer; a guide has to learn where to end, so it counts.
        chat_template: Jinja, in place of the tokenizer's own.
        context_length: the tokens the model can read.
        settings: the limits of length.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        eos_token_id: int,
        chat_template: str | None,
        context_length: int,
        settings: DataSettings,
    ) -> None:
        self._context_length, self._settings = context_length, settings
        self._refusal: PromptError | None = None
        self._has_read = False

        def read_prompt(messages: tuple[Message, ...]) -> tuple[tuple[int, ...], Ending]:
            ids = prompt_token_ids(tokenizer, messages, chat_template)
            return tuple(ids), prompt_ending(tokenizer, messages, chat_template)

        def read_response(ending: Ending, text: str) -> tuple[int, ...]:
            return (*response_token_ids(tokenizer, ending, text), eos_token_id)

        # lengths are asked for first, and the examples are made of the same ids afterwards
        self._read_prompt: Callable[[tuple[Message, ...]], tuple[tuple[int, ...], Ending]]
        self._read_prompt = lru_cache(_REMEMBERED)(read_prompt)
        self._read_response: Callable[[Ending, str], tuple[int, ...]] = lru_cache(_REMEMBERED)(read_response)

    def why_not(self, preference: Preference) -> str:
        """Say why a preference cannot be used, by its length or its text; empty where it can."""
        try:
            prompt, responses = self._read(preference)
        except PromptError as error:
            texts = (*(message.content for message in preference.messages), preference.chosen, preference.rejected)
            if any(has_half_a_pair(text or "") for text in texts):
                return "no_text"
            self._refusal = self._refusal or error
            return "template_refuses"
        self._has_read = True
        n_prompt, n_responses = len(prompt), [len(response) for response in responses]
        if n_prompt > self._settings.max_prompt_tokens:
            return "long_prompt"
        if max(n_responses) > self._settings.max_response_tokens:
            return "long_response"
        return "long_for_the_model" if n_prompt + max(n_responses) > self._context_length else ""

    def choose(self, read: RowsRead, earlier: RowsRead, *, pairs_only: bool, seen: Seen = NOTHING) -> Split:
        """See :func:`models.training.data.choose`, of which the limits are this encoder's.

        Raises:
            InputError: nothing is left to train on, or nothing to test on; :meth:`reason` says why.
        """
        try:
            return choose(read, earlier, self._settings, self.why_not, pairs_only=pairs_only, seen=seen)
        except InputError as error:
            raise self.reason(error) from error

    def reason(self, error: InputError) -> InputError:
        """Return why nothing is left of the data: the chat template's refusal of all, or else ``error``."""
        return error if self._has_read or self._refusal is None else self._refusal

    def examples(self, preferences: Sequence[Preference]) -> list[Example]:
        """Return one example per preference, with weights whose mean is 1."""
        mean = sum(each.weight for each in preferences) / max(len(preferences), 1)
        return [
            Example(
                id=each.id,
                prompt=prompt,
                responses=responses,
                signs=(1,) * (each.chosen is not None) + (-1,) * (each.rejected is not None),
                weight=each.weight / mean if mean else 0.0,
                source=each.source,
            )
            for each in preferences
            for prompt, responses in [self._read(each)]
        ]

    def _read(self, preference: Preference) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """The ids of the prompt and of each response."""
        prompt, ending = self._read_prompt(preference.messages)
        texts = [text for text in (preference.chosen, preference.rejected) if text is not None]
        return prompt, tuple(self._read_response(ending, text) for text in texts)
