// The page of a report: its rows as a table, as a network and in charts, and one layer of them.

// ---- The rows as a tree -------------------------------------------------------------------------------------------

// The networks on the page: of a comparison two, whose rows stand one after the other.
const reports = words.kind === "diff" ? [report.before, report.after] : [report];
const rows = reports.flatMap((one) => one.layers);
const roots = [];
const byKey = new Map();
for (const [side, { layers }] of reports.entries()) {
  const around = [];
  const first = side * reports[0].layers.length;
  layers.forEach((row, place) => {
    while (around.length && around.at(-1).depth >= row.depth) around.pop();
    const parent = around.at(-1) ?? null;
    const name = `${side ? "after " : ""}${row.path || `row-${place}`}`;
    const twins = rows[byKey.get(name)]?.twins ?? 0;
    if (byKey.has(name)) rows[byKey.get(name)].twins = twins + 1;
    Object.assign(row, {
      index: first + place, side, parent, kids: [], twins: 1, key: byKey.has(name) ? `${name}~${twins + 1}` : name,
      times: row.repeat * (parent?.times ?? 1), wrong: row.promise?.held === false, sources: row.sources?.map((source) => first + source) ?? null,
      name: row.path || row.text || row.type, short: row.label || (row.kind === "expression" ? "" : row.path.split(".").at(-1)),
      words: `${row.path} ${row.type} ${row.text} ${row.kind}`.toLowerCase(), users: [],
    });
    byKey.set(row.key, row.index);
    (parent?.kids ?? roots).push(row);
    around.push(row);
  });
}
const leaves = rows.filter((row) => !row.kids.length);
for (const row of leaves) for (const source of row.sources ?? []) rows[source]?.users.push(row);

const moved = (row) => (row.bytes_read == null || row.bytes_written == null ? null : row.bytes_read + row.bytes_written);
const part = (row, name) => (row.stats?.elements ? row.stats[name] / row.stats.elements : null);

// Figures to colour and compare by: of one copy, the network's total if rows add up to it, and as text.
const FIGURES = {
  macs: { title: "MACs", of: (row) => row.macs, whole: words.wholes.macs, text: count },
  flops: { title: "FLOPs", of: (row) => row.flops, whole: words.wholes.flops, text: count },
  params: { title: "parameters", of: (row) => row.params, whole: words.wholes.params, text: count },
  latency: { title: "latency", of: (row) => row.latency, whole: words.wholes.latency, text: seconds },
  eager: { title: "eager time", of: (row) => row.eager, whole: words.wholes.eager, text: seconds },
  moved: { title: "bytes moved", of: moved, whole: (words.wholes.read ?? 0) + (words.wholes.written ?? 0), text: bytes },
  memory: { title: "memory of the output", of: (row) => row.output_bytes, text: bytes },
  live: { title: "share of the peak", of: (row) => row.live_bytes, text: bytes },
  backward: { title: "backward MACs", of: (row) => row.backward?.macs, whole: words.wholes.backward, text: count },
  saved: { title: "bytes saved for the backward", of: (row) => row.backward?.saved_bytes, whole: words.wholes.saved, text: bytes },
  zeros: { title: "zeros", of: (row) => part(row, "zeros"), most: 1, text: percent },
  bad: { title: "NaN and Inf", of: (row) => (row.stats ? part(row, "nans") + part(row, "infs") : null), most: 1, text: percent },
};
for (const [name, figure] of Object.entries(FIGURES)) {
  const known = leaves.map(figure.of).filter((value) => value);
  if (!known.length) delete FIGURES[name];
  else figure.most ??= figure.whole || Math.max(...known);
}
const share = (row, figure) => {
  const value = figure.of(row);
  return value == null ? null : (figure.whole ? value * row.times : value) / figure.most;
};
const measure = FIGURES[words.measure] ?? Object.values(FIGURES)[0];

// ---- What is chosen, open and sought --------------------------------------------------------------------------------

// The networks that are drawn, and what else there is to draw when a row was chosen, opened or sought.
const networks = [];
const views = {
  chosen(where) { showLayer(); table.draw(where !== "table"); markCharts(); },
  opened() { table.draw(); showLayer(); },
  sought() { table.draw(); },
};
const state = { chosen: null, value: null, open: new Set(), query: "", found: new Set(), around: new Set(), sort: null, down: true, colour: measure };

{
  // Down to the deepest level that fits on a screen.
  let level = 1;
  while (rows.filter((row) => row.depth <= level + 1).length <= 40 && rows.some((row) => row.depth > level)) level += 1;
  openTo(level);
}

function openTo(level) {
  state.open = new Set(rows.filter((row) => row.kids.length && row.depth < level).map((row) => row.index));
}

function* ancestors(row) {
  for (let one = row.parent; one; one = one.parent) yield one;
}

function toggle(row) {
  if (!row.kids.length) return;
  const closes = state.open.has(row.index);
  for (const side of [row, row.other].filter(Boolean)) {
    if (closes) state.open.delete(side.index);
    else state.open.add(side.index);
    // A stack of one kind of copies opens with them.
    if (!closes) for (let one = side; one.kids.length === 1 && one.kids[0].kids.length; one = one.kids[0]) state.open.add(one.kids[0].index);
  }
  if (state.chosen && [...ancestors(state.chosen)].some((one) => !state.open.has(one.index))) state.chosen = row;
  views.opened();
  for (const network of networks) network.draw(row.side === network.side ? row : row.other);
}

// Show a row in the network, the table and the panel, there with a number of its output, if one was chosen; `where` is
// the view it was chosen in, which stays where it is.
function choose(row, where, value = null) {
  state.chosen = row;
  state.value = value;
  let opened = false;
  for (const one of [row, row?.other].filter(Boolean).flatMap((one) => [...ancestors(one)])) {
    opened ||= !state.open.has(one.index);
    state.open.add(one.index);
  }
  history.replaceState(null, "", row ? `#${encodeURIComponent(row.key + (value ? indices(value.element) : ""))}` : location.pathname + location.search);
  if (row && !where) at("section.graph").scrollIntoView({ block: "nearest" });
  for (const network of networks) {
    if (opened) network.draw();
    network.mark(where !== network);
  }
  views.chosen(where);
}

function seek(query) {
  const sought = query.toLowerCase().split(/\s+/).filter(Boolean);
  state.query = query.trim();
  state.found = new Set(sought.length ? rows.filter((row) => sought.every((word) => row.words.includes(word))).map((row) => row.index) : []);
  state.around = new Set([...state.found].flatMap((index) => [...ancestors(rows[index])].map(idOf)));
  for (const network of networks) network.mark(false);
  views.sought();
}

function chooseNext(step) {
  const found = [...state.found];
  if (!found.length) return;
  const next = step > 0 ? found.find((index) => index > (state.chosen?.index ?? -1)) : found.findLast((index) => index < (state.chosen?.index ?? rows.length));
  choose(rows[next ?? found.at(step > 0 ? 0 : -1)]);
}

const visible = () => rows.filter((row) => row.side === (state.chosen?.side ?? reports.length - 1) && [...ancestors(row)].every((one) => state.open.has(one.index)));

// The keys of the table and the network are the same.
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const row = state.chosen;
  const order = state.sort ? table.shown : visible();
  const step = (by) => choose(order[Math.min(order.length - 1, Math.max(0, order.indexOf(row) + by))] ?? order[0]);
  const zoom = (by) => networks.forEach((one) => one.zoom(by));
  const acts = {
    ArrowDown: () => step(1), ArrowUp: () => step(-1), Home: () => choose(order[0]), End: () => choose(order.at(-1)),
    ArrowRight: () => row?.kids.length && (state.open.has(row.index) ? choose(row.kids[0]) : toggle(row)),
    ArrowLeft: () => row && (state.open.has(row.index) ? toggle(row) : row.parent && choose(row.parent)),
    Enter: () => row && toggle(row), Escape: () => choose(null),
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: () => zoom(), f: () => networks.forEach((one) => one.fit()),
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}

// ---- The head -----------------------------------------------------------------------------------------------------

function drawHead() {
  const { totals, run, outputs, inputs, training } = report;
  const least = report.uncounted.length ? "≥ " : "";
  const moves = totals.bytes_read == null ? null : totals.bytes_read + totals.bytes_written;
  const [name, ...facts] = words.title;
  at("header").append(
    make("div", { class: "head" },
      make("div", {},
        make("h1", {}, name),
        make("p", { class: "muted" }, [...facts, words.source, ...words.ran].filter(Boolean).join("  ·  ")),
        words.about && make("p", {}, words.about),
        (inputs.length || outputs.length) && make("p", { class: "flow" }, words.flow),
        words.values && make("p", { class: "flow muted" }, words.values)),
      tools(report.name)),
    make("div", { class: "tiles" },
      tile(count(totals.params), "parameters", [exact(totals.params), totals.params ? ` · ${bytes(totals.param_bytes)}` : ""].join("")),
      totals.macs != null && tile(least + count(totals.macs), "MACs", `${least}${count(totals.flops ?? 0)} FLOPs`),
      moves != null && tile(least + bytes(moves), "moved", totals.flops && !least ? `${count(totals.flops / moves)} FLOPs per byte` : ""),
      training && tile(`${training.phases.some(({ uncounted }) => uncounted.length) ? "≥ " : ""}${count(training.phases.reduce((sum, { flops }) => sum + flops, 0))}`, "FLOPs of a training step", `with ${training.optimizer}`),
      training && tile(bytes(training.peak_memory), "peak memory of the step", `saved activations ${bytes(training.saved_bytes)}`),
      totals.peak_memory != null && tile(bytes(totals.peak_memory), "peak memory", `activations ${bytes(totals.peak_activations ?? 0)}`),
      totals.kv_cache && tile(bytes(totals.kv_cache), rows.some((row) => row.cached.some(({ kind }) => kind === "past" || kind === "window")) ? "KV cache" : "state", `behind ${exact(report.past)} positions`),
      run?.latency && tile(seconds(run.latency.median), report.past ? "a step" : "a forward", words.rate || "median")));
  at("header").append(messages(words.messages, (row) => choose(rows[row])));
  if (words.estimates.length) at("header").append(make("pre", { class: "card" }, words.estimates.join("\n")));
  at("footer").append(make("p", {}, words.sums.join("  ·  ")), make("p", {}, [...words.legend.filter(Boolean),
    `fwdscope ${report.environment.fwdscope}`, `python ${report.environment.python}`, report.environment.platform].join("  ·  ")));
}

