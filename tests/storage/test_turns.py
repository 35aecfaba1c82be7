"""Threads get their turn in the order in which they came, and none is left waiting."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from storage.turns import Turns


def test_those_who_wait_are_served_in_order() -> None:
    turns, served = Turns(), []
    assert turns.take(1.0)

    def wait(number: int) -> None:
        assert turns.take(10.0)
        served.append(number)
        turns.leave()

    threads = []
    for number in range(8):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while len(turns._waiting) <= number:
            time.sleep(0.001)
    turns.leave()
    for thread in threads:
        thread.join()
    assert served == list(range(8))


def test_who_waited_too_long_goes_away_and_blocks_nobody() -> None:
    turns = Turns()
    assert turns.take(1.0)
    assert not turns.take(0.01)
    turns.leave()
    assert turns.take(0.01)


def test_nobody_is_inside_with_another_however_impatient_the_threads_are() -> None:
    turns, inside, n_served = Turns(), [], []

    def work(number: int) -> None:
        for step in range(200):
            if turns.take(0.0005 * ((number + step) % 4)):
                inside.append(number)
                assert inside == [number]
                inside.remove(number)
                n_served.append(1)
                turns.leave()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(n_served) > 0
    assert turns.take(0.0)
