"""A lock that lets threads in strictly in the order in which they came."""

import threading
from collections import deque


class Turns:
    """Whoever has the turn is alone; a thread must not take it twice.

    ``threading.Lock`` promises no order: a thread that leaves and comes back at once would often pass all that wait.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()

    def take(self, timeout_seconds: float) -> bool:
        """Wait for the turn; False when it did not come in time, and then ``leave`` must not be called."""
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        try:
            if turn.wait(timeout_seconds):
                return True
        except BaseException:
            # Ctrl-C while waiting: nobody may be left waiting for a turn that was given to this thread.
            if not self._withdraw(turn):
                self.leave()
            raise
        return not self._withdraw(turn)

    def leave(self) -> None:
        """Give the turn to whoever has waited longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False

    def _withdraw(self, turn: threading.Event) -> bool:
        """Stop waiting; False when the turn has come meanwhile."""
        with self._guard:
            if turn.is_set():
                return False
            self._waiting.remove(turn)
            return True