// ---- The table ----------------------------------------------------------------------------------------------------

const again = (row) => [
  row.kind === "loop" ? row.calls > 1 && `${exact(row.calls)} rounds`
    : row.reads.length ? `↺ ${row.reads.join(", ")}` : row.call > 1 ? `↺ call ${row.call}` : row.calls > 1 && row.kind !== "expression" && `↺ ${row.calls} calls`,
].filter(Boolean).join(" ");
const described = (row) => [row.text || row.type, again(row)].filter(Boolean).join("  ");
const known = (form) => (value) => (value == null ? "—" : value ? form(value) : "");
const intensity = (row) => (row.flops == null || !moved(row) || row.uncounted.length ? null : row.flops / moved(row));
const least = (row, text) => (!row.uncounted.length || text === "—" ? text : text ? `≥${text}` : "—");

// Each column: its title, a value to sort by, its text. `adds` says that equal rows add up in a list.
const COLUMNS = [
  { name: "layer", of: (row) => row.name },
  { name: "type", of: described },
  { name: "input", of: (row) => shapes(row.input_shapes) },
  { name: "output", of: (row) => shapes(row.output_shapes) + (row.varies ? " ~" : "") },
  { name: "dtype", of: (row) => [...new Set(row.output_dtypes)].join(" · ") },
  { name: "params", of: (row) => row.params, text: known(exact), adds: true },
  { name: "cache", of: (row) => row.kv_cache, text: known(bytes), adds: true },
  { name: "macs", title: "MACs", of: (row) => row.macs, text: known(count), adds: true, least: true },
  { name: "backward", title: "backward MACs", of: (row) => row.backward?.macs, text: known(count), adds: true },
  { name: "saved", of: (row) => row.backward?.saved_bytes, text: known(bytes), adds: true },
  { name: "latency", of: (row) => row.latency, text: known(seconds), adds: true },
  { name: "eager", of: (row) => row.eager, text: known(seconds), adds: true },
  { name: "eager_backward", title: "backward", of: (row) => row.backward?.eager, text: known(seconds), adds: true },
  { name: "share", title: `share of ${measure?.title ?? "all"}`, of: (row) => (measure ? share(row, measure) : null), text: known(percent) },
  { name: "flops", title: "FLOPs", of: (row) => row.flops, text: known(count), adds: true, least: true },
  { name: "read", of: (row) => row.bytes_read, text: known(bytes), adds: true, least: true },
  { name: "written", of: (row) => row.bytes_written, text: known(bytes), adds: true, least: true },
  { name: "intensity", title: "FLOPs/byte", of: intensity, text: known(number) },
  { name: "memory", of: (row) => row.output_bytes, text: known(bytes) },
  { name: "live", title: "live activations", of: (row) => row.live_bytes, text: known(bytes) },
  { name: "receptive", title: "receptive field", of: (row) => row.receptive_field?.join("×") ?? "", right: true },
  { name: "uncounted", of: (row) => row.uncounted.join(", ") },
  { name: "trainable", of: (row) => row.trainable_params, text: known(exact), adds: true },
  { name: "buffers", of: (row) => row.buffers, text: known(exact), adds: true },
  { name: "calls", of: (row) => row.calls, text: exact },
  { name: "mean", of: (row) => row.stats?.mean, text: (value) => (value == null ? "—" : number(value)) },
  { name: "std", of: (row) => row.stats?.std, text: (value) => (value == null ? "—" : number(value)) },
  { name: "copies", title: "std of copies", of: (row) => row.copy_stds?.length, cell: (row) => copiesOf(row) },
  { name: "min", of: (row) => row.stats?.min, text: (value) => (value == null ? "—" : number(value)) },
  { name: "max", of: (row) => row.stats?.max, text: (value) => (value == null ? "—" : number(value)) },
  { name: "zeros", of: (row) => part(row, "zeros"), text: known(percent) },
  { name: "nans", title: "NaN", of: (row) => row.stats?.nans, text: known(exact) },
  { name: "infs", title: "Inf", of: (row) => row.stats?.infs, text: known(exact) },
  { name: "histogram", of: (row) => row.stats?.std, cell: (row) => row.stats?.histogram && bars(row.stats.histogram.counts, 72, 20) },
  { name: "bound", title: "bound by", of: (row) => words.roofs[row.index]?.[0] ?? "" },
  { name: "roof", title: "% of roofline", of: (row) => words.roofs[row.index]?.[1], text: known((value) => `${(100 * value).toFixed(0)} %`) },
  { name: "line", of: (row) => row.line, text: (value) => value ?? "—" },
];
const ran = rows.some((row) => row.stats || row.latency != null);
const SHOWN = new Set(ran ? ["layer", "type", "output", "params", "cache", "macs", "latency", "share", "mean", "std", "histogram"] : ["layer", "type", "output", "params", "cache", ...(words.measure === "eager" ? [] : ["macs", "backward"]), "saved", ...(words.measure === "eager" ? ["eager", "eager_backward"] : []), "share"]);
for (const column of COLUMNS) {
  column.title ??= column.name;
  column.right ??= column.text !== undefined;
  column.on = SHOWN.has(column.name) && (column.name === "layer" || rows.some((row) => { const value = column.of(row); return value != null && value !== 0 && value !== ""; }));
}

// The rows on the screen and as many more around them are in the page; the others are two gaps.
const table = { height: 30, spare: 150, shown: [], first: -1, last: -1 };

table.make = function () {
  const pick = make("details", { class: "pick" }, make("summary", {}, "Columns"),
    make("div", { class: "card" }, COLUMNS.slice(1).map((column) => make("label", {},
      column.box = make("input", { type: "checkbox", onchange: (event) => { column.on = event.target.checked; table.head(); table.draw(); } }), column.title))));
  this.body = make("tbody");
  this.top = make("tr");
  this.scroll = make("div", { class: "rows", onscroll: () => this.fill() },
    make("table", { role: "treegrid", "aria-label": "Layers", tabindex: 0, onkeydown: onKey, onclick: (event) => this.click(event) }, make("thead", {}, this.top), this.body));
  at("section.table").append(
    make("div", { class: "bar" }, make("h2", {}, "Layers"), this.said = make("span", { class: "muted" }), make("span", { class: "grow" }),
      make("button", { onclick: () => { openTo(Infinity); redraw(); } }, "Open all"),
      make("button", { onclick: () => { openTo(1); redraw(); } }, "Close all"), pick),
    this.scroll);
  this.head();
};

table.head = function () {
  this.columns = COLUMNS.filter((column) => column.on);
  for (const column of COLUMNS.slice(1)) column.box.checked = column.on;
  this.top.replaceChildren(...this.columns.map((column) => make("th", {
    class: column.right ? "right" : null, scope: "col", "aria-sort": state.sort === column ? (state.down ? "descending" : "ascending") : null,
  }, make("button", { onclick: () => this.sort(column), title: "Sort" }, column.title + (state.sort === column ? (state.down ? " ↓" : " ↑") : "")))));
};

// In a narrow window texts are cut shorter, and then the last figures left out, which a click under Columns brings back.
table.fit = function () {
  const { scroll } = this;
  const isWide = () => scroll.scrollWidth > scroll.clientWidth;
  for (const column of COLUMNS) if (column.left) [column.on, column.left] = [true, false];
  this.head();
  this.draw();
  for (const width of [250, 200, 150]) if (width === 250 || isWide()) scroll.style.setProperty("--cell", `${width}px`);
  for (const name of innerWidth < 700 ? [] : ["histogram", "std", "mean", "params", "output"]) {
    const column = COLUMNS.find((one) => one.name === name);
    if (!column.on || !isWide()) continue;
    [column.on, column.left] = [false, true];
    this.head();
    this.draw();
  }
};

// Once by the largest, once by the smallest, then as a tree again.
table.sort = function (column) {
  if (state.sort !== column) [state.sort, state.down] = [column, column.right];
  else if (state.down === column.right) state.down = !state.down;
  else state.sort = null;
  this.head();
  this.draw();
  this.scroll.scrollTop = 0;
};

table.choice = function () {
  const { sort, query, found } = state;
  if (sort) {
    const value = (row) => { const one = sort.of(row); return one != null && sort.adds ? one * row.times : one; };
    const sign = state.down ? -1 : 1;
    return leaves.filter((row) => !query || found.has(row.index) || [...ancestors(row)].some((one) => found.has(one.index)))
      .map((row) => [value(row), row])
      .sort(([a], [b]) => (a == null) - (b == null) || sign * (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b))
      .map(([, row]) => row);
  }
  if (!query) return visible();
  return rows.filter((row) => found.has(row.index) || state.around.has(row.index));
};

table.draw = function (follow = false) {
  this.shown = this.choice();
  this.first = -1;
  const all = state.sort ? leaves.length : rows.length;
  this.said.textContent = `${exact(this.shown.length)}${this.shown.length < all ? ` of ${exact(all)}` : ""} ${all === 1 ? "row" : "rows"}${state.sort ? ` by ${state.sort.title}` : ""}`;
  if (follow && state.chosen) {
    const place = this.shown.indexOf(state.chosen) * this.height;
    const room = this.scroll.clientHeight - 2 * this.height;
    if (place >= 0 && (place < this.scroll.scrollTop || place > this.scroll.scrollTop + room)) this.scroll.scrollTop = Math.max(0, place - room / 2);
  }
  this.fill();
};

table.fill = function () {
  const seen = Math.floor(this.scroll.scrollTop / this.height);
  const onScreen = Math.ceil((this.scroll.clientHeight || 900) / this.height);
  if (this.first >= 0 && (seen - this.spare / 3 > this.first || !this.first) && (seen + onScreen + this.spare / 3 < this.last || this.last === this.shown.length)) return;
  this.first = Math.max(0, seen - this.spare);
  this.last = Math.min(this.shown.length, seen + onScreen + this.spare);
  const gap = (many) => { const row = make("tr", { class: "gap", "aria-hidden": "true" }, make("td")); row.firstChild.style.height = `${many * this.height}px`; return many ? row : ""; };
  const inside = this.shown.slice(this.first, this.last).map((row) => this.row(row));
  this.body.replaceChildren(...[gap(this.first), ...inside, gap(this.shown.length - this.last)].filter(Boolean));
  if (!inside.length) this.body.append(make("tr", {}, make("td", { class: "empty", colspan: this.columns.length }, rows.length ? "No layer matches." : "The network has no layers.")));
};

