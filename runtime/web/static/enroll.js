// Enrollment from a photo or from an appearance. Both return a verdict. If the face looks like another person, the user
// decides.

import { call, get, getAll, query } from "./api.js";
import { count, dialog, h, percent, repeat, showMessage } from "./dom.js";
import { nameField, portrait } from "./person_choice.js";

// `face` is the number of a face in a photo with several.
export function enrollPhoto(name, file, force = false, face = null) {
  return call("POST", `/enrollments/photo?${query({ name, source: file.name, force, face })}`, file);
}

// The address of exactly this picture, however long the appearance lasts.
export const shotAddress = (appearance, shot) => `/v1/appearances/${appearance}/face?${query({ shot: shot.id })}`;

// Asks for the name of the person in `appearance`, with advice while that person stands before `camera`. `camera` is null
// for an appearance that has ended. The dialog shows the pictures that will be enrolled, and exactly these are enrolled.
export async function askName(appearance, camera) {
  let shots = [], opened = false;
  const verdict = await dialog("Who is this?", (close) => {
    const advice = h("span", { class: "grow", role: "status" });
    const [name, names] = nameField("name");
    const result = h("div", { role: "status" });
    const enroll = async (person, force) => {
      result.replaceChildren("Enrolling…");
      try {
        const answer = await call("POST", "/enrollments/seen", { name: person, appearance, force, shots: shots.map((one) => one.id) });
        if (answer.status === "refused") result.replaceChildren(...refusal(answer, enroll, shotAddress(appearance, shots[0])));
        else close(answer);
      } catch (error) {
        result.replaceChildren(h("p", { class: "bad" }, error.message));
      }
    };
    const faces = h("div", { class: "row" }, h("span", { class: "face large" }));
    const button = h("button", { class: "main", disabled: true }, "Enroll");
    const loadShots = async () => {
      shots = await getAll(`/appearances/${appearance}/shots`);
      if (shots.length) faces.replaceChildren(...shots.map((one) => h("img", { class: "face large", alt: "", src: shotAddress(appearance, one) })));
      else faces.replaceChildren(h("span", { class: "face large" }), h("span", { class: "grow" }, "No good picture of this person yet."));
      button.disabled = !shots.length;
    };
    const form = h("form", { onsubmit: (event) => { event.preventDefault(); enroll(name.value.trim(), false); } },
      faces,
      camera ? h("p", { class: "row" }, advice) : null,
      h("p", {}, h("label", { for: "name" }, "Name", h("span", { class: "faint" }, "A new name, or a person who is already enrolled")), name, names),
      result,
      h("div", { class: "row" },
        button,
        h("button", { type: "button", onclick: () => close() }, "Cancel")));
    const stop = repeat(async () => {
      if (opened && !form.isConnected) return stop();
      opened = form.isConnected;
      if (!shots.length) await loadShots();
      if (camera) advice.textContent = (await get(`/cameras/${encodeURIComponent(camera)}/guidance`)).advice;
    }, 1000);
    return form;
  });
  if (verdict) showMessage([describe(verdict), ...verdict.notes].join(" – "));
  return verdict;
}

// Asks for one name, and enrolls all `appearances` (ids) as this person. Resolves to whether one was enrolled.
export async function enrollAppearances(appearances) {
  let enrolled = 0;
  await dialog(`Who are these? ${count(appearances.length, "appearance", "appearances")}`, (close) => {
    const [name, names] = nameField("name");
    const rows = h("ul", { class: "rows", "aria-live": "polite" }, h("li", {}, appearances.map((id) => pictured(`/v1/appearances/${id}/face`, ""))));
    const button = h("button", { class: "main" }, "Enroll");
    let person = "", force = false;  // what the user decides about one appearance counts for those after it, too
    const enroll = async (id, row) => {
      const picture = `/v1/appearances/${id}/face`;
      for (;;) {
        row.replaceChildren(pictured(picture, ""), h("span", { class: "grow" }, "…"));
        const verdict = await call("POST", "/enrollments/seen", { name: person, appearance: id, force });
        if (verdict.status !== "refused") {
          enrolled += 1;
          return row.replaceChildren(pictured(picture, ""), h("span", { class: "grow" }, describe(verdict)));
        }
        const choice = await new Promise((resolve) => {
          const shown = refusal(verdict, (...chosen) => resolve(chosen), picture);
          row.replaceChildren(...shown);
          if (shown.length === 1) resolve(null);  // there is nothing to decide
          else row.append(h("button", { type: "button", onclick: () => { row.replaceChildren(pictured(picture, ""), "Skipped"); resolve(null); } }, "Skip"));
        });
        if (!choice) return;
        [person, force] = choice;
      }
    };
    return h("form", { onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      [person, force] = [name.value.trim(), false];
      rows.replaceChildren();
      for (const id of appearances) {  // one after the other: each is compared with those before
        const row = h("li");
        rows.append(row);
        try { await enroll(id, row); } catch (error) { row.replaceChildren(h("span", { class: "bad grow" }, error.message)); }
      }
      button.disabled = false;
    } },
    h("p", {}, h("label", { for: "name" }, "Name", h("span", { class: "faint" }, "A new name, or a person who is already enrolled")), name, names),
    h("div", { class: "list" }, rows),
    h("div", { class: "row" }, button, h("button", { type: "button", onclick: () => close() }, "Close")));
  });
  return enrolled > 0;
}

