"""Presets: the built-in ones, and TOML files in which nothing wrong goes unnoticed."""

from pathlib import Path

import jinja2
import pytest

from models.guides import read_card
from models.presets import PRESET_NAMES, Preset, Source, load_preset
from models.prompting import prompt_token_ids
from steering.errors import SettingsError
from steering.types import Message, Role
from tests.models.tiny import make_tokenizer

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "docs" / "example-qwen.toml"
BASE = '[base]\nid = "org/base"\n'
GUIDE = '[[guides]]\nid = "org/guide"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_name_the_embedded_demo_is_meant_and_its_files_are_there() -> None:
    preset = load_preset()
    assert preset == load_preset("demo")
    assert preset.base.label == "tiller-demo"
    assert (preset.base.folder / "model.safetensors").is_file()
    assert [read_card(guide.source.folder).dimension for guide in preset.guides] == ["helpfulness", "harmlessness"]
    assert preset.examples


def test_tulu_names_the_papers_guide_and_the_format_both_were_trained_on() -> None:
    preset = load_preset("tulu2-7b")
    assert (preset.base.id, preset.base.folder) == ("allenai/tulu-2-7b", None)
    (guide,) = preset.guides
    assert guide.source.id == "YuanchengXu/AutoregressiveRM-tulu2-7b"
    assert (guide.dimension, guide.unit, guide.chat_template) == ("preference", 1.0, None)
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}, {"role": "user", "content": "?"}]
    text = jinja2.Template(preset.chat_template).render(
        messages=chat, bos_token="<s>", eos_token="</s>", add_generation_prompt=True
    )
    assert text == "<s><|user|>\nHi\n<|assistant|>\nHo</s>\n<|user|>\n?\n<|assistant|>\n"


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_every_name_on_offer_is_a_preset(name: str) -> None:
    assert load_preset(name).name == name


def test_an_unknown_preset_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SettingsError, match=r"'dmeo'.*demo, tulu2-7b") as caught:
        load_preset("dmeo")
    assert "--config" in caught.value.hint


def test_every_key_of_a_file_arrives(tmp_path: Path) -> None:
    text = (
        'name = "mine"\nexamples = ["One?"]\n'
        '[base]\nid = "org/base"\nrevision = "abc"\nname = "b"\ndtype = "float16"\nchat_template = "B"\n'
        '[[guides]]\nid = "org/g"\nrevision = "def"\nname = "g"\ndimension = "wit"\nunit = 2\nchat_template = "G"\n'
    )
    preset = load_preset(config=written(tmp_path, text))
    assert preset.base == Source("org/base", "abc", "b")
    assert (preset.name, preset.dtype, preset.chat_template, preset.examples) == ("mine", "float16", "B", ("One?",))
    (guide,) = preset.guides
    assert guide.source == Source("org/g", "def", "g")
    assert (guide.dimension, guide.unit, guide.chat_template) == ("wit", 2, "G")


def test_a_base_alone_is_a_preset_named_like_its_file(tmp_path: Path) -> None:
    preset = load_preset(config=written(tmp_path, BASE))
    assert preset == Preset("mine", Source("org/base"), (), examples=preset.examples)
    assert preset.examples


def test_a_relative_folder_is_taken_from_where_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "models" / "base").mkdir(parents=True)
    text = '[base]\nid = "models/base"\n[[guides]]\nid = "../elsewhere/guide"\n[[guides]]\nid = "models/guide"\n'
    preset = load_preset(config=written(tmp_path, text))
    assert preset.base.folder == (tmp_path / "models" / "base").resolve()
    assert preset.guides[0].source.folder == (tmp_path.parent / "elsewhere" / "guide").resolve()
    assert preset.guides[1].source.folder is None  # nothing is there, so it can only be a Hub id