table.row = function (row) {
  const flat = Boolean(state.sort);
  const element = make("tr", {
    "aria-level": row.depth, "aria-expanded": row.kids.length && !flat ? String(state.open.has(row.index) || Boolean(state.query)) : null,
    "aria-selected": row === state.chosen ? "true" : null, class: state.query && !flat && !state.found.has(row.index) ? "around" : null,
  });
  element.index = row.index;
  for (const column of this.columns) {
    const value = column.of(row);
    let inside = column.text ? column.text(value != null && flat && column.adds ? value * row.times : value) : String(value ?? "");
    if (column.least) inside = least(row, inside);
    if (column.cell) inside = column.cell(row) || "";
    const cell = make("td", { class: column.right ? "right" : null, title: typeof inside === "string" && inside.length > 40 ? inside : null });
    if (column.name === "layer") {
      cell.className = ["name", row.depth === 1 && !flat && "outer", row.kind === "expression" && "expression", row.wrong && "wrong"].filter(Boolean).join(" ");
      const times = flat ? row.times : row.repeat;
      cell.title = row.path;
      if (!flat) cell.style.paddingLeft = `${10 + 16 * (row.depth - 1)}px`;
      cell.append(flat ? "" : make("span", { class: "twist" }, row.kids.length ? "▸" : ""), flat ? row.name : row.short, times > 1 ? ` × ${times}` : "");
    } else if (column.name === "share" && value) {
      const filled = make("i");
      filled.style.width = `${Math.max(2, 100 * Math.min(1, value))}%`;
      cell.append(make("span", { class: "meter", "aria-hidden": "true" }, filled), inside);
    } else cell.append(inside);
    if ((column.name === "type" && row.kind === "expression") || inside === "—") cell.classList.add("expression");
    if (column.name === "output" && row.wrong) cell.classList.add("wrong");
    element.append(cell);
  }
  return element;
};

table.click = function (event) {
  const row = rows[event.target.closest("tr")?.index];
  if (!row) return;
  if (event.target.className === "twist" && row.kids.length) toggle(row);
  else choose(row, "table");
};

// ---- One layer ----------------------------------------------------------------------------------------------------

function bars(counts, width, height, attributes = {}) {
  const highest = Math.max(...counts, 1);
  const step = width / counts.length;
  return draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", ...attributes }, counts.map((many, index) => many > 0 &&
    draw("rect", { class: "spark", x: index * step, y: height - Math.max(1, (many / highest) * height), width: Math.max(0.5, step - 0.6), height: Math.max(1, (many / highest) * height) })));
}

const copiesOf = ({ copy_stds }, known = copy_stds.filter((std) => std != null)) => (known.length ? [...new Set([Math.min(...known), Math.max(...known)].map(number))].join(" … ") : null);
const spreadOf = (stats) => (stats.mean == null ? "no finite value" : `${number(stats.mean)} ± ${number(stats.std)}`);
const linkTo = (row) => make("button", { class: "link code", onclick: () => choose(row) }, row.name);

// What goes into a row and what takes its results: rows, and inputs and outputs of the network by name.
function neighbours(row) {
  const last = rows.findLastIndex((one) => one.index >= row.index && (one === row || [...ancestors(one)].includes(row)));
  const inside = (id) => typeof id === "number" && id >= row.index && id <= last;
  const outside = (ids) => [...new Set(ids)].map(thing).filter(Boolean);
  return [outside(flows.filter(([u, v]) => inside(v) && !inside(u)).map(([u]) => u)), outside(flows.filter(([u, v]) => inside(u) && !inside(v)).map(([, v]) => v))];
}

// The row that has a tensor: `wte.weight` is of `wte`.
const ownerOf = (name, side) => rows.find((one) => one.side === side && one.call === 1 && one.path && (one.path === name || one.parameters.some((tensor) => `${one.path}.${tensor.name}` === name)));

function showLayer() {
  const [panel, row] = [at(".panel"), state.chosen];
  panel.hidden = !row;
  if (!row) return panel.replaceChildren();
  const facts = make("dl", { class: "facts" });
  const fact = (name, ...value) => value.some((one) => one != null && one !== "" && one.length !== 0) && facts.append(make("div", { class: value.flat().length > 6 ? "wide" : null }, make("dt", {}, name), make("dd", {}, ...value)));
  const joined = (many, between = ", ") => many.flatMap((one, index) => (index ? [between, one] : [one]));
  const of = (figure, more = "", title = FIGURES[figure]?.title) => {
    const found = FIGURES[figure];
    const value = found?.of(row);
    if (value) fact(title, least(row, found.text(value)), more, found.whole ? ` · ${percent(share(row, found))} of all` : "");
  };
  const some = (many) => joined([...many.slice(0, 12).map((one) => (one.end ? one.name : linkTo(one))), ...(many.length > 12 ? [`${many.length - 12} more`] : [])]);
  const [takes, users] = neighbours(row);
  const [fastest, slowest] = row.latency_range;
  fact("input", row.input_shapes.length ? shapes(row.input_shapes) : null);
  fact("output", shapes(row.output_shapes), row.varies ? " (differs between calls, the last)" : "");
  fact("dtype", [...new Set(row.output_dtypes)].join(", "));
  fact("takes", some(takes));
  fact("goes to", some(users));
  fact("stands for", row.times > 1 ? `${exact(row.times)} equal ${row.times === row.repeat ? "copies" : "rows"}` : null, row.times > 1 ? "; figures are those of one" : null);
  fact("calls", again({ ...row, reads: [] }));
  fact("reads", joined(row.reads.map((name) => { const owner = ownerOf(name, row.side); return owner ? [linkTo(owner), name.slice(owner.path.length)] : name; })));
  fact("weights read by", some(rows.filter((one) => one.reads.some((name) => row.parameters.length && ownerOf(name, one.side) === row))));
  if (row.params) fact("parameters", exact(row.params), row.trainable_params < row.params ? `, ${exact(row.trainable_params)} trainable` : "");
  if (row.buffers) fact("buffers", exact(row.buffers));
  of("macs"); of("flops");
  const noise = (reports[row.side].run?.clock_noise ?? 0) * row.calls;
  of("latency", row.latency < noise ? ` (below the clock's noise of ${seconds(noise)})` : slowest > fastest ? ` (${seconds(fastest)} … ${seconds(slowest)})` : "");
  if (moved(row)) fact("read, written", `${bytes(row.bytes_read)}, ${bytes(row.bytes_written)}`);
  fact("FLOPs per byte", intensity(row) ? number(intensity(row)) : null);
  of("memory");
  if (row.live_bytes && !reports[row.side].training) fact("activations alive, at most", bytes(row.live_bytes));
  if (row.backward) {
    const { macs, flops, bytes_read: read, bytes_written: written, saved_bytes: saved } = row.backward;
    of("backward", row.macs && macs ? ` (${number(macs / row.macs)} × the forward's)` : "");
    fact("backward FLOPs", flops ? count(flops) : null);
    fact("backward read, written", read + written ? `${bytes(read)}, ${bytes(written)}` : null);
    of("saved");
  }
  fact("receptive field", row.receptive_field?.join(" × "));
  if (row.uncounted.length) fact("no counting rule", row.uncounted.join(", "));
  if (row.promise) fact("promised", `${row.promise.text} ${row.promise.held ? "✓" : `✗ got ${row.promise.got ?? "another"}`}`);
  const about = row.settings || (row.path ? row.text || row.type : row.kind);
  panel.replaceChildren(
    make("header", {}, make("div", {}, make("h2", { class: "code" }, row.name, row.repeat > 1 ? ` × ${row.repeat}` : ""),
      make("p", { class: "muted" }, [...ancestors(row)].reverse().flatMap((one) => [linkTo(one), " › "]), make("span", { class: "code" }, about), about === row.kind ? "" : ` · ${row.kind}`)),
      row.kids.length ? make("button", { onclick: () => toggle(row) }, state.open.has(row.index) ? "Close" : "Open") : "",
      make("button", { "aria-label": "Close the panel", onclick: () => choose(null) }, "✕")),
    row.note ? make("p", { class: "remark" }, row.note) : "", ...derivation(row), facts,
    make("div", { class: "parts" }, [specLines(row), inVars(row), arithmetic(row), parameters(row), statistics(row), placeUnderRoof(row)].filter((part) => part.length).map((part) => make("section", {}, part))));
}

// The row's line in the spec, between its neighbours.
function specLines(row) {
  const { spec, source } = reports[row.side];
  if (!spec || row.line == null) return [];
  const lines = spec.split("\n");
  return [make("h3", {}, `line ${row.line}${source ? ` of ${source}` : ""}`),
    make("div", { class: "lines code" }, [row.line - 1, row.line, row.line + 1].filter((line) => line >= 1 && lines[line - 1]?.trim()).map((line) =>
      make("div", { class: line === row.line ? "here" : "muted" }, make("span", { class: "muted" }, `${line}`), lines[line - 1])))];
}

// The row's figures as formulas in the vars of the spec.
function inVars(row) {
  const known = Object.entries(words.formulas?.[row.index] ?? {});
  const titles = { params: "params", macs: "MACs", flops: "FLOPs", bytes_read: "read", bytes_written: "written" };
  return known.length ? [make("h3", {}, "in the vars of the spec"), make("div", { class: "code arithmetic" }, known.map(([name, text]) => equation(text, titles[name])))] : [];
}

// A computation step by step: `H′ = ⌊H / 2⌋ = ⌊9 / 2⌋ = 4` as its name, formula, numbers and result.
function equation(line, name) {
  const [left, ...steps] = name === undefined ? line.split(" = ") : [name, ...line.split(" = ")];
  if (!steps.length || line.startsWith("unchanged")) return make("div", { class: "equation" }, make("span", { class: "muted" }, name ?? ""), make("span", { class: "muted" }, line));
  return make("div", { class: "equation" }, make("span", { class: "muted" }, left), make("span", {}, steps.map((step, index) =>
    make("span", { class: "step" }, index || name === undefined ? make("i", {}, "= ") : "", make(index === steps.length - 1 ? "b" : "span", {}, step), " "))));
}

