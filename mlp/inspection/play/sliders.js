// A slider or a menu for each column: what would the network answer if a value were another?

function slidersView(app, outputs) {
  const { model } = app;
  const columns =
    model.data.columns ??
    model.data.inputs.map((name) => ({ name, kind: "number", fill: 0, shift: 0, scale: 1, plain: true }));
  const rows = model.rows;
  const controls = columns.map(control);
  let values = columns.map(usual);
  let start = [...values];

  function usual(column) {
    return column.kind === "category" ? column.categories[0] : column.fill;
  }

  /** The number in the units of the column that gives an input of the network. */
  function raw(column, z) {
    let plain = z;
    if (column.clipped) plain = z / Math.sqrt(Math.max(1e-9, 1 - (z / 3) ** 2)); // the inverse of `clipped`
    return plain * column.scale + column.shift;
  }

  function range(column, first) {
    const seen = rows.map((row) => raw(column, row.x[first]));
    const centre = column.plain ? 0 : column.fill;
    const spread =
      column.scale !== 1 || column.shift !== 0 || column.plain ? 3 * column.scale : 3 * (Math.abs(column.fill) || 1);
    const low = Math.min(centre - spread, ...seen);
    const high = Math.max(centre + spread, ...seen);
    const step = 10 ** Math.floor(Math.log10((high - low) / 200));
    return [Math.floor(low / step) * step, Math.ceil(high / step) * step, step].map((value) =>
      Number(value.toPrecision(12)),
    );
  }

  function control(column, k) {
    const first = columns
      .slice(0, k)
      .reduce((sum, { kind, categories, rare }) => sum + (kind === "category" ? categories.length + rare : 1), 0);
    if (column.kind === "category") {
      const other = column.categories.includes(null) ? [] : [null];
      const options = [...column.categories, ...other];
      const texts = options.map((value, i) => [String(i), value === null ? "(missing)" : String(value)]);
      if (typeof (column.categories.find((value) => value !== null) ?? "") === "string")
        texts.push(["other", column.rare ? "(rare)" : "(another one)"]);
      const menu = choice(texts, "0", (key) => set(k, key === "other" ? "\u0000" : options[Number(key)]));
      return {
        first,
        element: labelled(column.name, menu),
        show: (value) => {
          const i = options.indexOf(value);
          menu.value = i < 0 ? "other" : String(i);
        },
      };
    }
    const [low, high, step] = range(column, first);
    const slider = element("input", {
      type: "range",
      min: low,
      max: high,
      step,
      input: () => set(k, Number(slider.value)),
    });
    const box = element("input", {
      type: "number",
      step: "any",
      "aria-label": `${column.name} as a number`,
      input: () => box.value !== "" && Number.isFinite(Number(box.value)) && set(k, Number(box.value)),
    });
    const field = labelled(column.name, slider);
    field.classList.add("slider");
    field.append(box);
    return {
      first,
      element: field,
      show: (value) => {
        slider.value = value;
        if (document.activeElement !== box) box.value = Number(value.toPrecision(6));
      },
    };
  }

  function set(k, value) {
    values[k] = value;
    app.soon(apply);
  }

  function apply(target = null, example = null) {
    controls.forEach((one, k) => one.show(values[k]));
    app.set(model.encode(values), target, false, example);
    behind.update();
  }

  /** The values of the columns that give the inputs of a row. */
  function decode(row) {
    return columns.map((column, k) => {
      const { first } = controls[k];
      if (column.kind !== "category") return raw(column, row.x[first]);
      const place = column.categories.findIndex((_, i) => row.x[first + i] > 0.5);
      return place < 0 ? "\u0000" : column.categories[place];
    });
  }

  function begin(from, target = null, example = null) {
    values = from;
    start = [...values];
    outputs.setStart(model.predict(model.encode(values)));
    apply(target, example);
  }

  const behind = tableBehind("The values as a table", () =>
    table(
      "Values",
      ["column", "value", "at the start"],
      columns.map((column, k) => [column.name, ...[values[k], start[k]].map(text)]),
    ),
  );
  const text = (value) =>
    value === null
      ? "missing"
      : value === "\u0000"
        ? "another one"
        : typeof value === "number"
          ? short(value, 6)
          : String(value);

  /** After a change of the network, the start is what it answers now for the values of the start. */
  function update() {
    if (app.isNetworkNew) outputs.setStart(model.predict(model.encode(start)));
  }

  const made = element(
    "div",
    { class: "sliders" },
    element(
      "div",
      { class: "fields" },
      controls.map((one) => one.element),
    ),
    element(
      "p",
      { class: "buttons" },
      button("Back to the start", () => begin([...start])),
      " ",
      button("Usual values", () => begin(columns.map(usual))),
    ),
    behind.element,
  );
  return {
    element: made,
    update,
    begin: () => begin(columns.map(usual)),
    showRow: (row, k) => begin(decode(row), row.target, k),
  };
}
