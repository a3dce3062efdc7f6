// The page of a comparison: the two networks of page.js side by side, and a table of what changed.

const MARKS = { added: "+", removed: "−", changed: "~", renamed: "=", moved: "»", same: "" };
const KINDS = ["changed", "added", "removed", "renamed", "moved"];
const pairs = words.pairs.map(([before, after, kind, depth], index) => {
  const [left, right] = [before == null ? null : rows[before], after == null ? null : rows[reports[0].layers.length + after]];
  for (const row of [left, right]) if (row) Object.assign(row, { change: kind, pair: index, mark: MARKS[kind] });
  if (left && right) [left.other, right.other] = [right, left];
  return { index, left, right, kind, depth, row: right ?? left };
});

state.colour = null;
{
  // Open around all that changed, as long as there is room for it.
  const around = new Set(pairs.filter(({ kind }) => kind !== "same").flatMap(({ left, right }) => [left, right]).filter(Boolean).flatMap((row) => [...ancestors(row)]).map(idOf));
  const seen = rows.filter((row) => !row.parent || around.has(row.parent.index)).length;
  if (seen <= 160) state.open = around;
  else openTo(1);
}

// ---- Two networks that move together ------------------------------------------------------------------------------------

// Bring to the same place of the other network's view what lies in the middle of this one's.
Network.lead = function () {
  const other = networks.find((one) => one !== this);
  const middle = [this.view.scrollLeft + this.view.clientWidth / 2, this.view.scrollTop + this.view.clientHeight / 2].map((one) => one / this.size);
  let nearest = null;
  for (const node of this.nodes.values()) {
    const twin = !node.isOpen && node.row.other && other.nodes.get(node.row.other.index);
    if (!twin) continue;
    const apart = Math.abs(node.top + node.h / 2 - middle[1]) + Math.abs(node.left + node.w / 2 - middle[0]) / 3;
    if (!nearest || apart < nearest.apart) nearest = { apart, node, twin };
  }
  if (!nearest) return;
  const { node, twin } = nearest;
  other.view.scrollTo((twin.left + twin.w / 2 - node.left - node.w / 2) * this.size + this.view.scrollLeft, (twin.top + twin.h / 2 - node.top - node.h / 2) * this.size + this.view.scrollTop);
};

function drawNetworks() {
  const section = at("section.graph");
  let leader = null;
  section.append(networkTools([["", "changes"], ...Object.entries(FIGURES).map(([name, { title }]) => [name, title])], () => {}));
  const pair = make("div", { class: "pair" });
  section.append(pair);
  for (const side of [0, 1]) {
    const network = networkOf(side);
    networks.push(network);
    pair.append(make("figure", {}, make("figcaption", {}, make("span", { class: "muted" }, side ? "after " : "before "), words.names[side]), network.make()));
    for (const name of ["pointerdown", "pointerenter", "wheel", "focus"]) network.view.addEventListener(name, () => { leader = network; }, { passive: true });
    network.view.addEventListener("scroll", () => leader === network && network.lead());
    // Both have one size. The buttons zoom both, a wheel the one that it is over.
    network.zoom = function (by, around) {
      Network.zoom.call(this, by, around);
      if (!around) return;
      Object.assign(networks[1 - side], { size: this.size }).resize();
      this.lead();
    };
    network.fit = function (least = 0) {
      this.size = Math.max(least, Math.min(1, ...networks.map((one) => Math.min(one.view.clientWidth / one.w, one.view.clientHeight / one.h))));
      this.resize();
      this.view.scrollTo((this.w * this.size - this.view.clientWidth) / 2, 0);
    };
  }
  for (const network of networks) network.draw();
  for (const network of networks) network.fit(Math.max(0.6, Math.min(1, ...networks.map((one) => one.view.clientWidth / one.w))));
}

// ---- The head, the changes, and one of them ----------------------------------------------------------------------------

const cellsOf = (tag, texts, first) => texts.map((inside, index) => make(tag, { class: index >= first ? "right" : null, scope: tag === "th" ? "col" : null }, inside));

