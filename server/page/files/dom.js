// Elements out of text and attributes. Nothing here parses HTML, so whatever people named or wrote stays text.

/** h("a", {class: "name", href, onclick: f}, "text", child, [more]): an element. A child that is null or false is left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in properties) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...flat(children));
  return element;
}
// What is set as a property, since the attribute is only its first value.
const properties = {value: true, checked: true, disabled: true, hidden: true};

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

export function replace(element, ...children) {
  element.replaceChildren(...flat(children));
}

/** Writes only what is different, so that a selection in the text survives the next refresh. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A table: head of strings, rows of arrays of cells (strings or nodes). */
export function table(head, rows, attributes = {}) {
  return h("div", {class: "scroll-x", tabindex: "0", role: "region", "aria-label": attributes.label ?? "table"},
    h("table", {class: attributes.class},
      h("thead", {}, h("tr", {}, head.map((cell) => h("th", {scope: "col"}, cell)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))));
}

export function empty(text) {
  return h("p", {class: "empty"}, text);
}

/** Asks before what cannot be undone. Resolves to whether it was confirmed. */
export function confirmed(question, verb) {
  return new Promise((resolve) => {
    const dialog = h("dialog", {class: "ask", onclose: () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    }}, h("p", {}, question), h("div", {class: "actions"},
      h("button", {type: "button", class: "danger", onclick: () => dialog.close("yes")}, verb),
      h("button", {type: "button", autofocus: true, onclick: () => dialog.close("no")}, "Leave it")));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** One frame's work at most once a frame. */
export function eachFrame(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}
