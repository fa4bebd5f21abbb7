"use strict";
// Runs the networks of a categorical VAE: draws what is clicked, encodes what is sketched.

const model = JSON.parse(document.getElementById("data").textContent);
const weights = (() => {
  const text = atob(model.weights), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const view = new DataView(bytes.buffer), values = new Float32Array(bytes.length / 4);
  for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(4 * i, true);
  return values;
})();
const [CHANNELS, HEIGHT, WIDTH] = model.shape, PIXELS = CHANNELS * HEIGHT * WIDTH, N = model.latents, K = model.classes;

const sigmoid = (v) => 1 / (1 + Math.exp(-v));
const softplus = (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
const ACTIVATIONS = {
  ReLU: (v) => Math.max(v, 0), Tanh: Math.tanh, Sigmoid: sigmoid, SiLU: (v) => v * sigmoid(v), Softplus: softplus,
  LeakyReLU: (v) => (v > 0 ? v : 0.01 * v), ELU: (v) => (v > 0 ? v : Math.expm1(v)), Identity: (v) => v,
};

const LAYERS = {
  linear(x, { inputs, outputs, weight, bias }) {
    const y = weights.slice(bias, bias + outputs);
    for (let i = 0; i < inputs; i++) {
      if (x[i] === 0) continue;
      for (let o = 0, w = weight + i * outputs; o < outputs; o++, w++) y[o] += x[i] * weights[w];
    }
    return y;
  },
  convolution: (x, layer) => convolve(x, layer, false),
  transposed: (x, layer) => convolve(x, layer, true),
  activation: (x, { name }) => x.map(ACTIVATIONS[name]),
  "outputs last"(x, { shape: [channels, outputs, pixels] }) {
    const y = new Float32Array(x.length);
    for (let c = 0; c < channels; c++)
      for (let o = 0; o < outputs; o++)
        for (let p = 0; p < pixels; p++) y[(c * pixels + p) * outputs + o] = x[(c * outputs + o) * pixels + p];
    return y;
  },
};

function convolve(x, { from, to, kernel, stride, padding, weight, bias }, transposed) {
  const [inputs, height, width] = from, [outputs, rows, columns] = to, y = new Float32Array(outputs * rows * columns);
  for (let o = 0; o < outputs; o++) y.fill(weights[bias + o], o * rows * columns, (o + 1) * rows * columns);
  // Of each pair, one side is strided: the output of a transposed convolution, the input of another.
  const [fewRows, fewColumns] = transposed ? [height, width] : [rows, columns];
  const [manyRows, manyColumns] = transposed ? [rows, columns] : [height, width];
  for (let i = 0; i < inputs; i++)
    for (let o = 0; o < outputs; o++)
      for (let a = 0; a < kernel[0]; a++)
        for (let b = 0; b < kernel[1]; b++) {
          const w = weights[weight + ((i * outputs + o) * kernel[0] + a) * kernel[1] + b];
          for (let r = 0; r < fewRows; r++) {
            const row = r * stride[0] - padding[0] + a;
            if (row < 0 || row >= manyRows) continue;
            for (let c = 0; c < fewColumns; c++) {
              const column = c * stride[1] - padding[1] + b;
              if (column < 0 || column >= manyColumns) continue;
              const few = r * fewColumns + c, many = row * manyColumns + column;
              if (transposed) y[o * rows * columns + many] += w * x[i * height * width + few];
              else y[o * rows * columns + few] += w * x[i * height * width + many];
            }
          }
        }
  return y;
}

const run = (layers, x) => layers.reduce((values, layer) => LAYERS[layer.kind](values, layer), x);

function meanOf(output) {
  if (model.likelihood === "Bernoulli") return output.map(sigmoid);
  if (model.likelihood === "Gaussian") return output;
  return Float32Array.from({ length: PIXELS }, (_, p) => {  // DiscretizedLogistic.mean
    const location = output[2 * p], scale = Math.exp(Math.min(7, Math.max(-7, output[2 * p + 1])));
    return scale * (softplus(location / scale) - softplus((location - 1) / scale));
  });
}

// As latent/layout.py has them: classes outermost, and one unit of -1 or 1 for a latent of two classes.
function unitsOf(codes) {
  if (K === 2) return Float32Array.from(codes, (code) => 2 * code - 1);
  const units = new Float32Array(N * K);
  codes.forEach((code, n) => { units[code * N + n] = 1; });
  return units;
}

const logitsOf = (features, n) => Array.from({ length: K }, (_, k) => (K === 2 ? k * features[n] : features[k * N + n]));

// E[x | z] of class indices.
function decode(codes) {
  return meanOf(run(model.decoder, unitsOf(codes)).map((value, i) => value + weights[model.bias + i]));
}

// q(z | x): probabilities, latent by latent.
function encode(x) {
  const features = run(model.encoder, Float32Array.from(x, (value, i) => value - weights[model.mean + i]));
  return Array.from({ length: N }, (_, n) => softmax(logitsOf(features, n)));
}

function softmax(logits) {
  const highest = logits.reduce((a, b) => Math.max(a, b)), powers = Array.from(logits, (v) => Math.exp(v - highest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

let state = 1;
function random() {  // mulberry32: the first sample is the same for everybody
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

function samplePrior() {
  return Array.from({ length: N }, (_, n) => {
    let left = random();
    const shares = softmax(weights.subarray(model.prior + n * K, model.prior + (n + 1) * K));
    const found = shares.findIndex((share) => (left -= share) < 0);
    return found < 0 ? K - 1 : found;
  });
}

function paint(canvas, x) {
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext("2d"), image = context.createImageData(WIDTH, HEIGHT);
  for (let p = 0; p < HEIGHT * WIDTH; p++) {
    for (let c = 0; c < 3; c++) image.data[4 * p + c] = Math.round(255 * x[(CHANNELS === 3 ? c : 0) * HEIGHT * WIDTH + p]);
    image.data[4 * p + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// The page.
const byId = (id) => document.getElementById(id);
const order = model.effects.map((_, n) => n).sort((a, b) => model.effects[b] - model.effects[a]);
let codes = samplePrior(), shares = null, chosen = order[0];
const sketch = new Float32Array(PIXELS);

function made(name, parent, attributes = {}, text = "") {
  const element = parent.appendChild(document.createElement(name));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

const rows = new Map(order.map((n) => {
  const row = made("div", byId("latents"), { class: "latent" });
  made("span", row, { class: "name" }, `z${n}`);
  const effect = made("span", row, { class: "effect", title: `changes a pixel by ${model.effects[n]}` });
  made("i", effect).style.width = `${100 * model.effects[n] / (model.effects[order[0]] || 1)}%`;
  const classes = made("div", row, { class: "classes" });
  const buttons = Array.from({ length: K }, (_, k) => {
    const button = made("button", classes, { type: "button", "aria-label": `latent ${n}, class ${k}` }, String(k));
    button.addEventListener("click", () => choose(n, k));
    return button;
  });
  return [n, { row, buttons }];
}));

const thumbnails = Array.from({ length: K }, (_, k) => {
  const button = made("button", byId("thumbnails"), { type: "button" });
  const canvas = made("canvas", button);
  made("span", button, {}, String(k));
  button.addEventListener("click", () => choose(chosen, k));
  return { button, canvas };
});

function choose(n, k) {
  codes[n] = k;
  chosen = n;
  show();
}

function show() {
  paint(byId("picture"), decode(codes));
  for (const [n, { row, buttons }] of rows) {
    row.classList.toggle("chosen", n === chosen);
    buttons.forEach((button, k) => {
      button.setAttribute("aria-pressed", k === codes[n]);
      button.style.setProperty("--share", shares ? shares[n][k] : 0);
      button.title = shares ? `q(z${n} = ${k} | x) = ${shares[n][k].toFixed(2)}` : "";
    });
  }
  byId("chosen").textContent = `Classes of z${chosen}`;
  thumbnails.forEach(({ button, canvas }, k) => {
    paint(canvas, decode(codes.map((code, n) => (n === chosen ? k : code))));
    button.setAttribute("aria-pressed", k === codes[chosen]);
    button.setAttribute("aria-label", `the picture with class ${k} of latent ${chosen}`);
  });
  byId("code").textContent = `[${codes.join(", ")}]`;
}

function sketched() {
  paint(byId("sketch"), sketch);
  shares = encode(sketch);
  codes = shares.map(argmax);
  show();
}

let ink = null;
function stroke(event) {
  const box = byId("sketch").getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left) / box.width * WIDTH);
  const row = Math.floor((event.clientY - box.top) / box.height * HEIGHT);
  if (row < 0 || column < 0 || row >= HEIGHT || column >= WIDTH) return;
  const at = (r, c) => (channel) => channel * HEIGHT * WIDTH + r * WIDTH + c;
  if (ink === null) ink = sketch[at(row, column)(0)] > 0.5 ? [0, 0, 0] : colour();
  const reach = HEIGHT >= 20 ? 1 : 0;  // a pen of three pixels, softer at its edge, on larger images
  for (let r = Math.max(0, row - reach); r <= Math.min(HEIGHT - 1, row + reach); r++)
    for (let c = Math.max(0, column - reach); c <= Math.min(WIDTH - 1, column + reach); c++) {
      const near = Math.abs(r - row) + Math.abs(c - column), share = near === 0 ? 1 : near === 1 ? 0.7 : 0.3;
      if (model.binary && share < 0.5) continue;
      for (let channel = 0; channel < CHANNELS; channel++) {
        const place = at(r, c)(channel), wanted = ink[channel];
        const mixed = model.binary ? wanted : sketch[place] + share * (wanted - sketch[place]);
        sketch[place] = wanted > 0 ? Math.max(sketch[place], mixed) : mixed;
      }
    }
  sketched();
}

function colour() {
  const text = CHANNELS === 3 ? byId("ink").value : "#ffffff";
  return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16) / 255);
}

byId("sketch").addEventListener("pointerdown", (event) => {
  ink = null;
  if (event.isTrusted) byId("sketch").setPointerCapture(event.pointerId);
  stroke(event);
});
byId("sketch").addEventListener("pointermove", (event) => { if (event.buttons) stroke(event); });
byId("sample").addEventListener("click", () => {
  codes = samplePrior();
  shares = null;
  show();
});
byId("clear").addEventListener("click", () => {
  sketch.fill(0);
  sketched();
});
byId("edit").addEventListener("click", () => {
  const x = decode(codes);
  sketch.set(x.map((value) => (model.binary ? Number(value > 0.5) : Math.min(1, Math.max(0, value)))));
  sketched();
});

paint(byId("sketch"), sketch);
show();
