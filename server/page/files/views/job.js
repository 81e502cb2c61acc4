// One job, while it runs and afterwards.
import {post, remove} from "../api.js";
import {confirmed, eachFrame, empty, h, replace, setText} from "../dom.js";
import {clock, count, duration, idOf, progress, share, short, stateOf} from "../format.js";
import {JobModel, nameOf} from "../job_model.js";
import {attemptsPane, checkpointsPane, filesPane} from "./job_attempts.js";
import {curvesPane} from "./job_curves.js";
import {eventsPane} from "./job_events.js";
import {logPane} from "./job_log.js";
import {samplesPane} from "./job_samples.js";
import {chip} from "./jobs.js";

// Each makes its contents once, {element, update()}, when it is first looked at.
const panes = {
  curves: {title: "Curves", make: curvesPane},
  samples: {title: "Samples", make: samplesPane},
  attempts: {title: "Attempts", make: attemptsPane},
  checkpoints: {title: "Checkpoints", make: checkpointsPane},
  events: {title: "Events", make: eventsPane},
  log: {title: "Log", make: logPane},
  spec: {title: "Spec", make: specPane},
  files: {title: "Files", make: filesPane},
};

function specPane(model) {
  const texts = [["As submitted", "spec"], ["As resolved", "resolved_spec"]].map(([title, field]) => ({field, title, text: h("pre", {tabindex: "0"})}));
  return {
    element: h("div", {class: "two"}, texts.map(({title, text}) => h("section", {}, h("h2", {}, title), text))),
    update: () => texts.forEach(({field, text}) => setText(text, JSON.stringify(model.job[field] ?? {}, null, 2))),
  };
}

// What can be done in which state; `ask` first where it cannot be undone.
const actions = [
  {title: "Pause", verb: "pause", when: ["QUEUED", "RUNNING"]},
  {title: "Resume", verb: "resume", when: ["PAUSED"]},
  {title: "Save a checkpoint", verb: "checkpoint", when: ["RUNNING"], only: (job) => !job.method?.startsWith("evaluate")},
  {title: "Save and cancel", verb: "cancel", body: {save_checkpoint: true}, when: ["RUNNING"], ask: "Save its state and cancel the job? A retry goes on from there."},
  {title: "Cancel", verb: "cancel", when: ["QUEUED", "RUNNING", "PAUSED", "PAUSING", "CANCELLING"], ask: "Cancel the job?", danger: true},
  {title: "Retry", verb: "retry", when: ["FAILED", "CANCELLED"]},
  {title: "Retry from the beginning", verb: "retry", body: {from_scratch: true}, when: ["FAILED", "CANCELLED"]},
  {title: "Delete", verb: "delete", when: ["SUCCEEDED", "FAILED", "CANCELLED"], ask: "Delete the job with its events and files? Its adapter stays.", danger: true},
];

async function act(action, model, said) {
  if (action.ask && !await confirmed(action.ask, action.title)) return;
  try {
    const path = `jobs/${model.id}`;
    if (action.verb === "delete") {
      await remove(path);
      location.hash = "#/jobs";
      return;
    }
    const answer = await post(`${path}:${action.verb}`, {...action.body, request_id: crypto.randomUUID()});
    if (answer.name !== model.job.name) location.hash = `#/jobs/${encodeURIComponent(idOf(answer.name))}`;
    else model.readJobSoon();
    setText(said, "");
  } catch (error) {
    setText(said, error.message);
  }
}

