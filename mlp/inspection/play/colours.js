// Colours for numbers and classes, for light and dark pages, that also readers with colour blindness can tell apart.

/** Classes differ in colour and in shape. */
const CLASS_COLOURS = {
  light: ["#0063a6", "#c44900", "#00734f", "#a3307a", "#7a5c00", "#55606b", "#5b3fa8", "#a8322d", "#007480", "#4d6b00"],
  dark: ["#56b4e9", "#f5914e", "#2fcf9b", "#e58fc0", "#e6c229", "#b8c1cb", "#b39df3", "#ff8f87", "#4dd0dd", "#b3d65c"],
};
const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "star"];

function isDark() {
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function classColour(number) {
  const colours = CLASS_COLOURS[isDark() ? "dark" : "light"];
  return colours[number % colours.length];
}

function ownColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function channels(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/** A mixture of two colours as [red, green, blue]. */
function mixed(from, to, share) {
  const [a, b] = [channels(from), channels(to)];
  return a.map((value, k) => Math.round(value + (b[k] - value) * share));
}

/** Orange for -1, the paper for 0, blue for 1. */
function signedColour(value) {
  const clippedValue = Math.max(-1, Math.min(1, Number.isFinite(value) ? value : 0));
  return mixed(ownColour("--background"), classColour(clippedValue < 0 ? 1 : 0), Math.abs(clippedValue) ** 0.8);
}

/** A function that is faster than `signedColour` for many values: it knows the colours of this moment. */
function signedScale() {
  const steps = Array.from({ length: 201 }, (_, k) => signedColour((k - 100) / 100));
  return (value) => steps[Math.round(100 * Math.max(-1, Math.min(1, Number.isFinite(value) ? value : 0))) + 100];
}

/** Paint values, row by row, into a canvas of as many pixels; it is scaled by the page. */
function paint(canvas, width, values, colour) {
  const height = values.length / width;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let k = 0; k < values.length; k++) {
    const [red, green, blue] = colour(values[k], k);
    image.data.set([red, green, blue, 255], 4 * k);
  }
  context.putImageData(image, 0, 0);
}

/** A legend of `signedColour`. */
function signedLegend(most) {
  const bar = element("canvas", { class: "scale", "aria-hidden": "true" });
  paint(
    bar,
    101,
    Array.from({ length: 101 }, (_, k) => (k - 50) / 50),
    signedScale(),
  );
  return element("p", { class: "legend" }, `−${short(most, 2)}`, bar, `+${short(most, 2)}`);
}

/** The path of the shape of a class around a place. */
function shapePath(context, shape, x, y, radius) {
  const corners = (n, turn, inner = 1) =>
    Array.from({ length: n }, (_, k) => {
      const angle = turn + (2 * Math.PI * k) / n;
      const r = radius * (k % 2 ? inner : 1) * 1.25;
      return [x + r * Math.sin(angle), y - r * Math.cos(angle)];
    });
  context.beginPath();
  if (shape === "circle") {
    context.arc(x, y, radius, 0, 2 * Math.PI);
    return;
  }
  const w = radius / 3;
  const r = radius * 1.1;
  const points = {
    square: () => corners(4, Math.PI / 4),
    triangle: () => corners(3, 0),
    diamond: () => corners(4, 0),
    star: () => corners(10, 0, 0.45),
    cross: () => [
      [x - w, y - r],
      [x + w, y - r],
      [x + w, y - w],
      [x + r, y - w],
      [x + r, y + w],
      [x + w, y + w],
      [x + w, y + r],
      [x - w, y + r],
      [x - w, y + w],
      [x - r, y + w],
      [x - r, y - w],
      [x - w, y - w],
    ],
  }[shape]();
  points.forEach(([px, py], k) => (k ? context.lineTo(px, py) : context.moveTo(px, py)));
  context.closePath();
}
