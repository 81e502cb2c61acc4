// Which view is shown (by the part of the address after #), the keys, and the theme.
import {connection} from "./api.js";
import {h, replace} from "./dom.js";
import * as adapters from "./views/adapters.js";
import * as compare from "./views/compare.js";
import * as datasets from "./views/datasets.js";
import * as job from "./views/job.js";
import * as jobs from "./views/jobs.js";
import * as playground from "./views/playground.js";
import * as studies from "./views/studies.js";
import * as study from "./views/study.js";
import * as submit from "./views/submit.js";
import * as workers from "./views/workers.js";

// By the first part of the address; those with `key` stand in the navigation.
const views = {
  jobs: {title: "Jobs", key: "1", open: jobs.open, one: job.open},
  studies: {title: "Studies", key: "2", open: studies.open, one: study.open},
  compare: {title: "Compare", key: "3", open: compare.open},
  adapters: {title: "Adapters", key: "4", open: adapters.open, one: adapters.open},
  datasets: {title: "Data sets", key: "5", open: datasets.open, one: datasets.open},
  playground: {title: "Playground", key: "6", open: playground.open},
  submit: {title: "Submit", key: "7", open: submit.open},
  workers: {title: "Workers and queue", key: "8", open: workers.open},
};
const keys = [
  ["1 … 8", "the views, in the order of the navigation"], ["/", "to the filter"], ["↑ ↓ j k", "through a list; Home, End, PageUp, PageDown"],
  ["Enter", "opens the job"], ["x", "marks the job for a comparison"], ["c", "compares what is marked"], ["t", "light or dark"], ["?", "this list"],
];

const main = document.getElementById("main"), nav = document.getElementById("nav");
let closing = new AbortController();

function show() {
  const [path, query = ""] = (location.hash.slice(2) || "jobs").split("?");
  const [place, ...rest] = path.split("/").map(decodeURIComponent);
  const view = views[place] ?? views.jobs;
  closing.abort();
  closing = new AbortController();
  for (const link of nav.children) link.toggleAttribute("aria-current", link.dataset.view === place);
  document.title = `${rest[0] ?? view.title} – graft`;
  const host = h("div", {class: `view ${place}`});
  replace(main, host);
  (rest.length ? view.one ?? view.open : view.open)(host, {parts: rest, query: new URLSearchParams(query), signal: closing.signal});
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  document.dispatchEvent(new Event("themechange"));
}

function isDark() {
  return (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
}

function showKeys() {
  const dialog = h("dialog", {class: "ask", onclose: () => dialog.remove()}, h("h2", {}, "Keys"),
    h("dl", {class: "keys"}, keys.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])),
    h("button", {type: "button", onclick: () => dialog.close()}, "Close"));
  document.body.append(dialog);
  dialog.showModal();
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  const view = Object.keys(views).find((name) => views[name].key === event.key);
  if (view) location.hash = `#/${view}`;
  else if (event.key === "?") showKeys();
  else if (event.key === "t") setTheme(isDark() ? "light" : "dark");
  else if (event.key === "/") main.querySelector("input[type=search]")?.focus();
  else return;
  event.preventDefault();
}

const stored = localStorage.getItem("theme");
if (stored) document.documentElement.dataset.theme = stored;
replace(nav, Object.entries(views).map(([name, {title, key}]) => h("a", {href: `#/${name}`, "data-view": name, title: `${title} (${key})`}, title)));
document.getElementById("theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
document.getElementById("help").addEventListener("click", showKeys);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));
document.addEventListener("keydown", pressed);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
for (const [event, hidden] of [["down", false], ["up", true]]) {
  connection.addEventListener(event, () => {
    document.getElementById("connection").hidden = hidden;
  });
}
window.addEventListener("hashchange", show);
show();
