"""Every word the Judge page shows. Texts with {names} are filled by str.format; nothing here is HTML."""

from steering.types import Choice, Role
from storage.records import Strength

PAGE = "Judge"
STEER_PAGE = "Steer"
TITLE = "Judge"
TAGLINE = "Two answers to one prompt: say which is better. Which is whose is hidden."

STUDY = "Study"
STUDY_LINE = "{name} · {given} of {wanted} answers given"
NO_STUDIES = "No study is open. Whoever runs Tiller makes one on the page Studies; reload this page then."
NAME = "Your name"
NAME_INFO = "Any name. Under the same name you go on where you stopped, also on another machine."
OR_LOG_IN = "Log in with Hugging Face, or choose a name."
LOG_IN, LOG_OUT = "Log in with Hugging Face", "Log out {}"
LOGGED_IN = "You judge as {name}."
LOGGED_IN_NAME = "{name} (Hugging Face)"
CONSENT = "Please read before you start"
ACCEPT = "I have read this and agree"
START = "Start judging"
LEAVE = "Another study or name"

PROMPT = "Prompt"
SPEAKERS = {Role.USER: "Prompt", Role.ASSISTANT: "Earlier answer", Role.SYSTEM: "Instructions"}
LEFT, RIGHT = "Left answer", "Right answer"
EMPTY_ANSWER = "(This answer is empty.)"
CHOICES = {
    Choice.LEFT: ("1", "Left"),
    Choice.RIGHT: ("2", "Right"),
    Choice.TIE: ("3", "Tie"),
    Choice.BOTH_BAD: ("4", "Both bad"),
}
SKIP = ("s", "Skip")
SAVE = ("Enter", "Save")
UNDO = "u · Undo"
MORE = "How much, and why? (optional)"
HOW_MUCH = "How much better is it?"
STRENGTHS = {Strength.SLIGHTLY: "Slightly", Strength.CLEARLY: "Clearly"}
WHY = "Why?"
SAVES_ITSELF = "Saved as soon as every question has an answer; with “how much, and why?” unfolded, when you press Save."

HELP = "? · Keys"
KEYS = (
    ("1", "the left answer"),
    ("2", "the right answer"),
    ("3", "a tie"),
    ("4", "both are bad"),
    ("s", "skip this item"),
    ("Enter", "save"),
    ("u", "undo: take back your last answer, up to ten in turn"),
    ("?", "show or hide this list"),
)
KEYS_NOTE = "Keys answer the next open question, or the one you are in. While you type, they are letters."

PROGRESS = "{done} done, {left} left"
SESSION = "{count} in this session"
PACE = "about {seconds} s each"
NOTHING_LEFT = "Nothing is left for you in this study. Thank you!"
TAKEN_BACK = "Taken back: judge it again."
ALREADY_JUDGED = "This item is judged already: what you had said of it is kept. Here is the next one."
SAVED_AND_CLOSED = "Your answer is saved; the study has closed."
JUDGED_AND_CLOSED = "This item is judged already: what you had said of it is kept. The study has closed."
REVEALED = "The one before: left was {left}, right was {right}."
NOT_DONE = "{reason} What you chose is kept here; press Save to try again."

UNREACHABLE = "The server does not answer."
LOG_IN_AGAIN = "The server asks for the access code again. Reload the page; what you chose is kept."

NO_NAME = "You have not said your name."
NO_NAME_HINT = "Type one; any will do."
BAD_LOGIN = "Your login with Hugging Face cannot be used."
BAD_LOGIN_HINT = "Reload the page and log in again, or choose a name."
OLD_LOGIN = "Your login with Hugging Face has ended."
OLD_LOGIN_HINT = "Reload the page and log in again; what you chose is kept."
LONG_NAME = "Your name has {count} characters; at most {limit} are allowed."
LONG_NAME_HINT = "Choose a shorter one."
LIKE_A_LOGIN = "This name looks like that of somebody who logged in with Hugging Face."
LIKE_A_LOGIN_HINT = "Choose another name, or log in on a Space."
NO_STUDY = "You have not picked a study."
NO_STUDY_HINT = "Pick one of the list."
NEEDS_CONSENT = "This study has a text to agree to."
NEEDS_CONSENT_HINT = "Read it and tick the box below it."
BAD_TOKEN = "This page is not known to the server any more."
BAD_TOKEN_HINT = "Reload it; what you chose is kept."
BAD_ANSWERS = "What the page sent cannot be read as answers: {reason}."
BAD_ANSWERS_HINT = "Reload the page and judge again."
NOTHING_TO_UNDO = "There is nothing to take back."
NOTHING_TO_UNDO_HINT = "Judge something first."
NO_UNDO = "This study tells which answer was whose, so an answer cannot be taken back."
NO_UNDO_HINT = "Go on with the next one."
