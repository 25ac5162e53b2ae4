"use strict";
// Sorting, search and radar of the tables that the page already holds. Text reaches the page by textContent only.
const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["#2f6f9f", "#c0662a", "#4b8b4f", "#8d5aa5", "#a8323e", "#7a7a2a"];
const CENTRE = 230; // of the radar, with room for labels beside it
const SHOWN = 4; // rows in a radar when the page opens

function make(name, attributes = {}, text = "") {
  const element = name === "svg" || attributes.svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (key !== "svg") element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

function sortable(table) {
  const body = table.tBodies[0];
  table.querySelectorAll("th[data-sort]").forEach((head) => {
    const button = make("button", { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const kind = head.dataset.sort;
      const first = kind === "high" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? (first === "ascending" ? "descending" : "ascending") : first;
      table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[head.cellIndex].dataset.value;
      const compare = (a, b) => {
        const [one, other] = [value(a), value(b)];
        if (one === "" || other === "") return (one === "") - (other === ""); // what is missing stays last
        return sign * (kind === "text" ? one.localeCompare(other) : Number(one) - Number(other));
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

function point(index, count, share) {
  const angle = (2 * Math.PI * index) / count - Math.PI / 2;
  return [CENTRE + 105 * share * Math.cos(angle), 140 + 105 * share * Math.sin(angle)];
}

function draw(rows, chosen) {
  const labels = rows[0].labels;
  const picture = make("svg", { viewBox: `0 0 ${2 * CENTRE} 280`, role: "img", "aria-label": "Radar of the chosen rows, 0 in the middle, 100 outside" });
  const ring = (share) => labels.map((_, at) => point(at, labels.length, share).map((one) => one.toFixed(1)).join(",")).join(" ");
  for (const share of [0.25, 0.5, 0.75, 1]) picture.append(make("polygon", { svg: true, class: "web", points: ring(share) }));
  labels.forEach((label, at) => {
    const [x, y] = point(at, labels.length, 1.14);
    const anchor = Math.abs(x - CENTRE) < 12 ? "middle" : x > CENTRE ? "start" : "end";
    const words = label.split(" ");
    const text = make("text", { svg: true, x, y: y - 2, "text-anchor": anchor });
    words.forEach((word, line) => text.append(make("tspan", { svg: true, x, dy: line ? 12 : 0 }, word)));
    picture.append(text);
  });
  rows.forEach((row, at) => {
    if (!chosen.has(at)) return;
    const colour = COLOURS[at % COLOURS.length];
    const known = row.values.map((value, axis) => (value === null ? null : point(axis, labels.length, value / 100)));
    const points = known.filter((one) => one !== null).map((one) => one.map((number) => number.toFixed(1)).join(","));
    const shape = known.includes(null) ? "polyline" : "polygon";
    picture.append(make(shape, { svg: true, points: points.join(" "), fill: shape === "polygon" ? colour : "none", "fill-opacity": "0.12", stroke: colour, "stroke-width": "2" }));
  });
  return picture;
}

function radar(board) {
  const rows = JSON.parse(board.querySelector(".axes").textContent);
  if (!rows.length || rows[0].labels.length < 3) return;
  const place = board.querySelector(".radar");
  const chosen = new Set([...rows.keys()].filter((at) => at < SHOWN));
  const list = make("ul");
  rows.forEach((row, at) => {
    const label = make("label");
    const box = make("input", { type: "checkbox" });
    box.checked = chosen.has(at);
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(at);
      else chosen.delete(at);
      place.firstChild.replaceWith(draw(rows, chosen));
    });
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = COLOURS[at % COLOURS.length];
    label.append(box, " ", swatch, row.model);
    const item = make("li");
    item.append(label);
    list.append(item);
  });
  place.append(draw(rows, chosen), list);
  place.hidden = false;
}

function searchable() {
  const find = document.getElementById("find");
  find.closest("form").hidden = false;
  find.closest("form").addEventListener("submit", (event) => event.preventDefault());
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    document.querySelectorAll(".ranking").forEach((table) => {
      const facts = (table.closest(".board")?.querySelector(".facts").textContent ?? "").toLowerCase();
      for (const row of table.tBodies[0].rows) {
        const text = `${row.cells[0].textContent} ${row.querySelector("th").textContent} ${facts}`.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        if (!row.hidden) count += 1;
      }
    });
    document.getElementById("found").textContent = words.length ? `${count} rows` : "";
  });
}

document.querySelectorAll("table").forEach(sortable);
document.querySelectorAll(".board").forEach(radar);
searchable();
