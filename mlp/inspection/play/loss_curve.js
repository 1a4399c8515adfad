// The curve of the loss over the epochs.

/** Draw the loss of each epoch into a canvas, and describe it. */
function drawCurve(curve, history) {
  const [WIDTH, HEIGHT, LEFT, BOTTOM] = [curve.clientWidth, 180, 52, 26];
  const density = Math.min(3, globalThis.devicePixelRatio || 1);
  if (!WIDTH) return;
  Object.assign(curve, { width: WIDTH * density, height: HEIGHT * density });
  const context = curve.getContext("2d");
  context.scale(density, density);
  context.font = "13px system-ui, sans-serif";
  context.fillStyle = ownColour("--text");
  context.strokeStyle = ownColour("--muted");
  context.strokeRect(LEFT, 8, WIDTH - LEFT - 8, HEIGHT - BOTTOM - 8);
  if (!history.length) {
    curve.setAttribute("aria-label", "Loss by epoch: no epoch yet");
    context.textAlign = "center";
    context.fillText("The loss of each epoch appears here.", (WIDTH + LEFT) / 2, HEIGHT / 2);
    return;
  }
  const final = history[history.length - 1];
  const highest = Math.max(...history.map(({ loss }) => loss)) || 1;
  const lastEpoch = Math.max(1, final.epoch);
  const at = ({ epoch, loss }) => [
    LEFT + (epoch / lastEpoch) * (WIDTH - LEFT - 8),
    8 + (1 - loss / (1.05 * highest)) * (HEIGHT - BOTTOM - 8),
  ];
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of ticks(0, highest))
    context.fillText(short(tick, 2), LEFT - 6, Math.max(14, at({ epoch: 0, loss: tick })[1]));
  context.textBaseline = "top";
  context.fillText(String(lastEpoch), WIDTH - 8, HEIGHT - BOTTOM + 7);
  context.textAlign = "center";
  context.fillText("epoch", (WIDTH + LEFT) / 2, HEIGHT - BOTTOM + 7);
  context.fillText("0", LEFT, HEIGHT - BOTTOM + 7);
  context.beginPath();
  history.forEach((point, k) => (k ? context.lineTo(...at(point)) : context.moveTo(...at(point))));
  context.lineWidth = 2;
  context.strokeStyle = ownColour("--accent");
  context.stroke();
  curve.setAttribute(
    "aria-label",
    `Loss by epoch: ${short(history[0].loss)} at first, ${short(final.loss)} after ${final.epoch} epochs`,
  );
}
