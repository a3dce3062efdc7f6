// The page of a network's growth: its formulas, a chart of each figure against each var, its terms and its layers.

const state = { log: true };

function drawHead() {
  fill(at("header"), {}, [
    make("div", { class: "head" }, make("div", {}, make("h1", {}, words.name), make("p", { class: "muted" }, words.facts)), tools(`${words.name}-scale`)),
    make("div", { class: "tiles" }, words.figures.filter(({ head }) => head).map(({ title, values }) => tile(values[0], title))), messages(words.messages)]);
  at("footer").append(...[words.checked, ...words.ranges].map((text) => make("p", {}, text)));
}

const heading = (...names) => make("thead", {}, make("tr", {}, names.map((name, place) => make("th", { scope: "col", class: place && name !== "formula" ? "right" : "" }, name))));

function drawFormulas() {
  const rows = words.figures.map(({ title, values, formulas, limits, known }) => make("tr", {},
    make("td", { class: "key" }, title), values.map((value) => make("td", { class: "right" }, value || "—")),
    make("td", { class: known ? "code wide" : "muted wide" }, formulas.length > 1 && make("div", { class: "muted" }, "the largest of"),
      formulas.map(({ text, where }) => make("div", {}, text, where && make("span", { class: "muted" }, `  in ${where}`))),
      limits && make("div", { class: "muted" }, limits))));
  at("section.formulas").append(make("div", { class: "bar" }, make("h2", {}, "Formulas"), make("span", { class: "muted" }, words.vars)),
    make("div", { class: "rows list", tabindex: 0 }, make("table", {}, heading("", "here", ...words.places, "formula"), make("tbody", {}, rows))));
}

function drawTerms() {
  for (const { title, terms, grows, more } of words.terms) {
    at(".two").append(make("section", { class: "card detail" }, make("h2", {}, `${title} by term`),
      make("table", { class: "bars" }, make("tbody", {}, terms.map(({ formula, share, words: of }) => make("tr", {},
        make("td", {}, make("span", { class: "code" }, formula), of && make("div", { class: "muted" }, of)),
        make("td", {}, make("span", { class: "meter" }, bar(share)), percent(share)))))),
      more ? make("p", { class: "muted" }, `and ${more} smaller`) : "", grows.map((words) => make("p", { class: "muted" }, words))));
  }
}

function bar(share) {
  const inside = make("i");
  inside.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
  return inside;
}

function drawRows() {
  const rows = words.rows.map(({ path, depth, copies, formulas }) => {
    const name = make("td", { class: "name" }, path);
    name.style.paddingLeft = `${12 + 18 * (depth - 1)}px`;
    return make("tr", {}, name, make("td", {}, copies), formulas.map((text) => make("td", { class: "code" }, text)));
  });
  at("section.layers").append(make("div", { class: "bar" }, make("h2", {}, "Layers"), make("span", { class: "muted" }, "formulas of one copy")),
    make("div", { class: "rows list", tabindex: 0 }, make("table", {}, make("thead", {}, make("tr", {}, ["layer", "copies", ...words.columns].map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, rows))));
}

// A figure and its largest terms against a var; a column for each size shows their values.
function curves({ sizes, lines, here, var: name, bytes: isBytes, dotted }) {
  return (width) => {
    const height = 260;
    const [left, right, bottom] = [84, width - 20, height - 40];
    const form = isBytes ? bytes : count;
    const whole = lines[0].values;
    // What is far below the whole would only make the scale longer.
    const least = Math.min(...whole) / 30;
    const shown = lines.map((one) => one.values.map((value, place) => [sizes[place], value]).filter(([, value]) => value >= least));
    const y = axisScale(shown.flat().map(([, value]) => value), bottom, 12, form, state.log);
    const log = state.log && sizes.at(-1) / sizes[0] >= 6;
    const on = log ? Math.log : (value) => value;
    const x = (value) => short(left + 10 + ((on(value) - on(sizes[0])) / (on(sizes.at(-1)) - on(sizes[0]))) * (right - left - 20));
    const labels = [];
    for (const value of [here, sizes[0], sizes.at(-1), ...sizes]) {
      if (labels.every((one) => Math.abs(x(one) - x(value)) > 3.6 * (exact(one).length + exact(value).length) + 14)) labels.push(value);
    }
    const column = (right - left) / sizes.length;
    return canvas(width, height,
      y.marks.flatMap((value) => [line(left, y.place(value), right, y.place(value)), text(left - 8, y.place(value) + 4, form(value), "end")]),
      line(x(here), 12, x(here), bottom, "phase"),
      labels.map((value) => [line(x(value), bottom, x(value), bottom + 4), text(x(value), bottom + 18, exact(value), "middle", value === here ? "" : "quiet")]),
      text((left + right) / 2, height - 4, name, "middle", ""),
      shown.map((dots, index) => dots.length > 0 && [
        coloured(draw("path", { class: `series${index ? " term" : ""}`, d: `M${dots.map(([size, value]) => `${x(size)} ${y.place(value)}`).join("L")}` }), index),
        dotted && dots.map(([size, value]) => coloured(draw("circle", { class: "point", cx: x(size), cy: y.place(value), r: 4 }), index, "fill"))]),
      sizes.map((size, place) => {
        const area = draw("rect", { class: "hover", x: short(x(size) - column / 2), y: 12, width: short(column), height: bottom - 12 });
        tips.set(area, [`${name} = ${exact(size)}`, ...lines.map((one) => `${form(one.values[place])}  ${one.name}`)].join("\n"));
        return area;
      }));
  };
}

const coloured = (element, index, what = "stroke") => { element.style[what] = `var(--series-${index})`; return element; };

function drawCharts() {
  at(".charts").replaceChildren();
  for (const one of words.charts) {
    const card = chart(one.title, one.about, curves(one), false);
    if (one.lines.length > 1) card.append(make("div", { class: "legend" }, one.lines.map(({ name }, index) => make("span", {}, coloured(make("i", {}), index, "background"), name))));
  }
}

at("main").className = "sweep";
at("main").append(
  make("section", { class: "card table formulas", "aria-label": "Formulas" }),
  make("div", { class: "two" }),
  words.charts.length ? make("label", { class: "check" }, make("input", { type: "checkbox", checked: true, onchange: (event) => { state.log = event.target.checked; drawCharts(); } }), "Logarithmic scales") : "",
  make("section", { class: "charts", "aria-label": "Charts" }),
  make("section", { class: "card table layers", "aria-label": "Layers" }));
drawHead();
drawFormulas();
drawTerms();
drawRows();
drawnToWidth(drawCharts);
performance.mark("drawn");
performance.mark("charted");