// A verdict in words.
export function describe(verdict) {
  if (verdict.status === "enrolled") return `${verdict.person}: enrolled, quality ${percent(verdict.quality)}`;
  if (verdict.status === "known") return `${verdict.person}: already has a sample like this`;
  if (verdict.faces.length) return `${verdict.faces.length} faces: which one is ${verdict.person}?`;
  if (isUnlike(verdict)) return `Unlike the other pictures of ${verdict.person} (cosine ${verdict.own.toFixed(2)})`;
  return isConflict(verdict)
    ? `Looks like ${verdict.near.name}, who is already enrolled (cosine ${verdict.near.cosine.toFixed(2)})`
    : `Not enrolled: ${verdict.reason}`;
}

// A refusal, with the choices that the user has; `enroll(name, force)` tries again. `picture` is the address of the new
// picture, to be compared with the face of the person who looks like it.
export function refusal(verdict, enroll, picture) {
  if (isUnlike(verdict)) return [h("p", { class: "bad" }, describe(verdict)), h("div", { class: "row" },
    pictured(picture, "New picture"), h("button", { type: "button", onclick: () => enroll(verdict.person, true) }, `This is ${verdict.person}: enroll it anyway`))];
  const choices = isConflict(verdict) ? [
    h("button", { type: "button", onclick: () => enroll(verdict.near.name, false) }, `Yes, this is ${verdict.near.name}`),
    h("button", { type: "button", onclick: () => enroll(verdict.person, true) }, `No, enroll ${verdict.person} anyway`),
  ] : [];
  const problem = h("p", { class: "bad" }, describe(verdict));
  if (choices.length) choices.unshift(h("div", { class: "row pair" },
    pictured(picture, "New picture"), h("figure", {}, portrait(verdict.near.person, { large: true }), h("figcaption", {}, verdict.near.name))));
  return choices.length ? [problem, h("div", { class: "row" }, choices)] : [problem];
}

// The faces of a refused photo as buttons; `enroll(face)` enrolls the one that the user chooses.
export async function chooseFace(verdict, file, enroll) {
  const photo = await createImageBitmap(file);
  const buttons = verdict.faces.filter((face) => !face.flaw).map((face) =>
    h("button", { type: "button", onclick: () => enroll(face.number) }, cutOut(photo, face.box, verdict.turned), ` Face ${face.number}`));
  photo.close();  // a large photo takes 200 MB
  return [h("p", {}, describe(verdict)), h("div", { class: "row" }, buttons)];
}

// The part `box` of `photo`, which the service turned clockwise by `turned` degrees, as a square picture.
function cutOut(photo, box, turned) {
  const side = 72, canvas = h("canvas", { width: side, height: side, class: "face" }), pen = canvas.getContext("2d");
  const [x, y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], scale = side / Math.max(box[2] - box[0], box[3] - box[1]);
  const [width, height] = turned % 180 ? [photo.height, photo.width] : [photo.width, photo.height];
  pen.translate(side / 2, side / 2);
  pen.scale(scale, scale);
  pen.translate(width / 2 - x, height / 2 - y);
  pen.rotate(turned * Math.PI / 180);
  pen.drawImage(photo, -photo.width / 2, -photo.height / 2);
  return canvas;
}

const pictured = (address, text) => h("figure", {},
  h("img", { class: "face large", alt: "", src: address, onerror: (event) => event.target.removeAttribute("src") }), h("figcaption", {}, text));
const isConflict = (verdict) => verdict.status === "refused" && verdict.near && (verdict.own === null || verdict.near.cosine > verdict.own);
const isUnlike = (verdict) => verdict.status === "refused" && verdict.own !== null && !isConflict(verdict);
