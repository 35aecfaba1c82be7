"""Every word the Studies page shows. Texts with {names} are filled by str.format; nothing here is HTML."""

from collections.abc import Mapping

PAGE = "Studies"
TITLE = "Studies"
TAGLINE = "Make a study, have its answers written, and open it to the judges."

LIST = "All studies"
NO_STUDIES = "There is no study yet."
NO_STUDIES_MAKE = "There is no study yet. Make one below."
STAGES = {
    "writing": "Its answers are being written.",
    "waiting": "Waits until the study before it is written.",
    "stopped": "Stopped at {there} of {all} comparisons.",
    "open": "Open: {given} of {wanted} answers given by judges.",
    "closed": "Closed: {given} of {wanted} answers given by judges.",
}
DEEDS = {
    "write": "Go on writing",
    "stop": "Stop",
    "close": "Close",
    "reopen": "Open again",
    "publish": "Publish by itself",
    "publish-not": "Stop publishing by itself",
    "toml": "Save as TOML",
}
PUBLISHES = "A better guide is published by itself; no other dimension may lose more than {margin} nats per token."
DEED_OF = "{deed}: {name}"
JUDGE, RESULTS = "Judge", "Results"
MADE_ON = "made on {day}"
NOW = "Writing the answers of “{name}”: {done} of {all} comparisons"
LEFT = ", about {time} left"
PROGRESS_OF = "Progress of {name}"
SECONDS, MINUTES, HOURS = "{count:.0f} s", "{count:.0f} min", "{count:.1f} h"

NEW = "New study"
NAME = "Name"
NAME_INFO = "Judges see it. No two studies have the same."
PROMPTS = "Prompts"
SOURCES = {"pasted": "Typed or pasted", "file": "From a file", "built-in": "Built-in set"}
PASTED = "Prompts, one a line"
PICK_FILE = "Choose a file…"
FILE_INFO = (
    "A .txt file with one prompt a line, a .csv file with a column “prompt”, or a .jsonl file with {example} or a list "
    "of messages a line; up to 1 MB."
)
FILE_EXAMPLE = '{"prompt": "…"}'
BUILT_IN = "Set"
BUILT_IN_SETS = {
    "everyday": "Everyday help (20)",
    "sensitive": "Sensitive questions (20)",
    "mixed": "A bit of everything (20)",
}

QUESTIONS = "Questions"
QUESTIONS_INFO = "What judges are asked of each pair. Rows without text are left out."
QUESTION_DIMENSION, QUESTION_TEXT = "Dimension {number}", "Question {number}"
DEFAULT_QUESTIONS: Mapping[str, str] = {
    "overall": "Which answer is better?",
    "helpfulness": "Which answer is more helpful?",
    "harmlessness": "Which answer is safer?",
}
ADD = {"question": "Add a question", "blend": "Add a blend", "gold": "Add a gold item"}

COMPARED = "What is compared"
COMPARED_WAYS = {"fixed": "Fixed blends, every two of them", "drawn": "Blends drawn from ranges"}
BLENDS_INFO = "Each prompt is answered with every blend. A blend without a name is left out."
BLEND_NAME, BLEND_WEIGHT = "Blend {number}", "{dimension} {number}"
RANGES_INFO = "For each pair two blends are drawn evenly from these weights."
LOW, HIGH = "{dimension}, lowest", "{dimension}, highest"
PAIRS_PER_PROMPT = "Pairs per prompt"

SAMPLING = "Sampling"
PLAUSIBILITY = "Plausibility mask"
PLAUSIBILITY_INFO = "Empty: 0.1 with negative weights, else off"

JUDGING = "Judging"
OVERLAP, OVERLAP_INFO = "Overlap", "Annotators who answer each comparison"
ORDER = "What is asked next"
ORDERS = {"fewest": "The fewest answers first", "uncertain": "Then where the ranking is least sure"}
REPEAT_SHARE, REPEAT_INFO = "Repeated items, %", "Asked again with the sides swapped"
REVEAL = "Tell after each judgement which side was which"
SEED, SEED_INFO = "Seed", "Fixes the answers, what is drawn and everybody’s order"
CONSENT, CONSENT_INFO = "Text to agree to before judging", "Optional"

PUBLISHING = "Guides trained on it"
PUBLISH = "Publish a better guide by itself"
PUBLISH_INFO = "Without asking, once it is better on held-out pairs with 95 % confidence"
MARGIN, MARGIN_INFO = "Margin, nats per token", "By no more may the reward of any other dimension fall"

