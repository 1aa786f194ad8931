"use strict";
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const table = header.closest("table");
    const column = [...header.parentElement.children].indexOf(header);
    const numeric = header.dataset.kind === "number";
    const down = header.getAttribute("aria-sort") === "descending" || (!numeric && !header.hasAttribute("aria-sort"));
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "ascending" : "descending");
    const value = (row) => row.children[column].dataset.value ?? row.children[column].textContent;
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // what is not known stays below
      const found = numeric ? Number(x) - Number(y) : x.localeCompare(y);
      return down ? found : -found;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order));
  });
}
