"""Part 1: ids, and the text of ids, are those of `tokenizers`."""

import itertools
import json
import random
import shutil
import tempfile
from pathlib import Path

import tokenizers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from claims import Claim, Largest
from programs import ROOT, TextTool, run_engine
from samples import Strings, batches, real_data, real_texts, rows_of

PART = 1
SMALL = ROOT / "tests/golden/text/bpe"
MALFORMED = [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"]


class Pair:
    """Our tokeniser and the reference's, from the same folder."""

    def __init__(self, tool, folder, reference=None):
        self.tool = tool
        tool.ask("load", folder=str(folder))
        self.reference = reference or tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

    def compare_ids(self, gathered, texts, special=True):
        """Adds how many texts get other ids; ours."""
        self.reference.encode_special_tokens = not special
        ours = self.tool.ask("encode", texts=texts, parse_special=special)["ids"]
        gathered.count_unequal(ours, [encoding.ids for encoding in self.reference.encode_batch(texts)])
        return ours

    def decode(self, ids, skip_special=False):
        return self.tool.ask("decode", ids=ids, skip_special=skip_special)


def claims_of_strings(pair, name, short):
    ids, inverse = Largest(), Largest()
    count = 2500 if short else 200_000
    strings = Strings(seed=count)
    for texts in batches((strings.make() for _ in range(count)), 1000):
        pair.compare_ids(ids, texts, special=True)
        decoded = pair.decode(pair.compare_ids(ids, texts, special=False))
        for side in ("texts", "streamed"):
            inverse.count_unequal(decoded[side], texts)
    runs = ["a" * 30000, "ab" * 10000, " " * 9999 + "x", "é" * 5000, "日本語" * 3000, "!" * 4000 + "\n" * 4000, "1" * 5000]
    pair.compare_ids(ids, runs)
    return [ids.claim(PART, f"{name}: ids of generated strings, unequal", 0),
            inverse.claim(PART, f"{name}: decoding gives the text back, unequal", 0)]


def write_crossing(folder):
    """A tokenizer that merges "a", "1" and "!" with whatever byte follows in the same piece. Merges that were learned from pieces hardly
    ever cross from one class to another, so that with them no id tells a character's class."""
    file = json.loads((SMALL / "tokenizer.json").read_text())
    vocab = file["model"]["vocab"]
    merges = [[probe, byte] for probe in "a1!" for byte in bytes_to_unicode().values()]
    for merge in merges:
        vocab.setdefault("".join(merge), 1000 + len(vocab))
    file["model"]["merges"] = merges + [merge for merge in file["model"]["merges"] if merge not in merges]
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(file))
    return folder


def claim_of_code_points(tool, scratch, short):
    """Behind a letter, a number and a sign: whether its first byte merges tells a character's class."""
    pair = Pair(tool, write_crossing(scratch / "crossing"))
    told = {probe + char: len(pair.reference.encode(probe + char).ids) for probe in "a1!" for char in "é²—\u2003"}
    assert len(set(told.values())) > 1, told  # Else it would be blind again.
    dense_below, step = (0x3400, 257) if short else (0x110000, 1)
    code_points = itertools.chain(range(dense_below), range(dense_below, 0x110000, step))
    gathered, count = Largest(), 0
    characters = [chr(c) for c in code_points if not 0xD800 <= c <= 0xDFFF]
    for texts in batches((f"a{c}1{c}!{c}\n" for c in characters), 20_000):
        pair.compare_ids(gathered, texts)
        count += len(texts)
    return gathered.claim(PART, "class of a code point, by merges that would cross from one class to another, unequal", 0)


def claim_of_decoding(pair, name, short):
    count = 300 if short else 20_000
    rng, gathered = random.Random(count), Largest()
    size = pair.reference.get_vocab_size()
    rows = [[rng.randrange(size) for _ in range(rng.randint(1, 20))] for _ in range(count)]
    for skip in (False, True):
        expected = [pair.reference.decode(ids, skip_special_tokens=skip) for ids in rows]
        gathered.count_unequal(pair.decode(rows, skip)["texts"], expected)
    return gathered.claim(PART, f"{name}: text of random ids, with and without special tokens, unequal", 0)


