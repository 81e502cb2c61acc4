"""Writes GPT-2 small of random weights as Hugging Face has it, without dropout, into the folder named: needs torch and safetensors."""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

LAYERS, WIDTH, VOCABULARY, POSITIONS = 12, 768, 50257, 1024


def tensors():
    torch.manual_seed(1)
    yield "wte.weight", (VOCABULARY, WIDTH)
    yield "wpe.weight", (POSITIONS, WIDTH)
    for layer in range(LAYERS):
        for part, inner, outer in (("attn.c_attn", 1, 3), ("attn.c_proj", 1, 1), ("mlp.c_fc", 1, 4), ("mlp.c_proj", 4, 1)):
            yield f"h.{layer}.{part}.weight", (inner * WIDTH, outer * WIDTH)
            yield f"h.{layer}.{part}.bias", (outer * WIDTH,)
        for norm in ("ln_1", "ln_2"):
            yield f"h.{layer}.{norm}.weight", (WIDTH,)
            yield f"h.{layer}.{norm}.bias", (WIDTH,)
    yield "ln_f.weight", (WIDTH,)
    yield "ln_f.bias", (WIDTH,)


def value(name, shape):
    if len(shape) == 2:
        return torch.empty(shape).normal_(0, 0.02)
    return torch.ones(shape) if "ln_" in name and name.endswith("weight") else torch.zeros(shape)


folder = pathlib.Path(sys.argv[1])
save_file({f"transformer.{name}": value(name, shape) for name, shape in tensors()}, folder / "model.safetensors", metadata={"format": "pt"})
(folder / "config.json").write_text(json.dumps({
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", "vocab_size": VOCABULARY,
    "n_positions": POSITIONS, "n_ctx": POSITIONS, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 12, "layer_norm_epsilon": 1e-5,
    "initializer_range": 0.02, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "bos_token_id": 50256, "eos_token_id": 50256,
    "tie_word_embeddings": True, "torch_dtype": "float32"}, indent=2) + "\n")
