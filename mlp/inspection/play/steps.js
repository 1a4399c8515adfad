// One example step by step: a list of the steps, and one of them with its formula and numbers.

const LARGE = 300_000; // parameters from which on the steps wait until the example stays the same

function stepsView(app) {
  const { model } = app;
  let current = 0;
  let entry = null; // null: the one with the largest value
  let steps = [];
  let target = null;
  let changed = false; // whether the reader chose the target
  const lists = { forward: element("ol"), backward: element("ol") };
  const detail = element("div", { class: "step" });
  const spoken = element("p", { class: "hidden", "aria-live": "polite" });
  const back = button("Back", () => go(current - 1));
  const next = button("Next", () => go(current + 1));
  const targetField = element("div", { class: "fields" });
  const stepOf = (k) => phases.querySelector(`[data-step="${k}"]`);

  function go(k) {
    current = Math.max(0, Math.min(steps.length - 1, k));
    entry = null;
    show();
    spoken.textContent = `${steps[current].phase}, step ${current + 1} of ${steps.length}: ${steps[current].title}`;
  }

  function chooseTarget() {
    if (app.target !== null) target = app.target;
    else {
      const results = model.results(app.pass.a[model.network.nLayers - 1]);
      if (model.isClassifier) target = model.targetOfClass(results.indexOf(Math.max(...results)));
      else target = Array.from(app.pass.a[model.network.nLayers - 1], () => 0);
    }
    showTarget();
  }

  function showTarget() {
    if (model.isClassifier) {
      const options = model.classes.map((name, k) => [String(k), name]);
      targetField.replaceChildren(
        labelled(
          "Target: the right class",
          choice(options, String(model.classOf(target)), (value) => {
            target = model.targetOfClass(Number(value));
            changed = true;
            compute();
          }),
        ),
      );
      return;
    }
    const scaling = model.structure.targetScaling;
    const fields = Array.from(model.targetRow(target))
      .slice(0, 6)
      .map((value, j) => {
        const [shift, scale] = scaling ? [scaling[0][j], scaling[1][j]] : [0, 1];
        const input = element("input", {
          type: "number",
          step: "any",
          value: Number((value * scale + shift).toPrecision(6)),
        });
        input.addEventListener("input", () => {
          target = Array.from(model.targetRow(target));
          target[j] = ((Number(input.value) || 0) - shift) / scale;
          changed = true;
          compute();
        });
        return labelled(
          model.classes[j]
            ? `Target of ${model.classes[j]}`
            : model.network.sizes[model.network.nLayers] > 1
              ? `Target ${j + 1}`
              : "Target",
          input,
        );
      });
    targetField.replaceChildren(...fields);
  }

  function compute() {
    steps = stepsOf(model, app.pass, model.targetRow(target));
    current = Math.min(current, steps.length - 1);
    for (const phase of ["forward", "backward"]) {
      const items = steps.map((step, k) => [step, k]).filter(([step]) => step.phase === phase);
      if (lists[phase].children.length !== items.length) {
        lists[phase].replaceChildren(
          ...items.map(([step, k]) =>
            element(
              "li",
              {},
              button("", () => go(k), { "data-step": k, title: step.title }),
            ),
          ),
        );
      }
      items.forEach(([step], k) => {
        const made = lists[phase].children[k].firstChild;
        if (made.dataset.symbol !== step.short) {
          made.dataset.symbol = step.short;
          made.replaceChildren(...rich(step.short), element("span", { class: "hidden" }, `: ${step.title}, ${phase}`));
        }
      });
    }
    show();
  }

  function show() {
    const step = steps[current];
    for (const made of phases.querySelectorAll("[data-step]")) {
      const isCurrent = Number(made.dataset.step) === current;
      made.tabIndex = isCurrent ? 0 : -1; // one stop for the tab key; the arrows go on from there
      if (isCurrent) made.setAttribute("aria-current", "step");
      else made.removeAttribute("aria-current");
    }
    back.disabled = current === 0;
    next.disabled = current === steps.length - 1;
    const { values } = step;
    const order = largestPlaces(values, SHOWN_VALUES);
    const k = entry !== null && entry < values.length ? entry : order[0];
    const shown = values.length <= SHOWN_VALUES ? Array.from(values.keys()) : order;
    const label = (i) =>
      step.columns
        ? `input ${Math.floor(i / step.columns) + 1} → neuron ${(i % step.columns) + 1}`
        : step.short === "L"
          ? "L"
          : `neuron ${i + 1}`;
    const rows = shown.map((i) => {
      const pick = button(
        "show",
        () => {
          entry = i;
          show();
          detail.querySelector(`[data-entry="${i}"]`).focus(); // the button was made again
        },
        { "data-entry": i, "aria-label": `Show the numbers of ${label(i)}`, class: "small" },
      );
      return [label(i), short(values[i]), pick];
    });
    const caption =
      values.length > SHOWN_VALUES
        ? `The ${SHOWN_VALUES} largest of ${values.length.toLocaleString("en")} values`
        : "The values";
    detail.className = `step ${step.phase}`;
    detail.replaceChildren(
      element(
        "div",
        {},
        element(
          "p",
          { class: "phase" },
          step.phase === "forward" ? "Forward →" : "← Backward",
          ` · step ${current + 1} of ${steps.length}`,
        ),
        element("h3", {}, step.title),
        element("p", { class: "formula" }, rich(step.formula)),
        element("p", {}, rich(step.sentence)),
        element("p", { class: "formula numbers" }, rich(step.entry(k))),
      ),
      table(caption, [step.columns ? "weight" : "neuron", step.short, "numbers"], rows),
    );
  }

  let delayed = null;

  function update() {
    if (app.isTraining) return; // it is shown again at the end
    clearTimeout(delayed);
    if (model.network.nParameters < LARGE || !steps.length) renew();
    else delayed = setTimeout(renew, 300);
  }

  function renew() {
    if (!changed || app.target !== null) {
      changed = false;
      chooseTarget();
    }
    compute();
  }

  const phases = element(
    "div",
    { class: "phases" },
    element("div", { class: "forward" }, element("h3", {}, "Forward →"), lists.forward),
    element(
      "div",
      { class: "backward" },
      element("h3", {}, "← Backward"),
      model.network.isDifferentiable
        ? lists.backward
        : element("p", {}, "An activation has no derivative, so there is no backward pass."),
    ),
  );
  phases.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: steps.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    go(moves[event.key]);
    stepOf(current).focus();
  });
  const made = element(
    "div",
    {},
    targetField,
    phases,
    element("p", { class: "buttons" }, back, " ", next),
    element("p", { class: "hint" }, "Keys: on a step, the left and right arrows go to the step before and after it."),
    detail,
    spoken,
  );
  return { element: made, update };
}
