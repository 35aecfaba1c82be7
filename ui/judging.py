"""Storing a session's comparisons and the choices made of them; what fails is kept in the session for a retry."""

import logging
from dataclasses import replace

from steering.errors import InputError, StorageError
from steering.types import Choice
from storage.records import JudgementInput, new_id
from storage.repository import Repository
from ui.sessions import Chosen, Logged, Result, Session
from ui.visitors import is_browser_token, key_hash

MAX_LOGGED = 50
EXCERPT_CHARS = 80

logger = logging.getLogger(__name__)


def known_by(secret: bytes, token: object) -> str:
    """What the database knows a browser's annotator by.

    Raises:
        InputError: the browser has no token of ours.
    """
    if not is_browser_token(token):
        raise InputError("Your browser has no key to know you by.", hint="Allow local storage and reload.")
    return key_hash(secret, token)


def save(repository: Repository, result: Result) -> Result:
    """Store a finished comparison; the result says why where that fails."""
    assert result.comparison is not None
    try:
        repository.save_comparison(result.comparison)
    except StorageError as error:
        logger.warning("comparison %s was not saved: %s", result.comparison.id, error)
        return replace(result, failure=str(error))
    return replace(result, failure="")


def choose(session: Session, dimension: str, choice: Choice) -> None:
    """Note a choice in the session; choosing the same again is the same click. Call it under the session's lock."""
    held = session.chosen.get(dimension)
    if held is None or held.choice != choice:
        session.chosen[dimension] = Chosen(choice, client_key=new_id())


def save_chosen(repository: Repository, session: Session, annotator_key: str) -> None:
    """Store the comparison if it is not there yet, then every choice that is not; failures are noted.

    Call it under the session's lock.
    """
    if session.result is None or session.result.comparison is None:
        return
    if session.result.failure:
        session.result = save(repository, session.result)
    for dimension, chosen in session.chosen.items():
        if chosen.revision is None:
            try:
                session.chosen[dimension] = _record(repository, session, annotator_key, dimension)
            except StorageError as error:
                logger.warning("judgement %s was not saved: %s", chosen.client_key, error)
                session.chosen[dimension] = replace(chosen, failure=str(error))


def _record(repository: Repository, session: Session, annotator_key: str, dimension: str) -> Chosen:
    assert session.result is not None
    comparison, chosen = session.result.comparison, session.chosen[dimension]
    assert comparison is not None
    if session.result.failure:
        raise StorageError(session.result.failure)
    annotator = repository.annotator(annotator_key)
    judgement = repository.record_judgement(
        JudgementInput(comparison.id, annotator.id, dimension, chosen.choice, chosen.client_key)
    )
    session.log.pop((comparison.id, dimension), None)
    excerpt = comparison.left.messages[-1].content[:EXCERPT_CHARS]
    session.log[comparison.id, dimension] = Logged(excerpt, dimension, judgement.choice, judgement.revision)
    while len(session.log) > MAX_LOGGED:
        del session.log[next(iter(session.log))]
    return replace(chosen, revision=judgement.revision, failure="")
