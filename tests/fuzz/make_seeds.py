#!/usr/bin/env python3
"""Makes the corpora that the fuzz targets begin from, out of the golden files and a few lines written here.

  make_seeds.py FOLDER

FOLDER/TARGET/NAME is one input. An input that stands for several files has a line ===== between them (tests/fuzz/fuzz.h).
"""

import json
import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden"
END = b"\n=====\n"
TEXT = "The cat's naïve 漢字 \U0001f600 sat\r\n  on  10,000 mats.<|endoftext|>".encode()


def tensors(entries, data=b"", metadata=None):
    header = {**({"__metadata__": metadata} if metadata else {}), **entries}
    text = json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def tiny_config(**changes):
    return json.dumps({"model_type": "gpt2", "vocab_size": 3, "n_positions": 4, "n_embd": 2, "n_layer": 1, "n_head": 1, **changes}).encode()


def tiny_shapes():
    width, inner = 2, 8
    shapes = {"wte.weight": [3, width], "wpe.weight": [4, width], "ln_f.weight": [width], "ln_f.bias": [width]}
    block = {"ln_1": [width], "ln_2": [width], "attn.c_attn": [width, 3 * width], "attn.c_proj": [width, width], "mlp.c_fc": [width, inner],
             "mlp.c_proj": [inner, width]}
    for name, shape in block.items():
        shapes[f"h.0.{name}.weight"], shapes[f"h.0.{name}.bias"] = shape, shape[-1:]
    return shapes


def tiny_weights(prefix="transformer.", dtype="F32", size=4):
    entries, begin = {}, 0
    for name, shape in tiny_shapes().items():
        count = size
        for dimension in shape:
            count *= dimension
        entries[prefix + name] = entry(dtype, shape, begin, begin + count)
        begin += count
    return tensors(entries, bytes(begin), {"format": "pt"})


def safetensors_seeds():
    yield from (path.read_bytes() for path in sorted(GOLDEN.glob("engine/adapters/soft_prompt/*.safetensors")))
    yield tensors({})
    yield tensors({"a": entry("F32", [2, 1], 0, 8), "b": entry("BF16", [], 8, 10), "c": entry("U8", [0], 10, 10)}, bytes(10), {"format": "pt"})
    yield tiny_weights()


def model_folder_seeds():
    names = json.dumps({"metadata": {"total_size": 1}, "weight_map": {f"transformer.{name}": "model-1.safetensors" for name in tiny_shapes()}}).encode()
    yield END.join([tiny_config(), b"", tiny_weights()])
    yield END.join([tiny_config(tie_word_embeddings=False, bos_token_id=0), b"", tiny_weights("", "F16", 2)])
    yield END.join([tiny_config(), names, tiny_weights()])
    yield (GOLDEN / "engine/model/config.json").read_bytes()


def tokenizer_json_seeds():
    yield (GOLDEN / "text/bpe/tokenizer.json").read_bytes() + END + TEXT
    file = json.loads((GOLDEN / "text/bpe/tokenizer.json").read_text(encoding="utf-8"))
    few = {token: index for token, index in file["model"]["vocab"].items() if index < 300}
    file["model"] = {**file["model"], "vocab": few, "merges": [merge for merge in file["model"]["merges"]
                                                                 if "".join(merge if isinstance(merge, list) else merge.split(" ")) in few]}
    yield json.dumps(file, ensure_ascii=False).encode() + END + TEXT


def vocab_merges_seeds():
    file = json.loads((GOLDEN / "text/bpe/tokenizer.json").read_text(encoding="utf-8"))
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in file["model"]["merges"]]
    vocabulary = json.dumps(file["model"]["vocab"], ensure_ascii=False).encode()
    yield END.join([vocabulary, "\n".join(["#version: 0.2", *merges]).encode(), b"", b"", TEXT])
    yield END.join([vocabulary, "\n".join(merges[:4]).encode(), b'{"eos_token": "<|endoftext|>", "added_tokens_decoder": {"600": {"content": "<x>", "lstrip": true}}}',
                    b'{"<y>": 601}', TEXT + b"<x> <y>"])


def data_rows_seeds():
    yield b'{"document": "A \\u00e9 b", "summary": "c", "id": 7}\n{"document": "", "summary": ["d", "e"]}\r\n{"text": "x"}\n'
    yield b'\xef\xbb\xbf{"text": "a\\ud83d\\ude00", "n": [1, -2.5e3, NaN, {"x": null}]}\n\n'
    yield b'document,summary,id\n"a, ""quoted""\nline",b,1\r\nc,,\n'
    yield b'text\nplain\n""\n'
    yield b'\xef\xbb\xbfIt rains, it "pours.\r\n \n\n{{x}} \xe2\x80\xa8 y'


def job_filter_seeds():
    yield from (b'state=RUNNING AND labels.team = "a \\"b\\" \\\\"', b"done=true", b'study="x" AND method=lora AND base_model=gpt2', b"create_time desc",
                b"priority desc", b'job="jobs/abc"')


def rouge_seeds():
    yield END.join([b"The cat sat on the mat.\nIt slept.", b"A cat was sitting on mats. \"It\" slept!"])
    yield END.join(["Ünïcödé İstanbul ﬁne Σίσυφος".encode(), b"relational conditional rationally hopefulness U.S. Mr. Smith 3.5"])


def delimited_stream_seeds():
    yield b"\x00\x05hello\x02\x08\x01"
    yield b"\x07" + b"\x0a\x05job-1" + b"\x80\x80\x01" + bytes(64)
    yield b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"


def main():
    folder = pathlib.Path(sys.argv[1])
    makers = {name.removesuffix("_seeds"): maker for name, maker in globals().items() if name.endswith("_seeds")}
    makers["peft_config"] = lambda: (path.read_bytes() for path in sorted(GOLDEN.rglob("adapter_config.json")))
    for target, maker in makers.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for index, content in enumerate(maker()):
            (folder / target / f"seed-{index}").write_bytes(content)


if __name__ == "__main__":
    main()
