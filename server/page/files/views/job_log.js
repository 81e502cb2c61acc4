// What an attempt's engine and worker wrote.
import {readStream, sleep} from "../api.js";
import {h, replace, setText} from "../dom.js";
import {count} from "../format.js";

// Characters that are shown, the newest.
const kShown = 256 * 1024;

export function logPane(model, signal) {
  const text = h("pre", {class: "log", tabindex: "0", "aria-label": "Log"}), said = h("p", {class: "facts"});
  const attempt = h("select", {"aria-label": "Attempt", onchange: () => read()}), stream = h("select", {"aria-label": "Whose", onchange: () => read()},
    h("option", {value: "JOB_LOG_STREAM_ENGINE"}, "engine"), h("option", {value: "JOB_LOG_STREAM_WORKER"}, "worker"));
  let attempts = -1, reading = new AbortController();
  signal.addEventListener("abort", () => reading.abort());

  function append(more) {
    const atEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 8;
    text.append(more);
    while (text.childNodes.length > 1 && text.textContent.length > kShown) text.firstChild.remove();
    if (atEnd) text.scrollTop = text.scrollHeight;
  }

  // Goes on after the last byte until the attempt is over.
  async function read() {
    reading.abort();
    const mine = reading = new AbortController(), query = {attempt: attempt.value, stream: stream.value, follow: true};
    let offset = 0;
    const decoder = new TextDecoder();
    replace(text);
    setText(said, "");
    while (!mine.signal.aborted) {
      try {
        return await readStream("GET", `jobs/${model.id}/log`, {query: {...query, offset_bytes: offset}, signal: mine.signal}, ({offset_bytes: at, data = ""}) => {
          const piece = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          if (Number(at ?? 0) > offset) append(`\n[${count(Number(at) - offset)} bytes were not kept]\n`);
          offset = Number(at ?? 0) + piece.length;
          append(decoder.decode(piece, {stream: true}));
        });
      } catch (error) {
        if (mine.signal.aborted) return;
        if (error.status) return setText(said, error.message);
        await sleep(1, mine.signal);
      }
    }
  }

  function update() {
    const now = (model.job.attempts ?? []).length;
    if (attempts === now) return;
    attempts = now;
    const chosen = attempt.value;
    replace(attempt, (model.job.attempts ?? []).map(({number}) => h("option", {value: number}, `attempt ${number}`)));
    attempt.value = chosen && chosen !== "" ? chosen : String(now || "");
    if (now) read();
    else setText(said, "No attempt yet.");
  }
  return {element: h("div", {}, h("div", {class: "bar"}, attempt, stream), said, text), update};
}
