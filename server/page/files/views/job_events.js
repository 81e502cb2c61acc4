// A job's log of events, but for the numbers of each step, which are its curves.
import {h, setText} from "../dom.js";
import {bytes, clock, count, number, short} from "../format.js";
import {VirtualList} from "../list.js";

const state = (value) => short(value, "JOB_STATE_").toLowerCase();

/** [kind, text] of an event. */
function told(event) {
  const {state_change: change, evaluation, checkpoint, samples, warning, stage_change: stage, divergence} = event;
  if (change) return ["state", `${change.from ? `${state(change.from)} → ` : ""}${state(change.to)}${change.reason ? `: ${change.reason}` : ""}${change.error?.message ? ` (${change.error.message})` : ""}`];
  if (stage) return ["stage", [short(stage.stage, "JOB_STAGE_").toLowerCase(), stage.device, stage.precision, stage.trainable_parameters && `${count(stage.trainable_parameters)} parameters`].filter(Boolean).join(", ")];
  if (evaluation) {
    const scores = Object.entries(evaluation.values ?? {}).filter(([name]) => /^eval\/(loss|rouge1|rouge2|rougeLsum)$/.test(name)).map(([name, value]) => `${name.slice(5)} ${number(value)}`);
    return ["evaluation", `step ${count(evaluation.step)}${evaluation.adapter ? ` ${evaluation.adapter}` : ""}: ${scores.join(", ")}${evaluation.is_best ? " (best)" : ""}`];
  }
  if (checkpoint) return ["checkpoint", `step ${count(checkpoint.step)}, ${bytes(checkpoint.size_bytes)}`];
  if (samples) return ["samples", `step ${count(samples.step)}: ${(samples.texts ?? []).length} texts`];
  if (warning) return ["warning", `${warning.code ?? ""}: ${warning.text ?? ""}`];
  if (divergence) return ["divergence", `step ${count(divergence.step)}: loss ${number(divergence.loss)}, ${short(divergence.action, "DIVERGENCE_ACTION_").toLowerCase()}`];
  return ["other", JSON.stringify(event)];
}

export function eventsPane(model) {
  const column = (name, title, text) => ({title, class: name, fill: (cell, event) => {
    setText(cell, text(event));
    cell.title = cell.textContent;
  }});
  const list = new VirtualList({label: "Events", key: (event) => event.sequence, open: () => {}, columns: [
    column("sequence", "", (event) => event.sequence), column("time", "Time", (event) => clock(event.create_time)), column("attempt", "Attempt", (event) => String(event.attempt ?? "")),
    column("kind", "What", (event) => told(event)[0]), column("told", "", (event) => told(event)[1])]});
  list.element.classList.add("events");
  return {element: h("div", {}, list.element), update: () => list.set([...model.sortedEvents()].reverse())};
}
