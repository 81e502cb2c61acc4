"""A GPT-2 of 12,000 parameters whose tokens are bytes: a job on it takes a second."""

import json
import random
import struct


def tensor_file(path, tensors):
    """A safetensors file of F32 tensors: {name: (shape, values)}."""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        piece = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_model(folder, width=16, layers=2, heads=2, positions=64, finite=None):
    """A GPT-2 whose tokens are bytes. From position `finite` on a text is beyond what fp32 holds, though every weight is finite."""
    folder.mkdir(parents=True)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {byte: chr(byte) for byte in printable}
    alphabet |= {byte: chr(256 + place) for place, byte in enumerate(byte for byte in range(256) if byte not in alphabet)}
    vocabulary = {alphabet[byte]: byte for byte in range(256)} | {"<|endoftext|>": 256}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 257, "n_positions": positions, "n_embd": width,
              "n_layer": layers, "n_head": heads, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "embd_pdrop": 0.0,
              "attn_pdrop": 0.0, "resid_pdrop": 0.0, "bos_token_id": 256, "eos_token_id": 256}
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    source, tensors = random.Random(7), {}

    def add(name, *shape, ones=False):
        count = 1
        for size in shape:
            count *= size
        tensors[name] = (list(shape), [1.0] * count if ones else [source.gauss(0, 0.08) for _ in range(count)])

    add("wte.weight", 257, width)
    add("wpe.weight", positions, width)
    for place in range(width * positions if finite is None else width * finite, width * positions):
        tensors["wpe.weight"][1][place] = 3e38 if place % 2 else -3e38
    for layer in range(layers):
        for norm in ("ln_1", "ln_2"):
            add(f"h.{layer}.{norm}.weight", width, ones=True)
            add(f"h.{layer}.{norm}.bias", width)
        for name, size_in, size_out in (("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width), ("mlp.c_fc", width, 4 * width),
                                        ("mlp.c_proj", 4 * width, width)):
            add(f"h.{layer}.{name}.weight", size_in, size_out)
            add(f"h.{layer}.{name}.bias", size_out)
    add("ln_f.weight", width, ones=True)
    add("ln_f.bias", width)
    tensor_file(folder / "model.safetensors", tensors)
