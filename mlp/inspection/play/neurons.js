// The neurons of a layer as pictures, and one of them in numbers.

function neuronsView(app) {
  const { model } = app;
  let layer = 0;
  let chosen = 0;
  let made = ""; // for which layer and width the tiles were made
  let tiles = [];
  const list = element("div", {
    class: "tiles",
    role: "listbox",
    tabindex: "0",
    "aria-label": "Neurons",
    "aria-describedby": "neuron-keys",
  });
  const picker = element("div");
  const content = element("div");
  const legend = element("div");

  const isImage = () => model.data.kind === "image" && layer === 0;
  const nameOf = (l) => `Layer ${l + 1}: ${model.network.sizes[l + 1]} × ${model.structure.activations[l]}`;

  function build() {
    const sizes = model.network.sizes.join("-");
    if (made === `${layer} ${sizes}`) return false;
    made = `${layer} ${sizes}`;
    const options = model.network.sizes.slice(1).map((_, l) => [String(l), nameOf(l)]);
    picker.replaceChildren(
      radios("Layer", options, String(layer), (value) => {
        layer = Number(value);
        chosen = 0;
        update();
        picker.querySelector("input:checked").focus();
      }),
    );
    tiles = Array.from({ length: model.network.sizes[layer + 1] }, (_, k) => {
      const picture = element("canvas", { "aria-hidden": "true", class: isImage() ? "pixels" : "smooth" });
      const value = element("span");
      const tile = element(
        "div",
        { role: "option", id: `neuron-${k}`, class: "tile", "aria-selected": "false", click: () => choose(k) },
        picture,
        value,
      );
      return { tile, picture, value };
    });
    list.replaceChildren(...tiles.map(({ tile }) => tile));
    return true;
  }

  function choose(k, scroll = false) {
    chosen = Math.max(0, Math.min(tiles.length - 1, k));
    mark();
    if (scroll) {
      const { offsetTop, offsetHeight } = tiles[chosen].tile;
      if (offsetTop < list.scrollTop) list.scrollTop = offsetTop - 4;
      else if (offsetTop + offsetHeight > list.scrollTop + list.clientHeight)
        list.scrollTop = offsetTop + offsetHeight - list.clientHeight + 4;
    }
    showDetail();
  }

  function mark() {
    tiles.forEach(({ tile }, k) => tile.setAttribute("aria-selected", String(k === chosen)));
    list.setAttribute("aria-activedescendant", `neuron-${chosen}`);
  }

  list.addEventListener("keydown", (event) => {
    const perRow = Math.max(1, tiles.filter(({ tile }) => tile.offsetTop === tiles[0].tile.offsetTop).length);
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perRow, ArrowDown: perRow, Home: -Infinity, End: Infinity };
    if (!(event.key in moves)) return;
    event.preventDefault();
    choose(chosen + moves[event.key], true);
  });

  const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;

  /** Weights into a neuron, one for each input. */
  function weightsOf(k) {
    const { W, nIn, nOut } = model.network.layers[layer];
    return Float64Array.from({ length: nIn }, (_, i) => W[i * nOut + k]);
  }

  function paintTile(picture, k, scale) {
    if (isImage()) {
      const weights = weightsOf(k);
      const most = largest(weights);
      paint(picture, model.data.image.side, weights, (value) => scale(value / most));
    } else if (app.neuronPictures) {
      const values = app.neuronPictures.grid[layer][k];
      app.neuronPictures.paint(picture, values, largest(values), scale);
    } else {
      const a = app.pass.a[layer];
      const most = largest(a);
      // a bar from the middle: to the right for positive numbers
      const cells = Array.from({ length: 41 }, (_, i) => {
        const place = (i - 20) / 20;
        return place === 0 ? -2 : a[k] * place > 0 && Math.abs(place) <= Math.abs(a[k] / most) ? Math.sign(place) : 0;
      });
      const axis = channels(ownColour("--muted"));
      paint(picture, 41, [...cells, ...cells, ...cells], (value) => (value === -2 ? axis : scale(value)));
    }
  }

  function update() {
    if (layer >= model.network.nLayers) layer = chosen = 0;
    const isNew = build();
    chosen = Math.min(chosen, tiles.length - 1);
    const scale = signedScale();
    const a = app.pass.a[layer];
    const most = largest(a);
    list.classList.toggle("few", tiles.length <= 16);
    list.classList.toggle("bars", !isImage() && !app.neuronPictures);
    tiles.forEach(({ tile, picture, value }, k) => {
      if (isNew || app.isNetworkNew || !(isImage() || app.neuronPictures)) paintTile(picture, k, scale);
      const text = short(a[k], 3);
      if (value.textContent !== text) value.textContent = text;
      tile.setAttribute("aria-label", `neuron ${k + 1}, output ${text}`);
      tile.classList.toggle("active", isImage() && Math.abs(a[k]) > 0.5 * most);
    });
    mark();
    showDetail();
    const what = isImage()
      ? "Each picture shows the weights of a neuron: blue pixels raise its sum, orange ones lower it. The number is its present output; a thick frame marks outputs above half of the largest."
      : app.neuronPictures
        ? `Each picture shows ${app.neuronPictures.what}. The number is its output at the cross.`
        : "Each bar shows the output of a neuron: to the right and blue if it is positive, to the left and orange if it is negative.";
    if (legend.textContent !== what) legend.replaceChildren(element("p", { class: "hint" }, what));
  }

  function inputName(i) {
    if (layer > 0) return symbol("a", layer, i + 1);
    if (model.data.image)
      return `pixel in row ${Math.floor(i / model.data.image.side) + 1}, column ${(i % model.data.image.side) + 1}`;
    return model.data.inputs?.[i] ?? `input ${i + 1}`;
  }

  const behind = tableBehind("The picture as a table", () => {
    if (!isImage() && !app.neuronPictures) return element("div"); // there is no picture
    if (!isImage())
      return app.neuronPictures.table(`Output of neuron ${chosen + 1}`, app.neuronPictures.grid[layer][chosen]);
    const { side } = model.data.image;
    const weights = weightsOf(chosen);
    const columns = Array.from({ length: side }, (_, j) => String(j + 1));
    const rows = columns.map((name, i) => [name, ...columns.map((_, j) => short(weights[i * side + j], 2))]);
    return table(`Weights of neuron ${chosen + 1}`, ["row", ...columns], rows);
  });

  function showDetail() {
    if (app.isTraining && content.contains(document.activeElement)) return; // it would lose the focus
    const x = app.pass.inputs[layer];
    const weights = weightsOf(chosen);
    const products = weights.map((weight, i) => weight * x[i]);
    // without a product, as for black pixels, the weights say what the neuron looks for
    const shown = largestPlaces(products.some(Boolean) ? products : weights, 8);
    const z = app.pass.z[layer][chosen];
    const output = app.pass.a[layer][chosen];
    const picture = element("canvas", {
      class: isImage() ? "pixels large" : "smooth large",
      role: "img",
      "aria-label": isImage()
        ? `Weights of neuron ${chosen + 1}`
        : `Output of neuron ${chosen + 1} ${app.neuronPictures?.where}`,
    });
    const hasPicture = isImage() || Boolean(app.neuronPictures);
    const most = isImage() ? largest(weights) : hasPicture ? largest(app.neuronPictures.grid[layer][chosen]) : 1;
    const scaleOf = isImage() ? signedLegend : app.neuronPictures?.legend;
    if (hasPicture) paintTile(picture, chosen, signedScale());
    const rest = x.length - shown.length;
    behind.element.hidden = !hasPicture;
    if (hasPicture) behind.update();
    content.replaceChildren(
      element("h3", {}, `Neuron ${chosen + 1} of layer ${layer + 1}`),
      ...(hasPicture ? [element("figure", {}, picture, element("figcaption", {}, scaleOf(most)))] : []),
      element(
        "p",
        {},
        rich(
          `Its sum is ${symbol("z", layer + 1, chosen + 1)} = ${short(z)}, of which ${short(model.network.layers[layer].b[chosen])} is the bias; its output is ${symbol("a", layer + 1, chosen + 1)} = ${short(output)}.`,
        ),
      ),
      table(
        rest > 0 ? `The ${shown.length} largest of ${x.length} terms of the sum` : "The terms of the sum",
        ["input", "value", "weight", "product"],
        shown.map((i) => [inputName(i), short(x[i]), short(weights[i]), short(products[i])]),
      ),
    );
  }

  const view = element(
    "div",
    {},
    picker,
    legend,
    element("p", { class: "hint", id: "neuron-keys" }, "Keys: the arrows, Home and End choose a neuron."),
    element("div", { class: "neurons" }, list, element("div", { class: "detail" }, content, behind.element)),
  );
  return { element: view, update };
}
