// Numbers, times and names as people read them. Numbers of 64 bits come as strings.

/** "JOB_STATE_RUNNING", "JOB_STATE_" -> "RUNNING". What was left out of the answer is the first value: "UNSPECIFIED". */
export function short(value, prefix) {
  return (value ?? `${prefix}UNSPECIFIED`).replace(prefix, "");
}

export const stateOf = (job) => short(job.state, "JOB_STATE_");

export function count(value) {
  return Number(value ?? 0).toLocaleString("en");
}

/** Four digits that count. */
export function number(value) {
  if (value === undefined || value === null) return "–";
  const given = Number(value);
  if (!Number.isFinite(given)) return String(value);
  if (given === 0) return "0";
  const size = Math.abs(given);
  if (size >= 1e6 || size < 1e-3) return given.toExponential(2);
  return size >= 1000 ? given.toLocaleString("en", {maximumFractionDigits: 0}) : String(Number(given.toPrecision(4)));
}

export function bytes(value) {
  let left = Number(value ?? 0);
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (left < 1000) return `${unit === "B" ? left : left.toPrecision(3)} ${unit}`;
    left /= 1000;
  }
  return `${left.toPrecision(3)} TB`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(Number(seconds)));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function ago(time) {
  return time ? `${duration((Date.now() - Date.parse(time)) / 1000)} ago` : "–";
}

export function clock(time) {
  return time ? new Date(time).toLocaleString("en-GB", {dateStyle: "short", timeStyle: "medium"}) : "–";
}

/** Of a job's whole way, 0..1; undefined where it is not known. */
export function share(job) {
  if (job.done) return stateOf(job) === "SUCCEEDED" ? 1 : undefined;
  if (Number(job.stage_total ?? 0) > 0) return Number(job.stage_done ?? 0) / Number(job.stage_total);
  return Number(job.total_steps ?? 0) > 0 ? Number(job.step ?? 0) / Number(job.total_steps) : undefined;
}

export function progress(job) {
  if (Number(job.stage_total ?? 0) > 0 && !job.done) return `${count(job.stage_done)} / ${count(job.stage_total)}`;
  return Number(job.total_steps ?? 0) > 0 ? `${count(job.step)} / ${count(job.total_steps)}` : "";
}

export const idOf = (name) => name.slice(name.lastIndexOf("/") + 1);