function arithmetic(row) {
  const { formulas, operators, backward_operators: backward } = reports[row.side];
  const own = (row.formulas ?? []).map((index) => formulas[index]);
  const run = (row.operators ?? []).map((index) => operators[index]);
  const later = (row.backward_operators ?? []).map((index) => backward[index]);
  if (!own.length && !run.length && !later.length) return [];
  const costs = (some) => some.flatMap((one) => {
    const flow = one.inputs.length || one.outputs.length ? `${one.inputs.map(shape).join(" · ")} → ${one.outputs.map(shape).join(" · ")}` : "";
    const isFree = !one.flops && !one.bytes_read && !one.bytes_written;
    return [make("div", { class: "operator" }, make("b", {}, one.name), one.times > 1 ? ` × ${exact(one.times)}` : "", make("span", { class: "muted" }, ` ${flow}`)),
      one.sizes.filter((line) => !own.includes(line)).map((line) => equation(line)),
      one.macs_formula ? equation(one.macs_formula, "MACs") : "", one.flops_formula ? equation(one.flops_formula, "FLOPs") : "",
      one.flops == null ? equation("no rule counts this operator") : isFree ? equation("nothing is computed or moved")
        : one.bytes_read || one.bytes_written ? make("div", { class: "equation" }, make("span", { class: "muted" }, "bytes"), make("span", {}, `${exact(one.bytes_read)} read, ${exact(one.bytes_written)} written`)) : ""];
  });
  // Of several results, which one it is stands above its sizes.
  let last;
  const sizes = own.flatMap((line) => {
    const [, which, rest] = line.match(/^(output \d+): (.*)$/) ?? [line, undefined, line];
    const head = which !== undefined && which !== last ? make("div", { class: "operator" }, make("b", {}, which)) : "";
    last = which;
    return [head, equation(rest)];
  });
  return [make("h3", {}, row.calls > 1 ? "arithmetic of one call" : "arithmetic"), make("div", { class: "code arithmetic" }, sizes, costs(run)),
    later.length ? [make("h3", {}, row.calls > 1 ? "backward of one call" : "backward"), make("div", { class: "code arithmetic" }, costs(later))] : []];
}

function parameters(row) {
  if (!row.parameters.length) return [];
  const cells = (tag, ...texts) => make("tr", {}, texts.map((text) => make(tag, {}, text)));
  const valued = row.parameters.some((one) => one.stats);
  return [make("h3", {}, "parameters"), make("table", { class: "plain" },
    make("thead", {}, cells("th", "name", "shape", "dtype", "elements", ...(valued ? ["mean ± std"] : []))),
    make("tbody", {}, row.parameters.map((one) => cells("td", one.name, shape(one.shape), one.dtype, exact(one.shape.reduce((a, b) => a * b, 1)), ...(valued ? [one.stats ? spreadOf(one.stats) : "—"] : [])))))];
}

function placeUnderRoof(row) {
  const roof = words.roofs?.[row.index];
  if (!roof) return [];
  const [bound, reached, shortest] = roof;
  const about = `Bound by ${bound === "compute" ? "arithmetic" : "memory"}: by itself at least ${seconds(shortest)}${reached ? `; it reached ${percent(reached)} of its roofline` : ""}.`;
  const spot = rooflineSpot(row);
  return [make("h3", {}, `roofline of ${words.peaks}`), make("p", {}, about), spot ? fill(rooflineDrawing(420, 200, spot), { "aria-label": "Its place under the roofline" }, []) : ""];
}

function statistics(row) {
  const { stats } = row;
  if (!stats) return [];
  const facts = [["mean ± std", spreadOf(stats)], ["min … max", stats.min == null ? "—" : `${number(stats.min)} … ${number(stats.max)}`], ["zeros", percent(stats.zeros / (stats.elements || 1))],
    ["std of copies", copiesOf(row)], ["NaN", exact(stats.nans)], ["Inf", exact(stats.infs)], ["std between items", stats.item_std == null ? null : number(stats.item_std)],
    ["dead channels", stats.zero_slices.length ? stats.zero_slices.join(", ") : null]];
  const { histogram } = stats;
  const [width, height] = [420, 90];
  return [make("h3", {}, `values of ${exact(stats.elements)} elements`),
    histogram ? fill(bars(histogram.counts, width, height, { viewBox: `0 0 ${width} ${height + 18}`, height: height + 18, class: "histogram" }), {}, [
      draw("line", { class: "axis", x1: 0, x2: width, y1: height + 0.5, y2: height + 0.5 }),
      draw("text", { class: "quiet", x: 0, y: height + 14 }, number(histogram.low)), draw("text", { class: "quiet", x: width, y: height + 14, "text-anchor": "end" }, number(histogram.high)),
      histogram.low < 0 && histogram.high > 0 && draw("text", { class: "quiet", x: (-histogram.low / (histogram.high - histogram.low)) * width, y: height + 14, "text-anchor": "middle" }, "0")]) : "",
    make("dl", { class: "facts" }, facts.filter(([, value]) => value != null && value !== "0").map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))))];
}

// ---- The network: its layout --------------------------------------------------------------------------------------
//
// Each open part is a small graph of its own: what it contains, a port for each result that enters it and one for each
// that leaves. Its nodes are stacked in chains: a chain is a column in which each node stands below one that it takes
// its input from. The longest chain comes first; the others, and then the lanes of edges that skip nodes, take the
// nearest place beside what is there already. Nothing crosses a node, and all of it is a few loops.

const SPACE = { below: 38, beside: 22, lane: 13, inside: 16, head: 36 };
const ends = [
  ...reports.flatMap(({ inputs }, side) => inputs.map((one, index) => ({ end: `i${side}.${index}`, side, name: one.name || "input", sizes: shape(one.shape), dtype: one.dtype }))),
  ...reports.flatMap(({ outputs }, side) => outputs.map((one, index) => ({ end: `o${side}.${index}`, side, name: one.name || "output", sizes: shape(one.shape), dtype: one.dtype }))),
];
const idOf = (one) => one.end ?? one.index;
const thing = (id) => (typeof id === "number" ? rows[id] : ends.find((one) => one.end === id));

// All edges between rows without others inside, inputs and outputs. Where a row's sources are not known, the row before
// it stands for them.
const flows = [];
let before = null;
for (const row of leaves) {
  if (!row.sources && before?.side === row.side && row.kind !== "parameter") flows.push([before.index, row.index]);
  if (row.kind !== "parameter") before = row;
  for (const index of row.network_inputs ?? []) if (reports[row.side].inputs[index]) flows.push([`i${row.side}.${index}`, row.index]);
  for (const source of row.sources ?? []) if (rows[source] && !rows[source].kids.length) flows.push([source, row.index]);
  for (const index of row.network_outputs ?? []) if (reports[row.side].outputs[index]) flows.push([row.index, `o${row.side}.${index}`]);
}
const lineage = new Map([...ends, ...leaves].map((one) => [idOf(one), [...(typeof idOf(one) === "number" ? [...ancestors(one)].map(idOf) : []).reverse(), idOf(one)]]));

// Another name for a result, as in `p5 = prev`, is no step of its own.
const linked = new Set(flows.flat());
const isDrawn = (one) => one.end ? linked.has(one.end) : one.kind !== "expression" || one.kids.length > 0 || linked.has(one.index) || one.flops > 0 || one.bytes_written > 0;

// The edges of each open part, between what is seen there: {from, to, u} for the result of u.
function linksOfParts() {
  const parts = new Map();
  const isOpen = (id) => id === null || state.open.has(id);
  const add = (part, from, to, u) => {
    const links = parts.get(part) ?? parts.set(part, new Map()).get(part);
    const key = `${from}|${u}|${to}`;
    if (!links.has(key)) links.set(key, { from, to, u, back: typeof from === "number" && typeof to === "number" && from >= to });
  };
  for (const [u, v] of flows) {
    const [one, other] = [lineage.get(u), lineage.get(v)];
    let common = 0;
    while (common < one.length - 1 && common < other.length - 1 && one[common] === other[common]) common += 1;
    if (!one.slice(0, common).every(isOpen)) continue;
    add(common ? one[common - 1] : `side${thing(u).side}`, one[common], other[common], u);
    for (let level = common; level < other.length - 1 && isOpen(other[level]); level += 1) add(other[level], `in:${u}`, other[level + 1], u);
    for (let level = common; level < one.length - 1 && isOpen(one[level]); level += 1) add(one[level], one[level + 1], `out:${u}`, u);
  }
  return parts;
}

// A node with its size, what is written in it, and where edges of a result enter and leave it, from its left.
function sized(one, parts) {
  const node = { id: idOf(one), one, x: 0, y: 0, links: [], enters: () => node.w / 2, leaves: () => node.w / 2 };
  if (one.end) return Object.assign(node, { title: cut(one.name, 26), about: cut(`${one.sizes}${one.dtype === reports[one.side].dtype ? "" : ` ${one.dtype}`}`, 34) }, box(one.name, `${one.sizes} ${one.dtype}`, 34));
  const times = one.repeat > 1 ? ` × ${one.repeat}` : one.kind === "loop" && one.calls > 1 ? ` × ${one.calls} rounds` : "";
  const about = one.kids.length && one.short === one.type ? "" : described(one);
  node.title = cut(one.short || one.type, 26) + times;
  node.about = cut(about === node.title ? "" : about, 34);
  if (one.kids.length && state.open.has(one.index)) {
    const inner = layOut(one.index, one.kids, parts);
    const w = Math.max(inner.w + 2 * SPACE.inside, 100 + 7.3 * node.title.length + 6.7 * cut(about, 24).length);
    const left = (w - inner.w) / 2;
    const port = (kind) => (u) => (inner.ports.has(`${kind}:${u}`) ? left + inner.ports.get(`${kind}:${u}`) : w / 2);
    return Object.assign(node, { w, h: inner.h + SPACE.head + SPACE.inside, inner, left, enters: port("in"), leaves: port("out") });
  }
  return Object.assign(node, box(`${node.title}${one.kids.length ? "   " : ""}${"       "}`, about, 34));
}

