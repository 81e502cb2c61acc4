"""safetensors, model folders, PEFT adapters and logs beside the libraries whose formats they are."""

import copy
import hashlib
import json
import random
import struct
import warnings

import peft
import pytest
import safetensors
import safetensors.torch
import torch
import transformers
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import GPT2Config, GPT2LMHeadModel

from programs import FormatsTool

LAYERS = 3
torch.set_num_threads(1)  # The models are tiny: more threads only wait for one another.


@pytest.fixture(scope="module")
def tool():
    with FormatsTool() as running:
        yield running


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    new_model().save_pretrained(folder)
    return folder


@pytest.fixture()
def base(base_folder):
    return GPT2LMHeadModel.from_pretrained(base_folder).eval()


def new_model(seed=0, **changes):
    torch.manual_seed(seed)
    settings = dict(vocab_size=61, n_positions=32, n_embd=16, n_layer=LAYERS, n_head=2, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(GPT2Config(**{**settings, **changes})).eval()
    with torch.no_grad():  # Biases and norms too, so that no tensor can be mixed up unseen.
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def sha256(tensor):
    return hashlib.sha256(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes() if tensor.dim()
                          else tensor.detach().reshape(1).view(torch.uint8).numpy().tobytes()).hexdigest()


def hashes(tensors):
    return {name: sha256(tensor) for name, tensor in tensors.items()}


IDS = torch.tensor([[5, 17, 60, 3, 3, 29, 41]])


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def assert_same_logits(ours, theirs):
    assert ours.shape == theirs.shape
    limit = 1e-5 * max(1.0, theirs.abs().max().item())
    assert (ours - theirs).abs().max().item() <= limit


# ---- safetensors ------------------------------------------------------------------------------------------------------------


def random_tensors(rng, count):
    dtypes = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
              torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2]
    names = ["h.2", "h.10", "Z", "_", "c", "ü\"\\\n", "h.2.weight", "日本"]
    tensors = {}
    for i in range(count):
        shape = [rng.randint(0, 4) for _ in range(rng.randint(0, 3))]
        dtype = rng.choice(dtypes)
        tensors[f"{rng.choice(names)}{i}"] = torch.tensor(
            [rng.randint(0, 1) for _ in range(torch.Size(shape).numel())], dtype=torch.float32).reshape(shape).to(dtype)
    return tensors


def test_files_have_the_bytes_of_the_library(tool, tmp_path):
    for seed in range(50):
        tensors = random_tensors(random.Random(seed), 12)
        theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
        safetensors.torch.save_file(tensors, theirs, metadata=[None, {"format": "pt"}, {"k": "ü\n\"\x01"}][seed % 3])
        tool.ask("rewrite_safetensors", **{"from": theirs, "to": ours})
        assert ours.read_bytes() == theirs.read_bytes(), seed


def test_what_the_library_refuses_we_refuse(tool):
    rng = random.Random(7)
    good = safetensors.torch.save(random_tensors(rng, 3) | {"a": torch.arange(5)}, metadata={"format": "pt"})
    end = 8 + struct.unpack("<Q", good[:8])[0]
    accepted = refused = 0
    for _ in range(3000):
        broken = bytearray(good)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(end)
            if rng.random() < 0.2:
                del broken[at]
            else:
                broken[at] = rng.choice([rng.randrange(256), ord(rng.choice("0123456789[]{}\",:")), broken[at] ^ 1])
        if rng.random() < 0.1:
            broken = broken[:rng.randrange(len(broken))]
        ours = tool.try_ask("parse_safetensors", hex=bytes(broken).hex())
        try:
            theirs = safetensors.deserialize(bytes(broken))
        except Exception:
            assert "error" in ours, bytes(broken)
            refused += 1
            continue
        if "error" not in ours:  # Ours may be stricter: a name twice, an unknown field.
            expected = {name: hashlib.sha256(info["data"]).hexdigest() for name, info in theirs}
            assert ours["tensors"] == expected
            accepted += 1
    assert refused > 1000 and accepted > 50


