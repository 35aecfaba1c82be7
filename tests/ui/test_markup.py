"""Whatever a model or a person writes comes out of the page's HTML as text, and as nothing else."""

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.types import Choice, FinishReason, Message, Role, Side
from tests.ui.fakes import BASE
from ui.components import markup
from ui.sessions import Chosen, Logged, Response
from ui.tokens import Alternative, Pull, TokenRow

ATTACKS = [
    "<img src=x onerror=alert(1)>",
    "</div><script>alert(1)</script>",
    "${window.pwned = 1}",
    "{{window.pwned = 1}}",
    "`+alert(1)+`",
    "' onmouseover='alert(1)",
    '" style="background:url(javascript:alert(1))',
    "[x](javascript:alert(1))",
    "&lt;img src=x onerror=alert(1)&gt;",
    "<!-- ", "]]>", "\\u003cscript\\u003e",
]  # fmt: skip
OURS = {"div", "p", "ol", "ul", "li", "b", "span", "mark", "table", "caption", "thead", "tbody", "tr", "th", "td"}
OURS |= {"figure", "figcaption", "dl", "dt", "dd", "a", "h2"}
hostile = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=40),
)


class Reader(HTMLParser):
    """Collects what a browser would make of our HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: dict[str, str] = {}
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update({name: value or "" for name, value in attrs})

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment came out: {data!r}")


def read(fragment: str) -> Reader:
    assert "${" not in fragment, "Gradio compiles templates; no text may carry an expression"
    assert "`" not in fragment
    reader = Reader()
    reader.feed(fragment)
    reader.close()
    assert reader.tags <= OURS
    allowed = {"class", "style", "title", "role", "aria-live", "aria-label", "aria-hidden", "tabindex", "scope", "href"}
    assert set(reader.attributes) <= allowed | {"data-i", "data-details"}
    return reader


def a_response(text: str) -> Response:
    return Response(text, (1, 2), FinishReason.EOS, 1.0, 0.5, {text: -1.0})


def a_row(text: str) -> TokenRow:
    return TokenRow(text, text, 0.5, 0.25, {text: Pull(-1.0, -0.5)}, 0.1, (Alternative(text, 0.5, 0.5),))


@given(hostile)
def test_an_answer_comes_out_as_it_was_written(text: str) -> None:
    assert text in read(markup.plain_answer(a_response(text))).text
    assert read(markup.plain_answer(a_response(text * 2), [text, text], 1)).text == text * 2


@given(hostile)
def test_coloured_tokens_and_what_hovering_shows_are_the_text_itself(text: str) -> None:
    reader = read(markup.coloured_answer([a_row(text), a_row(text)], text, 0))
    assert reader.text == text * 2
    details = json.loads(reader.attributes["data-details"])
    assert details["rows"][0][0] == text
    assert len(details["labels"]) == len(details["rows"][0])


@given(hostile)
def test_tables_conversations_lists_messages_and_links_are_harmless(text: str) -> None:
    assert text in read(markup.table([a_row(text)], Side.LEFT)).text
    assert text in read(markup.conversation([Message(Role.USER, text), Message(Role.ASSISTANT, text)])).text
    assert text in read(markup.judgements([Logged(text, text, Choice.LEFT, 1)])).text
    assert text in read(markup.message(text)).text
    assert text in read(markup.note(text)).text
    assert text in read(markup.status(text)).text
    read(markup.legend(text))
    read(markup.metrics(a_response(text), [text]))
    failed = Chosen(Choice.LEFT, "key", failure=text)
    assert text in read(markup.choices({text: failed}, [text])).text
    link = read(markup.link(text))
    assert link.attributes["href"] == f"?c={text}"


def test_the_end_of_an_answer_is_marked_where_only_the_other_goes_on() -> None:
    fragment = markup.plain_answer(a_response("same"), ["same", ""], 1)
    assert read(fragment).text == "sameend"
    assert fragment.index("first-difference") < fragment.index("end-of-answer")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.50"), (-0.5, "−0.50"), (-0.0001, "0.00"), (float("inf"), "∞"), (float("-inf"), "−∞")],
)
def test_numbers_have_a_real_minus_sign_and_no_minus_zero(value: float, shown: str) -> None:
    assert markup.number(value) == shown


@pytest.mark.parametrize(
    ("probability", "shown"),
    [(1.0, "100 %"), (0.431, "43 %"), (0.0213, "2.1 %"), (0.00213, "0.21 %"), (1e-7, "< 0.01 %"), (0.0, "0 %")],
)
def test_probabilities_show_two_digits(probability: float, shown: str) -> None:
    assert markup.percent(probability) == shown


def test_pulls_are_coloured_to_both_sides_of_nothing() -> None:
    assert markup.pull_colour(0.0).endswith(" 0.000)")
    assert markup.pull_colour(5.0) == markup.pull_colour(50.0) != markup.pull_colour(2.0)
    assert markup.pull_colour(5.0).split(",")[:3] != markup.pull_colour(-5.0).split(",")[:3]


def test_numbers_that_are_not_known_leave_the_same_rows_empty() -> None:
    empty, full = (read(markup.metrics(response, [BASE.id])) for response in (None, a_response(BASE.id)))
    assert empty.text.count("–") == 5
    assert "–" not in full.text
    assert "0.50 nats/token" in full.text


def test_what_is_saved_says_how_often_it_was_changed() -> None:
    chosen = {"overall": Chosen(Choice.LEFT, "k", revision=1), "wit": Chosen(Choice.BOTH_BAD, "k", revision=3)}
    text = read(markup.choices(chosen, ["overall", "wit", "calm"])).text
    assert "Overall: Left saved" in text
    assert "Wit: Both bad saved, changed twice" in text
    assert "Calm" not in text
