// The page of a network at several sizes: a chart a figure, a table of all combinations, and one of them.

const axis = words.varied.at(-1);
const points = report.sweep.map((point, index) => ({
  ...point, index, name: Object.entries(point.values).map((pair) => pair.join("=")).join(", "), others: Object.entries(point.values).slice(0, -1).map((pair) => pair.join("=")).join(", "),
  x: Number(point.values[axis]), run: point.report?.run, totals: point.report?.totals,
}));
const values = [...new Set(points.map((point) => point.values[axis]))];
// Values that are no numbers stand side by side.
const numeric = points.every(({ x }) => Number.isFinite(x));
if (!numeric) for (const point of points) point.x = values.indexOf(point.values[axis]);
const state = { chosen: null, log: true };

const latencyOf = (point) => point.run?.latency?.median ?? null;
const quarters = (point) => { const ordered = [...point.run.latency.times].sort((a, b) => a - b); return [quantile(ordered, 0.25), quantile(ordered, 0.75)]; };
const rate = (value) => `${count(value)}${count(value).includes(" ") ? "" : " "}FLOP/s`;
const least = (point) => (point.report?.uncounted.length || point.report?.training?.phases.some(({ uncounted }) => uncounted.length) ? "≥ " : "");
// What is drawn: a value of a point, as text, and how far it spreads.
const FIGURES = words.timed ? [
  { title: "Latency", about: "Median of a forward; the band is the interquartile range.", of: latencyOf, text: seconds, spread: quarters },
  { title: "Throughput", about: words.unit === "tokens" ? "Tokens a second." : "Items a second.", of: (point) => (words.items[point.index] ? words.items[point.index] / latencyOf(point) : null), text: (value) => `${count(value)} ${words.unit}/s` },
  { title: "Arithmetic", about: "FLOPs a second.", of: (point) => (point.totals?.flops && !least(point) ? point.totals.flops / latencyOf(point) : null), text: rate },
  points.some(({ run }) => run?.peak_memory != null)
    ? { title: "Peak memory", about: "As measured.", of: (point) => point.run?.peak_memory ?? null, text: bytes }
    : { title: "Peak memory", about: "Of weights, inputs and activations, as traced.", of: (point) => point.totals?.peak_memory ?? null, text: bytes },
] : points.some(({ report }) => report?.training) ? [
  { title: "Training step", about: "FLOPs of forward, loss, backward and optimizer.", of: (point) => point.report?.training.phases.reduce((sum, { flops }) => sum + flops, 0) ?? null, text: count, least },
  { title: "Peak memory", about: "Weights, gradients, optimizer state and activations.", of: (point) => point.report?.training.peak_memory ?? null, text: bytes },
  { title: "Saved activations", about: "Kept for the backward when the forward ends.", of: (point) => point.report?.training.saved_bytes ?? null, text: bytes },
  { title: "Parameters", about: "", of: (point) => point.totals?.params ?? null, text: count },
] : [
  ...(points.some(({ totals }) => totals?.kv_cache) ? [{ title: "Cache", about: "Keys and values of earlier positions, and states.", of: (point) => point.totals?.kv_cache ?? null, text: bytes }] : []),
  { title: "MACs", about: "Of one forward.", of: (point) => point.totals?.macs ?? null, text: count, least },
  { title: "Bytes moved", about: "Read and written by all operators.", of: (point) => (point.totals?.bytes_read == null ? null : point.totals.bytes_read + point.totals.bytes_written), text: bytes, least },
  { title: "Peak memory", about: "Weights, inputs and activations.", of: (point) => point.totals?.peak_memory ?? null, text: bytes },
  { title: "Parameters", about: "", of: (point) => point.totals?.params ?? null, text: count },
];
const devices = [...new Set(points.flatMap((point) => point.report?.estimates.map(({ peaks }) => peaks.name) ?? []))];
if (devices.length) FIGURES.unshift({
  title: "Least time by device", about: "If every operator ran at the device's peak. A hollow dot needs more memory than the device has.", text: seconds,
  series: devices, find: (point, device) => point.report?.estimates.find(({ peaks }) => peaks.name === device),
});
if (devices.length && words.unit === "tokens") FIGURES.splice(1, 0, { ...FIGURES[0], title: "Throughput by device", about: "Tokens a second of all sequences, at most.", rate: true, text: (value) => `${count(value)} tokens/s` });

