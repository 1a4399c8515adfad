// The plane of two inputs: what the network answers everywhere, the boundary, and points to drag, add and remove.

function planeView(app) {
  const { model } = app;
  const LEFT = 44;
  const TOP = 8;
  const BOTTOM = 28;
  let area = 340; // width and height of the plane in pixels of the page
  const canvas = element("canvas", {
    class: "plane",
    tabindex: "0",
    role: "application",
    "aria-label": "Plane of the two inputs",
    "aria-describedby": "plane-keys",
  });
  const message = element("p", { class: "hint", "aria-live": "polite" });
  const legend = element("div");
  const ends = element("span"); // what the colours of numbers mean
  const picture = element("canvas");
  const columns = model.data.columns ?? [];
  const names = model.data.inputs ?? ["x0", "x1"];
  let tool = "look";
  let newTarget = 0;
  let selected = null; // a row
  let held = null; // the row that is being dragged
  let hasFocus = false;

  const bounds = boundsOf(app.rows);
  const units = (axis) => {
    const column = columns[axis];
    return column && !column.clipped ? [column.shift, column.scale] : [0, 1];
  };

  function boundsOf(rows) {
    if (!rows.length)
      return [
        [-1.5, 1.5],
        [-1.5, 1.5],
      ];
    const ranges = [0, 1].map((axis) => {
      const values = rows.map((row) => row.x[axis]);
      return [Math.min(...values), Math.max(...values)];
    });
    const half = 0.56 * Math.max(...ranges.map(([low, high]) => high - low), 1e-3);
    return ranges.map(([low, high]) => [(low + high) / 2 - half, (low + high) / 2 + half]);
  }

  const toCanvas = ([x, y]) => [
    LEFT + ((x - bounds[0][0]) / (bounds[0][1] - bounds[0][0])) * area,
    TOP + ((bounds[1][1] - y) / (bounds[1][1] - bounds[1][0])) * area,
  ];
  const toPlane = ([px, py]) => [
    Math.min(bounds[0][1], Math.max(bounds[0][0], bounds[0][0] + ((px - LEFT) / area) * (bounds[0][1] - bounds[0][0]))),
    Math.min(bounds[1][1], Math.max(bounds[1][0], bounds[1][1] - ((py - TOP) / area) * (bounds[1][1] - bounds[1][0]))),
  ];

  /** Outputs of every neuron on the nodes of the grid, from the upper left on; the other views use them too. */
  function evaluate() {
    const { network } = model;
    const grid = network.sizes.slice(1).map((n) => Array.from({ length: n }, () => new Float64Array(NODES * NODES)));
    const results = [];
    for (let i = 0; i < NODES; i++) {
      const y = bounds[1][1] - (i / (NODES - 1)) * (bounds[1][1] - bounds[1][0]);
      for (let j = 0; j < NODES; j++) {
        const x = bounds[0][0] + (j / (NODES - 1)) * (bounds[0][1] - bounds[0][0]);
        const { a } = network.forward([x, y]);
        a.forEach((layer, l) => layer.forEach((value, k) => (grid[l][k][i * NODES + j] = value)));
        results.push(model.results(a[a.length - 1]));
      }
    }
    app.grid = grid;
    return results;
  }

  function paintAnswers(results) {
    const paper = ownColour("--background");
    if (model.isClassifier) {
      const colours = model.classes.map((_, k) => classColour(k));
      paint(picture, NODES, results, (row) => {
        const best = row.indexOf(Math.max(...row));
        const others = Math.max(...row.filter((_, k) => k !== best));
        const sure = model.structure.areProbabilities ? row[best] - others : 1;
        return mixed(paper, colours[best], 0.06 + 0.3 * Math.max(0, Math.min(1, sure)));
      });
      const count = results[0].length;
      return (count === 2 ? [1] : results[0].map((_, k) => k)).map((k) =>
        results.map((row) => row[k] - Math.max(...row.filter((_, other) => other !== k))),
      );
    }
    const values = results.map((row) => row[0]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const scale = signedScale();
    paint(picture, NODES, values, (value) => scale(high > low ? (2 * (value - low)) / (high - low) - 1 : 0));
    app.range = [low, high];
    ends.textContent = `Orange: ${short(low, 3)}. Blue: ${short(high, 3)}.`;
    return [0.2, 0.4, 0.6, 0.8].map((share) => values.map((value) => value - low - share * (high - low)));
  }

  function draw() {
    const density = Math.min(3, globalThis.devicePixelRatio || 1);
    const width = canvas.clientWidth;
    if (!width) return;
    area = width - LEFT - TOP;
    canvas.style.height = `${TOP + area + BOTTOM}px`;
    Object.assign(canvas, { width: width * density, height: (TOP + area + BOTTOM) * density });
    const context = canvas.getContext("2d");
    const [ink, paper] = [ownColour("--text"), ownColour("--background")];
    context.scale(density, density);
    context.save();
    context.beginPath();
    context.rect(LEFT, TOP, area, area);
    context.clip();
    const cell = area / (NODES - 1);
    context.drawImage(picture, LEFT - cell / 2, TOP - cell / 2, area + cell, area + cell);
    context.strokeStyle = ink;
    context.lineWidth = model.isClassifier ? 2.5 : 1;
    context.beginPath();
    for (const lines of app.contours) {
      for (const [from, to] of lines) {
        context.moveTo(LEFT + from[0] * cell, TOP + from[1] * cell);
        context.lineTo(LEFT + to[0] * cell, TOP + to[1] * cell);
      }
    }
    context.stroke();
    for (const row of app.rows) drawPoint(context, row, ink, paper);
    drawCross(context, ink, paper);
    context.restore();
    drawAxes(context);
  }

  function drawPoint(context, row, ink, paper) {
    const number = model.classOf(row.target);
    const [x, y] = toCanvas(row.x);
    shapePath(context, SHAPES[(number ?? 0) % SHAPES.length], x, y, 4.5);
    if (number === null) {
      const [low, high] = app.range ?? [0, 1];
      const value = row.target === null ? 0 : model.results(model.targetRow(row.target))[0];
      context.fillStyle = `rgb(${signedColour(high > low ? (2 * (value - low)) / (high - low) - 1 : 0).join(" ")})`;
    } else context.fillStyle = classColour(number);
    context.fill();
    context.lineWidth = number === null ? 1.5 : 1;
    context.strokeStyle = number === null ? ink : paper;
    context.stroke();
    if (row !== selected) return;
    context.beginPath();
    context.arc(x, y, 10, 0, 2 * Math.PI);
    context.lineWidth = 2.5;
    context.strokeStyle = ink;
    context.stroke();
  }

  function drawCross(context, ink, paper) {
    const [x, y] = toCanvas(app.x);
    for (const [width, colour] of [
      [4, paper],
      [1.5, ink],
    ]) {
      context.beginPath();
      for (const [dx, dy] of [
        [1, 0],
        [-1, 0],
        [0, 1],
        [0, -1],
      ]) {
        context.moveTo(x + 4 * dx, y + 4 * dy);
        context.lineTo(x + 13 * dx, y + 13 * dy);
      }
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  function drawAxes(context) {
    context.strokeStyle = ownColour("--muted");
    context.fillStyle = ownColour("--text");
    context.lineWidth = 1;
    context.strokeRect(LEFT, TOP, area, area);
    context.font = "13px system-ui, sans-serif";
    for (const axis of [0, 1]) {
      const [shift, scale] = units(axis);
      const [low, high] = bounds[axis].map((value) => value * scale + shift);
      for (const tick of ticks(low, high)) {
        const place = toCanvas(axis ? [bounds[0][0], (tick - shift) / scale] : [(tick - shift) / scale, bounds[1][0]]);
        context.textAlign = axis ? "right" : "center";
        context.textBaseline = axis ? "middle" : "top";
        const [dx, dy] = axis ? [-7, 0] : [0, 7];
        context.fillText(short(tick), place[0] + dx, Math.max(TOP + 6, place[1] + dy));
        context.beginPath();
        context.moveTo(...place);
        context.lineTo(place[0] + Math.sign(dx) * 4, place[1] + Math.sign(dy) * 4);
        context.stroke();
      }
    }
  }

  function describe() {
    const lines = [`${app.rows.length} points.`];
    if (selected)
      lines.push(
        `Selected: point ${app.rows.indexOf(selected) + 1}, ${nameOf(selected.target)}, at ${placeText(selected.x)}.`,
      );
    else lines.push(`The cross is at ${placeText(app.x)}.`);
    const text = lines.join(" ");
    if (message.textContent !== text && !app.isTraining) message.textContent = text;
  }

  const placeText = (x) =>
    Array.from(x, (value, axis) => `${names[axis]} = ${short(inUnits(value, axis), 3)}`).join(", ");
  const inUnits = (value, axis) => value * units(axis)[1] + units(axis)[0];

  function nameOf(target) {
    const number = model.classOf(target);
    if (number !== null) return `class ${model.classes[number]}`;
    return target === null ? "no target" : `target ${short(model.results(model.targetRow(target))[0])}`;
  }

  function update() {
    if (app.isNetworkNew) {
      app.answers = evaluate();
      app.contours = paintAnswers(app.answers).map(zeroLines);
    }
    draw();
    describe();
    answers.update();
    behind.update();
  }

  function updateLegend() {
    const items = model.isClassifier
      ? model.classes.map((name, k) => {
          const mark = element("canvas", { width: 36, height: 36, class: "mark", "aria-hidden": "true" });
          const context = mark.getContext("2d");
          shapePath(context, SHAPES[k % SHAPES.length], 18, 18, 11);
          context.fillStyle = classColour(k);
          context.fill();
          return element("li", {}, mark, `class ${name}`);
        })
      : [element("li", {}, ends), element("li", {}, "The lines join places with the same prediction.")];
    if (model.isClassifier) items.push(element("li", {}, element("span", { class: "line-mark" }), "boundary"));
    items.push(element("li", {}, element("span", { class: "cross-mark" }, "✛"), "the example of the sections below"));
    legend.replaceChildren(element("ul", { class: "legend" }, items));
  }

  // -- points --------------------------------------------------------------------------------------

  function nearest(place) {
    let best = null;
    let least = 12;
    for (const row of app.rows) {
      const [x, y] = toCanvas(row.x);
      const distance = Math.hypot(x - place[0], y - place[1]);
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  function look(x, row = null) {
    selected = row;
    app.set(x, row ? row.target : null, false, row ? app.rows.indexOf(row) : null);
  }

  function add(x) {
    const row = { x: Float64Array.from(x), target: newTarget };
    app.rows.push(row);
    app.rowsChanged();
    look(row.x, row);
  }

  function remove(row) {
    app.rows.splice(app.rows.indexOf(row), 1);
    app.rowsChanged();
    look(row.x);
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const at = place(event);
    const row = nearest(at);
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    if (row && tool === "remove") remove(row);
    else if (row) {
      held = row;
      look(row.x, row);
    } else if (tool === "add") {
      add(toPlane(at));
      held = selected;
    } else look(toPlane(at));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held && !(event.buttons && tool === "look")) return;
    const x = toPlane(place(event));
    if (held) held.x.set(x);
    app.soon(() => look(held ? held.x : x, held));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (held) app.rowsChanged();
      held = null;
    });
  }
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const count = app.rows.length;
    const number = selected ? app.rows.indexOf(selected) : -1;
    if (event.key in moves) {
      const step = (event.shiftKey ? 0.005 : 0.03) * (bounds[0][1] - bounds[0][0]);
      const from = selected ? selected.x : app.x;
      const x = toPlane(toCanvas([from[0] + step * moves[event.key][0], from[1] + step * moves[event.key][1]]));
      if (selected) {
        selected.x.set(x);
        app.rowsChanged();
        look(selected.x, selected);
      } else look(x);
    } else if (event.key === "Enter") add(Array.from(app.x));
    else if (event.key === "n" && count) look(app.rows[(number + 1) % count].x, app.rows[(number + 1) % count]);
    else if (event.key === "p" && count)
      look(app.rows[(Math.max(number, 0) + count - 1) % count].x, app.rows[(Math.max(number, 0) + count - 1) % count]);
    else if ((event.key === "Delete" || event.key === "Backspace") && selected) remove(selected);
    else if (event.key === "Escape" && selected) look(Array.from(selected.x));
    else return;
    event.preventDefault();
  });

  /** The numbers of the nodes along both axes, in the units of the columns. */
  app.nodeTexts = [0, 1].map((axis) => (node) => {
    const share = axis ? 1 - node / (NODES - 1) : node / (NODES - 1);
    return short(inUnits(bounds[axis][0] + share * (bounds[axis][1] - bounds[axis][0]), axis), 3);
  });

  const answers = tableBehind("The answers as a table", () =>
    gridTable(`Answers of the network; ${names[1]} upward, ${names[0]} to the right`, app.nodeTexts, (place) => {
      const row = app.answers[place];
      if (!model.isClassifier) return row.map((value) => short(value, 3)).join(", ");
      const best = row.indexOf(Math.max(...row));
      return model.structure.areProbabilities ? `${model.classes[best]} (${percent(row[best])})` : model.classes[best];
    }),
  );

  const behind = tableBehind("The points as a table", () => {
    const rows = app.rows.map((row, k) => {
      const results = model.predict(row.x);
      const answer = model.isClassifier
        ? model.classes[results.indexOf(Math.max(...results))]
        : results.map((value) => short(value)).join(", ");
      return [
        String(k + 1),
        ...Array.from(row.x, (value, axis) => short(inUnits(value, axis))),
        nameOf(row.target),
        answer,
      ];
    });
    return table("Points", ["point", ...names, "target", "answer of the network"], rows);
  });

  function tools() {
    const options = [["look", "Look and move"]];
    if (model.isClassifier) options.push(...model.classes.map((name, k) => [`add ${k}`, `Add ${name}`]));
    else options.push(["add 0", "Add"]);
    options.push(["remove", "Remove"]);
    const group = radios("The pointer", options, "look", (value) => {
      tool = value.startsWith("add") ? "add" : value;
      if (tool === "add" && model.isClassifier) newTarget = model.targetOfClass(Number(value.slice(4)));
    });
    if (model.isClassifier) return [group];
    const scaling = model.structure.targetScaling;
    const input = element("input", { type: "number", step: "any", value: "0" });
    const read = () => {
      const value = Number(input.value) || 0;
      newTarget = [scaling ? (value - scaling[0][0]) / scaling[1][0] : value];
    };
    input.addEventListener("input", read);
    read();
    return [group, labelled("Target of new points", input)];
  }

  newTarget = model.isClassifier ? model.targetOfClass(0) : [0];
  const made = element(
    "div",
    { class: "plane-view" },
    element("p", { class: "axis" }, `Up: ${names[1]}. To the right: ${names[0]}.`),
    canvas,
    legend,
    tools(),
    message,
    element(
      "p",
      { class: "hint", id: "plane-keys" },
      "Drag a point to move it. Keys: arrows move the cross or the selected point (with Shift in small steps), Enter adds a point, n and p select the next and the previous one, Delete removes it, Escape leaves it.",
    ),
    answers.element,
    behind.element,
  );
  new ResizeObserver(() => app.grid && draw()).observe(canvas);
  return { element: made, update, restyle: updateLegend, legend: updateLegend };
}
