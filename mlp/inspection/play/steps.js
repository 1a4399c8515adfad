// One example step by step: forward from the input to the loss, and backward from the loss to the first weights.

const SHOWN_TERMS = 3;
const SHOWN_VALUES = 12;

/** "0.5 · 0.12 + ... = 0.3": the largest terms of a sum, what the others add, and the result. */
function sumText(products, factors, extra, result) {
  const order = Array.from(products.keys()).sort((i, j) => Math.abs(products[j]) - Math.abs(products[i]));
  const shown = order.slice(0, SHOWN_TERMS);
  const rest = order.slice(SHOWN_TERMS).reduce((sum, i) => sum + products[i], 0);
  const terms = shown.map((i) => factors(i).map(inBrackets).join(" · "));
  if (order.length > SHOWN_TERMS) terms.push(`${inBrackets(short(rest))} from ${order.length - SHOWN_TERMS} more`);
  if (extra !== null) terms.push(inBrackets(extra));
  return `${terms.join(" + ")} = ${short(result)}`;
}

function inBrackets(text) {
  const written_ = typeof text === "number" ? short(text) : text;
  return written_.startsWith("−") ? `(${written_})` : written_;
}

/** All steps for the present example, in order: phase, title, formula, sentence, values, and the numbers of an entry. */
function stepsOf(model, pass, target) {
  const { network, data } = model;
  const { formulas } = data;
  const last = network.nLayers - 1;
  const name = (l) => model.structure.activations[l];
  const gradient = new Float64Array(network.nParameters);
  const back = network.backward(pass, target, gradient);
  const grads = network.views(gradient);
  const steps = [];
  const weight = (l, i, j) => network.layers[l].W[i * network.layers[l].nOut + j];
  const index = (letter, l, i) => symbol(letter, l, i + 1);

  for (let l = 0; l <= last; l++) {
    const n = l + 1;
    const x = pass.inputs[l];
    const { b, nIn } = network.layers[l];
    steps.push({
      phase: "forward",
      title: `Sums of layer ${n}`,
      short: symbol("z", n),
      formula: `${symbol("z", n)} = ${symbol("a", n - 1)} · ${symbol("W", n)} + ${symbol("b", n)}`,
      sentence: `Each of the ${b.length} neurons adds up its ${nIn} inputs, each times a weight, and its bias.${l === 0 ? ` ${symbol("a", 0)} is the input.` : ""}`,
      values: pass.z[l],
      entry: (j) => {
        const products = Array.from(x, (value, i) => value * weight(l, i, j));
        return `${index("z", n, j)} = ${sumText(products, (i) => [x[i], weight(l, i, j)], b[j], pass.z[l][j])}`;
      },
    });
    steps.push({
      phase: "forward",
      title: l === last ? "Output" : `Outputs of layer ${n}`,
      short: symbol("a", n),
      formula: `${symbol("a", n)} = ${formulas.layers[l].a}`,
      sentence: network.rows[l].rowwise
        ? `The activation ${name(l)} turns the sums into shares of 1.`
        : `The activation ${name(l)} is applied to each sum.`,
      values: pass.a[l],
      entry: (j) => `${index("a", n, j)} = ${network.rows[l].rowwise ? `entry ${j + 1} of ${name(l)}(${symbol("z", n)})` : `${name(l)}(${short(pass.z[l][j])})`} = ${short(pass.a[l][j])}`,
    });
  }
  steps.push({
    phase: "forward",
    title: "Loss",
    short: "L",
    formula: `L = ${formulas.loss}`,
    sentence: `The loss ${model.structure.loss} compares the output with the target t: the smaller, the better.`,
    values: [back.loss],
    entry: () => `t = (${Array.from(target, (value) => short(value)).slice(0, SHOWN_VALUES).join(", ")}), L = ${short(back.loss)}`,
  });
  for (let l = last; l >= 0; l--) {
    const n = l + 1;
    const dz = `∂L/∂${symbol("z", n)}`;
    const x = pass.inputs[l];
    if (l === last) {
      steps.push({
        phase: "backward",
        title: `Derivative by the sums of layer ${n}`,
        short: dz,
        formula: `${dz} = ${formulas.delta}`,
        sentence: "How the loss changes with each sum of the last layer. From here on everything goes backward.",
        values: back.dz[l],
        entry: (j) => `∂L/∂${index("z", n, j)} = ${short(back.dz[l][j])}; the output there is ${short(pass.a[l][j])}, the target ${short(target[j])}`,
      });
    } else {
      const da = `∂L/∂${symbol("a", n)}`;
      const { nOut } = network.layers[l + 1];
      steps.push({
        phase: "backward",
        title: `Derivative by the outputs of layer ${n}`,
        short: da,
        formula: `${da} = ∂L/∂${symbol("z", n + 1)} · (${symbol("W", n + 1)})ᵀ`,
        sentence: "Each output influences all sums of the next layer, each by a weight; their derivatives come back over the same weights.",
        values: back.da[l],
        entry: (j) => {
          const factors = (k) => [back.dz[l + 1][k], weight(l + 1, j, k)];
          const products = Array.from({ length: nOut }, (_, k) => factors(k)[0] * factors(k)[1]);
          return `∂L/∂${index("a", n, j)} = ${sumText(products, factors, null, back.da[l][j])}`;
        },
      });
      const ones = new Float64Array(network.layers[l].nOut).fill(1);
      const slopes = network.activateBackward(l, ones, pass.z[l], pass.a[l]);
      steps.push({
        phase: "backward",
        title: `Derivative by the sums of layer ${n}`,
        short: dz,
        formula: `${dz} = ${da} ⊙ f′(${symbol("z", n)}), f′ = ${formulas.layers[l].slope}`,
        sentence: `The slope of ${name(l)} at each sum says how much of a derivative passes.`,
        values: back.dz[l],
        entry: (j) => `∂L/∂${index("z", n, j)} = ${inBrackets(back.da[l][j])} · ${inBrackets(slopes[j])} = ${short(back.dz[l][j])}`,
      });
    }
    steps.push({
      phase: "backward",
      title: `Gradient of the weights of layer ${n}`,
      short: `∂L/∂${symbol("W", n)}`,
      formula: `∂L/∂${symbol("W", n)} = (${symbol("a", n - 1)})ᵀ · ${dz}`,
      sentence: "The derivative by a weight is its input times the derivative by its sum. Training moves each weight against it.",
      values: grads[l].W,
      columns: network.layers[l].nOut,
      entry: (k) => {
        const [i, j] = [Math.floor(k / network.layers[l].nOut), k % network.layers[l].nOut];
        return `from input ${i + 1} to neuron ${j + 1}: ${inBrackets(x[i])} · ${inBrackets(back.dz[l][j])} = ${short(grads[l].W[k])}`;
      },
    });
    steps.push({
      phase: "backward",
      title: `Gradient of the biases of layer ${n}`,
      short: `∂L/∂${symbol("b", n)}`,
      formula: `∂L/∂${symbol("b", n)} = ${dz}`,
      sentence: "A bias is added to its sum, so its derivative is that of the sum.",
      values: grads[l].b,
      entry: (j) => `∂L/∂${index("b", n, j)} = ${short(grads[l].b[j])}`,
    });
  }
  return steps;
}

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
        labelled("Target: the right class", choice(options, String(model.classOf(target)), (value) => {
          target = model.targetOfClass(Number(value));
          changed = true;
          compute();
        })),
      );
      return;
    }
    const scaling = model.structure.targetScaling;
    const fields = Array.from(model.targetRow(target)).slice(0, 6).map((value, j) => {
      const [shift, scale] = scaling ? [scaling[0][j], scaling[1][j]] : [0, 1];
      const input = element("input", { type: "number", step: "any", value: Number((value * scale + shift).toPrecision(6)) });
      input.addEventListener("input", () => {
        target = Array.from(model.targetRow(target));
        target[j] = ((Number(input.value) || 0) - shift) / scale;
        changed = true;
        compute();
      });
      return labelled(model.classes[j] ? `Target of ${model.classes[j]}` : model.network.sizes[model.network.nLayers] > 1 ? `Target ${j + 1}` : "Target", input);
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
          ...items.map(([step, k]) => element("li", {}, button("", () => go(k), { "data-step": k, title: step.title }))),
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
    for (const made of document.querySelectorAll("[data-step]")) {
      if (Number(made.dataset.step) === current) made.setAttribute("aria-current", "step");
      else made.removeAttribute("aria-current");
    }
    back.disabled = current === 0;
    next.disabled = current === steps.length - 1;
    const values = Array.from(step.values);
    const order = Array.from(values.keys()).sort((i, j) => Math.abs(values[j]) - Math.abs(values[i]));
    const k = entry !== null && entry < values.length ? entry : order[0];
    const shown = values.length <= SHOWN_VALUES ? Array.from(values.keys()) : order.slice(0, SHOWN_VALUES);
    const label = (i) => (step.columns ? `input ${Math.floor(i / step.columns) + 1} → neuron ${(i % step.columns) + 1}` : step.short === "L" ? "L" : `neuron ${i + 1}`);
    const rows = shown.map((i) => {
      const pick = button("show", () => {
        entry = i;
        show();
        detail.querySelector(`[data-entry="${i}"]`).focus(); // the button was made again
      }, { "data-entry": i, "aria-label": `Show the numbers of ${label(i)}`, class: "small" });
      return [label(i), short(values[i]), pick];
    });
    const caption = values.length > SHOWN_VALUES ? `The ${SHOWN_VALUES} largest of ${values.length.toLocaleString("en")} values` : "The values";
    detail.className = `step ${step.phase}`;
    detail.replaceChildren(
      element("div", {},
      element("p", { class: "phase" }, step.phase === "forward" ? "Forward →" : "← Backward", ` · step ${current + 1} of ${steps.length}`),
      element("h3", {}, step.title),
      element("p", { class: "formula" }, rich(step.formula)),
      element("p", {}, rich(step.sentence)),
      element("p", { class: "formula numbers" }, rich(step.entry(k))),
      ),
      table(caption, [step.columns ? "weight" : "neuron", step.short, "numbers"], rows),
    );
  }

  function update() {
    if (app.isTraining) return; // it is shown again at the end
    if (!changed || app.target !== null) {
      changed = false;
      chooseTarget();
    }
    compute();
  }

  const made = element(
    "div",
    {},
    targetField,
    element(
      "div",
      { class: "phases" },
      element("div", { class: "forward" }, element("h3", {}, "Forward →"), lists.forward),
      element("div", { class: "backward" }, element("h3", {}, "← Backward"), lists.backward),
    ),
    element("p", { class: "buttons" }, back, " ", next),
    detail,
    spoken,
  );
  return { element: made, update };
}
