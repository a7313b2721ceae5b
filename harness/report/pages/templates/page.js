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
// Copies the rows of a table that are shown, in their order, as Markdown with the text of the cells, or as CSV with their
// numbers.
const put = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page that was opened from a file may not have a clipboard
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
};
for (const tools of document.querySelectorAll(".tools[data-of]")) {
  const table = document.getElementById(tools.dataset.of);
  const words = (cell) => {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll("sup, svg").forEach((one) => one.remove());
    const parts = [...copy.querySelectorAll("span, small")].filter((one) => !one.querySelector("span, small"));
    return (parts.length ? parts : [copy]).map((one) => one.textContent.trim()).filter(Boolean).join(" ");
  };
  const below = (cell) => [...cell.querySelectorAll("small")].map((one) => one.textContent.trim()).filter(Boolean).join(" ");
  const head = [...table.tHead.rows[table.tHead.rows.length - 1].cells].map(words);
  const first = table.tHead.rows.length > 1 ? [...table.tHead.rows[0].cells] : [];
  const groups = first.flatMap((cell) => Array(cell.colSpan).fill(cell.textContent.trim()));
  const names = head.map((name, column) => (groups[column] ? `${groups[column]}: ${name}` : name));
  const rows = () => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => [...row.cells]);
  const line = (cells) => `| ${cells.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const made = {
    markdown: () => [line(names), line(names.map((_, column) => (column ? "--:" : "---"))),
      ...rows().map((cells) => line(cells.map((cell, column) => (column ? words(cell) : cell.dataset.sort))))],
    // a column of numbers, then one of what stands below them where there is something: intervals, verdicts
    csv: () => {
      const beside = names.map((_, column) => column && [...table.tBodies[0].rows].some((row) => below(row.cells[column])));
      const wide = (cells, own, more) => cells.flatMap((cell, column) => (beside[column] ? [own(cell), more(cell)] : [own(cell)]));
      const number = (cell) => (cell.dataset.sort === undefined || cell.matches("th") ? cell.dataset.sort ?? "" : String(Number(cell.dataset.sort)));
      return [wide(names, (name) => name, (name) => `${name}: below`), ...rows().map((cells) => wide(cells, number, below))]
        .map((cells) => cells.map(quoted).join(","));
    },
  };
  for (const button of tools.querySelectorAll("button")) {
    button.addEventListener("click", async () => {
      const lines = made[button.dataset.as]();
      await put(`${lines.join("\n")}\n`);
      tools.querySelector("output").textContent = `${rows().length} rows copied`;
    });
  }
  tools.hidden = false;
}
// Saves a figure as an SVG file of its own, with the colours that the page shows it in; its panels lie one below another.
for (const tools of document.querySelectorAll(".tools[data-name]")) {
  const style = getComputedStyle(document.documentElement);
  const drawn = [...tools.closest("figure").querySelectorAll("svg")];
  tools.querySelector("button").addEventListener("click", () => {
    const whole = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    let [width, height] = [0, 0];
    for (const svg of drawn) {
      const { width: w, height: h } = svg.viewBox.baseVal;
      const panel = svg.cloneNode(true);
      for (const [name, value] of Object.entries({ x: 0, y: height, width: w, height: h })) panel.setAttribute(name, value);
      whole.append(panel);
      [width, height] = [Math.max(width, w), height + h];
    }
    [width, height] = [Math.ceil(width), Math.ceil(height)];
    const paper = document.createElementNS(whole.namespaceURI, "rect");
    for (const [name, value] of Object.entries({ width, height, fill: "var(--paper)" })) paper.setAttribute(name, value);
    whole.prepend(paper);
    for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) whole.setAttribute(name, value);
    const text = new XMLSerializer().serializeToString(whole)
      .replace(/var\((--[\w-]+)(?:, [^)]*)?\)/g, (_, name) => style.getPropertyValue(name).trim().replaceAll('"', "'"));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    link.download = `${tools.dataset.name}.svg`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  tools.hidden = false;
}
// Says the difference of two variants that are picked.
for (const two of document.querySelectorAll(".two")) {
  const { names, said } = JSON.parse(two.dataset.pairs);
  const [one, other] = two.querySelectorAll("select");
  const say = () => {
    const [a, b] = [one.selectedIndex, other.selectedIndex];
    two.querySelector("output").textContent = a === b ? "Pick two different variants." : said[a][b];
  };
  for (const [select, at] of [[one, 1], [other, 2]]) {
    select.append(...names.map((name, place) => new Option(name, name, place === at, place === at)));
    select.addEventListener("change", say);
  }
  say();
  two.hidden = false;
}
// A link to what lies in a folded section opens it.
for (const link of document.querySelectorAll("a[href^='#']")) {
  link.addEventListener("click", () => {
    const folded = document.getElementById(link.hash.slice(1))?.closest("details");
    if (folded) folded.open = true;
  });
}
