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
// Hides the rows of a table that do not have every word of the text in their name, or are of another family.
for (const filter of document.querySelectorAll(".filter")) {
  const rows = [...document.getElementById(filter.dataset.of).tBodies[0].rows];
  const [text, family] = [filter.querySelector("input"), filter.querySelector("select")];
  const apply = () => {
    const words = text.value.toLowerCase().split(/[\s;]+/).filter(Boolean);
    for (const row of rows) {
      const name = row.cells[0].dataset.sort.toLowerCase();
      row.hidden = !words.every((word) => name.includes(word)) || Boolean(family?.value && row.dataset.family !== family.value);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    filter.querySelector("output").textContent = `${shown} of ${rows.length} rows`;
  };
  text.addEventListener("input", apply);
  family?.addEventListener("change", apply);
  filter.querySelector("button").addEventListener("click", () => {
    text.value = "";
    if (family) family.value = "";
    apply();
    text.focus();
  });
  apply(); // a browser may bring an old text back
  filter.hidden = false;
}
