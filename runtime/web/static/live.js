// The live view. Boxes are drawn here, over the very picture they belong to.

import { get } from "./api.js";
import { h, lively, say, when, who } from "./dom.js";
import { askWho } from "./enroll.js";
import { events } from "./events.js";

const RECENT = 8;
const SILENCE = 10000;  // milliseconds without a word after which a connection counts as lost
const AGAIN = 2000;  // milliseconds until a lost picture is asked for again

export async function show(main) {
  const cameras = await get("/cameras");
  const picture = h("canvas", { class: "live", role: "img", width: 640, height: 360, "aria-label": "no picture yet" });
  const state = h("p", { class: "faint", role: "status" }, "Connecting…");
  const present = h("ul", { class: "rows" });
  const quietly = h("p", { class: "faint" }, "Nobody came or left since this page was opened.");
  const recent = h("ul", { class: "rows" });
  const nobody = h("p", { class: "faint" }, "Nobody.");
  let stop = () => {};
  const watch = (name) => { stop(); present.replaceChildren(); stop = follow(name, picture, state, present, nobody); };
  const choice = h("select", { "aria-label": "Camera", hidden: cameras.length < 2, onchange: () => watch(choice.value) },
    cameras.map((one) => h("option", {}, one.name)));
  main.replaceChildren(
    h("h1", {}, cameras.length === 1 ? cameras[0].name : "Live"),
    h("div", { class: "columns" },
      h("section", { "aria-label": "Picture" }, choice, picture, state),
      h("div", {},
        h("section", { class: "card" }, h("h2", {}, "In front of the camera"), nobody, present),
        h("section", { class: "card" }, h("h2", {}, "Just now"), quietly, recent))));
  if (cameras.length) watch(cameras[0].name);
  else state.textContent = "No camera: start the service with --camera.";
  const quiet = events((event) => {
    if (event.stage === "update") return;
    quietly.hidden = true;
    const what = event.stage === "start" ? "came" : "left";
    recent.prepend(h("li", {}, h("span", { class: "grow" }, who(event.match), lively(event.live), ` ${what}, ${event.source}`),
      h("span", { class: "faint" }, when(event.stage === "start" ? event.started : event.ended))));
    while (recent.children.length > RECENT) recent.lastChild.remove();
  });
  return () => { stop(); quiet(); };
}

// Shows `camera` until the function returned is called.
function follow(camera, picture, state, list, nobody) {
  let socket, timer, silence, over = false, faces = [];
  const items = new Map();
  // A board without power says no goodbye; one that works says something every two seconds.
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => { socket.onmessage = null; lost(); socket.close(); }, SILENCE);
  };
  const lost = () => {
    clearTimeout(silence);
    socket.onclose = null;
    if (over) return;
    state.textContent = "Connection lost. Trying again…";
    again();
  };
  const connect = () => {
    const address = new URL(`/v1/cameras/${encodeURIComponent(camera)}/live`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(address);
    socket.binaryType = "blob";
    socket.onopen = () => { heard(); socket.send("next"); };
    socket.onclose = lost;
    socket.onmessage = async ({ data }) => {
      heard();
      if (typeof data === "string") {
        const said = JSON.parse(data);
        faces = said.present;
        if (said.fresh) return;  // its picture follows
        state.textContent = "No picture from the camera.";
      } else {
        const bitmap = await createImageBitmap(data).catch(() => null);
        if (over) return;
        if (bitmap) draw(picture, bitmap, faces);
        state.textContent = "";
      }
      tell(list, items, faces, camera);
      nobody.hidden = items.size > 0;
      if (socket.readyState === WebSocket.OPEN) socket.send("next");
    };
  };
  // Asked first over HTTP, which says when the session is over: then the door is shown, and this view is left.
  const again = () => {
    timer = setTimeout(() => get("/cameras").then(() => over || connect(), () => over || again()), AGAIN);
  };
  connect();
  return () => { over = true; clearTimeout(timer); clearTimeout(silence); socket.close(); };
}

function draw(canvas, bitmap, faces) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  }
  const paper = canvas.getContext("2d"), { width, height } = canvas;
  paper.drawImage(bitmap, 0, 0);
  bitmap.close();
  const scale = width / (canvas.clientWidth || width);  // so that lines and names are as large on a phone
  const line = 2.5 * scale, size = 14 * scale;
  paper.lineWidth = line;
  paper.font = `600 ${size}px system-ui, sans-serif`;
  for (const { box, match, appearance, live } of faces) {
    const [x1, y1, x2, y2] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
    paper.strokeStyle = paper.fillStyle = live === false ? "#ff8f8a" : match ? "#5fd39b" : "#ffb84d";
    paper.setLineDash(appearance ? [] : [line * 3, line * 2]);
    paper.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const label = (match ? match.name : appearance ? "unknown" : "") + (live === false && appearance ? ", not live" : "");
    if (!label) continue;
    const wide = paper.measureText(label).width + size * 0.6;
    const left = Math.min(Math.max(0, x1), width - wide), top = y1 > size * 1.5 ? y1 - size * 1.4 : y2;
    paper.fillRect(left, top, wide, size * 1.4);
    paper.fillStyle = "#10231a";
    paper.fillText(label, left + size * 0.3, top + size);
  }
  const names = faces.filter((one) => one.appearance).map((one) =>
    (one.match ? one.match.name : "somebody unknown") + (one.live === false ? " (not live)" : ""));
  canvas.setAttribute("aria-label", names.length ? `In the picture: ${names.join(", ")}` : "Nobody in the picture");
}

// The same in words, and by keyboard. Entries stay the same elements, so that a focused button stays focused.
function tell(list, items, faces, camera) {
  const here = new Map(faces.filter((one) => one.appearance).map((one) => [one.appearance, one]));
  for (const [id, item] of items) if (!here.has(id)) { item.row.remove(); items.delete(id); }
  for (const [id, { match, live }] of here) {
    const key = `${live} ${match ? `${match.person} ${match.name} ${match.cosine.toFixed(2)}` : ""}`;
    let item = items.get(id);
    if (!item) {
      const name = h("span", { class: "grow" });
      const button = h("button", { type: "button", onclick: () => askWho(id, camera).catch((error) => say(error.message)) });
      item = { row: h("li", {}, name, button), name, button, key: null };
      items.set(id, item);
      list.append(item.row);
    }
    if (item.key === key) continue;
    item.key = key;
    item.name.replaceChildren(...[who(match), lively(live),
      match && h("span", { class: "faint" }, ` cosine\u00a0${match.cosine.toFixed(2)}`)].filter(Boolean));
    item.button.textContent = match ? "Add sample…" : "Enroll…";
  }
}
