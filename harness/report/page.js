"use strict";
// Sorts a table by the column whose heading is pressed: first the way that reads best, then the other; gaps stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const key = (row, column) => row.cells[column].dataset.sort;
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") === "descending"
        || (heading.getAttribute("aria-sort") === "none" && column === 0);
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const rows = [...body.rows];
      rows.sort((one, two) => {
        const [a, b] = [key(one, column), key(two, column)];
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        const order = column === 0 ? a.localeCompare(b, undefined, { numeric: true }) : Number(a) - Number(b);
        return ascending ? order : -order;
      });
      body.append(...rows);
    });
  });
}
