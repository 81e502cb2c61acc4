"""Part 5: adapters go both ways between graft and three releases of PEFT, with the same logits and greedy text, and the same bytes."""

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import peft
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

import adapter_worker
from claims import Largest, Unavailable
from model_claims import of_largest
from programs import ROOT, FormatsTool, evaluate, run_engine
from reference import encode_row, make_base
from service import running

PART = 5
LOGITS = 1e-5  # As a share of max(1, largest)
MODEL = ROOT / "tools/demo_assets/model"  # A trained checkpoint of 0.5 million parameters and 4 layers, in F16
NEWEST, OLDEST = peft.__version__, "0.10.0"
OLDER = {"0.17.1": "0.17", OLDEST: "0.10"}  # Environments of tools/setup by the PEFT in them
NEW_TOKENS, PROMPTS = 12, 4

C_ATTN = {"rank": 4, "alpha": 10}
LORA = {"rank": 4, "alpha": 6, "target_modules": ["c_attn", "mlp.c_proj"]}
LAST = ["h.3", "ln_f"]
# By the parts that are combined, as graft writes them; the first of each is what a short run has time for.
COMBINATIONS = {
    "LoRA": [{"lora": C_ATTN}, {"lora": LORA}, {"lora": {**LORA, "layers": [0, 2], "use_rslora": True}},
             {"lora": {**C_ATTN, "target_modules": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]}}],
    "DoRA": [{"lora": {**LORA, "use_dora": True}},
             {"lora": {**C_ATTN, "use_dora": True, "use_rslora": True, "layers": [0, 2], "target_modules": ["c_fc", "attn.c_proj"]}}],
    "DoRA + soft prompt": [{"lora": {**LORA, "use_dora": True}, "num_virtual_tokens": 5}],
    "DoRA + last layers": [{"lora": {**LORA, "use_dora": True}, "saved_modules": LAST}],
    "soft prompt": [{"num_virtual_tokens": 5}, {"num_virtual_tokens": 1}],
    "prefix tuning": [{"num_prefix_tokens": 5}],
    "last layers": [{"saved_modules": LAST}, {"saved_modules": ["h.2", "h.3", "ln_f", "lm_head"]}, {"saved_modules": ["lm_head"]},
                    {"saved_modules": ["ln_f"]}],
    "LoRA + last layers": [{"lora": C_ATTN, "saved_modules": LAST}, {"lora": {**LORA, "layers": [1]}, "saved_modules": [*LAST, "lm_head"]},
                           {"lora": {**LORA, "use_rslora": True}, "saved_modules": ["ln_f", "lm_head"]}],
    "LoRA + soft prompt": [{"lora": C_ATTN, "num_virtual_tokens": 5}, {"lora": {**LORA, "layers": [3]}, "num_virtual_tokens": 2}],
    "soft prompt + last layers": [{"num_virtual_tokens": 5, "saved_modules": LAST},
                                  {"num_virtual_tokens": 2, "saved_modules": ["lm_head"]}],
    "all three": [{"lora": C_ATTN, "num_virtual_tokens": 5, "saved_modules": LAST},
                  {"lora": {**LORA, "layers": [0, 1]}, "num_virtual_tokens": 3, "saved_modules": ["h.2", *LAST, "lm_head"]}],
}
# On GPT-2's layers the oldest PEFT takes the lengths of rows for those of columns.
UNKNOWN_TO_OLDEST = ("DoRA", "DoRA + soft prompt", "DoRA + last layers")
# What no LoRA carries is written so only from 0.14 on.
EVERY_BLOCK = {"saved_modules": ["h.0", "h.1", "h.2", "h.3", "ln_f"]}