function drawComparison() {
  const [before, after] = words.names;
  fill(at("header"), {}, [
    make("div", { class: "head" }, make("div", {}, make("h1", {}, before, make("span", { class: "muted" }, " → "), after),
      make("p", { class: "muted" }, words.counts)), tools(`${reports[0].name}-${reports[1].name}`)),
    messages(words.messages)]);
  // A bar for before above one for after.
  const beside = (...both) => make("div", { class: "beside", "aria-hidden": "true" }, both.map((value) => {
    const bar = make("i");
    bar.style.width = `${(100 * (value ?? 0)) / (Math.max(...both) || 1)}%`;
    return bar;
  }));
  at("section.totals").append(make("div", { class: "scroll", tabindex: 0 }, make("table", { class: "plain figures" },
    make("thead", {}, make("tr", {}, cellsOf("th", ["total", "before", "after", "difference", "", ""], 1))),
    make("tbody", {}, words.totals.map(([from, to, title, was, is, change, part, tone]) => make("tr", {}, cellsOf("td", [title, was, is, make("span", { class: tone }, change || "="), make("span", { class: tone }, change ? part : ""), beside(from, to)], 1)))))));
  at("footer").append(make("p", {}, words.legend.filter(Boolean).join("  ·  ")));
}

const list = { only: null, query: "", rows: [] };

list.make = function () {
  const number = (kind) => pairs.filter((one) => one.kind === kind).length;
  const choose = (kind) => { this.only = this.only === kind ? null : kind; this.filter(); };
  this.chips = KINDS.filter(number).map((kind) => make("button", { class: `chip ${kind}`, "aria-pressed": "false", onclick: () => choose(kind) }, `${MARKS[kind]} ${number(kind)} ${kind}`));
  this.said = make("span", { class: "muted", role: "status" });
  const outputs = words.changes.some(({ output }) => output);
  this.rows = words.changes.map((one) => {
    const pair = pairs[one.pair];
    const name = make("td", { class: "name", title: pair.row.path }, one.layer || pair.row.name);
    name.style.paddingLeft = `${12 + 16 * (pair.depth - 1)}px`;
    const row = make("tr", { class: `change ${pair.kind}`, tabindex: 0, onclick: () => choosePair(pair), onkeydown: (event) => event.key === "Enter" && choosePair(pair) },
      make("td", { class: "sign", title: pair.kind }, MARKS[pair.kind]), name, make("td", {}, one.what), outputs ? make("td", { class: "code" }, one.output) : "",
      one.figures.flatMap(([change, part, tone]) => [make("td", { class: `right ${tone}` }, change), make("td", { class: `right ${tone}` }, part)]));
    return Object.assign(row, { pair, words: `${one.layer} ${one.what} ${one.output} ${pair.left?.path ?? ""} ${pair.right?.path ?? ""} ${pair.kind}`.toLowerCase() });
  });
  const titles = ["", "layer", "what", ...(outputs ? ["output"] : [])];
  at("section.table").append(
    make("div", { class: "bar" }, make("h2", {}, "Changes"), this.said, this.chips, make("span", { class: "grow" }),
      make("button", { onclick: () => this.step(-1), title: "The change before" }, "↑"), make("button", { onclick: () => this.step(1), title: "The next change" }, "↓"),
      make("span", { class: "search" }, make("input", { type: "search", placeholder: "Filter changes", "aria-label": "Filter changes", oninput: (event) => { this.query = event.target.value; this.filter(); } }))),
    this.rows.length ? make("div", { class: "rows list" }, make("table", {}, make("thead", {}, make("tr", {}, cellsOf("th", titles, 9), words.columns.map(([title]) => make("th", { class: "right", scope: "colgroup", colspan: 2 }, title)))), make("tbody", {}, this.rows))) : make("p", { class: "nothing" }, "No layer changed."));
  this.filter();
};

list.filter = function () {
  const sought = this.query.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of this.rows) row.hidden = (this.only ? row.pair.kind !== this.only : sought.length > 0 && row.pair.kind === "same") || !sought.every((word) => row.words.includes(word));
  for (const chip of this.chips) chip.setAttribute("aria-pressed", String(chip.classList.contains(this.only)));
  const shown = this.rows.filter((row) => !row.hidden && row.pair.kind !== "same").length;
  this.said.textContent = exact(shown);
};

