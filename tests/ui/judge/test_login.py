"""Judges who logged in with Hugging Face, with a profile of the kind Gradio hands over; the Hub is never asked."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from gradio.helpers import special_args
from itsdangerous import TimestampSigner
from sqlalchemy import select
from starlette.requests import Request

from steering.errors import InputError
from storage.database import Database, open_database
from storage.records_pairs import PairFilter
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.tables import AnnotatorRow
from tests.ui.judge.serving import a_study
from tests.ui.pages import free_port, made
from ui import wording_judge as wording
from ui.components.judge import build_judge
from ui.judge.actions import JudgeActions, normalised
from ui.judge.events import add_judge_page
from ui.judge.handlers import JudgeHandlers
from ui.judge.login import VALID_SECONDS, Login, can_log_in, credential_for, is_credential, login_from, login_of
from ui.visitors import key_hash, server_secret

ROOT = Path(__file__).parents[3]
SECRET = b"s" * 32
ADA = Login("64f1c0ffee", "ada-l")
USERINFO = {
    "sub": ADA.account_id,
    "name": "Ada Lovelace",
    "preferred_username": ADA.username,
    "profile": "https://huggingface.co/ada-l",
    "picture": "https://huggingface.co/ada-l.png",
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path / 'tiller.db'}") as opened:
        yield opened


@pytest.fixture
def actions(database: Database, tmp_path: Path) -> JudgeActions:
    return JudgeActions(SqlRepository(database), SqlStudies(database), tmp_path)


@pytest.fixture
def handlers(actions: JudgeActions, tmp_path: Path) -> JudgeHandlers:
    pages = []

    def laid_out(*_: object) -> gr.Blocks:
        with gr.Blocks() as blocks:
            pages.append(replace(build_judge(), has_login=True))  # without the button, which wants a Space around it
        return blocks

    made(laid_out, tmp_path)
    return JudgeHandlers(pages[0], actions)


def a_request() -> gr.Request:
    return gr.Request(session_hash="one page", headers={}, query_params={})


def answered(actions: JudgeActions, study_id: str, name: str) -> int:
    return actions.start(study_id, name, False).progress.n_answered


def judge_one(actions: JudgeActions, study_id: str, name: str) -> None:
    handle = actions.start(study_id, name, False).handle
    actions.save(study_id, name, f'{{"item": "{handle}", "key": "{"0" * 32}", "answers": [{{"choice": "tie"}}]}}')


def test_a_credential_names_its_account_for_some_hours_and_only_on_the_server_that_made_it() -> None:
    credential = credential_for(ADA, SECRET, now=1000.0)
    assert is_credential(credential)
    assert login_from(credential, SECRET, now=1000.0 + VALID_SECONDS - 1) == ADA
    with pytest.raises(InputError, match="has ended"):
        login_from(credential, SECRET, now=1000.0 + VALID_SECONDS + 1)
    with pytest.raises(InputError, match="cannot be used"):
        login_from(credential, b"t" * 32, now=1000.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(ADA.account_id, "64f1c0ffef"),
        lambda text: text.replace("ada-l", "eve-l"),
        lambda text: text.replace(":1", ":9", 1),
        lambda text: text[:-1] + "é",
        lambda text: text.partition(":")[0] + ":",
        lambda text: text.rpartition(":")[0],
    ],
)
def test_a_changed_credential_is_refused(change: object) -> None:
    changed = change(credential_for(ADA, SECRET, now=10**9))  # type: ignore[operator]
    with pytest.raises(InputError, match="cannot be used"):
        login_from(changed, SECRET, now=10**9)


def test_what_is_stored_of_a_typed_name_is_no_signature_of_the_servers(
    actions: JudgeActions, database: Database, tmp_path: Path
) -> None:
    """Once the key hash of the name "judge-session:x" was the token of session x, for all who can read a snapshot."""
    study_id, secret = a_study(SqlStudies(database), 1), server_secret(tmp_path)
    names = [f"{page}-session{gap}x" for page in ("judge", "studies", "guides") for gap in (":", "\n")]
    for name in names:
        actions.start(study_id, name, False)
    with database.reading() as session:
        stored = set(session.scalars(select(AnnotatorRow.key_hash)))
    assert len(stored) == 6
    assert actions.session_token("x").rpartition(".")[2] not in stored
    for page in ("studies", "guides"):
        assert key_hash(secret, f"{page}-session\nx") not in stored
    claim, _, signature = credential_for(ADA, SECRET).rpartition(":")
    assert signature != key_hash(SECRET, normalised(claim))


@pytest.mark.parametrize("profile", [{}, USERINFO | {"sub": ""}, USERINFO | {"preferred_username": "a:b"}])
def test_a_profile_that_does_not_say_whose_it_is_is_refused(profile: dict[str, object]) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        login_of(profile)


def test_an_account_goes_on_where_it_stopped_under_any_username_and_is_nobody_who_typed_it(
    actions: JudgeActions, database: Database, tmp_path: Path
) -> None:
    study_id = a_study(SqlStudies(database), 3)
    judge_one(actions, study_id, actions.credential(ADA))
    again = JudgeActions(SqlRepository(database), SqlStudies(database), tmp_path)
    assert answered(again, study_id, again.credential(Login(ADA.account_id, "countess"))) == 1
    for typed in (ADA.username, ADA.account_id):
        assert answered(again, study_id, typed) == 0
    assert answered(again, study_id, again.credential(Login("other", ADA.username))) == 0
    (count,) = SqlResults(database).annotator_counts(PairFilter())
    assert count.display_name == "ada-l (Hugging Face)"


@pytest.mark.parametrize(
    "name",
    [
        ADA.display_name,
        "ADA-L (hugging face)",
        "ada-l  (Hugging\u00a0Face )",
        "ada-l (Hug\u200bging Face)",
        "ada-l \uff08Hugging Face\uff09",
        f"huggingface-login\n{ADA.account_id}",
        f"HuggingFace-Login:9999999999:{ADA.account_id}:ada-l:0",
    ],
)
def test_a_typed_name_that_looks_like_an_accounts_is_refused(
    actions: JudgeActions, database: Database, name: str
) -> None:
    with pytest.raises(InputError, match="logged in with Hugging Face"):
        actions.start(a_study(SqlStudies(database), 1), name, False)
    assert actions.start(a_study(SqlStudies(database), 1), "Hugging Face", False).shown is not None


def test_the_account_is_stored_as_a_keyed_hash_and_not_as_it_is(
    actions: JudgeActions, database: Database, tmp_path: Path
) -> None:
    judge_one(actions, a_study(SqlStudies(database), 1), actions.credential(ADA))
    database.engine.dispose()
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("tiller.db*"))
    assert ADA.username.encode() in stored
    assert ADA.account_id.encode() not in stored


def test_who_is_logged_in_needs_no_name_and_is_seated_again_until_logging_out(
    handlers: JudgeHandlers, actions: JudgeActions, database: Database
) -> None:
    page, study_id = handlers.page, a_study(SqlStudies(database), 2)
    opened = handlers.opened(a_request(), gr.OAuthProfile(USERINFO), None)
    credential = opened[page.name]["value"]
    assert not opened[page.name]["visible"]
    assert wording.LOGGED_IN.format(name=ADA.display_name) in opened[page.login_note]
    started = handlers.start(a_request(), opened[page.token], study_id, credential, False, "")
    assert started[page.desk]["visible"]
    judge_one(actions, study_id, credential)
    again = handlers.opened(a_request(), gr.OAuthProfile(USERINFO), started[page.remembered])
    assert again[page.desk]["visible"]
    assert "1 done" in again[page.progress]
    outside = handlers.opened(a_request(), None, started[page.remembered])
    assert page.desk not in outside
    assert outside[page.name] == gr.update(value="", visible=True)
    assert wording.OR_LOG_IN in outside[page.login_note]


def test_who_typed_a_name_before_logging_in_is_not_seated_as_somebody_else(
    handlers: JudgeHandlers, database: Database
) -> None:
    kept = {"study": a_study(SqlStudies(database), 1), "name": "Ada", "seated": True}
    assert handlers.page.desk not in handlers.opened(a_request(), gr.OAuthProfile(USERINFO), kept)
    assert handlers.opened(a_request(), None, kept)[handlers.page.desk]["visible"]


def test_gradio_hands_the_profile_of_the_session_to_the_page(handlers: JudgeHandlers, database: Database) -> None:
    a_study(SqlStudies(database), 1)
    session = {"oauth_info": {"userinfo": USERINFO, "expires_at": time.time() + 60}}
    scope = {"type": "http", "session": session, "headers": [], "query_string": b"", "path": "/judge"}
    asked = gr.Request(request=Request(scope), session_hash="one page")
    inputs, *_ = special_args(handlers.opened, [None], asked)
    assert isinstance(inputs[1], gr.OAuthProfile)
    assert is_credential(handlers.opened(*inputs)[handlers.page.name]["value"])
    session["oauth_info"]["expires_at"] = time.time() - 1
    assert special_args(handlers.opened, [None], asked)[0][1] is None


def test_off_spaces_there_is_no_login_which_would_only_be_pretended(
    database: Database, actions: JudgeActions, tmp_path: Path
) -> None:
    def laid_out(*_: object) -> gr.Blocks:
        with gr.Blocks() as blocks:
            pass
        add_judge_page(blocks, actions)
        return blocks

    assert not can_log_in()
    assert not made(laid_out, tmp_path).expects_oauth


@pytest.fixture
def space(tmp_path: Path) -> Iterator[str]:
    """A page in a process that takes itself for a Space with ``hf_oauth: true``; its address."""
    port = free_port()
    named = {"SYSTEM": "spaces", "SPACE_ID": "somebody/tiller", "SPACE_HOST": "127.0.0.1", "OAUTH_SCOPES": "openid"}
    secrets = {"OAUTH_CLIENT_ID": "client", "OAUTH_CLIENT_SECRET": "hush", "OPENID_PROVIDER_URL": "http://127.0.0.1:1"}
    command = [sys.executable, "-m", "tests.ui.judge.space", str(tmp_path), str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | named | secrets, **pipes)  # type: ignore[call-overload]
    try:
        while (line := process.stdout.readline()) != b"serving\n":  # Gradio says something, too
            assert line, "the page was not served"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def shown_to(cookie: str, space: str) -> str:
    """What the Judge page shows when it is opened with this session, by the same request that the browser makes."""
    with urllib.request.urlopen(f"{space}/config") as answer:
        events = {event["api_name"]: event for event in json.load(answer)["dependencies"]}
    # The Steer page, which comes first, has an event of the same name.
    last = max((event for name, event in events.items() if name.startswith("opened")), key=lambda event: event["id"])
    body = {"data": [None], "fn_index": last["id"], "session_hash": "one page"}
    headers = {"Content-Type": "application/json", "Origin": space, "Cookie": f"session={cookie}"}
    request = urllib.request.Request(f"{space}/gradio_api/run/predict", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def test_on_a_space_the_session_that_gradio_signed_is_who_judges_and_a_forged_one_is_not(space: str) -> None:
    # As gradio.oauth and starlette's SessionMiddleware make the cookie once somebody has logged in.
    session = {"oauth_info": {"userinfo": USERINFO, "expires_at": time.time() + 60, "access_token": "t", "scope": "s"}}
    content = base64.b64encode(json.dumps(session).encode())
    cookies = [
        TimestampSigner(hashlib.sha256(key).hexdigest()).sign(content).decode() for key in (b"hush-v4", b"guess-v4")
    ]
    logged_in, forged = (shown_to(cookie, space) for cookie in cookies)
    assert "You judge as ada-l (Hugging Face)." in logged_in
    assert f":{ADA.account_id}:ada-l:" in logged_in
    for stranger in (forged, shown_to("", space)):
        assert wording.OR_LOG_IN in stranger
        assert ADA.account_id not in stranger
    with urllib.request.urlopen(f"{space}/judge") as answer:
        assert wording.LOG_IN in answer.read().decode()
