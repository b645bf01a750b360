"use strict";
/* What a page can do with its own content. Without this script all of it can still be read. */
(() => {
  const save = (content, name, type) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", () => act(made));
    return made;
  };

  /* Pages: names become links where the reader came from another page of the report. */
  if (location.hash.startsWith("#report")) {
    for (const name of document.querySelectorAll("[data-page]")) {
      const link = document.createElement("a");
      link.href = `${name.dataset.page}#report`;
      link.append(...name.childNodes);
      name.append(link);
    }
    document.body.classList.add("has-links");
  }

  /* Tables: by the numbers that cells carry, else by their text; what is missing comes last. */
  const text = (cell) => cell.textContent.trim();
  const number = (cell) => ("value" in cell.dataset ? Number(cell.dataset.value) : NaN);
  const isMissing = (cell) => text(cell) === "–" || text(cell) === "";
  const compare = (a, b, sign) => {
    if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
    const difference = number(a) - number(b);
    if (!Number.isNaN(difference)) return sign * difference;
    return sign * text(a).localeCompare(text(b), "en", { numeric: true });
  };

  const lines = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]);
    const columns = heads.flatMap((head, i) => {
      const own = rows.map((row) => row[i]);
      const unit = own.map((cell) => cell.dataset.unit).find(Boolean);
      const name = unit ? `${text(head)}, ${unit}` : text(head);
      const words = (cell) => (isMissing(cell) ? "" : text(cell));
      const have = (key) => own.some((cell) => key in cell.dataset);
      if (!have("value")) return [[name, ...own.map(words)]];
      /* A column of numbers has nothing else in it: words and remarks have one of their own. */
      const found = [[name, ...own.map((cell) => cell.dataset.value ?? "")]];
      if (have("low"))
        for (const end of ["low", "high"]) found.push([`${name} (${end})`, ...own.map((cell) => cell.dataset[end] ?? "")]);
      const notes = own.map((cell) => ("value" in cell.dataset ? (cell.dataset.note ?? "") : words(cell)));
      if (notes.some(Boolean)) found.push([`${name} (note)`, ...notes]);
      return found;
    });
    return columns[0].map((_, i) => columns.map((column) => column[i]));
  };

  const csv = (table) =>
    lines(table)
      .map((line) => line.map((cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(","))
      .join("\r\n") + "\r\n";

  const copy = async (table, pressed) => {
    const content = lines(table).map((line) => line.join("\t")).join("\n");
    try {
      await navigator.clipboard.writeText(content);
    } catch {
      const area = document.createElement("textarea");
      area.value = content;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    pressed.textContent = "Copied";
    setTimeout(() => (pressed.textContent = "Copy"), 2000);
  };

  const page = location.pathname.split("/").pop().replace(/\.html$/, "") || "page";
  for (const table of document.querySelectorAll(".table table")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, i) => {
      const name = text(head);
      head.textContent = "";
      head.append(
        button(name, () => {
          const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
          for (const other of heads) other.removeAttribute("aria-sort");
          head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
          const rows = [...table.tBodies[0].rows];
          table.tBodies[0].append(...rows.sort((a, b) => compare(a.cells[i], b.cells[i], sign)));
        }),
      );
    });
    const tools = document.createElement("p");
    tools.className = "tools";
    const name = `${page}-${table.id.replace(/^T_/, "")}.csv`;
    const more = document.createElement("span");
    more.className = "more-columns";
    more.textContent = "More columns at the right: scroll the table. ";
    tools.append(
      more,
      button("Copy", (pressed) => copy(table, pressed)),
      button(`Save as ${name}`, () => save(csv(table), name, "text/csv")),
    );
    const frame = table.closest(".table");
    frame.after(tools);
    new ResizeObserver(() => (more.hidden = frame.scrollWidth <= frame.clientWidth)).observe(frame);
  }

  /* Figures: with the keyboard, the values that a pointer finds. */
  for (const picture of document.querySelectorAll(".picture")) {
    const values = [...picture.querySelectorAll("svg title")];
    if (!values.length) continue;
    const shown = document.createElement("p");
    shown.className = "value";
    shown.setAttribute("role", "status");
    picture.after(shown);
    let place = -1;
    const point = (next) => {
      if (place >= 0) values[place].parentNode.classList.remove("pointed");
      place = next;
      if (place >= 0) values[place].parentNode.classList.add("pointed");
      shown.textContent = place < 0 ? "" : values[place].textContent;
    };
    picture.addEventListener("focus", () => (shown.textContent = `← and → go through ${values.length} values`));
    picture.addEventListener("blur", () => point(-1));
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      point((place + step + values.length + (place < 0 && step < 0)) % values.length);
    });
  }

  /* The run's file. */
  const file = document.getElementById("run-file");
  if (file && "DecompressionStream" in window) {
    const { name } = file.dataset;
    const act = async () => {
      const packed = Uint8Array.from(atob(file.textContent), (letter) => letter.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      save(await new Response(stream).blob(), name, "application/json");
    };
    document.getElementById("run-data").append(" ", button(`Save ${name}`, act));
  }

  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details.more")) fold.open = true;
  });
})();
