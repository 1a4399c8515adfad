// Random integers of Philox4x64-10 (Salmon et al. 2011), in the layout of backends/random.py: the same bits.

const WEIGHTS = 1n;
const SHUFFLE = 2n;
const DROPOUT = 3n;
const WORD = 0xffffffffffffffffn;

/** The four words of a block: a function of a counter of four words and a key of two. */
function philoxBlock(counter, key) {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const product0 = 0xd2e7470ee14c6c93n * c0;
    const product1 = 0xca5a826395121157n * c2;
    [c0, c1, c2, c3] = [(product1 >> 64n) ^ c1 ^ k0, product1 & WORD, (product0 >> 64n) ^ c3 ^ k1, product0 & WORD];
    k0 = (k0 + 0x9e3779b97f4a7c15n) & WORD;
    k1 = (k1 + 0xbb67ae8584caa73bn) & WORD;
  }
  return [c0, c1, c2, c3];
}

/** The first words from a counter on, whose first word counts the blocks. */
function philoxWords(key, counter, count) {
  const words = new BigUint64Array(count);
  const [first, ...rest] = counter;
  for (let i = 0; i < count; i += 4) {
    const block = philoxBlock([(first + BigInt(i / 4)) & WORD, ...rest], key);
    for (let k = 0; k < 4 && i + k < count; k++) words[i + k] = block[k];
  }
  return words;
}

const BLOCKS_OF_A_PART = 500;

/** The order of the rows in an epoch, in parts of little work each: row numbers sorted by random integers. */
function* permutationParts(seed, epoch, count) {
  const shift = BigInt(Math.max(count - 1, 1).toString(2).length);
  const keys = new BigUint64Array(count);
  for (let block = 0; 4 * block < count; block += BLOCKS_OF_A_PART) {
    const here = Math.min(4 * BLOCKS_OF_A_PART, count - 4 * block);
    keys.set(philoxWords([seed, SHUFFLE], [BigInt(block), BigInt(epoch), 0n, 0n], here), 4 * block);
    yield;
  }
  for (let i = 0; i < count; i++) keys[i] = ((keys[i] >> shift) << shift) | BigInt(i);
  keys.sort();
  return Array.from(keys, (key) => Number(key & ((1n << shift) - 1n)));
}

/** For one row of a batch, 1 for each unit that dropout keeps and 0 for the others. */
function keptUnits(seed, epoch, step, layer, row, units, rate) {
  const blocks = Math.ceil(units / 8);
  const threshold = Math.min(Math.round(rate * 2 ** 32), 2 ** 32 - 1);
  const words = philoxWords(
    [seed, DROPOUT],
    [BigInt(row * blocks), BigInt(layer), BigInt(step), BigInt(epoch)],
    4 * blocks,
  );
  const kept = new Uint8Array(units);
  for (let i = 0; i < units; i++) {
    const word = words[i >> 1];
    kept[i] = Number(i % 2 ? word >> 32n : word & 0xffffffffn) >= threshold ? 1 : 0;
  }
  return kept;
}

/** Numbers in (0, 1) for the initial weights of a layer. */
function uniformNumbers(seed, layer, count) {
  const words = philoxWords([seed, WEIGHTS], [0n, BigInt(layer), 0n, 0n], count);
  return Float64Array.from(words, (word) => (Number(word >> 11n) + 0.5) * 2 ** -53);
}
