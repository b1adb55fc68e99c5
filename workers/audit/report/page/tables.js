// Tables sort by the column whose head is clicked or chosen by Enter: numbers as numbers, anything else as text.
// The report's page has it, and the documentation's site. A row of class "rest" stays last.
"use strict";

function number(text) {
  const found = /^[<>]?\s*([-+−]?\d[\d,.]*)/.exec(text);
  return found ? parseFloat(found[1].replaceAll(",", "").replace("−", "-")) : NaN;
}

function compare(cells) {
  const filled = cells.filter((cell) => cell !== "" && cell !== "-" && cell !== "–");
  if (filled.length && filled.every((cell) => !Number.isNaN(number(cell)))) {
    const last = (cell) => (Number.isNaN(number(cell)) ? Infinity : number(cell));
    return (left, right) => (last(left) === last(right) ? 0 : last(left) - last(right));
  }
  return new Intl.Collator("en", { numeric: true }).compare;
}

function cellOf(row, column) {
  return row.cells[column] ? row.cells[column].textContent.trim() : "";
}

function sort(table, head) {
  const column = [...head.parentNode.children].indexOf(head);
  const upwards = head.getAttribute("aria-sort") !== "ascending";
  const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains("rest"));
  const order = compare(rows.map((row) => cellOf(row, column)));
  rows.sort((left, right) => (upwards ? 1 : -1) * order(cellOf(left, column), cellOf(right, column)));
  for (const other of head.parentNode.children) {
    if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  }
  head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
  table.tBodies[0].prepend(...rows);
}

for (const table of document.querySelectorAll("main table:not(.matrix)")) {
  if (!table.tHead || !table.tBodies.length || table.tBodies[0].rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if ([...table.tBodies[0].rows].every((row) => cellOf(row, column) === "")) return; // pictures
    head.tabIndex = 0;
    head.setAttribute("aria-sort", "none");
    head.addEventListener("click", () => sort(table, head));
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort(table, head));
  });
}
