// Enrollment: who is this? Both ways end in a verdict, which may need a decision of a person.

import { call, get, query } from "./api.js";
import { dialog, h, repeat, say, share } from "./dom.js";

export function photo(name, file, force = false) {
  return call("POST", `/enrollments/photo?${query({ name, source: file.name, force })}`, file);
}

// Asks for a name for the face of `appearance`, with guidance while it stands before `camera` (null: it does not).
export async function askWho(appearance, camera) {
  const people = await get("/people");
  const verdict = await dialog("Who is this?", (close) => {
    const advice = h("span", { class: "grow", role: "status" });
    const name = h("input", { id: "name", list: "names", required: true, maxlength: "200", autocomplete: "off" });
    const outcome = h("div", { role: "status" });
    const attempt = async (called, force) => {
      outcome.replaceChildren("Enrolling…");
      try {
        const verdict = await call("POST", "/enrollments/seen", { name: called, appearance, force });
        if (verdict.status === "refused") outcome.replaceChildren(...decision(verdict, attempt));
        else close(verdict);
      } catch (error) {
        outcome.replaceChildren(h("p", { class: "bad" }, error.message));
      }
    };
    const form = h("form", { onsubmit: (event) => { event.preventDefault(); attempt(name.value.trim(), false); } },
      h("p", { class: "row" },
        h("img", { class: "face large", alt: "", src: `/v1/appearances/${appearance}/face`, onerror: (event) => event.target.remove() }),
        camera ? advice : null),
      h("p", {}, h("label", { for: "name" }, "Name", h("span", { class: "faint" }, "New, or somebody who is enrolled")), name),
      h("datalist", { id: "names" }, people.map((one) => h("option", { value: one.name }))),
      outcome,
      h("div", { class: "row" },
        h("button", { class: "main" }, "Enroll"),
        h("button", { type: "button", onclick: () => close() }, "Cancel")));
    if (camera) {
      const stop = repeat(async () => {
        if (!form.isConnected && advice.textContent) return stop();
        advice.textContent = (await get(`/cameras/${encodeURIComponent(camera)}/guidance`)).advice;
      }, 1000);
    }
    return form;
  });
  if (verdict) say([told(verdict), ...verdict.notes].join(" – "));
  return verdict;
}

// What became of a photo or a face, in words.
export function told(verdict) {
  if (verdict.status === "enrolled") return `${verdict.person}: enrolled, quality ${share(verdict.quality)}`;
  if (verdict.status === "known") return `${verdict.person}: a sample like this is there already`;
  return conflict(verdict)
    ? `Looks like ${verdict.near.name}, who is enrolled (cosine ${verdict.near.cosine.toFixed(2)})`
    : `Refused: ${verdict.reason}`;
}

// What a refusal leaves to decide; `attempt(name, force)` tries again.
export function decision(verdict, attempt) {
  const choices = conflict(verdict) ? [
    h("button", { type: "button", onclick: () => attempt(verdict.near.name, false) }, `It is ${verdict.near.name}`),
    h("button", { type: "button", onclick: () => attempt(verdict.person, true) }, `No: enroll ${verdict.person} anyway`),
  ] : [];
  return [h("p", { class: "bad" }, told(verdict)), h("div", { class: "row" }, choices)];
}

const conflict = (verdict) => verdict.status === "refused" && verdict.near;
