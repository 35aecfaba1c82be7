"""Run `python -m models.training.train` as one of several processes, of which the first kills their launcher."""

import os
import signal
import sys
import time

from models.training.train import main
from tests.models.training.running import hear


def kill_launcher_behind(moment: str) -> None:
    """Leave all processes without the launcher once the first has told of a moment, such as ``"step 3"``."""
    launcher = os.getppid()

    def kill(now: str) -> None:
        if now == moment:
            os.kill(launcher, signal.SIGKILL)
            while os.getppid() == launcher:
                time.sleep(0.01)

    hear(kill)


if __name__ == "__main__":
    kill_launcher_behind(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
