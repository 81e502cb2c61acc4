// All jobs: live, filtered as you type, with their places in the queue.
import {ApiError, all, get, pages, poll} from "../api.js";
import {h, empty, eachFrame, replace, setText} from "../dom.js";
import {ago, clock, count, duration, idOf, number, progress, share, stateOf} from "../format.js";
import {VirtualList} from "../list.js";

const kPollSeconds = 2;
// Polls between two looks at everything, which find what was deleted.
const kPollsToReload = 30;
const kStates = ["RUNNING", "QUEUED", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED"];

// Marked for a comparison; stays while the page does.
const marked = new Set();

/** The jobs that the server has, kept up with it. */
class Jobs {
  constructor() {
    this.byName = new Map();
    this.queue = new Map();
    this.polls = 0;
  }

  async refresh(signal, changed) {
    if (this.polls++ % kPollsToReload === 0) await this.load(signal, changed);
    else await this.update(signal);
    await this.places(signal);
    changed();
  }

  async load(signal, changed) {
    const seen = new Set();
    for await (const page of pages("jobs", "jobs", {}, signal)) {
      for (const job of page) {
        this.byName.set(job.name, job);
        seen.add(job.name);
      }
      if (this.polls === 1) changed();
    }
    for (const name of this.byName.keys()) if (!seen.has(name)) this.byName.delete(name);
  }

  // What is not done, what is new, and what became of what is no longer either.
  async update(signal) {
    const before = [...this.byName.values()].filter((job) => !job.done), now = new Set();
    const fresh = await get("jobs", {page_size: 100}, signal);
    for (const job of [...fresh.jobs ?? [], ...await all("jobs", "jobs", {filter: "done = false"}, signal)]) {
      this.byName.set(job.name, job);
      now.add(job.name);
    }
    for (const {name} of before) {
      if (now.has(name)) continue;
      try {
        this.byName.set(name, await get(`jobs/${idOf(name)}`, {}, signal));
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== "NOT_FOUND") throw error;
        this.byName.delete(name);
      }
    }
  }

  async places(signal) {
    const queued = [...this.byName.values()].some((job) => stateOf(job) === "QUEUED");
    const entries = queued ? await all("queue", "jobs", {}, signal) : [];
    this.queue = new Map(entries.map((entry) => [entry.name, entry]));
  }

  /** Newest first. `words` must all stand somewhere in what the list shows of the job. */
  found(words, state) {
    return [...this.byName.values()].filter((job) => (!state || shownState(job) === state) && words.every((word) => textOf(job).includes(word)))
      .sort((a, b) => (a.create_time < b.create_time ? 1 : a.create_time > b.create_time ? -1 : a.name < b.name ? 1 : -1));
  }
}

// Of a job that is about to be something else: what it still is.
function shownState(job) {
  return {CANCELLING: "RUNNING", PAUSING: "RUNNING"}[stateOf(job)] ?? stateOf(job);
}

