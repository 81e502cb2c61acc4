// Texts as they are made, of one adapter or of two beside each other.
import {all, readStream} from "../api.js";
import {h, replace, setText} from "../dom.js";
import {count} from "../format.js";

const kBase = "base model: ";

function made(signal) {
  const choice = h("select", {"aria-label": "Adapter or base model"}), text = h("div", {class: "output text wide", "aria-live": "off"}), line = h("p", {class: "facts"}), error = h("p", {class: "error", role: "alert"});
  const element = h("section", {class: "panel form"}, choice, text, line, error);
  return {element, choice, async run(request, stop) {
    const base = choice.value.startsWith(kBase), name = encodeURIComponent(base ? choice.value.slice(kBase.length) : choice.value);
    replace(text);
    setText(line, "…");
    setText(error, "");
    const began = performance.now();
    try {
      await readStream("POST", `${base ? "models" : "adapters"}/${name}:generate`, {body: request, signal: stop}, (message) => {
        text.append(message.text ?? "");
        if (!message.done) return;
        setText(line, `${count(message.new_tokens)} tokens after ${count(message.prompt_tokens)}${message.prompt_tokens_cut ? ` (${count(message.prompt_tokens_cut)} were cut)` : ""}, in ${((performance.now() - began) / 1000).toFixed(1)} s; ended by ${message.finish_reason ?? ""}`);
      });
    } catch (failure) {
      if (signal.aborted) return;
      setText(line, stop.aborted ? "stopped" : "");
      if (!stop.aborted) setText(error, failure.message);
    }
  }};
}

export async function open(host, {query, signal}) {
  const sides = [made(signal), made(signal)];
  const prompt = h("textarea", {"aria-label": "Prompt", placeholder: "The council met on Monday …"});
  const template = h("input", {type: "checkbox", checked: true}), sample = h("input", {type: "checkbox"});
  const option = (name, label, attributes) => ({name, input: h("input", {type: "number", ...attributes}), label});
  const numbers = [option("max_new_tokens", "New tokens", {min: "1", placeholder: "128"}), option("temperature", "Temperature", {min: "0.01", step: "any", placeholder: "1"}), option("top_k", "Top k", {min: "0", placeholder: "0"}),
    option("top_p", "Top p", {min: "0.01", max: "1", step: "any", placeholder: "1"}), option("num_beams", "Beams", {min: "1", max: "64", placeholder: "1"}), option("seed", "Seed", {min: "0", placeholder: "42"})];
  const stop = h("button", {type: "button", disabled: true}, "Stop");
  let stopping = new AbortController();
  signal.addEventListener("abort", () => stopping.abort());
  stop.addEventListener("click", () => stopping.abort());

  async function run(event) {
    event.preventDefault();
    stopping.abort();
    const mine = stopping = new AbortController(), generation = {do_sample: sample.checked}, request = {prompt: prompt.value, apply_template: template.checked, generation};
    for (const {name, input} of numbers) {
      if (input.value === "") continue;
      if (name === "max_new_tokens") request[name] = Number(input.value);
      else generation[name] = name === "seed" ? input.value : Number(input.value);
    }
    stop.disabled = false;
    await Promise.all(sides.filter(({choice}) => choice.value).map((side) => side.run(request, mine.signal)));
    if (stopping === mine) stop.disabled = true;
  }
  const check = (input, label) => h("span", {}, h("label", {class: "inline"}, input, ` ${label}`));
  replace(host, h("h1", {}, "Playground"), h("form", {class: "form", onsubmit: run, onkeydown: (event) => { if (event.key === "Enter" && event.ctrlKey) run(event); }}, prompt,
    h("div", {class: "bar"}, check(template, "in the adapter's template"), check(sample, "sample"), numbers.map(({input, label}) => h("label", {class: "small"}, label, input))),
    h("div", {class: "bar"}, h("button", {class: "primary"}, "Generate (Ctrl Enter)"), stop)), h("div", {class: "two"}, sides.map(({element}) => element)));
  const [models, adapters] = await Promise.all([all("models", "models", {}, signal), all("adapters", "adapters", {}, signal)]).catch(() => [[], []]);
  const names = [...adapters.map(({name}) => name), ...models.map(({name}) => kBase + name)];
  sides.forEach(({choice}, side) => {
    replace(choice, side === 1 && h("option", {value: ""}, "nothing beside it"), names.map((name) => h("option", {value: name}, name)));
    choice.value = query.get(side ? "b" : "a") ?? (side ? "" : names[0] ?? "");
  });
}
