"""Which preferences a guide is trained and tested on: rules against rigged judgements, votes, the split by prompt."""

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace

from models.training.ancestry import Seen
from models.training.rows import Preference, RowsRead
from steering.errors import InputError, SettingsError


@dataclass(frozen=True)
class DataSettings:
    """What is used and how it is split.

    Args:
        max_prompt_tokens: longer prompts are left out.
        max_response_tokens: pairs with a longer response are left out; the token that ends a response counts.
        max_per_prompt: at most so many preferences per prompt are trained on; 0: all.
        max_per_annotator: at most so many per annotator; 0: all.
        min_reliability: annotators whose reliability, in the rows or by gold items, is lower are left out with all they
            said, and so are those of whom it is not known; 0: nobody is.
        held_out_share: so many of the prompts are for testing, drawn by ``seed``: a prompt is in the same half in every
            run with that seed. Where an export has test prompts of its own these are taken instead.
        max_held_out: at most so many pairs are tested on.
        max_held_out_per_prompt: and so many of them per prompt; 0: all. Pairs of one prompt tell nearly the same, and
            the interval of an accuracy takes them for independent.
        replay_share: how many preferences of the earlier data are mixed in, as a share of the new ones.
        seed: of all draws.

    Raises:
        SettingsError: a value is outside its range.
    """

    max_prompt_tokens: int = 512
    max_response_tokens: int = 512
    max_per_prompt: int = 6
    max_per_annotator: int = 0
    min_reliability: float = 0.0
    held_out_share: float = 0.1
    max_held_out: int = 300
    max_held_out_per_prompt: int = 6
    replay_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        lowest = {"max_prompt_tokens": 1, "max_response_tokens": 1, "max_per_prompt": 0, "max_per_annotator": 0}
        for name, low in {**lowest, "max_held_out": 1, "max_held_out_per_prompt": 0, "seed": 0}.items():
            if getattr(self, name) < low:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be {low} or more.", hint="Raise it.")
        for name, high in {"min_reliability": 1.0, "held_out_share": 0.9, "replay_share": 10.0}.items():
            if not 0 <= getattr(self, name) <= high:
                raise SettingsError(
                    f"{name} is {getattr(self, name)}; it must be from 0 to {high:g}.", hint="It is a share."
                )


@dataclass
class DataReport:
    """What became of the rows; ``left_out`` counts preferences by reason, ``n_annotators`` those that are used.

    ``n_seen_by_parent``: pairs that would have been tested on, had the parent not been trained on their prompts.
    """

    n_read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    n_merged: int = 0
    n_train: int = 0
    n_replayed: int = 0
    n_held_out: int = 0
    n_seen_by_parent: int = 0
    n_prompts: int = 0
    n_annotators: int = 0
    quarantined: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """As plain values."""
        return {**asdict(self), "left_out": dict(sorted(self.left_out.items()))}


