// What the page knows of one job: its resource, and what its events told. It reads the log in two parts, so that a long one is
// live at once: the newest events, followed, and beside that those before them. Nothing counts twice, whatever breaks.
import {follow, get} from "./api.js";
import {idOf, stateOf} from "./format.js";

// Events that are read before the job is followed.
const kTail = 1000;
// Points of a curve as the server makes them, and how many may come on top before it is asked again.
const kPoints = 1000, kLivePoints = 1000;

const curveNames = ["train/loss", "eval/loss", "eval/rouge1", "eval/rouge2", "eval/rougeL", "eval/rougeLsum", "train/learning_rate", "train/grad_norm", "train/tokens_per_second"];

export class JobModel {
  constructor(id, signal, changed) {
    Object.assign(this, {id, signal, changed, job: null, events: [], evaluations: new Map(), samples: new Map(), curves: new Map(), checkpoints: 0});
    this.curvesRead = 0;  // The event up to which the server's curves are.
    this.live = 0;
  }

  async start() {
    await this.readJob();
    await this.readCurves();
    const last = Number(this.job.last_sequence ?? 0), tail = Math.max(0, last - kTail);
    const path = `jobs/${this.id}/events`;
    let before = 0;
    await Promise.all([
      follow(path, {after: tail, signal: this.signal, over: () => this.job.done && this.read >= Number(this.job.last_sequence)}, (message) => this.take(message)),
      tail && follow(path, {after: 0, signal: this.signal, over: () => before >= tail}, ({event}) => {
        if (!event) return;
        before = Number(event.sequence);
        if (before <= tail) this.keep(event);
      }),
    ]);
  }

  async readJob() {
    this.job = await get(`jobs/${this.id}`, {}, this.signal);
    this.changed();
  }

  // Again when it runs already: once more, afterwards.
  readJobSoon() {
    if (this.reading) return void (this.again = true);
    this.reading = this.readJob().catch(() => {}).then(() => {
      this.reading = undefined;
      if (this.again) {
        this.again = false;
        this.readJobSoon();
      }
    });
  }

  async readCurves() {
    const {metrics = []} = await get(`jobs/${this.id}/metrics`, {max_points: 1}, this.signal).catch(() => ({}));
    const names = metrics.filter((name) => curveNames.includes(name.slice(name.lastIndexOf(":") + 1))).slice(0, 32);
    if (!names.length) return;
    const answer = await get(`jobs/${this.id}/metrics`, {metrics: names, max_points: kPoints}, this.signal);
    this.curvesRead = Number(answer.last_sequence ?? 0);
    this.live = 0;
    this.curves = new Map(answer.curves.map(({metric, points = []}) => [metric, points.map(({step, last}) => [Number(step ?? 0), Number(last ?? 0)])]));
    this.changed();
  }

  take({event, heartbeat}) {
    if (heartbeat) Object.assign(this.job, progressOf(heartbeat));
    if (event) {
      this.read = Number(event.sequence);
      this.keep(event);
      this.follow(event);
    }
    this.changed();
  }

  // What the log is read for, by the newest events or by those before.
  keep(event) {
    const {evaluation, samples} = event;
    if (evaluation) this.evaluations.set(`${evaluation.step ?? 0} ${evaluation.adapter ?? ""}`, evaluation);
    if (samples) this.samples.set(`${samples.step ?? 0} ${samples.adapter ?? ""}`, samples);
    if (event.checkpoint) ++this.checkpoints;
    if (!event.metrics) this.events.push(event);
    this.changed();
  }

  // What it changes now.
  follow(event) {
    const fresh = Number(event.sequence) > this.curvesRead, {metrics, evaluation, state_change: change} = event;
    if (metrics) {
      Object.assign(this.job, {step: metrics.step, epoch: metrics.epoch, total_steps: metrics.total_steps ?? this.job.total_steps});
      if (fresh) this.append(metrics.step, metrics.values);
    }
    if (evaluation && fresh && !evaluation.adapter) this.append(evaluation.step, evaluation.values);
    if (change) this.job.state = change.to;
    if (!metrics && Number(event.sequence) > Number(this.job.last_sequence ?? 0)) this.readJobSoon();
  }

  // A step that comes again, since the job went back to a checkpoint, takes the place of what it had.
  append(step, values) {
    const at = Number(step ?? 0);
    for (const [name, value] of Object.entries(values ?? {})) {
      if (!curveNames.includes(name)) continue;
      const curve = this.curves.get(name) ?? [];
      while (curve.length && curve[curve.length - 1][0] >= at) curve.pop();
      curve.push([at, Number(value)]);
      this.curves.set(name, curve);
      ++this.live;
    }
    if (this.live > kLivePoints * 4 && !this.rereading) {
      this.rereading = this.readCurves().catch(() => {}).finally(() => { this.rereading = undefined; });
    }
  }

  state() {
    return stateOf(this.job);
  }

  /** By sequence; an event that was read twice stands once. */
  sortedEvents() {
    const once = new Map(this.events.map((event) => [Number(event.sequence), event]));
    this.events = [...once.values()].sort((a, b) => Number(a.sequence) - Number(b.sequence));
    return this.events;
  }
}

function progressOf(heartbeat) {
  const {state, stage, stage_done, stage_total, eta_seconds, queue_position, worker_silent_seconds, waits, expected_start_seconds} = heartbeat;
  return {state, stage, stage_done, stage_total, eta_seconds, queue_position, worker_silent_seconds, waits, expected_start_seconds};
}

export const nameOf = (job) => job.display_name || idOf(job.name);
