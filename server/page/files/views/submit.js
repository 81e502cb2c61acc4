// A job from a form, checked as it is typed, with the command that does the same.
import {all, get, post} from "../api.js";
import {empty, h, replace, setText} from "../dom.js";
import {bytes, count, duration, idOf} from "../format.js";
import {datalist, parseProto, specForm} from "../spec_form.js";

const kCheckAfterMs = 400;
const kKinds = {fine_tune: "Fine-tune", evaluate: "Evaluate"};
const kLists = {base_model: "names-models", train: "names-datasets", validation: "names-datasets", adapter: "names-adapters", adapters: "names-adapters", init_from: "names-adapters"};

// As one would give it to the command line.
function command(job) {
  return `graft submit --file job.json\n\n# job.json\n${JSON.stringify(job, null, 2)}`;
}

function lengths(part, title) {
  if (!part) return [];
  const tokens = (name, {mean = 0, max = 0, limit, rows_cut: cut = 0}) => `${name}: ${count(Math.round(mean))} tokens on average, at most ${count(max)}${limit ? `; limit ${count(limit)}, ${count(cut)} rows are cut` : ""}`;
  return [h("li", {}, `${title}: ${count(part.rows)} rows of ${part.dataset}`, h("ul", {}, part.source && h("li", {}, tokens("source", part.source)), part.target && h("li", {}, tokens("target", part.target))))];
}

function planned(plan) {
  const {measured} = plan;
  return h("ul", {}, plan.total_steps && h("li", {}, `${count(plan.total_steps)} steps, ${count(plan.evaluations)} evaluations, ${count(plan.trainable_parameters)} of ${count(plan.total_parameters)} parameters are trained`),
    lengths(plan.train, "training"), lengths(plan.validation, "validation"), (plan.warnings ?? []).map(({code, text}) => h("li", {class: "error"}, `${code}: ${text}`)),
    plan.expected_start_seconds !== undefined && h("li", {}, `would start in ${duration(plan.expected_start_seconds)}`), plan.waits && h("li", {}, plan.waits),
    measured ? h("li", {}, `measured on ${measured.worker}: ${measured.step_seconds ? `${measured.step_seconds.toFixed(3)} s a step, ` : ""}${measured.seconds ? `${duration(measured.seconds)} in all, ` : ""}${bytes(measured.peak_memory_bytes)} of memory`) : plan.not_measured && h("li", {}, `not measured: ${plan.not_measured}`));
}

// Names to propose. One that cannot be listed is proposed less.
async function lists(signal) {
  const names = (path) => all(path, path, {}, signal).then((found) => found.map(({name}) => name), () => []);
  const [models, datasets, adapters] = await Promise.all([names("models"), names("datasets"), names("adapters")]);
  return {names: {base_model: models, train: datasets}, elements: [datalist("names-models", models), datalist("names-datasets", datasets), datalist("names-adapters", adapters)]};
}

async function beginning(query, signal) {
  if (!query.get("from")) return {};
  const job = await get(`jobs/${encodeURIComponent(query.get("from"))}`, {}, signal);
  const spec = structuredClone(job.spec);
  if (query.get("init_from") && spec.fine_tune) spec.fine_tune.init_from = query.get("init_from");
  delete spec.fine_tune?.output_name;
  return {display_name: job.display_name, study: job.study, spec};
}

export async function open(host, {query, signal}) {
  replace(host, h("h1", {}, "Submit"), empty("…"));
  let proto, known, begun;
  try {
    [proto, known, begun] = await Promise.all([fetch("/page/spec.proto", {signal}).then((answer) => answer.text()).then(parseProto), lists(signal), beginning(query, signal)]);
  } catch (error) {
    return signal.aborted || replace(host, h("h1", {}, "Submit"), empty(error.message));
  }
  const name = h("input", {placeholder: "for people", value: begun.display_name ?? "", maxlength: "128"}), study = h("input", {placeholder: "groups jobs", value: begun.study ?? ""}), priority = h("input", {type: "number", placeholder: "0", min: "-1000", max: "1000"});
  const kind = h("select", {"aria-label": "Kind", onchange: () => choose()}, Object.entries(kKinds).map(([value, title]) => h("option", {value}, title)));
  kind.value = begun.spec?.evaluate ? "evaluate" : "fine_tune";
  const verdict = h("p", {role: "status"}), left = h("ul", {class: "warnings"}), shown = h("pre", {tabindex: "0"}), fields = h("div", {}), plan = h("div", {});
  const forms = new Map();
  let form, checks = 0, timer;

  const take = () => ({...(name.value && {display_name: name.value}), ...(study.value && {study: study.value}), ...(priority.value && {priority: Number(priority.value)}), spec: form.take()});
  function complain(error) {
    setText(verdict, error.violations?.length ? "Not yet: the fields say what is missing." : error.message ?? "");
    replace(left, form.complain(error.violations ?? []).map((text) => h("li", {}, text)));
  }
  async function check() {
    const mine = ++checks, job = take();
    setText(shown, command(job));
    try {
      const {warnings = []} = await post("jobs", job, {validate_only: true}, signal);
      if (mine !== checks) return;
      complain({});
      setText(verdict, "The server would take it.");
      replace(left, warnings.map(({code, text}) => h("li", {}, `${code}: ${text}`)));
    } catch (error) {
      if (mine === checks && !signal.aborted) complain(error);
    }
    verdict.classList.toggle("error", verdict.textContent !== "The server would take it.");
  }
  const changed = () => {
    clearTimeout(timer);
    timer = setTimeout(check, kCheckAfterMs);
  };
  function choose() {
    if (!forms.has(kind.value)) forms.set(kind.value, specForm(proto, kind.value, (field) => kLists[field]));
    form = forms.get(kind.value);
    replace(fields, form.element);
    changed();
  }
  async function submit(event) {
    event.preventDefault();
    try {
      const job = await post("jobs", take(), {request_id: crypto.randomUUID()}, signal);
      location.hash = `#/jobs/${encodeURIComponent(idOf(job.name))}`;
    } catch (error) {
      complain(error);
    }
  }
  async function showPlan() {
    replace(plan, empty("…"));
    await post("jobs:plan", {spec: form.take()}, {}, signal).then((answer) => replace(plan, planned(answer)), (error) => replace(plan, h("p", {class: "error"}, error.message)));
  }
  const labelled = (text, input) => h("label", {}, text, input);
  replace(host, h("h1", {}, "Submit"), known.elements, h("form", {class: "two", onsubmit: submit, oninput: changed, onchange: changed},
    h("section", {class: "form"}, labelled("Kind", kind), labelled("Name", name), labelled("Study", study), labelled("Priority", priority), fields),
    h("section", {class: "form sticky"}, verdict, left, h("div", {class: "actions"}, h("button", {class: "primary"}, "Submit"), h("button", {type: "button", onclick: showPlan}, "What it would do")), plan, h("h2", {}, "The same as a command"), shown)));
  choose();
  // What there is one of need not be typed.
  const fallback = {fine_tune: {...(known.names.base_model.length === 1 && {base_model: known.names.base_model[0]}), method: {lora: {}}}};
  form.fill(begun.spec ?? fallback);
}