SAVED = ["transformer.h.3", "transformer.ln_f"]
# What PEFT makes; the first ones are what a short run has time for.
PEFT_MAKES = {
    "ranks and alphas by pattern": dict(target_modules=["c_attn", "c_fc"], alpha_pattern={r"h\.\d\.attn\.c_attn": 5},
                                        rank_pattern={"h.1.attn.c_attn": 2, "c_fc": 3}),
    "DoRA": dict(target_modules=["c_attn", "c_fc"], use_dora=True, rank_pattern={"c_fc": 3}),
    "chosen layers, modules to save": dict(target_modules=["c_attn"], layers_to_transform=[0, 2], modules_to_save=SAVED),
    "regular expression, rsLoRA": dict(target_modules=r".*\.h\.(0|2)\.(attn\.c_attn|mlp\.c_fc)", use_rslora=True, lora_alpha=7),
    "prompt tuning": dict(num_virtual_tokens=6),
    "prefix tuning": dict(num_virtual_tokens=4, prefix_projection=False),
    "overlapping patterns": dict(target_modules=["c_attn"], rank_pattern={"attn.c_attn": 2, "h.1.attn.c_attn": 3}),
    "one layer with a pattern": dict(target_modules=["c_attn", "c_proj"], layers_to_transform=1, layers_pattern="h"),
    "all linear": dict(target_modules="all-linear"),
    "excluded": dict(target_modules=["c_attn", "c_fc"], exclude_modules=r".*\.1\..*"),
    "gaussian": dict(target_modules=["attn.c_proj"], init_lora_weights="gaussian"),
    "saved head": dict(target_modules=["c_attn"], modules_to_save=["lm_head"]),
    "saved by a short name": dict(target_modules=["c_attn"], modules_to_save=["h.3", "ln_f"]),
    "prompt tuning, modules to save": dict(num_virtual_tokens=3, modules_to_save=SAVED),
}
# By the field that must be named.
PEFT_REFUSED = {
    "bias": dict(bias="lora_only"), "lora_bias": dict(lora_bias=True),
    "trainable_token_indices": dict(trainable_token_indices=[1, 2]), "transformer.wte": dict(target_modules=["wte"]),
    "lm_head": dict(target_modules=["lm_head"]), "init_lora_weights": dict(init_lora_weights="olora"),
    "target_modules": dict(target_modules=r"(?!.*\.1\.).*c_attn"),
}


def python_of(version):
    """The interpreter of an older environment."""
    folder = subprocess.run(["bash", "-euc", f". tools/lib.sh; parity_venv {OLDER[version]}"], cwd=ROOT, capture_output=True, text=True,
                            check=True).stdout.strip()
    if not Path(folder, ".complete").exists():
        raise Unavailable(f"there is no environment with PEFT {version} (tools/setup --tests)")
    return f"{folder}/bin/python"


def copy_tokenizer(folder):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(MODEL / name, folder / name)


class Workplace:
    """The base, what is computed of each adapter, and the cases that each PEFT is given."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.base = scratch / "base"
        GPT2LMHeadModel.from_pretrained(MODEL, dtype=torch.float32).save_pretrained(self.base)
        copy_tokenizer(self.base)
        self.tokenizer = AutoTokenizer.from_pretrained(self.base)
        self.data = scratch / "data.jsonl"
        lines = (ROOT / "tools/demo_assets/data/test.jsonl").read_text().splitlines()[:PROMPTS]
        self.data.write_text("\n".join(lines) + "\n")
        self.prompts = [encode_row(self.tokenizer, json.loads(line), 60, 20)[0] for line in lines]
        self.rows = [self.prompts[0], [400], list(range(1, 120))]
        self.cases = {version: [] for version in (NEWEST, *OLDER)}

    def add(self, version, name, kind, folder, **more):
        self.cases[version].append({"name": name, "kind": kind, "folder": str(folder), **more})

    def task(self, version):
        return {"base": str(self.base), "rows": self.rows, "prompts": self.prompts, "new_tokens": NEW_TOKENS,
                "out": str(self.scratch / f"{version}.safetensors"), "cases": self.cases[version]}

    def start(self, version):
        """The cases of an older PEFT, in a process of its own."""
        path = self.scratch / f"{version}.json"
        path.write_text(json.dumps(self.task(version)))
        with open(path.with_suffix(".log"), "w") as log:
            return subprocess.Popen([python_of(version), ROOT / "tests/parity/adapter_worker.py", path], stdout=subprocess.PIPE, stderr=log,
                                    text=True)

    def finish(self, version, process):
        said = process.communicate()[0]
        assert process.returncode == 0, (self.scratch / f"{version}.log").read_text()[-3000:]
        assert json.loads(said.splitlines()[-1]) == {"peft": version, "transformers": "4.56.2"}
        return load_file(self.scratch / f"{version}.safetensors")

    def measure(self):
        """Runs every PEFT's cases; their tensors by version."""
        running = {version: self.start(version) for version in OLDER}
        try:
            return {NEWEST: adapter_worker.run(self.task(NEWEST)), **{version: self.finish(version, running[version]) for version in OLDER}}
        finally:
            for process in running.values():
                process.kill()

    def logits(self, adapter):
        """graft's; None for the base alone."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            ids, out = Path(folder, "ids.json"), Path(folder, "logits.safetensors")
            ids.write_text(json.dumps(self.rows))
            run_engine("logits", "--model", self.base, *(["--adapter", adapter] if adapter else []), "--ids-file", ids, "--out", out,
                       "--threads", 1)
            ours = load_file(out)
        return [ours[f"logits.{index}"] for index in range(len(self.rows))]

    def texts(self, adapter):
        """graft's greedy continuations."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            out = Path(folder, "evaluation")
            evaluate({"base_model": str(self.base), "data": {"validation": str(self.data), "max_source_tokens": 60, "max_target_tokens": 20},
                      "evaluation": {"max_new_tokens": NEW_TOKENS, "max_samples": -1}, "precision": "PRECISION_FP32", "threads": 1}, out,
                     "--adapter", adapter)
            lines = (out / "artifacts/predictions.jsonl").read_text().splitlines()
        return [json.loads(line)["prediction"] for line in lines]

    def their_texts(self, theirs, name):
        return [self.tokenizer.decode(theirs[f"{name}/greedy/{index}"], skip_special_tokens=True).strip() for index in range(PROMPTS)]


