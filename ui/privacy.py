"""To whom the pages show names and let change things: to people with the access code, or at this machine alone.

Behind a reverse proxy on this machine every request comes from it. One that came through a proxy, because its host is
another one or a header says so, is let in by an access code only. A proxy that changes ``Host`` and adds no header
cannot be told from a person at this machine: docs/studies.md says what to do.
"""

import re
from typing import Protocol

import gradio as gr

from ui.settings import Settings

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_LOCAL_ADDRESS = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_PROXIED = ("forwarded", "via", "x-real-ip")


class Guarded(Protocol):
    """The actions of a page: private at all or not, and whether with an access code."""

    is_private: bool
    has_code: bool


def is_private(settings: Settings) -> bool:
    """Whether the server has an access code or serves this machine alone, as far as its settings tell."""
    return bool(settings.access_code) or (settings.host in LOCAL_HOSTS and not settings.root_path)


def is_let_in(actions: Guarded, request: gr.Request) -> bool:
    """Whether who asks may see names and change things."""
    return actions.is_private and (actions.has_code or is_from_here(request))


def is_from_here(request: gr.Request) -> bool:
    """Whether a request was made at this machine, as far as its headers tell; one that came through no server was."""
    if request.request is None:
        return True
    headers = request.request.headers
    hosts = headers.getlist("host")
    is_local = bool(hosts) and all(_LOCAL_ADDRESS.fullmatch(host) for host in hosts)
    return is_local and not any(name in _PROXIED or name.startswith("x-forwarded-") for name in headers)
