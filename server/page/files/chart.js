// Curves over steps, drawn by uPlot (a classic script: it is window.uPlot).

const kHeight = 220;
const kColours = 8;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Charts over the same numbers show the same one of them.
const cursorOf = (key) => ({sync: {key, setSeries: false}, drag: {x: true, y: false}, focus: {prox: 24}});

/** One chart in `host`. `series`: [{label, colour (0..), points, scatter}]; `set` gives it numbers. `log`: of which axes ("x", "y"). */
export class Chart {
  constructor(host, {title, series, x = "step", format, log = "", signal}) {
    this.host = host;
    const axis = (more) => ({stroke: () => css("--muted"), grid: {stroke: () => css("--line"), width: 1}, ticks: {stroke: () => css("--line"), width: 1}, font: "12px system-ui", ...more});
    const line = ({label, colour, points, scatter}) => ({
      label, width: 2, spanGaps: true, stroke: () => css(`--curve-${colour % kColours}`), ...(scatter && {paths: () => null}),
      points: {show: points ?? false, size: 6}, value: (_, value) => (value === null || value === undefined ? "–" : format(value)),
    });
    this.plot = new window.uPlot({
      title, width: this.width(), height: kHeight, cursor: cursorOf(x), scales: {x: {time: false, distr: log.includes("x") ? 3 : 1}, y: {distr: log.includes("y") ? 3 : 1}},
      axes: [axis({}), axis({size: 64, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick)))})],
      series: [{label: x}, ...series.map(line)],
    }, [[], ...series.map(() => [])], host);
    host.classList.add("chart");
    host.setAttribute("role", "img");
    this.title = title;
    this.x = x;
    this.labels = series.map(({label}) => label);
    this.format = format;
    const watch = new ResizeObserver(() => this.plot.setSize({width: this.width(), height: kHeight}));
    watch.observe(host);
    const redraw = () => this.plot.redraw(false, true);
    document.addEventListener("themechange", redraw, {signal});
    signal.addEventListener("abort", () => {
      watch.disconnect();
      this.plot.destroy();
    }, {once: true});
  }

  width() {
    return Math.max(240, this.host.clientWidth);
  }

  /** One array of [step, value] a series, each by step. A zoom stays as it is. */
  set(curves) {
    const data = join(curves);
    const {min, max} = this.plot.scales.x, whole = this.plot.data[0];
    const zoomed = whole.length > 1 && (min > whole[0] || max < whole[whole.length - 1]);
    this.plot.setData(data, !zoomed);
    if (zoomed) this.plot.redraw(true, false);
    const last = curves.map((curve, index) => (curve.length ? `${this.labels[index]} ${this.format(curve[curve.length - 1][1])} at ${this.x} ${curve[curve.length - 1][0]}` : null));
    this.host.setAttribute("aria-label", `${this.title}: ${last.filter(Boolean).join(", ") || "no numbers yet"}`);
    this.host.dataset.points = String(data[0].length);
  }
}

/** uPlot's table: all steps, and each curve's values at them, null where it has none. */
function join(curves) {
  const steps = [...new Set(curves.flatMap((curve) => curve.map(([step]) => step)))].sort((a, b) => a - b);
  const places = new Map(steps.map((step, place) => [step, place]));
  return [steps, ...curves.map((curve) => {
    const column = new Array(steps.length).fill(null);
    for (const [step, value] of curve) column[places.get(step)] = Number.isFinite(value) ? value : null;
    return column;
  })];
}
