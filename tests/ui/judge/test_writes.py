"""Nothing is written for another site's page, or for a page that was not given its token, or without logging in."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.judges import HttpJudge, NotSavedError
from storage.records import new_id
from tests.ui.judge.serving import Served, a_study, judging
from ui.judge.saving import MAX_BODY_BYTES, PATH


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with judging(tmp_path) as served:
        yield served


@pytest.fixture
def judge(served: Served) -> Iterator[HttpJudge]:
    judge = HttpJudge(served.base_url, "Ada", a_study(served.studies, 2))
    yield judge
    judge.close()


def answers_to(item: str | None) -> dict[str, object]:
    return {"item": item, "key": new_id(), "answers": [{"choice": "left"}]}


def test_only_the_page_that_was_given_the_token_can_save_and_only_from_its_own_site(
    served: Served, judge: HttpJudge
) -> None:
    answers = answers_to(judge.sit_down())
    assert "not from this one" in judge.send(answers, origin="https://evil.example")["message"]
    for wrong in ("0" * 64, f"stranger.{judge.token.rpartition('.')[2]}", judge.token[:-1]):
        assert "not known to the server" in judge.send(answers, token=wrong)["message"]
    assert served.repository.count_judgements() == 0
    assert judge.send(answers)["message"] == ""
    assert served.repository.count_judgements() == 1


@pytest.mark.parametrize(("root_path", "n_saved"), [("", 0), ("/tiller", 1)])
def test_the_host_that_a_proxy_names_counts_only_where_the_server_was_told_of_a_proxy(
    tmp_path: Path, root_path: str, n_saved: int
) -> None:
    """Any page could name itself as that host: Gradio allows foreign pages every header."""
    with judging(tmp_path, root_path=root_path) as served:
        judge = HttpJudge(served.base_url, "Ada", a_study(served.studies, 1))
        answers = answers_to(judge.sit_down())
        asked = {"token": judge.token, "study": judge.study_id, "name": judge.name, "sent": json.dumps(answers)}
        connection = http.client.HTTPConnection(served.base_url.removeprefix("http://"), timeout=30)
        passed_on = {"Origin": "https://tiller.example", "X-Forwarded-Host": "tiller.example"}
        connection.request("POST", PATH, json.dumps(asked), passed_on)
        told = connection.getresponse().read()
        assert (b"not from this one" in told) is (n_saved == 0)
        assert served.repository.count_judgements() == n_saved
        connection.close()
        judge.close()


def test_what_no_page_of_ours_sends_is_told_and_stores_nothing(served: Served, judge: HttpJudge) -> None:
    judge.sit_down()
    for body in (b"", b"null", b"[]", b"{}", b"[" * 100_000, b"\xff", b" " * (MAX_BODY_BYTES + 1)):
        connection = http.client.HTTPConnection(served.base_url.removeprefix("http://"), timeout=30)
        connection.request("POST", PATH, body, {"Origin": served.base_url})
        answer = connection.getresponse()
        assert b"cannot be read as answers" in answer.read()
        connection.close()
    for answers in (None, 7, answers_to(None), answers_to(new_id()), answers_to(2 * new_id())):
        assert "tiller-message" in judge.send(answers)["message"]
    assert served.repository.count_judgements() == 0


def test_behind_an_access_code_nothing_is_saved_without_logging_in(tmp_path: Path) -> None:
    with judging(tmp_path) as served:
        inside = HttpJudge(served.base_url, "Ada", a_study(served.studies, 2))
        answers = answers_to(inside.sit_down())
        inside.close()
    # The server's secret is the same, so the page's token is still a good one; what is missing is the login.
    with judging(tmp_path, access_code="sesame") as served:
        outside = HttpJudge(served.base_url, "Ada", inside.study_id, token=inside.token)
        with pytest.raises(NotSavedError, match=r"401: .*access code"):
            outside.send(answers)
        outside.cookie = "access-token-unsecure-x=y"
        with pytest.raises(NotSavedError, match="401"):
            outside.send(answers)
        assert served.repository.count_judgements() == 0
        outside.cookie = logged_in(served, "sesame")
        assert outside.send(answers)["message"] == ""
        assert served.repository.count_judgements() == 1
        outside.close()


def logged_in(served: Served, access_code: str) -> str:
    """The cookies that a browser has after it gave the access code."""
    connection = http.client.HTTPConnection(served.base_url.removeprefix("http://"), timeout=30)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/login", f"username=Ada&password={access_code}", form)
    answer = connection.getresponse()
    assert answer.status == http.client.OK
    connection.close()
    return "; ".join(value.split(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie")
