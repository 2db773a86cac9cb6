// The list of appearances: who was in front of which camera, and when.

import { get, getAll, getPeople, query } from "./api.js";
import { dateTime, duration, h, ignoreClicksAfterMoves, nameOf, notLiveMark, percent, showMessage } from "./dom.js";
import { askName } from "./enroll.js";
import { listen } from "./events.js";

const PAGE = 50;

export async function show(main, person) {
  const [people, cameras] = await Promise.all([getPeople(), getAll("/cameras")]);
  const list = h("ul", { class: "rows card" });
  ignoreClicksAfterMoves(list);
  const empty = h("p", {}, "No appearances.");
  const older = h("button", { type: "button", onclick: () => load(next).catch((error) => showMessage(error.message)) }, "Show older");
  const reload = () => load().catch((error) => showMessage(error.message));
  const personChoice = h("select", { id: "person", onchange: reload },
    h("option", { value: "*" }, "All people"), h("option", { value: "" }, "Unknown people"),
    people.map((one) => h("option", { value: one.id, selected: one.id === person }, one.name)));
  const cameraChoice = h("select", { id: "camera", onchange: reload },
    h("option", { value: "*" }, "All cameras"), cameras.map((one) => h("option", { value: one.name }, one.name)));
  const chosen = (select) => (select.value === "*" ? null : select.value);
  let next, timer, olderShown = false, turn = 0;
  async function load(cursor) {
    const mine = ++turn;
    const page = await get(`/appearances?${query({
      limit: PAGE, cursor, person: chosen(personChoice), source: chosen(cameraChoice),
    })}`);
    if (mine !== turn) return;  // meanwhile the user made another choice
    if (!cursor) list.replaceChildren();
    list.append(...page.items.map((one) => row(one)));
    next = page.next;
    older.hidden = !next;
    list.hidden = !list.children.length;
    empty.hidden = !list.hidden;
    olderShown = Boolean(cursor);
  }
  await load();
  main.replaceChildren(
    h("h1", {}, "Appearances"),
    h("div", { class: "row card" },
      h("label", { for: "person" }, "Person", personChoice), h("label", { for: "camera" }, "Camera", cameraChoice)),
    empty, list, older);
  const stop = listen(() => {  // the list does not move while somebody reads older pages or uses an entry
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!olderShown && !list.contains(document.activeElement) && !list.matches(":hover")) reload();
    }, 300);
  });
  return () => { stop(); clearTimeout(timer); };
}

function row(one) {
  const face = one.match ? `/v1/people/${one.match.person}/face` : one.face ? `/v1/appearances/${one.id}/face` : null;
  return h("li", {},
    h("img", { class: "face", alt: "", loading: "lazy", src: face, onerror: (event) => { event.target.removeAttribute("src"); } }),
    h("span", { class: "grow" },
      one.match ? h("a", { href: `#/people/${one.match.person}` }, nameOf(one.match)) : nameOf(null), notLiveMark(one.live),
      h("br"), h("span", { class: "faint" }, one.source, one.zones.length ? `: ${one.zones.join(", ")}` : null)),
    h("span", { class: "grow" }, dateTime(one.started), h("br"),
      h("span", { class: "faint" }, one.stage === "end" ? duration(one.ended - one.started) : "still here")),
    h("span", { class: "faint figures" }, one.match ? [`cosine ${one.match.cosine.toFixed(2)}`, h("br")] : null,
      `quality ${percent(one.quality)}`, one.liveness === null ? null : [h("br"), `liveness ${percent(one.liveness)}`]),
    h("span", { class: "figures" }, one.match ? null : h("button", {
      type: "button", onclick: () => askName(one.id, null).catch((error) => showMessage(error.message)),
    }, "Enroll…")));
}
