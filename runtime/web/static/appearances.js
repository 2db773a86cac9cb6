// Who was where and when.

import { get, query } from "./api.js";
import { h, lasting, lively, say, share, when, who } from "./dom.js";
import { askWho } from "./enroll.js";
import { events } from "./events.js";

const PAGE = 50;

export async function show(main, person) {
  const [people, cameras] = await Promise.all([get("/people"), get("/cameras")]);
  const list = h("ul", { class: "rows card" });
  const none = h("p", {}, "No appearances.");
  const older = h("button", { type: "button", onclick: () => load(last) }, "Older");
  const whose = h("select", { id: "whose", onchange: () => load() },
    h("option", { value: "*" }, "Everybody"), h("option", { value: "" }, "Unknown people"),
    people.map((one) => h("option", { value: one.id, selected: one.id === person }, one.name)));
  const where = h("select", { id: "where", onchange: () => load() },
    h("option", { value: "*" }, "All cameras"), cameras.map((one) => h("option", { value: one.name }, one.name)));
  let last, timer, paged = false, turn = 0;
  async function load(before) {
    const mine = ++turn;
    const found = await get(`/appearances?${query({
      limit: PAGE, before, person: whose.value === "*" ? null : whose.value, source: where.value === "*" ? null : where.value,
    })}`);
    if (mine !== turn) return;  // a later question was asked meanwhile
    if (!before) list.replaceChildren();
    list.append(...found.map((one) => row(one)));
    last = found.at(-1)?.started;
    older.hidden = found.length < PAGE;
    list.hidden = !list.children.length;
    none.hidden = !list.hidden;
    paged = Boolean(before);
  }
  await load();
  main.replaceChildren(
    h("h1", {}, "Appearances"),
    h("div", { class: "row card" },
      h("label", { for: "whose" }, "Who", whose), h("label", { for: "where" }, "Where", where)),
    none, list, older);
  const quiet = events(() => {  // nothing is moved while somebody reads older pages or has an entry focused
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!paged && !list.contains(document.activeElement)) load().catch((error) => say(error.message));
    }, 300);
  });
  return () => { quiet(); clearTimeout(timer); };
}

function row(one) {
  const face = one.match ? `/v1/people/${one.match.person}/face` : one.face ? `/v1/appearances/${one.id}/face` : null;
  const lasted = one.stage === "end" ? lasting(one.ended - one.started) : "still here";
  return h("li", {},
    h("img", { class: "face", alt: "", loading: "lazy", src: face, onerror: (event) => { event.target.removeAttribute("src"); } }),
    h("span", { class: "grow" },
      one.match ? h("a", { href: `#/people/${one.match.person}` }, who(one.match)) : who(null), lively(one.live),
      h("br"), h("span", { class: "faint" }, one.source)),
    h("span", { class: "grow" }, when(one.started), h("br"), h("span", { class: "faint" }, lasted)),
    h("span", { class: "faint figures" }, one.match ? [`cosine ${one.match.cosine.toFixed(2)}`, h("br")] : null,
      `quality ${share(one.quality)}`, one.liveness === null ? null : [h("br"), `liveness ${share(one.liveness)}`]),
    h("span", { class: "figures" }, one.match ? null
      : h("button", { type: "button", onclick: () => askWho(one.id, null).catch((error) => say(error.message)) }, "Enroll…")));
}
