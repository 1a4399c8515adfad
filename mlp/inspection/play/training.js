// Training as mlp trains: the same order of the rows, batches, dropout masks and update rules.

const PARAMETERS_OF_A_PART = 20_000; // that are updated at once

/**
 * A training from the current weights on; the state of the optimizer and of the schedule starts at zero.
 *
 * Settings: rule, hyper, schedule (name and settings), batchSize, shuffle, seed (a BigInt); weightDecay, clipValue and
 * clipNorm (null for none), rateFactors (slices of the parameters), and labelSmoothing may be left out.
 */
class Training {
  /** `X` and `targets` are arrays of rows; `weights` has a number for each. */
  constructor(network, X, targets, settings, weights = X.map(() => 1)) {
    Object.assign(this, { network, X, targets, settings, weights });
    this.rule = FORMULAS.rules[settings.rule];
    this.state = this.rule.state.map(() => new Float64Array(network.nParameters));
    const { name, settings: start } = settings.schedule;
    this.scheduleRules = FORMULAS.schedules[name];
    this.schedule = Object.fromEntries(Object.entries(start).map(([key, value]) => [key, Number(value)])); // "Infinity"
    this.epoch = 0;
    this.step = 0;
    this.order = [];
    this.batch = 0; // of the current epoch
    this.sum = 0; // of the losses of its batches, times their weights
    this.total = 0; // of the weights
    this.losses = []; // mean of each epoch
    const { labelSmoothing: smoothing } = settings;
    if (smoothing)
      this.targets = targets.map((target) => target.map((t) => (1 - smoothing) * t + smoothing / this.kinds));
  }

  /** How many values the distribution has that smoothed labels come nearer to. */
  get kinds() {
    return this.network.loss === "cross_entropy" ? this.network.sizes[this.network.nLayers] : 2;
  }

  get batches() {
    return Math.ceil(this.X.length / this.settings.batchSize);
  }

  /** The learning rate of the next update. */
  get rate() {
    return this.scheduleRules.rate(this.schedule, this.step, this.epoch + this.batch / this.batches);
  }

  /** One update; returns the loss of its batch. */
  next() {
    return finished(this.parts());
  }

  /** One update in parts of little work each, for a generator; its value is the loss of the batch. */
  *parts() {
    const { batchSize, shuffle, seed } = this.settings;
    const n = this.X.length;
    if (this.batch === 0)
      this.order = shuffle ? yield* permutationParts(seed, this.epoch, n) : Array.from({ length: n }, (_, i) => i);
    const rows = this.order.slice(this.batch * batchSize, (this.batch + 1) * batchSize);
    const weight = rows.reduce((sum, row) => sum + this.weights[row], 0);
    const { loss, gradient } = yield* this.gradient(rows, weight || 1);
    yield* this.update(gradient);
    this.sum += loss * weight;
    this.total += weight;
    this.batch += 1;
    if (this.batch * batchSize >= n) this.endEpoch();
    return loss;
  }

  endEpoch() {
    const loss = this.sum / (this.total || 1);
    this.losses.push(loss);
    this.epoch += 1;
    this.batch = 0;
    this.sum = this.total = 0;
    this.scheduleRules.observe?.(this.schedule, loss);
  }

  /** Mean loss of a batch with this sum of weights, penalties included, and its gradient. */
  *gradient(rows, weight) {
    const { network } = this;
    const gradient = new Float64Array(network.nParameters);
    let loss = 0;
    for (let i = 0; i < rows.length; i++) {
      const masks = this.masks(i);
      const pass = network.forward(this.X[rows[i]], masks);
      const share = this.weights[rows[i]] / weight;
      loss += share * network.backward(pass, this.targets[rows[i]], gradient, share, masks).loss;
      yield;
    }
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

  /** Clip the gradient, each entry and then its norm; then decay the weights, and apply the update rule. */
  *update(gradient) {
    const { clipValue, clipNorm, weightDecay = 0, hyper } = this.settings;
    const { nWeights, nParameters, parameters } = this.network;
    const { rate } = this;
    let squares = 0;
    for (let i = 0; (clipValue || clipNorm) && i < nParameters; i++) {
      if (clipValue) gradient[i] = Math.max(-clipValue, Math.min(clipValue, gradient[i]));
      squares += gradient[i] * gradient[i];
    }
    const clipped = clipNorm ? Math.min(1, clipNorm / (Math.sqrt(squares) + 1e-6)) : 1;
    this.step += 1;
    for (const [start, stop, factor] of this.slices()) {
      const decay = start < nWeights ? 1 - rate * factor * weightDecay : 1; // a slice has weights or biases
      const scalars = this.rule.scalars(this.step, rate * factor, hyper);
      for (let from = start; from < stop; from += PARAMETERS_OF_A_PART) {
        this.apply(gradient, from, Math.min(stop, from + PARAMETERS_OF_A_PART), clipped, decay, scalars);
        yield;
      }
    }
  }

  /** Slices of the parameters with weights only or biases only, and the factor of their learning rate. */
  slices() {
    const { nWeights, nParameters } = this.network;
    const factors = this.settings.rateFactors ?? [];
    const bounds = [0, nWeights, nParameters, ...factors.flatMap(([start, stop]) => [start, stop])];
    const places = [...new Set(bounds)].sort((one, other) => one - other);
    return places.slice(1).map((stop, k) => {
      const factor = factors.find((each) => each[0] <= places[k] && stop <= each[1])?.[2] ?? 1;
      return [places[k], stop, factor];
    });
  }

  apply(gradient, from, to, clipped, decay, scalars) {
    const { parameters } = this.network;
    const { formula } = this.rule;
    const [first, second] = this.state; // no rule has more
    for (let i = from; i < to; i++) {
      const [p, g] = [parameters[i] * decay, gradient[i] * clipped];
      if (second) [parameters[i], first[i], second[i]] = formula(p, g, first[i], second[i], ...scalars);
      else if (first) [parameters[i], first[i]] = formula(p, g, first[i], ...scalars);
      else [parameters[i]] = formula(p, g, ...scalars);
    }
  }
}