@dataclass(frozen=True)
class Split:
    """What is trained on, the earlier data mixed in, and what is tested on."""

    train: list[Preference]
    replayed: list[Preference]
    held_out: list[Preference]
    report: DataReport

    def halves(self, seed: int) -> tuple[list[Preference], list[Preference]]:
        """Return the held-out pairs that choose a checkpoint and those that report on it, split by prompt.

        Where only one prompt is held out none choose and all of them report, for what has chosen flatters.
        """
        prompts = sorted({each.prompt_key for each in self.held_out}, key=lambda key: _draw(seed, "choosing", key))
        choosing = set(prompts[: len(prompts) // 2])
        return (
            [each for each in self.held_out if each.prompt_key in choosing],
            [each for each in self.held_out if each.prompt_key not in choosing],
        )


NOTHING = Seen()

Fits = Callable[[Preference], str]
"""Says why a preference is left out for its length; empty where it fits."""


def choose(
    read: RowsRead, earlier: RowsRead, settings: DataSettings, fits: Fits, *, pairs_only: bool, seen: Seen = NOTHING
) -> Split:
    """Apply the rules to what was read, and split it.

    In this order: unreliable annotators are left out; so is what does not fit; what one annotator said twice counts
    once; annotators are capped; the same pair judged several times becomes one pair by majority, and none where the
    votes are equal; the prompts are split; prompts are capped.

    Args:
        read: the new data.
        earlier: data of the guide that is trained further, to be replayed; held-out prompts stay held out.
        settings: the rules.
        fits: the limits of length.
        pairs_only: whether responses judged on their own are left out.
        seen: what the guide that is trained further was trained on, which is never tested on. Such a prompt is trained
            on again, but where an export has test prompts of its own it is left out.

    Raises:
        InputError: nothing is left to train on, or nothing to test on.
    """
    report = DataReport(n_read=len(read.train) + len(read.held_out), left_out=Counter(read.left_out))
    reliability = _reliability(read)
    rules = _Rules(settings, fits, pairs_only, report)
    candidates = rules.apply(read.train, reliability)
    held_out = rules.apply(read.held_out, reliability)
    if not read.held_out:
        held_out = [each for each in candidates if is_held_out(each.prompt_key, settings)]
    seen_prompts = {each.prompt_key for each in held_out if seen.has(each)}
    report.n_seen_by_parent = sum(each.prompt_key in seen_prompts for each in held_out)
    held_out = [each for each in held_out if each.prompt_key not in seen_prompts]
    held_out = rules.per_prompt(held_out, settings.max_held_out_per_prompt)
    # TRL's rows may have the same prompt in both files
    tested = {each.prompt_key for each in held_out}
    train = [each for each in candidates if each.prompt_key not in tested]
    train = rules.per_prompt(train, settings.max_per_prompt)
    tested_pairs = [each for each in held_out if each.chosen is not None and each.rejected is not None]
    if not train or not tested_pairs:
        raise InputError(
            f"{len(train)} preferences are left to train on and {len(tested_pairs)} pairs to test on, of "
            f"{report.n_read} read; left out: {dict(report.left_out) or 'none'}; not tested on, because the parent was "
            f"trained on their prompts: {report.n_seen_by_parent}.",
            hint="Use more data or looser rules. Whole prompts are held out, so several are needed.",
        )
    held_out = _sample(tested_pairs, settings.max_held_out, settings.seed)
    quiet = _Rules(settings, fits, pairs_only, DataReport())
    old = [
        each
        for each in quiet.per_prompt(quiet.apply(earlier.train, _reliability(earlier)), settings.max_per_prompt)
        if each.prompt_key not in tested and not is_held_out(each.prompt_key, settings)
    ]
    replayed = _sample(old, round(settings.replay_share * len(train)), settings.seed) if old else []
    report.n_train, report.n_replayed, report.n_held_out = len(train), len(replayed), len(held_out)
    report.n_prompts = len({each.prompt_key for each in [*train, *held_out]})
    report.n_annotators = len({each.annotator for each in train if each.annotator is not None})
    return Split(train, replayed, held_out, report)


def is_held_out(prompt_key: str, settings: DataSettings) -> bool:
    """Whether a prompt is for testing, by its content and the seed alone."""
    return _draw(settings.seed, prompt_key) < settings.held_out_share


@dataclass(frozen=True)
class _Rules:
    settings: DataSettings
    fits: Fits
    pairs_only: bool
    report: DataReport

    def apply(self, given: Sequence[Preference], reliability: dict[str, float]) -> list[Preference]:
        """What the rules leave of the preferences; counts the rest."""
        kept = self._keep(given, lambda each: self._unreliable(each, reliability))
        if self.pairs_only:
            kept = self._keep(kept, lambda each: "single" if each.chosen is None or each.rejected is None else "")
        kept = self._keep(kept, self.fits)
        kept = self._once(kept)
        kept = self._capped(kept, self.settings.max_per_annotator, lambda each: each.annotator, "annotator_cap")
        return self._by_majority(kept)

    def per_prompt(self, given: list[Preference], most: int) -> list[Preference]:
        """At most so many of each prompt, 0: all; counts the rest."""
        return self._capped(given, most, lambda each: each.prompt_key, "prompt_cap")

    def _keep(self, given: Iterable[Preference], reason_of: Fits) -> list[Preference]:
        kept = []
        for each in given:
            reason = reason_of(each)
            if reason:
                self.report.left_out[reason] += 1
            else:
                kept.append(each)
        return kept

    def _unreliable(self, each: Preference, reliability: dict[str, float]) -> str:
        if not self.settings.min_reliability:
            return ""
        share = each.reliability if each.reliability is not None else reliability.get(each.annotator or "")
        if share is None:
            return "reliability_unknown"
        if share < self.settings.min_reliability:
            if each.annotator and each.annotator not in self.report.quarantined:
                self.report.quarantined.append(each.annotator)
            return "unreliable"
        return ""

    def _once(self, given: list[Preference]) -> list[Preference]:
        """Nobody says the same twice; where nobody is named, everything is one person's."""
        seen: dict[tuple[str | None, str, str | None, str | None], Preference] = {}
        for each in given:
            key = (each.annotator, each.prompt_key, each.chosen, each.rejected)
            self.report.left_out["duplicate"] += key in seen
            seen.setdefault(key, each)
        self.report.left_out += Counter()  # drops zeros
        return list(seen.values())

    def _capped(
        self, given: list[Preference], most: int, owner_of: Callable[[Preference], str | None], reason: str
    ) -> list[Preference]:
        """At most so many of each owner, drawn by the seed; the order stays."""
        if not most:
            return given
        groups: dict[str | None, list[int]] = defaultdict(list)
        for index, each in enumerate(given):
            groups[owner_of(each)].append(index)
        keep = set(groups.pop(None, []))
        for owner, indices in groups.items():
            # drawn by content, so that the order of the rows does not matter
            ranked = sorted(
                indices, key=lambda index: _draw(self.settings.seed, reason, owner, *_content(given[index]))
            )
            keep |= set(ranked[:most])
        self.report.left_out[reason] += len(given) - len(keep)
        self.report.left_out += Counter()
        return [each for index, each in enumerate(given) if index in keep]

    def _by_majority(self, given: list[Preference]) -> list[Preference]:
        """One preference for what several annotators judged: what most of them say."""
        groups: dict[tuple[str, ...], list[Preference]] = defaultdict(list)
        for each in given:
            said = sorted(str(text) for text in (each.chosen, each.rejected))
            is_pair = each.chosen is not None and each.rejected is not None
            groups[(each.prompt_key, str(is_pair), *said)].append(each)
        kept = []
        for votes in groups.values():
            first = votes[0]
            agree = [each for each in votes if (each.chosen, each.rejected) == (first.chosen, first.rejected)]
            against = [each for each in votes if (each.chosen, each.rejected) != (first.chosen, first.rejected)]
            if len(agree) == len(against):
                self.report.left_out["contradictory"] += len(votes)
                continue
            winners = agree if len(agree) > len(against) else against
            self.report.left_out["outvoted"] += len(votes) - len(winners)
            self.report.n_merged += len(winners) - 1
            weight = sum(each.weight for each in winners) / len(winners)
            kept.append(replace(winners[0], weight=weight))
        self.report.left_out += Counter()
        return kept


def _reliability(read: RowsRead) -> dict[str, float]:
    """Share of gold items answered right, by annotator."""
    return {annotator: n_right / n_answered for annotator, (n_right, n_answered) in read.gold.items()}


def _content(each: Preference) -> tuple[str, str, str]:
    return each.prompt_key, str(each.chosen), str(each.rejected)


def _draw(*parts: object) -> float:
    """A number from 0 to below 1 that depends on the parts alone."""
    digest = hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _sample(given: list[Preference], most: int, seed: int) -> list[Preference]:
    """At most so many, drawn by the seed; the order stays."""
    if len(given) <= most:
        return given
    chosen = set(random.Random(seed).sample(range(len(given)), most))
    return [each for index, each in enumerate(given) if index in chosen]
