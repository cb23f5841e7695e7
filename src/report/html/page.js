"use strict";
const save = (name, type, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const [p, q] = [Number(x), Number(y)];
      // Long whole numbers, such as seeds, may be equal as numbers and differ as digits.
      const order = (Number.isNaN(p) || Number.isNaN(q) ? 0 : p - q) || x.localeCompare(y, "en", { numeric: true });
      return up ? order : -order;
    });
    table.tBodies[0].append(...rows);
  }));
}

// A mark that is hovered or focused tells its numbers, and its setting stands out in every chart and in the table.
const tip = document.getElementById("tip");
const mark = (row) => {
  document.querySelectorAll(".on").forEach((other) => other.classList.remove("on"));
  if (row) document.querySelectorAll(`[data-row="${row}"]`).forEach((other) => other.classList.add("on"));
};
const show = (point) => {
  mark(point.dataset.row);
  tip.textContent = point.getAttribute("aria-label");
  tip.hidden = false;
  const box = (point.querySelector(".mark") ?? point).getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${box.top > tip.offsetHeight + 12 ? box.top - tip.offsetHeight - 8 : box.bottom + 8}px`;
};
const hide = () => { tip.hidden = true; mark(null); };
for (const chart of document.querySelectorAll(".panels svg")) {
  const points = [...chart.querySelectorAll(".point")];
  points.forEach((point, i) => {
    point.querySelector("title").remove();
    point.setAttribute("tabindex", i === 0 ? 0 : -1);
    point.addEventListener("pointerenter", () => show(point));
    point.addEventListener("pointerleave", hide);
    point.addEventListener("focus", () => show(point));
    point.addEventListener("blur", hide);
    point.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      points[(i + step + points.length) % points.length].focus();
    });
  });
}

// What a link leads to may be folded.
const unfold = () => {
  let folded = document.getElementById(location.hash.slice(1))?.closest("details:not([open])");
  for (; folded; folded = folded.parentElement.closest("details:not([open])")) folded.open = true;
};
addEventListener("hashchange", () => { unfold(); document.getElementById(location.hash.slice(1))?.scrollIntoView(); });
unfold();

/** The panels of a figure in one file, two beside each other. */
const picture = (section) => {
  const namespace = "http://www.w3.org/2000/svg";
  const all = document.createElementNS(namespace, "svg");
  const style = document.createElementNS(namespace, "style");
  style.textContent = document.getElementById("charts").textContent;
  all.append(style);
  let [left, top, row, width] = [0, 0, 0, 0];
  section.querySelectorAll(".panels svg").forEach((panel, i) => {
    const { width: w, height: h } = panel.viewBox.baseVal;
    if (i % 2 === 0) [left, top, row] = [0, top + row, 0];
    const copy = panel.cloneNode(true);
    for (const [name, value] of Object.entries({ x: left, y: top, width: w, height: h })) copy.setAttribute(name, value);
    copy.removeAttribute("style");
    all.append(copy);
    [left, row] = [left + w, Math.max(row, h)];
    width = Math.max(width, left);
  });
  const attributes = { xmlns: namespace, width, height: top + row, viewBox: `0 0 ${width} ${top + row}` };
  for (const [name, value] of Object.entries(attributes)) all.setAttribute(name, value);
  return all.outerHTML;
};
for (const button of document.querySelectorAll("button[data-save]")) {
  button.addEventListener("click", () => {
    const { save: what, name } = button.dataset;
    if (what === "svg") save(name, "image/svg+xml", picture(button.closest(".figure")));
    else save(name, "application/json", document.getElementById("report").textContent);
  });
}
