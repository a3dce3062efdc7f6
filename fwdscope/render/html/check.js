// The page of a check: a block for each file, those with problems first and open.

const STATES = ["crashed", "invalid", "failed", "ok", "skipped"];
const SIGNS = { crashed: "✗", invalid: "✗", failed: "✗", ok: "✓", skipped: "–", met: "✓" };
const files = report.specs.map((one, index) => ({
  ...one, index, verdict: words.verdicts[index], costs: words.costs[index], bad: STATES.indexOf(one.state) < 3,
  words: [one.file, one.name, one.state, one.reason, ...one.points.map((point) => `${point.what} ${point.expected} ${point.got}`), ...one.problems.map((problem) => problem.message)].join(" ").toLowerCase(),
})).sort((a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state) || a.index - b.index);
const state = { only: null, query: "" };
const anchor = (file) => `file-${file.file}`;
const flat = (text) => text.split(/\s+/).filter(Boolean).join(" ");

function drawHead() {
  const bad = files.filter((one) => one.bad);
  const points = report.points;
  const number = (name) => points[name] ?? 0;
  fill(at("header"), {}, [
    make("div", { class: "head" }, make("div", {}, make("h1", { class: bad.length ? "wrong" : "right-answer" }, bad.length ? `✗ ${bad.length} of ${files.length} ${files.length === 1 ? "file" : "files"} with problems` : `✓ ${files.length} ${files.length === 1 ? "file" : "files"}, no problem`),
      make("p", { class: "muted" }, words.tally)), tools("check")),
    make("div", { class: "tiles" },
      tile(exact(files.filter((one) => one.state === "ok").length), "specs ok", `of ${exact(files.filter((one) => one.state !== "skipped").length)}`),
      tile(exact(bad.length), "specs with problems", STATES.slice(0, 3).filter((name) => report.states[name]).map((name) => `${report.states[name]} ${name}`).join(", ") || "none"),
      tile(exact(number("met")), "promises and expectations met", `of ${exact(number("met") + number("failed"))}`),
      number("skipped") ? tile(exact(number("skipped")), "not checked", "the reason stands with each") : null,
      tile(`${report.seconds} s`, "for all files", files.some((one) => one.cached) ? `${exact(files.filter((one) => one.cached).length)} unchanged` : "")),
    messages(report.remarks.map((text) => ({ level: "note", text })))]);
  at("footer").append(make("p", {}, `fwdscope ${report.fwdscope}  ·  exit code ${report.exit_code}`));
}

const list = { blocks: new Map() };

list.make = function () {
  const choose = (name) => { state.only = state.only === name ? null : name; this.filter(); };
  this.chips = STATES.filter((name) => report.states[name]).map((name) => make("button", { class: `chip ${name}`, "aria-pressed": "false", onclick: () => choose(name) }, `${SIGNS[name]} ${report.states[name]} ${name}`));
  this.said = make("span", { class: "muted", role: "status" });
  this.inside = make("div", { class: "files" });
  at("main").append(make("section", { class: "card", "aria-label": "Files" },
    make("div", { class: "bar" }, make("span", { class: "search" }, make("input", { type: "search", placeholder: "Filter   /", "aria-label": "Filter files", oninput: (event) => { state.query = event.target.value; this.filter(); } })),
      this.chips, make("span", { class: "grow" }), this.said,
      make("button", { onclick: () => this.openAll(true) }, "Open all"), make("button", { onclick: () => this.openAll(false) }, "Close all")),
    this.inside));
  addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement.tagName !== "INPUT") { event.preventDefault(); at("input[type=search]").focus(); }
  });
  for (const file of files) this.inside.append(this.block(file));
  this.filter();
};

