// A form for a job's spec, made from the text of spec.proto: its fields, in its order, with its comments as help.
import {h, replace, setText} from "./dom.js";

/** The messages and enums of a .proto file as ours are written: {messages: Map, enums: Map}, by name. */
export function parseProto(text) {
  const messages = new Map(), enums = new Map(), open = [];
  let comment = [];
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    const begins = /^(message|enum|oneof) (\w+) \{/.exec(line), field = /^(optional |repeated )?([\w.]+) (\w+) = \d+;(?:\s*\/\/ (.*))?$/.exec(line), value = /^([A-Z]\w*) = \d+;(?:\s*\/\/ (.*))?$/.exec(line);
    const holder = open.findLast(({kind}) => kind !== "oneof");
    if (line.startsWith("//")) {
      comment.push(line.slice(2).trim());
      continue;
    }
    if (begins) {
      const made = {kind: begins[1], name: begins[2], fields: [], values: []};
      open.push(made);
      if (made.kind === "message") messages.set(made.name, made);
      if (made.kind === "enum") enums.set(made.name, made);
    } else if (line === "}") {
      open.pop();
    } else if (value && holder?.kind === "enum") {
      holder.values.push(value[1]);
    } else if (field && holder?.kind === "message") {
      holder.fields.push({name: field[3], type: field[2], optional: field[1] === "optional ", repeated: field[1] === "repeated ", comment: [...comment, field[4]].filter(Boolean).join(" ")});
    }
    comment = [];
  }
  return {messages, enums};
}

const kWide = ["int64", "uint64"];  // As strings in JSON: they may be larger than JavaScript's numbers.
const kWhole = ["int32", ...kWide];

function toValue(type, text) {
  if (type === "bool") return text === "true";
  return type === "double" || type === "int32" ? Number(text) : text;
}

/** The input of a field that is no message; its value is "" where the field is left out. */
function inputFor(field, enums, list) {
  const attributes = {"aria-label": field.name, placeholder: /Defaults? ("[^"]*"|[^.;:]+(?:\.\d+)?)/.exec(field.comment)?.[1] ?? ""};
  const choices = enums.get(field.type)?.values.slice(1) ?? (field.type === "bool" && ["true", "false"]);
  if (choices) return h("select", attributes, h("option", {value: ""}, "default"), choices.map((value) => h("option", {value}, value)));
  if (field.name === "prompt_template" || field.name === "init_text") return h("textarea", {...attributes, rows: "2"});
  const number = !field.repeated && (field.type === "double" || kWhole.includes(field.type));
  return h("input", {...attributes, ...(number ? {type: "number", step: kWhole.includes(field.type) ? "1" : "any"} : {type: "text"}), list});
}

// One field: {element, path, take(): its value or undefined, fill(value), said: where its error stands}.
function scalar(field, path, {enums, listOf}) {
  const input = inputFor(field, enums, listOf(field.name)), said = h("p", {class: "error"});
  return {
    path, said, parts: [],
    element: h("div", {class: "field"}, h("span", {}, field.name), input, said, field.comment && h("p", {class: "help"}, field.comment)),
    take() {
      if (input.value === "") return undefined;
      return field.repeated ? input.value.split(",").map((one) => toValue(field.type, one.trim())) : toValue(field.type, input.value);
    },
    fill(value) { input.value = value === undefined ? "" : field.repeated ? value.join(", ") : String(value); },
  };
}

/** The fields of a message. `chosen`: it is there even when empty, where its box is marked (the parts of a method). */
function message(field, path, context, chosen) {
  const parts = context.messages.get(field.type).fields.filter(({comment}) => !comment.startsWith("Set at resolution only"))
    .map((inner) => (context.messages.has(inner.type) ? message(inner, `${path}.${inner.name}`, context, field.type === "Method") : scalar(inner, `${path}.${inner.name}`, context)));
  const box = chosen ? h("input", {type: "checkbox", "aria-label": field.name}) : null, said = h("p", {class: "error"});
  const element = h("details", {open: ["data", "method"].includes(field.name)}, h("summary", {}, box, box && " ", field.name), said, field.comment && h("p", {class: "help"}, field.comment), parts.map((part) => part.element));
  box?.addEventListener("change", () => { element.open = box.checked; });
  return {
    element, path, parts, said,
    take() {
      const value = takeAll(parts, path);
      return box ? (box.checked ? value : undefined) : Object.keys(value).length ? value : undefined;
    },
    fill(value) {
      if (box) box.checked = value !== undefined;
      if (value !== undefined) element.open = true;
      fillAll(parts, path, value ?? {});
    },
  };
}

const nameIn = (part, path) => part.path.slice(path.length + 1);
const takeAll = (parts, path) => Object.fromEntries(parts.map((part) => [nameIn(part, path), part.take()]).filter(([, value]) => value !== undefined));
const fillAll = (parts, path, value) => parts.forEach((part) => part.fill(value[nameIn(part, path)]));
const flat = (parts) => parts.flatMap((part) => [part, ...flat(part.parts)]);

/**
 * The form of one kind of work: "fine_tune" or "evaluate". `listOf(name)`: the id of the datalist that proposes values of a field, if
 * there is one. {element, take(): JobSpec, fill(JobSpec), complain(violations): what it could not show beside a field}.
 */
export function specForm(proto, kind, listOf) {
  const {type} = proto.messages.get("JobSpec").fields.find(({name}) => name === kind);
  const whole = message({name: kind, type, comment: ""}, kind, {...proto, listOf}, false);
  const element = h("div", {class: "form"}, whole.parts.map((part) => part.element));
  return {
    element,
    take: () => ({[kind]: whole.take() ?? {}}),
    fill: (spec) => fillAll(whole.parts, kind, spec[kind] ?? {}),
    complain(violations) {
      const parts = flat(whole.parts), left = [];
      parts.forEach(({said}) => setText(said, ""));
      for (const {field = "", description = ""} of violations) {
        const path = field.slice(Math.max(0, field.indexOf(kind))).replace(/\[\d+\]/g, "");
        const part = parts.find((one) => one.path === path);
        if (!part) left.push(`${field}: ${description}`);
        else setText(part.said, [part.said.textContent, description].filter(Boolean).join("; "));
      }
      return left;
    },
  };
}

export function datalist(id, values) {
  const element = h("datalist", {id});
  replace(element, values.map((value) => h("option", {value})));
  return element;
}
