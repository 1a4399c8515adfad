// The grid over the plane of two inputs: lines where values are zero, and round numbers for the axes.

const NODES = 45; // the network is evaluated on a grid of so many nodes in each direction

/** The lines where values on the nodes of the grid are zero, as pairs of places in units of cells. */
function zeroLines(values) {
  const lines = [];
  const at = (i, j) => values[i * NODES + j];
  for (let i = 0; i + 1 < NODES; i++) {
    for (let j = 0; j + 1 < NODES; j++) {
      const corners = [
        [j, i],
        [j + 1, i],
        [j + 1, i + 1],
        [j, i + 1],
      ];
      const crossings = [];
      for (let k = 0; k < 4; k++) {
        const [a, b] = [corners[k], corners[(k + 1) % 4]];
        const [va, vb] = [at(a[1], a[0]), at(b[1], b[0])];
        if (va < 0 === vb < 0) continue;
        const t = va / (va - vb);
        crossings.push([a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]);
      }
      for (let k = 0; k + 1 < crossings.length; k += 2) lines.push([crossings[k], crossings[k + 1]]);
    }
  }
  return lines;
}

const STEP = 4; // of the nodes that a table has

/** A table of values on some nodes of the grid; `places` are the numbers of the columns and of the rows, as texts. */
function gridTable(caption, [across, up], text) {
  const nodes = Array.from({ length: (NODES - 1) / STEP + 1 }, (_, k) => k * STEP);
  const rows = nodes.map((i) => [up(i), ...nodes.map((j) => text(i * NODES + j).replaceAll(" ", "\u00a0"))]);
  return table(
    caption,
    ["", ...nodes.map(across)].map((cell, k) => (k ? cell : "up \\ right")),
    rows,
  );
}

/** Round numbers in a range, about five. */
function ticks(low, high) {
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, k) =>
    Number(((first + k) * step).toPrecision(12)),
  );
}