def compare(gathered, ours, theirs, name):
    for index, value in enumerate(ours):
        gathered.add(of_largest(value, theirs[f"{name}/logits/{index}"]))


def library(version):
    return f"PEFT {version} with transformers {importlib.metadata.version('transformers') if version == NEWEST else '4.56.2'}"


# ---- What graft writes ------------------------------------------------------------------------------------------------------


def random_tensors(tool, base, parts):
    """Of an adapter: whole modules are near the base's, everything else small."""
    weights, tensors = load_file(base / "model.safetensors"), {}
    for name, shape in tool.ask("adapter_shapes", model=base, parts=parts).items():
        if name.endswith(".lora_magnitude_vector"):
            lengths = weights[f"transformer.{name.removesuffix('.lora_magnitude_vector')}.weight"].norm(dim=0)
            tensors[name] = lengths * (1 + 0.2 * torch.randn(shape))
            continue
        near = weights.get("transformer.wte.weight" if name == "lm_head.weight" else f"transformer.{name}")
        tensors[name] = torch.randn(shape) * 0.1 if near is None else near + 0.02 * torch.randn(shape)
    return tensors


class Written:
    """Adapters of all combinations as a job leaves them, exported for each PEFT and merged."""

    def __init__(self, place, tool, short):
        self.place, self.tool, self.short = place, tool, short
        self.adapters = {}  # name → (combination, folder)
        self.parts = {}  # by name
        self.saved = []  # (version, folder, where PEFT saved it again)
        self.merged = []  # (name, folder)
        for combination, variants in COMBINATIONS.items():
            for index, parts in enumerate(variants[:1] if short else variants):
                self.write(combination, index, parts)
        if not short:
            self.write("last layers", "every block", EVERY_BLOCK)

    def write(self, combination, index, parts):
        name = f"{combination} {index}".replace(" ", "-")
        folder = self.place.scratch / "written" / name
        torch.manual_seed(len(self.adapters))
        tensors = random_tensors(self.tool, self.place.base, parts)
        weights = self.place.scratch / "weights.safetensors"
        save_file(tensors, weights)
        files = self.tool.ask("write_adapter", folder=folder, model=self.place.base, weights=weights, parts=parts)["files"]
        self.adapters[name] = (combination, folder)
        self.parts[name] = parts
        for version in self.place.cases:
            if version == OLDEST and (index == "every block" or combination in UNKNOWN_TO_OLDEST):
                continue
            out = folder.with_name(f"{name} for {version}")
            self.tool.ask("export_adapter", **{"from": folder, "to": out, "files": files, "model": self.place.base, "peft_version": version})
            self.place.add(version, name, "adapter", out)
            for config in sorted(out.rglob("adapter_config.json")):
                again = self.place.scratch / "again" / version / name / config.parent.relative_to(out)
                self.place.add(version, name, "save", config.parent, to=str(again))
                self.saved.append((version, config.parent, again))
        if "num_virtual_tokens" not in parts and "num_prefix_tokens" not in parts:
            merged = folder.with_name(f"{name} merged")
            self.tool.ask("merge_adapter", model=self.place.base, adapter=folder, to=merged, dtype="F32")
            self.merged.append((name, merged))
            for version in (NEWEST, "0.17.1"):
                self.place.add(version, f"{name} merged", "model", merged)

    def claims(self, theirs):
        place = self.place
        with ThreadPoolExecutor(2) as pool:
            folders = [folder for _, folder in self.adapters.values()]
            logits = dict(zip(self.adapters, pool.map(place.logits, folders)))
            texts = dict(zip(self.adapters, pool.map(place.texts, folders)))
        untuned = place.logits(None)
        claims, near = [], Largest()
        for name, tuned in logits.items():
            changed = max(float(of_largest(a, b)) for a, b in zip(tuned, untuned))
            near.count_unequal([changed >= 100 * LOGITS], [True])
        for version in place.cases:
            text = Largest()
            for combination in COMBINATIONS:
                if version == OLDEST and combination in UNKNOWN_TO_OLDEST:
                    continue
                gathered = Largest()
                for name, (of, _) in self.adapters.items():
                    if of == combination and f"{name}/logits/0" in theirs[version]:
                        compare(gathered, logits[name], theirs[version], name)
                        text.count_unequal(texts[name], place.their_texts(theirs[version], name))
                claims.append(gathered.claim(PART, f"{library(version)}, {combination}: logits", LOGITS))
            claims.append(text.claim(PART, f"{library(version)}, all of these: greedy texts, unequal", 0))
        claims.append(near.claim(PART, "of these adapters, changing the untuned logits by less than 100 times the tolerance", 0))
        return [*claims, self.claim_of_settings(), *self.claims_of_bytes(), *self.claims_of_merged(theirs, logits)]

    def claim_of_settings(self):
        """What PEFT's own constructors make of the same settings, given to them here, field by field."""
        gathered, base = Largest(), GPT2Config.from_pretrained(self.place.base)
        for name, parts in self.parts.items():
            if ("lora" in parts) + ("num_virtual_tokens" in parts) + ("num_prefix_tokens" in parts) != 1:
                continue  # Of two parts that lie in folders of their own, or with what only carries saved modules.
            [ours] = [folder for version, folder, _ in self.saved if version == NEWEST and folder.parts[-1] == f"{name} for {NEWEST}"]
            fields = json.loads((ours / "adapter_config.json").read_text())
            saved = parts.get("saved_modules", [])
            common = {"task_type": "CAUSAL_LM", "inference_mode": True, "base_model_name_or_path": fields["base_model_name_or_path"],
                      "modules_to_save": [name if name == "lm_head" else f"transformer.{name}" for name in saved] or None}
            if "lora" in parts:
                lora = parts["lora"]
                whole = {int(module[2:]) for module in saved if module.startswith("h.")}  # Blocks in which LoRA has no place.
                layers = lora.get("layers", sorted(set(range(base.n_layer)) - whole) if whole else None)
                made = peft.LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], target_modules=lora.get("target_modules", ["c_attn"]),
                                       layers_to_transform=layers, use_rslora=lora.get("use_rslora", False), fan_in_fan_out=True,
                                       use_dora=lora.get("use_dora", False),
                                       **common)
            elif "num_prefix_tokens" in parts:
                made = peft.PrefixTuningConfig(num_virtual_tokens=parts["num_prefix_tokens"], token_dim=base.n_embd,
                                               encoder_hidden_size=base.n_embd, num_transformer_submodules=1,
                                               num_attention_heads=base.n_head, num_layers=base.n_layer, **common)
            else:
                made = peft.PromptTuningConfig(num_virtual_tokens=parts["num_virtual_tokens"], token_dim=base.n_embd,
                                               num_transformer_submodules=1, num_attention_heads=base.n_head, num_layers=base.n_layer,
                                               **common)
            again = self.place.scratch / "made by PEFT" / name
            made.save_pretrained(again)
            theirs = json.loads((again / "adapter_config.json").read_text())
            for config in (fields, theirs):
                config["target_modules"] = sorted(config.get("target_modules") or [])
            gathered.count_unequal([fields.keys()], [theirs.keys()])
            gathered.count_unequal([fields[key] for key in theirs], theirs.values())
        return gathered.claim(PART, f"adapter_config.json beside the one of PEFT {NEWEST}'s constructors: unequal fields", 0)

    def claims_of_bytes(self):
        weights, configs = Largest(), Largest()
        for _, ours, theirs in self.saved:
            names = ("adapter_model.safetensors", "adapter_config.json")
            (our_weights, our_config), (their_weights, their_config) = ([(folder / name).read_bytes() for name in names]
                                                                        for folder in (ours, theirs))
            weights.count_unequal([our_weights], [their_weights])
            # The one set among the fields, which PEFT writes in any order and graft sorted.
            fields = json.loads(their_config)
            if isinstance(fields.get("target_modules"), list):
                fields["target_modules"].sort()
                their_config = json.dumps(fields, indent=2, sort_keys=True).encode()
            configs.count_unequal([our_config], [their_config])
        versions = ", ".join(self.place.cases)
        return [weights.claim(PART, f"adapter_model.safetensors, saved again by PEFT {versions}: unequal files", 0),
                configs.claim(PART, f"adapter_config.json (names of target_modules sorted), saved again by PEFT {versions}: unequal files", 0)]

    def claims_of_merged(self, theirs, logits):
        claims = []
        for version in (NEWEST, "0.17.1"):
            gathered = Largest()
            for name, _ in self.merged:
                compare(gathered, logits[name], theirs[version], f"{name} merged")
            transformers = library(version).partition(" with ")[2]
            claims.append(gathered.claim(PART, f"{transformers}, merged LoRA and last layers, the head among them: logits", LOGITS))
        rounded = Largest()
        name, merged = self.merged[0]
        exact = load_file(merged / "model.safetensors")
        for dtype, torch_dtype in (("F16", torch.float16), ("BF16", torch.bfloat16)):
            narrow = merged.with_name(f"{name} merged {dtype}")
            self.tool.ask("merge_adapter", model=self.place.base, adapter=self.adapters[name][1], to=narrow, dtype=dtype)
            stored = load_file(narrow / "model.safetensors")
            rounded.count_unequal([stored.keys()], [exact.keys()])
            rounded.count_unequal([torch.equal(stored[key], exact[key].to(torch_dtype)) for key in exact], [True] * len(exact))
        return [*claims, rounded.claim(PART, "merged in F16 and BF16: tensors that are not torch's rounding of F32, unequal", 0)]


