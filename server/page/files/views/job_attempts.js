// Where a job ran, what it saved, and the files that it left.
import {get} from "../api.js";
import {empty, h, replace, table} from "../dom.js";
import {bytes, clock, count, idOf, short} from "../format.js";

/** {element, update()} that is made anew when `key(model)` is another. */
function remade(model, key, make) {
  const element = h("div", {});
  let shown;
  return {element, update: () => {
    if (shown === key(model)) return;
    shown = key(model);
    Promise.resolve(make(model)).then((made) => replace(element, made)).catch((error) => replace(element, empty(error.message)));
  }};
}

export function attemptsPane(model) {
  return remade(model, ({job}) => JSON.stringify(job.attempts ?? []), ({job: {attempts = []}}) => (attempts.length
    ? table(["", "Worker", "Device", "Precision", "Threads", "Began", "Ended", "From step", "To step", "Outcome", "Error"], attempts.map((one) => [
      String(one.number), one.worker ?? "", one.device ?? "", one.precision ?? "", String(one.threads ?? ""), clock(one.start_time), clock(one.end_time),
      count(one.resumed_from_step), count(one.last_step), one.end_time ? short(one.outcome, "ATTEMPT_OUTCOME_").toLowerCase() : "runs", one.error?.message ?? ""]), {label: "Attempts"})
    : empty("No attempt yet.")));
}

export function checkpointsPane(model) {
  return remade(model, ({checkpoints, job}) => `${checkpoints} ${job.state}`, async ({id}) => {
    const {checkpoints = []} = await get(`jobs/${id}/checkpoints`);
    if (!checkpoints.length) return empty("No checkpoint is kept.");
    return table(["Step", "Attempt", "Size", "Saved", "", ""], checkpoints.map((one) => [count(one.step), one.attempt ? String(one.attempt) : "from an earlier job", bytes(one.size_bytes), clock(one.create_time),
      one.pinned ? "pinned" : "", h("a", {href: `#/submit?from=${id}&init_from=${encodeURIComponent(one.name)}`}, "go on from here")]), {label: "Checkpoints"});
  });
}

export function filesPane(model) {
  return remade(model, ({job}) => `${job.state}`, async ({id}) => {
    const {artifacts = []} = await get(`jobs/${id}/artifacts`);
    if (!artifacts.length) return empty("No files yet.");
    const path = (name) => name.split("/").map(encodeURIComponent).join("/");
    return table(["File", "Size", "SHA-256"], artifacts.map((one) => [h("a", {href: `/v1/jobs/${id}/artifacts/${path(one.path)}`, download: idOf(one.path)}, one.path), bytes(one.size_bytes), h("code", {}, one.sha256.slice(0, 16))]), {label: "Files"});
  });
}