// What is inside a block is made when it opens.
list.block = function (file) {
  const [params, macs] = file.costs;
  const block = make("details", { class: `file ${file.state}`, id: anchor(file), open: file.bad },
    make("summary", {}, make("span", { class: "sign", "aria-hidden": "true" }, SIGNS[file.state]), make("span", { class: "code file-name" }, file.file),
      make("span", { class: "verdict" }, file.state === "skipped" ? file.reason ?? file.verdict : file.verdict),
      make("span", { class: "muted costs" }, file.params == null ? "" : `${params} params · ${macs} MACs`),
      make("span", { class: "muted took" }, file.cached ? "unchanged" : file.state === "skipped" ? "" : seconds(file.seconds))));
  const grow = () => { if (block.open && block.children.length === 1) block.append(this.inner(file)); };
  block.addEventListener("toggle", grow);
  grow();
  this.blocks.set(file, block);
  return block;
};

list.inner = function (file) {
  const point = (one) => {
    const place = one.line == null ? "" : `line ${one.line}`;
    const cells = [make("td", { class: "sign", title: one.state === "met" ? "met" : one.state === "failed" ? "not met" : "not checked" }, SIGNS[one.state]), make("td", { class: "muted" }, place),
      make("td", {}, one.what, one.by ? make("span", { class: "muted" }, ` (${one.by})`) : ""), make("td", { class: "code" }, flat(one.expected)),
      make("td", { class: "code" }, one.state === "met" ? one.got || "as expected" : one.got || one.reason || "")];
    const detail = one.problem?.detail.length ? make("tr", { class: "because" }, make("td"), make("td"), make("td", { colspan: 3 }, one.problem.detail.map((text) => make("div", {}, text)))) : "";
    return [make("tr", { class: one.state }, cells), detail];
  };
  const order = ["failed", "skipped", "met"];
  const points = [...file.points].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  return make("div", { class: "inside" },
    make("p", { class: "muted" }, make("a", { class: "link", href: `#${encodeURIComponent(file.file)}`, title: "A link to this file" }, "Link"), file.name === file.file ? "" : ` · ${file.name}`, ` · ${file.points.length} checked`),
    file.state === "crashed" || file.state === "skipped" ? make("p", { class: file.state === "crashed" ? "wrong" : "" }, file.reason ?? "") : "",
    file.problems.map((one) => make("pre", { class: "problem", tabindex: 0 }, one.text || [`${file.file}${one.line == null ? "" : `:${one.line}:${one.column}`}: ${one.message}`, ...one.detail].join("\n"))),
    points.length ? make("div", { class: "scroll", tabindex: 0 }, make("table", { class: "plain points" }, make("thead", {}, make("tr", {}, ["", "", "checked", "expected", "found"].map((name) => make("th", { scope: name ? "col" : null }, name)))), make("tbody", {}, points.map(point)))) : "",
    file.notes.map((one) => make("p", { class: "muted" }, one.text || one.message)));
};

list.filter = function () {
  const sought = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const [file, block] of this.blocks) {
    block.hidden = (state.only != null && file.state !== state.only) || !sought.every((word) => file.words.includes(word));
    shown += !block.hidden;
  }
  for (const chip of this.chips) chip.setAttribute("aria-pressed", String(state.only != null && chip.classList.contains(state.only)));
  this.said.textContent = shown < files.length ? `${exact(shown)} of ${exact(files.length)} files` : `${exact(files.length)} ${files.length === 1 ? "file" : "files"}`;
};

list.openAll = function (open) {
  for (const block of this.blocks.values()) if (!block.hidden) block.open = open;
};

function followLink() {
  const name = decodeURIComponent(location.hash.slice(1));
  const file = files.find((one) => one.file === name);
  if (!file) return;
  Object.assign(state, { only: null, query: "" });
  list.filter();
  for (const block of list.blocks.values()) block.classList.toggle("chosen", block === list.blocks.get(file));
  list.blocks.get(file).open = true;
  list.blocks.get(file).scrollIntoView({ block: "start" });
}

at("main").className = "sweep";
drawHead();
list.make();
followLink();
addEventListener("hashchange", followLink);
performance.mark("drawn");
performance.mark("charted");
