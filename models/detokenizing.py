"""From token ids to text, while they come: never half a character."""

from collections.abc import Sequence

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase


class Detokenizer:
    """Turns one answer's tokens into text as they come.

    :attr:`text` grows by whole characters only; bytes of a character still incomplete are held back, for good if the
    answer ends there. Control tokens add nothing.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self.text = ""

    def add(self, token_id: int) -> str:
        """Append one token and return the text it completes, which may be empty."""
        piece = self._stream.step(self._backend, token_id) or ""
        self.text += piece
        return piece


def spell(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> tuple[str, ...]:
    """Return one piece of text per token; joined they are the answer's text.

    Control tokens and tokens that end inside a character give an empty piece.
    """
    detokenizer = Detokenizer(tokenizer)
    return tuple(detokenizer.add(token) for token in token_ids)
