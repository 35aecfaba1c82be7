"""For every line on standard input, a port, a child process that serves the page there until it is killed.

Run by test_killed.py with the home folder. A child prints its process id once it serves; how it ended is printed, too.
The children are forked, so that importing Gradio ten times costs the test no time; each opens the database for itself.
"""

import os
import signal
import sys
from pathlib import Path

from tests.ui.judge.serving import judging


def main(home: str) -> None:
    """Fork a child for every line; say how it ended."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                with judging(Path(home), port=int(line)):
                    print(os.getpid(), flush=True)
                    signal.pause()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(f"ended by signal {os.WTERMSIG(status)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
