// What all pages share. All texts of a report become text nodes: nothing here sets HTML.

const report = JSON.parse(await unpack("page-report", (text) => (unpack.report = text)));
const words = JSON.parse(await unpack("page-words"));

async function unpack(id, keep = (text) => text) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return keep(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).text());
}

// ---- Making elements ----------------------------------------------------------------------------------------------

const at = (selector) => document.querySelector(selector);

function make(name, attributes = {}, ...inside) {
  return fill(document.createElement(name), attributes, inside);
}

function draw(name, attributes = {}, ...inside) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, inside);
}

function fill(element, attributes, inside) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...inside.flat(Infinity).filter((one) => one != null && one !== false && one !== ""));
  return element;
}

// ---- Numbers as text, as fwdscope/units.py writes them --------------------------------------------------------------

// As Python rounds: what lies exactly between two goes to the even one.
function fixed(value, digits) {
  const halves = value * 2 ** (digits + 1);
  if (!Number.isInteger(halves) || halves % 2 === 0) return value.toFixed(digits);
  const below = Math.floor(value * 10 ** digits);
  return ((below + (below % 2)) / 10 ** digits).toFixed(digits);
}

function scaled(value, base, units) {
  let [size, step] = [Math.abs(value), 0];
  while (step + 1 < units.length && Number(fixed(size, step ? 0 : 3)) >= base) [size, step] = [size / base, step + 1];
  const digits = step === 0 && Number.isInteger(size) ? `${size}` : fixed(size, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
  return `${value < 0 ? "−" : ""}${digits} ${units[step]}`.trim();
}
const count = (value) => scaled(value, 1000, ["", "K", "M", "G", "T", "P", "E"]);
const bytes = (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]);
const seconds = (value) => scaled(value * 1e9, 1000, ["ns", "µs", "ms", "s"]);
const exact = (value) => value.toLocaleString("en-US");
const shape = (sizes) => sizes.join(" ") || "()";
const shapes = (many) => (many.length > 1 && new Set(many.map(shape)).size === 1
  ? `(${shape(many[0])}) × ${many.length}` : many.map(shape).join(" · ") || "—");

function percent(part) {
  if (part > 0 && part < 0.0005) return "<0.1 %";
  return part >= 0.9995 && part < 1 ? ">99.9 %" : `${fixed(100 * part, 1)} %`;
}

function number(value) {
  const size = Math.abs(value);
  const places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4;
  const text = size && (size < 1e-3 || size >= 1e6) ? value.toExponential(2).replace("e+", "e") : size
    ? value.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places }) : "0";
  return text.replaceAll("-", "−");
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const short = (value) => Math.round(value * 10) / 10;

// ---- The head, as all pages have it ---------------------------------------------------------------------------------

const tile = (value, what, about) => make("div", { class: "card tile" }, make("b", {}, value), make("span", {}, what, about && make("br"), about));

// The buttons at its right; `name` is that of the file to download.
function tools(name) {
  const theme = make("button", { "aria-label": "Light or dark", title: "Light or dark", onclick: () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
      || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  } }, "◐");
  return make("div", { class: "tools" }, theme, make("button", { class: "download", onclick: () => download(name) }, "Download JSON"));
}

function download(name) {
  const link = make("a", {
    href: URL.createObjectURL(new Blob([unpack.report], { type: "application/json" })),
    download: `${name.replace(/[^\w.-]+/g, "-") || "report"}.json`,
  });
  link.click();
  URL.revokeObjectURL(link.href);
}

// Problems, findings and notes, the first of them at once; `lead` goes to the place of one.
function messages(all, lead) {
  const titles = { problem: "problem", warning: "warning", note: "note" };
  const items = all.map(({ level, text, row, advice }) => make("li", { class: level },
    make("span", {}, titles[level]),
    make("div", {},
      row == null ? text : make("button", { class: "link", onclick: () => lead(row) }, text),
      advice && make("span", { class: "muted" }, ` — ${advice}`))));
  const more = items.splice(6);
  const list = items.length ? make("ul", { class: "card messages" }, items) : "";
  if (more.length) list.append(make("li", {}, make("span"), make("button", { class: "link", onclick: (event) => event.target.parentNode.replaceWith(...more) }, `${more.length} more`)));
  return list;
}

// ---- Drawing charts -------------------------------------------------------------------------------------------------

const tips = new WeakMap();
function chart(title, about, drawn, wide = true) {
  const card = make("figure", { class: `card chart${wide ? " wide" : ""}` }, make("h2", {}, title), make("p", { class: "muted" }, about));
  card.style.margin = 0;
  at(".charts").append(card);
  const style = getComputedStyle(card);
  card.append(fill(drawn(card.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)), { "aria-label": title }, []));
  return card;
}

const canvas = (width, height, ...inside) => draw("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" }, inside);
const line = (x1, y1, x2, y2, kind = "axis") => draw("line", { class: kind, x1, y1, x2, y2 });
const text = (x, y, words, anchor = "start", kind = "quiet") => draw("text", { x, y, "text-anchor": anchor, class: kind }, words);

