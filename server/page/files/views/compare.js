// Jobs side by side: their scores, how sure the differences are, their curves, and the rows that differ most.
import {get} from "../api.js";
import {Chart} from "../chart.js";
import {empty, h, replace, table} from "../dom.js";
import {count, duration, idOf, number} from "../format.js";

const kScores = ["loss", "perplexity", "rouge1", "rouge2", "rougeL", "rougeLsum"];
const kCurves = ["eval/loss", "train/loss", "eval/rouge1", "eval/rouge2", "eval/rougeL", "eval/rougeLsum"];
// Rows of each of two jobs that are looked at, and those that are shown.
const kRows = 1000, kShownRows = 30;

const scoreOf = (job, name) => job.metrics?.[`eval/${name}`] ?? job.metrics?.[name];
const linkTo = (name, text) => h("a", {href: `#/jobs/${encodeURIComponent(idOf(name))}`}, text);

/** Where a mean and its interval lie, between the least and the greatest of all that are shown. */
export function interval({low, high, mean}, [least, greatest]) {
  const at = (value) => `${(100 * (Number(value ?? 0) - least)) / (greatest - least || 1)}%`;
  const part = (name, left, right) => {
    const element = h("span", {class: name});
    element.style.left = at(left);
    if (right !== undefined) element.style.right = `calc(100% - ${at(right)})`;
    return element;
  };
  return h("span", {class: "interval", "aria-hidden": "true"}, least <= 0 && greatest >= 0 && part("zero", 0), part("span", low, high), part("mean", mean));
}

export function extent(items) {
  const values = items.flatMap(({low, high, mean}) => [low, high, mean].map((value) => Number(value ?? 0)));
  return [Math.min(0, ...values), Math.max(0, ...values)];
}

const signed = (value) => `${Number(value ?? 0) > 0 ? "+" : ""}${number(value ?? 0)}`;

function scores({jobs = [], seed_groups: groups = [], left_out: left = [], validations = []}) {
  const names = kScores.filter((name) => jobs.some((job) => scoreOf(job, name) !== undefined));
  const best = new Map(names.map((name) => {
    const values = jobs.map((job) => scoreOf(job, name)).filter((value) => value !== undefined);
    return [name, ["loss", "perplexity"].includes(name) ? Math.min(...values) : Math.max(...values)];
  }));
  const cell = (value, name) => h("span", {class: value !== undefined && value === best.get(name) && jobs.length > 1 ? "best" : null}, number(value));
  return [
    table(["Job", "Method", "Trained", "Time", ...names], jobs.map((job) => [linkTo(job.job, job.adapter && job.one_of_several ? `${job.label} (${job.adapter})` : job.label || idOf(job.job)), job.method ?? "",
      job.trainable_parameters ? count(job.trainable_parameters) : "–", job.train_seconds ? duration(job.train_seconds) : "–", ...names.map((name) => cell(scoreOf(job, name), name))]), {label: "Scores"}),
    left.length > 0 && h("ul", {class: "warnings"}, left.map(({job, why}) => h("li", {}, linkTo(job, idOf(job)), ` is left out: ${why}`))),
    validations.length > 0 && h("ul", {class: "warnings"}, validations.map((one) => h("li", {}, `${one.label}: ${[one.not_comparable, one.limits, one.scoring].filter(Boolean).join("; ")}`))),
    groups.length > 0 && [h("h2", {}, "Over seeds"), table(["Jobs", "Seeds", "Metric", "Mean", "95 %"], groups.flatMap((group) => (group.metrics ?? []).filter(({metric}) => kScores.includes(metric.replace("eval/", "")))
      .map((one) => [group.label ?? "", (group.seeds ?? []).join(", "), one.metric, number(one.mean ?? 0), `${number(one.low ?? 0)} … ${number(one.high ?? 0)}`])), {label: "Over seeds"})],
  ];
}

function differences({differences: found = []}, metric) {
  if (!found.length) return [];
  const range = extent(found);
  return [h("h2", {}, `Differences in ${metric}, row by row, with their 95 % intervals`), table(["", "Mean", "95 %", "", "Rows", "Rows that would do", ""], found.map((one) => (one.not_comparable
    ? [one.label ?? "", "–", "–", "", "", "", one.not_comparable]
    : [one.label ?? "", signed(one.mean), `${signed(one.low)} … ${signed(one.high)}`, interval(one, range), count(one.rows), one.rows_needed ? count(one.rows_needed) : "–", one.note ?? ""])), {label: "Differences"})];
}