# ---- Model folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", ["5GB", "10KB"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_folders_of_transformers_open_and_written_ones_load(tool, tmp_path, shard_size, tied, dtype):
    model = new_model(tie_word_embeddings=tied).to(dtype)
    model.save_pretrained(tmp_path / "theirs", max_shard_size=shard_size)
    assert (tmp_path / "theirs/model.safetensors.index.json").exists() == (shard_size == "10KB")
    opened = tool.ask("open_model", folder=tmp_path / "theirs")
    state = {name.removeprefix("transformer."): tensor for name, tensor in model.state_dict().items()}
    if tied:
        del state["lm_head.weight"]
    assert opened["tensors"] == hashes(state)
    assert opened["tied"] == tied and opened["unused"] == []

    tool.ask("write_model", **{"from": tmp_path / "theirs", "to": tmp_path / "ours"})
    loaded, report = GPT2LMHeadModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert loaded.dtype == dtype
    assert torch.equal(logits(loaded.eval()), logits(model))
    if shard_size == "5GB":
        assert (tmp_path / "ours/model.safetensors").read_bytes() == (tmp_path / "theirs/model.safetensors").read_bytes()


# ---- Adapters that we write -------------------------------------------------------------------------------------------------

LORA = {"rank": 4, "alpha": 6, "target_modules": ["c_attn", "mlp.c_proj"]}
BLOCK_AND_NORM = ["h.2", "ln_f"]
KINDS = {
    "lora": {"lora": LORA},
    "lora on chosen layers": {"lora": {**LORA, "layers": [0, 2], "use_rslora": True}},
    "lora on all": {"lora": {**LORA, "target_modules": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]}},
    "soft prompt": {"num_virtual_tokens": 5},
    "last layers": {"saved_modules": BLOCK_AND_NORM},
    "last layers with head": {"saved_modules": BLOCK_AND_NORM + ["lm_head"]},
    "head": {"saved_modules": ["lm_head"]},
    "all layers": {"saved_modules": ["h.0", "h.1", "h.2", "ln_f"]},
    "lora and last layers": {"lora": LORA, "saved_modules": BLOCK_AND_NORM},
    "soft prompt and last layers": {"num_virtual_tokens": 5, "saved_modules": BLOCK_AND_NORM},
    "lora and soft prompt": {"lora": LORA, "num_virtual_tokens": 5},
    "all three": {"lora": LORA, "num_virtual_tokens": 5, "saved_modules": BLOCK_AND_NORM},
}


def tuned_logits(base, parts, tensors):
    """What the adapter means, from its definition and without PEFT."""
    model = copy.deepcopy(base)
    if "lm_head.weight" in tensors:
        model.lm_head.weight = torch.nn.Parameter(tensors["lm_head.weight"])
    state = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            full_name = f"transformer.{name}"
            if full_name in state:
                state[full_name].copy_(tensor)
            elif name.endswith(".lora_A"):
                rank = parts["lora"]["rank"]
                scaling = parts["lora"]["alpha"] / (rank**0.5 if parts["lora"].get("use_rslora") else rank)
                module = model.get_submodule(full_name.removesuffix(".lora_A"))
                module.weight += scaling * (tensors[name.replace("lora_A", "lora_B")] @ tensor).T
        embedded = model.transformer.wte(IDS)
        if "soft_prompt" in tensors:
            embedded = torch.cat([tensors["soft_prompt"][None], embedded], dim=1)
        return model(inputs_embeds=embedded).logits


def load_as_the_card_says(snippet):
    """Runs the README's lines. PEFT warns of missing adapter keys; that is a failure here."""
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # PEFT says so of every head that is trained; that the head is untied is meant.
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        # transformers says of itself what its next major release will rename.
        warnings.filterwarnings("ignore", category=FutureWarning)
        exec(snippet, names)  # noqa: S102 - our own lines, which people are told to run
    return names["model"].eval()


