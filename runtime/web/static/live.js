// The live view. The page draws the boxes, over the picture to which they belong.

import { setFilters } from "./address.js";
import { get, getAll } from "./api.js";
import { dateTime, h, nameOf, notLiveMark } from "./dom.js";
import { listen } from "./events.js";
import { presentList } from "./present.js";

const RECENT = 8;
const SILENCE = 10000;  // milliseconds without a message after which the connection counts as lost
const RETRY = 2000;  // milliseconds until the next attempt to connect

export async function show(main, _, filters) {
  const cameras = await getAll("/cameras");
  const picture = h("canvas", { class: "live", role: "img", width: 640, height: 360, "aria-label": "No picture yet" });
  const state = h("p", { class: "faint", role: "status" }, "Connecting…");
  const present = h("div");
  const noEvents = h("p", { class: "faint" }, "Nobody has arrived or left since you opened this page.");
  const recent = h("ul", { class: "rows" });
  let stop = () => {};
  const watch = (name) => {
    stop();
    const people = presentList(name);
    present.replaceChildren(...people.nodes);
    stop = follow(name, picture, state, people.update);
  };
  const choice = h("select", { "aria-label": "Camera", hidden: cameras.length < 2, onchange: () => { setFilters({ camera: choice.value }); watch(choice.value); } },
    cameras.map((one) => h("option", { selected: one.name === filters.camera }, one.name)));
  main.replaceChildren(
    h("h1", {}, cameras.length === 1 ? cameras[0].name : "Live"),
    h("div", { class: "columns" },
      h("section", { "aria-label": "Picture" }, choice, picture, state),
      h("div", {},
        h("section", { class: "card" }, h("h2", {}, "In front of the camera"), present),
        h("section", { class: "card" }, h("h2", {}, "Recent"), noEvents, recent))));
  if (cameras.length) watch(choice.value);
  else state.textContent = "No camera is configured. Start the service with --camera.";
  const stopListening = listen((event) => {
    if (event.stage === "update") return;
    noEvents.hidden = true;
    const what = event.stage === "start" ? "arrived" : "left";
    recent.prepend(h("li", {}, h("span", { class: "grow" }, nameOf(event.match), notLiveMark(event.live), ` ${what}, ${event.source}`),
      h("span", { class: "faint" }, dateTime(event.stage === "start" ? event.started : event.ended))));
    while (recent.children.length > RECENT) recent.lastChild.remove();
  });
  return () => { stop(); stopListening(); };
}

// Shows `camera` until the returned function is called. `updateList(faces, bitmap)` shows the same as a list, for the
// keyboard and screen readers.
function follow(camera, picture, state, updateList) {
  let socket, timer, silence, stopped = false, faces = [];
  // A board that loses power does not close the connection. One that works sends something every two seconds.
  const resetTimeout = () => {
    clearTimeout(silence);
    silence = setTimeout(() => { socket.onmessage = null; lost(); socket.close(); }, SILENCE);
  };
  const lost = () => {
    clearTimeout(silence);
    socket.onclose = null;
    if (stopped) return;
    state.textContent = "Connection lost. Trying again…";
    reconnect();
  };
  const connect = () => {
    const address = new URL(`/v1/cameras/${encodeURIComponent(camera)}/live`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(address);
    socket.binaryType = "blob";
    socket.onopen = () => { resetTimeout(); socket.send("next"); };
    socket.onclose = lost;
    socket.onmessage = async ({ data }) => {
      resetTimeout();
      if (typeof data === "string") {
        const message = JSON.parse(data);
        faces = message.present;
        if (message.fresh) return;  // the picture follows
        state.textContent = message.on ? "No picture from the camera." : "This camera is switched off.";
        if (!message.on) clear(picture);
        updateList(faces, null);
      } else {
        const bitmap = await createImageBitmap(data).catch(() => null);
        if (stopped) return;
        updateList(faces, bitmap);
        if (bitmap) draw(picture, bitmap, faces);
        state.textContent = "";
      }
      if (socket.readyState === WebSocket.OPEN) socket.send("next");
    };
  };
  // An HTTP request first: if the session has ended, it shows the form to sign in, which stops this view.
  const reconnect = () => {
    timer = setTimeout(() => get("/cameras").then(() => stopped || connect(), () => stopped || reconnect()), RETRY);
  };
  connect();
  return () => { stopped = true; clearTimeout(timer); clearTimeout(silence); socket.close(); };
}

function clear(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  canvas.setAttribute("aria-label", "The camera is switched off");
}

function draw(canvas, bitmap, faces) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  }
  const context = canvas.getContext("2d"), { width, height } = canvas;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const scale = width / (canvas.clientWidth || width);  // lines and names have the same size on a phone
  const line = 2.5 * scale, size = 14 * scale;
  context.lineWidth = line;
  context.font = `600 ${size}px system-ui, sans-serif`;
  for (const { box, match, appearance, live } of faces) {
    const [x1, y1, x2, y2] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
    context.strokeStyle = context.fillStyle = live === false ? "#ff8f8a" : match ? "#5fd39b" : "#ffb84d";
    context.setLineDash(appearance ? [] : [line * 3, line * 2]);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const label = (match ? match.name : appearance ? "unknown" : "") + (live === false && appearance ? ", not live" : "");
    if (!label) continue;
    const wide = context.measureText(label).width + size * 0.6;
    const left = Math.max(0, Math.min(x1, width - wide)), top = y1 > size * 1.5 ? y1 - size * 1.4 : y2;
    context.fillRect(left, top, wide, size * 1.4);
    context.fillStyle = "#10231a";
    context.fillText(label, left + size * 0.3, top + size, width - size * 0.6);
  }
  const names = faces.filter((one) => one.appearance).map((one) =>
    (one.match ? one.match.name : "an unknown person") + (one.live === false ? " (not live)" : ""));
  canvas.setAttribute("aria-label", names.length ? `In the picture: ${names.join(", ")}` : "Nobody in the picture");
}
