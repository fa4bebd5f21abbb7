// Sorts the table by a column, marks the curves of the row under the pointer, and opens the runs that a link leads to.

const results = document.getElementById("results"), lines = results.tBodies[0];

function compared(first, second) {  // numbers by their size, text by its letters, what is missing last
  const numbers = [first, second].map((cell) => parseFloat(cell.replaceAll(",", "")));
  const missing = [first, second].map((cell, i) => cell === "–" || (cell === "nan" && Number.isNaN(numbers[i])));
  if (missing[0] || missing[1]) return { missing: missing[0] - missing[1], order: 0 };
  const both = numbers.every(Number.isFinite);
  return { missing: 0, order: both ? numbers[0] - numbers[1] : first.localeCompare(second) };
}

results.querySelectorAll("th").forEach((heading, column) => {
  heading.querySelector("button").addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    results.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sorted = [...lines.rows].sort((a, b) => {
      const { missing, order } = compared(a.cells[column].textContent.trim(), b.cells[column].textContent.trim());
      return missing || (down ? -order : order);
    });
    lines.append(...sorted);
  });
});

const plots = document.getElementById("curves");
for (const item of document.querySelectorAll("tr[data-row], li[data-row]")) {
  const mark = (on) => {
    if (!plots) return;
    plots.classList.toggle("apart", on);
    for (const path of plots.querySelectorAll("path.curve")) path.classList.toggle("marked", on && path.dataset.row === item.dataset.row);
  };
  item.addEventListener("pointerenter", () => mark(true));
  item.addEventListener("pointerleave", () => mark(false));
}

for (const link of document.querySelectorAll("a[href^='#row-']")) {
  link.addEventListener("click", () => { document.querySelector(link.getAttribute("href")).open = true; });
}