@pytest.mark.parametrize("kind", KINDS)
def test_written_adapters_load_in_peft(tool, base_folder, base, tmp_path, kind):
    parts = KINDS[kind]
    torch.manual_seed(1)
    tensors = {name: torch.randn(shape) * 0.3
               for name, shape in tool.ask("adapter_shapes", model=base_folder, parts=parts).items()}
    safetensors.torch.save_file(tensors, tmp_path / "weights.safetensors")
    for version in ["0.17.1", peft.__version__]:
        folder = tmp_path / version
        written = tool.ask("write_adapter", folder=folder, model=base_folder, weights=tmp_path / "weights.safetensors",
                           parts=parts, peft_version=version)
        assert written["snippet"] in (folder / "README.md").read_text().replace("path/to/this/directory", str(folder))
        model = load_as_the_card_says(written["snippet"])
        expected = tuned_logits(base, parts, tensors)
        assert (expected[:, -IDS.shape[1]:] - logits(base)).abs().max() > 0.1
        assert_same_logits(logits(model), expected)

    opened = tool.ask("open_adapter", folder=folder, model=base_folder)
    assert opened["tensors"] == hashes(tensors)
    if "adapter_config.json" in written["files"]:  # Saved again by PEFT: the same bytes.
        model.save_pretrained(tmp_path / "again")
        for name in ["adapter_config.json", "adapter_model.safetensors"]:
            theirs, ours = (tmp_path / "again" / name).read_bytes(), (folder / name).read_bytes()
            if name.endswith(".json"):  # The one set among the fields, which PEFT writes in any order.
                theirs, ours = ({**json.loads(text), "target_modules": None} for text in (theirs, ours))
            assert theirs == ours, name


# ---- Adapters that PEFT writes ----------------------------------------------------------------------------------------------

PEFT_LORAS = {
    "default": {},
    "ranks and alphas by pattern": dict(target_modules=["c_attn", "c_fc"], rank_pattern={"h.1.attn.c_attn": 2, "c_fc": 3},
                                        alpha_pattern={r"h\.\d\.attn\.c_attn": 5}),
    "overlapping patterns": dict(target_modules=["c_attn"], rank_pattern={"attn.c_attn": 2, "h.1.attn.c_attn": 3}),
    "chosen layers": dict(target_modules=["c_attn"], layers_to_transform=[0, 2]),
    "one layer with a pattern": dict(target_modules=["c_attn", "c_proj"], layers_to_transform=1, layers_pattern="h"),
    "regular expression": dict(target_modules=r".*\.h\.(0|2)\.(attn\.c_attn|mlp\.c_fc)"),
    "all linear": dict(target_modules="all-linear"),
    "rslora": dict(target_modules=["attn.c_proj"], use_rslora=True, lora_alpha=7),
    "excluded": dict(target_modules=["c_attn"], exclude_modules=["h.1.attn.c_attn"]),
    "excluded by expression": dict(target_modules=["c_attn", "c_fc"], exclude_modules=r".*\.1\..*"),
    "gaussian": dict(target_modules=["c_attn"], init_lora_weights="gaussian"),
    "saved modules": dict(target_modules=["c_attn"], modules_to_save=["transformer.h.2", "transformer.ln_f"]),
    "saved head": dict(target_modules=["c_attn"], modules_to_save=["lm_head"]),
    "saved by a short name": dict(target_modules=["c_attn"], modules_to_save=["h.1", "ln_f"]),
}


def randomise(model):
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.mark.parametrize("kind", PEFT_LORAS)
def test_loras_of_peft_open_as_peft_means_them(tool, base_folder, base, tmp_path, kind):
    config = LoraConfig(task_type="CAUSAL_LM", fan_in_fan_out=True, r=4, **{"lora_alpha": 6, **PEFT_LORAS[kind]})
    model = get_peft_model(base, config)
    randomise(model)
    model.save_pretrained(tmp_path)
    opened = tool.ask("open_adapter", folder=tmp_path, model=base_folder)
    loras = {name.removeprefix("base_model.model.transformer."): module for name, module in model.named_modules()
             if isinstance(module, peft.tuners.lora.LoraLayer)}
    assert {name: (rank, pytest.approx(scaling)) for name, (rank, scaling) in opened["modules"].items()} == {
        name: (module.r["default"], module.scaling["default"]) for name, module in loras.items()}
    expected = {}
    for name, tensor in safetensors.torch.load_file(tmp_path / "adapter_model.safetensors").items():
        name = name.removeprefix("base_model.model.").removeprefix("transformer.")
        expected[name.removesuffix(".weight") if ".lora_" in name else name] = sha256(tensor)
    assert opened["tensors"] == expected


