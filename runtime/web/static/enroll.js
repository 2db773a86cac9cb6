// Enrollment from a photo or from an appearance. Both return a verdict. If the face looks like another person, the user
// decides.

import { call, get, query } from "./api.js";
import { dialog, h, percent, repeat, showMessage } from "./dom.js";

export function enrollPhoto(name, file, force = false) {
  return call("POST", `/enrollments/photo?${query({ name, source: file.name, force })}`, file);
}

// Asks for the name of the person in `appearance`, with advice while that person stands before `camera`. `camera` is null
// for an appearance that has ended.
export async function askName(appearance, camera) {
  const people = await get("/people");
  const verdict = await dialog("Who is this?", (close) => {
    const advice = h("span", { class: "grow", role: "status" });
    const name = h("input", { id: "name", list: "names", required: true, maxlength: "200", autocomplete: "off" });
    const result = h("div", { role: "status" });
    const enroll = async (person, force) => {
      result.replaceChildren("Enrolling…");
      try {
        const answer = await call("POST", "/enrollments/seen", { name: person, appearance, force });
        if (answer.status === "refused") result.replaceChildren(...refusal(answer, enroll));
        else close(answer);
      } catch (error) {
        result.replaceChildren(h("p", { class: "bad" }, error.message));
      }
    };
    const form = h("form", { onsubmit: (event) => { event.preventDefault(); enroll(name.value.trim(), false); } },
      h("p", { class: "row" },
        h("img", { class: "face large", alt: "", src: `/v1/appearances/${appearance}/face`, onerror: (event) => event.target.remove() }),
        camera ? advice : null),
      h("p", {}, h("label", { for: "name" }, "Name", h("span", { class: "faint" }, "A new name, or a person who is already enrolled")), name),
      h("datalist", { id: "names" }, people.map((one) => h("option", { value: one.name }))),
      result,
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
  if (verdict) showMessage([describe(verdict), ...verdict.notes].join(" – "));
  return verdict;
}

// A verdict in words.
export function describe(verdict) {
  if (verdict.status === "enrolled") return `${verdict.person}: enrolled, quality ${percent(verdict.quality)}`;
  if (verdict.status === "known") return `${verdict.person}: already has a sample like this`;
  return isConflict(verdict)
    ? `Looks like ${verdict.near.name}, who is already enrolled (cosine ${verdict.near.cosine.toFixed(2)})`
    : `Not enrolled: ${verdict.reason}`;
}

// A refusal, with the choices that the user has; `enroll(name, force)` tries again.
export function refusal(verdict, enroll) {
  const choices = isConflict(verdict) ? [
    h("button", { type: "button", onclick: () => enroll(verdict.near.name, false) }, `Yes, this is ${verdict.near.name}`),
    h("button", { type: "button", onclick: () => enroll(verdict.person, true) }, `No, enroll ${verdict.person} anyway`),
  ] : [];
  const problem = h("p", { class: "bad" }, describe(verdict));
  return choices.length ? [problem, h("div", { class: "row" }, choices)] : [problem];
}

const isConflict = (verdict) => verdict.status === "refused" && verdict.near;