async function curves(host, compared, signal) {
  const jobs = [...new Map(compared.map((job) => [job.training_job || job.job, job.label || idOf(job.job)]))].slice(0, 16);
  const draw = async () => {
    const read = await Promise.all(jobs.map(([name, label]) => get(`jobs/${idOf(name)}/metrics`, {metrics: [choice.value], max_points: 500}, signal).then(({curves: [curve]}) => [label, curve], () => [label, undefined])));
    const present = read.filter(([, curve]) => curve?.points?.length > 1);
    replace(drawn);
    if (!present.length) return replace(drawn, empty(`None of them has a curve of ${choice.value}.`));
    const box = h("div", {});
    drawn.append(box);
    new Chart(box, {title: choice.value, format: number, signal, series: present.map(([label], colour) => ({label, colour, points: choice.value.startsWith("eval/")}))})
      .set(present.map(([, {points}]) => points.map(({step, last}) => [Number(step ?? 0), Number(last ?? 0)])));
  };
  const choice = h("select", {"aria-label": "Curve", onchange: draw}, kCurves.map((name) => h("option", {}, name))), drawn = h("div", {});
  replace(host, h("div", {class: "bar"}, h("h2", {}, "Curves"), choice), drawn);
  await draw();
}

async function rows(host, [first, second], signal) {
  const read = (job) => get(`jobs/${idOf(job.job)}/rows`, {page_size: kRows, adapter: job.one_of_several ? job.adapter : undefined}, signal);
  const [one, other] = await Promise.all([read(first), read(second)]);
  const before = new Map((one.rows ?? []).map((row) => [row.row ?? "0", row]));
  const pairs = (other.rows ?? []).filter((row) => before.has(row.row ?? "0")).map((row) => ({row, base: before.get(row.row ?? "0")})).map((pair) => ({...pair, by: Number(pair.row.loss ?? 0) - Number(pair.base.loss ?? 0)}))
    .sort((a, b) => Math.abs(b.by) - Math.abs(a.by)).slice(0, kShownRows);
  if (!pairs.length) return;
  replace(host, h("h2", {}, `The rows whose loss differs most: ${second.label} less ${first.label}`), table(["Row", "Loss by", "Loss", "Source", "Target", first.label, second.label], pairs.map(({row, base, by}) => [count(row.row), signed(by),
    `${number(base.loss)} → ${number(row.loss)}`, ...[row.source, row.target, base.prediction, row.prediction].map((text) => h("div", {class: "text"}, text ?? ""))]), {label: "Rows"}));
}

export async function open(host, {query, signal}) {
  const names = (query.get("jobs") ?? "").split(",").filter(Boolean), study = query.get("study") ?? "", metric = query.get("metric") ?? "rougeLsum";
  const go = (event) => {
    event?.preventDefault();
    location.hash = `#/compare?${new URLSearchParams({jobs: chosen.value.split(/[\s,]+/).filter(Boolean).map(idOf).join(","), study: named.value, metric: by.value})}`;
  };
  const chosen = h("input", {type: "search", value: names.join(", "), placeholder: "jobs, by id", "aria-label": "Jobs"});
  const named = h("input", {value: study, placeholder: "or all of a study", "aria-label": "Study"});
  const by = h("select", {"aria-label": "Metric of the differences", onchange: go, value: metric}, ["rouge1", "rouge2", "rougeL", "rougeLsum"].map((name) => h("option", {}, name)));
  by.value = metric;
  const found = h("div", {class: "view-part"}), drawn = h("div", {}), rowsHost = h("div", {});
  replace(host, h("form", {class: "bar", onsubmit: go}, h("h1", {}, "Compare"), chosen, named, by, h("button", {class: "primary"}, "Compare")), found, drawn, rowsHost);
  if (!names.length && !study) return replace(found, empty("Mark jobs in the list (x) and press c, or name them here. The first one is what the others are compared to."));
  replace(found, empty("…"));
  try {
    const answer = await get("jobs:compare", {names: names.map((id) => `jobs/${id}`), study, metric}, signal);
    replace(found, scores(answer), differences(answer, metric));
    const jobs = answer.jobs ?? [];
    await Promise.all([jobs.length && curves(drawn, jobs, signal), jobs.length === 2 && rows(rowsHost, jobs, signal).catch(() => {})]);
  } catch (error) {
    if (!signal.aborted) replace(found, empty(error.message));
  }
}