def claim_of_merged_gpt2(place, tool):
    """GPT-2 small's shape, LoRA on every layer and the last block."""
    base, merged = make_base(place.scratch / "small", initializer_range=0.02, n_layer=12, n_head=12, n_embd=768, n_positions=1024,
                             vocab_size=50257), place.scratch / "small merged"
    copy_tokenizer(base)
    parts = {"lora": {**LORA, "rank": 16}, "saved_modules": ["h.11", "ln_f"]}
    save_file(random_tensors(tool, base, parts), place.scratch / "weights.safetensors")
    adapter = place.scratch / "small adapter"
    tool.ask("write_adapter", folder=adapter, model=base, weights=place.scratch / "weights.safetensors", parts=parts)
    tool.ask("merge_adapter", model=base, adapter=adapter, to=merged, dtype="F32")
    gathered, place.base, out = Largest(), base, {}
    adapter_worker.measure({"rows": place.rows, "prompts": []}, GPT2LMHeadModel.from_pretrained(merged), "merged", out)
    ours, untuned = place.logits(adapter), place.logits(None)
    assert max(of_largest(a, b) for a, b in zip(ours, untuned)) >= 100 * LOGITS
    compare(gathered, ours, out, "merged")
    return gathered.claim(PART, "GPT-2 small (124M) with LoRA on all layers and a last block, merged: logits", LOGITS)


