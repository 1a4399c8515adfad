// Initial weights as mlp draws them: the same distributions, from the same random integers.

/** Coefficients of Wichura 1988, algorithm AS 241: numerator and denominator, from the highest power down. */
const CENTRE = [
  [
    2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987, 13731.69376550946, 1971.5909503065513,
    133.14166789178438, 3.3871328727963665,
  ],
  [
    5226.495278852854, 28729.085735721943, 39307.89580009271, 21213.794301586597, 5394.196021424751, 687.1870074920579,
    42.31333070160091, 1,
  ],
];
const NEAR_TAIL = [
  [
    0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684, 3.6478483247632045,
    5.769497221460691, 4.630337846156546, 1.4234371107496835,
  ],
  [
    1.0507500716444169e-9, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008, 0.6897673349851,
    1.6763848301838038, 2.053191626637759, 1,
  ],
];
const FAR_TAIL = [
  [
    2.0103343992922881e-7, 2.7115555687434876e-5, 0.0012426609473880784, 0.026532189526576124, 0.29656057182850487,
    1.7848265399172913, 5.463784911164114, 6.657904643501103,
  ],
  [
    2.0442631033899397e-15, 1.421511758316446e-7, 1.8463183175100548e-5, 0.0007868691311456133, 0.014875361290850615,
    0.1369298809227358, 0.599832206555888, 1,
  ],
];

function ratio([numerator, denominator], x) {
  const value = (coefficients) => coefficients.reduce((sum, coefficient) => sum * x + coefficient, 0);
  return value(numerator) / value(denominator);
}

/** The number below which a share p of all standard normal numbers lies. */
function normalQuantile(p) {
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) return q * ratio(CENTRE, 0.180625 - q * q);
  const r = Math.sqrt(-Math.log(q <= 0 ? p : 1 - p));
  return Math.sign(q) * (r <= 5 ? ratio(NEAR_TAIL, r - 1.6) : ratio(FAR_TAIL, r - 5));
}

const VARIANCES = {
  glorot: (nIn, nOut) => 2 / (nIn + nOut),
  he: (nIn) => 2 / nIn,
  lecun: (nIn) => 1 / nIn,
};

/** The parameters of a layer: its weights by rows, then its biases. */
function initialLayer(init, seed, layer, nIn, nOut) {
  const n = nIn * nOut;
  const parameters = new Float64Array(n + nOut);
  if (init === "zeros") return parameters;
  const [family, kind] = init.split("_");
  const isScaled = family in VARIANCES; // and then without biases
  const isUniform = family === "uniform" || kind === "uniform";
  const variance = isScaled ? VARIANCES[family](nIn, nOut) : 1;
  uniformNumbers(seed, layer, isScaled ? n : n + nOut).forEach((u, i) => {
    if (init === "uniform") parameters[i] = 0.2 * u - 0.1;
    else if (isUniform) parameters[i] = Math.sqrt(3 * variance) * (2 * u - 1);
    else parameters[i] = Math.sqrt(variance) * normalQuantile(u);
    if (init === "neural_tangent" && i < n) parameters[i] /= Math.sqrt(nIn);
  });
  return parameters;
}