@pytest.mark.parametrize("modules", [None, ["transformer.h.2", "transformer.ln_f"]])
def test_prompts_of_peft_open(tool, base_folder, base, tmp_path, modules):
    model = get_peft_model(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=6, modules_to_save=modules))
    randomise(model)
    model.save_pretrained(tmp_path)
    opened = tool.ask("open_adapter", folder=tmp_path, model=base_folder)
    stored = safetensors.torch.load_file(tmp_path / "adapter_model.safetensors")
    expected = {name.removeprefix("base_model.transformer.").replace("prompt_embeddings", "soft_prompt"): tensor
                for name, tensor in stored.items()}
    assert opened["tensors"] == hashes(expected)
    assert opened["prompt"] == 6 and opened["saved"] == ([] if modules is None else ["h.2", "ln_f"])


PEFT_REFUSED = {
    "bias": dict(bias="lora_only"),
    "lora_bias": dict(lora_bias=True),
    "trainable_token_indices": dict(trainable_token_indices=[1, 2]),
    "transformer.wte": dict(target_modules=["wte"]),
    "lm_head": dict(target_modules=["lm_head"]),
    "init_lora_weights": dict(init_lora_weights="olora"),
    "target_modules": dict(target_modules=r"(?!.*\.1\.).*c_attn"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PEFT_REFUSED)
def test_what_is_not_supported_is_refused_by_name(tool, base_folder, base, tmp_path, name):
    config = {"target_modules": ["c_attn"], **PEFT_REFUSED[name]}
    get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=4, **config)).save_pretrained(tmp_path)
    answer = tool.try_ask("open_adapter", folder=tmp_path, model=base_folder)
    assert answer["code"] == "UNIMPLEMENTED" and name in answer["error"]


def test_configs_convert_to_what_this_peft_writes(tool, base_folder, base, tmp_path):
    config = LoraConfig(task_type="CAUSAL_LM", fan_in_fan_out=True, r=4, lora_alpha=6, target_modules=["c_attn"])
    get_peft_model(base, config).save_pretrained(tmp_path)
    theirs = (tmp_path / "adapter_config.json").read_text()
    old = tool.ask("convert_config", json=theirs, peft_version="0.10")["json"]
    assert len(json.loads(old)) == 24
    assert tool.ask("convert_config", json=old, peft_version=peft.__version__)["json"] == theirs


# ---- Logs -------------------------------------------------------------------------------------------------------------------


def test_logs_are_read_by_tensorboard_and_transformers(tool, tmp_path):
    rows = [[step, step / 10, 1.7e9 + step, {"train/loss": 3.0 / step, "train/learning_rate": 1e-4}] for step in range(1, 301)]
    rows.append([300, 30.0, 1.7e9 + 301, {"eval/loss": 0.125, "eval/rougeL": 0.5}])
    tool.ask("metrics", rows=rows, folder=tmp_path)

    board = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(board.Tags()["scalars"]) == ["eval/loss", "eval/rougeL", "train/learning_rate", "train/loss"]
    losses = board.Scalars("train/loss")
    assert [event.step for event in losses] == list(range(1, 301))
    assert losses[6].value == torch.tensor(3.0 / 7).item() and losses[6].wall_time == 1.7e9 + 7

    state = transformers.TrainerState.load_from_json(tmp_path / "trainer_state.json")
    assert state.log_history[1] == {"epoch": 0.2, "learning_rate": 1e-4, "loss": 1.5, "step": 2}
    assert state.log_history[-1]["eval_rougeL"] == 0.5
    assert (state.global_step, state.best_metric, state.best_global_step) == (300, 1.5, 2)
    state.save_to_json(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "trainer_state.json").read_bytes()

    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[6]["train/loss"] == 3.0 / 7 and len(lines) == 301
