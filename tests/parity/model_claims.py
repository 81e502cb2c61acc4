"""Part 2: logits, hidden states after every block and gradients are transformers', whatever the shape and the way the file is written."""

import gc
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from claims import Largest
from programs import TrainTool
from reference import NO_DROPOUT, collate, loss_from_logits, make_base, trained_tensors, without_key_bias
from samples import real_data
from training_claims import mixed_rows, relative

PART = 2
VALUES, GRADIENTS, EXACT = 1e-5, 1e-5, 1e-10  # Values as a share of max(1, largest)
SMALL_SHAPES = {
    "3 layers, 4 heads, 32 wide": {},
    "1 layer, 1 head, 16 wide": {"n_layer": 1, "n_head": 1, "n_embd": 16},
    "5 layers, 3 heads, 48 wide, inner 100": {"n_layer": 5, "n_head": 3, "n_embd": 48, "n_inner": 100},
    "vocabulary 50,257": {"vocab_size": 50257},
    "LayerNorm epsilon 1e-3": {"layer_norm_epsilon": 1e-3},
}
LARGE_SHAPES = {
    "GPT-2 small (124M)": {},
    "GPT-2 medium (355M)": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "GPT-2 large (774M)": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "GPT-2 XL (1.6B)": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}


def of_largest(ours, theirs):
    """Largest difference as a share of max(1, largest)."""
    theirs = theirs.double()
    return (ours.double() - theirs).abs().max() / max(1.0, theirs.abs().max().item())


@torch.no_grad()
def their_states(model, ids):
    """After the embeddings and after each block (before the last norm, unlike output_hidden_states), and the logits."""
    states = {}

    def note(index):
        return lambda module, arguments, output: states.update({index: output[0] if isinstance(output, tuple) else output})

    blocks = model.transformer.h
    hooks = [block.register_forward_hook(note(index)) for index, block in enumerate(blocks, 1)]
    hooks.append(blocks[0].register_forward_pre_hook(lambda module, arguments: states.update({0: arguments[0]})))
    logits = model(input_ids=ids).logits
    for hook in hooks:
        hook.remove()
    return {**{f"hidden.{index}": state for index, state in states.items()}, "logits": logits}


def ids_of(vocabulary, rows, length):
    return torch.randint(0, vocabulary, (rows, length), generator=torch.Generator().manual_seed(3))


def compare_states(tool, scratch, theirs, ids, states, logits):
    out = scratch / "states.safetensors"
    tool.ask("hidden", ids=ids.tolist(), out=str(out))
    ours = load_file(out)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if value is not None:
            (logits if name == "logits" else states).add(of_largest(ours[name], value))


def compare_gradients(tool, scratch, model, rows, gradients):
    inputs = collate(rows)
    loss_from_logits(model, inputs, (inputs["labels"] != -100).sum()).backward()
    out = scratch / "gradients.safetensors"
    tool.ask("gradients", method={"full": {}}, rows=rows, out=str(out))
    ours = load_file(out)
    theirs = trained_tensors(model)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        gradients.add(relative(without_key_bias(name, ours[name]), without_key_bias(name, value.grad)))


def claims_of_small_shapes(tool, scratch):
    states, logits, fp32, fp64 = Largest(), Largest(), Largest(), Largest()
    for index, config in enumerate(SMALL_SHAPES.values()):
        base = make_base(scratch / f"small-{index}", **config)
        for precision, dtype, gradients in (("fp32", torch.float32, fp32), ("fp64", torch.float64, fp64)):
            model = GPT2LMHeadModel.from_pretrained(base, dtype=torch.float32).eval().to(dtype)
            tool.ask("load", model=str(base), precision=precision)
            if dtype == torch.float32:
                ids = ids_of(model.config.vocab_size, 3, 50)
                compare_states(tool, scratch, their_states(model, ids), ids, states, logits)
            compare_gradients(tool, scratch, model, mixed_rows(6), gradients)
    what = f"{len(SMALL_SHAPES)} small shapes"
    return [states.claim(PART, f"{what}: hidden states after the embeddings and every block", VALUES),
            logits.claim(PART, f"{what}: logits", VALUES),
            fp32.claim(PART, f"{what}: gradients of every tensor, float32", GRADIENTS),
            fp64.claim(PART, f"{what}: gradients of every tensor, float64", EXACT)]