# ---- What PEFT writes -------------------------------------------------------------------------------------------------------


class Made:
    """Adapters that PEFT makes, for graft to read."""

    def __init__(self, place, short):
        self.place = place
        self.versions = (NEWEST, "0.17.1")
        self.names = list(PEFT_MAKES)[:6] if short else list(PEFT_MAKES)
        self.refused = list(PEFT_REFUSED)[:2] if short else list(PEFT_REFUSED)
        for version in self.versions:
            for name in self.names + self.refused:
                config = PEFT_MAKES.get(name) or {"target_modules": ["c_attn"], **PEFT_REFUSED[name]}
                kind = "PromptTuningConfig" if "num_virtual_tokens" in config else "LoraConfig"
                kind = "PrefixTuningConfig" if "prefix_projection" in config else kind
                if kind == "LoraConfig":
                    config = {"r": 4, "lora_alpha": 6, "fan_in_fan_out": name != "lm_head", **config}
                place.add(version, f"PEFT's {name}", "make", self.folder(version, name), kind_of_config=kind, config=config,
                          unmeasured=name in self.refused)

    def folder(self, version, name):
        # Without the name, which a refusal must say by itself.
        return self.place.scratch / "made" / version / str((self.names + self.refused).index(name))

    def claims(self, theirs):
        claims, refusals = [], Largest()
        for version in self.versions:
            gathered = Largest()
            for name in self.names:
                compare(gathered, self.place.logits(self.folder(version, name)), theirs[version], f"PEFT's {name}")
            claims.append(gathered.claim(PART, f"made by {library(version)}: {', '.join(self.names)}: logits", LOGITS))
            for name in self.refused:
                done = run_engine("generate", "--model", self.place.base, "--adapter", self.folder(version, name), "--prompt", "Once",
                                  check=False)
                refusals.count_unequal([done.returncode == 1 and name in done.stderr], [True])
        return [*claims, refusals.claim(PART, f"made by PEFT, not refused by name: {', '.join(self.refused)}", 0)]


