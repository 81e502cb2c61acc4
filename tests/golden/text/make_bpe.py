#!/usr/bin/env python3
"""Makes the golden data of tests/common/text/bpe_test.cc with the `tokenizers` library.

Writes bpe/tokenizer.json (a small byte-level BPE, trained on the licence text and a few lines in other scripts) and
bpe/cases.json (texts with their ids, ids with their text).

    pip install tokenizers && tests/golden/text/make_bpe.py
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]

OTHER_SCRIPTS = [
    "Größere Übungen für Schüler; ça va très bien, merci.",
    "Съешь же ещё этих мягких французских булок.",
    "日本語のテキストと漢字。한국어 문장입니다.",
    "नमस्ते दुनिया, यह एक वाक्य है।",
    "I'll say it's what they're after, we've seen; he'd go, I'm in, don't!",
]

PIECES = [
    "the", "The", " License", " and", "conditions", "  ", " ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\u0085",
    "'s", "'t", "'ll", "'re", "'ve", "'m", "'d", "'S", "'", "''", "1", "23", "456 789", "²", "Ⅷ", "٣", "!", "?!", "...", "-",
    "é", "e\u0301", "ß", "я", "日本", "語", "👩\u200d👩\u200d👧", "🇩🇪", "\u200b", "\x00", "\x1f", "\x7f", "\ufeff", "\U0010ffff",
    "<|endoftext|>", "<|endof", "<note>", "<notes>", " <keep>", "<keep> ", "_", "a", "b", "Z",
]


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>"])
    licence = (ROOT / "LICENSE").read_text().splitlines(keepends=True)
    tokenizer.train_from_iterator(licence + OTHER_SCRIPTS * 3, trainer)
    tokenizer.add_tokens([
        AddedToken("<note>", normalized=True), AddedToken("<notes>", normalized=False),
        AddedToken("<keep>", lstrip=True, rstrip=True),
    ])
    return tokenizer


def main():
    folder = HERE / "bpe"
    tokenizer = train()
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n")

    rng = random.Random(7)
    texts = ["", " ", "a", "".join(PIECES)] + OTHER_SCRIPTS
    texts += ["".join(rng.choices(PIECES, k=rng.randint(2, 12))) for _ in range(250)]
    texts += ["ab" * 300, " " * 100 + "x", "é" * 99]
    cases = []
    for text in texts:
        tokenizer.encode_special_tokens = False
        ids = tokenizer.encode(text).ids
        tokenizer.encode_special_tokens = True
        plain_ids = tokenizer.encode(text).ids
        cases.append({"text": text, "ids": ids, "plain_ids": plain_ids})
    size = tokenizer.get_vocab_size()
    decoded = []
    for _ in range(60):
        ids = [rng.randrange(size) for _ in range(rng.randint(1, 10))]
        decoded.append({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False),
                        "without_special": tokenizer.decode(ids, skip_special_tokens=True)})
    with open(folder / "cases.json", "w") as file:
        json.dump({"encode": cases, "decode": decoded}, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