function facts(job) {
  const stage = short(job.stage, "JOB_STAGE_").toLowerCase();
  return [
    stateOf(job) === "RUNNING" && job.stage && stage,
    progress(job) && `${progress(job)} ${stage === "evaluating" && !job.done ? "rows" : "steps"}`,
    job.epoch && `epoch ${Number(job.epoch).toFixed(2)}`,
    !job.done && job.eta_seconds && `${duration(job.eta_seconds)} left`,
    stateOf(job) === "QUEUED" && job.queue_position && `${job.queue_position}. in the queue`,
    stateOf(job) === "QUEUED" && job.waits,
    job.worker_silent_seconds > 10 && `its worker was not heard for ${duration(job.worker_silent_seconds)}`,
    job.done && job.start_time && job.end_time && `took ${duration((Date.parse(job.end_time) - Date.parse(job.start_time)) / 1000)}`,
    job.method,
    `made ${clock(job.create_time)}`,
  ].filter(Boolean).join(" · ");
}

function head(model) {
  const said = h("p", {class: "error", role: "alert"}), title = h("h1", {}), state = h("span", {}), line = h("p", {class: "facts", role: "status"}), reason = h("p", {class: "reason"});
  const bar = h("progress", {max: "1", "aria-label": "progress"}), buttons = h("div", {class: "actions"}), results = h("p", {class: "facts"}), warnings = h("ul", {class: "warnings"});
  let shown = "";
  const element = h("div", {class: "head"}, h("div", {class: "bar"}, title, state, buttons), bar, line, results, reason, warnings, said);
  const update = () => {
    const {job} = model, now = stateOf(job);
    setText(title, nameOf(job));
    setText(line, facts(job));
    bar.hidden = share(job) === undefined;
    bar.value = share(job) ?? 0;
    const failed = job.error?.message ? `${short(job.failure_class, "FAILURE_CLASS_")}: ${job.error.message}` : job.state_reason ?? "";
    setText(reason, failed);
    reason.classList.toggle("error", now === "FAILED");
    const warned = JSON.stringify(job.warnings ?? []);
    if (shown === now + warned) return;
    shown = now + warned;
    replace(state, chip(now));
    replace(warnings, (job.warnings ?? []).map(({code, text}) => h("li", {}, h("b", {}, code), ` ${text}`)));
    replace(buttons, h("a", {class: "button", href: `#/submit?from=${model.id}`}, "Submit another like it"), actions.filter(({when, only}) => when.includes(now) && (!only || only(job))).map((action) =>
      h("button", {type: "button", class: action.danger && "danger", onclick: () => act(action, model, said)}, action.title)));
    replace(results, job.result?.adapter && [h("a", {href: `#/adapters/${encodeURIComponent(job.result.adapter)}`}, job.result.adapter), ` of step ${count(job.result.best_step)}, ${count(job.result.trainable_parameters)} parameters`],
      job.trial && [" · ", h("a", {href: `#/studies/${encodeURIComponent(job.trial.split("/")[1])}`}, `of study ${job.study}`)],
      job.retry_of && [" · ", h("a", {href: `#/jobs/${encodeURIComponent(idOf(job.retry_of))}`}, `retry of ${idOf(job.retry_of)}`)]);
  };
  return {element, update};
}

export function open(host, {parts: [id, wanted = "curves"], signal}) {
  const current = panes[wanted] ? wanted : "curves";
  const model = new JobModel(encodeURIComponent(id), signal, eachFrame(() => !signal.aborted && update()));
  let top, pane;
  const tabs = h("nav", {class: "tabs", "aria-label": "Of the job"}, Object.entries(panes).map(([name, {title}]) =>
    h("a", {href: `#/jobs/${encodeURIComponent(id)}/${name}`, "aria-current": name === current && "page"}, title)));
  function update() {
    if (!model.job) return;
    if (!top) {
      top = head(model);
      pane = panes[current].make(model, signal);
      replace(host, top.element, tabs, pane.element);
    }
    top.update();
    pane.update();
  }
  replace(host, empty("…"));
  start(model, host, signal);
}

// A server that is away when the page is opened is waited for.
async function start(model, host, signal) {
  while (!signal.aborted) {
    try {
      return await model.start();
    } catch (error) {
      if (signal.aborted) return;
      if (error.status) return replace(host, empty(error.message));
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}