// A scale from values to pixels, logarithmic where they span enough, with the values to mark.
function axisScale(all, from, to, form, isLog) {
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const log = isLog && low > 0 && high / low >= 6;
  const base = form === bytes ? 1024 : 1000;
  const marks = [];
  if (log) {
    for (let power = Math.floor(Math.log(low) / Math.log(base)); base ** power <= high * base; power += 1) {
      for (const step of base === 1024 ? Array.from({ length: 10 }, (_, index) => 2 ** index) : [1, 2, 5, 10, 20, 50, 100, 200, 500]) marks.push(step * base ** power);
    }
  } else {
    const raw = (high || 1) / 4;
    const unit = base === 1024 ? 2 ** Math.floor(Math.log2(raw)) : 10 ** Math.floor(Math.log10(raw));
    const step = unit * (base === 1024 ? 1 : [1, 2, 5, 10].find((one) => one * unit >= raw * 0.99));
    for (let index = 0; index * step < high + step; index += 1) marks.push(index * step);
  }
  const ends = log ? [marks.findLast((mark) => mark <= low * 1.0001), marks.find((mark) => mark >= high * 0.9999)] : [0, marks.find((mark) => mark >= high * 0.9999)];
  const at = log ? Math.log : (value) => value;
  const [a, b] = ends.map(at);
  const inside = marks.filter((mark) => mark >= ends[0] && mark <= ends[1]);
  const every = Math.ceil(inside.length / 6);
  return { log, place: (value) => short(from + ((at(value) - a) / (b - a || 1)) * (to - from)), marks: inside.filter((_, index) => index % every === 0) };
}

{
  const tip = make("div", { class: "tip", hidden: true });
  document.body.append(tip);
  addEventListener("pointermove", (event) => {
    const words = tips.get(event.target);
    tip.hidden = !words;
    if (!words) return;
    tip.textContent = words;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  });
  document.documentElement.addEventListener("pointerleave", () => { tip.hidden = true; });
}

// Draw what depends on the width of the window, now and whenever it changes.
function drawnToWidth(draw) {
  draw();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
}

// ---- Times ----------------------------------------------------------------------------------------------------------

const quantile = (ordered, q) => {
  const place = q * (ordered.length - 1);
  const low = Math.floor(place);
  return ordered[low] + (ordered[Math.min(low + 1, ordered.length - 1)] - ordered[low]) * (place - low);
};

// The figures of repeats, and all of them in order beside their histogram. Those far above the median lie on the edge.
function repeats(latency, interval) {
  const ordered = [...latency.times].sort((a, b) => a - b);
  const figures = [["median", seconds(latency.median)], ["95 % interval", interval ? `${interval.map(seconds).join(" … ")} · ±${percent((interval[1] - interval[0]) / 2 / latency.median)}` : "too few repeats"],
    ["IQR", `${seconds(latency.iqr)} · ${percent(latency.iqr / latency.median)}`], ["p90", seconds(latency.p90)], ["p99", seconds(latency.p99)],
    ["least … most", `${seconds(ordered[0])} … ${seconds(ordered.at(-1))}`], ["repeats", exact(ordered.length)]];
  return [(width) => repeatsDrawn(width, latency, ordered, interval), make("dl", { class: "facts" }, figures.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))))];
}

function repeatsDrawn(width, latency, ordered, interval) {
  const [height, left, room, top, names] = [210, 64, Math.min(150, width / 4), 12, 46];
  const [q1, q3] = [quantile(ordered, 0.25), quantile(ordered, 0.75)];
  const high = Math.min(ordered.at(-1), Math.max(latency.median + 3 * latency.iqr, latency.p90));
  const low = high > ordered[0] ? ordered[0] : 0;
  const right = width - room - names;
  const y = (value) => short(top + (1 - (Math.min(value, high) - low) / (high - low || 1)) * (height - top - 26));
  const x = (index) => short(left + 6 + ((index + 0.5) / ordered.length) * (right - left - 22));
  const bins = Array(Math.min(32, Math.max(8, Math.round(ordered.length / 4)))).fill(0);
  for (const time of ordered) if (time <= high) bins[Math.min(bins.length - 1, Math.floor(((time - low) / (high - low || 1)) * bins.length))] += 1;
  const tall = (y(low) - y(high)) / bins.length;
  const most = Math.max(...bins, 1);
  const beyond = latency.times.filter((time) => time > high).length;
  const band = (from, to, kind) => draw("rect", { class: kind, x: left, y: y(to), width: right + room - left, height: Math.max(1, short(y(from) - y(to))) });
  // Names of lines keep apart from each other.
  let last = -Infinity;
  const named = [["p99", latency.p99], ["p90", latency.p90], ["median", latency.median]].filter(([, value]) => value <= high).map(([name, value]) => {
    last = Math.max(y(value) + 4, last + 13);
    return [line(left, y(value), right + room, y(value), name === "median" ? "middle" : "rule"), text(right + room + 6, last, name)];
  });
  return canvas(width, height,
    [low, (low + high) / 2, high].flatMap((value) => [line(left, y(value), right, y(value)), text(left - 8, y(value) + 4, seconds(value), "end")]),
    band(q1, q3, "between"), interval ? band(...interval, "certain") : null, named,
    draw("path", { class: "repeats", d: latency.times.map((time, index) => `M${x(index)} ${y(time)}h0`).join("") }),
    bins.map((many, index) => many > 0 && draw("rect", { class: "spark", x: right, y: short(y(low) - (index + 1) * tall), width: short((many / most) * room), height: Math.max(0.5, short(tall - 0.6)) })),
    text(left, height - 6, `${exact(ordered.length)} repeats in order`), beyond ? text(right - 12, height - 6, `${exact(beyond)} beyond, on the upper edge`, "end") : null, text(right, height - 6, "how many"));
}
