// "This was Ada" and "This was somebody else": what a user says about an appearance, and the evidence that this is.

import { call, get } from "./api.js";
import { dialog, h, showMessage } from "./dom.js";
import { choosePerson } from "./person_choice.js";

const MOST = 100;  // ids in an address

// The reviews of these appearances (ids), by the id of the appearance.
export async function getReviews(appearances) {
  const found = new Map();
  for (let start = 0; start < appearances.length; start += MOST) {
    const some = appearances.slice(start, start + MOST).map((one) => `appearance=${encodeURIComponent(one)}`).join("&");
    for (const one of (await get(`/reviews?limit=${MOST}&${some}`)).items) found.set(one.review.appearance, one);
  }
  return found;
}

export const outcomes = {
  right: "right", "false match": "wrong: somebody else", "missed match": "missed", "wrong person": "wrong person", "rightly unknown": "rightly unknown",
};

// Asks who an appearance was, and stores the answer. Resolves to whether something changed.
export async function review(one, reviewed) {
  const choice = await dialog("Who was this?", (close) => {
    const add = h("input", { type: "checkbox", id: "review-add" });
    const ignore = h("input", { type: "checkbox", id: "review-ignore" });
    const answer = (person) => close({ person, add: person !== null && add.checked, ignore: person === null && ignore.checked });
    return [
      one.face ? h("img", { class: "face large", alt: "the face as seen", src: `/v1/appearances/${one.id}/face` }) : h("p", { class: "faint" }, "No picture of this appearance is kept."),
      h("details", {}, h("summary", {}, "What else the answer should do"),
        h("label", { class: "choice", for: add.id }, add, "If the person is enrolled: add this face to the samples"),
        h("label", { class: "choice", for: ignore.id }, ignore, "If nobody is: ignore this face for good")),
      h("div", { class: "row" },
        one.match ? h("button", { type: "button", onclick: () => answer(one.match.person) }, `This was ${one.match.name}`) : null,
        h("button", { type: "button", onclick: () => answer(undefined) }, one.match ? "Another person…" : "A person who is enrolled…"),
        h("button", { type: "button", onclick: () => answer(null) }, one.match ? "Somebody else, who is not enrolled" : "Nobody who is enrolled")),
      h("p", { class: "faint" }, "The answer is kept with the gallery, counted under Gallery, and deleted with each person it is about."),
      h("div", { class: "row" },
        reviewed ? h("button", { type: "button", onclick: () => close("undo") }, "Take back the answer") : null,
        h("button", { type: "button", onclick: () => close() }, "Cancel"))];
  });
  if (!choice) return false;
  try {
    if (choice === "undo") {
      await withdraw(one.id);
      return true;
    }
    if (choice.person === undefined) {
      const person = await choosePerson("Who was this?");
      if (!person) return false;
      choice.person = person.id;
    }
    const { outcome, verdict } = await call("PUT", `/appearances/${one.id}/review`, choice);
    showMessage(verdict?.status === "refused" ? `Noted, but not added: ${verdict.reason}` : `Noted: ${outcomes[outcome]}`);
    return true;
  } catch (error) {
    showMessage(error.message);
    return false;
  }
}

export async function withdraw(appearance) {
  await call("DELETE", `/appearances/${appearance}/review`);
  showMessage("The answer is deleted");
}
