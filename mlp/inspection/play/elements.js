// Elements of the page, and numbers as text.

/** An element with attributes (functions are listeners), and children: elements or texts, which are never parsed. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

let numberOfIds = 0;

/** A label with its control. */
function labelled(text, control) {
  control.id ||= `control-${(numberOfIds += 1)}`;
  return element("div", { class: "field" }, element("label", { for: control.id }, text), control);
}

function choice(options, value, onChange) {
  const made = element(
    "select",
    { change: () => onChange(made.value) },
    options.map(([key, text]) => element("option", { value: key, selected: key === value }, text)),
  );
  return made;
}

/** Radio buttons in a row. */
function radios(legend, options, value, onChange) {
  numberOfIds += 1;
  const group = `group-${numberOfIds}`;
  return element(
    "fieldset",
    { class: "radios" },
    element("legend", {}, legend),
    options.map(([key, text]) =>
      element(
        "label",
        {},
        element("input", {
          type: "radio",
          name: group,
          value: key,
          checked: key === value,
          change: () => onChange(key),
        }),
        element("span", {}, text),
      ),
    ),
  );
}

function button(text, onClick, attributes = {}) {
  return element("button", { type: "button", click: onClick, ...attributes }, text);
}

/** Areas that scroll are stops of the tab key, so that keys can scroll them; others are not. */
const scrollers = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const area = target.closest(".scroll");
    if (area.scrollWidth > area.clientWidth + 1 || area.scrollHeight > area.clientHeight + 1) area.tabIndex = 0;
    else area.removeAttribute("tabindex");
  }
});

/** A table that scrolls if it is large; cells are texts or elements. */
function table(caption, header, rows) {
  const body = rows.map((cells) =>
    element(
      "tr",
      {},
      cells.map((cell, k) => {
        const content = typeof cell === "string" ? rich(cell) : cell;
        return k
          ? element("td", {}, content)
          : element("th", { scope: "row" }, element("span", { class: "name" }, content));
      }),
    ),
  );
  const area = element(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", {}, caption),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          header.map((cell) => element("th", { scope: "col" }, rich(cell))),
        ),
      ),
      element("tbody", {}, body),
    ),
  );
  scrollers.observe(area);
  scrollers.observe(area.firstChild);
  return area;
}

/** A table behind a picture, made when it is opened and while it is open. */
function tableBehind(summary, make) {
  const content = element("div");
  const details = element("details", {}, element("summary", {}, summary), content);
  const update = () => {
    if (details.open) content.replaceChildren(make());
  };
  details.addEventListener("toggle", update);
  return { element: details, update };
}

/** A number with four significant digits, and a proper minus. */
function short(value, digits = 4) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 1e-4 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−").replace("e+", "e");
}

function percent(share) {
  const value = 100 * share;
  return `${value > 99.9 && value < 100 ? "> 99.9" : value < 0.1 && value > 0 ? "< 0.1" : value.toFixed(1)} %`;
}

const DIGITS = { superscript: "⁰¹²³⁴⁵⁶⁷⁸⁹", subscript: "₀₁₂₃₄₅₆₇₈₉" };

function written(number, style) {
  return String(number).replace(/\d/g, (digit) => DIGITS[style][digit]);
}

/** "z⁽¹⁾", or "z₃⁽¹⁾" for one entry. */
function symbol(letter, layer, entry = "") {
  return `${letter}${written(entry, "subscript")}⁽${written(layer, "superscript")}⁾`;
}

/** A text whose small raised and lowered characters become elements, which every font shows alike. */
function rich(text) {
  const plain = (part) =>
    Array.from(part, (character) => {
      for (const digits of Object.values(DIGITS)) {
        if (digits.includes(character)) return digits.indexOf(character);
      }
      return { "⁽": "(", "⁾": ")" }[character];
    }).join("");
  return text
    .split(/([⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾]+|[₀₁₂₃₄₅₆₇₈₉]+)/)
    .filter(Boolean)
    .map((part) =>
      /[⁰¹²³⁴⁵⁶⁷⁸⁹⁽]/.test(part[0])
        ? element("sup", {}, plain(part))
        : /[₀-₉]/.test(part[0])
          ? element("sub", {}, plain(part))
          : part,
    );
}
