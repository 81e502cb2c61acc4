"""The base model and the data that all programs are given. What takes long is made once, in the cache."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

from flops import GPT2_SMALL, Shape

ROOT = pathlib.Path(__file__).resolve().parents[1]
ASSETS = ROOT / "tools/demo_assets"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "graft/bench"
VERSION = 1  # Of what is made here.


def shared_data():
    """The folder of the real data, which need not be there."""
    return pathlib.Path(os.environ.get("GRAFT_SHARED_DATA", ROOT.parent / "shared" / "data"))


def read_rows(path):
    with open(path, encoding="utf-8") as file:  # not splitlines(), which also splits at U+2028
        return [json.loads(line) for line in file]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Inputs:
    """`tiny`: the bundled model and short texts, to try the script. `packed`: the folder of what make_pack left. `base`: a model's folder, instead
    of the one of random weights."""

    def __init__(self, scratch, tiny=False, packed=None, base=None):
        self.scratch, self.tiny, self.packed, self._given = scratch, tiny, packed, base
        self.real = not tiny and shared_data().is_dir()
        self.told = set()  # Of what a part has asked for, what its figures must come with.
        if tiny:
            self.shape, self.source, self.target = Shape(layers=4, width=128, vocabulary=2048, positions=256), 72, 24
        else:
            self.shape, self.source, self.target = GPT2_SMALL, 448, 64

    def base(self):
        """A model's folder, without dropout."""
        if self.tiny:
            self._tell_tiny()
            return ASSETS / "model"
        if self._given:
            self.told.add(f"GPT-2 small, the weights of {self._given.name}.")
            return self._given
        self.told.add("GPT-2 small's shape, random weights: the real ones are not here.")
        folder = CACHE / f"gpt2-small-random-{VERSION}-{'real' if self.real else 'demo'}-vocabulary"
        if not folder.exists():
            making = folder.with_name(f"{folder.name}.{os.getpid()}")
            making.mkdir(parents=True)
            subprocess.run([sys.executable, pathlib.Path(__file__).with_name("peers") / "make_base.py", making], check=True)
            for name in ("vocab.json", "merges.txt"):
                shutil.copy((shared_data() / "gpt2_tokenizer" if self.real else ASSETS / "model") / name, making / name)
            making.rename(folder)
        return folder

    def _tell_tiny(self):
        self.told.add("The bundled tiny model and its texts: these figures try the script and say nothing.")

    def _tell_text(self, real):
        if self.tiny:
            return self._tell_tiny()
        self.told.add("Articles of CNN/DailyMail, the real vocabulary." if real else "Made-up news of tools/demo_assets: the real data are not here.")

    def articles(self):
        """Rows of {document, summary}, in an order without meaning, each document longer than an example takes."""
        self._tell_text(self.real)
        if self.real:
            rows = read_rows(shared_data() / "cnn_dailymail/valid.jsonl")
            return [row for row in rows if len(row["document"]) > 6 * self.source]
        rows = read_rows(ASSETS / "data/train.jsonl")
        joined = 1 if self.tiny else 8
        texts = [{name: " ".join(row[name] for row in rows[i:i + joined]) for name in ("document", "summary")} for i in range(len(rows) - joined)]
        random.Random(VERSION).shuffle(texts)
        return texts

    def short_articles(self):
        """Rows as they come."""
        if not self.real:
            return self.articles()[:64 if self.tiny else 600]
        self._tell_text(self.real)
        return read_rows(shared_data() / "cnn_dailymail/train.jsonl")[:1000]

    def articles_file(self, name, count, skip=0):
        rows = self.articles()
        while len(rows) < count + skip:
            rows += rows
        return write_rows(self.scratch / f"{name}.jsonl", rows[skip:skip + count])

    def tokenizer(self):
        from tokenizers import ByteLevelBPETokenizer
        return ByteLevelBPETokenizer(str(self.base() / "vocab.json"), str(self.base() / "merges.txt"))

    def _packed_rows(self):
        return self.packed and not self.tiny and (self.packed / "rows.json").is_file()

    def token_rows(self, count):
        """(ids, prompt tokens) of examples as docs/TRAINING.md has them: of those that fill it, again and again, where there are some."""
        if self._packed_rows():
            packed = json.loads((self.packed / "rows.json").read_text())
            self._tell_text(packed["real"])
            rows = packed["rows"]
        else:
            rows = self._tokenised()
        while len(rows) < count:
            rows = rows + rows
        return rows[:count]

    def _tokenised(self):
        tokenizer = self.tokenizer()
        suffix, end = tokenizer.encode("\nTL;DR:").ids, tokenizer.token_to_id("<|endoftext|>")
        rows = []
        for article in self.articles():
            prompt = tokenizer.encode(article["document"]).ids[:self.source - len(suffix)] + suffix
            target = tokenizer.encode(" " + article["summary"]).ids[:self.target - 1] + [end]
            rows.append((prompt + target, len(prompt)))
        whole = [row for row in rows if len(row[0]) == self.source + self.target]
        return whole if len(whole) >= 16 else rows

    def prompts(self, count, tokens):
        """Prompts of `tokens` ids each."""
        return [ids[:tokens] for ids, _ in self.token_rows(count)]

    def make_pack(self, folder):
        """What a machine without tokenizers, and without the real data, needs."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rows.json").write_text(json.dumps({"real": self.real, "rows": self._tokenised()[:64]}))
