"""Saving over a request of its own, not an event of Gradio's, whose work is thrice that of storing a judgement.

Judges save all day, many at once, and wait for each save. The page's script sends it (`judge.js`), and hands what comes
back to Gradio in the browser, so that its components know what they show.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ui import wording_judge as wording
from ui.components import judge_markup, markup
from ui.handlers import is_proxied, words_for
from ui.judge import payload
from ui.judge.actions import JudgeActions
from ui.visitors import check_origin

PATH = "/judge/save"
MAX_BODY_BYTES = 4 * payload.MAX_PAYLOAD_CHARS
AT_ONCE = 4
"""Threads that save: more only keep each other waiting for the interpreter, and SQLite lets one write at a time."""

logger = logging.getLogger(__name__)


def save_routes(actions: JudgeActions) -> list[BaseRoute]:
    """What the application serves beside Gradio's own routes."""
    threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="judge-save")

    async def save(request: Request) -> Response:
        if not _is_let_in(request):
            return JSONResponse({"message": markup.message(wording.LOG_IN_AGAIN)}, 401)
        body = await _body(request)
        loop = asyncio.get_running_loop()
        return JSONResponse(await loop.run_in_executor(threads, saved, actions, request, body))

    return [Route(PATH, save, methods=["POST"])]


def saved(actions: JudgeActions, request: Request, body: bytes | None) -> dict[str, object]:
    """Save what the page sent; what it is to show then, by component, or only why nothing was saved."""
    started = time.perf_counter()
    try:
        check_origin(request.headers, is_proxied(request))
        asked = payload.read_request(body)
        actions.check_token(asked.token)
        desk = actions.save(asked.study_id, asked.name, asked.sent)
    except Exception as error:  # noqa: BLE001 - the page's boundary: whatever happens is told, not lost
        return {"message": markup.message(wording.NOT_DONE.format(reason=words_for(error)))}
    logger.debug("a save took %.1f ms", 1000 * (time.perf_counter() - started))
    return {"message": markup.message(desk.told)} | judge_markup.laid_out(desk, asked.pace)


def _is_let_in(request: Request) -> bool:
    """Whether Gradio lets whoever asks see its pages: there is no access code, or they have logged in with it."""
    app: Any = request.app
    if app.auth is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(request.cookies.get(name)) is not None for name in names)


async def _body(request: Request) -> bytes | None:
    """What was sent; None for what is too long, which is not read to its end."""
    read = bytearray()
    async for part in request.stream():
        read += part
        if len(read) > MAX_BODY_BYTES:
            return None
    return bytes(read)