const box = (title, about, most) => ({ w: Math.max(96, 22 + Math.max(7.3 * Math.min(title.length, most), 6.7 * Math.min(about.length, most))), h: about ? 44 : 30 });

function layOut(part, inside, parts) {
  const links = [...(parts.get(part)?.values() ?? [])];
  const nodes = new Map();
  const port = (id) => nodes.set(id, { id, w: 0, h: 0, x: 0, y: 0, port: id.split(":")[0], enters: () => 0, leaves: () => 0 });
  for (const { from } of links) if (String(from).startsWith("in:") && !nodes.has(from)) port(from);
  for (const one of inside) if (isDrawn(one)) nodes.set(idOf(one), sized(one, parts));
  for (const { to } of links) if (String(to).startsWith("out:") && !nodes.has(to)) port(to);
  for (const node of nodes.values()) Object.assign(node, { before: [], after: [] });
  for (const link of links) if (!link.back) {
    nodes.get(link.from).after.push(link);
    nodes.get(link.to).before.push(link);
  }
  const order = [...nodes.values()];
  setHeights(order, nodes);
  const placed = [];
  const chains = chainsOf(order, nodes);
  for (const chain of chains) place(chain, nodes, placed);
  const wires = wiresOf(order, nodes, links, chains, placed);
  const all = [...placed.map(({ x0, x1 }) => [x0, x1]), ...order.map((node) => [node.x, node.x + node.w])];
  const left = all.reduce((least, [x]) => Math.min(least, x), Infinity);
  const right = all.reduce((most, [, x]) => Math.max(most, x), -Infinity);
  const ports = new Map();
  for (const node of order) {
    node.x -= left;
    if (node.port) ports.set(node.id, node.x);
  }
  for (const wire of wires) wire.points = wire.points.map(([x, y]) => [x - left, y]);
  return { nodes: order, wires, ports, w: order.length ? right - left : 0, h: order.reduce((most, node) => Math.max(most, node.y + node.h), 0) };
}

// Each node stands below all that it takes from; what takes from nothing stands right above what takes from it.
function setHeights(order, nodes) {
  const bottom = (node) => node.y + node.h;
  const someEnter = order.some((node) => node.port === "in");
  for (const node of order) node.y = node.before.reduce((y, { from }) => Math.max(y, bottom(nodes.get(from)) + SPACE.below), someEnter && node.port !== "in" ? SPACE.below : 0);
  for (const node of [...order].reverse()) {
    if (!node.before.length && !node.port && node.after.length) node.y = Math.max(node.y, Math.min(...node.after.map(({ to }) => nodes.get(to).y)) - SPACE.below - node.h);
    node.down = node.h + node.after.reduce((most, { to }) => Math.max(most, nodes.get(to).down + SPACE.below), 0);
  }
  const lowest = order.reduce((most, node) => (node.port === "out" ? most : Math.max(most, bottom(node))), 0);
  for (const node of order) if (node.port === "out") node.y = lowest + SPACE.below;
}

// Lists of steps {node, u, enters}: the result of the one above that goes straight down into the node.
function chainsOf(order, nodes) {
  const chained = new Set();
  const chains = [];
  for (const first of [...order].sort((a, b) => b.down - a.down || a.y - b.y)) {
    if (chained.has(first)) continue;
    const chain = [{ node: first }];
    chained.add(first);
    for (let here = first; here;) {
      const next = here.after.map((link) => ({ link, node: nodes.get(link.to) })).filter(({ node }) => !chained.has(node));
      const near = next.filter(({ node }) => node.y <= here.y + here.h + SPACE.below + 1);
      const best = (near.length ? near : next).reduce((most, one) => (!most || one.node.down > most.node.down ? one : most), null);
      here = best?.node;
      if (!best) break;
      best.link.straight = true;
      chained.add(here);
      chain.push({ node: here, u: best.link.u });
    }
    chains.push(chain);
  }
  return chains;
}

// Put a chain as near as possible to what it is linked with, where it overlaps nothing.
function place(chain, nodes, placed) {
  let axis = 0;
  let above = null;
  const boxes = [];
  for (const [index, { node, u }] of chain.entries()) {
    const next = chain[index + 1]?.u;
    node.x = axis - (above ? node.enters(u) : node.leaves(next));
    if (above) boxes.push({ x0: axis, x1: axis, y0: above.y + above.h, y1: node.y, lane: true });
    boxes.push({ x0: node.x, x1: node.x + node.w, y0: node.y, y1: node.y + node.h, lane: Boolean(node.port) });
    axis = node.x + node.leaves(next);
    above = node;
  }
  const own = new Set(chain.map(({ node }) => node));
  const wanted = chain.flatMap(({ node }) => [
    ...node.before.filter(({ from }) => !own.has(nodes.get(from)) && nodes.get(from).set).map(({ from, u }) => nodes.get(from).x + nodes.get(from).leaves(u) - node.x - node.enters(u)),
    ...node.after.filter(({ to }) => !own.has(nodes.get(to)) && nodes.get(to).set).map(({ to, u }) => nodes.get(to).x + nodes.get(to).enters(u) - node.x - node.leaves(u)),
  ]);
  const by = free(boxes, placed, wanted.length ? wanted.reduce((sum, x) => sum + x, 0) / wanted.length : 0);
  for (const { node } of chain) { node.x += by; node.set = true; }
  for (const one of boxes) placed.push({ ...one, x0: one.x0 + by, x1: one.x1 + by });
}

// How far boxes have to move to the side, from where they are wanted, to be free of all that is placed.
function free(boxes, placed, wanted) {
  const taken = [];
  for (const one of boxes) for (const other of placed) {
    if (one.y0 >= other.y1 + 6 || other.y0 >= one.y1 + 6) continue;
    const space = one.lane && other.lane ? SPACE.lane : SPACE.beside;
    taken.push([other.x0 - one.x1 - space, other.x1 - one.x0 + space]);
  }
  taken.sort((a, b) => a[0] - b[0]);
  let [right, left] = [wanted, wanted];
  for (const [from, to] of taken) if (from < right - 0.01 && right < to) right = to;
  for (const [from, to] of taken.sort((a, b) => b[1] - a[1])) if (to > left + 0.01 && left > from) left = from;
  return right - wanted <= wanted - left ? right : left;
}

// The edges as lines of points. Those that skip nodes share a lane for each result, the shortest nearest.
function wiresOf(order, nodes, links, chains, placed) {
  const wires = [];
  const lanes = [];
  const wire = (link, points, kind = "") => wires.push({ ...link, points, kind });
  for (const node of order) {
    const byResult = Map.groupBy(node.after, ({ u }) => u);
    for (const [u, after] of byResult) {
      const [x, y] = [node.x + node.leaves(u), node.y + node.h];
      const far = [];
      for (const link of after) {
        const target = nodes.get(link.to);
        const [tx, ty] = [target.x + target.enters(u), target.y];
        if (link.straight) wire(link, [[x, y], [tx, ty]]);
        else if (ty - y <= SPACE.below + 1) wire(link, bent(x, y, tx, ty, ty - 12));
        else far.push({ link, tx, ty });
      }
      if (far.length) lanes.push({ x, y, far, end: Math.max(...far.map(({ ty }) => ty)) });
      if (!node.inner && !node.port) wires.push({ from: node.id, u, label: labelOf(u), points: [[x, y + SPACE.below / 2 + 2.5]] });
    }
  }
  for (const { x, y, far, end } of lanes.sort((a, b) => a.end - a.y - (b.end - b.y))) {
    const lane = { x0: x, x1: x, y0: y + 10, y1: end - 10, lane: true };
    const by = free([lane], placed.filter((one) => one.y1 > y + 1 && one.y0 < end - 1), 0);
    placed.push({ ...lane, x0: x + by, x1: x + by });
    for (const { link, tx, ty } of far) wire(link, [[x, y], [x, y + 12], [x + by, y + 12], [x + by, ty - 12], [tx, ty - 12], [tx, ty]], "skip");
  }
  const right = placed.reduce((most, { x1 }) => Math.max(most, x1), 0);
  links.filter((link) => link.back && link.from !== link.to).forEach((link, index) => {
    const [from, to, x] = [nodes.get(link.from), nodes.get(link.to), right + SPACE.beside + index * SPACE.lane];
    placed.push({ x0: x, x1: x, y0: 0, y1: 0, lane: true });
    const [ax, ay, bx] = [from.x + from.leaves(link.u), from.y + from.h, to.x + to.enters(link.u)];
    wire(link, [[ax, ay], [ax, ay + 12], [x, ay + 12], [x, to.y - 12], [bx, to.y - 12], [bx, to.y]], "back");
  });
  return wires;
}

const bent = (x, y, tx, ty, middle) => (Math.abs(x - tx) < 1 ? [[x, y], [x, ty]] : [[x, y], [x, middle], [tx, middle], [tx, ty]]);

function labelOf(u) {
  const one = thing(u);
  const many = one.end ? [] : one.output_shapes;
  return many.length > 2 ? `${many.length} tensors` : many.map((sizes) => sizes.join("×") || "()").join(", ");
}

// Lines with round corners.
function pathOf(points) {
  const kept = points.filter(([x, y], index) => !index || Math.abs(x - points[index - 1][0]) > 0.5 || Math.abs(y - points[index - 1][1]) > 0.5);
  let path = `M${kept[0].map(short)}`;
  for (let index = 1; index < kept.length - 1; index += 1) {
    const [before, here, after] = kept.slice(index - 1, index + 2);
    const toward = (end) => {
      const size = Math.hypot(end[0] - here[0], end[1] - here[1]);
      const part = Math.min(9, size / 2) / size;
      return [here[0] + (end[0] - here[0]) * part, here[1] + (end[1] - here[1]) * part].map(short);
    };
    path += `L${toward(before)}Q${here.map(short)} ${toward(after)}`;
  }
  return `${path}L${kept.at(-1).map(short)}`;
}

// ---- The network: its drawing -------------------------------------------------------------------------------------

const networkOf = (side) => Object.assign(Object.create(Network), { side, size: 1, nodes: new Map(), wires: [] });
const Network = {};

