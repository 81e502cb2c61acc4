"""Texts to compare on: random Unicode, made-up words, and the real data where it is at hand."""

import itertools
import json
import random
import re
import unicodedata

from claims import Unavailable
from programs import shared_data


def real_data(short):
    """The folder of the real data; None where a short run has to do without it."""
    folder = shared_data()
    if folder.exists():
        return folder
    if short:
        return None
    raise Unavailable(f"{folder} is not there (GRAFT_SHARED_DATA)")


def rows_of(path):
    with open(path, encoding="utf-8") as file:  # not splitlines(), which also splits at U+2028
        return [json.loads(line) for line in file]


def batches(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


class Strings:
    """Random valid Unicode: every category, runs, contractions, white space of all kinds, special tokens, emoji."""

    PIECES = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'", "''", " ", "  ", "\n", "\n\n", "\r\n", "\t", "\u00a0",
              "\u2003", "\u3000", "\u0085", "\u200b", "\u180e", "\x00", "\x1c", "\x1f", "\x7f", "\ufeff", "\ufffd", "<|endoftext|>",
              "<|endoftext", "👩\u200d👩\u200d👧", "🇩🇪🇫🇷", "👍🏽", "e\u0301", "the", " The", "ing", "2024", "٣", "²", "Ⅷ", "日本語", "ไทย", "हिन्दी"]

    def __init__(self, seed):
        self.random = random.Random(seed)
        by_category = {}
        for code_point in range(0x110000):
            if not 0xD800 <= code_point <= 0xDFFF:
                by_category.setdefault(unicodedata.category(chr(code_point)), []).append(code_point)
        self.categories = list(by_category.values())

    def piece(self):
        kind = self.random.random()
        if kind < 0.35:
            return chr(self.random.randrange(32, 127))
        if kind < 0.6:
            return self.random.choice(self.PIECES)
        char = chr(self.random.choice(self.random.choice(self.categories)))
        return char * self.random.choice([1, 1, 1, 1, 2, 3, 40])

    def make(self):
        return "".join(self.piece() for _ in range(self.random.choice([1, 2, 3, 8, 20])))


def real_texts(data, every):
    """Pieces of novels and the like, and the texts of every `every`th row."""
    for path in sorted(data.glob("text/*/*.txt")):
        text = path.read_bytes().decode(errors="replace")
        for lines in batches(text.splitlines(keepends=True), 200 * every):
            yield "".join(lines[:200])
    for path in sorted(data.glob("*/*.jsonl")):
        for row in rows_of(path)[::every]:
            for name in ("document", "summary", "title", "text", "topic", "references", "hyp", "ref"):
                value = row.get(name, [])
                yield from [value] if isinstance(value, str) else value


def words_of(paths):
    words = set()
    for path in paths:
        words.update(re.findall("[a-z0-9]+", path.read_text(errors="replace").lower()))
    return words


def made_up_words(count):
    rng = random.Random(count)
    suffixes = ("s es ies sses ed eed ied ing at bl iz y ational tional enci anci izer bli alli entli eli ousli ization ation ator "
                "alism iveness fulness ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er "
                "ic able ible ant ement ment ent ion sion tion ou ism ate iti ous ive ize e ll").split()
    return {"".join(rng.choices("aeiouybcdlstwxz1", k=rng.randint(0, 6)) + rng.choices(suffixes, k=rng.randint(0, 3)))
            for _ in range(count)}
