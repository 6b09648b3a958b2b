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
  const all = read("rows").map(([label, name, ...splits]) =>
    [label, name, ...splits, splits.reduce((sum, samples) => sum + samples, 0)]);
  const LAST = Number(table.tHead.querySelector("[aria-sort]").dataset.sort);
  const named = all.some((row) => row[1]);
  const STEP = 60;
  let sorted = all, found = all, shown = STEP, by = LAST, sign = -1;
  const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const searched = new Map(all.map((row) => [row, folded(`${row[0]} ${row[1]}`)]));
  const cell = (value, place) => {
    const one = document.createElement("td");
    const text = place > 1 ? count(value) : value;
    one.className = place > 1 ? "number" : place === 0 ? "key" : "";
    (place === LAST ? one.appendChild(document.createElement("b")) : one).textContent = text;
    return one;
  };
  const draw = () => {
    const lines = found.slice(0, shown).map((row) => {
      const line = document.createElement("tr");
      line.append(...row.map(cell).filter((_, place) => named || place !== 1));
      return line;
    });
    table.tBodies[0].replaceChildren(...lines);
    byId("found").textContent = found.length === all.length ? "" : `${count(found.length)} of ${count(all.length)}`;
    more.hidden = found.length <= shown;
    more.textContent = `${count(found.length - shown)} more`;
  };
  const search = () => {
    const words = folded(byId("find").value).split(/\s+/).filter(Boolean);
    found = sorted.filter((row) => words.every((word) => searched.get(row).includes(word)));
    shown = STEP;
    draw();
  };
  const sort = () => {
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    const order = (a, b) => by > 1 ? a[by] - b[by] : compare(a[by], b[by]);
    sorted = [...all].sort((a, b) => sign * order(a, b));
    search();
  };
  const more = document.createElement("button");
  more.type = "button";
  more.addEventListener("click", () => { shown += 10 * STEP; draw(); });
  table.parentElement.append(more);
  for (const head of table.tHead.querySelectorAll("[data-sort]")) {
    const button = document.createElement("button");
    button.textContent = head.textContent;
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
  byId("more")?.remove();
  search();
})();
