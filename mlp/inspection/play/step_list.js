// The steps of one example: forward from the input to the loss, and backward from the loss to the first weights.

const SHOWN_TERMS = 3;
const SHOWN_VALUES = 12;

/** "0.5 · 0.12 + ... = 0.3": the largest terms of a sum, what the others add, and the result. */
function sumText(products, factors, extra, result) {
  const shown = largestPlaces(products, SHOWN_TERMS);
  const rest = products.reduce((sum, product, i) => (shown.includes(i) ? sum : sum + product), 0);
  const terms = shown.map((i) => factors(i).map(inBrackets).join(" · "));
  if (products.length > SHOWN_TERMS)
    terms.push(`${inBrackets(short(rest))} from ${products.length - SHOWN_TERMS} more`);
  if (extra !== null) terms.push(inBrackets(extra));
  return `${terms.join(" + ")} = ${short(result)}`;
}

function inBrackets(value) {
  const text = typeof value === "number" ? short(value) : value;
  return text.startsWith("−") ? `(${text})` : text;
}

/** All steps for the present example, in order: phase, title, formula, sentence, values, and the numbers of an entry. */
function stepsOf(model, pass, target) {
  const { network, data } = model;
  const { formulas } = data;
  const last = network.nLayers - 1;
  const name = (l) => model.structure.activations[l];
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
      sentence: `Each of the ${b.length} neurons adds up its ${nIn} input${nIn === 1 ? "" : "s"}, each times a weight, and its bias.${l === 0 ? ` ${symbol("a", 0)} is the input.` : ""}`,
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
      entry: (j) =>
        `${index("a", n, j)} = ${network.rows[l].rowwise ? `entry ${j + 1} of ${name(l)}(${symbol("z", n)})` : `${name(l)}(${short(pass.z[l][j])})`} = ${short(pass.a[l][j])}`,
    });
  }
  if (!network.isDifferentiable) return steps;
  const gradient = new Float64Array(network.nParameters);
  const back = network.backward(pass, target, gradient);
  const grads = network.views(gradient);
  steps.push({
    phase: "forward",
    title: "Loss",
    short: "L",
    formula: `L = ${formulas.loss}`,
    sentence: `The loss ${model.structure.loss} compares the output with the target t: the smaller, the better.`,
    values: [back.loss],
    entry: () =>
      `t = (${Array.from(target, (value) => short(value))
        .slice(0, SHOWN_VALUES)
        .join(", ")}), L = ${short(back.loss)}`,
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
        entry: (j) =>
          `∂L/∂${index("z", n, j)} = ${short(back.dz[l][j])}; the output there is ${short(pass.a[l][j])}, the target ${short(target[j])}`,
      });
    } else {
      const da = `∂L/∂${symbol("a", n)}`;
      const { nOut } = network.layers[l + 1];
      steps.push({
        phase: "backward",
        title: `Derivative by the outputs of layer ${n}`,
        short: da,
        formula: `${da} = ∂L/∂${symbol("z", n + 1)} · (${symbol("W", n + 1)})ᵀ`,
        sentence:
          "Each output influences all sums of the next layer, each by a weight; their derivatives come back over the same weights.",
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
        entry: (j) =>
          `∂L/∂${index("z", n, j)} = ${inBrackets(back.da[l][j])} · ${inBrackets(slopes[j])} = ${short(back.dz[l][j])}`,
      });
    }
    steps.push({
      phase: "backward",
      title: `Gradient of the weights of layer ${n}`,
      short: `∂L/∂${symbol("W", n)}`,
      formula: `∂L/∂${symbol("W", n)} = (${symbol("a", n - 1)})ᵀ · ${dz}`,
      sentence:
        "The derivative by a weight is its input times the derivative by its sum. Training moves each weight against it.",
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
