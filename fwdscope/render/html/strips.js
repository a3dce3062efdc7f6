// The outputs of a run as strips of small pictures, one for each step, from the input to the output.

const NO_VALUE = 255; // of a cell; the others are positions between the ends of the scale, 0 to 254

function strips() {
  return make("ol", { class: "strips" }, report.strips.map((strip) => {
    const row = rows[strip.row];
    const ends = [strip.low, strip.high].map((value) => (value == null ? "—" : number(value)));
    const element = make("li", {}, make("button", { class: "link", disabled: !row, onclick: () => choose(row) }, make("b", {}, strip.name)),
      make("span", { class: "muted" }, row ? row.text || row.type : "input"), make("span", { class: "muted" }, strip.shape.join("×")),
      make("div", { class: `panels ${strip.kind}`, role: "img", "aria-label": `${strip.name}: ${ends.join(" to ")}` }, strip.panels.map((panel, index) => explainedPanel(strip, panel, index))),
      make("i", { class: "ramp" }), make("span", { class: "ends muted" }, make("span", {}, ends[0]), make("span", {}, ends[1])),
      make("span", { class: "muted" }, strip.zeros ? `${percent(strip.zeros)} zeros` : "\u00a0"));
    if (row) charts.dots.push([row.index, element]);
    return element;
  }));
}

const panelCells = (panel) => Uint8Array.from(atob(panel), (letter) => letter.charCodeAt(0));

// A picture whose cells lead to how their numbers came about; by the keyboard, the panel of the layer has them.
function explainedPanel(strip, panel, index) {
  const picture = panelOf(strip, panel, index);
  if (!strip.cells.size) return picture;
  const valueAt = ({ clientX, clientY }) => {
    const { left, top, width, height } = picture.getBoundingClientRect();
    const [across, down] = [(clientX - left) / width, (clientY - top) / height].map((part) => Math.max(0, Math.min(part, 0.999)));
    const place = strip.kind === "bars" ? Math.floor(down * strip.width)
      : strip.kind === "lines" ? Math.round(across * (strip.width - 1)) : Math.floor(down * strip.height) * strip.width + Math.floor(across * strip.width);
    return strip.cells.get(index * strip.height * strip.width + place);
  };
  return fill(picture, {
    class: "explained",
    onclick: (event) => valueAt(event) && chooseValue(rows[strip.row], valueAt(event)),
    onpointermove: (event) => tips.set(picture, valueAt(event) ? `${address(valueAt(event).element)} = ${digits(valueAt(event).element.value)}` : ""),
  }, []);
}

function panelOf(strip, panel, index) {
  const cells = panelCells(panel);
  const { width, height, low, high } = strip;
  const colour = (cell) => `#${words.palette.slice(6 * cell, 6 * cell + 6)}`;
  if (strip.kind === "bars") {
    const [least, most] = [Math.min(low, 0), Math.max(high, 0)];
    const at = (value) => (76 * (value - least)) / (most - least || 1);
    const each = Math.min(16, 380 / width);
    return draw("svg", { viewBox: `0 0 76 ${each * width}`, width: 76, height: each * width, "aria-hidden": "true" },
      draw("line", { class: "axis", x1: at(0), x2: at(0), y1: 0, y2: each * width }),
      [...cells].map((cell, place) => {
        if (cell === NO_VALUE) return null;
        const end = at(low + ((high - low) * cell) / (NO_VALUE - 1));
        return draw("rect", { x: Math.min(end, at(0)), y: place * each + 1, width: Math.abs(end - at(0)), height: Math.max(1, each - 2), fill: colour(cell) });
      }));
  }
  if (strip.kind === "lines") {
    const points = [...cells].flatMap((cell, place) => (cell === NO_VALUE ? [] : [`${(76 * place) / Math.max(1, width - 1)},${45 - (42 * cell) / (NO_VALUE - 1)}`]));
    return draw("svg", { viewBox: "0 0 76 48", width: 76, height: 48, "aria-hidden": "true" }, draw("title", {}, `channel ${strip.numbers[index]} of ${strip.of}`), draw("polyline", { class: "curve", points: points.join(" ") }));
  }
  const canvas = make("canvas", { width, height, title: strip.of > 1 ? `channel ${strip.numbers[index]} of ${strip.of}` : null });
  const image = new ImageData(width, height);
  cells.forEach((cell, place) => {
    const shade = cell === NO_VALUE ? 0x808080 : parseInt(words.palette.slice(6 * cell, 6 * cell + 6), 16);
    image.data.set([shade >> 16, (shade >> 8) & 255, shade & 255, 255], 4 * place);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  if (strip.kind === "grid") canvas.style.height = `${Math.min(380, 16 * height)}px`;
  else canvas.style.aspectRatio = Math.max(1 / 6, Math.min(6, width / height));
  return canvas;
}