// The bar above the network, or above both: search, colour and zoom. `choices` are the names of figures to colour by.
function networkTools(choices, painted) {
  const search = make("input", { type: "search", placeholder: "Search layers   /", "aria-label": "Search layers", oninput: (event) => seek(event.target.value),
    onkeydown: (event) => { if (event.key === "Enter") chooseNext(event.shiftKey ? -1 : 1); event.stopPropagation(); } });
  const tool = (text, title, act) => make("button", { title, "aria-label": title, onclick: () => networks.forEach(act) }, text);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|SELECT/.test(document.activeElement.tagName)) { event.preventDefault(); search.focus(); }
  });
  return make("div", { class: "bar" }, make("span", { class: "search" }, search),
    choices.length ? make("select", { "aria-label": "Colour by", onchange: (event) => { state.colour = FIGURES[event.target.value]; networks.forEach((one) => one.paint()); painted(); } },
      choices.map(([name, title]) => make("option", { value: name, selected: FIGURES[name] === state.colour }, `Colour: ${title}`))) : "",
    make("span", { class: "scale" }), make("span", { class: "grow" }),
    make("span", { class: "zoom" }, tool("−", "Zoom out", (one) => one.zoom(0.8)), tool("+", "Zoom in", (one) => one.zoom(1.25)), tool("Fit", "Fit the whole network", (one) => one.fit())));
}

Network.make = function () {
  const view = make("div", { class: "view", tabindex: 0, role: "group", "aria-label": `${reports[this.side].name} as a graph. Arrows choose, Enter opens, plus and minus zoom.`, onkeydown: onKey });
  this.view = view;
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / 300), event);
  }, { passive: false });
  // A mouse drags; fingers scroll, and two zoom.
  const fingers = new Map();
  let moved = false;
  view.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, event); moved = false; });
  view.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    if (fingers.size === 2) {
      const apart = () => { const [a, b] = fingers.values(); return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
      const was = apart();
      fingers.set(event.pointerId, event);
      if (was > 10) this.zoom(apart() / was, event);
      return;
    }
    if (event.pointerType !== "mouse") return;
    if (!moved && Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY) < 4) return;
    moved = true;
    view.classList.add("moving");
    view.scrollLeft -= event.clientX - before.clientX;
    view.scrollTop -= event.clientY - before.clientY;
    fingers.set(event.pointerId, event);
  });
  const done = (event) => { fingers.delete(event.pointerId); view.classList.remove("moving"); };
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) view.addEventListener(name, done);
  view.addEventListener("click", (event) => {
    const row = rows[event.target.closest(".node")?.index];
    if (moved || !row) return;
    if (event.target.closest(".twist")) toggle(row);
    else choose(row, this);
  });
  view.addEventListener("dblclick", (event) => {
    const row = rows[event.target.closest(".node")?.index];
    if (row && !event.target.closest(".twist")) toggle(row);
  });
  return view;
};

