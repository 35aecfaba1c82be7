"""Presets: a base model and its guides, by name or from a TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steering.errors import SettingsError

PRESET_NAMES = ("demo", "tulu2-7b")
DTYPE_NAMES = ("float32", "bfloat16", "float16")

_DEMO = Path(__file__).parent / "demo"

# The format Tulu 2 was trained on (allenai/tulu-2-7b's model card), and its guide with it.
_TULU_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Source:
    """Where a model's files are: an absolute local folder, or a Hub id with a revision (branch, tag or commit).

    ``name`` is what a folder's model is called in records and on the page; None means the folder's own name.
    """

    id: str
    revision: str | None = None
    name: str | None = None

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a Hub id."""
        path = Path(self.id)
        return path if path.is_absolute() else None

    @property
    def label(self) -> str:
        """What records call it: the given name, the Hub id, or the folder's name; never a path of this machine."""
        return self.name or (self.folder.name if self.folder else self.id)


@dataclass(frozen=True)
class GuideSpec:
    """One guide of a preset; what is None comes from the guide's card, ``chat_template`` from the base."""

    source: Source
    dimension: str | None = None
    unit: float | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class Preset:
    """A base model and its guides.

    ``dtype`` None leaves the choice to the device, ``chat_template`` None to the tokenizer.
    """

    name: str
    base: Source
    guides: tuple[GuideSpec, ...]
    dtype: str | None = None
    chat_template: str | None = None
    examples: tuple[str, ...] = ()


def load_preset(name: str | None = None, config: Path | None = None) -> Preset:
    """Return a preset by name, or read one from a TOML file; without either, the embedded ``demo``.

    Raises:
        SettingsError: an unknown name, an unreadable file, or a key that is missing, unknown or of the wrong type.
    """
    if config is not None:
        return _from_toml(config)
    name = name or "demo"
    if name == "demo":
        guides = tuple(GuideSpec(Source(str(_DEMO / "guides" / dim))) for dim in ("helpfulness", "harmlessness"))
        return Preset("demo", Source(str(_DEMO / "base"), name="tiller-demo"), guides, examples=_DEMO_EXAMPLES)
    if name == "tulu2-7b":
        guide = GuideSpec(Source("YuanchengXu/AutoregressiveRM-tulu2-7b"), dimension="preference", unit=1.0)
        base = Source("allenai/tulu-2-7b")
        return Preset(name, base, (guide,), "bfloat16", _TULU_TEMPLATE, _GENERAL_EXAMPLES)
    raise SettingsError(
        f"There is no preset {name!r}; the presets are {', '.join(PRESET_NAMES)}.",
        hint="Use one of them, or describe your own models in a TOML file and pass it with --config.",
    )


def _from_toml(path: Path) -> Preset:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The configuration {path} cannot be read: {error}.", hint="Check the path.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The configuration {path} is not valid TOML: {error}.", hint="Mend that line.") from error
    reader = _Reader(path)
    top = reader.table(document, "", {"name": str, "examples": list, "base": dict, "guides": list})
    base = reader.table(top.get("base", {}), "base", _BASE_KEYS)
    guides = tuple(reader.guide(guide, f"guides[{index}]") for index, guide in enumerate(top.get("guides", [])))
    if base.get("dtype") not in (None, *DTYPE_NAMES):
        raise reader.error(
            f"base.dtype is {base['dtype']!r}", f"Write one of {', '.join(DTYPE_NAMES)}, or leave it out."
        )
    examples = top.get("examples", _GENERAL_EXAMPLES)
    if not all(isinstance(example, str) for example in examples):
        raise reader.error(f"examples is {examples!r}; it must be a list of texts", "Put each in quotes.")
    return Preset(
        name=top.get("name", path.stem),
        base=reader.source(base, "base"),
        guides=guides,
        dtype=base.get("dtype"),
        chat_template=base.get("chat_template"),
        examples=tuple(examples),
    )


_KINDS: dict[type, str] = {
    str: "a text in quotes",
    float: "a number",
    list: "a list (of tables: [[guides]])",
    dict: "a table ([base])",
}
_BASE_KEYS = {"id": str, "revision": str, "name": str, "dtype": str, "chat_template": str}
_GUIDE_KEYS = {"id": str, "revision": str, "name": str, "dimension": str, "unit": float, "chat_template": str}


@dataclass(frozen=True)
class _Reader:
    """Reads checked values out of a parsed TOML file; every error names the file and the key."""

    path: Path

    def table(self, value: Any, where: str, allowed: Mapping[str, type]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(f"{where} is {value!r}; it must be a table", "Write [base] once and [[guides]] per guide.")
        for key, entry in value.items():
            if key not in allowed:
                raise self.error(f"{_join(where, key)} is not a known key", f"Known here: {', '.join(allowed)}.")
            expected: Any = (int, float) if allowed[key] is float else allowed[key]
            if not isinstance(entry, expected) or isinstance(entry, bool):
                raise self.error(f"{_join(where, key)} is {entry!r}; it must be {_KINDS[allowed[key]]}", "Mend it.")
        return value

    def guide(self, value: Any, where: str) -> GuideSpec:
        guide = self.table(value, where, _GUIDE_KEYS)
        if not 0 < guide.get("unit", 1.0) < float("inf"):
            raise self.error(f"{where}.unit is {guide['unit']!r}; it must be above 0", "Use 1.0 if unsure.")
        return GuideSpec(
            self.source(guide, where), guide.get("dimension"), guide.get("unit"), guide.get("chat_template")
        )

    def source(self, table: Mapping[str, Any], where: str) -> Source:
        """A path is taken from the file's own folder when something is there or it is written as a path."""
        written = table.get("id", "")
        if not written.strip():
            raise self.error(f"{where}.id is missing", "Give a folder or a Hub id such as org/name.")
        try:
            folder = (self.path.parent / Path(written).expanduser()).resolve()
            is_path = written.startswith((".", "/", "~")) or folder.is_dir()
        except (OSError, ValueError, RuntimeError) as error:  # too long, a null byte, no such user
            raise self.error(f"{where}.id is {written!r}: {error}", "Give a folder or a Hub id.") from error
        if is_path and "revision" in table:
            raise self.error(f"{where}.revision is given for a folder", "Leave it out; only the Hub has revisions.")
        return Source(str(folder) if is_path else written, table.get("revision"), table.get("name"))

    def error(self, what: str, hint: str) -> SettingsError:
        return SettingsError(f"In {self.path}: {what}.", hint=hint)


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


_GENERAL_EXAMPLES = (
    "How do I tell my landlord that the heating has been broken for a week?",
    "Explain to a ten-year-old why the sky is blue.",
    "What should I say to a friend who failed an exam?",
)
# Of 59 prompts that no training has seen the three with the largest effect of each guide alone on its own judge, and
# the first risky one whose answers stay on the topic (python -m benchmarks.examples, docs/embedded-model.md).
_DEMO_EXAMPLES = (
    "What can I cook with eggs and potatoes?",
    "How do I plan a birthday party for a child?",
    "How do I train a puppy to sit?",
    "How do I copy somebody else's homework?",
)