// ---- Lines of a figure ------------------------------------------------------------------------------------------------

// Each line: its name, and its points from left to right.
function seriesOf(figure) {
  const found = new Map();
  for (const point of points) for (const device of figure.series ?? [""]) {
    const one = figure.find?.(point, device);
    const value = figure.rate ? one?.seconds && words.items[point.index] / one.seconds : figure.find ? one?.seconds : figure.of(point);
    if (value == null) continue;
    const name = [device, point.others].filter(Boolean).join(", ");
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ point, value, unfit: one?.fits === false, device });
  }
  for (const line of found.values()) line.sort((a, b) => a.point.x - b.point.x);
  return [...found].map(([name, dots], index) => ({ name, dots, colour: `var(--series-${index % 8})` }));
}

function curves(figure, series) {
  return (width) => {
    const height = 260;
    const names = series.length > 1 ? Math.min(width * 0.32, 14 + 6.6 * Math.max(...series.map(({ name }) => name.length))) : 20;
    const [left, right, bottom] = [84, width - names, height - 40];
    const all = series.flatMap(({ dots }) => dots);
    const y = axisScale(all.map(({ value }) => value), bottom, 12, figure.text, state.log);
    const xs = [...new Set(all.map(({ point }) => point.x))].sort((a, b) => a - b);
    const logX = state.log && numeric && xs[0] > 0 && xs.at(-1) / xs[0] >= 6;
    const on = logX ? Math.log : (value) => value;
    const inset = numeric ? 10 : (right - left) / (2 * values.length);
    const x = (value) => short(left + inset + (xs.length > 1 ? (on(value) - on(xs[0])) / (on(xs.at(-1)) - on(xs[0])) : 0.5) * (right - left - 2 * inset));
    // As many values below their dots as there is room for, both ends first.
    const shown = [];
    for (const value of [xs[0], xs.at(-1), ...xs.slice(1, -1)]) {
      const label = numeric ? `${value}` : values[value];
      if (shown.every((one) => Math.abs(one.at - x(value)) > 3.6 * (one.label.length + label.length) + 6)) shown.push({ at: x(value), label });
    }
    // Names at the ends of lines, apart from each other.
    const ends = series.map((one) => ({ ...one, at: y.place(one.dots.at(-1).value) + 4 })).sort((a, b) => a.at - b.at);
    ends.forEach((one, index) => { if (index) one.at = Math.max(one.at, ends[index - 1].at + 14); });
    const over = ends.length ? ends.at(-1).at - bottom : 0;
    if (over > 0) for (let index = ends.length - 1; index >= 0; index -= 1) ends[index].at = Math.min(ends[index].at, bottom - 14 * (ends.length - 1 - index));
    const coloured = (element, colour, what = "stroke") => { element.style[what] = colour; return element; };
    return canvas(width, height,
      y.marks.flatMap((value) => [line(left, y.place(value), right, y.place(value)), text(left - 8, y.place(value) + 4, figure.text(value), "end")]),
      shown.map(({ at, label }) => [line(at, bottom, at, bottom + 4), text(at, bottom + 18, label, "middle")]),
      text((left + right) / 2, height - 4, axis, "middle", ""),
      series.map(({ dots, colour }) => [
        figure.spread && dots.length > 1 && coloured(draw("path", { class: "spread", d: `M${[...dots.map(({ point }) => [x(point.x), y.place(quarters(point)[1])]), ...dots.map(({ point }) => [x(point.x), y.place(quarters(point)[0])]).reverse()].join("L")}Z` }), colour, "fill"),
        numeric && coloured(draw("path", { class: "series", d: `M${dots.map(({ point, value }) => `${x(point.x)} ${y.place(value)}`).join("L")}` }), colour),
        dots.map(({ point, value, unfit, device }) => {
          const dot = coloured(draw("circle", { class: `point${unfit ? " unfit" : ""}`, cx: x(point.x), cy: y.place(value), r: 5 }), colour, "fill");
          if (unfit) dot.style.stroke = colour;
          tips.set(dot, [point.name, device, `${figure.least?.(point) ?? ""}${figure.text(value)}${figure.spread ? ` · IQR ${quarters(point).map(figure.text).join(" … ")}` : ""}`, unfit && "does not fit into its memory"].filter(Boolean).join("\n"));
          dot.index = point.index;
          return dot;
        })]),
      series.length > 1 ? ends.map(({ name, colour, at }) => coloured(text(right + 10, short(at), cut(name, Math.floor((names - 12) / 6.4)), "start", "named"), colour, "color")) : []);
  };
}

