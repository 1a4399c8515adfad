// Training in the page: settings, buttons, the curve of the loss, and the weights as a file.

const PIECE = 24; // milliseconds of training between two pictures

function trainerView(app, { canRebuild, canSave }) {
  const { model } = app;
  const { rules } = model.data.training;
  let { rule, batchSize } = model.data.training;
  let training = null;
  let running = false;
  let shuffle = true;
  let seed = model.seed;
  const history = [];
  const state = element("p", { class: "state", "aria-live": "off" });
  const news = element("p", { class: "news", "aria-live": "polite" });
  const curve = element("canvas", { class: "curve", role: "img" });
  const play = button("Train", toggle, { class: "primary" });
  const rate = numberInput(rules[rule].rate, 0, (value) => restart({ rate: value }));
  const momentum = numberInput(0.9, 0, (value) => restart({ momentum: value }));
  const momentumField = labelled("Momentum", momentum);

  function numberInput(value, least, onChange) {
    const made = element("input", { type: "number", step: "any", min: least, value });
    made.addEventListener("change", () => {
      const read = Number(made.value);
      if (made.value !== "" && Number.isFinite(read) && read >= least) onChange(read);
    });
    return made;
  }

  /** A changed setting takes effect at the next step; the optimizer's state starts again. */
  function restart({ rate: newRate, momentum: newMomentum } = {}) {
    if (newRate !== undefined) rules[rule].rate = newRate;
    if (newMomentum !== undefined) rules[rule].hyper.momentum = newMomentum;
    rate.value = rules[rule].rate;
    momentumField.hidden = rules[rule].hyper.momentum === undefined;
    if (!momentumField.hidden) momentum.value = rules[rule].hyper.momentum;
    training = null;
  }

  function current() {
    if (training) return training;
    const rows = app.rows.filter((row) => row.target !== null);
    if (rows.length < 1) return null;
    training = new Training(
      model.network,
      rows.map((row) => row.x),
      rows.map((row) => model.targetRow(row.target)),
      {
        rule,
        hyper: rules[rule].hyper,
        learningRate: rules[rule].rate,
        batchSize: Math.max(1, Math.min(batchSize, rows.length)),
        shuffle,
        seed,
      },
    );
    return training;
  }

  /** Mean loss over all rows, and the share of right answers; without dropout. */
  function score() {
    const rows = app.rows.filter((row) => row.target !== null);
    let loss = 0;
    let right = 0;
    const last = model.network.nLayers - 1;
    for (const row of rows) {
      const { z, a } = model.network.forward(row.x);
      loss += model.network.lossAndDelta(z[last], a[last], model.targetRow(row.target)).loss / rows.length;
      const results = model.results(a[last]);
      if (model.hasRight && model.isRight(results, row.target)) right += 1;
    }
    return { n: rows.length, loss, right: right / rows.length };
  }

  function advance(steps) {
    const now = current();
    if (!now) {
      news.textContent = "There are no points with targets to train on: add some.";
      return false;
    }
    steps(now);
    if (!model.network.parameters.every(Number.isFinite)) {
      news.textContent = "The training diverged, and the network is as it was at first: choose a lower learning rate.";
      startOver();
      return false;
    }
    return true;
  }

  function record() {
    const { loss } = score();
    history.push({ epoch: epochs, step: stepsDone, loss });
  }

  let pictureTime = 0; // milliseconds
  let epochs = 0;
  let stepsDone = 0;

  function one(now) {
    const { epoch } = now;
    now.next();
    stepsDone += 1;
    if (now.epoch > epoch) {
      epochs += 1;
      if (Number.isFinite(now.losses[epoch])) record();
    }
  }

  function show() {
    const { n, loss, right } = score();
    const parts = [`Epoch ${epochs}, step ${stepsDone}`, `${n} rows`];
    if (n) parts.push(`loss ${short(loss)}`);
    if (n && model.hasRight) parts.push(`${percent(right)} right`);
    state.textContent = parts.join(" · ");
    play.textContent = running ? "Pause" : "Train";
    drawCurve(curve, history);
    behind.update();
  }

  function loop() {
    if (!running) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const end = performance.now() + Math.max(PIECE, pictureTime); // half of the time at least is for training
    const worked = advance((now) => {
      do one(now);
      while (performance.now() < end);
    });
    app.isTraining = running;
    const due = performance.now() - app.lastShown > (calm ? 1500 : 60);
    if (due || !worked) {
      app.lastShown = performance.now();
      app.networkChanged();
      show();
      pictureTime = performance.now() - app.lastShown;
    }
    if (running) setTimeout(loop, 0);
    else finish();
  }

  function finish() {
    running = false;
    app.isTraining = false;
    app.networkChanged();
    show();
  }

  function toggle() {
    if (running) return finish();
    news.textContent = "";
    running = true;
    app.lastShown = 0;
    if (!history.length && current()) record();
    loop();
    show();
  }

  function pieces(steps) {
    running = false;
    news.textContent = "";
    if (!history.length && current()) record();
    advance(steps);
    finish();
  }

  function startOver() {
    running = false;
    training = null;
    epochs = stepsDone = 0;
    history.length = 0;
    model.reset();
  }

  function startAgain() {
    news.textContent = "";
    startOver();
    finish();
  }

  function rebuild() {
    const hidden =
      hiddenInput.value.trim() === "" || hiddenInput.value.trim() === "none"
        ? []
        : hiddenInput.value.split(",").map(Number);
    if (!hidden.every((width) => Number.isInteger(width) && width >= 1 && width <= 128) || hidden.length > 6) {
      news.textContent = "Hidden layers: up to six whole numbers from 1 to 128 with commas, such as 8,8.";
      return;
    }
    const wanted = seedInput.value.trim();
    if (!/^\d{1,19}$/.test(wanted)) {
      news.textContent = "The seed is a whole number of 0 or more.";
      return;
    }
    seed = BigInt(wanted);
    model.rebuild({ hidden, activation: activationMenu.value, seed });
    app.structureChanged();
    startAgain();
    news.textContent = `New weights from seed ${seed}.`;
  }

  async function save() {
    const url = URL.createObjectURL(await modelFile(model));
    const link = element("a", { href: url, download: "network.safetensors" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    news.textContent = 'Saved as network.safetensors; in Python: mlp.load("network.safetensors").';
  }

  const behind = tableBehind("The losses as a table", () => {
    const every = Math.max(1, Math.ceil(history.length / 100));
    const rows = history.filter((_, k) => k % every === 0 || k === history.length - 1);
    return table(
      "Loss on all rows",
      ["epoch", "steps", "loss"],
      rows.map(({ epoch, step, loss }) => [String(epoch), String(step), short(loss)]),
    );
  });

  const menu = choice(
    Object.entries(rules).map(([key, { label }]) => [key, label]),
    rule,
    (value) => {
      rule = value;
      restart();
    },
  );
  const batches = numberInput(batchSize, 1, (value) => {
    batchSize = Math.round(value);
    training = null;
  });
  const hiddenInput = element("input", {
    type: "text",
    value: model.structure.sizes.slice(1, -1).join(","),
    spellcheck: "false",
  });
  const seedInput = element("input", { type: "text", inputmode: "numeric", value: String(model.seed) });
  const trainable = Object.entries(FORMULAS.activations).filter(
    ([name, row]) => row.backward && !row.rowwise && name !== "exp",
  );
  const activationMenu = choice(
    trainable.map(([name]) => [name, name]),
    model.structure.activations[0],
    () => {},
  );
  const order = element("input", {
    type: "checkbox",
    checked: true,
    change: () => {
      shuffle = order.checked;
      training = null;
    },
  });

  const made = element(
    "div",
    { class: "trainer" },
    element(
      "p",
      { class: "buttons" },
      play,
      " ",
      button("One step", () => pieces(one)),
      " ",
      button("One epoch", () =>
        pieces((now) => {
          const { epoch } = now;
          while (now.epoch === epoch) one(now);
        }),
      ),
      " ",
      button("Start again", startAgain),
    ),
    state,
    news,
    curve,
    behind.element,
    element(
      "div",
      { class: "fields" },
      labelled("Optimizer", menu),
      labelled("Learning rate", rate),
      momentumField,
      labelled("Batch size", batches),
      element("label", { class: "check" }, order, element("span", {}, "New order of the rows in each epoch")),
    ),
    canRebuild
      ? element(
          "div",
          { class: "fields" },
          labelled("Hidden layers", hiddenInput),
          labelled("Activation", activationMenu),
          labelled("Seed", seedInput),
          button("New network", rebuild),
        )
      : null,
    canSave ? element("p", {}, button("Save the weights", save)) : null,
    element(
      "p",
      { class: "hint" },
      "The page trains as fit does, with the same order of the rows, batches and dropout masks from the same seed.",
    ),
  );
  restart();
  new ResizeObserver(() => drawCurve(curve, history)).observe(curve);
  return {
    element: made,
    update: show,
    rowsChanged: () => {
      training = null;
    },
  };
}
