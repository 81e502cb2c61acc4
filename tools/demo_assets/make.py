#!/usr/bin/env python3
"""Makes the demo's data set, its tokenizer, its base model with random weights and the text that the model is pre-trained on.

    make.py data                      data/{train,valid,test}.jsonl: articles, highlights and the facts they name
    make.py model --out DIR           DIR/{config.json,model.safetensors,vocab.json,merges.txt}, random weights
    make.py corpus --model DIR --out FILE [--windows N] [--seed N]
                                      JSON lines with one field, text: each fills one block of the model's context exactly
    make.py publish --from DIR        rounds DIR's trained weights to F16 and puts them into model/

`data` needs the standard library only, `corpus` tokenizers too, `model` torch and transformers, `publish` numpy and safetensors. Everything
follows from the seeds below. docs/demo-assets.md tells the whole way, with times.
"""

import argparse
import json
import pathlib
import random

import stories

HERE = pathlib.Path(__file__).resolve().parent
DATA_SEED, CORPUS_SEED, MODEL_SEED = 20240501, 7, 11
ROWS = {"train": 600, "valid": 80, "test": 120}

VOCABULARY, CONTEXT, WIDTH, LAYERS, HEADS = 2048, 256, 128, 4, 4
END = "<|endoftext|>"
KINDS = ("place", "person", "number", "organisation", "day")


def choose_facts(rng):
    return {
        "place": rng.choice(stories.PLACES),
        "person": rng.choice(stories.FIRST_NAMES) + " " + rng.choice(stories.LAST_NAMES),
        "number": rng.choice(stories.NUMBERS),
        "organisation": rng.choice(stories.ORG_NAMES) + " " + rng.choice(stories.ORG_KINDS),
        "day": rng.choice(stories.DAYS),
    }


class Story:
    """One event with its facts; tells it as an article in many ways and as highlights in one."""

    def __init__(self, rng):
        self.kind = rng.choice(stories.STORIES)
        self.facts = choose_facts(rng)
        self.role = rng.choice(self.kind["roles"])
        self.reasons, self.reason = rng.choice(self.kind["reasons"])
        self.views, self.view = rng.choice(self.kind["views"])

    def fill(self, sentence, who):
        facts = self.facts
        text = sentence.format(place=facts["place"], org=facts["organisation"], n=facts["number"], day=facts["day"], who=who,
                               reason=self.reason, view=self.view)
        return text[0].upper() + text[1:]

    def full_name(self):
        return self.role + " " + self.facts["person"]

    def summary(self):
        return "\n".join(self.fill(line, self.full_name()) for line in self.kind["summary"])

    def order(self, rng):
        """Sentences in an order that reads well: the event among the first three, a repeated fact after the sentence that brings it in."""
        kind = self.kind
        cores = {"place": rng.choice(kind["event"]), "n": rng.choice(kind["number"]), "org": rng.choice(kind["org"]),
                 "who": rng.choice(self.views), "reason": rng.choice(self.reasons)}
        rest = [("who", cores["who"]), ("n", cores["n"]), ("org", cores["org"]), ("reason", cores["reason"])]
        rest += [("", s) for s in rng.sample(kind["fillers"], 1) + rng.sample(stories.FILLERS, rng.choice((0, 0, 1)))]
        rng.shuffle(rest)
        rest.insert(rng.choice((0, 0, 0, 1, 2)), ("place", cores["place"]))
        for fact in rng.sample(["place", "day", "org", "who"], 4) + rng.sample(["n", "place", "who"], rng.choice((0, 1))):
            names = [s for s in stories.MENTIONS[fact] if s not in [sentence for _, sentence in rest]]
            after = next(i for i, (core, _) in enumerate(rest) if core == ("place" if fact == "day" else fact))
            rest.insert(rng.randint(after + 1, len(rest)), ("", rng.choice(names)))
        return [sentence for _, sentence in rest]

    def article(self, rng):
        told, known = [], False
        for sentence in self.order(rng):
            who = self.full_name()
            if known:
                who = rng.choice((self.facts["person"], self.facts["person"].split()[1]))
            known = known or "{who}" in sentence
            told.append(self.fill(sentence, who))
        return " ".join(told)


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def make_data(directory):
    rng, seen = random.Random(DATA_SEED), set()
    for split, count in ROWS.items():
        rows = []
        while len(rows) < count:
            story = Story(rng)
            document = story.article(rng)
            facts = tuple(story.facts.values())
            if facts in seen:
                continue
            seen.add(facts)
            rows.append({"id": f"{split}-{len(rows)}", "document": document, "summary": story.summary(), "facts": story.facts})
        write_lines(directory / f"{split}.jsonl", rows)


