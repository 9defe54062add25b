"use strict";
// The explorer of the report: the list of questions, a question with all that was answered, two models side by side.
// One script, no library. The shapes of the data stand in docs/report.md.
//
// Everything in the data is hostile. It becomes text nodes, never markup; a link is made by `address` alone.
(() => {
  // ---- Elements and text ----

  // The characters that stages/core/display.py escapes: controls, marks of direction, invisible characters.
  const CONTROL = new RegExp("([\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f"
    + "\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff\\u{e0000}-\\u{e007f}])", "u");

  const escaped = (character) => {
    if (character === "\r") return "\\r";
    const code = character.codePointAt(0);
    const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  };

  // The text as nodes, its control characters written out (`\u202e`) and set off.
  function nodes(text) {
    return String(text).split(CONTROL).map((part, i) => {
      if (i % 2 === 0) return document.createTextNode(part);
      const span = document.createElement("span");
      span.className = "control";
      span.textContent = escaped(part);
      return span;
    });
  }

  // The same where only text can stand, as in an <option>.
  const plain = (text) => String(text).split(CONTROL).map((part, i) => (i % 2 ? escaped(part) : part)).join("");

  // An element with children: elements, or texts. Children that are null or false are left out.
  function el(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value != null && value !== false) element.setAttribute(name, value === true ? "" : plain(value));
    }
    for (const child of children.flat(2)) {
      if (child instanceof Node) element.append(child);
      else if (child != null && child !== false) element.append(...nodes(child));
    }
    return element;
  }

  const byId = (id) => document.getElementById(id);
  const number = (value) => Number(value).toLocaleString("en");
  const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

  // ---- Addresses: `#/questions?split=train`, `#/question/<id>?…&at=3`, `#/compare?a=…&b=…&show=…&page=2` ----

  const FILTERS = ["text", "split", "source", "database", "difficulty", "flag", "model", "sample", "verdict"];
  const PARAMETERS = [...FILTERS, "a", "b", "show", "page", "at"];

  function address(path, parameters = {}) {
    const names = PARAMETERS.filter((name) => parameters[name]);
    const query = names.map((name) => `${name}=${encodeURIComponent(parameters[name])}`);
    const encoded = path.map(encodeURIComponent).join("/");
    return `#/${encoded}${query.length ? `?${query.join("&")}` : ""}`;
  }

  // {view, id, parameters}, or null where the address is an anchor of the report.
  function parse(hash) {
    if (!hash.startsWith("#/")) return null;
    const [path, query = ""] = hash.slice(2).split(/\?(.*)/s);
    const [view, id = ""] = path.split("/");
    const given = new URLSearchParams(query);
    const parameters = {};
    for (const name of PARAMETERS) if (given.get(name)) parameters[name] = given.get(name);
    return { view, id: decoded(id), parameters };
  }

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch (error) {
      if (error instanceof URIError) return text;
      throw error;
    }
  }

  // A place in a list, from a text in the address: a whole number from 0.
  const placeOf = (text) => Math.min(1e7, Math.max(0, Math.floor(Number(text)) || 0));

  const only = (parameters, names) =>
    Object.fromEntries(names.filter((name) => parameters[name]).map((name) => [name, parameters[name]]));

  // ---- Tables: {rows, columns: {name: values | {values, codes}}} ----

  function cell(table, name, row) {
    const column = table.columns[name];
    if (Array.isArray(column)) return column[row] ?? null;
    return column.values[column.codes[row]] ?? null;
  }

  // A column with its codes, whether it came so or not. The code of null is -1.
  function coded(table, name) {
    const column = table.columns[name];
    if (!Array.isArray(column)) return column;
    const positions = new Map();
    const codes = column.map((value) => {
      if (value == null) return -1;
      if (!positions.has(value)) positions.set(value, positions.size);
      return positions.get(value);
    });
    return { values: [...positions.keys()], codes };
  }

  // Where the rows of each question begin: those of question q are starts[q] … starts[q + 1] - 1.
  function startsOf(table, questions) {
    const starts = new Int32Array(questions + 1);
    for (let row = 0; row < table.rows; row++) starts[cell(table, "question", row) + 1]++;
    for (let q = 0; q < questions; q++) starts[q + 1] += starts[q];
    return starts;
  }

  const span = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

  // Some columns of a row, as an object.
  const record = (table, names, row) => Object.fromEntries(names.map((name) => [name, cell(table, name, row)]));
  const records = (table) => span(0, table.rows).map((row) => record(table, Object.keys(table.columns), row));

  // The table with these rows alone.
  function rowsOf(table, rows) {
    const values = (name) => rows.map((row) => cell(table, name, row));
    const columns = Object.keys(table.columns).map((name) => [name, values(name)]);
    return { rows: rows.length, columns: Object.fromEntries(columns) };
  }

  // The table with each value of a column changed, nulls left as they are.
  function withColumn(table, name, change) {
    const values = table.columns[name].map((value) => (value == null ? null : change(value)));
    return { ...table, columns: { ...table.columns, [name]: values } };
  }

  // The tables of the page: base64, gzip, JSON.
  async function embeddedTables() {
    const binary = atob(byId("tables").textContent.trim());
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  // ---- Source 1: the tables in the page ----

  const HAS_ROW = 1; // in a mask of verdicts; the verdict with code c is 2 << c

  function tableSource(tables, meta) {
    const { questions, databases, outcomes, candidates, answers, pairs, previews } = tables;
    const total = questions.rows;
    const ofQuestions = ["outcomes", "candidates", "answers", "pairs"];
    const starts = Object.fromEntries(ofQuestions.map((name) => [name, startsOf(tables[name], total)]));
    const fields = Object.fromEntries(["split", "source", "difficulty"].map((name) => [name, coded(questions, name)]));
    fields.database = coded({ columns: { database: span(0, total).map((q) => databaseOf(q)) } }, "database");
    const verdicts = coded(outcomes, "verdict");
    const flags = flagSets();
    const { masks, greedy } = answered();
    const searched = new Array(total);
    let position; // of each question_id
    let latest = {}; // the last filter and its result

    function databaseOf(question) {
      return cell(databases, "db_id", cell(questions, "database", question));
    }

    // For each flag, an array with 1 for the questions that have it.
    function flagSets() {
      const sets = new Map();
      for (let q = 0; q < total; q++) {
        for (const flag of (cell(questions, "flags", q) || "").split(",")) {
          if (!flag) continue;
          if (!sets.has(flag)) sets.set(flag, new Uint8Array(total));
          sets.get(flag)[q] = 1;
        }
      }
      return sets;
    }

    // By sample ("": any, or "greedy") and model ("": any): the verdicts of its rows on each question, as a mask; and
    // the outcome of a model's greedy answer, or -1.
    function answered() {
      const empty = () => new Map(["", "candidates", ...meta.models].map((model) => [model, new Uint32Array(total)]));
      const masks = { "": empty(), greedy: empty() };
      const greedy = new Map(meta.models.map((model) => [model, new Int32Array(total).fill(-1)]));
      const add = (table, row, model) => {
        const [question, outcome] = [cell(table, "question", row), cell(table, "outcome", row)];
        const mask = HAS_ROW | (2 << verdicts.codes[outcome]);
        const isGreedy = model !== "candidates" && cell(table, "sample", row) === null;
        for (const sample of isGreedy ? ["", "greedy"] : [""]) {
          masks[sample].get("")[question] |= mask;
          masks[sample].get(model)[question] |= mask;
        }
        if (isGreedy) greedy.get(model)[question] = outcome;
      };
      for (let row = 0; row < candidates.rows; row++) add(candidates, row, "candidates");
      for (let row = 0; row < answers.rows; row++) add(answers, row, cell(answers, "model", row));
      return { masks, greedy };
    }

    function searchText(q) {
      const texts = ["question_id", "question", "gold_sql"].map((name) => cell(questions, name, q) ?? "");
      return (searched[q] ??= texts.join("\n").toLowerCase());
    }

    // One test for each filter: question -> whether it stays.
    function tests(filters) {
      const list = [];
      for (const name of ["split", "source", "database", "difficulty"]) {
        if (!filters[name]) continue;
        const { values, codes } = fields[name];
        const code = values.indexOf(filters[name]);
        list.push((q) => code >= 0 && codes[q] === code);
      }
      if (filters.flag) {
        const set = flags.get(filters.flag);
        list.push((q) => set !== undefined && set[q] === 1);
      }
      if (filters.model || filters.sample || filters.verdict) {
        const mask = maskOf(filters);
        const wanted = filters.verdict ? verdictBit(filters.verdict) : HAS_ROW;
        list.push((q) => mask !== undefined && (mask[q] & wanted) !== 0);
      }
      const words = (filters.text ?? "").toLowerCase().split(/\s+/).filter(Boolean);
      if (words.length) list.push((q) => words.every((word) => searchText(q).includes(word)));
      return list;
    }

    // Undefined where no row has this sample or model.
    const maskOf = ({ sample = "", model = "" }) => (Object.hasOwn(masks, sample) ? masks[sample].get(model) : undefined);

    function verdictBit(verdict) {
      const code = verdicts.values.indexOf(verdict);
      return code < 0 ? 0 : 2 << code;
    }

    // {matches: question numbers, facets}, kept until the filters change.
    function filtered(filters) {
      const key = JSON.stringify(FILTERS.map((name) => filters[name] ?? ""));
      if (latest.key === key) return latest;
      const began = performance.now();
      const required = tests(filters);
      const matches = [];
      for (let q = 0; q < total; q++) if (required.every((test) => test(q))) matches.push(q);
      latest = { key, matches, facets: facetsOf(matches, maskOf(filters)) };
      performance.measure("filter", { start: began });
      return latest;
    }

    function facetsOf(matches, mask) {
      const facets = {};
      for (const [name, { values, codes }] of Object.entries(fields)) {
        const counts = new Int32Array(values.length);
        for (const q of matches) if (codes[q] >= 0) counts[codes[q]]++;
        facets[name] = nonZero(values.map((value, code) => [value, counts[code]]));
      }
      const having = (test) => matches.reduce((count, q) => count + (test(q) ? 1 : 0), 0);
      facets.flag = nonZero([...flags].map(([flag, set]) => [flag, having((q) => set[q] === 1)]));
      const withVerdict = (code) => (mask ? having((q) => mask[q] & (2 << code)) : 0);
      facets.verdict = nonZero(verdicts.values.map((verdict, code) => [verdict, withVerdict(code)]));
      return facets;
    }

    const nonZero = (entries) => Object.fromEntries(entries.filter(([, count]) => count > 0));
    const verdictOf = (outcome) => verdicts.values[verdicts.codes[outcome]] ?? null;

    function listed(q) {
      const samples = span(starts.candidates[q], starts.candidates[q + 1]);
      const answer = (model) => (greedy.get(model)[q] < 0 ? [] : [[model, verdictOf(greedy.get(model)[q])]]);
      return {
        ...record(questions, ["question_id", "split", "source", "difficulty", "question", "flags"], q),
        db_id: databaseOf(q),
        candidates: samples.length,
        matches: samples.filter((row) => verdictOf(cell(candidates, "outcome", row)) === "match").length,
        greedy: Object.fromEntries(meta.models.flatMap(answer)),
      };
    }

    function numberOf(id) {
      position ??= new Map(span(0, total).map((q) => [cell(questions, "question_id", q), q]));
      return position.get(id);
    }

    // The tables with the rows of one question alone, numbered anew.
    function restricted(q) {
      const part = (name) => {
        const rows = span(starts[name][q], starts[name][q + 1]);
        return withColumn(rowsOf(tables[name], rows), "question", () => 0);
      };
      const first = starts.outcomes[q];
      const renumbered = (table, column) => withColumn(table, column, (outcome) => outcome - first);
      const own = { questions: withColumn(rowsOf(questions, [q]), "database", () => 0), outcomes: part("outcomes") };
      const shown = [...own.questions.columns.gold_preview, ...own.outcomes.columns.preview];
      const kept = shown.filter((preview) => preview != null);
      return {
        databases: rowsOf(databases, [cell(questions, "database", q)]),
        questions: withColumn(own.questions, "gold_preview", (preview) => kept.indexOf(preview)),
        outcomes: withColumn(own.outcomes, "preview", (preview) => kept.indexOf(preview)),
        candidates: renumbered(part("candidates"), "outcome"),
        answers: renumbered(part("answers"), "outcome"),
        pairs: renumbered(renumbered(part("pairs"), "chosen_outcome"), "rejected_outcome"),
        previews: rowsOf(previews, kept),
      };
    }

    function compared(q, a, b) {
      const side = (outcome) => ({ sql: cell(outcomes, "sql", outcome), verdict: verdictOf(outcome) });
      const texts = record(questions, ["question_id", "question", "difficulty", "gold_sql"], q);
      return { ...texts, db_id: databaseOf(q), a: side(greedy.get(a)[q]), b: side(greedy.get(b)[q]) };
    }

    return {
      async list(filters, offset, limit) {
        const { matches, facets } = filtered(filters);
        return { total: matches.length, facets, rows: matches.slice(offset, offset + limit).map(listed) };
      },

      async question(id) {
        const q = numberOf(id);
        return q === undefined ? null : restricted(q);
      },

      async compare(a, b, show, filters, offset, limit) {
        const [ofA, ofB] = [greedy.get(a), greedy.get(b)];
        const groups = { won: [], lost: [], both_wrong: [], both_right: [] };
        const counts = { won: 0, lost: 0, both_wrong: 0, both_right: 0 };
        for (const q of ofA && ofB ? filtered(filters).matches : []) {
          if (ofA[q] < 0 || ofB[q] < 0) continue;
          const [rightA, rightB] = [verdictOf(ofA[q]) === "match", verdictOf(ofB[q]) === "match"];
          const group = rightA ? (rightB ? "both_right" : "lost") : rightB ? "won" : "both_wrong";
          counts[group]++;
          if (ofA[q] !== ofB[q]) groups[group].push(q);
        }
        const chosen = Object.hasOwn(groups, show ?? "") ? [show] : ["won", "lost"];
        const names = show === "all" ? Object.keys(groups) : chosen;
        const matches = names.flatMap((name) => groups[name]).sort((x, y) => x - y);
        const rows = matches.slice(offset, offset + limit).map((q) => compared(q, a, b));
        return { total: matches.length, counts, rows };
      },
    };
  }

  // ---- Source 2: the server of `python -m stages.report --serve` ----

  function serverSource() {
    async function get(path, parameters) {
      const response = await fetch(`/api/${path}?${new URLSearchParams(parameters)}`);
      if (response.status === 404) return null;
      const value = await response.json();
      if (!response.ok) throw new Error(value.error);
      return value;
    }
    return {
      list: (filters, offset, limit) => get("questions", { ...filters, offset, limit }),
      question: (id) => get("question", { id }),
      compare: (a, b, show, filters, offset, limit) =>
        get("compare", { a, b, ...(show ? { show } : {}), ...filters, offset, limit }),
    };
  }

  // ---- The difference of two texts, token by token ----

  const TOKEN = /(?:'(?:[^']|'')*'|\p{N}+\.\p{N}+|[\p{L}\p{N}_]+|[<>=!]=|<>|\|\||[^\s])\s*/gsu;
  const LARGEST_GRID = 1e6; // pairs of tokens to compare; beyond it, all from first to last difference is marked

  // [parts of a, parts of b], each part [text, whether the other text lacks it]. Space between tokens is no difference.
  function difference(a, b) {
    const [left, right] = [a.match(TOKEN) ?? [], b.match(TOKEN) ?? []];
    const equal = (i, j) => left[i].trimEnd() === right[j].trimEnd();
    let head = 0;
    while (head < Math.min(left.length, right.length) && equal(head, head)) head++;
    let [endLeft, endRight] = [left.length, right.length];
    while (endLeft > head && endRight > head && equal(endLeft - 1, endRight - 1)) {
      endLeft--;
      endRight--;
    }
    const [common, otherCommon] = commonTokens(head, endLeft, endRight, equal);
    const changed = (tokens, end, shared) => tokens.map((token, i) => [token, i >= head && i < end && !shared.has(i)]);
    return [merged(changed(left, endLeft, common)), merged(changed(right, endRight, otherCommon))];
  }

  // The tokens of a longest common subsequence, as two sets of positions.
  function commonTokens(head, endLeft, endRight, equal) {
    const [rows, columns] = [endLeft - head, endRight - head];
    const common = [new Set(), new Set()];
    if (rows * columns > LARGEST_GRID) return common;
    const width = columns + 1;
    const lengths = new Uint32Array((rows + 1) * width);
    for (let i = rows - 1; i >= 0; i--) {
      for (let j = columns - 1; j >= 0; j--) {
        const at = i * width + j;
        if (equal(head + i, head + j)) lengths[at] = lengths[at + width + 1] + 1;
        else lengths[at] = Math.max(lengths[at + width], lengths[at + 1]);
      }
    }
    for (let i = 0, j = 0; i < rows && j < columns;) {
      if (equal(head + i, head + j)) {
        common[0].add(head + i++);
        common[1].add(head + j++);
      } else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i++;
      else j++;
    }
    return common;
  }

  function merged(parts) {
    const result = [];
    for (const [text, changed] of parts) {
      const last = result.at(-1);
      if (last && last[1] === changed) last[0] += text;
      else result.push([text, changed]);
    }
    return result;
  }

  // Both texts as <pre>, the tokens that the other lacks in elements of the tags. Beside nothing, nothing is marked.
  function differencePanes([titleA, titleB], a, b, [tagA, tagB]) {
    const marked = (tag, text) => [el(tag, {}, text.trimEnd()), text.slice(text.trimEnd().length)];
    const pane = (tag, title, parts) => el("div", {}, el("h3", {}, title),
      el("pre", { dir: "ltr" }, parts.map(([text, changed]) => (changed ? marked(tag, text) : text))));
    const [left, right] = a && b ? difference(a, b) : [[[a ?? "", false]], [[b ?? "", false]]];
    return el("div", { class: "sides" }, pane(tagA, titleA, left), pane(tagB, titleB, right));
  }

  // ---- Parts of views ----

  const ORDERS = {
    split: ["train", "dev", "test"],
    difficulty: ["easy", "medium", "hard", "extra", "simple", "moderate", "challenging", "unknown"],
    verdict: ["match", "mismatch", "exec_error", "over_budget", "undecided", "no_sql", "gold_error"],
  };

  // The values of a facet, in the order that its field has, else the most frequent first.
  function ordered(name, counts) {
    const rank = (value) => (ORDERS[name]?.includes(value) ? ORDERS[name].indexOf(value) : Infinity);
    return Object.entries(counts).sort(([x, m], [y, n]) => rank(x) - rank(y) || n - m || (x < y ? -1 : 1));
  }

  // A verdict with its colour and sign, as `verdict` of stages/pages/parts.html.
  const CHIPS = new Map([["match", "good"], ["ok", "good"], ["mismatch", "bad"], ["exec_error", "bad"]]);
  const badge = (verdict) => el("span", { class: `chip ${CHIPS.get(verdict) ?? "warn"}` }, verdict ?? "no verdict");

  const modelName = (model) =>
    model === "candidates" && meta.candidate_model ? `candidates of ${meta.candidate_model}` : model;

  const soft = (...children) => el("span", { class: "soft" }, ...children);
  const flagPart = (flag) => el("span", { class: "chip flag" }, flag);
  const answerPart = (...children) => el("span", { class: "answer" }, ...children);
  const section = (title, ...children) => el("section", {}, el("h2", {}, title), ...children);
  const sqlPart = (sql) => el("pre", { dir: "ltr" }, sql ?? "");
  const flagsOf = (row) => (row.flags || "").split(",").filter(Boolean);
  const joined = (...texts) => texts.filter(Boolean).join(" · ");

  // The first rows of a result. `differing` (JSON) is the first row that the other result lacks, marked with `remark`.
  function resultTable(title, preview, differing, remark) {
    if (!preview) return el("div", {}, el("h3", {}, title), el("p", {}, soft("no rows are kept")));
    const rows = JSON.parse(preview.rows);
    const marked = differing ? JSON.stringify(JSON.parse(differing)) : null;
    const position = rows.findIndex((row) => JSON.stringify(row) === marked);
    const line = (row, mark) => el("tr", { class: mark ? "differs" : null },
      row.map((value) => el("td", { class: value === "NULL" ? "null" : null }, value)),
      mark && el("td", { class: "which" }, `← ${remark}`));
    const more = preview.total === null ? 0 : preview.total - rows.length; // null: the query was stopped
    const total = preview.total === null ? `first ${counted(rows.length, "row")}` : counted(preview.total, "row");
    const size = `${total}, ${counted(preview.columns, "column")}`;
    const moreCell = () => el("td", { colspan: Math.max(1, preview.columns) }, soft(`… ${number(more)} more`));
    return el("div", {},
      el("h3", {}, title, " ", soft(size)),
      rows.length > 0 && scrolling(`${title}: first rows`, el("table", { class: "rows" },
        rows.map((row, i) => line(row, i === position)),
        more > 0 && el("tr", {}, moreCell()),
        marked && position < 0 && line(JSON.parse(differing), true))),
      preview.note && el("p", { class: "tell" }, preview.note));
  }

  // A box that may scroll sideways, by keyboard too.
  const scrolling = (label, child) =>
    el("div", { class: "wide", tabindex: "0", role: "group", "aria-label": label }, child);

  function facts(entries) {
    const given = entries.filter(([, value]) => value != null && value !== "");
    return el("dl", { class: "facts" }, given.map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, typeof value === "number" ? number(value) : value))));
  }

  function witnessPart(witness) {
    const { mutant, changes, gold, candidate, gold_rows, candidate_rows } = JSON.parse(witness);
    return el("details", {}, el("summary", {}, "counterexample: a database where it differs from the gold"),
      facts([
        ["changed database", mutant],
        ["gold", `${counted(gold_rows, "row")}, first difference: ${gold}`],
        ["this query", `${counted(candidate_rows, "row")}, first difference: ${candidate}`],
      ]),
      el("ul", {}, changes.map((change) => el("li", {}, change))));
  }

  // ---- The list ----

  const PAGE = 50; // rows of one request
  const MOST_ROWS = 90; // elements at a time
  const TALLEST = 16e6; // pixels: browsers do not lay out taller elements

  // The list shows the rows near the window alone, at their places. It scrolls with the page.
  const list = { items: new Map(), pages: new Map(), shown: 0, current: 0, height: 1 };

  function resetList(filters, total, firstRows, current) {
    byId("explorer-list").replaceChildren();
    measureRow();
    Object.assign(list, { filters, items: new Map(), pages: new Map([[0, firstRows]]), current,
      shown: Math.min(total, Math.floor(TALLEST / list.height)) });
    byId("explorer-list").style.height = `${list.shown * list.height}px`;
    drawList();
  }

  function measureRow() {
    const probe = el("li", {});
    byId("explorer-list").append(probe);
    list.height = probe.getBoundingClientRect().height || 1;
    probe.remove();
  }

  function visibleRows() {
    const top = -byId("explorer-list").getBoundingClientRect().top / list.height;
    const rows = Math.min(MOST_ROWS, Math.ceil(window.innerHeight / list.height) + 10);
    const first = Math.max(0, Math.min(Math.floor(top) - 5, list.shown - rows));
    return [first, Math.min(list.shown, first + rows)];
  }

  function drawList() {
    const [first, last] = visibleRows();
    for (const [index, item] of list.items) {
      if ((index >= first && index < last) || item.contains(document.activeElement)) continue;
      item.remove();
      list.items.delete(index);
    }
    for (let index = first; index < last; index++) {
      if (list.items.has(index)) continue;
      const page = pageOf(index);
      if (page) insertRow(index, page[index % PAGE]);
    }
    markCurrent();
  }

  // The page of a row, or undefined while it is on its way.
  function pageOf(index) {
    const page = Math.floor(index / PAGE);
    if (!list.pages.has(page)) {
      const { pages, filters } = list;
      pages.set(page, undefined);
      source.list(filters, page * PAGE, PAGE).then((result) => {
        pages.set(page, result.rows);
        if (pages === list.pages && byId("explorer-list").checkVisibility()) drawList();
      }, showError);
    }
    return list.pages.get(page);
  }

  function insertRow(index, row) {
    const item = listRow(index, row);
    const next = [...byId("explorer-list").children].find((other) => Number(other.dataset.index) > index) ?? null;
    item.style.top = `${index * list.height}px`;
    list.items.set(index, item);
    byId("explorer-list").insertBefore(item, next);
  }

  function listRow(index, row) {
    const link = address(["question", row.question_id], { ...list.filters, at: String(index + 1) });
    const samples = row.candidates > 0 && answerPart(`candidates ${row.matches} of ${row.candidates} match`);
    const answered = meta.models.filter((model) => Object.hasOwn(row.greedy, model));
    const greedy = answered.map((model) => answerPart(model, " ", badge(row.greedy[model])));
    return el("li", { "data-index": index, "aria-setsize": list.shown, "aria-posinset": index + 1 },
      el("a", { href: link, tabindex: "-1", dir: "auto" }, row.question || row.question_id),
      el("p", { class: "soft line" }, joined(row.question_id, row.db_id, row.split, row.difficulty)),
      el("p", { class: "line given" }, samples, greedy, flagsOf(row).map(flagPart)));
  }

  // One row at a time is in the order of Tab: the current one, or the first that is drawn.
  function markCurrent() {
    const current = list.items.has(list.current) ? list.current : Math.min(...list.items.keys());
    for (const [index, item] of list.items) item.firstChild.tabIndex = index === current ? 0 : -1;
    if (list.moving && list.items.has(list.current)) {
      list.moving = false;
      list.items.get(list.current).firstChild.focus({ preventScroll: true });
    }
  }

  function moveTo(index) {
    list.current = Math.max(0, Math.min(list.shown - 1, index));
    list.moving = true;
    const top = byId("explorer-list").getBoundingClientRect().top + list.current * list.height;
    if (top < 0) window.scrollBy(0, top);
    else if (top + list.height > window.innerHeight) window.scrollBy(0, top + list.height - window.innerHeight);
    drawList();
  }

  byId("explorer-list").addEventListener("keydown", (event) => {
    const screen = Math.max(1, Math.floor(window.innerHeight / list.height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: screen, PageUp: -screen, Home: -Infinity, End: Infinity };
    if (!Object.hasOwn(steps, event.key) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    moveTo(list.current + steps[event.key]);
  });

  byId("explorer-to-list").addEventListener("click", () => moveTo(list.current));

  byId("explorer-list").addEventListener("focusin", (event) => {
    list.current = Number(event.target.closest("li").dataset.index);
  });

  let drawing = 0;
  const redraw = () => {
    if (!byId("explorer-list").checkVisibility()) return;
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(drawList);
  };
  window.addEventListener("scroll", redraw, { passive: true });
  window.addEventListener("resize", () => {
    if (!byId("explorer-list").checkVisibility()) return;
    measureRow();
    byId("explorer-list").style.height = `${list.shown * list.height}px`;
    for (const [index, item] of list.items) item.style.top = `${index * list.height}px`;
    redraw();
  });

  // ---- Filters and histograms ----

  const FACETS = ["split", "source", "difficulty", "verdict", "flag", "database"];
  const MOST_BARS = 12;
  const form = byId("explorer-filters");

  // Fills the fields once, with every value that occurs.
  function fillFields(facets) {
    const choices = (name) => ordered(name, facets[name] ?? {}).map(([value]) => value);
    for (const name of ["split", "source", "difficulty", "flag", "verdict"]) fillField(name, choices(name));
    fillField("database", choices("database").sort());
    fillField("model", [...(meta.candidate_model === null ? [] : ["candidates"]), ...meta.models]);
    fillField("sample", meta.models.length ? ["greedy"] : []);
    const models = () => meta.models.map((model) => option(model, model));
    for (const name of ["a", "b"]) form.elements[name].replaceChildren(...models());
  }

  function option(value, label) {
    const element = document.createElement("option");
    element.value = value;
    element.textContent = plain(label);
    return element;
  }

  function fillField(name, values) {
    form.elements[name].replaceChildren(option("", "any"), ...values.map((value) => option(value, modelName(value))));
  }

  // Sets the fields to the address; a value that occurs nowhere is added, so that what filters is seen.
  function setFields(parameters) {
    for (const name of [...FILTERS, "a", "b", "show"]) {
      const field = form.elements[name];
      const value = parameters[name] ?? "";
      if (field === document.activeElement && field.type === "search") continue;
      field.value = value;
      if (field.value !== value) {
        field.append(option(value, value));
        field.value = value;
      }
    }
  }

  function histogram(target, name, counts) {
    const chosen = target.parameters[name];
    const entries = ordered(name, chosen && !Object.hasOwn(counts, chosen) ? { ...counts, [chosen]: 0 } : counts);
    const most = Math.max(1, ...entries.map(([, count]) => count));
    const bar = ([value, count]) => {
      const href = address(["questions"], { ...target.parameters, [name]: value === chosen ? "" : value });
      const fill = el("span", { class: "fill" });
      fill.style.width = `${(100 * count) / most}%`;
      return el("li", {}, choice(href, value === chosen, `${name}=${value}`, value, count, fill));
    };
    const hidden = entries.length - MOST_BARS;
    return entries.length > 0 && el("section", { class: "facet" },
      el("h2", {}, name),
      el("ul", {}, entries.slice(0, MOST_BARS).map(bar)),
      hidden > 0 && el("p", {}, soft(`${number(hidden)} more: choose above`)));
  }

  // A link that filters, with a number of questions. `key` names it when it is drawn anew.
  const choice = (href, chosen, key, label, count, ...children) =>
    el("a", { href, "aria-current": chosen ? "true" : null, "data-key": key },
      el("span", { class: "value" }, label), " ", el("span", { class: "count" }, number(count)), ...children);

  const drawFacets = (target, facets) =>
    refill(byId("explorer-facets"), FACETS.map((name) => histogram(target, name, facets[name] ?? {})).filter(Boolean));

  // Replaces what is in the element; the link in focus is in focus again.
  function refill(element, parts) {
    const key = document.activeElement?.dataset?.key;
    element.replaceChildren(...parts);
    const link = [...element.querySelectorAll("a")].find(({ dataset }) => key && dataset.key === key);
    link?.focus({ preventScroll: true });
  }

  function enteredParameters() {
    const parameters = {};
    const names = byId("explorer-models").hidden ? FILTERS : [...FILTERS, "a", "b", "show"];
    for (const name of names) parameters[name] = form.elements[name].value;
    return parameters;
  }

  const entered = () => address([byId("explorer-models").hidden ? "questions" : "compare"], enteredParameters());

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = entered();
  });
  form.addEventListener("change", (event) => {
    if (event.target.type !== "search") location.hash = entered();
  });
  let typing = 0;
  form.elements.text.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      history.replaceState(null, "", entered()); // typing leaves no trail of entries for Back
      route();
    }, 120);
  });

  // ---- View: questions ----

  async function showQuestions(target, current) {
    const filters = only(target.parameters, FILTERS);
    const { total, facets, rows } = await source.list(filters, 0, PAGE);
    return () => {
      browse(target, false);
      drawFacets(target, facets);
      resetList(filters, total, rows, current);
      const cut = total > list.shown ? `; the first ${number(list.shown)} are listed` : "";
      title("Questions", `${number(total)} of ${counted(meta.questions, "question")}${cut}`);
    };
  }

  // Shows the part with filters, for the list or for two models.
  function browse(target, comparing) {
    byId("explorer-browse").hidden = false;
    byId("explorer-detail").hidden = !comparing;
    byId("explorer-models").hidden = !comparing;
    for (const id of ["histograms", "list", "list-help", "to-list"]) byId(`explorer-${id}`).hidden = comparing;
    byId("explorer-clear").href = address([target.view], only(target.parameters, ["a", "b", "show"]));
    setFields(target.parameters);
  }

  function title(text, status) {
    byId("explorer-title").replaceChildren(...nodes(text));
    byId("explorer-status").replaceChildren(...nodes(status));
    document.title = `${plain(text).slice(0, 80)} · ${reportTitle}`;
  }

  function detail(...parts) {
    byId("explorer-browse").hidden = true;
    byId("explorer-detail").hidden = false;
    byId("explorer-detail").replaceChildren(...parts.filter(Boolean));
  }

  // ---- View: one question ----

  async function showQuestion(target) {
    const tables = await source.question(target.id);
    if (!tables) return () => {
      detail(el("p", {}, el("a", { href: address(["questions"]) }, "All questions")));
      title("No such question", `This data has no question ${target.id}.`);
    };
    const steps = await neighbours(target);
    const data = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, records(table)]));
    const question = data.questions[0];
    return () => {
      detail(steps, ...questionParts(question, data));
      title(question.question || question.question_id, question.question_id);
    };
  }

  // Links to the previous and next question of the filter that led here, by the place `at` in the address.
  async function neighbours({ id, parameters }) {
    const filters = only(parameters, FILTERS);
    const at = placeOf(parameters.at);
    const back = Object.keys(filters).length ? "Back to the filtered list" : "All questions";
    const links = [el("a", { href: address(["questions"], filters) }, back)];
    if (at > 0) {
      const offset = Math.max(0, at - 2);
      const { total, rows } = await source.list(filters, offset, at - offset + 1);
      const here = at - 1 - offset;
      const link = (row, label, place) =>
        row && el("a", { href: address(["question", row.question_id], { ...filters, at: String(place) }) }, label);
      if (rows[here]?.question_id === id) {
        const place = `${number(at)} of ${number(total)}`;
        links.push(link(rows[here - 1], "← Previous", at - 1), place, link(rows[here + 1], "Next →", at + 1));
      }
    }
    return stepsPart("Questions", links);
  }

  const stepsPart = (label, parts) =>
    el("nav", { class: "steps", "aria-label": label }, parts.filter(Boolean).map((part) => el("span", {}, part)));

  function questionParts(question, data) {
    const gold = question.gold_preview == null ? null : data.previews[question.gold_preview];
    const database = data.databases[0];
    const outcomes = data.outcomes.map((outcome, i) => ({ ...outcome, from: answerers(i, data) }));
    outcomes.sort((x, y) => y.from.greedy - x.from.greedy || y.from.rows.length - x.from.rows.length);
    return [
      facts([
        ["source", question.source], ["split", question.split], ["database", database?.db_id],
        ["difficulty", question.difficulty],
      ]),
      question.evidence && section("Evidence", el("p", { dir: "auto" }, question.evidence)),
      goldPart(question, gold),
      database?.ddl && el("details", {}, el("summary", {}, `DDL of ${database.db_id}`), sqlPart(database.ddl)),
      section(`Answers: ${number(outcomes.length)} distinct SQL`,
        outcomes.length === 0 && el("p", {}, soft("No model was asked this question.")),
        outcomes.map((outcome) => outcomePart(outcome, gold, data.previews))),
      data.pairs.length > 0 && section(`Pairs: ${number(data.pairs.length)}`,
        data.pairs.map((pair) => pairPart(pair, data.outcomes))),
    ];
  }

  function goldPart(question, gold) {
    const findings = Object.entries(JSON.parse(question.gold_findings || "{}"));
    const explained = ["pair", "witness", question.gold_verdict, ...findings.map(([flag]) => flag)];
    const unexplained = flagsOf(question).filter((flag) => !explained.includes(flag));
    return section("Gold", el("article", {},
      el("p", {}, question.gold_verdict && badge(question.gold_verdict), unexplained.map(flagPart)),
      sqlPart(question.gold_sql),
      question.gold_error && el("p", { class: "tell" }, question.gold_error),
      findings.map(([flag, sentence]) => el("p", { class: "tell" }, flagPart(flag), " ", sentence)),
      facts([["steps", question.gold_steps], ["rows", question.gold_rows]]),
      gold && el("div", { class: "sides" }, resultTable("rows of the gold", gold, null))));
  }

  // Who gave the outcome: its candidates and answers, as {model, sample, …}, and how many of them are greedy.
  function answerers(outcome, data) {
    const candidates = data.candidates.map((row) => ({ ...row, model: modelName("candidates") }));
    const rows = [...candidates, ...data.answers].filter((row) => row.outcome === outcome);
    return { rows, greedy: rows.filter((row) => row.sample === null).length };
  }

  // "dpo: greedy and 3 samples" for each model.
  function answererTexts({ rows }) {
    return [...new Set(rows.map((row) => row.model))].map((model) => {
      const own = rows.filter((row) => row.model === model);
      const samples = own.filter((row) => row.sample !== null).length;
      const parts = [own.length > samples && "greedy", samples > 0 && counted(samples, "sample")].filter(Boolean);
      return `${model}: ${parts.join(" and ")}`;
    });
  }

  function outcomePart(outcome, gold, previews) {
    const preview = outcome.preview == null ? null : previews[outcome.preview];
    const contracts = ["strict", "spider", "bird"].filter((name) => outcome[name] && outcome[name] !== outcome.verdict);
    const error = [outcome.error_class, outcome.error].filter(Boolean).join(": ");
    const rows = outcome.error_class ? null : outcome.rows;
    const first = "first difference";
    const remarks = preview?.note ? [first, first] : ["missing in this query", "not in the gold"];
    return el("article", {},
      el("p", {}, badge(outcome.verdict), contracts.map((name) => answerPart(`under ${name}: `, badge(outcome[name])))),
      el("p", {}, answererTexts(outcome.from).map((text) => answerPart(text))),
      outcome.sql ? sqlPart(outcome.sql) : el("p", {}, soft("no SQL")),
      error && el("p", { class: "tell" }, error),
      facts([["steps", outcome.steps], ["rows", rows], ["counterexamples", witnessText(outcome)]]),
      preview && el("div", { class: "sides" },
        resultTable("rows of the gold", gold, preview.missing, remarks[0]),
        resultTable("rows of this query", preview, preview.extra, remarks[1])),
      !preview && outcome.verdict === "match" && gold && el("p", {}, soft("Its rows are the gold's.")),
      outcome.witness && witnessPart(outcome.witness),
      samplesPart(outcome.from.rows));
  }

  const WITNESSES = new Map([
    ["survived", "survived all"], ["untested", "none could be tried"], ["rows", "refuted: other rows"],
    ["duplicates", "refuted: a row another number of times"], ["order", "refuted: another order"],
  ]);
  const witnessText = ({ witness_class }) => WITNESSES.get(witness_class) ?? witness_class;

  const SAMPLE_COLUMNS = ["model", "sample", "log-probability", "tokens", "end"];

  function samplesPart(rows) {
    const sample = (row) => (row.sample === null ? "greedy" : row.sample);
    const cells = (row) => [row.model, sample(row), row.logprob?.toFixed(2), row.tokens, row.finish_reason];
    const completions = rows.filter((row) => row.completion != null);
    return rows.length > 0 && el("details", {},
      el("summary", {}, `samples, log-probabilities, tokens (${number(rows.length)})`),
      scrolling("samples", el("table", {},
        el("tr", {}, SAMPLE_COLUMNS.map((name) => el("th", { scope: "col" }, name))),
        rows.map((row) => el("tr", {}, cells(row).map((value) => el("td", {}, value)))))),
      completions.map((row) => [
        el("h3", {}, `completion of ${row.model}, ${row.sample === null ? "greedy" : `sample ${row.sample}`}`),
        el("pre", { dir: "auto" }, row.completion),
      ]));
  }

  function pairPart(pair, outcomes) {
    const chosen = pair.chosen_outcome == null ? "the gold" : badge(outcomes[pair.chosen_outcome].verdict);
    return el("article", {},
      el("p", { class: "id" }, pair.pair_id),
      facts([
        ["chosen", chosen], ["rejected", badge(pair.rejected_verdict)], ["similarity", pair.similarity?.toFixed(2)],
      ]),
      differencePanes(["chosen", "rejected"], pair.chosen, pair.rejected, ["ins", "del"]),
      pair.witness && witnessPart(pair.witness));
  }

  // ---- View: two models ----

  const COMPARED = 20; // questions on one page
  const SHOWS = ["won", "lost", "both_wrong", "both_right", "all"];
  const shows = (show) => (SHOWS.includes(show) ? show : undefined); // another value in the address is none

  async function showCompare(target) {
    const models = meta.models;
    const { a = models.at(-2) ?? models[0], b = models.at(-1), show, page = "1" } = target.parameters;
    const parameters = { ...target.parameters, a, b };
    const filters = only(parameters, FILTERS);
    const compared = (offset) => source.compare(a, b, shows(show), filters, offset, COMPARED);
    let offset = (Math.max(1, placeOf(page)) - 1) * COMPARED;
    let result = a && b ? await compared(offset) : { total: 0, counts: {}, rows: [] };
    if (offset > 0 && offset >= result.total) { // beyond the last page
      offset = Math.max(0, Math.ceil(result.total / COMPARED) - 1) * COMPARED;
      result = await compared(offset);
    }
    return () => {
      browse({ ...target, parameters }, true);
      refill(byId("explorer-detail"), compareParts(parameters, filters, result, offset));
      const answered = Object.values(result.counts).reduce((sum, count) => sum + count, 0);
      title("Compare", `${counted(answered, "question")} that both answered, ${number(result.total)} listed`);
    };
  }

  function compareParts(parameters, filters, { total, counts, rows }, offset) {
    const names = {
      won: `won: only ${parameters.b} is right`, lost: `lost: only ${parameters.a} is right`,
      both_wrong: "both wrong", both_right: "both right",
    };
    const link = (show) => choice(address(["compare"], { ...parameters, show, page: "" }), parameters.show === show,
      `show=${show}`, names[show], counts[show] ?? 0);
    return [
      el("ul", { class: "counts" }, Object.keys(names).map((show) => el("li", {}, link(show)))),
      el("p", {}, soft("Only what differs is listed. Questions with the same SQL from both are counted, not listed.")),
      ...rows.map((row) => comparedPart(row, parameters, filters)),
      pagesPart(parameters, total, offset),
    ].filter(Boolean);
  }

  function comparedPart(row, { a, b }, filters) {
    const href = address(["question", row.question_id], filters);
    const titles = [[a, " ", badge(row.a.verdict)], [b, " ", badge(row.b.verdict)]];
    return el("article", {},
      el("h2", { dir: "auto" }, el("a", { href }, row.question || row.question_id)),
      el("p", { class: "id" }, joined(row.question_id, row.db_id, row.difficulty)),
      differencePanes(titles, row.a.sql, row.b.sql, ["mark", "mark"]),
      el("details", {}, el("summary", {}, "gold"), sqlPart(row.gold_sql)));
  }

  function pagesPart(parameters, total, offset) {
    const page = offset / COMPARED + 1;
    const last = Math.max(1, Math.ceil(total / COMPARED));
    const link = (to, label) =>
      to >= 1 && to <= last && el("a", { href: address(["compare"], { ...parameters, page: String(to) }) }, label);
    const place = `page ${number(page)} of ${number(last)}`;
    return last > 1 && stepsPart("Pages of the list", [link(page - 1, "← Previous"), place, link(page + 1, "Next →")]);
  }

  // ---- Routes ----

  const VIEWS = { questions: showQuestions, question: showQuestion, compare: showCompare };
  const meta = JSON.parse(byId("meta").textContent);
  const reportTitle = document.title;
  const places = new Map(); // address -> {scroll, current}, for Back
  let source = null;
  let opening = null;
  let turn = 0;
  let shown = { hash: "", view: "report" };

  // Opens the data, once.
  function open() {
    opening ??= (async () => {
      const began = performance.now();
      source = meta.served ? serverSource() : tableSource(await embeddedTables(), meta);
      fillFields((await source.list({}, 0, 1)).facets);
      performance.measure("load", { start: began });
    })();
    return opening;
  }

  function showError(error) {
    detail(el("p", { class: "tell" }, `The data could not be read: ${error.message}`));
    title("Error", "");
  }

  // Shows what the address names. An answer that comes after the next address is dropped.
  async function route() {
    const own = ++turn;
    const target = parse(location.hash);
    const view = target === null ? "report" : Object.hasOwn(VIEWS, target.view) ? target.view : "questions";
    places.set(shown.hash, { scroll: window.scrollY, current: list.current });
    const before = shown;
    shown = { hash: location.hash, view };
    frame(view);
    if (view === "report") return place(before);
    if (!source) title("Loading …", "");
    byId("explorer").setAttribute("aria-busy", "true");
    try {
      await open();
      const current = before.view === view ? 0 : places.get(shown.hash)?.current ?? 0;
      const draw = await VIEWS[view]({ ...target, view }, current);
      if (own !== turn) return;
      draw();
      place(before);
    } catch (error) {
      if (own === turn) showError(error);
    }
    if (own === turn) byId("explorer").removeAttribute("aria-busy");
  }

  // Shows the report or the explorer, and marks the link to it.
  function frame(view) {
    const exploring = view !== "report";
    byId("report").hidden = exploring;
    byId("explorer").hidden = !exploring;
    history.scrollRestoration = exploring ? "manual" : "auto";
    if (!exploring) document.title = reportTitle;
    for (const link of document.querySelectorAll("a[data-view]")) {
      if (link.dataset.view === (view === "question" ? "questions" : view)) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  // Scrolls and sets the focus after a change of view: where the reader was before, or to its top.
  function place(before) {
    const page = (hash) => parse(hash)?.parameters.page;
    if (before.view === shown.view && shown.view !== "question" && page(before.hash) === page(shown.hash)) return;
    const known = places.get(shown.hash);
    const anchor = shown.view === "report" && byId(location.hash.slice(1));
    if (known || !anchor) window.scrollTo(0, known?.scroll ?? 0);
    else anchor.scrollIntoView();
    if (shown.view === "questions" && known) {
      drawList();
      list.moving = true;
      markCurrent();
    } else if (shown.view !== "report") byId("explorer-title").focus({ preventScroll: true });
  }

  // As in explorer.css: where the histograms have no column of their own, the list comes first.
  byId("explorer-histograms").open = matchMedia("(min-width: 60rem)").matches;
  byId("explorer-fields").open = matchMedia("(min-width: 40rem)").matches;
  // The link past the navigation is no route.
  document.querySelector("a.skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  window.addEventListener("hashchange", route);
  route();
})();
