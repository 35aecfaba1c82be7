"""Every word the Guides page shows. Texts with {names} are filled by str.format; nothing here is HTML."""

PAGE = "Guides"
TITLE = "Guides"
TAGLINE = "Versions of every guide: publish one, roll back, try it beside the old one, or retrain from judgements."

LIST = "All guides"
NO_GUIDES = "There is no guide yet. Retrain one below, or import one on the command line: guides import."
ANSWERS = "Version {number} answers."
NOBODY_ANSWERS = "None of its versions answers."
BEHIND = "Version {number} is the active one, but does not answer yet: press “Look again”."
BEHIND_TO_NONE = "It was rolled back to no guide, but answers still: press “Look again”."
NO_SLIDER = "A new guide: its slider appears on pages of Steer that are opened, or loaded again, from now on."
CAPTION = "Versions of {dimension}"
HEADERS = ("Version", "State", "From", "Pairs", "Held-out accuracy", "Unit", "Made")
ACTIVE, BUILT_IN, KEPT = "active", "comes with the base", "kept"
AFRESH, FROM_VERSION, FROM_OTHER = "the base", "version {number}", "another guide"
UNKNOWN = "–"
INTERVAL = "{value} ({low}–{high})"

VERSION, VERSION_INFO = "Version", "Of which guide; the buttons are about it"
OTHER, OTHER_INFO = "Compare with", "Another version"
VERSION_LINE = "{dimension}, version {number}"
VERSION_LINE_ACTIVE = "{dimension}, version {number} (active)"
PUBLISH, ROLL_BACK, COMPARE = "Publish", "Roll back its guide", "Compare"
LOOK_AGAIN = "Look again"
TAKEN_IN = "Published elsewhere, and answering now: {names}."
NO_GUIDE_FOR = "no guide for {name}"
NOTHING_NEW = "Nothing else was published elsewhere."
PUBLISHED = "{name} answers from now on. What was asked before ends as it began."
ROLLED_BACK = "Rolled back: {name} answers again."
ROLLED_BACK_TO_NONE = "Rolled back: it was the first one published, so there is no guide for its dimension any more."
IS_ACTIVE = "{name} is the one that answers."
BETTER = "{name} is better than {old} on held-out pairs, with 95 % confidence."
NOT_BETTER = "Caution: {name} is not shown to be better than {old} on held-out pairs. It can be published all the same."
NOT_KNOWN = "Caution: {name} was not compared with the version that answers. Try it first."
WORSE = "Caution: it lowers the reward of {dimensions} by more than {margin} nats per token."
CHANCE_NAME = "chance"
COMPARED = "{a} and {b}"
FACTS = ("Made", "From", "Pairs", "Held-out accuracy", "Longer wins", "Calibration error", "Reward and length", "Unit",
         "Beta", "Hash")  # fmt: skip
PICK_TWO = "Pick two different versions."
PICK_TWO_HINT = "They are in the two lists above."

TRY = "Try it"
TRY_INFO = "The active version on the left, the one picked above on the right: the same prompt, weight and seed."
PROMPT, PROMPT_EXAMPLE = "Prompt", "How do I ask my boss for a day off?"
WEIGHT, SEED, RUN = "Weight", "Seed", "Run both"
OLD_PANE, NEW_PANE = "Active version", "Version picked"
BASE_ALONE = "The base model alone"
TRIED = "{name}: {tokens} tokens, KL {kl} nats per token"

