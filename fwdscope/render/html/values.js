// How numbers of small outputs came about, step by step, as fwdscope/render/value.py writes it.

const indices = ({ index }) => (index.length ? `[${index.join(", ")}]` : "");
const address = (element) => (element.output && element.kind !== "step" ? `${element.tensor}:${element.output}` : element.tensor) + indices(element);

// The numbers that are explained, by their address, and of each strip by its cell.
const explained = new Map();
for (const strip of report.strips ?? []) {
  strip.cells = new Map((strip.values ?? []).map((value) => [value.cell, value]));
  for (const value of strip.cells.values()) explained.set(address(value.element), [...(explained.get(address(value.element)) ?? []), { strip, value }]);
}

// A number in five significant digits, and a column of numbers with as many decimals.
function digits(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return `${value}`.replace("-", "−");
  const size = Math.floor(Math.log10(Math.abs(value)));
  const many = [0, 1, 2, 3].find((n) => Number(value.toExponential(n)) === value) ?? 4;
  return (size >= -4 && size < 6 ? value.toFixed(Math.max(0, many - size)) : value.toExponential(many)).replaceAll("-", "−").replace("+", "");
}

function decimals(values, scale, fewer) {
  const largest = Math.max(0, ...values.map((value) => Math.abs(value ?? 0)).filter((size) => size < 1e5));
  const many = largest ? Math.max(1, ([[1000, 1], [100, 2], [0.1, 3], [0.01, 4]].find(([bound]) => largest >= bound)?.[1] ?? 5) - fewer) : 1;
  return values.map((value) => {
    const size = Math.abs(value ?? 0);
    if (value == null) return "";
    if (size >= 1e5 || (size > 0 && size < 10 ** -many && size * 100 > scale)) return value.toExponential(1).replaceAll("-", "−").replace("+", "");
    const text = value.toLocaleString("en-US", { minimumFractionDigits: many, maximumFractionDigits: many });
    return (/[1-9]/.test(text) ? text : text.replace("-", "")).replace("-", "−");
  });
}

// A colour of the scale, and black or white on it, whichever has the larger contrast.
function shaded(element, cell) {
  const channels = [0, 2, 4].map((place) => parseInt(words.palette.slice(6 * cell + place, 6 * cell + place + 2), 16));
  const [red, green, blue] = channels.map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
  element.style.background = `rgb(${channels})`;
  element.style.color = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
  return element;
}

// An element that leads to its layer, and there to how it came about, if that is kept.
function leads(element, text = address(element)) {
  const [found] = (explained.get(address(element)) ?? []).filter(({ value }) => value.element.value === element.value);
  const row = found ? rows[found.strip.row] : element.kind === "layer" ? rows.find((one) => one.path === element.tensor) : element.kind === "parameter" ? ownerOf(element.tensor, 0) : null;
  const isHere = found && found.value === state.value;
  return row && !isHere ? make("button", { class: "link", "aria-label": address(element), onclick: () => chooseValue(row, found?.value) }, text) : text;
}

function chooseValue(row, value) {
  choose(row, "panel", value);
  (at(".panel [aria-pressed=true]") ?? at(".panel button")).focus({ preventScroll: true });
  at(".panel").scrollTop = 0;
}

// The part of a layer's panel: its numbers, and how the chosen one came about.
function derivation(row) {
  return (report.strips ?? []).filter((strip) => strip.row === row.index && strip.cells.size && !row.side).map((strip) => {
    const across = strip.kind === "bars" ? 0 : strip.width;
    const cells = strip.panels.map((panel, index) => {
      const numbers = make("div", { class: `numbers code${across ? "" : " flat"}` }, [...panelCells(panel)].map((shade, place) => {
        const value = strip.cells.get(index * strip.height * strip.width + place);
        return value ? shaded(make("button", { "aria-label": `${address(value.element)} = ${digits(value.element.value)}`, "aria-pressed": String(value === state.value), onclick: () => chooseValue(row, value) }, number(value.element.value)), shade) : make("span");
      }));
      if (across) numbers.style.gridTemplateColumns = `repeat(${across}, minmax(62px, 1fr))`;
      return [strip.of > 1 ? make("p", { class: "muted" }, `channel ${strip.numbers[index]}`) : "", numbers];
    });
    const chosen = [...strip.cells.values()].find((value) => value === state.value);
    return make("section", { class: "derivation" }, make("h3", {}, "choose a number to see how it is computed"), make("div", { class: "scroll" }, cells),
      chosen ? [make("h3", { class: "code title" }, `${address(chosen.element)} = ${digits(chosen.element.value)}`), (chosen.notes ?? []).map((note) => make("p", { class: "remark" }, note)),
        make("ol", { class: "steps" }, chosen.steps.map(stepOf))] : "");
  });
}

