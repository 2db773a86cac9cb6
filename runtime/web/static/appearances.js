// The list of appearances: who was in front of which camera, and when. Its filters and its page are in the address.

import { addressOf, setFilters } from "./address.js";
import { call, get, getAll, query } from "./api.js";
import { dayFields, midnight } from "./days.js";
import { confirm, count, dateTime, duration, h, ignoreClicksAfterMoves, nameOf, notLiveMark, percent, showMessage } from "./dom.js";
import { askName, enrollAppearances } from "./enroll.js";
import { listen } from "./events.js";
import { choosePerson, portrait } from "./person_choice.js";
import { getReviews, outcomes, review } from "./review.js";
import { selection } from "./selection.js";

const PAGE = 50;
const UNKNOWN = "unknown";  // the filter for people who were not recognized

export async function show(main, person, given) {
  let filters = { ...given, who: given.who ?? person };  // who: the id of a person, UNKNOWN, or nothing for everybody
  const cameras = await getAll("/cameras");
  const list = h("ul", { class: "rows card", "aria-label": "Appearances" });
  ignoreClicksAfterMoves(list);
  const empty = h("p", { class: "card" }, "No appearances.");
  const pages = h("p", { class: "row" });
  const reload = () => load().catch((error) => showMessage(error.message));
  const chosen = selection(["appearance", "appearances"], [
    { label: "Enroll…", class: "enroll-only", allowed: (entries) => entries.every((one) => !one.match), run: async (ids) => { if (await enrollAppearances(ids)) reload(); } },
    { label: "Delete…", class: "danger admin-only", run: async (ids) => {
      const text = "Their pictures are deleted too. Events that were sent before stay with their receivers.";
      if (!await confirm(`Delete ${count(ids.length, "appearance", "appearances")}?`, text, "Delete")) return;
      try {
        const { deleted } = await call("POST", "/appearances/delete", { appearances: ids });
        showMessage(`${count(deleted, "appearance", "appearances")} deleted`);
      } catch (error) { showMessage(error.message); }
      reload();
    } },
  ]);
  const change = (values) => {
    filters = { ...filters, before: undefined, ...values };
    setFilters(filters);
    reload();
  };
  let timer, turn = 0;
  // Nothing moves while somebody reads older pages, uses an entry or a link, or begins to while the new list is fetched.
  const isUsed = () => filters.before || !chosen.isEmpty()
    || [list, pages].some((one) => one.contains(document.activeElement) || one.matches(":hover"));
  async function load(automatic = false) {
    const mine = automatic ? turn : ++turn;
    const { items, next } = await get(`/appearances?${query({
      limit: PAGE, cursor: filters.before, person: filters.who === UNKNOWN ? "" : filters.who || null, source: filters.camera || null,
      since: midnight(filters.from), until: midnight(filters.to, 1),
    })}`);
    const reviews = await getReviews(items.map((one) => one.id));
    if (mine !== turn || (automatic && isUsed())) return;  // meanwhile the user made another choice
    chosen.clear();
    list.replaceChildren(...items.map((one) => row(one, chosen, reviews.get(one.id), reload)));
    list.hidden = chosen.bar.hidden = !items.length;
    empty.hidden = !list.hidden;
    pages.replaceChildren(...[
      filters.before && h("a", { class: "button", href: addressOf("appearances", undefined, { ...filters, before: undefined }) }, "Newest"),
      next && h("a", { class: "button", href: addressOf("appearances", undefined, { ...filters, before: next }) }, "Older")].filter(Boolean));
  }
  await load();
  main.replaceChildren(h("h1", {}, "Appearances"), await filterBar(filters, cameras, change), chosen.bar, empty, list, pages);
  const stop = listen(() => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (!isUsed()) load(true).catch((error) => showMessage(error.message)); }, 300);
  });
  return () => { stop(); clearTimeout(timer); };
}

async function filterBar(filters, cameras, change) {
  const who = h("select", { id: "person" });
  const fillWho = async (id) => {
    const known = id && id !== UNKNOWN ? await get(`/people/${encodeURIComponent(id)}`).then(({ person }) => person.name, () => "Somebody who was deleted") : null;
    who.replaceChildren(
      h("option", { value: "" }, "All people"), h("option", { value: UNKNOWN, selected: id === UNKNOWN }, "Unknown people"),
      ...(known ? [h("option", { value: id, selected: true }, known)] : []), h("option", { value: "*" }, "A person…"));
  };
  let before = filters.who ?? "";
  who.addEventListener("change", async () => {
    let value = who.value;
    if (value === "*") {
      const person = await choosePerson("Whose appearances?");
      value = person ? person.id : before;
      await fillWho(value);
      who.focus();
    }
    if (value !== before) change({ who: value });
    before = value;
  });
  await fillWho(filters.who);
  const camera = h("select", { id: "camera", onchange: () => change({ camera: camera.value }) },
    h("option", { value: "" }, "All cameras"), cameras.map((one) => h("option", { selected: one.name === filters.camera, value: one.name }, one.name)));
  return h("form", { class: "row card filters", role: "search", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
    h("label", { for: "person" }, "Person", who), h("label", { for: "camera" }, "Camera", camera), dayFields(filters, change));
}

function row(one, chosen, reviewed, reload) {
  const name = one.match ? one.match.name : "an unknown person";
  const seen = one.face ? h("img", { class: "face", alt: `${name}, as seen`, loading: "lazy", src: `/v1/appearances/${one.id}/face`, onerror: (event) => { event.target.removeAttribute("src"); } }) : null;
  const known = one.match ? portrait(one.match.person) : null;
  return h("li", { class: "appearance" },
    chosen.box(one, `${name}, ${dateTime(one.started)}`),
    h("span", { class: "faces" }, seen ?? known ?? h("span", { class: "face" }), seen && known),
    h("span", { class: "grow" },
      one.match ? h("a", { href: addressOf("people", one.match.person) }, nameOf(one.match)) : nameOf(null), notLiveMark(one.live),
      h("br"), h("span", { class: "faint" }, [one.source, ...(one.zones ?? [])].join(", "))),
    h("span", { class: "grow time" }, dateTime(one.started), h("br"),
      h("span", { class: "faint" }, one.stage === "end" ? duration(one.ended - one.started) : "still here", reviewed ? `, ${outcomes[reviewed.outcome]}` : "")),
    h("span", { class: "faint figures" }, one.match ? [`cosine ${one.match.cosine.toFixed(2)}`, h("br")] : null,
      `quality ${percent(one.quality)}`, one.liveness === null ? null : [h("br"), `liveness ${percent(one.liveness)}`]),
    h("span", { class: "actions" }, one.match && reviewed?.outcome !== "false match" ? null : h("button", {
      type: "button", class: "enroll-only", onclick: () => askName(one.id, null).catch((error) => showMessage(error.message)),
    }, "Enroll…"),
    h("button", { type: "button", id: `review-${one.id}`, class: "quiet enroll-only", onclick: async () => {
      if (!await review(one, reviewed)) return;
      await reload();
      document.getElementById(`review-${one.id}`)?.focus();
    } }, reviewed ? "Reviewed…" : "Who was it?")));
}