def test_records_call_a_model_by_its_name_never_by_a_path(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert load_preset(config=written(tmp_path, '[base]\nid = "./base"\n')).base.label == "base"
    assert load_preset(config=written(tmp_path, '[base]\nid = "./base"\nname = "x"\n')).base.label == "x"
    assert Source("org/base").label == "org/base"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "base.id is missing"),
        ("[base]\n", "base.id is missing"),
        ('[base]\nid = ""\n', "base.id is missing"),
        ('[base]\nid = "  "\n', "base.id is missing"),
        (BASE + '[[guides]]\ndimension = "x"\n', r"guides\[0\].id is missing"),
        (BASE + GUIDE + "[[guides]]\n", r"guides\[1\].id is missing"),
        ("colour = 1\n" + BASE, "colour is not a known key"),
        (BASE + "device = 'cpu'\n", "base.device is not a known key"),
        (BASE + GUIDE + "beta = 1\n", r"guides\[0\].beta is not a known key"),
        ("base = 'org/base'\n", "base is 'org/base'; it must be a table"),
        (BASE + "[guides]\nid = 'x'\n", "guides is .*it must be a list"),
        ("guides = ['org/guide']\n" + BASE, r"guides\[0\] is 'org/guide'; it must be a table"),
        ("name = 1\n" + BASE, "name is 1; it must be a text"),
        ("examples = 'One?'\n" + BASE, "examples is 'One\\?'; it must be a list"),
        ("examples = ['One?', 2]\n" + BASE, "examples is .*it must be a list of texts"),
        ("[base]\nid = 7\n", "base.id is 7; it must be a text"),
        (BASE + "revision = 1.5\n", "base.revision is 1.5; it must be a text"),
        (BASE + "dtype = 'int8'\n", "base.dtype is 'int8'"),
        (BASE + "chat_template = []\n", "base.chat_template is .*it must be a text"),
        (BASE + GUIDE + "unit = '1'\n", r"guides\[0\].unit is '1'; it must be a number"),
        (BASE + GUIDE + "unit = true\n", r"guides\[0\].unit is True; it must be a number"),
        (BASE + GUIDE + "unit = 0\n", r"guides\[0\].unit is 0; it must be above 0"),
        (BASE + GUIDE + "unit = -0.5\n", r"guides\[0\].unit is -0.5; it must be above 0"),
        (BASE + GUIDE + "unit = nan\n", r"guides\[0\].unit is nan; it must be above 0"),
        (BASE + GUIDE + "unit = inf\n", r"guides\[0\].unit is inf; it must be above 0"),
        (BASE + GUIDE + "dimension = 3\n", r"guides\[0\].dimension is 3; it must be a text"),
        ('[base]\nid = "./here"\nrevision = "main"\n', "base.revision is given for a folder"),
        ('[base]\nid = "~nobody-of-that-name/x"\n', "base.id is '~nobody-of-that-name/x'"),
        ('[base]\nid = "a\\u0000b"\n', "base.id is"),
        (f'[base]\nid = "{"x" * 5000}"\n', "base.id is"),
    ],
)
def test_a_wrong_key_is_refused_with_the_file_and_the_key(tmp_path: Path, text: str, key: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError, match=key) as caught:
        load_preset(config=path)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[base\n", "not valid TOML"), (b"a = 1\na = 2\n", "not valid TOML"), (b"\xff\xfe", "cannot be read")],
)
def test_a_file_that_is_no_toml_is_refused_with_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=words) as caught:
        load_preset(config=path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("missing", ["absent.toml", "."])
def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path, missing: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        load_preset(config=tmp_path / missing)
    assert caught.value.hint


def test_the_example_in_the_documentation_is_read_and_its_own_template_works() -> None:
    preset = load_preset(config=EXAMPLE)
    assert (preset.name, preset.base.id, preset.dtype) == ("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B-Instruct", "bfloat16")
    assert len(preset.base.revision) == 40
    assert [(guide.dimension, guide.unit) for guide in preset.guides] == [("helpfulness", 0.5), ("harmlessness", 0.25)]
    assert [guide.chat_template is None for guide in preset.guides] == [True, False]
    tokenizer = make_tokenizer(("<|im_start|>", "<|im_end|>"))
    ids = prompt_token_ids(tokenizer, [Message(Role.USER, "Hi")], preset.guides[1].chat_template)
    assert tokenizer.decode(ids) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_the_example_comments_on_every_key_it_uses() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    seen: set[str] = set()
    for before, line in zip(["", *lines], lines, strict=False):
        key = line.partition(" = ")[0]
        if " = " in line and key.isidentifier():
            assert key in seen or before.startswith("#"), f"{key} has no comment"
            seen.add(key)
    assert seen == {"name", "examples", "id", "revision", "dtype", "dimension", "unit", "chat_template"}
