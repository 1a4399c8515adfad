// The settings of the training in the page: optimizer, learning rate, batches, weight decay and clipping.

/** The controls, and `settings` for a training; `onChange` is called after every change. */
function trainingSettings(model, onChange) {
  const { rules, schedule, ...own } = model.data.training;
  let { rule, batchSize, shuffle } = own;
  let isScheduled = schedule !== null;
  const more = {
    weightDecay: own.weightDecay,
    clipValue: own.clipValue,
    clipNorm: own.clipNorm,
    labelSmoothing: own.labelSmoothing,
  };

  /** A field for a number that is at least `least`; with `none`, an empty field is null. */
  function numberInput(value, least, change, none = false) {
    const made = element("input", { type: "number", step: "any", min: least, value: value ?? "" });
    made.addEventListener("change", () => {
      const read = Number(made.value);
      if (made.value === "" && none) change(null);
      else if (made.value === "" || !Number.isFinite(read) || read < least) return;
      else change(read);
      onChange();
    });
    return made;
  }

  const rate = numberInput(rules[rule].rate, 0, (value) => {
    rules[rule].rate = value;
  });
  const momentum = numberInput(0.9, 0, (value) => {
    rules[rule].hyper.momentum = value;
  });
  const momentumField = labelled("Momentum", momentum);
  const rateField = labelled("Learning rate", rate);

  function show() {
    rate.value = rules[rule].rate;
    rateField.querySelector("label").textContent = isScheduled ? "Learning rate at first" : "Learning rate";
    momentumField.hidden = rules[rule].hyper.momentum === undefined;
    if (!momentumField.hidden) momentum.value = rules[rule].hyper.momentum;
  }

  const menu = choice(
    Object.entries(rules).map(([key, { label }]) => [key, label]),
    rule,
    (value) => {
      rule = value;
      show();
      onChange();
    },
  );
  const scheduleMenu =
    schedule &&
    choice(
      [
        ["own", schedule.label],
        ["constant", "constant"],
      ],
      "own",
      (value) => {
        isScheduled = value === "own";
        show();
        onChange();
      },
    );
  const scheduleField = scheduleMenu && labelled("Schedule of the rate", scheduleMenu);
  scheduleField?.classList.add("wide");
  const batches = numberInput(batchSize, 1, (value) => {
    batchSize = Math.round(value);
  });
  const order = element("input", {
    type: "checkbox",
    checked: shuffle,
    change: () => {
      shuffle = order.checked;
      onChange();
    },
  });
  const optional = (label, name, none) =>
    labelled(
      label,
      numberInput(
        more[name],
        0,
        (value) => {
          more[name] = value;
        },
        none,
      ),
    );
  const isSmoothed = ["cross_entropy", "binary_cross_entropy"].includes(model.structure.loss);
  const isUsed = Object.values(more).some(Boolean);
  const others = element(
    "details",
    { open: isUsed },
    element("summary", {}, "Weight decay and clipping"),
    element(
      "div",
      { class: "fields" },
      optional("Weight decay", "weightDecay", false),
      optional("Largest entry of the gradient", "clipValue", true),
      optional("Largest norm of the gradient", "clipNorm", true),
      isSmoothed ? optional("Label smoothing", "labelSmoothing", false) : null,
    ),
  );
  show();

  /** The schedule from its beginning, with the learning rate of the field. */
  function currentSchedule() {
    const learningRate = rules[rule].rate;
    if (!isScheduled) return { name: "constant", settings: { learning_rate: learningRate } };
    const settings = { ...schedule.settings, learning_rate: learningRate };
    if ("current" in settings) settings.current = learningRate;
    return { name: schedule.name, settings };
  }

  return {
    elements: [
      element(
        "div",
        { class: "fields" },
        labelled("Optimizer", menu),
        rateField,
        momentumField,
        labelled("Batch size", batches),
        scheduleField,
        element("label", { class: "check" }, order, element("span", {}, "New order of the rows in each epoch")),
      ),
      others,
    ],
    get isScheduled() {
      return isScheduled;
    },
    read: (n, seed) => ({
      ...more,
      rule,
      hyper: { ...rules[rule].hyper },
      schedule: currentSchedule(),
      batchSize: Math.max(1, Math.min(batchSize, n)),
      shuffle,
      seed,
      // they are for the layers that the network had
      rateFactors: model.isRebuilt ? [] : own.rateFactors,
    }),
  };
}