def claim_of_export(place, tool, made_adapters, name="saved by a short name", made_by="0.17.1"):
    """PEFT before 0.17 puts LoRA into whole blocks, too; exported for it, the adapter names the layers."""
    folder = place.scratch / "for the oldest"
    made = made_adapters.folder(made_by, name)
    files = ["adapter_config.json", "adapter_model.safetensors"]
    tool.ask("export_adapter", **{"from": made, "to": folder, "files": files, "model": place.base, "peft_version": OLDEST})
    place.cases[OLDEST] = []
    place.add(OLDEST, name, "peft", folder)
    gathered = Largest()
    compare(gathered, place.logits(made), place.finish(OLDEST, place.start(OLDEST)), name)
    return gathered.claim(PART, f"made by {library(made_by)}, {name}, exported for PEFT {OLDEST}: logits", LOGITS)


# ---- Through a server -------------------------------------------------------------------------------------------------------


JOBS = {"LoRA + last layers": ["--method", "lora+last_layers", "--num-layers", 1],
        "soft prompt + last layers": ["--method", "soft_prompt+last_layers", "--num-layers", 1, "--num-virtual-tokens", 4]}


class Served:
    """Adapters that jobs of a server left, downloaded as they are and for the oldest PEFT, and merged, by the command line."""

    def __init__(self, place):
        self.place = place
        self.files = Largest()
        with running() as graft:
            jobs = {name: graft.submit("--output-name", f"adapter-{index}", *flags) for index, (name, flags) in enumerate(JOBS.items())}
            for index, (name, job) in enumerate(jobs.items()):
                graft.wait_for(job)
                adapter = f"adapter-{index}"
                graft.cli("adapters", "download", adapter, "--to", self.folder(name))
                graft.cli("adapters", "download", adapter, "--to", self.folder(name, "old"), "--peft-version", "0.10")
                place.add(OLDEST, f"served {name}", "adapter", self.folder(name, "old"))
                self.check_files(self.folder(name))
                self.check_files(self.folder(name, "old"))
                merged = graft.cli("adapters", "merge", adapter, "--to", self.folder(name, "merged"), check=False)
                if "soft prompt" in name:
                    assert merged.returncode == 1 and "soft prompt" in merged.stderr, merged
                    continue
                assert merged.returncode == 0, merged.stderr
                place.add(NEWEST, f"served {name} merged", "model", self.folder(name, "merged"))

    def folder(self, name, kind="stored"):
        return self.place.scratch / "served" / f"{name} {kind}".replace(" ", "-")

    def check_files(self, folder):
        """graft.json tells of every file what it is."""
        for file in json.loads((folder / "graft.json").read_text())["files"]:
            content = (folder / file["path"]).read_bytes()
            self.files.count_unequal([(file["size_bytes"], file["sha256"])], [(len(content), hashlib.sha256(content).hexdigest())])

    def claims(self, theirs):
        gathered = Largest()
        for name in JOBS:
            ours = self.place.logits(self.folder(name))
            compare(gathered, ours, theirs[OLDEST], f"served {name}")
            if self.folder(name, "merged").exists():
                compare(gathered, ours, theirs[NEWEST], f"served {name} merged")
        what = f"trained by a server ({', '.join(JOBS)})"
        return [gathered.claim(PART, f"{what}, downloaded for PEFT {OLDEST}, and the first merged: logits", LOGITS),
                self.files.claim(PART, f"{what}: files that are not what graft.json says", 0)]


def claims(short):
    with tempfile.TemporaryDirectory() as folder, FormatsTool() as tool:
        place = Workplace(Path(folder))
        for version in OLDER:
            python_of(version)
        served, written, made = Served(place), Written(place, tool, short), Made(place, short)
        theirs = place.measure()
        measured = [*written.claims(theirs), *made.claims(theirs), *served.claims(theirs)]
        return measured if short else [*measured, claim_of_export(place, tool, made), claim_of_merged_gpt2(place, tool)]
