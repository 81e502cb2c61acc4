// What the model writes for the same rows, evaluation by evaluation, beside the reference.
import {empty, h, replace} from "../dom.js";
import {count, number} from "../format.js";

// Evaluations side by side, the newest.
const kColumns = 12;
const kScores = ["eval/loss", "eval/rouge1", "eval/rouge2", "eval/rougeL", "eval/rougeLsum"];

function heading(samples, evaluation, best) {
  return h("div", {}, h("b", {}, `step ${count(samples.step)}`), samples.adapter && ` ${samples.adapter}`, evaluation && evaluation === best && h("span", {class: "best"}, " best"),
    kScores.filter((name) => evaluation?.values?.[name] !== undefined).map((name) => h("small", {}, `${name.slice(5)} ${number(evaluation.values[name])}`)));
}

export function samplesPane(model) {
  const element = h("div", {});
  let shown = -1;
  function update() {
    if (shown === model.samples.size) return;
    shown = model.samples.size;
    const all = [...model.samples.entries()].sort(([, a], [, b]) => Number(b.step ?? 0) - Number(a.step ?? 0)).slice(0, kColumns);
    const rows = new Map(all.flatMap(([, {texts = []}]) => texts.map((text) => [String(text.row ?? 0), text])));
    // Each that was the best when it came is marked so; the last of them is it.
    const best = [...model.evaluations.values()].filter((one) => one.is_best).sort((a, b) => Number(a.step) - Number(b.step)).pop();
    if (!all.length) return replace(element, empty("No samples: evaluation.sample_events says how many texts each evaluation keeps, and max_samples must not be 0."));
    replace(element, h("div", {class: "scroll-x", tabindex: "0", role: "region", "aria-label": "Samples"}, h("table", {class: "samples"},
      h("thead", {}, h("tr", {}, h("th", {scope: "col"}, "Row"), h("th", {scope: "col"}, "Reference"), all.map(([key, samples]) => h("th", {scope: "col"}, heading(samples, model.evaluations.get(key), best))))),
      h("tbody", {}, [...rows.values()].map((one) => h("tr", {},
        h("th", {scope: "row"}, count(one.row), h("details", {}, h("summary", {}, "source"), h("p", {class: "text"}, one.source ?? ""))),
        h("td", {class: "text reference"}, one.reference ?? ""),
        all.map(([, {texts = []}]) => h("td", {class: "text"}, texts.find(({row}) => (row ?? "0") === (one.row ?? "0"))?.prediction ?? "–"))))))));
  }
  return {element, update};
}
