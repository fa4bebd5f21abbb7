"use strict";
// Draws learning curves, and shows the values under the pointer.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 360, HEIGHT = 200, LEFT = 52, RIGHT = 10, TOP = 10, BOTTOM = 24;

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return parent.appendChild(made);
}

function text(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1);
  return String(+value.toPrecision(4));
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-12); i++) found.push(i * step);
  return found;
}

function nearest(points, step) {
  return points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
}

function draw(chart, container) {
  const figure = container.appendChild(document.createElement("figure"));
  figure.className = "chart";
  const caption = figure.appendChild(document.createElement("figcaption"));
  caption.textContent = chart.title + (chart.unit ? `, ${chart.unit}` : "");
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": chart.title }, figure);
  const last = Math.max(1, ...chart.lines.flatMap((line) => line.points.map((point) => point[0])));
  const [low, high] = chart.range;
  const x = (step) => LEFT + (WIDTH - LEFT - RIGHT) * step / last;
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low);
  for (const value of ticks(low, high, 4)) {
    element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }, svg);
    element("text", { x: LEFT - 6, y: y(value) + 3.5, "text-anchor": "end" }, svg).textContent = text(value);
  }
  for (const step of ticks(0, last, 4)) {
    element("text", { x: x(step), y: HEIGHT - 7, "text-anchor": "middle" }, svg).textContent = text(step);
  }
  const id = `plot-${container.childElementCount}`;
  const clip = element("clipPath", { id }, svg);
  element("rect", { x: LEFT, y: TOP - 2, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM + 4 }, clip);
  for (const line of chart.lines) {
    const path = line.points.map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    const drawn = element("path", { class: line.thin ? "curve thin" : "curve", d: path, "clip-path": `url(#${id})` }, svg);
    drawn.setAttribute("stroke", line.colour);
    drawn.setAttribute("stroke-dasharray", line.dashes);
    if ("row" in line) drawn.dataset.row = line.row;
  }
  const rule = element("line", { class: "rule", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" }, svg);
  const readings = figure.appendChild(document.createElement("ul"));
  readings.className = "readings";
  const show = (step) => {
    readings.replaceChildren(...chart.lines.filter((line) => !line.thin).map((line) => {
      const item = document.createElement("li"), [at, value] = nearest(line.points, step);
      const swatch = element("svg", { viewBox: "0 0 16 8", "aria-hidden": "true" }, item);
      element("path", { d: "M0 4H16", stroke: line.colour, "stroke-width": 2.5, "stroke-dasharray": line.dashes }, swatch);
      item.append(`${line.label} ${text(value)} at ${chart.at} ${text(at)}`);
      return item;
    }));
  };
  show(last);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const step = Math.min(last, Math.max(0, ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * last));
    rule.setAttribute("x1", x(step));
    rule.setAttribute("x2", x(step));
    rule.setAttribute("visibility", "visible");
    show(step);
  });
  svg.addEventListener("pointerleave", () => {
    rule.setAttribute("visibility", "hidden");
    show(last);
  });
}

const page = JSON.parse(document.getElementById("data").textContent);
for (const chart of page.charts) draw(chart, document.getElementById("curves"));
