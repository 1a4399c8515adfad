// The network with everything around it: the values that it takes, the outputs in the units of the targets, the rows.

/** The numbers of a typed array in base64. */
function decoded(text, type) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  const kinds = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array };
  return new kinds[type](bytes.buffer);
}

class Model {
  constructor(data) {
    this.data = data;
    this.structure = data.network;
    this.seed = BigInt(data.network.seed);
    this.network = new Network(this.structure, decoded(data.parameters, this.structure.dtype));
    this.initial = this.network.parameters.slice();
    this.isRebuilt = false;
    this.classes = this.structure.classes;
    this.isClassifier = this.structure.task === "classes";
    this.hasOneTarget = this.structure.levels.length > 1; // the outputs are quantiles of the same number
    this.hasRight = this.structure.task !== "numbers"; // answers are right or wrong
    this.rows = this.readRows(data.rows);
  }

  readRows(rows) {
    if (!rows) return [];
    const values = decoded(rows.X, rows.type);
    const width = this.network.sizes[0];
    return Array.from({ length: rows.n }, (_, i) => ({
      x: Float64Array.from(values.subarray(i * width, (i + 1) * width), (value) => value * rows.scale),
      target: rows.classes ? rows.classes[i] : rows.targets ? rows.targets[i] : null,
    }));
  }

  /** The target of a row as the loss takes it: a number for each output. */
  targetRow(target) {
    if (typeof target !== "number") return Float64Array.from(target);
    const n = this.network.sizes[this.network.nLayers];
    return Float64Array.from({ length: n }, (_, j) => (n === 1 ? target : j === target ? 1 : 0));
  }

  /** The class of a target; null for numbers. */
  classOf(target) {
    if (target === null || !this.isClassifier) return null;
    if (typeof target === "number") return target;
    return target.length === 1 ? Math.round(target[0]) : target.indexOf(Math.max(...target));
  }

  targetOfClass(number) {
    return this.structure.oneOutput ? [number] : number;
  }

  /** What the outputs are called: classes, labels, or numbers by their position. */
  get outputNames() {
    const n = this.structure.oneOutput ? 2 : this.structure.sizes[this.structure.sizes.length - 1];
    const { levels } = this.structure;
    const name = (k) => (this.hasOneTarget ? `quantile ${levels[k]}` : `output ${k + 1}`);
    return Array.from({ length: n }, (_, k) => String(this.classes[k] ?? name(k)));
  }

  /** The target of a row in the units of the results: a number for each of them. */
  targetValues(target) {
    const number = this.classOf(target);
    if (number === null) return this.results(this.targetRow(target));
    return this.classes.map((_, k) => Number(k === number));
  }

  /** The target of a row whose results should be these numbers or labels. */
  targetOfValues(values) {
    const scaling = this.structure.targetScaling;
    return scaling ? values.map((value, j) => (value - scaling[0][j]) / scaling[1][j]) : [...values];
  }

  /** The labels that a row of the results has, as predict says. */
  labelsOf(results) {
    return this.classes.filter((_, k) => results[k] > 0.5);
  }

  /** The results in words: the class, the labels, or the numbers as `write` writes them. */
  answerText(results, write) {
    if (this.isClassifier) return this.classes[results.indexOf(Math.max(...results))];
    if (this.structure.task === "labels") return this.labelsOf(results).join(", ") || "no label";
    return results.map((value) => write(value)).join(", ");
  }

  /** A target in words. */
  targetText(target, write) {
    if (target === null) return "no target";
    if (this.hasOneTarget) return `target ${write(this.targetValues(target)[0])}`;
    const what = this.isClassifier ? "class " : this.structure.task === "labels" ? "labels: " : "target ";
    return what + this.answerText(this.targetValues(target), write);
  }

  /** Whether the results are right for a target, by the score of `evaluate`. */
  isRight(results, target) {
    if (this.isClassifier) return results.indexOf(Math.max(...results)) === this.classOf(target);
    return this.targetValues(target).every((value, k) => value > 0.5 === results[k] > 0.5);
  }

  /** The network's inputs for values of the columns. */
  encode(values) {
    const { columns } = this.data;
    if (!columns) return Float64Array.from(values);
    return Float64Array.from(
      columns.flatMap((column, i) => {
        if (column.kind === "category") return oneHot(values[i], column.name, column.categories, column.rare);
        const prepare = column.clipped ? clipped : number;
        return [prepare(values[i], column.name, column.fill, column.shift, column.scale)];
      }),
    );
  }

  /** What predict_proba returns, or the predicted numbers, from the last layer's outputs. */
  results(a) {
    const scaling = this.structure.targetScaling;
    if (scaling) return Array.from(a, (value, j) => value * scaling[1][j] + scaling[0][j]);
    return this.structure.oneOutput ? [1 - a[0], a[0]] : Array.from(a);
  }

  predict(x) {
    return this.results(this.network.outputs(x));
  }

  /** Another network between the same inputs and outputs, with new weights. */
  rebuild({ hidden, activation, seed }) {
    const { sizes, activations, dropout, init } = this.structure;
    const last = activations[activations.length - 1];
    const names = hidden.map(() => activation);
    const isSame = hidden.length === sizes.length - 2 && activation === activations[0];
    const all = [sizes[0], ...hidden, sizes[sizes.length - 1]];
    Object.assign(this.structure, {
      sizes: all,
      activations: [...names, last],
      dropout: isSame ? dropout : [dropout[0], ...hidden.map(() => 0)],
      init: isSame ? init : [...names, last].map(initializerOf),
    });
    this.seed = seed;
    this.isRebuilt = true;
    const layers = all.slice(1).map((nOut, l) => initialLayer(this.structure.init[l], seed, l, all[l], nOut));
    const weights = layers.map((layer, l) => layer.subarray(0, all[l] * all[l + 1]));
    const biases = layers.map((layer, l) => layer.subarray(all[l] * all[l + 1]));
    this.network = new Network(
      this.structure,
      [...weights, ...biases].flatMap((part) => Array.from(part)),
    );
    this.initial = this.network.parameters.slice();
  }

  reset() {
    this.network.parameters.set(this.initial);
  }
}

/** The initializer that mlp chooses for an activation. */
function initializerOf(activation) {
  if (activation === "selu") return "lecun_normal";
  const he = ["relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish", "softplus"];
  return he.includes(activation) ? "he_normal" : "glorot_uniform";
}
