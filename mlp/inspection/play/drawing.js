// An area to draw in with mouse, finger or keys, and what the network sees of it.

function drawingView(app) {
  const { side, ink } = app.model.data.image;
  const SIZE = 280;
  const canvas = element("canvas", {
    class: "pad",
    tabindex: "0",
    role: "application",
    "aria-label": "Drawing area",
    "aria-describedby": "drawing-keys",
  });
  const seen = element("canvas", { class: "pixels", role: "img", "aria-label": "The image that the network sees" });
  let strokes = [];
  let pen = null; // the stroke that is being drawn
  let cursor = [SIZE / 2, SIZE / 4];
  let isShown = false; // the cursor of the keyboard

  function draw() {
    const density = Math.min(3, globalThis.devicePixelRatio || 1);
    Object.assign(canvas, { width: SIZE * density, height: SIZE * density });
    const context = canvas.getContext("2d");
    context.scale(density, density);
    context.lineWidth = 18;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = ownColour("--text");
    for (const stroke of strokes) {
      context.beginPath();
      context.moveTo(...stroke[0]);
      for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) context.lineTo(...point);
      context.stroke();
    }
    if (!strokes.length) {
      context.fillStyle = ownColour("--muted");
      context.font = "16px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillText(side === 28 ? "Draw a digit here" : "Draw here", SIZE / 2, SIZE / 2);
    }
    if (!isShown) return;
    context.lineWidth = 2;
    context.strokeStyle = ownColour("--accent");
    context.strokeRect(cursor[0] - 9, cursor[1] - 9, 18, 18);
  }

  function see() {
    const image = imageOfStrokes(strokes, side);
    app.set(
      Array.from(image, (value) => value * ink),
      null,
      !strokes.length,
    );
  }

  function clear() {
    strokes = [];
    pen = null;
    draw();
    see();
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIZE) / box.width, ((event.clientY - box.top) * SIZE) / box.height];
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    isShown = false;
    pen = [place(event)];
    if (app.example !== null) strokes = []; // the drawing replaces the example
    strokes.push(pen);
    draw();
    see();
    event.preventDefault();
    canvas.focus({ preventScroll: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pen) return;
    const events = event.getCoalescedEvents?.() ?? [];
    pen.push(...(events.length ? events : [event]).map(place));
    draw();
    app.soon(see);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (pen) see();
      pen = null;
    });
  }
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) {
      const step = event.shiftKey ? 4 : 12;
      cursor = cursor.map((value, k) => Math.min(SIZE - 8, Math.max(8, value + step * moves[event.key][k])));
      if (pen) pen.push([...cursor]);
    } else if (event.key === " " || event.key === "Enter") {
      if (pen) pen = null;
      else {
        if (app.example !== null) strokes = [];
        strokes.push((pen = [[...cursor]]));
      }
    } else if (event.key === "Delete" || event.key === "Backspace" || event.key === "Escape") {
      clear();
    } else return;
    event.preventDefault();
    isShown = true;
    draw();
    if (pen || event.key === " ") see();
  });
  canvas.addEventListener("blur", () => {
    isShown = false;
    pen = null;
    draw();
  });

  const numbers = tableBehind("The image as a table", () => {
    const values = Array.from(app.x, (value) => Math.round((255 * value) / ink));
    const rows = Array.from({ length: side }, (_, i) => [
      String(i + 1),
      ...values.slice(i * side, (i + 1) * side).map(String),
    ]);
    return table("Pixels from 0 to 255", ["row", ...Array.from({ length: side }, (_, j) => String(j + 1))], rows);
  });

  function update() {
    const [low, high] = [ownColour("--background"), ownColour("--text")];
    paint(seen, side, app.x, (value) => mixed(low, high, Math.max(0, Math.min(1, value / ink))));
    if (app.example !== null && strokes.length) {
      strokes = [];
      draw();
    }
    numbers.update();
  }

  const area = element(
    "div",
    { class: "drawing" },
    element(
      "div",
      {},
      canvas,
      element("p", {}, button("Clear", clear)),
      element(
        "p",
        { class: "hint", id: "drawing-keys" },
        "Draw with mouse or finger. Keys: arrows move (with Shift in small steps), the space bar lowers or lifts the pen, Delete clears.",
      ),
    ),
    element(
      "figure",
      {},
      seen,
      element(
        "figcaption",
        {},
        `What the network sees: ${side} × ${side} pixels, ${side < SMALL ? "scaled to fill the image." : "scaled and centred as in MNIST."}`,
      ),
    ),
  );
  return { element: element("div", {}, area, numbers.element), update, redraw: draw };
}