def claims_of_real_data(pair, data, short):
    fixtures, published, texts = Largest(), Largest(), Largest()
    rows = rows_of(data / "gpt2_tokenizer/fixtures.jsonl")
    ids = pair.tool.ask("encode", texts=[row["text"] for row in rows], parse_special=False)["ids"]
    fixtures.count_unequal(ids, [row["ids"] for row in rows])
    novel = (data / "text/tinyshakespeare/input.txt").read_text()
    [ids] = pair.tool.ask("encode", texts=["<|endoftext|>" + novel.replace("\n\n", "\n\n<|endoftext|>")])["ids"]
    published.count_unequal([len(ids), ids[:17]], [338_028, [50256, 5962, 22307, 25, 198, 8421, 356, 5120, 597, 2252, 11, 3285, 502, 2740,
                                                             13, 628, 50256]])
    for batch in batches(real_texts(data, 40 if short else 1), 500):
        pair.compare_ids(texts, batch)
    return [fixtures.claim(PART, "GPT-2: ids of the fixtures (two independent encoders), unequal", 0),
            published.claim(PART, "GPT-2: tinyshakespeare's published number of tokens and first ids, unequal", 0),
            texts.claim(PART, "GPT-2: ids of the texts of the data sets and books, unequal", 0)]


def claim_of_files(tool, scratch, texts):
    """tokenizer.json alone, vocab.json with merges.txt alone, and added tokens."""
    gathered = Largest()
    whole = tokenizers.Tokenizer.from_file(str(SMALL / "tokenizer.json"))
    alone, pieces, added = (scratch / name for name in ("alone", "pieces", "added"))
    for folder in (alone, pieces, added):
        folder.mkdir()
    shutil.copy(SMALL / "tokenizer.json", alone)
    whole.model.save(str(pieces))
    (pieces / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    more = tokenizers.Tokenizer.from_file(str(SMALL / "tokenizer.json"))
    more.add_tokens(["two words", "<x>", "th"])
    more.add_special_tokens(["<|sep|>"])
    more.save(str(added / "tokenizer.json"))
    texts = texts + ["two words<x>the <|sep|> th<|endoftext|>", "<|sep|>", "two  words <x"]
    for folder, reference in ((alone, whole), (pieces, whole), (added, more)):
        pair = Pair(tool, folder, reference)
        for special in (True, False):
            pair.compare_ids(gathered, texts, special)
    return gathered.claim(PART, "tokenizer.json alone, vocab.json with merges.txt, added tokens: ids, unequal", 0)


def claim_of_malformed(scratch):
    """A data set with malformed UTF-8 is refused with the line."""
    refused = 0
    for index, wrong in enumerate(MALFORMED):
        data = scratch / f"malformed-{index}.jsonl"
        good = b'{"document": "a b c", "summary": "a"}\n'
        data.write_bytes(good * (index + 1) + b'{"document": "a ' + wrong + b' c", "summary": "a"}\n' + good)
        spec = scratch / "malformed.json"
        spec.write_text(json.dumps({"fine_tune": {"base_model": str(ROOT / "tools/demo_assets/model"), "method": {"lora": {}},
                                                  "data": {"train": str(data)}}}))
        done = run_engine("run", "--spec", spec, "--out", scratch / f"malformed-{index}", check=False)
        refused += done.returncode == 1 and f"{data.name}: line {index + 2}: invalid UTF-8" in done.stderr
    return Claim(PART, "data with malformed UTF-8 that is not refused with its line", len(MALFORMED) - refused, 0, len(MALFORMED))


def claims(short):
    data = real_data(short)
    with tempfile.TemporaryDirectory() as folder, TextTool() as tool:
        scratch = Path(folder)
        strings = Strings(seed=1)
        measured = [claim_of_files(tool, scratch, [strings.make() for _ in range(500)]), claim_of_malformed(scratch),
                    claim_of_code_points(tool, scratch, short)]
        vocabularies = {"a small vocabulary": SMALL}
        if data is not None:
            vocabularies["GPT-2"] = data / "models/hf_tiny_gpt2"  # tokenizer.json of the real one
        for name, files in vocabularies.items():
            pair = Pair(tool, files)
            measured += claims_of_strings(pair, name, short)
            measured.append(claim_of_decoding(pair, name, short))
        return measured + (claims_of_real_data(pair, data, short) if data is not None else [])
