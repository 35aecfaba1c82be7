"""Sixteen judges at once over HTTP against a served page: a part of what is required at each test run.

By hand: TILLER_TEST_JUDGEMENTS=100 for each judge's number, TILLER_TEST_PAUSE=1.5 for the mean seconds they think, and
`pytest -s` to see how long saves took. Without a pause every judge answers at once, sixteen requests at all times.
"""

import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from storage.records_pairs import PairFilter
from storage.sql_results import SqlResults
from tests.ui.judge.judges import HttpJudge
from tests.ui.judge.serving import a_study, judging

N_JUDGES = 16
KEYS = ("left", "right", "tie", "both_bad", "skip")


def test_sixteen_judges_over_http_store_every_judgement_once(tmp_path: Path) -> None:
    n_items = int(os.environ.get("TILLER_TEST_JUDGEMENTS", "20"))
    pause_seconds = float(os.environ.get("TILLER_TEST_PAUSE", "0"))
    with judging(tmp_path) as served:
        study_id = a_study(served.studies, n_items, overlap=N_JUDGES)
        base_url = served.url.removesuffix("/judge")
        judges = [HttpJudge(base_url, f"Judge {number}", study_id) for number in range(N_JUDGES)]

        def work(judge: HttpJudge) -> None:
            item_id = judge.sit_down()
            while item_id is not None:
                time.sleep(random.uniform(0.5, 1.5) * pause_seconds)
                item_id = judge.save(item_id, KEYS[len(judge.items) % len(KEYS)])

        with ThreadPoolExecutor(N_JUDGES) as threads:
            list(threads.map(work, judges))
        pairs = list(SqlResults(served.database).pairs(PairFilter(), with_texts=False))
        assert len(pairs) == served.repository.count_judgements() == N_JUDGES * n_items
        assert set(Counter((pair.comparison_id, pair.annotator_id) for pair in pairs).values()) == {1}
        assert served.database.integrity_check() == ()
    for judge in judges:
        assert len(set(judge.items)) == n_items
    saves = sorted(seconds for judge in judges for seconds in judge.saves)
    middle, p95 = saves[len(saves) // 2], saves[int(0.95 * len(saves))]
    print(f"{len(saves)} saves: median {middle * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, most {saves[-1] * 1000:.0f} ms")
