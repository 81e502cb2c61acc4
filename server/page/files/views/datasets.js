// Data sets, and their first rows as they would train.
import {all, get, poll, post, put, remove} from "../api.js";
import {confirmed, empty, h, replace, setText, table} from "../dom.js";
import {ago, bytes, clock, count, short} from "../format.js";

const kPollSeconds = 5, kPreviewRows = 5;

// A name as the server takes it, of a file's.
const nameOf = (file) => file.name.replace(/(\.(jsonl|json|csv|tsv|txt|text))?(\.gz)?$/, "").replace(/[^\w.-]/g, "_").replace(/^\./, "_").slice(0, 128);

function uploadForm() {
  const file = h("input", {type: "file", required: true, "aria-label": "File", onchange: () => { if (!name.value && file.files[0]) name.value = nameOf(file.files[0]); }});
  const name = h("input", {placeholder: "its name", required: true, "aria-label": "Name"}), said = h("p", {role: "status"});
  async function send(event) {
    event.preventDefault();
    said.classList.remove("error");
    setText(said, "Every row is read …");
    try {
      const [chosen] = file.files;
      const made = await put(`datasets/${encodeURIComponent(name.value)}`, chosen, "application/octet-stream", {"metadata.file_name": chosen.name, "metadata.size_bytes": chosen.size});
      setText(said, `${made.name} has ${count(made.num_rows)} rows.`);
    } catch (error) {
      said.classList.add("error");
      setText(said, error.message);
    }
  }
  return h("form", {class: "bar", onsubmit: send}, h("h2", {}, "Upload"), file, name, h("button", {class: "primary"}, "Upload"), said);
}

function list(host, signal) {
  const found = h("div", {});
  let shown = "";
  replace(host, h("h1", {}, "Data sets"), uploadForm(), found);
  poll(kPollSeconds, signal, async () => {
    const datasets = await all("datasets", "datasets", {}, signal);
    if (shown === JSON.stringify(datasets)) return;
    shown = JSON.stringify(datasets);
    replace(found, datasets.length ? table(["Data set", "Rows", "Fields", "Size", "Format", "Made"], datasets.map((one) => [h("a", {href: `#/datasets/${encodeURIComponent(one.name)}`}, one.name), count(one.num_rows),
      (one.fields ?? []).join(", "), bytes(one.size_bytes), short(one.format, "DATASET_FORMAT_").toLowerCase(), ago(one.create_time)]), {label: "Data sets"})
      : empty("No data sets yet: JSON lines, CSV or text, packed by gzip or not."));
  }, (error) => replace(found, empty(error.message)));
}

// A row's tokens as pieces; those that are labels are underlined.
function example({line, ids = [], num_prompt_tokens: labelled = 0, prompt, target, source_tokens_cut: sourceCut = 0, target_tokens_cut: targetCut = 0}) {
  const cut = [sourceCut && `${count(sourceCut)} tokens of the source`, targetCut && `${count(targetCut)} of the target`].filter(Boolean).join(" and ");
  return h("section", {class: "panel"}, h("h2", {}, `Line ${count(line)}: ${count(ids.length)} tokens, ${count(ids.length - labelled)} of them labels`), cut && h("p", {class: "error"}, `${cut} would be cut`),
    h("div", {class: "two"}, h("div", {}, h("p", {class: "help"}, "Prompt"), h("div", {class: "text wide"}, prompt ?? "")), h("div", {}, h("p", {class: "help"}, "Target"), h("div", {class: "text wide"}, target ?? ""))),
    h("details", {}, h("summary", {}, "Tokens"), h("p", {class: "pieces"}, ids.map((id, place) => [h("span", {class: place >= labelled ? "piece label" : "piece"}, String(id)), " "]))));
}

async function one(host, name, signal) {
  const path = `datasets/${encodeURIComponent(name)}`, said = h("p", {class: "error", role: "alert"});
  let dataset, models;
  try {
    [dataset, models] = await Promise.all([get(path, {}, signal), all("models", "models", {}, signal)]);
  } catch (error) {
    return signal.aborted || replace(host, empty(error.message));
  }
  const erase = async () => {
    if (!await confirmed(`Delete the data set ${name}?`, "Delete")) return;
    await remove(path).then(() => { location.hash = "#/datasets"; }, (error) => setText(said, error.message));
  };
  const model = h("select", {"aria-label": "Base model, whose tokens"}, models.map((each) => h("option", {}, each.name)));
  const fields = dataset.fields ?? [], plain = fields.length === 1;
  const field = (label, chosen) => h("select", {"aria-label": label}, fields.map((each) => h("option", {selected: each === chosen}, each)));
  const source = field("Source", "document"), target = field("Target", "summary"), most = h("input", {type: "number", min: "1", placeholder: "source tokens", "aria-label": "Most tokens of the source"});
  const shown = h("div", {class: "form"});
  async function preview(event) {
    event?.preventDefault();
    const data = plain ? {text_field: fields[0]} : {source_field: source.value, target_field: target.value, ...(most.value && {max_source_tokens: Number(most.value)})};
    await post(`${path}:preview`, {base_model: model.value, data, num_rows: kPreviewRows}, {}, signal)
      .then(({examples = []}) => replace(shown, examples.map(example)), (error) => signal.aborted || replace(shown, empty(error.message)));
  }
  replace(host, h("div", {class: "bar"}, h("h1", {}, name), h("div", {class: "actions"}, h("button", {type: "button", class: "danger", onclick: erase}, "Delete"))), said,
    h("p", {class: "facts"}, `${count(dataset.num_rows)} rows · ${fields.join(", ")} · ${bytes(dataset.size_bytes)} · ${short(dataset.format, "DATASET_FORMAT_").toLowerCase()} · made ${clock(dataset.create_time)}`),
    models.length ? h("form", {class: "bar", onsubmit: preview}, h("h2", {}, "The first rows as they would train"), model, !plain && [source, target, most], h("button", {class: "primary"}, "Show")) : empty("A base model's tokenizer is needed to show rows: graft models add NAME FOLDER"), shown);
  if (models.length) await preview();
}

export function open(host, {parts: [name], signal}) {
  return name ? one(host, name, signal) : list(host, signal);
}
