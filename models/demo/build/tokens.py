"""The tokenizer, and documents as one long row of token ids."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from models.demo.build.rows import Row

START, END, PADDING = "<|endoftext|>", "<|end|>", "<|pad|>"
CONTROL = (START, "<|system|>", "<|user|>", "<|assistant|>", END, PADDING)
TEMPLATE = (
    "{{ '<|endoftext|>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# GPT-2's words, with digits one by one: a small vocabulary has no room for numbers.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ENCODED_TOGETHER = 1000


def train_tokenizer(documents: Iterable[Row], vocabulary_size: int, folder: Path, context_length: int) -> None:
    """Learn a byte-level BPE of ``vocabulary_size`` tokens, control tokens first, and save it with its template."""
    backend = Tokenizer(BPE())
    split = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, plain])
    backend.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((text for row in documents for _, text in _turns(row)), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=START,
        eos_token=END,
        pad_token=PADDING,
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


def write_ids(tokenizer: PreTrainedTokenizerBase, documents: Iterable[Row], path: Path) -> int:
    """Save the documents' ids one after the other as ``ids`` (N,) int32; returns N.

    A chat is what the template makes of it; what somebody wrote never becomes a control token.
    """
    pieces = [torch.tensor(ids, dtype=torch.int32) for ids in _encoded(tokenizer, documents)]
    ids = torch.cat(pieces)
    save_file({"ids": ids}, path)
    return len(ids)


def read_ids(path: Path) -> torch.Tensor:
    """What :func:`write_ids` saved."""
    return load_file(path)["ids"]


def _encoded(tokenizer: PreTrainedTokenizerBase, documents: Iterable[Row]) -> Iterator[list[int]]:
    vocabulary = tokenizer.get_vocab()
    control: dict[str, int] = {name: vocabulary[name] for name in CONTROL}
    rows = iter(documents)
    while some := list(islice(rows, _ENCODED_TOGETHER)):
        turns = [turn for row in some for turn in _turns(row)]
        texts = [text for _, text in turns]
        encoded = iter(
            tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        )
        for row in some:
            ids = [control[START]]
            for role, _ in _turns(row):
                content = next(encoded)
                ids += [control[f"<|{role}|>"], *content, control[END]] if role else content
            yield ids


def _turns(row: Row) -> Sequence[tuple[str, str]]:
    """Role and text of every turn; a text that is no chat has no role."""
    if "text" in row:
        return [("", row["text"])]
    return [(message["role"], message["content"]) for message in row["messages"]]
