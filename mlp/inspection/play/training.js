// Training as mlp trains: the same order of the rows, batches, dropout masks and update rules.

/** The last arguments of an update rule, which depend on the number of the step, counted from 1. */
function ruleScalars(rule, hyper, step, rate) {
  switch (rule) {
    case "sgd":
      return [rate];
    case "momentum":
    case "nesterov":
      return [rate, hyper.momentum];
    case "adagrad":
      return [rate, hyper.epsilon];
    case "rmsprop":
      return [rate, hyper.rho, 1 - hyper.rho, hyper.epsilon];
    case "adam": {
      const { beta1, beta2, epsilon } = hyper;
      const root = Math.sqrt(1 - beta2 ** step);
      return [rate / (1 - beta1 ** step), beta1, 1 - beta1, beta2, 1 - beta2, epsilon, root];
    }
    default:
      throw new RangeError(`there is no update rule ${rule}`);
  }
}

/** A training from the current weights on; the optimizer's state starts at zero. */
class Training {
  /** `X` and `targets` are arrays of rows; `settings`: rule, hyper, learningRate, batchSize, shuffle, seed (a BigInt). */
  constructor(network, X, targets, settings) {
    Object.assign(this, { network, X, targets, settings });
    this.formula = FORMULAS.rules[settings.rule].formula;
    this.state = FORMULAS.rules[settings.rule].state.map(() => new Float64Array(network.nParameters));
    this.epoch = 0;
    this.step = 0;
    this.order = [];
    this.batch = 0; // of the current epoch
    this.sum = 0; // of the losses of its batches, times their rows
    this.losses = []; // mean of each epoch
  }

  /** One update; returns the loss of its batch. */
  next() {
    const { batchSize, shuffle, seed } = this.settings;
    const n = this.X.length;
    if (this.batch === 0)
      this.order = shuffle ? permutation(seed, this.epoch, n) : Array.from({ length: n }, (_, i) => i);
    const rows = this.order.slice(this.batch * batchSize, (this.batch + 1) * batchSize);
    const { loss, gradient } = this.gradient(rows);
    this.update(gradient);
    this.sum += loss * rows.length;
    this.batch += 1;
    if (this.batch * batchSize >= n) {
      this.losses.push(this.sum / n);
      this.epoch += 1;
      this.batch = 0;
      this.sum = 0;
    }
    return loss;
  }

  runEpoch() {
    const { epoch } = this;
    while (this.epoch === epoch) this.next();
    return this.losses[epoch];
  }

  /** Mean loss of a batch, penalties included, and its gradient. */
  gradient(rows) {
    const { network } = this;
    const gradient = new Float64Array(network.nParameters);
    let loss = 0;
    rows.forEach((row, i) => {
      const masks = this.masks(i);
      const pass = network.forward(this.X[row], masks);
      loss += network.backward(pass, this.targets[row], gradient, 1 / rows.length, masks).loss / rows.length;
    });
    const { l2, l1, nWeights, parameters } = network;
    for (let i = 0; (l2 || l1) && i < nWeights; i++) {
      const w = parameters[i];
      loss += 0.5 * l2 * w * w + l1 * Math.abs(w);
      gradient[i] += l2 * w + l1 * Math.sign(w);
    }
    return { loss, gradient };
  }

  /** Factors of inverted dropout for row number i of the batch; null for the layers without it. */
  masks(i) {
    const { dropout, sizes } = this.network;
    return dropout.map((rate, l) => {
      if (!rate) return null;
      const kept = keptUnits(this.settings.seed, this.epoch, this.batch, l, i, sizes[l], rate);
      return Float64Array.from(kept, (bit) => bit / (1 - rate));
    });
  }

  update(gradient) {
    const { rule, hyper, learningRate } = this.settings;
    const { parameters } = this.network;
    const { formula } = this;
    const [first, second] = this.state; // no rule has more
    this.step += 1;
    const scalars = ruleScalars(rule, hyper, this.step, learningRate);
    for (let i = 0; i < parameters.length; i++) {
      const [p, g] = [parameters[i], gradient[i]];
      if (second) [parameters[i], first[i], second[i]] = formula(p, g, first[i], second[i], ...scalars);
      else if (first) [parameters[i], first[i]] = formula(p, g, first[i], ...scalars);
      else [parameters[i]] = formula(p, g, ...scalars);
    }
  }
}
