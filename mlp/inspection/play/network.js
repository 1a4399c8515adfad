// The network: positions of its parameters, forward pass, and gradient, in double precision.

/** Parameters lie in one array: first the weights of all layers by rows, then all biases. */
class Network {
  constructor(structure, parameters) {
    Object.assign(this, structure); // sizes, activations, loss, levels (of quantiles), dropout, l2, l1
    this.rows = this.activations.map((name) => FORMULAS.activations[name]);
    this.output = this.rows[this.rows.length - 1];
    this.cost = FORMULAS.losses[this.loss];
    this.fused = FORMULAS.fused[`${this.activations[this.activations.length - 1]}+${this.loss}`];
    this.nLayers = this.sizes.length - 1;
    this.nWeights = 0;
    for (let l = 0; l < this.nLayers; l++) this.nWeights += this.sizes[l] * this.sizes[l + 1];
    this.nParameters = this.nWeights + this.sizes.slice(1).reduce((sum, n) => sum + n, 0);
    this.parameters = Float64Array.from(parameters);
    if (this.parameters.length !== this.nParameters) throw new RangeError(`${this.nParameters} parameters are needed`);
    this.layers = this.views(this.parameters);
  }

  /** Whether all activations have a derivative, without which there is no backward pass. */
  get isDifferentiable() {
    return this.rows.every(({ backward }) => backward);
  }

  /** Views W and b of each layer into an array of all parameters. */
  views(flat) {
    let weight = 0;
    let bias = this.nWeights;
    return this.sizes.slice(1).map((nOut, l) => {
      const nIn = this.sizes[l];
      const view = { nIn, nOut, W: flat.subarray(weight, weight + nIn * nOut), b: flat.subarray(bias, bias + nOut) };
      weight += nIn * nOut;
      bias += nOut;
      return view;
    });
  }

  /** z = x W + b of layer l, counted from 0. */
  dense(l, x) {
    const { W, b, nIn, nOut } = this.layers[l];
    const z = Float64Array.from(b);
    for (let i = 0; i < nIn; i++) {
      const value = x[i];
      if (value === 0) continue;
      const start = i * nOut;
      for (let j = 0; j < nOut; j++) z[j] += value * W[start + j];
    }
    return z;
  }

  activate(l, z) {
    const { forward, rowwise } = this.rows[l];
    return rowwise ? forward(z) : z.map((value) => forward(value));
  }

  /** Inputs, sums z and outputs a of all layers for one row; `masks` has a factor for each unit that dropout changes. */
  forward(x, masks = null) {
    const inputs = [];
    const z = [];
    const a = [];
    let value = Float64Array.from(x);
    for (let l = 0; l < this.nLayers; l++) {
      if (masks?.[l]) value = value.map((entry, i) => entry * masks[l][i]);
      inputs.push(value);
      z.push(this.dense(l, value));
      a.push(this.activate(l, z[l]));
      value = a[l];
    }
    return { inputs, z, a };
  }

  outputs(x) {
    return this.forward(x).a[this.nLayers - 1];
  }

  /** Loss of one row, and its derivatives with respect to the last sums z. */
  lossAndDelta(z, a, target) {
    const n = z.length;
    const mean = this.cost.meanOverOutputs ? 1 / n : 1;
    let values;
    let delta;
    if (this.fused && this.output.rowwise) {
      [values, delta] = this.fused(z, target);
    } else {
      const formula = this.fused ?? this.cost.formula;
      const pairs = Array.from(this.fused ? z : a, (entry, j) => formula(entry, target[j], this.levels[j]));
      values = pairs.map((pair) => pair[0]);
      delta = Float64Array.from(pairs, (pair) => pair[1]);
      if (!this.fused) delta = this.activateBackward(this.nLayers - 1, delta, z, a);
    }
    let loss = 0;
    for (const value of values) loss += value;
    return { loss: loss * mean, delta: delta.map((entry) => entry * mean) };
  }

  activateBackward(l, dy, z, a) {
    const { backward, rowwise, saves } = this.rows[l];
    const saved = saves === "z" ? z : a;
    return rowwise ? backward(dy, saved) : dy.map((entry, j) => backward(entry, saved[j]));
  }

  /**
   * Back-propagation for one row: its loss; dz, da (with respect to the outputs of the layer before) by layer.
   * The gradient times `share` is added to `gradient`, an array of all parameters.
   */
  backward(pass, target, gradient, share = 1, masks = null) {
    const last = this.nLayers - 1;
    const grads = this.views(gradient);
    let { loss, delta } = this.lossAndDelta(pass.z[last], pass.a[last], target);
    const dz = new Array(this.nLayers);
    const da = new Array(this.nLayers);
    for (let l = last; l >= 0; l--) {
      dz[l] = delta;
      const { W, nIn, nOut } = this.layers[l];
      const { W: dW, b: db } = grads[l];
      const x = pass.inputs[l];
      for (let i = 0; i < nIn; i++) {
        const value = x[i] * share;
        if (value === 0) continue;
        for (let j = 0; j < nOut; j++) dW[i * nOut + j] += value * delta[j];
      }
      for (let j = 0; j < nOut; j++) db[j] += share * delta[j];
      if (l === 0) break;
      const dx = new Float64Array(nIn);
      for (let i = 0; i < nIn; i++) {
        let sum = 0;
        for (let j = 0; j < nOut; j++) sum += W[i * nOut + j] * delta[j];
        dx[i] = masks?.[l] ? sum * masks[l][i] : sum;
      }
      da[l - 1] = dx;
      delta = this.activateBackward(l - 1, dx, pass.z[l - 1], pass.a[l - 1]);
    }
    return { loss, dz, da };
  }
}
