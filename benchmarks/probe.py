"""Runs app.py as it is, with an ear on stdin: every line is answered, on stdout, with what the process holds.

`benchmarks.serve` starts the application through this, so that slots are seen in the engine itself and nothing of the
application has to be changed for it. When stdin ends the application is interrupted.
"""

import _thread
import functools
import gc
import json
import runpy
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

APP = Path(__file__).parent.parent / "app.py"


def main() -> None:
    """Listen, and serve the page with the options of the command line until interrupted."""
    threading.Thread(target=_listen, name="probe", daemon=True).start()
    runpy.run_path(str(APP), run_name="__main__")


def _listen() -> None:
    for _ in sys.stdin:
        print(json.dumps(reading()), flush=True)
    _thread.interrupt_main()


def reading() -> dict[str, Any]:
    """Return how many answers are being decoded, whether an engine has work, and the process's memory in bytes.

    ``n_slots`` is None where no engine is found, which is not the same as none being used. Requests that wait or are
    read or scored are work too.
    """
    engines = _engines()
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "n_slots": sum(engine.n_slots for engine in engines) if engines else None,
        "is_working": not all(engine.is_idle for engine in engines),
        "memory_bytes": psutil.Process().memory_info().rss,
        "gpu_bytes": torch.cuda.memory_allocated() if torch is not None and on_gpu else 0,
    }


@functools.cache
def _engines() -> list[Any]:
    """The engines there are at the first reading: looking through all objects holds up everything else for long."""
    return [found for found in gc.get_objects() if type(found).__name__ == "Engine" and _is_ours(found)]


def _is_ours(found: Any) -> bool:
    # asking with isinstance would wake the lazy modules among all these objects
    return type(found).__module__ == "models.engine"


if __name__ == "__main__":
    main()