list.step = function (by) {
  const shown = this.rows.filter((row) => !row.hidden && row.pair.kind !== "same");
  const place = shown.findIndex(({ pair }) => pair.index === state.chosen?.pair);
  const next = place < 0 ? (by > 0 ? 0 : shown.length - 1) : (place + by + shown.length) % shown.length;
  if (shown.length) choosePair(shown[next].pair);
};

const choosePair = (pair) => choose(pair.row, list);

// The chosen row before and after, its figures of one copy.
function showPair() {
  const panel = at(".panel");
  panel.hidden = !state.chosen;
  if (!state.chosen) return panel.replaceChildren();
  const { left, right, kind, row } = pairs[state.chosen.pair];
  const both = (of) => [left, right].map((one) => (one ? of(one) : null));
  const lines = [];
  const fact = (name, values) => values.some((one) => one != null && one !== "") && lines.push([name, ...values.map((one) => one ?? "—"), ""]);
  const figure = (name, [was, is], form) => (was ?? is) != null && (was || is) && lines.push([name, was == null ? "—" : form(was), is == null ? "—" : form(is),
    was == null || is == null ? "" : was === is ? "=" : make("span", { class: is > was ? "more" : "less" }, `${is > was ? "+" : "−"}${form(Math.abs(is - was))}${was ? ` · ${is > was ? "+" : "−"}${percent(Math.abs(is - was) / was)}` : ""}`)]);
  fact("path", both((one) => one.path));
  fact("layer", both(described));
  fact("input", both((one) => (one.input_shapes.length ? shapes(one.input_shapes) : null)));
  fact("output", both((one) => shapes(one.output_shapes)));
  fact("copies", both((one) => (one.repeat > 1 ? `× ${one.repeat}` : null)));
  const deltas = words.deltas[state.chosen.pair];
  [["parameters", "params", exact], ["MACs", "macs", count], ["FLOPs", "flops", count], ["latency", "latency", seconds]].forEach(([name, field, form], index) => figure(name, deltas?.[index] ?? both((one) => (one[field] == null ? null : one[field] * one.times)), form));
  figure("memory of the output", both((one) => one.output_bytes), bytes);
  fact("line", both((one) => one.line));
  panel.replaceChildren(
    make("header", {}, make("div", {}, make("h2", { class: "code" }, row.name), make("p", { class: "muted" }, kind === "same" ? "as before" : kind)),
      row.kids.length ? make("button", { onclick: () => toggle(row) }, state.open.has(row.index) ? "Close" : "Open") : "", make("button", { "aria-label": "Close the panel", onclick: () => choose(null) }, "✕")),
    make("div", { class: "scroll", tabindex: 0 }, make("table", { class: "plain figures" }, make("thead", {}, make("tr", {}, cellsOf("th", ["", "before", "after", "difference"], 1))),
      make("tbody", {}, lines.map((texts) => make("tr", {}, cellsOf("td", texts, 1)))))));
}

Object.assign(views, {
  chosen(where) {
    for (const row of list.rows) row.setAttribute("aria-selected", String(row.pair.index === state.chosen?.pair));
    if (where !== list) list.rows.find((row) => row.pair.index === state.chosen?.pair)?.scrollIntoView({ block: "nearest" });
    showPair();
  },
  opened: showPair,
  sought() {},
});

{
  const section = (name, label) => make("section", { class: name, "aria-label": label });
  at("main").className = "sweep";
  at("main").append(section("card totals", "Totals"), section("card graph both", "Both networks"),
    make("aside", { class: "card panel below", "aria-label": "Chosen layer", hidden: true }), section("card table", "Changes"));
  if (reports.some(({ training }) => training)) {
    at("section.totals").after(section("charts", "Charts"));
    at(".charts").addEventListener("click", (event) => event.target.index !== undefined && choose(rows[event.target.index]));
    drawnToWidth(() => { at(".charts").replaceChildren(); drawStep(); });
  }
  drawComparison();
  drawNetworks();
  list.make();
  followLink();
  addEventListener("hashchange", followLink);
  performance.mark("drawn");
  performance.mark("charted");
}
