// The network as a model file of mlp: safetensors, with a description and its checksum in the metadata.

/** The description of the network, with the present values of what the page can change. */
function descriptionOf(model) {
  const { sizes, activations, init, dropout } = model.structure;
  const values = {
    sizes: JSON.stringify(sizes),
    activation: JSON.stringify(activations.slice(0, -1)),
    init: JSON.stringify(init),
    dropout: JSON.stringify(dropout.slice(1)),
    seed: String(model.seed),
  };
  return Object.entries(values).reduce(
    (text, [name, value]) => text.replace(`"${name}": "@${name}"`, () => `"${name}": ${value}`),
    model.data.file,
  );
}

/** SHA-256 as mlp/io/model_files.py defines it; null where the browser does not offer it. */
async function checksumOf(text, tensors) {
  if (!globalThis.crypto?.subtle) return null;
  const encode = (string) => new TextEncoder().encode(`${string}\0`);
  const parts = [encode(text)];
  for (const { name, dtype, shape, bytes } of tensors) parts.push(encode(JSON.stringify([name, dtype, shape])), bytes);
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The bytes of the file. */
async function modelFile(model) {
  const isSingle = model.structure.dtype === "float32";
  const bytesOf = (array) => new Uint8Array((isSingle ? Float32Array : Float64Array).from(array).buffer);
  const dtype = isSingle ? "F32" : "F64";
  const tensors = model.network.layers
    .flatMap(({ W, b, nIn, nOut }, l) => [
      { name: `layers.${l}.bias`, dtype, shape: [nOut], bytes: bytesOf(b) },
      { name: `layers.${l}.weight`, dtype, shape: [nIn, nOut], bytes: bytesOf(W) },
    ])
    .sort((one, other) => (one.name < other.name ? -1 : 1));
  let text = descriptionOf(model);
  const checksum = await checksumOf(text, tensors);
  if (checksum) text = `${text.slice(0, -1)}, "sha256": "${checksum}"}`;
  const header = { __metadata__: { mlp: text } };
  let position = 0;
  for (const { name, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [position, position + bytes.length] };
    position += bytes.length;
  }
  const encoded = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(encoded.length / 8) * 8).fill(32);
  padded.set(encoded);
  const length = new Uint8Array(new BigUint64Array([BigInt(padded.length)]).buffer);
  return new Blob([length, padded, ...tensors.map(({ bytes }) => bytes)], { type: "application/octet-stream" });
}
