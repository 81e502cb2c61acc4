// One study: its points by rank, its trials, and the objective over steps and against each parameter.
import {follow, get, poll, post} from "../api.js";
import {Chart} from "../chart.js";
import {confirmed, empty, h, replace, setText, table} from "../dom.js";
import {clock, count, idOf, number, short} from "../format.js";
import {extent, interval} from "./compare.js";
import {chip} from "./jobs.js";
import {fieldOf} from "./studies.js";

const kPollSeconds = 2;
// Trials whose curves are drawn: those of the best points.
const kCurves = 12;

const jobLink = (trial) => (trial.job ? h("a", {href: `#/jobs/${encodeURIComponent(idOf(trial.job))}`}, idOf(trial.job)) : "");
const valueOf = (trial) => trial.value ?? trial.values?.[trial.values.length - 1]?.value;
const steps = ({values = []}) => values.map(({step, value}) => [Number(step ?? 0), Number(value ?? 0)]);

function ranking(study, parameters) {
  const points = study.ranking ?? [], range = extent(points.filter(({values}) => values > 1));
  const of = (point) => study.trials.find((trial) => trial.point === point) ?? {};
  if (!points.length) return empty("No point has a value yet.");
  return table(["", "Point", ...parameters.map(fieldOf), study.objective?.metric ?? "eval/loss", "95 %", "", "After", ""], points.map((one, place) => [
    `${place + 1}.`, String(one.point), ...parameters.map((name) => of(one.point).parameters?.[name] ?? ""), number(one.mean ?? 0),
    one.values > 1 ? `${number(one.low ?? 0)} … ${number(one.high ?? 0)}` : "–", one.values > 1 ? interval(one, range) : "", one.step ? `step ${count(one.step)}` : "the end",
    one.indistinguishable ? "not told apart from the best" : ""]), {label: "Points by rank"});
}

function trials(study, parameters) {
  return table(["Trial", "Point", "State", ...parameters.map(fieldOf), "Seed", "Steps", "Value", "Job", ""], (study.trials ?? []).map((trial) => [
    String(trial.number), String(trial.point), chip(short(trial.state, "TRIAL_STATE_")), ...parameters.map((name) => trial.parameters?.[name] ?? ""), trial.seed ?? "", count(trial.steps),
    number(valueOf(trial)), jobLink(trial), trial.state_reason ?? ""]), {label: "Trials"});
}

function draw(host, study, parameters, signal) {
  const metric = study.objective?.metric ?? "eval/loss", best = (study.ranking ?? []).map(({point}) => point);
  const place = (trial) => (best.includes(trial.point) ? best.indexOf(trial.point) : best.length);
  const curved = (study.trials ?? []).filter((trial) => steps(trial).length > 0).sort((a, b) => place(a) - place(b)).slice(0, kCurves);
  const add = (options, data) => {
    const box = h("div", {});
    host.append(box);
    new Chart(box, {format: number, signal, ...options}).set(data);
  };
  replace(host);
  if (curved.length) add({title: `${metric} over steps`, series: curved.map((trial, colour) => ({label: `trial ${trial.number}`, colour, points: true}))}, curved.map(steps));
  for (const name of parameters) {
    const points = (study.trials ?? []).map((trial) => [Number(trial.parameters?.[name]), Number(valueOf(trial))]).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
    if (new Set(points.map(([x]) => x)).size < 2) continue;
    const repeated = byRepeat(points);
    add({title: `${metric} against ${fieldOf(name)}`, x: fieldOf(name), log: study.space[name].log_range ? "x" : "", series: repeated.map((_, index) => ({label: `${metric}${index ? ` ${index + 1}` : ""}`, colour: 0, points: true, scatter: true}))}, repeated);
  }
}

// Several values at one place are points of several series.
function byRepeat(points) {
  const seen = new Map(), series = [];
  for (const [x, y] of [...points].sort(([a], [b]) => a - b)) {
    const turn = seen.get(x) ?? 0;
    seen.set(x, turn + 1);
    (series[turn] ??= []).push([x, y]);
  }
  return series;
}

const actions = [{verb: "pause", title: "Pause", when: "RUNNING"}, {verb: "resume", title: "Resume", when: "PAUSED"}, {verb: "cancel", title: "Cancel", when: "RUNNING PAUSED", ask: "Cancel the study and its jobs? What trials have published stays."}];

export function open(host, {parts: [id], signal}) {
  const path = `studies/${encodeURIComponent(id)}`, title = h("h1", {}), state = h("span", {}), buttons = h("div", {class: "actions"}), line = h("p", {class: "facts", role: "status"}), said = h("p", {class: "error", role: "alert"});
  const points = h("div", {}), listed = h("div", {}), charts = h("div", {class: "charts"});
  let etag, drawing = new AbortController();
  signal.addEventListener("abort", () => drawing.abort());
  replace(host, h("div", {class: "head"}, h("div", {class: "bar"}, title, state, buttons), line, said), charts, h("h2", {}, "Points by rank"), points, h("h2", {}, "Trials"), listed);

  async function act({verb, title: name, ask}) {
    if (ask && !await confirmed(ask, name)) return;
    await post(`${path}:${verb}`, {request_id: crypto.randomUUID()}).then(() => setText(said, ""), (error) => setText(said, error.message));
    await update();
  }
  async function update() {
    const study = await get(path, {}, signal);
    if (study.etag === etag) return study;
    etag = study.etag;
    const now = short(study.state, "STUDY_STATE_"), parameters = Object.keys(study.space ?? {}).sort();
    setText(title, study.display_name || id);
    setText(line, [`${count((study.trials ?? []).length)} trials`, study.exhaustive_steps && `${count(study.planned_steps)} of ${count(study.exhaustive_steps)} steps told`, study.rung_steps?.length && `compared at ${study.rung_steps.join(", ")}`,
      study.state_reason, `made ${clock(study.create_time)}`].filter(Boolean).join(" · "));
    replace(state, chip(now));
    replace(buttons, actions.filter(({when}) => when.split(" ").includes(now)).map((action) => h("button", {type: "button", onclick: () => act(action)}, action.title)),
      h("a", {class: "button", href: `#/compare?study=${encodeURIComponent(study.display_name || id)}`}, "Compare its jobs"));
    replace(points, ranking(study, parameters));
    replace(listed, trials(study, parameters));
    drawing.abort();
    drawing = new AbortController();
    draw(charts, study, parameters, drawing.signal);
    return study;
  }
  poll(kPollSeconds, signal, async () => {
    const study = await update();
    // Told of each event from here on; another look costs less than to keep the study here.
    if (!study.done) await follow(`${path}/events`, {after: Number(study.last_sequence ?? 0), signal, over: () => true}, () => {});
  }, (error) => replace(host, empty(error.message)));
}