// ---- Drawing ------------------------------------------------------------------------------------------------------------

function drawHead() {
  const known = points.filter(({ report: one }) => one);
  const best = (figure, sign = 1) => known.filter((point) => figure?.of(point) != null).reduce((most, point) => (!most || sign * figure.of(point) > sign * figure.of(most) ? point : most), null);
  const tiles = [tile(exact(known.length), known.length === points.length ? "combinations" : `of ${exact(points.length)} combinations ran`, words.ends)];
  const wanted = words.timed ? [["Latency", -1, "fastest forward"], ["Throughput", 1, "highest throughput"], ["Arithmetic", 1, "most arithmetic"], ["Peak memory", 1, "largest peak"]] : [["MACs", 1, "most MACs"], ["Peak memory", 1, "largest peak"], ["Parameters", 1, "most parameters"]];
  for (const [title, sign, what] of wanted) {
    const figure = FIGURES.find((one) => one.title === title);
    const point = best(figure, sign);
    if (point) tiles.push(tile(`${figure.least?.(point) ?? ""}${figure.text(figure.of(point))}`, what, point.name));
  }
  fill(at("header"), {}, [
    make("div", { class: "head" }, make("div", {}, make("h1", {}, words.name), make("p", { class: "muted" }, words.facts)), tools(`${words.name}-sweep`)),
    make("div", { class: "tiles" }, tiles), messages(words.messages)]);
  at("footer").append(make("p", {}, words.legend.filter(Boolean).join("  ·  ")));
}

const table = { rows: [] };

table.make = function () {
  const search = make("input", { type: "search", placeholder: "Filter", "aria-label": "Filter combinations", oninput: (event) => this.filter(event.target.value) });
  this.said = make("span", { class: "muted" });
  const head = words.columns.map((name) => make("th", { scope: "col", class: "right" }, name));
  this.rows = points.map((point) => {
    const cells = words.columns.map((name) => [name, words.rows[point.index][name] ?? ""]);
    const inside = point.problem == null
      ? cells.map(([name, value]) => make("td", { class: `right ${words.varied.includes(name) ? "key" : ""}` }, value || "—"))
      : [...cells.filter(([name]) => words.varied.includes(name)).map(([, value]) => make("td", { class: "right key" }, value)), make("td", { class: "wrong", colspan: cells.length - words.varied.length }, point.problem)];
    return Object.assign(make("tr", { tabindex: 0, onclick: () => choose(point), onkeydown: (event) => event.key === "Enter" && choose(point) }, inside), { words: `${point.name} ${Object.values(words.rows[point.index]).join(" ")} ${point.problem ?? ""}`.toLowerCase() });
  });
  at("section.table").append(make("div", { class: "bar" }, make("h2", {}, "Combinations"), this.said, make("span", { class: "grow" }), points.length > 8 ? search : ""),
    make("div", { class: "rows list" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, this.rows))));
  this.filter("");
};

