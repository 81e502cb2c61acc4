// The adapters that jobs left: what they are, where they come from, how to load them.
import {all, get, poll, remove} from "../api.js";
import {confirmed, empty, h, replace, setText, table} from "../dom.js";
import {ago, bytes, clock, count, idOf, number} from "../format.js";

const kPollSeconds = 5;
const parts = (adapter) => Object.keys(adapter.method ?? {}).join("+");
const linkTo = (name) => h("a", {href: `#/adapters/${encodeURIComponent(name)}`}, name);
const jobLink = (name) => (name ? h("a", {href: `#/jobs/${encodeURIComponent(idOf(name))}`}, idOf(name)) : "imported");

function list(host, signal) {
  const found = h("div", {});
  let shown = "";
  replace(host, h("h1", {}, "Adapters"), found);
  poll(kPollSeconds, signal, async () => {
    const adapters = await all("adapters", "adapters", {}, signal);
    if (shown === JSON.stringify(adapters)) return;
    shown = JSON.stringify(adapters);
    replace(found, adapters.length ? table(["Adapter", "Base model", "Method", "Parameters", "Size", "Loss", "ROUGE-Lsum", "Job", "Made"], adapters.map((one) => [linkTo(one.name), one.base_model, parts(one),
      count(one.trainable_parameters), bytes(one.size_bytes), number(one.metrics?.["eval/loss"]), number(one.metrics?.["eval/rougeLsum"]), jobLink(one.job), ago(one.create_time)]), {label: "Adapters"})
      : empty("No adapters. A fine-tune job leaves one."));
  }, (error) => replace(found, empty(error.message)));
}

// What it began with, back to the first: a job may have begun with an adapter, or with a checkpoint of another job.
async function lineage(adapter, signal) {
  const way = [];
  for (let job = adapter.job; job && way.length < 20;) {
    const made = await get(`jobs/${idOf(job)}`, {}, signal).catch(() => null);
    const from = made?.resolved_spec?.fine_tune?.init_from;
    if (!from) break;
    way.push(from.startsWith("jobs/") ? h("a", {href: `#/jobs/${encodeURIComponent(from.split("/")[1])}`}, from) : linkTo(from));
    job = from.startsWith("jobs/") ? from.split("/").slice(0, 2).join("/") : (await get(`adapters/${encodeURIComponent(from)}`, {}, signal).catch(() => ({}))).job;
  }
  return way;
}

// A score with the interval that stands beside it under names of its own.
function scores(metrics) {
  const names = Object.keys(metrics).filter((name) => !/_(low|high|precision|recall)$/.test(name)).sort(), beside = (name, what) => metrics[`${name}_${what}`];
  return table(["", "", "95 %", "Precision", "Recall"], names.map((name) => [name, number(metrics[name]), beside(name, "low") === undefined ? "" : `${number(beside(name, "low"))} … ${number(beside(name, "high"))}`,
    beside(name, "precision") === undefined ? "" : number(beside(name, "precision")), beside(name, "recall") === undefined ? "" : number(beside(name, "recall"))]), {label: "Scores"});
}

async function one(host, name, signal) {
  const path = `adapters/${encodeURIComponent(name)}`, said = h("p", {class: "error", role: "alert"});
  let adapter;
  try {
    adapter = await get(path, {}, signal);
  } catch (error) {
    return signal.aborted || replace(host, empty(error.message));
  }
  const erase = async () => {
    if (!await confirmed(`Delete the adapter ${name}? Nothing brings it back.`, "Delete")) return;
    await remove(path).then(() => { location.hash = "#/adapters"; }, (error) => setText(said, error.message));
  };
  const begun = h("p", {});
  replace(host, h("div", {class: "bar"}, h("h1", {}, name), h("div", {class: "actions"}, h("a", {class: "button", href: `#/playground?a=${encodeURIComponent(name)}`}, "Try it"), h("button", {type: "button", class: "danger", onclick: erase}, "Delete"))), said,
    h("p", {class: "facts"}, `${adapter.base_model} · ${parts(adapter)} · ${count(adapter.trainable_parameters)} parameters · ${bytes(adapter.size_bytes)} · made ${clock(adapter.create_time)} by `, jobLink(adapter.job)), begun,
    h("div", {class: "two"},
      h("section", {}, h("h2", {}, "Scores"), scores(adapter.metrics ?? {})),
      h("section", {}, h("h2", {}, "Files"), table(["File", "Size", "SHA-256"], (adapter.files ?? []).map((file) => [file.path, bytes(file.size_bytes), h("code", {}, file.sha256.slice(0, 16))]), {label: "Files"}),
        h("p", {}, h("a", {href: `/v1/${path}:download`, download: `${name}.tar`}, "All of them, as a tar")), h("p", {class: "help"}, "To a folder that PEFT loads:"), h("pre", {}, `graft adapters download ${name} --to ${name}`),
        h("p", {class: "help"}, "On the server's machine they lie in:"), h("pre", {}, adapter.directory ?? ""))),
    h("section", {}, h("h2", {}, "In Python"), h("pre", {tabindex: "0"}, adapter.peft_snippet ?? "")),
    h("section", {}, h("h2", {}, "Method"), h("pre", {tabindex: "0"}, JSON.stringify(adapter.method ?? {}, null, 2))));
  const way = await lineage(adapter, signal);
  if (way.length) replace(begun, "began with ", way.flatMap((link, place) => (place ? [" ← ", link] : [link])));
}

export function open(host, {parts: [name], signal}) {
  return name ? one(host, name, signal) : list(host, signal);
}
