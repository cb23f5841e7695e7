// Runs in the page after its own script, and tells the embedding page what it found.
addEventListener("load", () => {
  const names = [...document.querySelectorAll("#rows th")].map((head) => head.textContent);
  const column = names.indexOf("accuracy %");
  const button = document.querySelectorAll("#rows th button")[column];
  button.click();
  button.click();
  const texts = (i) => [...document.querySelectorAll(`#rows tbody tr td:nth-child(${i + 1})`)].map((cell) => cell.textContent);

  // A name that covers another one in the same chart, by more than a pixel or two of empty line.
  const covered = [...document.querySelectorAll(".panels svg")].flatMap((chart) => {
    const labels = [...chart.querySelectorAll(".name")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2.5;
    return labels.flatMap(([name, a], i) => labels.slice(0, i).filter(([, b]) => over(a, b)).map(([other, b]) => `${name} (${a.left},${a.top} to ${a.right},${a.bottom}) over ${other} (${b.left},${b.top} to ${b.right},${b.bottom})`));
  });

  const tip = document.getElementById("tip");
  const points = [...document.querySelectorAll(".point")];
  const last = points.at(-1);
  last.dispatchEvent(new PointerEvent("pointerenter"));
  const box = tip.getBoundingClientRect();
  const hovered = { text: tip.textContent, shown: !tip.hidden, rows: document.querySelectorAll("tr.on").length, inside: box.left >= 0 && box.right <= innerWidth };
  last.dispatchEvent(new PointerEvent("pointerleave"));
  points[0].focus();
  points[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
  const focused = { text: tip.textContent, second: document.activeElement === points[1] };
  points[1].blur();

  const seen = (i) => document.querySelectorAll("#rows th")[i].offsetParent !== null;
  const best = names.indexOf("best %");
  const before = seen(best);
  document.getElementById(`c${best}`).click();
  const table = document.querySelector("#table .scroll");
  table.scrollLeft = 1000;
  const first = document.querySelector("#rows tbody td").getBoundingClientRect();
  const sticky = Math.abs(first.left - table.getBoundingClientRect().left) < 2;

  const found = {
    width: innerWidth, errors, sort: button.parentElement.ariaSort, accuracies: texts(column).map(parseFloat), settings: texts(0),
    charts: document.querySelectorAll(".panels svg").length, covered, hovered, focused, hiddenAfter: tip.hidden, menu: [before, seen(best)], sticky,
    named: [...document.querySelectorAll(".panels svg")].slice(0, 6).map((chart) => chart.querySelectorAll(".name").length),
    overflow: document.documentElement.scrollWidth > innerWidth,
  };
  parent.postMessage(found, "*");
});
