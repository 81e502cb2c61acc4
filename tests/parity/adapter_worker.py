"""Adapters in the hands of whatever PEFT runs this: `python adapter_worker.py TASK.json`, or task() within a process that has one.

A task names the base model, the rows of ids to compute logits of, the prompts to continue greedily, and cases of five kinds:
  adapter  loads FOLDER by the lines of its README.md
  peft     loads FOLDER with PeftModel
  model    loads FOLDER as a model
  make     makes the adapter CONFIG of KIND_OF_CONFIG, fills it with random values and saves it into FOLDER; computes nothing when UNMEASURED
  save     loads the one PEFT adapter FOLDER and saves it into TO, nothing more
The file OUT gets NAME/logits/ROW and NAME/greedy/PROMPT of each; what it raises ends the task.
"""

import json
import pathlib
import re
import sys
import warnings

import peft
import torch
import transformers
from safetensors.torch import save_file

torch.set_num_threads(1)  # The models are small.
transformers.logging.set_verbosity_error()


def new_base(task):
    return transformers.AutoModelForCausalLM.from_pretrained(task["base"])


def as_readme_says(task, folder):
    lines = re.search(r"```python\n(.*?)```", (pathlib.Path(folder) / "README.md").read_text(), re.DOTALL).group(1)
    # The base has a name there, for which people have a folder.
    lines = re.sub(r'AutoModelForCausalLM\.from_pretrained\("[^"]*"\)', f"AutoModelForCausalLM.from_pretrained({task['base']!r})", lines)
    names = {}
    exec(lines.replace("path/to/this/directory", str(folder)), names)  # noqa: S102 - our own lines, which people are told to run
    return names["model"]


def make(task, case):
    torch.manual_seed(2)
    model = peft.get_peft_model(new_base(task), getattr(peft, case["kind_of_config"])(task_type="CAUSAL_LM", **case["config"]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(case["folder"])
    return model


def load(task, case):
    if case["kind"] == "adapter":
        return as_readme_says(task, case["folder"])
    if case["kind"] == "peft":
        return peft.PeftModel.from_pretrained(new_base(task), case["folder"])
    if case["kind"] == "model":
        return transformers.AutoModelForCausalLM.from_pretrained(case["folder"])
    return make(task, case)


def continue_greedily(model, ids, new_tokens):
    if peft.__version__ != "0.10.0" or not isinstance(model, peft.PeftModel) or not model.active_peft_config.is_prompt_learning:
        return model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False, pad_token_id=0)
    # With a soft prompt, PEFT 0.10's generate knows only the caches of transformers before 4.56, and no way without one.
    for _ in range(new_tokens):
        best = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -1:].argmax(-1)
        ids = torch.cat([ids, best], dim=1)
        if best.item() == model.config.eos_token_id:
            break
    return ids


@torch.no_grad()
def measure(task, model, name, out):
    model.eval()
    for index, row in enumerate(task["rows"]):
        ids = torch.tensor([row])
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        out[f"{name}/logits/{index}"] = logits[0, -len(row):].float().contiguous()
    for index, prompt in enumerate(task["prompts"]):
        ids = torch.tensor([prompt])
        text = continue_greedily(model, ids, task["new_tokens"])
        out[f"{name}/greedy/{index}"] = text[0, len(prompt):].contiguous()


def run(task):
    out = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What counts is compared.
        for case in task["cases"]:
            if case.get("unmeasured", False):
                make(task, case)
            elif case["kind"] == "save":
                peft.PeftModel.from_pretrained(new_base(task), case["folder"]).save_pretrained(case["to"])
            else:
                measure(task, load(task, case), case["name"], out)
    return out


def main(path):
    task = json.loads(pathlib.Path(path).read_text())
    save_file(run(task), task["out"])
    print(json.dumps({"peft": peft.__version__, "transformers": transformers.__version__}))


if __name__ == "__main__":
    main(sys.argv[1])
