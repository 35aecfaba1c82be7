"""Tokenizers of the kinds published models have, small enough to be built in a test."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from tests.models.tiny import TEMPLATE, make_tokenizer

TRAINING = ["the cat sat on the mat and the dog ran to the door"] * 3
LLAMA_TEMPLATE = (
    "{{ '<s>' }}{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' </s>' }}"
    "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
)


def metaspace(*, legacy: bool = False) -> PreTrainedTokenizerFast:
    """Llama 2's kind: one BPE over letters, spaces as ▁, bytes for what is unknown, control tokens in the vocabulary.

    ``legacy`` puts the spaces in by a normaliser, as Llama 2's own file does.
    """
    letters = [chr(code) for code in range(33, 127)]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["<unk>", "<s>", "</s>", *bytes_, "▁", *letters, "th", "the", "▁the", "ca", "cat", "▁cat", "<s", "/s"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("c", "a"), ("ca", "t"), ("▁", "cat"), ("<", "s"), ("/", "s")]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if legacy:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if legacy else steps)
    return _fast(backend, LLAMA_TEMPLATE)


def llama(*, legacy: bool) -> PreTrainedTokenizerFast:
    """Llama 2's as transformers makes it of the same words: a legacy one puts a space before every text."""
    model = json.loads(metaspace().backend_tokenizer.to_str())["model"]
    tokenizer = LlamaTokenizer(model["vocab"], [tuple(pair) for pair in model["merges"]], legacy=legacy)
    tokenizer.chat_template = LLAMA_TEMPLATE
    return tokenizer


def unigram() -> PreTrainedTokenizerFast:
    """A Unigram model, which has the control tokens' names among its own words and would write them by itself."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<unk>", -9.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0), ("▁the", -3.0), *((x, -5.0) for x in letters)]
    backend = Tokenizer(Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    return _fast(backend, LLAMA_TEMPLATE)


def thinking() -> PreTrainedTokenizerFast:
    """Qwen's kind: ``<think>`` and ``<tool_call>`` are added but not special, and the template writes one."""
    tokenizer = make_tokenizer(("<think>", "</think>", "<tool_call>"))
    tokenizer.chat_template = TEMPLATE.replace("{{ '<|assistant|>' }}", "{{ '<|assistant|><think>\n' }}")
    return tokenizer


def normalising() -> PreTrainedTokenizerFast:
    """NFKC, which makes control tokens out of full-width letters, and added tokens matched after it."""
    backend = Tokenizer.from_str(make_tokenizer().backend_tokenizer.to_str())
    backend.normalizer = normalizers.NFKC()
    backend.add_tokens([AddedToken("<think>", normalized=True), AddedToken("</think>", normalized=True)])
    return _fast(backend, TEMPLATE, bos="<|endoftext|>", eos="<|end|>")


def with_words() -> PreTrainedTokenizerFast:
    """GPT-NeoX's kind: added runs of spaces for code, and an added word; text like any other."""
    return make_tokenizer(("  ", "    ", "\n\n", "catdog"))


def with_gaps() -> PreTrainedTokenizerFast:
    """A vocabulary with unused ids, so that its size is the id of one of its tokens."""
    state = json.loads(make_tokenizer().backend_tokenizer.to_str())
    vocab = state["model"]["vocab"]
    for name in sorted(vocab, key=vocab.get)[-10:]:
        vocab[name] += 5
    return _fast(Tokenizer.from_str(json.dumps(state)), TEMPLATE, bos="<|endoftext|>", eos="<|end|>")


def _fast(backend: Tokenizer, template: str, bos: str = "<s>", eos: str = "</s>") -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos)
    tokenizer.chat_template = template
    return tokenizer
