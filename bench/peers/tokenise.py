"""tokenizers or tiktoken, GPT-2's BPE of one text."""

import json
import pathlib
import time

from line import answer_lines

# Of GPT-2's pre-tokeniser, as tiktoken_ext has it.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
loaded = {}


def bytes_of():
    """GPT-2's letters for bytes: letter → byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(byte): byte for byte in printable}, **{chr(256 + i): byte for i, byte in enumerate(others)}}


def with_tiktoken(folder):
    import tiktoken
    letters = bytes_of()
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    ranks = {bytes(letters[letter] for letter in token): rank for token, rank in vocabulary.items() if all(letter in letters for letter in token)}
    ranks.pop(b"<|endoftext|>", None)
    return tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={}).encode_ordinary


def with_tokenizers(folder):
    from tokenizers import ByteLevelBPETokenizer
    tokenizer = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))

    def encode(text):
        # In pieces: a text of megabytes at once takes it several times as long.
        pieces = text.splitlines(keepends=True)
        return [token for encoded in tokenizer.encode_batch(pieces) for token in encoded.ids]

    return encode


def load(folder, library):
    loaded["encode"] = {"tiktoken": with_tiktoken, "tokenizers": with_tokenizers}[library](pathlib.Path(folder))


def bench(file, rounds):
    text = pathlib.Path(file).read_text(encoding="utf-8")
    begin = time.perf_counter()
    for _ in range(rounds):
        tokens = len(loaded["encode"](text))
    return {"mb_per_second": len(text.encode()) * rounds / (time.perf_counter() - begin) / 1e6, "tokens": tokens}


answer_lines({"load": load, "bench": bench})
