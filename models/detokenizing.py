"""From token ids to text, while they come: never half a character."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_UNDECODABLE = "\ufffd"


class Detokenizer:
    """Turns one answer's tokens into text as they come.

    :attr:`text` grows by whole characters only; bytes of a character still incomplete are held back, for good if the
    answer ends there. Control tokens add nothing. Any ids of the vocabulary are taken, in any order: bytes that are no
    text become U+FFFD once something readable follows. (tokenizers' own DecodeStream raises on some of those.)
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = tokenizer.backend_tokenizer
        # the last tokens shown, for a token's text can depend on the one before, and then those held back
        self._window: list[int] = []
        self._n_shown = 0
        self.text = ""

    def add(self, token_id: int) -> str:
        """Append one token and return the text it completes, which may be empty."""
        self._window.append(token_id)
        shown, text = self._decode(self._window[: self._n_shown]), self._decode(self._window)
        if text.endswith(_UNDECODABLE):
            return ""
        if not text.startswith(shown):  # bytes that spoil the character before them; what was shown stays
            shown, text = "", self._decode(self._window[self._n_shown :])
        piece = text[len(shown) :]
        if piece:
            self._window = self._window[self._n_shown :]
            self._n_shown = len(self._window)
            self.text += piece
        return piece

    def _decode(self, token_ids: list[int]) -> str:
        text: str = self._backend.decode(token_ids, skip_special_tokens=True)
        return text


def spell(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> tuple[str, ...]:
    """Return one piece of text per token; joined they are the answer's text.

    Control tokens and tokens that end inside a character give an empty piece.
    """
    detokenizer = Detokenizer(tokenizer)
    return tuple(detokenizer.add(token) for token in token_ids)
