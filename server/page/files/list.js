// A list of any length: only the rows that can be seen exist.
import {h, eachFrame} from "./dom.js";

const kSpare = 6;  // Rows beyond each edge.

/**
 * `columns`: [{title, class, make(cell), fill(cell, item)}]; `key(item)` tells items apart; `open(item)` is what Enter and a double click do,
 * `pick(item)` what x does. The arrow keys, Home, End, PageUp and PageDown move the cursor.
 */
export class VirtualList {
  constructor({label, columns, key, open, pick}) {
    Object.assign(this, {columns, key, open, pick, items: [], rows: new Map(), current: null});
    this.body = h("div", {class: "list-body", role: "rowgroup"});
    this.scroller = h("div", {class: "list-scroller", tabindex: "0", role: "grid", "aria-label": label, onscroll: () => this.draw(), onkeydown: (event) => this.move(event)}, this.body);
    this.element = h("div", {class: "list"},
      h("div", {class: "list-head list-row", role: "row"}, columns.map(({title, class: name}) => h("span", {class: name, role: "columnheader"}, title))), this.scroller);
    this.draw = eachFrame(() => this.render());
    new ResizeObserver(() => this.draw()).observe(this.scroller);
  }

  set(items) {
    this.items = items;
    this.scroller.setAttribute("aria-rowcount", String(items.length));
    this.draw();
  }

  rowHeight() {
    return parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 40;
  }

  render() {
    const height = this.rowHeight(), {scrollTop, clientHeight} = this.scroller;
    this.body.style.height = `${this.items.length * height}px`;
    const first = Math.max(0, Math.floor(scrollTop / height) - kSpare);
    const last = Math.min(this.items.length, Math.ceil((scrollTop + clientHeight) / height) + kSpare);
    const wanted = new Map();
    for (let place = first; place < last; ++place) wanted.set(this.key(this.items[place]), place);
    for (const [key, row] of this.rows) {
      if (wanted.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    for (const [key, place] of wanted) {
      let row = this.rows.get(key);
      if (!row) this.body.append(row = this.make(key));
      row.style.transform = `translateY(${place * height}px)`;
      row.setAttribute("aria-rowindex", String(place + 1));
      row.setAttribute("aria-selected", String(key === this.current));
      this.columns.forEach((column, index) => column.fill(row.children[index], this.items[place]));
    }
    this.scroller.setAttribute("aria-activedescendant", this.rows.get(this.current)?.id ?? "");
  }

  make(key) {
    const row = h("div", {class: "list-row", role: "row", id: `row-${key.replace(/[^\w-]/g, "_")}`, onclick: () => this.select(key), ondblclick: () => this.open(this.find(key))},
      this.columns.map(({class: name, make}) => {
        const cell = h("span", {class: name, role: "gridcell"});
        make?.(cell, () => this.find(key));
        return cell;
      }));
    this.rows.set(key, row);
    return row;
  }

  find(key) {
    return this.items.find((item) => this.key(item) === key);
  }

  select(key) {
    this.current = key;
    this.draw();
  }

  move(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.scroller) return;
    const height = this.rowHeight(), page = Math.max(1, Math.floor(this.scroller.clientHeight / height) - 1);
    const now = this.items.findIndex((item) => this.key(item) === this.current);
    const steps = {ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -this.items.length, End: this.items.length};
    if (event.key in steps && this.items.length) {
      const place = Math.min(this.items.length - 1, Math.max(0, now < 0 ? 0 : now + steps[event.key]));
      if (place * height < this.scroller.scrollTop) this.scroller.scrollTop = place * height;
      const below = (place + 1) * height - this.scroller.clientHeight;
      if (below > this.scroller.scrollTop) this.scroller.scrollTop = below;
      this.select(this.key(this.items[place]));
    } else if (now >= 0 && event.key === "Enter") this.open(this.items[now]);
    else if (now >= 0 && event.key === "x" && this.pick) this.pick(this.items[now]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