RETRAIN = "Retrain"
RETRAIN_INFO = "A training runs beside everything else, with a low claim to the processor."
QUESTION, QUESTION_INFO = "Judged", "Which question’s judgements"
DIMENSION, DIMENSION_INFO = "Guide", "Its dimension; empty: as judged"
SOURCE = "From"
ALL_STUDIES, STEER_PAGE = "All studies", "The Steer page"
WITHOUT, WITHOUT_INFO = "Without", "Annotators left out"
NAMELESS = "nameless {id}"
SINCE, UNTIL = "From day", "To day"
DAY_INFO = "YYYY-MM-DD, UTC"
RULES = "Against rigged judgements"
RELIABILITY, RELIABILITY_INFO = "Least gold right, %", "Others are left out with all they said; 0: nobody is"
AGREEMENT, AGREEMENT_INFO = "Least agreement, %", "Of a comparison’s judgements"
ANNOTATOR_CAP, ANNOTATOR_CAP_INFO = "Pairs per annotator", "At most; 0: all"
PROMPT_CAP, PROMPT_CAP_INFO = "Pairs per prompt", "At most; 0: all"
HELD_OUT, HELD_OUT_INFO = "Held out, %", "Of the prompts, to test on"
FURTHER = "Train the active version further, instead of afresh from the base"
GATE_ONE = (
    "{names} publishes a better guide by itself: one that is better on held-out pairs with 95 % confidence, while no "
    "other dimension loses more than {margin} nats per token."
)
GATE_ALL = (
    "A better guide is published by itself, as all its studies ask for: {names}. It has to be better on held-out pairs "
    "with 95 % confidence, while no other dimension loses more than {margin} nats per token, the strictest margin of "
    "these studies."
)
GATE_OFF_ONE = "Nothing is published by itself: {names} does not ask for it."
GATE_OFF_SOME = "Nothing is published by itself: {names} do not ask for it."
GATE_OFF_STEER = "Nothing is published by itself: judgements of the Steer page are of no study that could ask for it."
GATE_OFF_UNKNOWN = (
    "Nothing is published by itself: which studies the version to train further was trained on is not known here."
)
UNKNOWN_STUDIES = "Studies not known here"
GATE_NOTHING = "Nothing is published by itself: there are no such judgements yet."
STUDY_NAME = "study “{name}”"
NAMES_MORE = "{names} and {count} more"
CHECK, START = "Count the pairs", "Start training"
CANCEL, GO_ON = "Cancel", "Go on"

USABLE = "{pairs} usable pairs over {prompts} prompts: {train} to train on, {held} held out. {annotators} annotators."
LENGTHS_LATER = "Pairs too long for the model are left out when the training begins."
LEFT_OUT_TITLE, LEFT_OUT_HEADERS = "Left out", ("Why", "Judgements")
NOTHING_LEFT_OUT = "Nothing is left out."
MERGED = "{count} judgements say the same of the same pair and count once."
ENOUGH = "Enough: a guide that is right about 70 % would show {low}–{high} on {held} held-out pairs, above chance."
NOT_ENOUGH = (
    "Few: a guide that is right about 70 % would show {low}–{high} on {held} held-out pairs, which chance does, too; "
    "about {needed} are needed."
)
QUARANTINED = "Left out with everything they said, for too few right gold items: {names}."
REASONS = {
    "skip": "skipped",
    "both_bad": "both bad",
    "single": "both bad (each answer)",
    "tie": "tie",
    "gold": "gold item",
    "repeat": "asked again",
    "no_text": "its texts were deleted",
    "unreliable": "too few gold items right",
    "reliability_unknown": "answered no gold item",
    "disagreement": "too little agreement",
    "excluded": "annotator left out",
    "duplicate": "said twice by one annotator",
    "annotator_cap": "over the cap per annotator",
    "prompt_cap": "over the cap per prompt",
    "contradictory": "votes are equal",
    "outvoted": "most say the opposite",
    "same_responses": "both answers are the same",
    "other_dimension": "another question",
    "template_refuses": "the chat template refuses it",
    "long_prompt": "prompt too long",
    "long_response": "answer too long",
    "long_for_the_model": "too long for the model",
}
LEAVE_ONE = "What hangs on each annotator"
LEAVE_ONE_INFO = "Pairs and agreement of the labels if that one were left out; those who turn most labels come first."
LEAVE_ONE_HEADERS = (
    "Annotator",
    "Pairs judged",
    "Pairs without them",
    "Labels that would turn or fall away",
    "Agreement",
    "Agreement without them",
)
ONE_ANNOTATOR = "Everything hangs on one annotator."