function stepOf({ operator, sentence, element, parts }) {
  const scales = {};
  for (const { tensor, rows: lines } of parts.flatMap((part) => part.grids ?? [])) (scales[tensor] ??= []).push(...lines.flat().filter((value) => value != null));
  return make("li", {}, make("p", {}, operator && make("b", { class: "code" }, operator, "  "), make("span", { class: "muted" }, sentence)),
    parts.map((part, place) => (part.grids ? windowOf(part, scales) : part.columns ? tableOf(part) : formulaOf(part, place === parts.length - 1 ? address(element) : part.name))));
}

function formulaOf({ symbols, numbers, value, operands = [], note }, label) {
  const texts = [symbols, numbers, digits(value)].filter((text, place, all) => !place || text !== all[place - 1]);
  const where = operands.filter((one) => address(one) !== symbols);
  return make("div", { class: "formula code" }, make("span", { class: "muted" }, label), texts.map((text, place) => [" ", make("span", { class: "muted" }, "="), " ",
    place === texts.length - 1 ? make("b", {}, text) : operands.length === 1 && address(operands[0]) === text ? leads(operands[0]) : text]), note ? make("span", { class: "muted" }, `  ${note}`) : "",
    where.length ? make("div", { class: "where" }, where.map((one) => make("span", {}, leads(one), ` = ${digits(one.value)}`))) : "");
}

function tableOf({ title, columns, rows: lines }) {
  const drawn = columns.map((name, place) => {
    const cells = lines.map((line) => line.cells[place]);
    const values = cells.map((cell) => cell?.value ?? (typeof cell === "number" ? cell : null));
    const texts = decimals(values, Math.max(0, ...values.map((value) => Math.abs(value ?? 0))), -1);
    return { name, cells, texts, wide: cells.some((cell) => cell?.index?.length || cell?.tensor) };
  }).filter(({ cells }) => cells.some((cell) => cell != null && cell !== ""));
  const cellOf = ({ name, cells, texts, wide }, place) => {
    const cell = cells[place];
    if (!wide) return make("td", { class: typeof cell === "string" ? null : "right" }, typeof cell === "string" ? cell : texts[place]);
    if (cell?.tensor == null) return make("td", { colspan: 2, class: place && typeof cell !== "string" ? "right" : null }, typeof cell === "string" ? cell : texts[place]);
    const same = address({ ...cell, index: [] }) === name;
    return [make("td", {}, same && !cell.index.length ? "" : leads(cell, same ? indices(cell) : address(cell))), make("td", { class: "right" }, texts[place])];
  };
  return [title ? make("p", { class: "muted" }, title) : "", make("div", { class: "scroll" }, make("table", { class: "terms code" },
    make("thead", {}, make("tr", {}, drawn.map(({ name, wide }) => make("th", { colspan: wide ? 2 : null, class: wide ? null : "right" }, name)))),
    make("tbody", {}, lines.map(({ kind }, place) => make("tr", { class: kind || null }, drawn.map((column) => cellOf(column, place)))))))];
}

// Of many rows or columns those at the start and the last; null stands for the others.
const some = (many, most) => [...Array(many).keys()].flatMap((place) => (many <= most || place < most - 2 || place === many - 1 ? [place] : place === most - 2 ? [null] : []));

function windowOf({ grids, results = [], rest }, scales) {
  const sums = results.filter(({ name }) => name).map(({ name, value }) => `${name} = ${digits(value)}`).join("   ");
  if (rest) return make("p", { class: "muted code" }, `… ${exact(rest)} more   ${sums}`);
  const hasHead = grids.some((grid) => grid.across.some((index) => index != null));
  return [make("div", { class: "windows scroll code" }, grids.map((grid, place) => [place ? make("b", {}, place === 1 ? "·" : "=") : "", gridOf(grid, scales[grid.tensor], hasHead)])), sums ? make("p", { class: "code" }, sums) : ""];
}

function gridOf({ tensor, before, rows: lines, down, across, marked }, scale, hasHead) {
  const [low, high] = [Math.min(...scale), Math.max(...scale)];
  const texts = decimals([...lines.flat(), low, high], Math.max(Math.abs(low), Math.abs(high)), 0);
  const width = lines[0]?.length ?? 0;
  const [columns, visible] = [some(width, 12), some(lines.length, 11)];
  const cellOf = (i, j) => {
    if (i == null || j == null) return make("td", { class: "muted" }, "…");
    const value = lines[i][j];
    return value == null ? make("td", { class: "muted" }, "pad")
      : shaded(make("td", { class: marked?.[0] === i && marked[1] === j ? "marked" : null }, texts[i * width + j]), high > low ? Math.round((254 * (value - low)) / (high - low)) : 127);
  };
  return make("table", { class: "window" }, make("caption", {}, tensor + (before.length ? `[${before.join(", ")}]` : "")),
    make("tbody", {}, hasHead ? make("tr", {}, make("td"), columns.map((j) => make("td", { class: "muted" }, j == null ? "…" : across[j] ?? ""))) : "",
      visible.map((i) => make("tr", {}, make("td", { class: "muted" }, i == null ? "…" : down[i] ?? ""), columns.map((j) => cellOf(i, j))))));
}
