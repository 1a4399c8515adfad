// The curve of a network with one input, and points to drag, add and remove; each neuron has a curve of its own.

const CURVE_NODES = 241; // the network is evaluated at so many inputs
const CURVE_STEP = 12; // of the nodes that a table has

function curveView(app) {
  const { model } = app;
  const canvas = element("canvas", {
    class: "plane",
    tabindex: "0",
    role: "application",
    "aria-label": "Curve of the network over the input",
    "aria-describedby": "plane-keys",
  });
  const [name] = model.data.inputs;
  const column = model.data.columns?.[0];
  const isNumber = model.structure.task === "numbers";
  const legend = element("div");
  const axis = element("p", { class: "axis" });
  const units = (k) => (k === 0 && column && !column.clipped ? [column.shift, column.scale] : [0, 1]);
  const chart = chartOn(canvas, { left: 60, heightOf: (width) => Math.round(0.75 * width), units });
  const nodes = nodesOf(app.rows);
  let results = []; // of the network at the nodes
  let newClass = model.targetOfClass(0);
  app.drawnOutput = 0;

  function nodesOf(rows) {
    const [low, high] = rangeOf(
      rows.map((row) => row.x[0]),
      column ? [-2.5, 2.5] : [-3.5, 3.5],
    );
    const margin = 0.06 * Math.max(high - low, 1e-3);
    chart.bounds[0] = [low - margin, high + margin];
    return Float64Array.from(
      { length: CURVE_NODES },
      (_, k) => low - margin + (k / (CURVE_NODES - 1)) * (high - low + 2 * margin),
    );
  }

  /** Outputs of every neuron at the nodes; the other views use them too. */
  function evaluate() {
    const { network } = model;
    const grid = network.sizes.slice(1).map((n) => Array.from({ length: n }, () => new Float64Array(CURVE_NODES)));
    results = Array.from(nodes, (x, i) => {
      const { a } = network.forward([x]);
      a.forEach((layer, l) => layer.forEach((value, k) => (grid[l][k][i] = value)));
      return model.results(a[a.length - 1]);
    });
    app.neuronPictures.grid = grid;
  }

  const answerAt = (x) => model.predict(x)[app.drawnOutput];
  const heightOf = (row) => (row.target === null ? answerAt(row.x) : model.targetValues(row.target)[app.drawnOutput]);

  /** The points with a margin, and as much of the curve as leaves them half of the height. */
  function fitHeight() {
    if (model.structure.areProbabilities) {
      chart.bounds[1] = [-0.08, 1.08];
      return;
    }
    const curve = rangeOf(results.map((row) => row[app.drawnOutput]));
    const known = app.rows.filter((row) => row.target !== null);
    const [low, high] = rangeOf(known.map(heightOf), curve);
    const height = Math.max(high - low, 1e-3 * Math.max(1, Math.abs(high)));
    const from = Math.min(low - 0.15 * height, Math.max(curve[0], low - height / 2));
    const to = Math.max(high + 0.15 * height, Math.min(curve[1], high + height / 2));
    chart.bounds[1] = [from, to];
  }

  function draw() {
    const context = chart.begin();
    if (!context) return;
    if (isNumber) drawPoints(context); // many may surround the curve; those of classes lie on it
    drawAnswers(context);
    if (!isNumber) drawPoints(context);
    chart.drawCross(context, crossAt());
    chart.end(context);
  }

  function drawPoints(context) {
    for (const row of app.rows) chart.drawPoint(context, [row.x[0], heightOf(row)], lookOf(row));
  }

  /** The curve of the drawn output; also those of the other quantiles, as thin lines. */
  function drawAnswers(context) {
    if (model.hasOneTarget) {
      const others = model.outputNames.map((_, k) => k).filter((k) => k !== app.drawnOutput);
      for (const k of others) drawLine(context, k, [[1.5, "--text"]]);
    }
    drawLine(context, app.drawnOutput, [
      [6, "--background"],
      [3, "--accent"],
    ]);
  }

  function drawLine(context, output, strokes) {
    context.beginPath();
    nodes.forEach((x, k) => {
      const at = chart.toCanvas([x, results[k][output]]);
      if (k) context.lineTo(...at);
      else context.moveTo(...at);
    });
    context.lineJoin = "round";
    for (const [width, colour] of strokes) {
      context.lineWidth = width;
      context.strokeStyle = ownColour(colour);
      context.stroke();
    }
  }

  function lookOf(row) {
    const number = model.classOf(row.target) ?? 1;
    return {
      shape: isNumber ? "circle" : SHAPES[number % SHAPES.length],
      fill: classColour(number),
      edge: ownColour("--background"),
      edgeWidth: 1,
      isSelected: points.isSelected(row),
    };
  }

  const crossAt = () => [app.x[0], answerAt(app.x)];
  const inputText = (x) => `${name} = ${short(chart.inUnits(x[0], 0), 3)}`;

  /** The values of a target with the one that is drawn at a height; quantiles have the same target. */
  function withHeight(values, height) {
    const here = isNumber ? height : Number(height > 0.5);
    return values.map((value, k) => (k === app.drawnOutput || model.hasOneTarget ? here : value));
  }

  /** Only numbers and labels follow the height; other points keep their class. */
  function put(row, [x, height]) {
    row.x[0] = x;
    if (model.isClassifier || row.target === null) return;
    row.target = model.targetOfValues(withHeight(model.targetValues(row.target), height));
  }

  /** The target of a new point: the height for the output that is drawn, and for the others what the network answers. */
  function targetAt([x, height]) {
    if (model.isClassifier) return newClass;
    const values = model.predict([x]).map((value) => (isNumber ? value : Number(value > 0.5)));
    return model.targetOfValues(withHeight(values, height));
  }

  function showOutput() {
    const drawn = model.outputNames[app.drawnOutput];
    const what = isNumber
      ? model.outputNames.length > 1
        ? `the predicted number, ${drawn}`
        : "the predicted number"
      : `the ${model.structure.areProbabilities ? "probability" : "score"} of ${drawn}`;
    axis.textContent = `Up: ${what}. To the right: ${name}.`;
    const kinds = model.isClassifier ? model.classes.map((each) => `class ${each}`) : [];
    const marks = kinds.map((text, k) => element("li", {}, shapeMark(k), text));
    if (!model.isClassifier)
      marks.push(element("li", {}, shapeMark(1, isNumber ? "circle" : SHAPES[1]), "points with their targets"));
    legend.replaceChildren(
      element(
        "ul",
        { class: "legend" },
        element("li", {}, element("span", { class: "line-mark curve-mark" }), "what the network answers"),
        model.hasOneTarget
          ? element("li", {}, element("span", { class: "line-mark thin-mark" }), "the other quantiles")
          : null,
        marks,
        element("li", {}, element("span", { class: "cross-mark" }, "✛"), "the example of the sections below"),
      ),
    );
  }

  function update() {
    if (app.isNetworkNew) {
      evaluate();
      if (!app.isTraining) fitHeight(); // the picture does not jump while it changes
    }
    draw();
    points.update();
    answers.update();
  }

  app.neuronPictures = {
    grid: null,
    what: `the output of a neuron over ${name}: the higher the line, the larger; the thin line is zero`,
    where: `over ${name}`,
    paint: (place, values, most) => drawNeuronCurve(place, values, most),
    legend: (most) => element("p", { class: "legend" }, `From −${short(most, 2)} to ${short(most, 2)}`),
    table: (caption, values) =>
      table(
        caption,
        [name, "output"],
        tableNodes.map((k) => [short(chart.inUnits(nodes[k], 0)), short(values[k])]),
      ),
  };

  const tableNodes = Array.from({ length: (CURVE_NODES - 1) / CURVE_STEP + 1 }, (_, k) => k * CURVE_STEP);
  const answers = tableBehind("The curve as a table", () =>
    table(
      "Answers of the network",
      [name, ...model.outputNames.map((text) => (isNumber && model.outputNames.length === 1 ? "prediction" : text))],
      tableNodes.map((k) => [
        short(chart.inUnits(nodes[k], 0)),
        ...results[k].map((value) => (model.structure.areProbabilities ? percent(value) : short(value))),
      ]),
    ),
  );

  const points = pointsOn(app, canvas, chart, {
    placeOf: (row) => [row.x[0], heightOf(row)],
    put,
    inputsAt: ([x]) => [x],
    crossAt,
    targetAt,
    textOf: inputText,
  });
  const menu = drawnOutputMenu(app, () => {
    fitHeight();
    showOutput();
    draw();
  });

  const vertical = model.isClassifier
    ? "Left and right move the cross or the selected point"
    : "arrows move the selected point, left and right the cross along the curve";
  const made = element(
    "div",
    { class: "plane-view" },
    axis,
    menu,
    canvas,
    legend,
    points.tools((target) => {
      newClass = target;
    }),
    points.message,
    element(
      "p",
      { class: "hint", id: "plane-keys" },
      `Drag a point to move it. Keys: ${vertical} (with Shift in small steps), Enter adds a point at the cross, n and p select the next and the previous one, Delete removes it, Escape leaves it.`,
    ),
    answers.element,
    points.behind.element,
  );
  new ResizeObserver(() => results.length && draw()).observe(canvas);
  return { element: made, update, restyle: showOutput, legend: showOutput };
}

/** The curve of a neuron's output; `most` is the height above zero and below it. */
function drawNeuronCurve(canvas, values, most) {
  const density = Math.min(3, globalThis.devicePixelRatio || 1);
  const size = (canvas.classList.contains("large") ? 176 : 84) * density;
  Object.assign(canvas, { width: size, height: size });
  const context = canvas.getContext("2d");
  const at = (k) => [(k / (values.length - 1)) * size, (0.5 - (0.44 * values[k]) / most) * size];
  context.fillStyle = ownColour("--background");
  context.fillRect(0, 0, size, size);
  context.lineWidth = density;
  context.strokeStyle = ownColour("--muted");
  context.beginPath();
  context.moveTo(0, size / 2);
  context.lineTo(size, size / 2);
  context.stroke();
  context.lineWidth = 2 * density;
  context.strokeStyle = ownColour("--accent");
  context.beginPath();
  values.forEach((_, k) => (k ? context.lineTo(...at(k)) : context.moveTo(...at(k))));
  context.stroke();
}
