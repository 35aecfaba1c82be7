"""What a judge's page calls an item: a handle that tells nothing of it.

The item's own id would tell. A gold item's can be computed from the study's, a repetition's is made in another way than
the rest, and whoever knows that an item is a check of their care answers it with care. It is the same for every judge,
too: what one had chosen and not saved was once laid before the next one in the same browser.
"""

import hmac
from dataclasses import dataclass

from ui.judge.payload import unreadable
from ui.visitors import key_hash

_ID_DIGITS = 32


@dataclass(frozen=True)
class ItemHandles:
    """One judge's handles for one study's items: 64 hexadecimal digits, the same ones after a restart of the server.

    A handle is a signature of the item's id, and the id encrypted with a pad made of the signature (the synthetic
    initialization vector of RFC 5297): without ``secret`` nobody can make one, or learn anything of the id.
    """

    secret: bytes
    study_id: str
    annotator_id: str

    def of(self, item_id: str) -> str:
        """The item's handle."""
        signature = self._keyed("id", item_id)
        return signature + _either_or(item_id, self._keyed("pad", signature))

    def item_id(self, handle: str) -> str:
        """The id of the item whose handle this is.

        Raises:
            InputError: it is none that was made for this judge and this study.
        """
        signature, hidden = handle[:_ID_DIGITS], handle[_ID_DIGITS:]
        item_id = _either_or(hidden, self._keyed("pad", signature))
        if not hmac.compare_digest(signature, self._keyed("id", item_id)):
            raise unreadable("it names no item of yours")
        return item_id

    def _keyed(self, kind: str, text: str) -> str:
        return key_hash(self.secret, f"judge-item-{kind}\n{self.study_id}\n{self.annotator_id}\n{text}")[:_ID_DIGITS]


def _either_or(one: str, other: str) -> str:
    """The exclusive or of two ids' bits."""
    return f"{int(one, 16) ^ int(other, 16):0{_ID_DIGITS}x}"
