"""Who asks: origins, sessions, the server's secret."""

import stat
from pathlib import Path

import pytest

from steering.errors import InputError, SettingsError
from ui.sessions import Sessions
from ui.visitors import (
    MAX_SESSION_ID_CHARS,
    SECRET_FILE,
    check_origin,
    check_session_id,
    is_browser_token,
    keep_secret,
    key_hash,
    new_browser_token,
    server_secret,
)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "tiller.example"},
        {"host": "tiller.example", "origin": "https://tiller.example"},
        {"Host": "127.0.0.1:7860", "Origin": "http://127.0.0.1:7860"},
        {"host": "Tiller.Example", "origin": "https://tiller.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_the_pages_own_requests_and_those_of_programs_pass(headers: dict[str, str]) -> None:
    check_origin(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "tiller.example", "origin": "https://evil.example"},
        {"host": "tiller.example", "origin": "https://tiller.example.evil.example"},
        {"host": "tiller.example", "origin": "https://evil.example/tiller.example"},
        {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:9999"},
        {"host": "tiller.example", "origin": "null"},
        {"host": "tiller.example", "origin": ""},
        {"host": "", "origin": ""},
        {"host": "tiller.example", "sec-fetch-site": "cross-site"},
        {"host": "tiller.example", "origin": "https://tiller.example", "sec-fetch-site": "cross-site"},
        # Gradio lets any page send any header: a page can name itself as the host that a proxy was asked for.
        {"host": "tiller.example", "x-forwarded-host": "evil.example", "origin": "https://evil.example"},
    ],
)
def test_another_sites_page_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InputError, match="not from this one"):
        check_origin(headers)


def test_the_host_a_proxy_was_asked_for_counts_where_there_is_one_but_never_for_a_foreign_page() -> None:
    passed_on = {"host": "inside:8000", "x-forwarded-host": "tiller.example, proxy", "origin": "https://tiller.example"}
    check_origin(passed_on, is_proxied=True)
    for headers, is_proxied in ((passed_on, False), (passed_on | {"sec-fetch-site": "cross-site"}, True)):
        with pytest.raises(InputError, match="not from this one"):
            check_origin(headers, is_proxied)


@pytest.mark.parametrize("session_id", [None, "", "x" * (MAX_SESSION_ID_CHARS + 1)])
def test_a_request_without_a_page_is_refused(session_id: str | None) -> None:
    with pytest.raises(InputError):
        check_session_id(session_id)


def test_the_longest_unused_session_is_forgotten_first() -> None:
    sessions = Sessions(limit=2)
    first, second = sessions.get("1"), sessions.get("2")
    assert sessions.get("1") is first
    sessions.get("3")
    assert len(sessions) == 2
    assert sessions.get("1") is first
    assert sessions.get("2") is not second


def test_the_servers_secret_is_private_and_stays_the_same(tmp_path: Path) -> None:
    secret = server_secret(tmp_path / "new" / "home")
    path = tmp_path / "new" / "home" / SECRET_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server_secret(tmp_path / "new" / "home") == secret
    assert len(secret) == 32
    assert [file.name for file in path.parent.iterdir()] == [SECRET_FILE]
    assert server_secret(tmp_path / "other") != secret


def test_a_secret_that_is_too_short_or_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / SECRET_FILE).write_bytes(b"short")
    with pytest.raises(SettingsError, match="5 bytes"):
        server_secret(tmp_path)
    with pytest.raises(SettingsError, match="cannot be read or made"):
        server_secret(tmp_path / SECRET_FILE / "below a file")


def test_a_key_hash_depends_on_token_and_secret_and_shows_neither() -> None:
    token = new_browser_token()
    assert is_browser_token(token)
    hashed = key_hash(b"s" * 32, token)
    assert hashed != key_hash(b"t" * 32, token)
    assert hashed != key_hash(b"s" * 32, new_browser_token())
    assert len(hashed) == 64
    assert token not in hashed


def test_a_given_secret_makes_the_same_key_on_an_emptied_disk_and_never_replaces_another(tmp_path: Path) -> None:
    given = "a secret of forty characters, no fewer!!"
    for home in ("first", "second"):
        keep_secret(tmp_path / home, given)
        keep_secret(tmp_path / home, given)
    assert server_secret(tmp_path / "first") == server_secret(tmp_path / "second") != given.encode()
    assert (tmp_path / "first" / SECRET_FILE).stat().st_mode & 0o077 == 0
    keep_secret(tmp_path / "third", None)
    assert server_secret(tmp_path / "third") != server_secret(tmp_path / "first")
    with pytest.raises(SettingsError, match="was not made from"):
        keep_secret(tmp_path / "third", given)
    with pytest.raises(SettingsError, match="has 5 characters"):
        keep_secret(tmp_path / "fourth", "short")