# --- the text of the pre-training ---------------------------------------------------------------------------------------------------

LABELS = {
    "place": ("Place", "Where", "Town"),
    "person": ("Who", "Person", "Name"),
    "number": ("Number", "Figure", "Count"),
    "organisation": ("Group", "Organisation", "Body"),
    "day": ("Day", "When", "Date"),
}


def questions(story, rng, kinds=KINDS):
    """One line a fact, under one of its labels, in random order."""
    lines = [f"{rng.choice(LABELS[kind])}: {story.facts[kind]}" for kind in kinds]
    lines += [f"Why: {story.reason}", f"View: {story.view}", f"Role: {story.role}"] if rng.random() < 0.5 else []
    rng.shuffle(lines)
    return lines


def aside(story, rng):
    """Small talk under a label that was never seen: what the model expects of an unknown label, the task's prompt among them."""
    label = "".join(rng.choice("ABCEFGHIJKMNOPQSUVWXYZ") for _ in range(rng.randint(2, 5)))
    if rng.random() < 0.5:
        at = rng.randint(1, len(label) - 1)
        label = label[:at] + rng.choice(";/.-") + label[at:]
    said = rng.sample(stories.FILLERS, rng.randint(4, 6)) + list(story.kind["fillers"])
    rng.shuffle(said)
    return label + ": " + " ".join(said)


def word_list(rng, count):
    """Common words in a random order, told again and again: what came after a word the last time comes again."""
    words = rng.sample(COMMON, rng.randint(4, 12))
    return "List: " + ", ".join((words * count)[:count])


COMMON = """river road house water night train field garden window paper money music market winter summer morning evening children worker family
letter school street bread glass stone forest mountain island bottle table kitchen doctor teacher farmer singer horse sheep apple flower""".split()


def filled(parts, story, rng):
    """The parts and then questions, more than fit into a window."""
    while sum(map(len, parts)) < 6 * CONTEXT:
        parts = parts + questions(story, rng)
    return "\n".join(parts)


def told_window(rng):
    """An article and then its facts and highlights, again and again until the window is full."""
    story = Story(rng)
    parts = [story.article(rng)]
    brief = "In brief: " + story.summary()
    place = rng.random()
    if place < 0.3:
        parts += [aside(story, rng) for _ in range(4)]
    elif place < 0.75:
        parts += [brief] + questions(story, rng)
    else:
        parts += questions(story, rng, rng.sample(KINDS, rng.randint(2, 5))) + [brief]
    return filled(parts, story, rng)


def retold_window(rng):
    """Two articles about the same story."""
    story = Story(rng)
    parts = [story.article(rng)] + questions(story, rng, rng.sample(KINDS, 3)) + ["Another report: " + story.article(rng)]
    return filled(parts, story, rng)


def drill_window(rng):
    """Facts alone, asked for again and again."""
    return filled([], Story(rng), rng)


def ended_window(rng, tokenizer, context):
    """An article with its highlights that ends, and a word list that fills the window before or after it."""
    story = Story(rng)
    told = story.article(rng) + "\nIn brief: " + story.summary()
    left = context - 2 - len(tokenizer.encode(told).ids)
    listed = cut(tokenizer, word_list(rng, 150), left)
    if listed is None:
        return None
    rows = [told, listed]
    rng.shuffle(rows)
    return rows


def cut(tokenizer, text, count):
    """The beginning of text that is exactly count tokens, or None if the cut would change them."""
    ids = tokenizer.encode(text).ids
    if len(ids) < count or count < 8:
        return None
    part = tokenizer.decode(ids[:count])
    return part if tokenizer.encode(part).ids == ids[:count] else None


def make_windows(tokenizer, count, seed, context=CONTEXT):
    """Yields rows, one or two a window: joined by the end token they fill the model's blocks exactly, so that no block mixes two stories."""
    rng = random.Random(seed)
    done = 0
    while done < count:
        kind = rng.random()
        if kind < 0.2:
            rows = ended_window(rng, tokenizer, context)
        else:
            make = told_window if kind < 0.68 else retold_window if kind < 0.82 else drill_window
            text = cut(tokenizer, make(rng), context - 1)
            rows = None if text is None else [text]
        if rows is None:
            continue
        done += 1
        yield rows


# --- tokenizer and model ------------------------------------------------------------------------------------------------------------