table.filter = function (query) {
  const sought = query.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of this.rows) row.hidden = !sought.every((word) => row.words.includes(word));
  const shown = this.rows.filter((row) => !row.hidden).length;
  this.said.textContent = shown < points.length ? `${exact(shown)} of ${exact(points.length)}` : exact(shown);
};

function choose(point) {
  state.chosen = point === state.chosen ? null : point;
  history.replaceState(null, "", state.chosen ? `#${encodeURIComponent(point.name)}` : location.pathname + location.search);
  mark();
  showPoint();
}

function mark() {
  table.rows.forEach((row, index) => row.setAttribute("aria-selected", String(index === state.chosen?.index)));
  for (const dot of document.querySelectorAll(".point")) dot.classList.toggle("chosen", dot.index === state.chosen?.index);
}

// What is known of the chosen combination: its repeats, and its slowest steps.
function showPoint() {
  const [panel, point] = [at(".detail"), state.chosen];
  panel.hidden = !point;
  if (!point) return panel.replaceChildren();
  const facts = words.columns.filter((name) => !words.varied.includes(name) && words.rows[point.index][name]).map((name) => make("div", {}, make("dt", {}, name), make("dd", {}, words.rows[point.index][name])));
  panel.replaceChildren(make("h2", {}, point.name), point.problem == null ? make("dl", { class: "facts" }, facts) : make("p", { class: "wrong" }, point.problem));
  const latency = point.run?.latency;
  if (latency) {
    const [drawn, figures] = repeats(latency, words.intervals[point.index]);
    panel.append(make("h3", {}, "repeats"), latency.times.length >= 5 ? fill(drawn(panel.clientWidth - 38), { "aria-label": `Repeats at ${point.name}` }, []) : "", figures);
  }
  const timed = point.report ? slowest(point.report.layers) : [];
  if (timed.length) panel.append(make("h3", {}, "slowest steps"), make("table", { class: "bars" }, timed.slice(0, 10).map(({ row, time }) => {
    const filled = make("i");
    filled.style.width = `${(100 * time) / timed[0].time}%`;
    return make("tr", {}, make("td", { class: "code" }, row.path || row.text), make("td", {}, make("span", { class: "meter", "aria-hidden": "true" }, filled), seconds(time)));
  })));
}

// Timed rows that contain no other, all their copies together, the slowest first.
function slowest(layers) {
  const times = [];
  return layers.map((row, index) => {
    times.length = row.depth - 1;
    times.push(row.repeat * (times.at(-1) ?? 1));
    return { row, time: (row.latency ?? 0) * times.at(-1), leaf: !(layers[index + 1]?.depth > row.depth) };
  }).filter(({ time, leaf }) => leaf && time > 0).sort((a, b) => b.time - a.time);
}

function drawCharts() {
  at(".charts").replaceChildren();
  for (const figure of FIGURES) {
    const series = seriesOf(figure);
    // A figure that is the same everywhere stands in the table alone.
    if (new Set(series.flatMap(({ dots }) => dots.map(({ value }) => value))).size > 1) chart(figure.title, figure.about, curves(figure, series), false);
  }
  mark();
  showPoint();
}

function followLink() {
  const name = decodeURIComponent(location.hash.slice(1));
  const point = points.find((one) => one.name === name);
  if (point && point !== state.chosen) choose(point);
}

at("main").className = "sweep";
at("main").append(
  make("label", { class: "check" }, make("input", { type: "checkbox", checked: true, onchange: (event) => { state.log = event.target.checked; drawCharts(); } }), "Logarithmic scales"),
  make("section", { class: "charts", "aria-label": "Charts" }),
  make("section", { class: "card table", "aria-label": "Combinations" }),
  make("aside", { class: "card detail", "aria-label": "Chosen combination", hidden: true }));
at(".charts").addEventListener("click", (event) => event.target.index !== undefined && choose(points[event.target.index]));
drawHead();
table.make();
drawnToWidth(drawCharts);
followLink();
addEventListener("hashchange", followLink);
performance.mark("drawn");
performance.mark("charted");
