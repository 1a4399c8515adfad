// The page: what is shown, and what happens when it changes.

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const model = new Model(data);
  const views = [];
  const app = {
    model,
    rows: model.rows.map((row) => ({ ...row })),
    x: new Float64Array(model.network.sizes[0]),
    pass: null,
    target: null, // of the example that is shown; null if it is not known
    example: null, // its number, if it is a row of the page
    isEmpty: true,
    isNetworkNew: true,
    isTraining: false,
    lastShown: 0,
    neuronPictures: null, // outputs of all neurons over one or two inputs, and how they are shown
    drawnOutput: 0, // of those that the picture can show
  };

  function updateAll() {
    app.pass = model.network.forward(app.x);
    for (const view of views) view.update();
    app.isNetworkNew = false;
  }

  /** Show another example. */
  app.set = (x, target = null, isEmpty = false, example = null) => {
    Object.assign(app, { x: Float64Array.from(x), target, isEmpty, example });
    updateAll();
  };

  app.networkChanged = () => {
    app.isNetworkNew = true;
    updateAll();
  };

  app.structureChanged = () => {
    document.getElementById("structure").textContent = structureText(model);
    app.networkChanged();
  };

  app.rowsChanged = () => {
    for (const view of views) view.rowsChanged?.();
  };

  /** Call a function once before the next picture, however often it is asked for. */
  let waiting = null;
  app.soon = (change) => {
    if (!waiting) {
      requestAnimationFrame(() => {
        const latest = waiting;
        waiting = null;
        latest();
      });
    }
    waiting = change;
  };

  function mount(id, view) {
    document.getElementById(id).append(view.element);
    views.push(view);
    return view;
  }

  document.getElementById("structure").textContent = structureText(model);
  let input;
  const hasPoints = data.kind === "plane" || data.kind === "curve";
  if (hasPoints) {
    input = mount("input", data.kind === "plane" ? planeView(app) : curveView(app)); // first: the others show its grid
    input.legend();
    mount("output", outputsView(app));
  } else {
    const outputs = outputsView(app);
    input = mount(
      "input",
      data.kind === "image" ? drawingView(app) : data.inputs ? slidersView(app, outputs) : noInput(),
    );
    mount("output", outputs);
  }
  if (app.rows.length && !hasPoints) {
    document.getElementById("input").prepend(exampleChooser(app, input));
  }
  mount("neurons", neuronsView(app));
  mount("steps", stepsView(app));
  const trainingPlace = document.getElementById("training");
  if (trainingPlace) mount("training", trainerView(app, { canRebuild: data.playground, canSave: true }));

  if (input.begin) input.begin();
  else if (hasPoints) app.set(app.rows[0]?.x ?? app.x, app.rows[0]?.target ?? null, false, app.rows.length ? 0 : null);
  else if (app.rows.length) showExample(app, input, 0);
  else app.set(app.x, null, true);
  input.redraw?.();
  document.documentElement.dataset.ready = "";

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    input.redraw?.();
    input.restyle?.();
    app.networkChanged();
  });
}

function structureText(model) {
  const { sizes, activations } = model.structure;
  return `${sizes.join("-")}, ${activations.join(", ")}, ${model.network.nParameters.toLocaleString("en")} parameters`;
}

function showExample(app, input, k) {
  const row = app.rows[k];
  if (input.showRow) input.showRow(row, k);
  else app.set(row.x, row.target, false, k);
}

/** Buttons and a number for the rows that the page holds. */
function exampleChooser(app, input) {
  const number = element("input", { type: "number", min: 1, max: app.rows.length, value: 1 });
  const go = (k) => {
    const place = (k + app.rows.length) % app.rows.length;
    number.value = place + 1;
    showExample(app, input, place);
  };
  number.addEventListener("change", () => {
    const wanted = Math.round(Number(number.value));
    if (wanted >= 1 && wanted <= app.rows.length) go(wanted - 1);
  });
  const current = () => Math.round(Number(number.value)) - 1;
  return element(
    "div",
    { class: "fields examples" },
    labelled(`Example (1 to ${app.rows.length})`, number),
    button("Previous", () => go(current() - 1)),
    button("Next", () => go(current() + 1)),
  );
}

function noInput() {
  const text =
    "The network has too many inputs for a slider each. Give rows when you write the page, and choose one here.";
  return { element: element("p", {}, text), update: () => {} };
}

start();