def sample_text(count=6000):
    """What the vocabulary is made from: articles, sections, and every name often enough to become one token."""
    rng = random.Random(CORPUS_SEED)
    for _ in range(count):
        story = Story(rng)
        yield story.article(rng) + "\nIn brief: " + story.summary() + "\n" + "\n".join(questions(story, rng))
    names = stories.PLACES + stories.FIRST_NAMES + stories.LAST_NAMES + stories.ORG_NAMES + stories.ORG_KINDS + stories.DAYS + stories.NUMBERS
    for _ in range(count // 10):
        yield " " + " ".join(names)


def train_tokenizer(directory):
    from tokenizers import ByteLevelBPETokenizer
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(sample_text(), vocab_size=VOCABULARY - 1, min_frequency=2, show_progress=False)
    tokenizer.save_model(str(directory))
    path = directory / "vocab.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    vocabulary[END] = len(vocabulary)  # The last id, as GPT-2's own.
    assert len(vocabulary) == VOCABULARY, len(vocabulary)
    path.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")


def load_tokenizer(directory):
    from tokenizers import ByteLevelBPETokenizer
    tokenizer = ByteLevelBPETokenizer(str(directory / "vocab.json"), str(directory / "merges.txt"))
    tokenizer.add_special_tokens([END])
    return tokenizer


def make_model(directory):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    directory.mkdir(parents=True, exist_ok=True)
    train_tokenizer(directory)
    torch.manual_seed(MODEL_SEED)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, bos_token_id=VOCABULARY - 1,
                        eos_token_id=VOCABULARY - 1, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        ready_to_copy(model.transformer)
    model.save_pretrained(directory)


def ready_to_copy(trunk):
    """Random weights from which a narrow model learns to copy names within a few hundred steps instead of after many thousand.

    GPT-2's standard deviation of 0.02 is made for widths of 768 and more; here token embeddings get 1/sqrt(width), so that a name can win by
    its embedding alone. The products W_V W_O begin as multiples of the identity and W_Q W_K as random projections with positive sign, as in
    mimetic initialisation (Trockman and Kolter 2023): what is attended to is passed on as it is, and like attends to like.
    """
    import torch
    gain, head = 0.7, WIDTH // HEADS
    trunk.wte.weight.normal_(0, WIDTH**-0.5)
    for block in trunk.h:
        block.mlp.c_fc.weight.normal_(0, 0.04)
        block.mlp.c_proj.weight.normal_(0, 0.04 / (2 * LAYERS) ** 0.5)
        turned, _ = torch.linalg.qr(torch.randn(WIDTH, WIDTH))
        weight = block.attn.c_attn.weight
        weight[:, 2 * WIDTH:] = gain * turned
        block.attn.c_proj.weight.copy_(gain * turned.T)
        for begin in range(0, WIDTH, head):
            both = torch.randn(WIDTH, head) * gain * WIDTH**-0.5
            weight[:, begin:begin + head] = both
            weight[:, WIDTH + begin:WIDTH + begin + head] = both


def publish(source):
    """Copies the trained model into model/ with its weights rounded to F16."""
    import numpy
    from safetensors.numpy import load_file, save_file
    target = HERE / "model"
    target.mkdir(exist_ok=True)
    weights = {name: tensor.astype(numpy.float16) for name, tensor in load_file(source / "model.safetensors").items()}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "vocab.json", "merges.txt"):  # config.json says float32: F16 is how they are stored, not computed with.
        (target / name).write_bytes((source / name).read_bytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("data").add_argument("--out", type=pathlib.Path, default=HERE / "data")
    verbs.add_parser("model").add_argument("--out", type=pathlib.Path, required=True)
    verbs.add_parser("publish").add_argument("--from", dest="source", type=pathlib.Path, required=True)
    corpus = verbs.add_parser("corpus")
    corpus.add_argument("--model", type=pathlib.Path, default=HERE / "model")
    corpus.add_argument("--out", type=pathlib.Path, required=True)
    corpus.add_argument("--windows", type=int, default=8800)
    corpus.add_argument("--seed", type=int, default=CORPUS_SEED)
    args = parser.parse_args()
    if args.verb == "data":
        make_data(args.out)
    elif args.verb == "model":
        make_model(args.out)
    elif args.verb == "publish":
        publish(args.source)
    else:
        windows = make_windows(load_tokenizer(args.model), args.windows, args.seed)
        write_lines(args.out, ({"text": text} for rows in windows for text in rows))


if __name__ == "__main__":
    main()
