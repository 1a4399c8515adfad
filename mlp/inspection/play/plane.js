// The plane of two inputs: what the network answers everywhere, the boundary, and points to drag, add and remove.

function planeView(app) {
  const { model } = app;
  const canvas = element("canvas", {
    class: "plane",
    tabindex: "0",
    role: "application",
    "aria-label": "Plane of the two inputs",
    "aria-describedby": "plane-keys",
  });
  const legend = element("div");
  const ends = element("span"); // what the colours of numbers mean
  const picture = element("canvas");
  const columns = model.data.columns ?? [];
  const names = model.data.inputs;
  const isLabel = model.structure.task === "labels";
  let results = []; // of the network on the nodes of the grid
  let contours = [];
  let range = [0, 1]; // of the numbers on the grid
  let newClass = model.targetOfClass(0);
  const units = (axis) => {
    const column = columns[axis];
    return column && !column.clipped ? [column.shift, column.scale] : [0, 1];
  };
  const chart = chartOn(canvas, { left: 44, heightOf: (width) => width, units });
  chart.bounds = boundsOf(app.rows);
  const { bounds } = chart;

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

  /** Outputs of every neuron on the nodes of the grid, from the upper left on; the other views use them too. */
  function evaluate() {
    const { network } = model;
    const grid = network.sizes.slice(1).map((n) => Array.from({ length: n }, () => new Float64Array(NODES * NODES)));
    results = [];
    for (let i = 0; i < NODES; i++) {
      const y = bounds[1][1] - (i / (NODES - 1)) * (bounds[1][1] - bounds[1][0]);
      for (let j = 0; j < NODES; j++) {
        const x = bounds[0][0] + (j / (NODES - 1)) * (bounds[0][1] - bounds[0][0]);
        const { a } = network.forward([x, y]);
        a.forEach((layer, l) => layer.forEach((value, k) => (grid[l][k][i * NODES + j] = value)));
        results.push(model.results(a[a.length - 1]));
      }
    }
    app.neuronPictures.grid = grid;
  }

  /** Paint what the network answers; return values that are zero on the lines to draw. */
  function paintAnswers() {
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
    const values = results.map((row) => row[app.drawnOutput]);
    if (isLabel) {
      paint(picture, NODES, values, (value) => {
        const sure = model.structure.areProbabilities ? Math.abs(2 * value - 1) : 1;
        return mixed(paper, classColour(Number(value > 0.5)), 0.06 + 0.3 * Math.min(1, sure));
      });
      return [values.map((value) => value - 0.5)];
    }
    const [low, high] = (range = rangeOf(values));
    const scale = signedScale();
    paint(picture, NODES, values, (value) => scale(high > low ? (2 * (value - low)) / (high - low) - 1 : 0));
    ends.textContent = `Orange: ${short(low, 3)}. Blue: ${short(high, 3)}.`;
    return [0.2, 0.4, 0.6, 0.8].map((share) => values.map((value) => value - low - share * (high - low)));
  }

  function draw() {
    const context = chart.begin();
    if (!context) return;
    const { left, top, width } = chart;
    const cell = width / (NODES - 1);
    context.drawImage(picture, left - cell / 2, top - cell / 2, width + cell, width + cell);
    context.strokeStyle = ownColour("--text");
    context.lineWidth = model.isClassifier || isLabel ? 2.5 : 1;
    context.beginPath();
    for (const lines of contours) {
      for (const [from, to] of lines) {
        context.moveTo(left + from[0] * cell, top + from[1] * cell);
        context.lineTo(left + to[0] * cell, top + to[1] * cell);
      }
    }
    context.stroke();
    for (const row of app.rows) chart.drawPoint(context, row.x, lookOf(row));
    chart.drawCross(context, app.x);
    chart.end(context);
  }

  function lookOf(row) {
    const isSelected = points.isSelected(row);
    const value = row.target === null ? 0 : model.targetValues(row.target)[app.drawnOutput];
    const number = isLabel && row.target !== null ? Number(value > 0.5) : model.classOf(row.target);
    if (number !== null) {
      const shape = SHAPES[number % SHAPES.length];
      return { shape, fill: classColour(number), edge: ownColour("--background"), edgeWidth: 1, isSelected };
    }
    const [low, high] = range;
    const fill = `rgb(${signedColour(high > low ? (2 * (value - low)) / (high - low) - 1 : 0).join(" ")})`;
    return { shape: "circle", fill, edge: ownColour("--text"), edgeWidth: 1.5, isSelected };
  }

  const placeText = (x) =>
    Array.from(x, (value, axis) => `${names[axis]} = ${short(chart.inUnits(value, axis), 3)}`).join(", ");

  function update() {
    if (app.isNetworkNew) {
      evaluate();
      contours = paintAnswers().map(zeroLines);
    }
    draw();
    points.update();
    answers.update();
  }

  function updateLegend() {
    const { classes } = model;
    const drawn = classes[app.drawnOutput];
    const kinds = isLabel ? [`not ${drawn}`, String(drawn)] : classes.map((name) => `class ${name}`);
    const items = kinds.map((text, k) => element("li", {}, shapeMark(k), text));
    if (kinds.length) items.push(element("li", {}, element("span", { class: "line-mark" }), "boundary"));
    else items.push(element("li", {}, ends), element("li", {}, "The lines join places with the same prediction."));
    items.push(element("li", {}, element("span", { class: "cross-mark" }, "✛"), "the example of the sections below"));
    legend.replaceChildren(element("ul", { class: "legend" }, items));
  }

  /** The numbers of the nodes along both axes, in the units of the columns. */
  const nodeTexts = [0, 1].map((axis) => (node) => {
    const share = axis ? 1 - node / (NODES - 1) : node / (NODES - 1);
    return short(chart.inUnits(bounds[axis][0] + share * (bounds[axis][1] - bounds[axis][0]), axis), 3);
  });

  app.neuronPictures = {
    grid: null,
    what: "the output of a neuron over the plane: blue is positive, orange negative",
    where: "over the plane",
    paint: (place, values, most, scale) => paint(place, NODES, values, (value) => scale(value / most)),
    legend: signedLegend,
    table: (caption, values) => gridTable(caption, nodeTexts, (place) => short(values[place], 3)),
  };

  const answers = tableBehind("The answers as a table", () =>
    gridTable(`Answers of the network; ${names[1]} upward, ${names[0]} to the right`, nodeTexts, (place) => {
      const row = results[place];
      const text = model.answerText(row, (value) => short(value, 3));
      return model.isClassifier && model.structure.areProbabilities ? `${text} (${percent(Math.max(...row))})` : text;
    }),
  );

  const points = pointsOn(app, canvas, chart, {
    placeOf: (row) => row.x,
    put: (row, place) => row.x.set(place),
    inputsAt: (place) => place,
    crossAt: () => app.x,
    targetAt: () => (model.isClassifier ? newClass : newTargets.read()),
    textOf: placeText,
  });
  const newTargets = targetFields(model);
  const menu = model.isClassifier
    ? null
    : drawnOutputMenu(app, () => {
        contours = paintAnswers().map(zeroLines);
        updateLegend();
        draw();
      });

  const made = element(
    "div",
    { class: "plane-view" },
    element("p", { class: "axis" }, `Up: ${names[1]}. To the right: ${names[0]}.`),
    menu,
    canvas,
    legend,
    points.tools((target) => {
      newClass = target;
    }),
    newTargets.element,
    points.message,
    element(
      "p",
      { class: "hint", id: "plane-keys" },
      "Drag a point to move it. Keys: arrows move the cross or the selected point (with Shift in small steps), Enter adds a point, n and p select the next and the previous one, Delete removes it, Escape leaves it.",
    ),
    answers.element,
    points.behind.element,
  );
  new ResizeObserver(() => results.length && draw()).observe(canvas);
  return { element: made, update, restyle: updateLegend, legend: updateLegend };
}
