"""The application as a process of its own, for as long as it is measured."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.probe import APP
from steering.errors import LoadError

_START_SECONDS = 900.0  # a large model is read from disk
_END_SECONDS = 30.0
_KEPT_LINES = 30


@dataclass
class Served:
    """A running application with `benchmarks.probe` in it."""

    url: str
    process: "subprocess.Popen[str]"
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    asking: threading.Lock = field(default_factory=threading.Lock)

    def reading(self) -> dict[str, Any]:
        """Ask the process what it holds; see :func:`benchmarks.probe.reading`.

        Raises:
            LoadError: it has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.asking:
            try:
                self.process.stdin.write("\n")
                self.process.stdin.flush()
                for line in self.process.stdout:
                    if line.startswith('{"n_slots"'):
                        answer: dict[str, Any] = json.loads(line)
                        return answer
            except BrokenPipeError:
                pass
        raise self.ended()

    def ended(self) -> LoadError:
        """The error that says how it ended."""
        return LoadError("The application has ended:\n" + "".join(self.log), hint="Does it start by itself?")


@contextmanager
def serving(home: str, options: Sequence[str]) -> Iterator[Served]:
    """Start app.py on a free port of this machine, with its data under ``home``; it is ended afterwards.

    Raises:
        LoadError: it ends before it serves, or does not serve in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.probe", "--port", str(port), "--home", home, *options]
    # the page's options are those given here and no others
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TILLER_")}
    process = subprocess.Popen(
        command,
        cwd=APP.parent,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    served = Served(f"http://127.0.0.1:{port}", process)
    threading.Thread(target=_keep, args=(served,), daemon=True).start()
    try:
        _wait(served)
        yield served
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _keep(served: Served) -> None:
    """Keep the last lines of the log, so that the process is never held up by a full pipe."""
    assert served.process.stderr is not None
    served.log.extend(served.process.stderr)


def _wait(served: Served) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if served.process.poll() is not None:
            raise served.ended()
        try:
            if httpx.get(f"{served.url}/config", timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise LoadError(f"The application did not serve within {_START_SECONDS:.0f} s.", hint="Does it start by itself?")
