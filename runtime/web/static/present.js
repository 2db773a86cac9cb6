// The list of the people in front of a camera, with a button to enroll each. A list that moves under the pointer would
// enroll the wrong person. So a row keeps its place: new people are added at the end, and somebody who has left stays for
// a while, and as long as the pointer or the focus is in the list.

import { getAll } from "./api.js";
import { h, ignoreClicksAfterMoves, nameOf, notLiveMark, showMessage } from "./dom.js";
import { askName, shotAddress } from "./enroll.js";

const LEFT_FOR = 15000;  // milliseconds for which somebody who has left can still be enrolled
const THUMBNAIL = 112;  // pixels
const FACE_AGAIN = 2000;  // milliseconds until the next attempt to load a face

export function presentList(camera) {
  const list = h("ul", { class: "rows" });
  const nobody = h("p", { class: "faint" }, "Nobody.");
  const items = new Map();  // by appearance
  ignoreClicksAfterMoves(list);

  function update(faces, bitmap = null) {
    const here = new Map(faces.filter((one) => one.appearance).map((one) => [one.appearance, one]));
    for (const [id, item] of items) if (!here.has(id)) showLeft(item);
    for (const [id, face] of here) {
      const again = items.has(id) ? null : [...items].find(([, one]) => one.left && face.match && one.person === face.match.person);
      if (again) {  // the same person is back, in the same row
        items.delete(again[0]);
        items.set(id, again[1]);
        again[1].appearance = id;
        again[1].loadFace();
      } else if (!items.has(id)) {
        items.set(id, createItem(id, camera));
        list.append(items.get(id).row);
      }
      showItem(items.get(id), face);
      if (bitmap) drawThumbnail(items.get(id), face.box, bitmap);
    }
    if (!list.matches(":hover") && !list.contains(document.activeElement)) {
      for (const [id, item] of items) {
        if (item.left && performance.now() - item.left > LEFT_FOR) { item.row.remove(); items.delete(id); }
      }
    }
    nobody.hidden = items.size > 0;
  }
  return { nodes: [nobody, list], update };
}

function createItem(id, camera) {
  const face = h("img", { class: "face", alt: "", hidden: true });
  const thumbnail = h("canvas", { class: "face", width: THUMBNAIL, height: THUMBNAIL });
  const name = h("span", { class: "grow short" });
  // Somebody who has left cannot follow the advice that the dialog gives.
  const button = h("button", { type: "button", onclick: () => askName(item.appearance, item.left ? null : camera).catch((error) => showMessage(error.message)) });
  const item = { row: h("li", {}, thumbnail, face, name, button), face, thumbnail, name, button, appearance: id, person: null, key: null, left: 0 };
  item.loadFace = async () => {
    const [best] = await getAll(`/appearances/${item.appearance}/shots`).catch(() => []);
    if (best) {
      face.src = shotAddress(item.appearance, best);
      [face.hidden, thumbnail.hidden] = [false, true];
      button.disabled = false;
    } else if (item.row.isConnected) setTimeout(item.loadFace, FACE_AGAIN);
  };
  item.loadFace();
  return item;
}

// The face as the camera sees it now, until a picture is good enough to enroll it.
function drawThumbnail({ thumbnail }, [x1, y1, x2, y2], bitmap) {
  if (thumbnail.hidden) return;
  const side = 1.3 * Math.max((x2 - x1) * bitmap.width, (y2 - y1) * bitmap.height);
  const [left, top] = [(x1 + x2) / 2 * bitmap.width - side / 2, (y1 + y2) / 2 * bitmap.height - side / 2];
  const pen = thumbnail.getContext("2d");
  pen.clearRect(0, 0, THUMBNAIL, THUMBNAIL);
  pen.drawImage(bitmap, left, top, side, side, 0, 0, THUMBNAIL, THUMBNAIL);
}

function showItem(item, { match, live }) {
  const key = `${live} ${match ? `${match.person} ${match.name} ${match.cosine.toFixed(2)}` : ""}`;
  if (item.key === key && !item.left) return;
  item.button.disabled = false;  // the dialog gives advice
  [item.key, item.left, item.person] = [key, 0, match && match.person];
  item.row.classList.remove("left");
  item.name.replaceChildren(...[nameOf(match), notLiveMark(live),
    match && h("span", { class: "faint" }, ` cosine\u00a0${match.cosine.toFixed(2)}`)].filter(Boolean));
  item.button.textContent = match ? "Add sample…" : "Enroll…";
}

function showLeft(item) {
  if (item.left) return;
  item.left = performance.now();
  item.button.disabled = !item.face.hasAttribute("src");  // no good picture was taken, and none will be
  item.row.classList.add("left");
  item.name.append(h("span", { class: "faint" }, " has left"));
}
