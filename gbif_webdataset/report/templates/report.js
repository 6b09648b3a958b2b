"use strict";
// Texts of the dataset enter the page only through textContent, never as HTML.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const count = (number) => number.toLocaleString("en");
  const byId = (id) => document.getElementById(id);

  const tip = byId("tip");
  const hide = () => { tip.hidden = true; };
  const show = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 12, innerWidth - width - 6);
    const above = event.clientY - height - 10;
    tip.style.left = `${Math.max(6, left)}px`;
    tip.style.top = `${above < 4 ? event.clientY + 18 : above}px`;
  };
  const world = document.querySelector("#world svg");
  const cells = read("cells");
  const side = Number(byId("world")?.dataset.cell);
  const ofMap = (event) => {
    const box = world.getBoundingClientRect();
    const scale = world.viewBox.baseVal.width / box.width;
    const places = [event.clientX - box.left, event.clientY - box.top];
    const [column, row] = places.map((place) => Math.floor(place * scale / side));
    const samples = cells[`${column},${row}`];
    return samples && `${count(samples)} ${samples === 1 ? "sample" : "samples"} here`;
  };
  const showTip = (event) => {
    const at = event.target;
    const text = world && world.contains(at) ? ofMap(event) : at.closest?.("[data-tip]")?.dataset.tip;
    if (text) show(event, text); else hide();
  };
  addEventListener("pointermove", showTip);
  addEventListener("pointerdown", showTip);
  addEventListener("scroll", hide, { passive: true });
  document.documentElement.addEventListener("pointerleave", hide);

  const regions = new Intl.DisplayNames(["en"], { type: "region", fallback: "none" });
  for (const name of document.querySelectorAll("[data-region]")) {
    const code = name.dataset.region;
    if (/^[A-Z]{2}$/.test(code)) name.textContent = regions.of(code) ?? code;
  }
  for (const name of document.querySelectorAll(".bars .name")) name.title = name.textContent;

  const table = byId("classes-table");
  const italics = new Map();  // by row, how many letters of the name, or of the label without one, are in italics
  const all = read("rows").map(([label, italic, rest, ...splits]) => {
    const row = [label, italic + rest, ...splits, splits.reduce((sum, samples) => sum + samples, 0)];
    italics.set(row, italic.length);
    return row;
  });
  const LAST = Number(table.tHead.querySelector("[aria-sort]").dataset.sort);
  const named = table.classList.contains("named");
  const STEP = 25;
  let sorted = all, found = all, shown = STEP, by = LAST, sign = -1;
  const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const searched = new Map(all.map((row) => [row, folded(`${row[0]} ${row[1]}`)]));
  const element = (tag, text, kind) => {
    const one = document.createElement(tag);
    if (kind) one.className = kind;
    one.append(text);
    return one;
  };
  const nameCell = (row) => {
    const one = element("td", "", "name");
    row[1].slice(0, italics.get(row)).split(/( (?:subsp|ssp|var|f)\. )/).forEach((part, place) =>
      one.append(place % 2 || !part ? part : element("i", part)));
    one.append(row[1].slice(italics.get(row)));
    return one;
  };
  const drawRow = (row) => {
    const line = document.createElement("tr");
    line.append(nameCell(row), ...(named ? [element("td", row[0], "key")] : []));
    line.append(...row.slice(2).map((number, place) =>
      element("td", place + 2 === LAST ? element("b", count(number)) : count(number), "number")));
    return line;
  };
  const draw = () => {
    table.tBodies[0].replaceChildren(...found.slice(0, shown).map(drawRow));
    byId("found").textContent = found.length === all.length ? "" : `${count(found.length)} of ${count(all.length)}`;
    more.hidden = found.length <= shown;
    more.textContent = `Show more (${count(found.length - shown)} not shown)`;
  };
  const search = () => {
    const words = folded(byId("find").value).split(/\s+/).filter(Boolean);
    found = sorted.filter((row) => words.every((word) => searched.get(row).includes(word)));
    shown = STEP;
    draw();
  };
  const sort = () => {
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    const difference = (a, b) => by > 1 ? a[by] - b[by] : compare(a[by], b[by]);
    sorted = [...all].sort((a, b) => sign * difference(a, b));
    search();
  };
  const more = document.createElement("button");
  more.type = "button";
  more.addEventListener("click", () => { shown += 10 * STEP; draw(); });
  more.id = "more";
  byId("more")?.remove();
  table.parentElement.after(more);
  for (const head of table.tHead.querySelectorAll("[data-sort]")) {
    const button = element("button", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const place = Number(head.dataset.sort);
      sign = place === by ? -sign : place > 1 ? -1 : 1;
      by = place;
      table.tHead.querySelector("[aria-sort]").removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      sort();
    });
  }
  byId("find").addEventListener("input", search);
  document.querySelector(".find").hidden = false;
  search();
})();
