// Who works, and what waits for whom.
import {all, poll} from "../api.js";
import {empty, h, replace, table} from "../dom.js";
import {ago, count, duration, idOf, short} from "../format.js";
import {chip} from "./jobs.js";

const kPollSeconds = 2, kShown = 500;
const jobLink = (name, text) => h("a", {href: `#/jobs/${encodeURIComponent(idOf(name))}`}, text || idOf(name));

const workerRow = (one) => [chip(one.connected ? "CONNECTED" : "GONE"), one.name, one.hostname ?? "", (one.devices ?? []).join(", "), one.connected ? `${one.free_slots ?? 0} of ${one.slots ?? 0}` : "", one.serves_only ? "texts only" : (one.jobs ?? []).map((name) => [jobLink(name), " "]),
  `${duration(one.seconds_since_heard ?? 0)} ago`, one.version ?? ""];
const queueRow = (one) => [`${one.position}.`, jobLink(one.name, one.display_name), one.method ?? "", String(one.priority ?? 0), one.expected_start_seconds === undefined ? "–" : `in ${duration(one.expected_start_seconds)}`,
  short(one.reason, "WAIT_REASON_").toLowerCase().replaceAll("_", " "), one.waits ?? "", ago(one.queue_time)];

export function open(host, {signal}) {
  const workers = h("div", {}), queue = h("div", {}), title = h("h2", {}, "Queue");
  replace(host, h("h1", {}, "Workers and queue"), workers, title, queue);
  poll(kPollSeconds, signal, async () => {
    const [connected, waiting] = await Promise.all([all("workers", "workers", {}, signal), all("queue", "jobs", {}, signal)]);
    replace(workers, connected.length ? table(["", "Worker", "Machine", "Devices", "Free", "Does", "Heard", "Version"], connected.map(workerRow), {label: "Workers"}) : empty("No worker is connected: graft-server --workers 1, or graft-worker --server ADDRESS"));
    title.textContent = `Queue: ${count(waiting.length)}`;
    replace(queue, waiting.length ? table(["", "Job", "Method", "Priority", "Starts", "Why it waits", "", "Queued"], waiting.slice(0, kShown).map(queueRow), {label: "Queue"}) : empty("Nothing waits."),
      waiting.length > kShown && h("p", {class: "help"}, `The first ${count(kShown)} are shown.`));
  }, (error) => replace(workers, empty(error.message)));
}
