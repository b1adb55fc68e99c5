// Tables sort by the column whose head is clicked or chosen by Enter: numbers as numbers, anything else as text.
"use strict";

function number(text) {
  const found = /^[-+−]?\d[\d,.]*/.exec(text);
  return found ? parseFloat(found[0].replaceAll(",", "").replace("−", "-")) : NaN;
}

function compare(cells) {
  const filled = cells.filter((cell) => cell !== "" && cell !== "-");
  if (filled.length && filled.every((cell) => !Number.isNaN(number(cell)))) {
    const last = (cell) => (Number.isNaN(number(cell)) ? Infinity : number(cell));
    return (left, right) => (last(left) === last(right) ? 0 : last(left) - last(right));
  }
  return new Intl.Collator("en", { numeric: true }).compare;
}

function sort(table, head) {
  const column = [...head.parentNode.children].indexOf(head);
  const upwards = head.getAttribute("aria-sort") !== "ascending";
  const rows = [...table.tBodies[0].rows];
  const cell = (row) => (row.cells[column] ? row.cells[column].textContent.trim() : "");
  const order = compare(rows.map(cell));
  rows.sort((left, right) => (upwards ? 1 : -1) * order(cell(left), cell(right)));
  for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("article table")) {
  if (!table.tHead || !table.tBodies.length || table.tBodies[0].rows.length < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    head.tabIndex = 0;
    head.setAttribute("aria-sort", "none");
    head.addEventListener("click", () => sort(table, head));
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort(table, head));
  }
}
