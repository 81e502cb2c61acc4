// All studies.
import {all, poll} from "../api.js";
import {empty, h, replace, table} from "../dom.js";
import {ago, idOf, short} from "../format.js";
import {chip} from "./jobs.js";

const kPollSeconds = 3;

const searchOf = (study) => (study.random ? `${study.random.points} random points` : "grid") + (study.successive_halving ? ", successive halving" : study.median_stopping ? ", median stopping" : "");

export function open(host, {signal}) {
  const list = h("div", {});
  let shown = "";
  replace(host, h("h1", {}, "Studies"), list);
  poll(kPollSeconds, signal, async () => {
    const studies = await all("studies", "studies", {}, signal);
    if (shown === JSON.stringify(studies)) return;
    shown = JSON.stringify(studies);
    replace(list, studies.length ? table(["State", "Study", "Over", "How", "Objective", "Best", "Made"], studies.map((study) => [
      chip(short(study.state, "STUDY_STATE_")), h("a", {href: `#/studies/${encodeURIComponent(idOf(study.name))}`}, study.display_name || idOf(study.name)),
      Object.keys(study.space ?? {}).map(fieldOf).join(", "), searchOf(study), study.objective?.metric ?? "eval/loss",
      study.adapter ? h("a", {href: `#/adapters/${encodeURIComponent(study.adapter)}`}, study.adapter) : "", ago(study.create_time)]), {label: "Studies"})
      : empty("No studies. graft study create makes one: a list for a flag (--rank 2,4,8) is a dimension."));
  }, (error) => replace(list, empty(error.message)));
}

/** "fine_tune.method.lora.rank" -> "lora.rank". */
export function fieldOf(path) {
  return path.split(".").slice(-2).join(".");
}
