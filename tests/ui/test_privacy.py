"""Who is let in: people with the access code, and without one whoever asks at this machine and through no proxy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.ui.pages import a_request
from ui.privacy import is_from_here, is_let_in, is_private
from ui.settings import Settings


@dataclass
class Actions:
    is_private: bool
    has_code: bool


@pytest.mark.parametrize(
    ("options", "may"),
    [
        ({}, True),
        ({"host": "localhost"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "192.168.1.7"}, False),
        ({"root_path": "/tiller"}, False),
        ({"root_path": "https://tiller.example"}, False),
        ({"host": "0.0.0.0", "root_path": "/tiller", "access_code": "letmein"}, True),
    ],
)
def test_a_server_is_private_with_a_code_or_at_this_machine_without_a_proxy(
    tmp_path: Path, options: dict[str, Any], may: bool
) -> None:
    assert is_private(Settings(home=tmp_path, **options)) is may


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7860", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:7860"])
def test_a_request_for_this_machine_is_from_here(host: str) -> None:
    assert is_from_here(a_request(host))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "tiller.example",
        "tiller.example:7860",
        "localhost.tiller.example",
        "tiller.example:localhost",
        "127.0.0.1.x",
        "localhost:",
        "localhost:7860\n",
        "localhost, tiller.example",
        "::1",
        "127.0.0.1@tiller.example",
        "192.168.1.7",
    ],
)
def test_a_request_for_another_host_is_not(host: str) -> None:
    assert not is_from_here(a_request(host))


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto", "Forwarded", "Via"])
def test_a_request_that_a_proxy_passed_on_is_not(name: str) -> None:
    assert not is_from_here(a_request("localhost", **{name: "127.0.0.1"}))


def test_a_request_that_came_through_no_server_is_from_here() -> None:
    assert is_from_here(gr.Request(session_hash="x", headers={}, query_params={}))


def test_only_a_code_lets_in_who_is_not_here() -> None:
    here, there = a_request("localhost"), a_request("tiller.example")
    let_in = {
        (private, code): (is_let_in(Actions(private, code), here), is_let_in(Actions(private, code), there))
        for private, code in ((True, True), (True, False), (False, False))
    }
    assert let_in == {(True, True): (True, True), (True, False): (True, False), (False, False): (False, False)}