def claims_of_large_shape(tool, scratch, name, config):
    """Random weights in BF16, which takes half the disk; computed in float32 by both."""
    base = scratch / "large"
    torch.manual_seed(1)
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(**NO_DROPOUT, **config))
    model = model.to_empty(device="cpu").to(torch.bfloat16)
    with torch.no_grad():
        for tensor, value in model.named_parameters():
            value.normal_(1.0 if tensor.endswith("weight") and ".ln_" in tensor else 0.0, 0.02)
    model.tie_weights()
    model.save_pretrained(base)
    del model
    states, logits, gradients = Largest(), Largest(), Largest()
    model = GPT2LMHeadModel.from_pretrained(base, dtype=torch.float32).eval()
    ids = ids_of(50257, 1, 48)
    theirs = their_states(model, ids)
    claims = []
    if not config:  # All gradients of the smallest
        tool.ask("load", model=str(base), precision="fp32", threads=2)
        compare_gradients(tool, scratch, model, mixed_rows(4, vocabulary=50257, longest=64), gradients)
        claims = [gradients.claim(PART, f"{name}: gradients of every tensor, float32", GRADIENTS)]
    del model
    gc.collect()
    tool.ask("load", model=str(base), precision="fp32", threads=2)
    compare_states(tool, scratch, theirs, ids, states, logits)
    for file in base.iterdir():
        file.unlink()
    return [states.claim(PART, f"{name}: hidden states after every block", VALUES), logits.claim(PART, f"{name}: logits", VALUES), *claims]


def checkpoints(scratch):
    """Folders of the same model written in all the ways there are."""
    plain = make_base(scratch / "plain", vocab_size=777)
    model = GPT2LMHeadModel.from_pretrained(plain)
    config = json.loads((plain / "config.json").read_text())
    weights = load_file(plain / "model.safetensors")

    def write(name, tensors, **changes):
        folder = scratch / name
        folder.mkdir()
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return folder

    yield "F32", plain
    for name, dtype in (("F16", torch.float16), ("BF16", torch.bfloat16)):
        yield name, write(name, {key: value.to(dtype) for key, value in weights.items()})
    model.save_pretrained(scratch / "sharded", max_shard_size="50KB")
    assert (scratch / "sharded/model.safetensors.index.json").exists()
    yield "sharded with an index", scratch / "sharded"
    yield "without the transformer. prefix", write("unprefixed", {key.removeprefix("transformer."): value for key, value in weights.items()})
    mask = torch.tril(torch.ones(64, 64, dtype=torch.bool))[None, None]
    buffers = {f"transformer.h.{layer}.attn.bias": mask.clone() for layer in range(3)}
    buffers |= {f"transformer.h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(3)}
    yield "with attention-mask buffers", write("buffers", {**weights, **buffers})
    tied = {**weights, "lm_head.weight": weights["transformer.wte.weight"].clone()}
    yield "tied head in the file", write("tied", tied)
    own = {**weights, "lm_head.weight": torch.randn_like(weights["transformer.wte.weight"])}
    yield "a head of its own", write("untied", own, tie_word_embeddings=False)


def claim_of_checkpoints(tool, scratch):
    gathered, unequal = Largest(), []
    for name, folder in checkpoints(scratch):
        model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
        tool.ask("load", model=str(folder), precision="fp32")
        ids, states, logits = ids_of(777, 2, 40), Largest(), Largest()
        compare_states(tool, scratch, their_states(model, ids), ids, states, logits)
        gathered.add(states.value, 0)
        gathered.add(logits.value, logits.cases)
        unequal += [name] if not gathered.value <= VALUES else []
    assert not unequal, unequal
    return gathered.claim(PART, "checkpoints: F32, F16, BF16, sharded, without prefix, with mask buffers, tied and untied head: logits", VALUES)


def claims_of_sort(tool, scratch, data):
    """A trained model with its activations stored by another implementation. Its file lacks the biases of c_attn, which both of us take
    as 0; what they were in the first block follows from the activations, so that block is compared with them in place."""
    folder = data / "models/gpt_nano_sort"
    stored = load_file(folder / "activations.safetensors")
    ids, states, logits, first = stored["idx"].long(), Largest(), Largest(), Largest()
    tool.ask("load", model=str(folder), precision="fp32")
    compare_states(tool, scratch, their_states(GPT2LMHeadModel.from_pretrained(folder).eval(), ids), ids, states, logits)
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if ".h.1." not in name and ".h.2." not in name}
    difference = stored["qkv"] - stored["ln1"] @ weights["transformer.h.0.attn.c_attn.weight"]
    weights["transformer.h.0.attn.c_attn.bias"] = difference[0, 0].clone()
    one = scratch / "sort"
    one.mkdir()
    save_file(weights, one / "model.safetensors", {"format": "pt"})
    (one / "config.json").write_text(json.dumps({**json.loads((folder / "config.json").read_text()), "n_layer": 1}))
    tool.ask("load", model=str(one), precision="fp32")
    compare_states(tool, scratch, {"hidden.0": stored["x"], "hidden.1": stored["block0"], "logits": None}, ids, first, None)
    states.add(logits.value)
    return [states.claim(PART, "gpt_nano_sort (trained): states and logits", VALUES),
            first.claim(PART, "gpt_nano_sort: the activations published with it, embeddings and first block", VALUES)]


def claims(short):
    data = real_data(short)
    with tempfile.TemporaryDirectory() as folder, TrainTool() as tool:
        scratch = Path(folder)
        measured = [*claims_of_small_shapes(tool, scratch), claim_of_checkpoints(tool, scratch)]
        if data is not None:
            measured += claims_of_sort(tool, scratch, data)
        for name, config in ({} if short else LARGE_SHAPES).items():
            measured += claims_of_large_shape(tool, scratch, name, config)
        return measured
