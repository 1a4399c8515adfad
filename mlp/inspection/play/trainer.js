// Training in the page: settings, buttons, the curve of the loss, and the weights as a file.

const CHEAP = 2e6; // multiplications from which on a score is computed in slices

function trainerView(app, { canRebuild, canSave }) {
  const { model } = app;
  const settings = trainingSettings(model, () => {
    training = null; // a changed setting takes effect at the next step; the optimizer's state starts again
  });
  const work = new SlicedWork(); // the training
  const scoring = new SlicedWork();
  let training = null;
  let goal = null; // of the training that runs: how many steps and epochs are to be done
  let seed = model.seed;
  let score = { n: 0, loss: NaN, right: NaN, epoch: 0, isCurrent: false };
  let epochs = 0;
  let stepsDone = 0;
  let pictureTime = 0; // milliseconds
  const history = [];
  const state = element("p", { class: "state", "aria-live": "off" });
  const news = element("p", { class: "news", "aria-live": "polite" });
  const curve = element("canvas", { class: "curve", role: "img" });
  const play = button("Train", toggle, { class: "primary" });
  const progress = element("progress", { "aria-label": "Progress of the epoch" });
  const progressText = element("span");
  const progressLine = element("p", { class: "progress", hidden: true }, progress, " ", progressText);

  const rowsWithTargets = () => app.rows.filter((row) => row.target !== null);
  const isCheap = () => app.rows.length * model.network.nParameters <= CHEAP;

  function current() {
    if (training) return training;
    const rows = rowsWithTargets();
    if (rows.length < 1) return null;
    training = new Training(
      model.network,
      rows.map((row) => row.x),
      rows.map((row) => model.targetRow(row.target)),
      settings.read(rows.length, seed),
      rows.map((row) => model.data.training.classWeights?.[model.classOf(row.target)] ?? 1),
    );
    return training;
  }

  /** Mean loss over all rows, and the share of right answers; without dropout. */
  function* scored() {
    const rows = rowsWithTargets();
    let loss = 0;
    let right = 0;
    const last = model.network.nLayers - 1;
    for (const row of rows) {
      const { z, a } = model.network.forward(row.x);
      loss += model.network.lossAndDelta(z[last], a[last], model.targetRow(row.target)).loss / rows.length;
      if (model.hasRight && model.isRight(model.results(a[last]), row.target)) right += 1;
      yield;
    }
    return { n: rows.length, loss, right: right / rows.length, epoch: epochs, isCurrent: true };
  }

  function forgetScore() {
    scoring.stop();
    score.isCurrent = false;
  }

  function* record() {
    if (!score.isCurrent) score = yield* scored();
    if (Number.isFinite(score.loss)) history.push({ epoch: epochs, step: stepsDone, loss: score.loss });
  }

  /** Train until the goal is reached; the value is what to say at the end. */
  function* trained() {
    if (!history.length) yield* record();
    while (stepsDone < goal.steps && epochs < goal.epochs) {
      const now = current();
      if (!now) return "There are no points with targets to train on: add some.";
      const { epoch } = now;
      yield* now.parts();
      stepsDone += 1;
      score.isCurrent = false;
      if (!model.network.parameters.every(Number.isFinite)) {
        startOver();
        return "The training diverged, and the network is as it was at first: choose a lower learning rate.";
      }
      yield "whole";
      if (now.epoch === epoch) continue;
      epochs += 1;
      yield* record();
    }
    return news.textContent;
  }

  function show() {
    if (isCheap()) score = finished(scored());
    else if (!score.isCurrent && !work.isRunning && !scoring.isRunning) {
      scoring.start(scored(), (found) => {
        score = found;
        showText();
      });
    }
    showText();
  }

  function showText() {
    const { n, loss, right } = score;
    const parts = [`Epoch ${epochs}, step ${stepsDone}`, `${rowsWithTargets().length} rows`];
    if (n && Number.isFinite(loss)) {
      parts.push(score.isCurrent ? `loss ${short(loss)}` : `loss ${short(loss)} after epoch ${score.epoch}`);
      if (model.hasRight) parts.push(`${percent(right)} right`);
    }
    if (training && settings.isScheduled) parts.push(`rate ${short(training.rate)}`);
    state.textContent = parts.join(" · ");
    play.textContent = work.isRunning ? "Pause" : "Train";
    progressLine.hidden = !work.isRunning || isCheap();
    if (!progressLine.hidden && training) {
      Object.assign(progress, { max: training.batches, value: training.batch });
      progressText.textContent = `batch ${training.batch} of ${training.batches} of this epoch`;
    }
    drawCurve(curve, history);
    behind.update();
  }

  /** After a slice of training: a picture, unless the pictures would take more time than the training. */
  function between() {
    app.isTraining = true;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const pause = Math.max(calm ? 1500 : 60, 2 * pictureTime);
    const now = performance.now();
    if (now - app.lastShown < pause) return;
    app.networkChanged();
    app.lastShown = performance.now();
    pictureTime = app.lastShown - now;
  }

  function finish(text) {
    news.textContent = text;
    app.isTraining = false;
    app.networkChanged();
  }

  /** Train so many more steps or epochs; a click while such a training runs adds to it. */
  function train(kind, count) {
    scoring.stop();
    const done = { steps: stepsDone, epochs }[kind];
    const from = work.isRunning && Number.isFinite(goal[kind]) ? Math.max(goal[kind], done) : done;
    goal = { steps: Infinity, epochs: Infinity, [kind]: from + count };
    if (work.isRunning) return;
    news.textContent = "";
    app.lastShown = 0;
    work.start(trained(), finish, between);
    showText();
  }

  function toggle() {
    if (!work.isRunning) return train("steps", Infinity);
    goal = { steps: 0, epochs: 0 }; // it ends after the step
    if (isCheap()) while (work.isRunning) work.complete();
  }

  function startOver() {
    work.stop();
    forgetScore();
    training = null;
    epochs = stepsDone = 0;
    history.length = 0;
    model.reset();
  }

  function startAgain() {
    startOver();
    finish("");
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
    work.complete(); // a step may be half done
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
  const made = element(
    "div",
    { class: "trainer" },
    partText(model),
    element(
      "p",
      { class: "buttons" },
      play,
      " ",
      button("One step", () => train("steps", 1)),
      " ",
      button("One epoch", () => train("epochs", 1)),
      " ",
      button("Start again", startAgain),
    ),
    state,
    progressLine,
    news,
    curve,
    behind.element,
    settings.elements,
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
    model.data.training.notes.map((text) => element("p", { class: "hint" }, text)),
  );
  new ResizeObserver(() => drawCurve(curve, history)).observe(curve);
  return {
    element: made,
    update: () => {
      if (app.isNetworkNew && !work.isRunning) forgetScore();
      show();
    },
    rowsChanged: () => {
      training = null;
      forgetScore();
    },
  };
}

/** That the page has fewer rows than the network was trained on; null if it has all, or if that is not known. */
function partText({ data }) {
  const { trainedRows } = data.training;
  if (trainedRows === null) return null;
  const [held, all] = [data.rows.n, trainedRows].map((n) => n.toLocaleString("en"));
  const what =
    data.part === "training"
      ? `This page holds only ${held} of the ${all} rows that the network was trained on.`
      : `This page holds ${held} rows, but the network was trained on ${all}.`;
  return element("p", { class: "warning" }, `${what} It goes on training on these alone, and may get worse at others.`);
}
