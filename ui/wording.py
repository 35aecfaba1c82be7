"""Every word the page shows. Texts with {names} are filled by str.format; nothing here is HTML."""

from collections.abc import Mapping

from steering.types import Choice, FinishReason, Side

TITLE = "Tiller"
TAGLINE = "Steer a frozen language model with guides, and say which answer is better."
MODEL_LINE = "{base} · {device}, {dtype} · guides: {guides}"
NO_GUIDES = "none"

PROMPT = "Your message"
PROMPT_PLACEHOLDER = "Ask something, then move the sliders. Enter runs, Shift+Enter starts a new line."
EXAMPLES = "Try"
RUN = "Run"
STOP = "Stop"
NEW_CONVERSATION = "New conversation"
CONVERSATION = "Conversation so far"
SPEAKERS = {"user": "You", "assistant": "Answer you kept", "system": "Instructions"}

BLEND = "Blend"
BLEND_PRESET = "Start from"
UNGUIDED = "Unguided"
BALANCED = "Balanced"
PRESET_NAMES: Mapping[str, str] = {"helpfulness": "Helpful", "harmlessness": "Harmless"}
WEIGHT_OF = "{dimension}"
EXPONENT = "exponent {exponent} (unit {unit})"
LIVE = "Live: run as the sliders move"
BASE_EXPONENT_NAME = "Base exponent"
BASE_EXPONENT = "Base exponent {exponent}, as in the link; “Start from” sets it back to 1."
ALLOW_NEGATIVE = "Allow negative weights"
ALLOW_NEGATIVE_INFO = "“Less of this”; tokens the base finds implausible are then left out."

SAMPLING = "Sampling"
TEMPERATURE = "Temperature"
TEMPERATURE_INFO = "0 always takes the likeliest token"
TOP_P = "Top-p"
TOP_K = "Top-k"
TOP_K_INFO = "0 is off"
MIN_P = "Min-p"
MIN_P_INFO = "0 is off"
MAX_NEW_TOKENS = "Max tokens"
SEED = "Seed"
SEED_INFO = "The same seed replays the same text"
NEW_SEED = "🎲 New seed"

PANES = {Side.LEFT: "Unguided", Side.RIGHT: "Guided"}
PANE_REGION = {Side.LEFT: "Left: unguided answer", Side.RIGHT: "Right: guided answer"}
EMPTY_PANES = {
    Side.LEFT: "The base model’s own answer appears here.",
    Side.RIGHT: "The answer with your blend appears here.",
}
EMPTY_ANSWER = "(The answer is empty.)"
CONTINUE = {Side.LEFT: "Continue from left", Side.RIGHT: "Continue from right"}

SPEED = "Speed"
SPEED_VALUE = "{speed} tokens/s"
LENGTH = "Length"
LENGTH_VALUE = "{count} tokens"
KL = "KL from base"
KL_VALUE = "{kl} nats/token"
REWARD = "{dimension} reward"
REWARD_VALUE = "{reward} nats/token"
ENDED = "Ended"
UNKNOWN = "–"
FINISH = {
    FinishReason.EOS: "by itself",
    FinishReason.LENGTH: "at the token limit",
    FinishReason.STOPPED: "stopped",
    None: "writing…",
}

READY = "Ready."
WAITING = "Waiting for the model…"
NEXT_IN_LINE = "Waiting: you are next."
PLACE_IN_LINE = "Waiting: {count} before you."
WRITING = "Writing…"
FINISHED = "Both answers have finished."
STOPPED = "Stopped. What was written is kept."
WITHDRAWN = "Stopped before anything was written."
TIMED_OUT = (
    "The time limit of {seconds} seconds ended the answers; what was written is kept. Ask for fewer tokens, or have "
    "--time-limit raised."
)
TIMED_OUT_UNWRITTEN = (
    "The time limit of {seconds} seconds was over before anything was written. Shorten the message, or have "
    "--time-limit raised."
)
NOTHING_TO_STOP = "Nothing is running."
CONTINUED = "Kept. Type your next message; both answers will share this conversation."
RESET = "A new conversation has begun."
NEEDS_PROMPT = "Type a message or pick an example, and the answers follow the sliders."

FIRST_DIFFERENCE = "The answers first differ at token {position}: “{left}” on the left, “{right}” on the right."
FIRST_DIFFERENCE_MARK = "First token at which the answers differ"
NO_DIFFERENCE = "The two answers are the same, token for token."
END_OF_ANSWER = "end"

