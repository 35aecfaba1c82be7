"""Every word the Results page shows. Texts with {names} are filled by str.format; nothing here is HTML."""

from storage.analysis.intervals import Lack
from storage.exchange.export import FileKind
from storage.exchange.formats import Format

PAGE = "Results"
TITLE = "Results"
TAGLINE = "What the judgements of a study say, each figure with its interval."

STUDY, ALL_STUDIES = "Study", "All studies"
STUDY_LINE = "{name} · {given} of {wanted} answers given"
STEER_LINE = "Steer page · judgements: {count}, not blind"
SINCE, UNTIL = "From (UTC)", "To, included (UTC)"
DAY_FORM = "YYYY-MM-DD"
GROUP, ALL_GROUPS, NO_GROUP = "Annotators of", "all groups", "(no group)"
RELIABILITY = "Least share of gold items right"
RELIABILITY_INFO = "Above 0 %, annotators without gold items are left out."
BY_STRENGTH = "Slight preferences count less"
BY_STRENGTH_INFO = (
    "As three quarters of a win instead of a whole one: for the ratings, for the annotator left out and for what "
    "people want. Win rates stay as counted."
)
SHOW = "Show"
DIMENSION = "Dimension"
TOGETHER = "All dimensions together"

COUNTS = (
    "Judgements: {judgements}, of comparisons: {comparisons}, by annotators: {annotators}. On gold items: {gold}, on "
    "repeated ones: {repeats}. Of the others {decided} decide ({ties} of them ties), {bad} say both bad, {skips} were "
    "skipped."
)
STRENGTHS = "Of the wins {clear} were said to be clear and {slight} to be slight."
BY_STRENGTH_NOTE = "A slight win counts as three quarters of one in ratings and in what people want."
STEER_NOTE = (
    "On the Steer page everybody sees which answer is guided, and the unguided one is on the left: these judgements "
    "are not blind, and how often the left was chosen says nothing of a bias."
)
LEFT_OUT = "Judgements of annotators below the asked reliability, which are left out: {count}."
NO_STUDIES = "There is no study yet. Whoever runs Tiller makes one on the page Studies; its judgements appear here."
NO_JUDGEMENTS = "Nobody has judged anything that these filters let through."
INTERVALS = "Intervals are at the level of 95 %."
TABLE, CSV = "Data table", "CSV"

WINS = "Win rates"
WINS_NOTE = "Share of the decided judgements a blend won against all others; a tie is half a win."
WIN_AXIS = "share won"
PAIRS = "Blend against blend"
PAIRS_NOTE = "The same for every two blends that were compared, from the side of the first."
RATINGS = "Ratings"
RATINGS_NOTE = "Bradley–Terry ratings in log-odds; the mean of all blends is 0. {ties} of {count} judgements are ties."
RATING_AXIS = "rating, log-odds"
AS_JUDGED, EQUAL_LENGTH = "as judged", "as if equally long"
LENGTH_GAIN = "An answer twice as long gains {value} ({low} to {high})."
NO_LENGTH = "With length as a control: {reason}"
NEVER_LOST = "Never lost, so bounded only on one side by the data: {names}."
NEVER_WON = "Never won, so bounded only on one side by the data: {names}."
AGREEMENT = "Agreement"
AGREEMENT_NOTE = (
    "Two annotators of one comparison say the same in {raw} of {pairs} pairs of judgements, over {comparisons} "
    "comparisons. Krippendorff's alpha: {alpha}. 1 is full agreement, 0 what chance gives."
)
INFLUENCE = "Without one annotator"
INFLUENCE_NOTE = "How far the blend that moves most would move if this annotator's judgements were left out."
INFLUENCE_AXIS = "largest change of a rating, log-odds"
PEOPLE_WANT = "What people want"
WANT_NOTE = (
    "The blend these people prefer, from {count} judgements: {weights}. It gains {gain} ({low} to {high}) in log-odds "
    "over the unguided answer."
)
WEIGHT_WORDS = "{axis} {value} ({low} to {high})"
AT_EDGE = "The best is at the end of what was tried, and may lie beyond: {axes}."
LINEAR = "Too few blends for a curve, so this is a slope: the best is always at an end."
OTHER_WEIGHTS = "The plane is of {x} and {y}; the other weights are those of the preferred blend."
OPTIMA, PREFERRED = "best of a resampling", "preferred blend"
GAIN_AXIS = "gain over unguided, log-odds"
OPEN_IN_STEER = "Open this blend in Steer"
ANNOTATORS = "Annotators"
ANNOTATORS_NOTE = (
    "Gold items given right; repeated items answered as before; and how often the left side of the screen was chosen, "
    "which without a bias is half the time. Over all dimensions."
)
SHARE_AXIS = "share of judgements"
GOLD, CONSISTENCY, CHOSE_LEFT = "gold right", "repeats the same", "chose left"
PACE = "Pace"
PACE_NOTE = "Judgements an hour, over all dimensions, without pauses of more than ten minutes."
PACE_AXIS = "judgements an hour"
MOST_ROWS = "The plot has the first {shown} of {count}; the table has all."
ANNOTATOR = "Annotator {number}"