RUN_TITLE = "The newest training"
NO_RUN = "Nothing was retrained yet."
STAGES = {
    "training": "Training {dimension}: step {step} of {steps}",
    "comparing": "Training {dimension} is done. The new version is compared with the old one.",
    "done": "{dimension} was trained: version {version}.",
    "failed": "Training {dimension} failed: {message}",
    "cancelled": "Training {dimension} was cancelled. It can go on where it was.",
    "killed": "Training {dimension} ended without a word: it was killed. It can go on where it was.",
}
PREPARING = "Training {dimension}: models and data are read"
SUB_STAGES = {"evaluating": "the held-out pairs are read", "calibrating": "the unit is measured"}
SUB_STAGE = "Training {dimension}: {what}"
TIME_LEFT = ", about {time} left"
PROGRESS_NAME = "Progress of the training"
LOSS_TRAIN, LOSS_HELD_OUT, LOSS_AXIS = "training", "held out", "Loss"
ACCURACY_AXIS, STEP_AXIS = "Held-out accuracy", "Step"
LOSS_PLOT, ACCURACY_PLOT = "Loss", "Held-out accuracy"
DATA_LINE = "{train} pairs to train on, {held} held out, over {prompts} prompts."
LOG, EMPTY_LOG = "Log", "Nothing was said yet."
STARTED = "The training has begun. It goes on when this page is closed."
CANCELLING = "The training ends after its step."
GOING_ON = "The training goes on."
DECIDING = "Whether it is published by itself is being decided."
PUBLISHED_ITSELF = (
    "It was published by itself: it is better on held-out pairs with 95 % confidence, and no other dimension loses "
    "more than {margin} nats per token."
)
NOT_PUBLISHED_ITSELF = {
    "off": "It was not published by itself: that was turned off meanwhile for {names}.",
    "superseded": "It was not published by itself: another version than the one it was compared with answers now.",
    "taken_back": "It was not published by itself: somebody published it and took it back.",
    "not_better": (
        "It was not published by itself: it is not shown to be better on held-out pairs with 95 % confidence."
    ),
    "worse": "It was not published by itself: by more than {margin} nats per token it lowers the reward of {names}.",
}
PICK_IT = "Pick it above to try or publish it."
NOT_PUBLISHED = f"It is not published. {PICK_IT}"

ON_PAIRS = "On {count} held-out pairs"
ON_PAIRS_HEADERS = ("", "Right", "95 % interval", "Only this one is right")
MCNEMAR = "So unequal a split, or a more unequal one, comes by chance with probability {p} (exact McNemar test)."
NO_PAIRS = "No held-out pair is left that the old version was not trained on."
NO_OLD = "There was no version before. Held-out accuracy {accuracy}; the base model itself {before}."
ON_PROMPTS = "Answers to {count} fixed prompts, {tokens} tokens at most, weight 1"
ON_PROMPTS_HEADERS = ("", "Old", "New")
KL, LENGTH, DISTINCT_1, DISTINCT_2 = "KL, nats per token", "Tokens", "Distinct words", "Distinct word pairs"
REWARD = "Reward of {dimension}, nats per token"
OLD_ITSELF, NEW_ITSELF = "the old version", "the new version"
OLD, NEW = "Old", "New"

NOT_PRIVATE = "Anybody can open this page, so guides are not published or retrained on it."
NOT_PRIVATE_HINT = "Start Tiller with --access-code, or use the command line."
BAD_TOKEN = "This page is not known to the server any more."
BAD_TOKEN_HINT = "Reload it; copy what you typed first."
BAD_REQUEST = "What the page sent cannot be read."
BAD_REQUEST_HINT = "Reload the page."
NO_QUESTION = "No question is picked."
NO_QUESTION_HINT = "Pick what was judged."
BAD_DIMENSION = "A guide cannot be called {name!r}."
BAD_DIMENSION_HINT = "Use a word other than 'overall', without '='."
BAD_HELD_OUT = "So much cannot be held out."
BAD_HELD_OUT_HINT = "Hold out from 1 to 50 % of the prompts."
NO_VERSION = "No version is picked."
NO_VERSION_HINT = "Pick one in the list."
NO_PARENT = "The guide for {dimension} has no active version that can be trained further."
NO_PARENT_HINT = "Train it afresh."
BUSY = "A training is under way."
BUSY_HINT = "Wait for it, or cancel it."
BUSY_DECIDING = "Whether the newest training is published by itself is being decided."
BUSY_DECIDING_HINT = "Wait until the page says what was decided, and start then."
NOTHING_TO_GO_ON = "There is no training that can go on."
NOTHING_TO_GO_ON_HINT = "Start another."
NOT_COMPARED = "The new version could not be compared with the old one; the log says why."
LONG_PROMPT = "The prompt is too long."
LONG_PROMPT_HINT = "Shorten it."
BAD_NUMBER = "Weight or seed is not from {low:g} to {high:g}."
BAD_NUMBER_HINT = "Type another number."
