// A drawing as an image such as those the network was trained on: strokes, scaled, centred and anti-aliased.

/** Images of MNIST have 28 x 28 pixels; the digit fills a box of 20, and its centre of mass is in the middle. */
const BOX = 20 / 28;
const SMALL = 20; // smaller images are filled completely

/** How much of each pixel the pen covers, from 0 to 1, for strokes (arrays of [x, y]) in pixels. */
function covered(strokes, side, radius) {
  const image = new Float64Array(side * side);
  for (const stroke of strokes) {
    for (let k = 0; k < Math.max(1, stroke.length - 1); k++) {
      const [ax, ay] = stroke[k];
      const [bx, by] = stroke[Math.min(k + 1, stroke.length - 1)];
      const squared = (bx - ax) ** 2 + (by - ay) ** 2;
      const reach = radius + 1;
      const from = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - reach));
      const to = (a, b) => Math.min(side - 1, Math.ceil(Math.max(a, b) + reach));
      for (let i = from(ay, by); i <= to(ay, by); i++) {
        for (let j = from(ax, bx); j <= to(ax, bx); j++) {
          const [x, y] = [j + 0.5, i + 0.5];
          const along = squared ? ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / squared : 0;
          const t = Math.min(1, Math.max(0, along));
          const distance = Math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay));
          const value = Math.min(1, Math.max(0, radius + 0.5 - distance));
          image[i * side + j] = Math.max(image[i * side + j], value);
        }
      }
    }
  }
  return image;
}

/** An image of side x side values from 0 to 1, for strokes in any unit; empty without strokes. */
function imageOfStrokes(strokes, side) {
  const points = strokes.flat();
  if (!points.length) return new Float64Array(side * side);
  const isSmall = side < SMALL;
  const radius = Math.max(0.5, side * 0.043);
  const box = isSmall ? side : side * BOX;
  const bounds = [0, 1].map((axis) => {
    const values = points.map((point) => point[axis]);
    return [Math.min(...values), Math.max(...values)];
  });
  const size = Math.max(...bounds.map(([low, high]) => high - low));
  const scale = size > 0 ? (box - 2 * radius) / size : 0;
  const placed = (shift) =>
    strokes.map((stroke) =>
      stroke.map((point) =>
        bounds.map(([low, high], axis) => (point[axis] - (low + high) / 2) * scale + side / 2 + shift[axis]),
      ),
    );
  const image = covered(placed([0, 0]), side, radius);
  if (isSmall) return image;
  let total = 0;
  const mass = [0, 0];
  image.forEach((value, k) => {
    total += value;
    mass[0] += value * ((k % side) + 0.5);
    mass[1] += value * (Math.floor(k / side) + 0.5);
  });
  const most = (side - box) / 2; // so that nothing leaves the image
  const shift = mass.map((sum) => Math.min(most, Math.max(-most, side / 2 - sum / total)));
  return covered(placed(shift), side, radius);
}
