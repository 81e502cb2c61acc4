// A job's curves.
import {Chart} from "../chart.js";
import {empty, h} from "../dom.js";
import {count, number} from "../format.js";

const charts = [
  {title: "Loss", names: ["train/loss", "eval/loss"]},
  {title: "ROUGE", names: ["eval/rouge1", "eval/rouge2", "eval/rougeL", "eval/rougeLsum"]},
  {title: "Learning rate", names: ["train/learning_rate"]},
  {title: "Gradient norm", names: ["train/grad_norm"]},
  {title: "Tokens a second", names: ["train/tokens_per_second"]},
];
const isOf = (name, metric) => name === metric || name.endsWith(`:${metric}`);  // "news-lora:eval/loss", of several adapters.

export function curvesPane(model, signal) {
  const none = empty("No numbers yet.");
  const element = h("div", {class: "charts"}, none);
  const made = new Map();
  function update() {
    none.hidden = made.size > 0;
    for (const [place, {title, names}] of charts.entries()) {
      const present = names.flatMap((metric) => [...model.curves.keys()].filter((name) => isOf(name, metric)).sort());
      if (!present.length) continue;
      // Another curve is another chart: uPlot's are fixed.
      let chart = made.get(title);
      if (chart?.key !== present.join()) {
        const host = chart?.host ?? h("div", {});
        chart?.plot.plot.destroy();
        host.replaceChildren();
        host.style.order = String(place);
        if (!chart) element.append(host);
        const format = title === "Tokens a second" ? (value) => count(Math.round(value)) : number;
        chart = {host, key: present.join(), plot: new Chart(host, {title, format, signal, series: present.map((label, colour) => ({label, colour, points: label.includes("eval/")}))})};
        made.set(title, chart);
      }
      chart.plot.set(present.map((name) => model.curves.get(name)));
    }
  }
  return {element, update};
}