HEADERS_STRENGTH = ("won clearly", "won slightly", "lost clearly", "lost slightly")
HEADERS_TALLY = ("won", "lost", "tied", "both bad", "skipped", *HEADERS_STRENGTH, "share won", "low", "high")
BLEND, OTHER_BLEND = "blend", "against"
HEADERS_RATINGS = ("rating", "low", "high", "best in", "equal length", "equal length low", "equal length high")
HEADERS_AGREEMENT = ("annotator", "and", "both judged", "said the same", "share")
HEADERS_INFLUENCE = ("without", "judgements", "blend that moves most", "changes by", "pairs that swap places")
HEADERS_WANT = ("weight", "preferred", "low", "high", "tried from", "tried to")
HEADERS_ANNOTATORS = (
    *("annotator", "group", "judgements", "comparisons", "skipped", "gold items", "gold right", "low", "high"),
    *("repeats", "the same", "low ", "high ", "chose left", "low  ", "high  ", "left twice", "right twice"),
)
HEADERS_PACE = ("annotator", "judgements", "judgements an hour", "comparisons an hour", "hours worked")

LACKS = {
    Lack.JUDGEMENTS: "No judgement says yet which answer is better, or that they tie.",
    Lack.BLENDS: "At least {need} different blends must be compared; so far there is {have}.",
    Lack.TOO_MANY_BLENDS: "There are {have} blends; each is rated on its own up to {need}. See what people want.",
    Lack.LINKS: "The blends fall into {have} groups that were never compared with each other, so no rating spans them.",
    Lack.ANNOTATORS: "At least {need} annotators are needed; there are {have}.",
    Lack.OVERLAP: "No comparison was judged by two annotators, so nobody can agree or disagree.",
    Lack.VARIETY: "Everybody always said the same, so agreement beyond chance is not defined.",
    Lack.LENGTHS: "The answers' lengths are not known or never differ.",
    Lack.WEIGHTS: "The compared blends differ in {have} directions of weights; {need} are needed.",
    Lack.GOLD: "No gold item was judged.",
    Lack.REPEATS: "No item was judged twice by the same annotator.",
    Lack.TIME: "Too few judgements follow one another to tell a pace.",
}

EXPORT = "Export"
EXPORT_NOTE = (
    "The judgements these filters let through, all dimensions, as one .zip file with a count of what was left out."
)
FORMAT, FILE_KIND = "Format", "Files"
FORMATS = {
    Format.TRL_CHAT: "TRL preference rows, conversational",
    Format.TRL: "TRL preference rows, plain",
    Format.ARENA: "Arena battles",
    Format.SAFE_RLHF: "Like PKU-SafeRLHF",
    Format.FULL: "Everything",
}
FILE_KINDS = {FileKind.JSONL: "JSON lines", FileKind.PARQUET: "Parquet", FileKind.CSV: "CSV"}
TEST_SHARE = "Share of prompts for testing"
PREPARE, DOWNLOAD = "Prepare the file", "Download {name}"
EXPORTED = "{rows} rows of {used} of {count} judgements. Left out: {left_out}."
NOTHING_LEFT_OUT = "none"
NOT_PUBLIC = (
    "Exports and annotators' names are shown only where Tiller has an access code or serves this machine alone."
)
EXPORT_REFUSED = "This page may be open to anybody, so it exports nothing."
EXPORT_REFUSED_HINT = "Start Tiller with --access-code, or export on the command line."

BAD_DAY = "“{text}” is not a day."
BAD_DAY_HINT = "Write it as year-month-day, e.g. 2026-03-01."
BAD_DAYS = "The first day is after the last one."
BAD_DAYS_HINT = "Put the earlier day first."
BAD_FILTER = "A filter holds something this page does not offer."
BAD_FILTER_HINT = "Reload the page and choose again."
BAD_LINK = "The blend of this link cannot be read, so the sliders are where they were."
UNKNOWN_GUIDES = "This link also has weights for what no guide here was trained for: {names}."
BLEND_OPENED = "The sliders are at the blend of the link."
