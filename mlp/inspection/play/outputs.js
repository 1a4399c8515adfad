// What the network answers: a table of probabilities with bars, or of predicted numbers.

function outputsView(app) {
  const { model } = app;
  const isLabel = model.structure.task === "labels";
  const answer = element("p", { class: "answer", "aria-live": "polite" });
  const content = element("div");
  let start = null; // the results that changes are compared with
  const bars = [];

  function build(results) {
    bars.length = 0;
    const isBar = model.structure.areProbabilities;
    const rows = results.map((_, k) => {
      const bar = element("span", { class: "bar" });
      const value = element("span", { class: "value" });
      const change = element("span", { class: "change" });
      bars.push({ bar, value, change });
      const name = results.length > 1 ? model.outputNames[k] : "prediction";
      return [name, isBar ? element("span", { class: "track" }, bar) : null, value, change].filter(Boolean);
    });
    const what = model.structure.areProbabilities ? "Probability" : model.classes.length ? "Score" : "Predicted number";
    const header = [
      isLabel ? "Label" : model.classes.length ? "Class" : "Output",
      ...(isBar ? ["Bar"] : []),
      what,
      "Change",
    ];
    content.replaceChildren(table(what, header, rows));
    content.querySelector("table").classList.add("outputs", ...(isBar ? [] : ["without-bars"]));
  }

  function update() {
    const results = model.results(app.pass.a[model.network.nLayers - 1]);
    if (bars.length !== results.length) build(results);
    const best = results.indexOf(Math.max(...results));
    results.forEach((value, k) => {
      bars[k].bar.style.width = `${100 * Math.max(0, Math.min(1, value))}%`;
      bars[k].value.textContent = model.structure.areProbabilities ? percent(value) : short(value, 6);
      const change = start ? value - start[k] : 0;
      const shown = model.structure.areProbabilities ? `${(100 * change).toFixed(1)} %` : short(change);
      bars[k].change.textContent =
        start && Math.abs(change) > 5e-4 ? `${change > 0 ? "+" : ""}${shown.replace("-", "−")}` : "";
      bars[k].bar.closest("tr")?.classList.toggle("best", model.isClassifier ? k === best : isLabel && value > 0.5);
    });
    content.querySelector("table").classList.toggle("without-change", !start);
    let text = "";
    if (app.isEmpty) text = "Nothing is drawn yet.";
    else if (model.isClassifier) {
      const sure = model.structure.areProbabilities ? `, with a probability of ${percent(results[best])}` : "";
      text = `The network answers ${model.classes[best]}${sure}.`;
    } else if (isLabel) text = `The network answers: ${model.answerText(results)}.`;
    else text = `The network predicts ${results.map((value) => short(value, 6)).join(", ")}.`;
    answer.setAttribute("aria-live", app.isTraining ? "off" : "polite");
    if (answer.textContent !== text) answer.textContent = text;
  }

  return {
    element: element("div", { class: "results" }, answer, content),
    update,
    setStart: (results) => {
      start = results;
    },
  };
}