function textOf(job) {
  const labels = Object.entries(job.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return [job.name, job.display_name, job.method, job.study, stateOf(job), ...labels].join("\n").toLowerCase();
}

export function chip(state) {
  return h("span", {class: "chip", "data-state": state}, state.toLowerCase());
}

function fillState(cell, job) {
  const state = stateOf(job), box = cell.firstChild;
  if (box.dataset.state !== state) box.dataset.state = state;
  setText(box, state.toLowerCase());
}

function waiting(job, entry) {
  if (entry) return `${entry.position}. in the queue${entry.expected_start_seconds === undefined ? "" : `, in ${duration(entry.expected_start_seconds)}`}`;
  if (job.done) return `${job.end_time && job.start_time ? `took ${duration((Date.parse(job.end_time) - Date.parse(job.start_time)) / 1000)}` : ""}`;
  return job.eta_seconds ? `${duration(job.eta_seconds)} left` : "";
}

function columnsFor(jobs, changed) {
  return [
    {title: "", class: "mark", make: (cell, find) => cell.append(h("input", {type: "checkbox", tabindex: "-1", "aria-label": "for a comparison", onchange: () => mark(find(), changed)})),
      fill: (cell, job) => { cell.firstChild.checked = marked.has(job.name); }},
    {title: "State", class: "state", make: (cell) => cell.append(h("span", {class: "chip"})), fill: fillState},
    {title: "Job", class: "name", make: (cell) => cell.append(h("a", {tabindex: "-1"}), h("small", {})), fill: (cell, job) => {
      cell.firstChild.href = `#/jobs/${encodeURIComponent(idOf(job.name))}`;
      setText(cell.firstChild, job.display_name || idOf(job.name));
      setText(cell.lastChild, job.display_name ? idOf(job.name) : "");
      cell.title = job.state_reason ?? "";
    }},
    {title: "Method", class: "method", fill: (cell, job) => setText(cell, job.method ?? "")},
    {title: "Progress", class: "progress", make: (cell) => cell.append(h("progress", {max: "1", "aria-label": "progress"}), h("small", {})), fill: (cell, job) => {
      cell.firstChild.hidden = share(job) === undefined;
      cell.firstChild.value = share(job) ?? 0;
      setText(cell.lastChild, progress(job));
    }},
    {title: "Loss", class: "loss", fill: (cell, job) => setText(cell, number(job.last_metrics?.["eval/loss"] ?? job.last_metrics?.["train/loss"]))},
    {title: "Wait, rest", class: "wait", fill: (cell, job) => {
      const entry = jobs.queue.get(job.name);
      setText(cell, waiting(job, entry));
      cell.title = entry?.waits ?? "";
    }},
    {title: "Made", class: "made", fill: (cell, job) => {
      setText(cell, ago(job.create_time));
      cell.title = clock(job.create_time);
    }},
  ];
}

function mark(job, changed) {
  if (!marked.delete(job.name)) marked.add(job.name);
  changed();
}

export function open(host, {signal, query}) {
  const jobs = new Jobs();
  const show = eachFrame(() => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), found = jobs.found(words, state.value);
    list.set(found);
    setText(figures, jobs.polls ? `${count(found.length)} of ${count(jobs.byName.size)} jobs` : "…");
    none.hidden = jobs.byName.size > 0 || !loaded;
    compare.disabled = marked.size === 0;
    setText(compare, marked.size ? `Compare ${marked.size} (c)` : "Compare");
  });
  const search = h("input", {type: "search", placeholder: "name, method, study, label …", "aria-label": "Filter", value: query.get("filter") ?? "", oninput: show,
    onkeydown: (event) => ["Enter", "ArrowDown"].includes(event.key) && list.scroller.focus()});
  const state = h("select", {"aria-label": "State", onchange: show}, h("option", {value: ""}, "all states"), kStates.map((name) => h("option", {value: name}, name.toLowerCase())));
  const figures = h("span", {class: "figures", role: "status"}, "…");
  const goCompare = () => { location.hash = `#/compare?jobs=${[...marked].map((name) => encodeURIComponent(idOf(name))).join(",")}`; };
  const compare = h("button", {type: "button", disabled: true, onclick: goCompare}, "Compare");
  const none = empty("No jobs yet. Submit one here (7), or with: graft submit");
  const list = new VirtualList({label: "Jobs", columns: columnsFor(jobs, show), key: (job) => job.name,
    open: (job) => { location.hash = `#/jobs/${encodeURIComponent(idOf(job.name))}`; }, pick: (job) => mark(job, show)});
  let loaded = false;
  none.hidden = true;
  replace(host, h("div", {class: "bar"}, h("h1", {}, "Jobs"), search, state, figures, compare), none, list.element);
  document.addEventListener("keydown", (event) => {
    if (event.key === "c" && marked.size && !event.target.closest("input, textarea, select, dialog") && !event.ctrlKey && !event.metaKey) goCompare();
  }, {signal});
  list.scroller.focus({preventScroll: true});
  poll(kPollSeconds, signal, async () => {
    await jobs.refresh(signal, show);
    loaded = true;
    show();
  }, (error) => replace(host, empty(error.message)));
}