COLOUR = "Colour by a guide’s pull"
COLOUR_OFF = "Off"
SHOW_TABLE = "Token table"
LEGEND_TITLE = "{dimension}’s pull: log π_guide − log π_base, in nats"
LEGEND_AGAINST = "−{limit} or less: the guide likes the token less"
LEGEND_FOR = "+{limit} or more: the guide likes it more"
LEGEND_HINT = "Hover over a token, tap it, or focus an answer and use the arrow keys."
COLOURS_AFTER_RUN = "Token numbers are not stored; press Run to replay this comparison with colours and table."
TABLE_CAPTION = "{pane} answer, token by token"
TABLE_NUMBER = "#"
TABLE_TOKEN = "Token"
TABLE_BASE = "Base prob."
TABLE_MIXED = "Mixed prob."
TABLE_PULL = "{dimension}: pull"
TABLE_SHARE = "{dimension}: share"
TABLE_KL = "KL"
TABLE_TOP = "Likeliest (base → mixed)"
TOP_ENTRY = "{token} {base} → {mixed}"
TABLE_WAITING = "The table appears after a run."
SPACE_MARK, NEWLINE_MARK, TAB_MARK = "␣", "⏎", "⇥"
TOKEN_ID = "token {token_id}"

WHICH_IS_BETTER = "Which is better?"
JUDGE_AFTER = "Opens as soon as both answers have finished or been stopped."
JUDGE_NOW = "Judge any row; it is saved at once, and you can change your mind."
OVERALL = "Overall"
CHOICES = {
    Choice.LEFT: "Left",
    Choice.TIE: "Tie",
    Choice.RIGHT: "Right",
    Choice.BOTH_BAD: "Both bad",
    Choice.SKIP: "Skipped",
}
SAVED = "✓ {dimension}: {choice} saved"
SAVED_AGAIN = "✓ {dimension}: {choice} saved, changed {times}"
TIMES = {1: "once", 2: "twice"}
MANY_TIMES = "{count} times"
UNSAVED = "✗ {dimension}: {choice} is not saved yet"
SAVE_FAILED = "Not saved: {reason} Your choice is kept here."
COMPARISON_NOT_SAVED = "This comparison could not be saved: {reason} It is kept here."
RETRY = "Try saving again"
JUDGEMENTS = "Your judgements in this session ({count})"
NO_JUDGEMENTS = "None yet."
JUDGEMENT_LINE = "{dimension}: {choice}"

COPY_LINK = "Copy link"
LINK = "Link to this comparison"
NO_LINK = "A link appears when the comparison is saved."
LINK_COPIED = "Link copied."
LINK_NOT_COPIED = "Your browser did not allow copying; copy the link’s address instead."
RESTORED = "Restored from its link. Press Run to replay it and see the token numbers."
RESTORED_OTHER_MODELS = (
    "Restored from its link. It was made with {made}, and {loaded} is loaded now, so a new run will answer differently."
)
LINK_LACKS = "The link does not lead to a comparison: {reason}"

PAGE_BEHIND = "The conversation was just changed, and your page did not show it yet."
PAGE_BEHIND_HINT = "Look at it and press Run again."
PAGE_LOST = "The page’s connection to this session is gone."
PAGE_LOST_HINT = "Reload the page; what you typed can be copied first."
UNEXPECTED = "Something went wrong on the server; it has been logged."
UNEXPECTED_HINT = "Try again; if it happens again, tell whoever runs this page."
AUTH_MESSAGE = "Type any user name, and the access code as the password."
SERVING = "Tiller is at {url} (Ctrl-C stops it)"


def title_of(dimension: str) -> str:
    """A dimension as a heading: ``harmlessness`` -> ``Harmlessness``, ``code_quality`` -> ``Code quality``."""
    words = dimension.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:] if words else dimension


def preset_of(dimension: str) -> str:
    """The name of the blend in which one guide steers alone."""
    return PRESET_NAMES.get(dimension, title_of(dimension))


def waiting(position: int) -> str:
    """Where a request is in the queue: 1 is next, 0 is no longer in it."""
    if position > 1:
        return PLACE_IN_LINE.format(count=position - 1)
    return NEXT_IN_LINE if position else WAITING


def times(count: int) -> str:
    """``once``, ``twice``, ``3 times``."""
    return TIMES.get(count, MANY_TIMES.format(count=count))
