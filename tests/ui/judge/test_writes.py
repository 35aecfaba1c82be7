"""Nothing is written for another site's page, or for a page that was not given its token."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.records import new_id
from tests.ui.judge.judges import HttpJudge
from tests.ui.judge.serving import Served, a_study, judging


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with judging(tmp_path) as served:
        yield served


def saving(judge: HttpJudge, item_id: str, *, token: str = "", session_hash: str = "", origin: str = "") -> str:
    """What the server says to a save that differs from the page's own in what is given."""
    answers = json.dumps({"item": item_id, "key": new_id(), "answers": [{"choice": "left"}]})
    own_token, study_id, name = judge.who
    body = {
        "data": [token or own_token, study_id, name, answers, None],
        "fn_index": judge.event("save"),
        "session_hash": session_hash or judge.session_hash,
    }
    headers = {"Content-Type": "application/json", "Origin": origin or judge.base_url}
    url = f"{judge.base_url}/gradio_api/run/predict"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
        return str(answer.read(), "utf-8")


def test_only_the_page_that_was_given_the_token_can_save_and_only_from_its_own_site(served: Served) -> None:
    judge = HttpJudge(served.url.removesuffix("/judge"), "Ada", a_study(served.studies, 2))
    item_id = judge.sit_down()
    assert item_id is not None
    assert "not from this one" in saving(judge, item_id, origin="https://evil.example")
    assert "not known to the server" in saving(judge, item_id, token="0" * 64)
    assert "not known to the server" in saving(judge, item_id, session_hash="stranger")
    assert served.repository.count_judgements() == 0
    assert "tiller-message" not in saving(judge, item_id)
    assert served.repository.count_judgements() == 1
