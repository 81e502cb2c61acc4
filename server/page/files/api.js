// The server's REST API: calls, pages, polls, and streams that go on where they broke.

/** Says "up" or "down" when it changes whether the server answers. */
export const connection = new EventTarget();
let answers = true;
function heard(yes) {
  if (answers === yes) return;
  answers = yes;
  connection.dispatchEvent(new Event(yes ? "up" : "down"));
}

/** An answer of the server that is an error; `status` is a google.rpc code's name, `violations` the fields that are wrong. */
export class ApiError extends Error {
  constructor(error) {
    super(error.message || error.status);
    this.status = error.status;
    this.violations = (error.details ?? []).flatMap((detail) => detail.field_violations ?? []);
  }
}
// Another time the same may be answered: nobody was there, or had room.
const passing = (error) => !(error instanceof ApiError) || ["UNAVAILABLE", "RESOURCE_EXHAUSTED"].includes(error.status);

function address(path, query = {}) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined && one !== "") found.append(name, one);
  }
  const text = found.toString();
  return `/v1/${path}${text && `?${text}`}`;
}

// A body is a message, but for a file, which goes as it is.
async function request(method, path, {query, body, signal, headers = {}} = {}) {
  const options = {method, signal, headers, cache: "no-store"};
  if (method !== "GET") {
    options.headers = {"Content-Type": "application/json", ...headers};
    options.body = body instanceof Blob ? body : JSON.stringify(body ?? {});
  }
  let response;
  try {
    response = await fetch(address(path, query), options);
  } catch (error) {
    if (error.name !== "AbortError") heard(false);
    throw error;
  }
  heard(true);
  if (response.ok) return response;
  const text = await response.text();
  let parsed;
  try {
    parsed = JSON.parse(text).error;
  } catch {
    parsed = undefined;
  }
  throw new ApiError(parsed ?? {status: "UNKNOWN", message: `the server answered ${response.status} to ${method} ${path}`});
}

export const get = async (path, query, signal) => (await request("GET", path, {query, signal})).json();
export const post = async (path, body, query, signal) => (await request("POST", path, {body, query, signal})).json();
export const put = async (path, file, type, query) => (await request("PUT", path, {body: file, query, headers: {"Content-Type": type}})).json();
export const remove = async (path, query) => (await request("DELETE", path, {query})).json();

/** The items of a list, a page after the other. */
export async function* pages(path, field, query, signal) {
  let token = "";
  do {
    const page = await get(path, {page_size: 500, ...query, page_token: token}, signal);
    yield page[field] ?? [];
    token = page.next_page_token;
  } while (token);
}

export async function all(path, field, query, signal) {
  const found = [];
  for await (const page of pages(path, field, query, signal)) found.push(...page);
  return found;
}

export function sleep(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, {once: true});
  });
}

function shown(signal) {
  return new Promise((resolve) => {
    if (!document.hidden || signal.aborted) return resolve();
    document.addEventListener("visibilitychange", () => resolve(), {once: true, signal});
    signal.addEventListener("abort", () => resolve(), {once: true});
  });
}

/**
 * Does `task` again and again, `seconds` apart, but never for more than a tenth of the time; not while nobody looks. What the
 * server refuses ends it, by `failed`.
 */
export async function poll(seconds, signal, task, failed) {
  while (!signal.aborted) {
    const began = performance.now();
    try {
      await task();
    } catch (error) {
      if (signal.aborted) return;
      if (!passing(error)) return failed(error);
    }
    await sleep(Math.max(seconds, (performance.now() - began) / 100), signal);
    await shown(signal);
  }
}

const kEvents = "text/event-stream";

/** The messages of one answer of server-sent events, as {id, data}. Throws the error that the stream ends with. */
async function* messages(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", id, event = "", data = [];
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (data.length) {
          const parsed = JSON.parse(data.join("\n"));
          if (event === "end") return;
          if (event === "error") throw new ApiError(parsed.error);
          yield {id, data: parsed};
        }
        id = undefined;
        event = "";
        data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon), text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "data") data.push(text);
      else if (field === "event") event = text;
      else if (field === "id") id = text;
    }
  }
}

/** A stream that is read once: `take(message)` for each message. */
export async function readStream(method, path, {query, body, signal}, take) {
  for await (const {data} of messages(await request(method, path, {query, body, signal, headers: {Accept: kEvents}}))) take(data);
}

// Between two tries, in seconds.
const kFirstWait = 0.25, kLongestWait = 5;

/**
 * Follows numbered events after `after`: take(event message) once for each, in order. A stream that breaks is taken up after the last
 * number that was seen, until `over()` says that nothing more comes; it rests while nobody looks at the page. Returns when it is over,
 * throws what the server refuses.
 */
export async function follow(path, {after = 0, signal, over}, take) {
  let last = after, wait = kFirstWait;
  while (!signal.aborted) {
    await shown(signal);
    const one = new AbortController();
    const end = () => one.abort();
    const hide = () => document.hidden && one.abort();
    signal.addEventListener("abort", end, {once: true});
    document.addEventListener("visibilitychange", hide);
    try {
      const response = await request("GET", path, {query: {after_sequence: last}, signal: one.signal, headers: {Accept: kEvents}});
      for await (const {id, data} of messages(response)) {
        wait = kFirstWait;
        if (id !== undefined) {
          if (Number(id) <= last) continue;
          last = Number(id);
        }
        take(data);
        if (over()) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!one.signal.aborted && !passing(error)) throw error;
      if (!one.signal.aborted) heard(false);
    } finally {
      one.abort();
      signal.removeEventListener("abort", end);
      document.removeEventListener("visibilitychange", hide);
    }
    if (over()) return;
    await sleep(wait, signal);
    wait = Math.min(wait * 2, kLongestWait);
  }
}
