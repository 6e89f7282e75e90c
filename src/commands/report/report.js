"use strict";
{
  const get = (id) => document.getElementById(id);
  const data = JSON.parse(get("data").textContent);
  const table = get("table");
  const bodies = [...table.tBodies];
  const rows = bodies.map((body) => ({ body, call: data.calls[Number(body.dataset.call)], text: null }));
  const [search, risk, executable, label, only] = ["search", "risk", "executable", "label", "only"].map(get);

  // Four members of a set per digit, the first one in the lowest bit.
  const has = (set, member) => ((parseInt(set[member >> 2] ?? "0", 16) >> (member & 3)) & 1) === 1;
  const members = (list, set) => list.filter((_, index) => has(set, index));

  const say = (text) => { get("status").textContent = text; };

  const open = (body, is_open) => {
    body.classList.toggle("open", is_open);
    body.querySelector("button").setAttribute("aria-expanded", String(is_open));
  };

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const wanted = Number(executable.value);
    const labelled = data.runs.flatMap((run, index) => (run.labels.includes(Number(label.value)) ? [index] : []));
    let shown = 0;
    for (const row of rows) {
      const { call, body } = row;
      row.text ??= body.textContent.toLowerCase();
      const fits = words.every((word) => row.text.includes(word)) &&
        (risk.value === "" || risk.value === call.risk) &&
        (executable.value === "" || has(call.executables, wanted)) &&
        (label.value === "" || labelled.some((run) => has(call.runs, run))) &&
        (only.value === "" || only.value === call.origin);
      body.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    say(`${shown} of ${rows.length} calls shown`);
  };

  const sort = (button) => {
    const heading = button.closest("th");
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = button.dataset.key;
    const order = ({ call: { [key]: one } }, { call: { [key]: other } }) => {
      // What is unknown comes last.
      if (one === null || other === null) return (one === null) - (other === null);
      const difference = typeof one === "number" ? one - other : one < other ? -1 : Number(one > other);
      return ascending ? difference : -difference;
    };
    table.append(...rows.toSorted(order).map((row) => row.body));
    say(`Sorted by ${button.textContent}, ${ascending ? "ascending" : "descending"}`);
  };

  const copy = async () => {
    const shown = rows.filter((row) => !row.body.hidden).map(({ call }) => ({
      ...call,
      executables: members(data.executables, call.executables),
      runs: members(data.runs, call.runs).map((run) => run.id),
    }));
    const text = JSON.stringify({ name: data.name, profile: data.profile, calls: shown }, null, 2);
    try {
      await navigator.clipboard.writeText(text);
      say(`${shown.length} calls copied as JSON`);
    } catch {
      // Pages that were not served over TLS can't write to the clipboard.
      get("copied").hidden = false;
      get("json").value = text;
      get("json").select();
      say(`${shown.length} calls as JSON, below`);
    }
  };

  const follow = () => {
    const body = get(location.hash.slice(1));
    if (!bodies.includes(body)) return;
    if (body.hidden) {
      for (const control of [search, risk, executable, label, only]) control.value = "";
      filter();
    }
    open(body, true);
    body.scrollIntoView();
    body.querySelector("button").focus({ preventScroll: true });
  };

  document.documentElement.classList.add("js");
  for (const control of [search, risk, executable, label, only]) control.addEventListener("input", filter);
  for (const button of table.tHead.querySelectorAll("button")) button.addEventListener("click", () => sort(button));
  for (const body of bodies) {
    const button = body.querySelector("button");
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => open(body, !body.classList.contains("open")));
  }
  get("open-all").addEventListener("click", () => {
    const is_open = bodies.some((body) => !body.classList.contains("open"));
    for (const body of bodies) open(body, is_open);
  });
  get("copy").addEventListener("click", copy);
  addEventListener("hashchange", follow);
  // Before that, the browser's own jump to the fragment takes the focus away.
  addEventListener("load", follow);
}
