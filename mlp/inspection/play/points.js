// The rows of the page as points of a picture: looked at, moved, added and removed, with the pointer and with keys.

/**
 * `view` says how points lie in the picture: `placeOf` a row, `put` a row at a place, the network's `inputsAt` a place,
 * `crossAt` for the place of the cross, `targetAt` a place for a new row, and `textOf` inputs.
 */
function pointsOn(app, canvas, chart, view) {
  const { model } = app;
  const message = element("p", { class: "hint", "aria-live": "polite" });
  let tool = "look";
  let selected = null; // a row
  let held = null; // the row that is being dragged

  function nearest(at) {
    let best = null;
    let least = 12;
    for (const row of app.rows) {
      const [x, y] = chart.toCanvas(view.placeOf(row));
      const distance = Math.hypot(x - at[0], y - at[1]);
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  function look(x, row = null) {
    selected = row;
    app.set(x, row ? row.target : null, false, row ? app.rows.indexOf(row) : null);
  }

  function add(at) {
    const row = { x: Float64Array.from(view.inputsAt(at)), target: view.targetAt(at) };
    app.rows.push(row);
    app.rowsChanged();
    look(row.x, row);
  }

  function remove(row) {
    app.rows.splice(app.rows.indexOf(row), 1);
    app.rowsChanged();
    look(row.x);
  }

  function pixel(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const at = pixel(event);
    const row = nearest(at);
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    if (row && tool === "remove") remove(row);
    else if (row) {
      held = row;
      look(row.x, row);
    } else if (tool === "add") {
      add(chart.toPlace(at));
      held = selected;
    } else look(view.inputsAt(chart.toPlace(at)));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held && !(event.buttons && tool === "look")) return;
    const at = chart.toPlace(pixel(event));
    if (held) view.put(held, at);
    app.soon(() => look(held ? held.x : view.inputsAt(at), held));
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
      const share = event.shiftKey ? 0.005 : 0.03;
      const from = selected ? view.placeOf(selected) : view.crossAt();
      const to = chart.within(moves[event.key].map((sign, axis) => from[axis] + share * sign * chart.extent(axis)));
      if (selected) {
        view.put(selected, to);
        app.rowsChanged();
        look(selected.x, selected);
      } else look(view.inputsAt(to));
    } else if (event.key === "Enter") add(Array.from(view.crossAt()));
    else if (event.key === "n" && count) look(app.rows[(number + 1) % count].x, app.rows[(number + 1) % count]);
    else if (event.key === "p" && count)
      look(app.rows[(Math.max(number, 0) + count - 1) % count].x, app.rows[(Math.max(number, 0) + count - 1) % count]);
    else if ((event.key === "Delete" || event.key === "Backspace") && selected) remove(selected);
    else if (event.key === "Escape" && selected) look(Array.from(selected.x));
    else return;
    event.preventDefault();
  });

  function describe() {
    const lines = [`${app.rows.length} points.`];
    if (selected)
      lines.push(
        `Selected: point ${app.rows.indexOf(selected) + 1}, ${model.targetText(selected.target, short)}, at ${view.textOf(selected.x)}.`,
      );
    else lines.push(`The cross is at ${view.textOf(app.x)}.`);
    const text = lines.join(" ");
    if (message.textContent !== text && !app.isTraining) message.textContent = text;
  }

  /** What the pointer does; `onClass` is told the class of new points. */
  function tools(onClass) {
    const options = [["look", "Look and move"]];
    if (model.isClassifier) options.push(...model.classes.map((name, k) => [`add ${k}`, `Add ${name}`]));
    else options.push(["add", "Add"]);
    options.push(["remove", "Remove"]);
    return radios("The pointer", options, "look", (value) => {
      tool = value.startsWith("add") ? "add" : value;
      if (tool === "add" && model.isClassifier) onClass(model.targetOfClass(Number(value.slice(4))));
    });
  }

  const behind = tableBehind("The points as a table", () => {
    const rows = app.rows.map((row, k) => [
      String(k + 1),
      ...Array.from(row.x, (value, axis) => short(chart.inUnits(value, axis))),
      model.targetText(row.target, short),
      model.answerText(model.predict(row.x), short),
    ]);
    return table("Points", ["point", ...model.data.inputs, "target", "answer of the network"], rows);
  });

  return {
    message,
    tools,
    behind,
    isSelected: (row) => row === selected,
    update: () => {
      describe();
      behind.update();
    },
  };
}

/** A menu for the output that a picture shows, if there are several to choose from; the first one at first. */
function drawnOutputMenu(app, onChange) {
  const names = app.model.outputNames;
  app.drawnOutput = 0;
  if (names.length < 2) return null;
  const options = names.map((name, k) => [String(k), name]);
  const menu = choice(options, "0", (value) => {
    app.drawnOutput = Number(value);
    onChange();
  });
  return element("div", { class: "fields" }, labelled("Drawn output", menu));
}

/** The mark of points of a class, for a legend. */
function shapeMark(number, shape = SHAPES[number % SHAPES.length]) {
  const mark = element("canvas", { width: 36, height: 36, class: "mark", "aria-hidden": "true" });
  const context = mark.getContext("2d");
  shapePath(context, shape, 18, 18, 11);
  context.fillStyle = classColour(number);
  context.fill();
  return mark;
}

/** Controls for the numbers or the labels of new points, and a function that reads them; none for classes. */
function targetFields(model) {
  if (model.isClassifier) return { element: null };
  const names = model.hasOneTarget ? ["all quantiles"] : model.outputNames;
  const isLabel = model.structure.task === "labels";
  const text = (k) => (names.length > 1 ? `Target of new points: ${names[k]}` : "Target of new points");
  const inputs = names.map(() =>
    element("input", isLabel ? { type: "checkbox" } : { type: "number", step: "any", value: 0 }),
  );
  const numbers = () => element("div", { class: "fields" }, ...inputs.map((input, k) => labelled(text(k), input)));
  const labels = () =>
    element(
      "fieldset",
      { class: "radios" },
      element("legend", {}, "Labels of new points"),
      inputs.map((input, k) => element("label", {}, input, element("span", {}, names[k]))),
    );
  return {
    element: isLabel ? labels() : numbers(),
    read: () => {
      const values = inputs.map((input) => (isLabel ? Number(input.checked) : Number(input.value) || 0));
      return model.targetOfValues(model.outputNames.map((_, k) => values[k] ?? values[0]));
    },
  };
}