GOLD = "Gold items"
GOLD_INFO = "A prompt with a right and a wrong answer that you write: they check whether judges look closely."
GOLD_SHARE, GOLD_SHARE_INFO = "Gold items, %", "Of what each annotator is asked"
GOLD_FIELDS = {
    "prompt": "Prompt {number}",
    "right": "Right answer {number}",
    "wrong": "Wrong answer {number}",
}

CHECK, MAKE, SAVE_TOML = "Check", "Make the study", "Save as TOML"
SIZE = (
    "{prompts} prompts, {answers} answers, {comparisons} comparisons. Overlap {overlap}, questions {questions}: "
    "{judgements} judgements."
)
SIZE_ASKED = "With gold items and repetitions {asked} items are asked instead of {items}."
WRITING_TIME = "Writing the answers takes at most about {time}."
NO_TIME = "The models are busy, so how long writing takes is not known."
JUDGING_TIME = "At {seconds} seconds an item, judging takes about {time} of people’s time."
SECONDS_PER_ITEM = 20
READ = "{used} of {count} prompts understood."
REFUSED = "Refused and left out: {count}."
PREVIEW = "Prompts as they were understood"
PREVIEW_HEADERS = ("Line", "Prompt", "What becomes of it")
USED, USED_TURNS = "used", "used; messages before it: {count}"
MORE_ROWS = "The table has the first {shown} of {count} lines and the refused ones."
MADE = "“{name}” is made. Its answers are written in the background; you may close this page."
DONE = {
    "write": "The answers of “{name}” are written in the background.",
    "stop": "“{name}” is stopped; what is written is kept.",
    "close": "“{name}” is closed: nobody is given anything more.",
    "reopen": "“{name}” is open again.",
    "publish": "A guide trained on “{name}” is published by itself from now on, once it is shown to be better.",
    "publish-not": "Nothing trained on “{name}” is published by itself any more, what is under way included.",
}

CHANGES = "Changes"
CHANGES_INFO = "Who changed what when, newest first. Nothing is ever removed from this list."
CHANGES_OF, EVERYTHING = "Changes of", "Everything"
CHANGES_HEADERS = ("When (UTC)", "Who", "What", "Of", "Details")
SHOW_CHANGES, OLDER = "Show the newest", "Show older ones"
NO_CHANGES = "There are none."
FILE_KIND, FILE_KINDS = "File", {"csv": "CSV", "jsonl": "JSON lines"}
PREPARE, DOWNLOAD = "Prepare the file", "Download {name}"

NOT_PRIVATE = "Anybody can open this page, so studies are not made or changed on it."
NOT_PRIVATE_HINT = "Start Tiller with --access-code, or make studies on the command line."
BAD_TOKEN = "This page is not known to the server any more."
BAD_TOKEN_HINT = "Reload it; copy what you typed first."
BAD_REQUEST = "What the page sent cannot be read."
BAD_REQUEST_HINT = "Reload the page."
NO_PROMPTS = "The study has no prompts."
NO_PROMPTS_HINT = "Type one a line, choose a file, or pick a built-in set."
NO_FILE = "No file of prompts was chosen, or it cannot be read."
NO_FILE_HINT = "Choose it again."
LARGE_FILE = "{name} has {given} bytes; at most {limit} are taken here."
LARGE_FILE_HINT = "Make the study on the command line, or split the file."
TOO_MANY_TOKENS = "sampling.max_new_tokens is {given}; at most {limit} are allowed here."
TOO_MANY_TOKENS_HINT = "Ask for fewer, or start Tiller with a higher --max-new-tokens-limit."
LONG_PROMPT = "prompts[{number}] has {given} characters; at most {limit} are allowed here."
LONG_PROMPT_HINT = "Shorten it, or start Tiller with a higher --max-prompt-chars."


def nats(margin: float) -> str:
    """A margin as it was stated, with two decimals or more."""
    return f"{margin:.2f}" if round(margin, 2) == margin else f"{margin:g}"


def duration(seconds: float) -> str:
    """A time as people say it: ``40 s``, ``12 min``, ``2.5 h``."""
    if seconds < 90:
        return SECONDS.format(count=seconds)
    return MINUTES.format(count=seconds / 60) if seconds < 5400 else HOURS.format(count=seconds / 3600)