// Lay out and draw what is open; `anchor` is a row that stays where it is on the screen.
Network.draw = function (anchor) {
  const { view } = this;
  const before = anchor && this.nodes.get(anchor.index);
  const seat = before && [before.left * this.size - view.scrollLeft, before.top * this.size - view.scrollTop];
  this.nodes.clear();
  this.wires = [];
  const found = (kind) => ends.filter(({ side, end }) => side === this.side && end[0] === kind && linked.has(end));
  const whole = layOut(`side${this.side}`, [...found("i"), ...roots.filter((row) => row.side === this.side), ...found("o")], linksOfParts());
  const margin = 24;
  [this.w, this.h] = [whole.w + 2 * margin, whole.h + 2 * margin];
  const arrow = draw("marker", { id: `page-arrow-${this.side}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto", markerUnits: "userSpaceOnUse" }, draw("path", { d: "M0 0.8L8 4L0 7.2z" }));
  arrow.firstChild.style.fill = "var(--wire)";
  this.svg = draw("svg", { viewBox: `0 0 ${short(this.w)} ${short(this.h)}`, role: "img", "aria-label": `The network ${reports[this.side].name}` }, draw("defs", {}, arrow), this.part(whole, margin, margin, margin, margin));
  view.replaceChildren(this.svg);
  this.resize();
  this.paint();
  this.mark(false);
  const after = anchor && this.nodes.get(anchor.index);
  if (seat && after) view.scrollTo(after.left * this.size - seat[0], after.top * this.size - seat[1]);
};

// The group of a laid out part at a place in the group around it; `left` and `top` are its place in the whole.
Network.part = function (laid, x, y, left, top) {
  const group = draw("g", { transform: `translate(${short(x)} ${short(y)})` });
  for (const wire of laid.wires) {
    const [[px, py]] = wire.points;
    if (wire.label != null) { if (wire.label) group.append(draw("text", { class: "label", x: short(px + 6), y: short(py) }, wire.label)); continue; }
    const kind = typeof wire.to === "number" && rows[wire.to].sources === null && !rows[wire.to].kids.length ? "guessed" : wire.kind;
    const path = draw("path", { class: `wire ${kind}`, "marker-end": String(wire.to).startsWith("out:") ? null : `url(#page-arrow-${this.side})`, d: pathOf(wire.points) });
    this.wires.push({ ...wire, path });
    group.append(path);
  }
  for (const node of laid.nodes) group.append(node.port ? draw("circle", { class: "wire", cx: short(node.x), cy: short(node.y), r: 2.2 }) : this.node(node, left, top));
  return group;
};

Network.node = function (node, left, top) {
  const { one, w, h } = node;
  const isOpen = Boolean(node.inner);
  const group = draw("g", { class: ["node", one.end ? "end" : one.kind, isOpen && "open", one.wrong && "wrong", one.change].filter(Boolean).join(" "), transform: `translate(${short(node.x)} ${short(node.y)})` });
  const radius = one.end || one.kind === "expression" ? 15 : 9;
  const frame = (by) => draw("rect", { class: by ? "behind" : null, x: by, y: by, width: short(w), height: short(h), rx: isOpen ? 14 : radius });
  if (one.repeat > 1) group.append(frame(8), frame(4));
  const rect = frame(0);
  group.append(rect, draw("title", {}, one.end ? `${one.name} ${one.sizes} ${one.dtype}` : `${one.path} ${described(one)}`));
  const start = one.kids?.length ? 26 : 11;
  if (one.kids?.length) group.append(draw("g", { class: "twist" }, draw("rect", { x: 0, y: 0, width: 26, height: isOpen ? SPACE.head : short(h), fill: "transparent", stroke: "none" }), draw("text", { class: "quiet", x: 10, y: 19 }, isOpen ? "▾" : "▸")));
  const words = draw("text", { x: start, y: 19 }, draw("tspan", { class: "name" }, node.title));
  if (isOpen) words.append(draw("tspan", { class: "quiet kind", dx: 8 }, cut(node.about, 24)));
  group.append(words);
  if (!isOpen && node.about) group.append(draw("text", { class: "quiet kind", x: 11, y: 35 }, node.about));
  if (!one.end) {
    group.index = one.index;
    const worth = draw("text", { class: "quiet worth", x: short(w - 9), y: 19, "text-anchor": "end" });
    group.append(worth);
    this.nodes.set(one.index, { group, rect, worth, left: left + node.x, top: top + node.y, w, h, isOpen, row: one });
  }
  if (isOpen) group.append(this.part(node.inner, node.left, SPACE.head, left + node.x + node.left, top + node.y + SPACE.head));
  return group;
};

// Colour the nodes by the figure chosen: the darkest is the largest of those that are seen.
Network.paint = function () {
  const figure = state.colour;
  if (!figure) {
    for (const { rect, worth, row } of this.nodes.values()) [rect.style.fill, worth.textContent] = ["", row.mark ?? ""];
    at(".scale").replaceChildren();
    return;
  }
  const seen = networks.flatMap(({ nodes }) => [...nodes.values()]).filter((node) => !node.isOpen);
  const most = Math.max(...seen.map(({ row }) => share(row, figure) ?? 0), 1e-12);
  for (const node of this.nodes.values()) {
    const value = share(node.row, figure);
    node.rect.style.fill = node.isOpen || !value ? "" : `color-mix(in oklab, var(--heat) ${Math.round(6 + 74 * Math.sqrt(value / most))}%, var(--card))`;
    node.worth.textContent = !value ? "" : figure.whole ? (value < 0.0005 ? "" : percent(value).replace(" ", "")) : figure.text(figure.of(node.row));
  }
  at(".scale").replaceChildren("0", make("i"), figure.whole ? percent(most) : figure.text(most * figure.most));
};

// Mark what is chosen and found; `follow` brings the chosen node into view.
Network.mark = function (follow) {
  const id = (state.chosen?.side === this.side ? state.chosen : state.chosen?.other)?.index;
  for (const [index, { group }] of this.nodes) {
    group.classList.toggle("chosen", index === id);
    group.classList.toggle("found", state.found.has(index) || (!state.open.has(index) && state.around.has(index)));
  }
  this.svg.classList.toggle("seeking", Boolean(state.query));
  for (const { path, from, to, u } of this.wires) path.classList.toggle("chosen", id !== undefined && (from === id || to === id || u === id));
  const node = follow && this.nodes.get(id);
  if (!node) return;
  const { view, size } = this;
  const [x, y, w, h] = [node.left * size, node.top * size, node.w * size, Math.min(node.h * size, view.clientHeight)];
  if (x < view.scrollLeft || x + w > view.scrollLeft + view.clientWidth) view.scrollLeft = x + w / 2 - view.clientWidth / 2;
  if (y < view.scrollTop || y + h > view.scrollTop + view.clientHeight) view.scrollTop = y + h / 2 - view.clientHeight / 2;
};

Network.resize = function () {
  this.svg.setAttribute("width", Math.round(this.w * this.size));
  this.svg.setAttribute("height", Math.round(this.h * this.size));
  this.svg.classList.toggle("far", this.size < 0.45);
};

// Zoom by a factor around a place, or back to the size of text.
Network.zoom = function (by, around) {
  const { view } = this;
  const box = view.getBoundingClientRect();
  const [x, y] = around ? [around.clientX - box.left, around.clientY - box.top] : [box.width / 2, box.height / 2];
  const before = this.size;
  this.size = by ? Math.min(3, Math.max(0.03, before * by)) : 1;
  this.resize();
  const grown = this.size / before;
  view.scrollTo((view.scrollLeft + x) * grown - x, (view.scrollTop + y) * grown - y);
};

Network.fit = function (smallest = 0) {
  const { view } = this;
  this.size = Math.max(smallest, Math.min(1, view.clientWidth / this.w, view.clientHeight / this.h));
  this.resize();
  view.scrollTo((this.w * this.size - view.clientWidth) / 2, 0);
};

// ---- Charts -------------------------------------------------------------------------------------------------------

const charts = { dots: [] };

function pointed(row, element, tip) {
  tips.set(element, `${row.name}${row.times > 1 ? ` × ${row.times}` : ""}\n${tip}`);
  element.index = row.index;
  charts.dots.push([row.index, element]);
  return element;
}

function drawCharts() {
  at(".charts").replaceChildren();
  charts.dots = [];
  if (report.strips?.length) chart("Activations", words.strips, strips);
  if (report.run?.latency?.times.length >= 5) {
    const [drawn, figures] = repeats(report.run.latency, words.interval);
    chart("Repeats", "Each forward of the whole network. The band is the interquartile range, the narrow one the 95 % confidence interval of the median.", drawn).append(figures);
  }
  if (state.colour && rows.length > 1) chart(`${state.colour.title[0].toUpperCase()}${state.colour.title.slice(1)} by module`, "A line of blocks is a level of the network, the width of a block its share of all.", icicle);
  if (report.training) drawStep();
  else if (leaves.some((row) => row.live_bytes)) drawMemory();
  const rated = words.roofs.some(Boolean);
  if (rated) drawRoofline();
  if (valued.filter(({ stats }) => stats.mean != null).length > 1) drawDepth();
  markCharts();
}

function icicle(width) {
  const figure = state.colour;
  const levels = Math.max(...rows.map((row) => row.depth));
  const height = 26;
  const parts = [];
  const value = (row) => (figure.of(row) ?? 0) * row.times;
  const total = roots.reduce((sum, row) => sum + value(row), 0) || 1;
  const put = (some, from) => {
    let x = from;
    for (const row of some) {
      const w = (value(row) / total) * width;
      if (w < 0.4) { x += w; continue; }
      const rect = draw("rect", { class: "slab", x: short(x), y: (row.depth - 1) * height, width: short(w), height: height - 1, rx: 3 });
      rect.style.fill = `color-mix(in oklab, var(--heat) ${Math.round(10 + 65 * Math.sqrt(value(row) / total))}%, var(--card))`;
      parts.push(pointed(row, rect, `${figure.text(figure.of(row) ?? 0)}${row.times > 1 ? " each" : ""} · ${percent(figure.whole ? share(row, figure) : value(row) / total)}`));
      const room = Math.floor((w - 10) / 6.6);
      if (room > 2) { const name = text(short(x + 6), (row.depth - 1) * height + 17, cut(`${row.short || row.type}${row.repeat > 1 ? ` × ${row.repeat}` : ""}`, room), "start", ""); name.style.pointerEvents = "none"; parts.push(name); }
      put(row.kids, x);
      x += w;
    }
  };
  put(roots, 0);
  return canvas(width, levels * height, parts);
}

function drawMemory() {
  const { totals } = report;
  const steps = leaves.filter((row) => row.live_bytes != null && row.kind !== "parameter");
  const peak = steps.reduce((most, row) => (row.live_bytes > most.live_bytes ? row : most));
  const there = totals.param_bytes + totals.buffer_bytes + (totals.input_bytes ?? 0);
  // What results of rows before the peak are still to be read then.
  const held = leaves.filter((row) => row !== peak && row.kind !== "parameter" && row.index < peak.index && row.output_bytes && row.users.some((user) => user.index >= peak.index));
  const base = there <= 3 * peak.live_bytes ? there : 0;
  const about = `Activations are ${bytes(peak.live_bytes)} at the peak, in ${peak.name}${held.length ? `, beside results of ${held.slice(-4).map((row) => row.name).join(", ")}` : ""}. `
    + `Weights, buffers and inputs are there throughout: ${bytes(there)}${base ? ", the grey band" : ", not drawn"}.${steps.some((row) => row.times > 1) ? " Equal copies are drawn once." : ""}`;
  chart("Memory over the pass", about, (width) => {
    const [height, left] = [190, 64];
    const most = base + peak.live_bytes;
    const step = (width - left) / steps.length;
    const y = (value) => short(height - 22 - (value / most) * (height - 40));
    let path = `M${left} ${y(base)}`;
    steps.forEach((row, index) => (path += `V${y(base + row.live_bytes)}H${short(left + (index + 1) * step)}`));
    const at = left + (steps.indexOf(peak) + 0.5) * step;
    return canvas(width, height,
      [0, 0.5, 1].flatMap((part) => [line(left, y(most * part), width, y(most * part)), text(left - 8, y(most * part) + 4, bytes(most * part), "end")]),
      base ? draw("rect", { class: "base", x: left, y: y(base), width: width - left, height: y(0) - y(base) }) : null,
      draw("path", { class: "area", d: `${path}V${y(base)}Z` }), line(at, y(most), at, y(0), "rule"),
      text(at > width / 2 ? at - 6 : at + 6, y(most) - 5, `peak ${bytes(most)}`, at > width / 2 ? "end" : "start", ""),
      text(left, height - 5, cut(steps[0].name, 40)), text(width, height - 5, cut(steps.at(-1).name, 40), "end"),
      steps.map((row, index) => { const hit = pointed(row, draw("rect", { class: "hit", x: left + index * step, y: 0, width: step, height: height - 22, fill: "transparent" }), `${bytes(row.live_bytes)} of activations alive`); return hit; }));
  });
}

// The memory of a training step in the order of time, phase by phase: of one what it is made of, of two both curves.
function drawStep() {
  const steps = reports.map(({ training, totals }, side) => training && {
    ...training, side, there: totals.param_bytes + totals.buffer_bytes + (totals.input_bytes ?? 0) + training.target_bytes,
    curve: training.curve.map((one) => ({ ...one, row: one.row == null ? null : rows[one.row + side * reports[0].layers.length] })),
  }).filter(Boolean);
  const alone = steps.length === 1 ? steps[0] : null;
  const within = (row) => (row.kids.length ? row.kids.reduce((sum, kid) => sum + within(kid), 0) : 1);
  // A copy that stands for others is one stretch, and takes as long as what is in it.
  const long = ({ row }) => (row?.kind === "copies" ? within(row) : 1);
  const partsOf = (step, { memory, gradients, saved, casts = 0 }) => {
    const [master, state] = [step.master_bytes ?? 0, step.state_bytes];
    const known = [["weights, buffers, inputs", step.there], ["optimizer state", state - master], ["gradients", gradients], ["saved activations", saved], ["master weights", master], ["cast weights", casts]];
    return [...known, ["other", memory - known.reduce((sum, [, size]) => sum + size, 0)]];
  };
  const peakOf = (step) => step.curve.reduce((most, one) => (one.memory > most.memory ? one : most));
  const about = steps.map((step) => {
    const peak = peakOf(step);
    return `${alone ? "" : step.side ? "After: " : "Before: "}${bytes(peak.memory)} at the peak, in the ${peak.phase}${peak.row ? ` of ${peak.row.name}` : ""}, with ${step.optimizer}.`;
  }).join(" ");
  const card = chart("Memory over a training step", about, (width) => {
    const [height, left, bottom] = [250, 64, 226];
    const most = Math.max(...steps.map((step) => step.peak_memory));
    const y = (value) => short(bottom - (value / most) * (bottom - 22));
    const names = steps[0].phases.map(({ name }) => name);
    const lengths = names.map((name) => Math.max(...steps.map((step) => step.curve.filter(({ phase }) => phase === name).reduce((sum, one) => sum + long(one), 0))));
    // Each phase has room for its name; the rest goes by how much is in it.
    const rooms = names.map((name) => 6.4 * name.length + 8);
    const rest = Math.max(0, width - left - rooms.reduce((a, b) => a + b, 0)) / (lengths.reduce((a, b) => a + b, 0) || 1);
    let x = left;
    const bands = names.map((name, index) => ({ name, from: x, to: (x += rooms[index] + rest * lengths[index]) }));
    for (const step of steps) for (const { name, from, to } of bands) {
      const some = step.curve.filter(({ phase }) => phase === name);
      const whole = some.reduce((sum, one) => sum + long(one), 0);
      let passed = 0;
      for (const one of some) {
        one.from = from + (passed / whole) * (to - from);
        one.to = from + ((passed += long(one)) / whole) * (to - from);
      }
    }
    const outline = (step, of) => step.curve.map((one) => `V${y(of(one))}H${short(one.to)}`).join("");
    const layers = alone ? partsOf(alone, alone.curve[0]).map((_, index) => index).reverse() : [];
    const upTo = (one, index) => partsOf(alone, one).slice(0, index + 1).reduce((sum, [, size]) => sum + size, 0);
    const marked = steps.flatMap((step) => {
      const peak = peakOf(step);
      const [at, after] = [(peak.from + peak.to) / 2, (peak.from + peak.to) / 2 > width / 2];
      return alone ? [line(short(at), y(peak.memory), short(at), bottom, "rule"), text(short(after ? at - 6 : at + 6), y(peak.memory) - 6, `peak ${bytes(peak.memory)}`, after ? "end" : "start", "")] : [];
    });
    return canvas(width, height,
      bands.map(({ name, from, to }) => text(short((from + to) / 2), height - 6, name, "middle")),
      [0, 0.5, 1].flatMap((part) => [line(left, y(most * part), width, y(most * part)), text(left - 8, y(most * part) + 4, bytes(most * part), "end")]),
      layers.map((index) => draw("path", { class: `held held-${index}`, d: `M${left} ${bottom}${outline(alone, (one) => upTo(one, index))}V${bottom}Z` })),
      alone ? null : steps.map((step) => draw("path", { class: step.side ? "curve" : "curve former", d: `M${left} ${y(step.curve[0].memory)}${outline(step, ({ memory }) => memory)}` })),
      bands.slice(1).map(({ from }) => line(short(from), 8, short(from), height - 4, "phase")), marked,
      steps.at(-1).curve.map((one) => {
        const hit = draw("rect", { class: "hit", x: short(one.from), y: 8, width: short(Math.max(0.5, one.to - one.from)), height: bottom - 8, fill: "transparent" });
        const tip = `${one.phase}: ${bytes(one.memory)}${alone ? partsOf(alone, one).filter(([, size]) => size > 0).map(([name, size]) => `\n${bytes(size)} ${name}`).join("") : ""}`;
        if (one.row) return pointed(one.row, hit, tip);
        tips.set(hit, tip);
        return hit;
      }));
  });
  card.append(make("div", { class: "legend muted" }, alone
    ? partsOf(alone, peakOf(alone)).map(([name, size], index) => size > 0 && make("span", {}, make("i", { class: `held-${index}` }), `${name} ${bytes(size)}`))
    : words.names.map((name, side) => make("span", {}, make("i", { class: side ? "latter" : "former" }), name))));
}

const peaks = reports.length > 1 ? null : report.run ? report.run.peaks : report.estimates?.[0]?.peaks;
const timed = leaves.some((row) => row.latency && words.roofs?.[row.index]?.[1]);
const rate = (value) => `${count(value)}${count(value).includes(" ") ? "" : " "}FLOP/s`;

// Where a row is in the roofline; null where it computes nothing, or its time is not known.
function rooflineSpot(row) {
  const time = timed ? row.latency : words.roofs[row.index]?.[2];
  return words.roofs[row.index] && row.flops && moved(row) && time ? { row, x: row.flops / moved(row), y: row.flops / time, time: time * row.times } : null;
}

// All layers under the roof, or one of them before the others.
function rooflineDrawing(width, height, only) {
  const spots = leaves.map(rooflineSpot).filter(Boolean);
  const whole = spots.reduce((sum, { time }) => sum + time, 0);
  const left = 78;
  const ridge = peaks.flops / peaks.bandwidth;
  const range = (values) => [Math.floor(Math.log10(Math.min(...values)) - 0.2), Math.ceil(Math.log10(Math.max(...values)) + 0.1)];
  const seen = only ? [...spots, only] : spots;
  const [x0, x1] = range([...seen.map(({ x }) => x), ridge / 4, ridge * 4]);
  const [y0, y1] = range([...seen.map(({ y }) => y), peaks.flops]);
  const x = (value) => short(left + ((Math.log10(value) - x0) / (x1 - x0)) * (width - left - 10));
  const y = (value) => short(height - 36 - ((Math.log10(value) - y0) / (y1 - y0)) * (height - 50));
  const decades = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => 10 ** (from + index));
  const shown = (many, room) => many.filter((_, index) => index % Math.ceil((many.length * 18) / room) === 0);
  const lowest = Math.max(10 ** x0, 10 ** y0 / peaks.bandwidth);
  const dot = ({ x: intensity, y: reached, time }, kind) => draw("circle", { class: `dot ${kind}`, cx: x(intensity), cy: y(reached), r: short(only ? 3 : 3 + 22 * Math.sqrt(time / whole)) });
  return canvas(width, height,
    decades(x0, x1).flatMap((one) => [line(x(one), y(10 ** y0), x(one), y(10 ** y1)), text(x(one), height - 20, one < 1 ? String(Number(one.toPrecision(1))) : count(one), "middle")]),
    shown(decades(y0, y1), height - 50).flatMap((one) => [line(left, y(one), width - 10, y(one)), text(left - 8, y(one) + 4, rate(one), "end")]),
    draw("path", { class: "roof", d: `M${x(lowest)} ${y(lowest * peaks.bandwidth)}L${x(ridge)} ${y(peaks.flops)}H${x(10 ** x1)}` }),
    text(width - 10, height - 4, "FLOPs per byte", "end"),
    only ? [spots.map((spot) => dot(spot, "faint")), fill(dot(only, "chosen"), { r: 7 }, [])]
      : spots.sort((a, b) => b.time - a.time).map((spot) => pointed(spot.row, dot(spot, ""),
        `${rate(spot.y)} at ${number(spot.x)} FLOPs/byte\n${seconds(spot.time / spot.row.times)}${spot.row.times > 1 ? " each" : ""}, ${percent(spot.time / whole)} of the time`)));
}

function drawRoofline() {
  if (!leaves.some(rooflineSpot)) return;
  const about = `${peaks.name}, ${peaks.dtype}: ${rate(peaks.flops)} and ${bytes(peaks.bandwidth)}/s at most. A dot a layer, its area by time; ${timed ? "as measured" : "at the least time that it takes by itself"}.`;
  chart("Roofline", about, (width) => rooflineDrawing(width, 300));
}

// Numbers between two, about so many, that are round.
function roundNumbers(low, high, many) {
  const rough = (high - low || 1) / many;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = ten * [1, 2, 5, 10].find((one) => one * ten >= rough);
  return Array.from({ length: Math.floor(high / step) - Math.ceil(low / step) + 1 }, (_, index) => (Math.ceil(low / step) + index) * step);
}

// Indices, counts and masks are left out: their sizes say nothing about the layers'.
const valued = leaves.filter((row) => row.stats && row.kind !== "parameter" && row.output_dtypes.some((dtype) => /float|complex/.test(dtype)));

function drawDepth() {
  const steps = valued.filter(({ stats }) => stats.mean != null);
  const [low, high] = [Math.min(...steps.map(({ stats }) => stats.mean - stats.std)), Math.max(...steps.map(({ stats }) => stats.mean + stats.std))];
  const sizes = steps.map(({ stats }) => Math.abs(stats.mean) + stats.std).sort((a, b) => a - b);
  // Where few layers are far larger than most, the axis is linear up to a typical size and logarithmic beyond it.
  const typical = sizes[sizes.length >> 1] || sizes.at(-1);
  const bent = sizes.at(-1) > 12 * typical;
  const scale = (value) => (bent ? Math.asinh(value / typical) : value);
  const tens = Array.from({ length: 60 }, (_, index) => 10 ** (index - 30)).filter((one) => one > typical);
  const marks = bent ? [0, ...tens, ...tens.map((one) => -one)].filter((one) => one >= low && one <= high) : roundNumbers(low, high, 4);
  const [bottom, top] = [scale(Math.min(low, 0)), scale(Math.max(high, 0))];
  const about = `Mean ± std of each layer's output, from the input to the output; below it the share of zeros.${bent ? ` The axis is logarithmic beyond ±${number(typical)}.` : ""}`;
  chart("Values through the depth", about, (width) => {
    const [height, left, band] = [250, 64, 34];
    const step = (width - left) / valued.length;
    const place = new Map(valued.map((row, index) => [row, index]));
    const x = (row) => short(left + (place.get(row) + 0.5) * step);
    const y = (value) => short(height - band - 34 - ((scale(value) - bottom) / (top - bottom || 1)) * (height - band - 50));
    const edge = (sign) => steps.map((row) => `${x(row)} ${y(row.stats.mean + sign * row.stats.std)}`);
    const apart = marks.filter((one, index) => !marks.slice(0, index).some((other) => Math.abs(y(one) - y(other)) < 16));
    const bar = (row, tall, kind) => draw("rect", { class: kind, x: short(x(row) - step * 0.4), y: short(height - 18 - tall), width: short(step * 0.8), height: short(tall) });
    return canvas(width, height,
      apart.flatMap((value) => [line(left, y(value), width, y(value)), text(left - 8, y(value) + 4, number(value), "end")]),
      draw("path", { class: "area", d: `M${edge(1).join("L")}L${edge(-1).reverse().join("L")}Z` }),
      draw("path", { class: "curve", d: `M${steps.map((row) => `${x(row)} ${y(row.stats.mean)}`).join("L")}` }),
      valued.map((row) => bar(row, band * (part(row, "zeros") ?? 0), "base")),
      valued.filter(({ stats }) => stats.nans || stats.infs).map((row) => bar(row, height - 34, "nonfinite")),
      text(left - 8, height - 18 - band / 2, "zeros", "end"), text(left, height - 4, cut(valued[0].name, 40)), text(width, height - 4, cut(valued.at(-1).name, 40), "end"),
      valued.map((row, index) => pointed(row, draw("rect", { class: "hit", x: left + index * step, y: 0, width: step, height: height - 18, fill: "transparent" }),
        [spreadOf(row.stats), `${percent(part(row, "zeros") ?? 0)} zeros`, row.stats.nans && `${exact(row.stats.nans)} NaN`, row.stats.infs && `${exact(row.stats.infs)} Inf`].filter(Boolean).join("\n"))));
  });
}

function markCharts() {
  for (const [index, element] of charts.dots) element.classList.toggle("chosen", index === state.chosen?.index);
}

// ---- Start --------------------------------------------------------------------------------------------------------

function redraw() {
  // The table first: it asks for its size, which is quick as long as the network has not changed.
  table.draw(true);
  for (const network of networks) network.draw();
}

function followLink() {
  const link = decodeURIComponent(location.hash.slice(1));
  const [, name, at] = link.match(/^(.*?)(\[[0-9, ]*\])?$/s);
  const index = byKey.get(link) ?? byKey.get(name);
  const value = [...explained.values()].flat().find(({ strip, value: { element } }) => strip.row === index && indices(element) === at)?.value;
  if (index !== undefined && (index !== state.chosen?.index || (value && value !== state.value))) choose(rows[index], undefined, value);
}

function drawReport() {
  const section = (name, label) => make("section", { class: name, "aria-label": label });
  at("main").append(section("card graph", "Network"), make("div", { class: "side" },
    make("aside", { class: "card panel", "aria-label": "Chosen layer", hidden: true }), section("card table", "Layers"), section("charts", "Charts")));
  at(".charts").addEventListener("click", (event) => event.target.index !== undefined && choose(rows[event.target.index]));
  drawHead();
  const network = networkOf(0);
  networks.push(network);
  at("section.graph").append(networkTools(Object.entries(FIGURES).map(([name, { title }]) => [name, title]), drawCharts), network.make());
  network.draw();
  network.fit(Math.min(1, Math.max(0.7, network.view.clientWidth / network.w)));
  table.make();
  drawnToWidth(() => table.fit());
  followLink();
  addEventListener("hashchange", followLink);
  performance.mark("drawn");
  setTimeout(() => {
    drawnToWidth(drawCharts);
    performance.mark("charted");
  });
}

if (words.kind === "report") drawReport();
