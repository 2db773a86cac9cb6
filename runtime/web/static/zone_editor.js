// Draws zones and masks on a picture of the camera: with mouse, touch, or keyboard. Corners are buttons: drag them, or
// move them with the arrow keys. Coordinates are fractions of the picture, 0 to 1.

import { h } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const STEP = 0.01, FINE = 0.001;  // of an arrow key, and together with Shift
const MOST = 64;  // corners (core/polygons.py)
const KINDS = { zone: "Zone", mask: "Mask" };
const NEW = [[0.35, 0.3], [0.65, 0.3], [0.65, 0.7], [0.35, 0.7]];

// `picture()` is the address of the newest picture. `read()` returns the area, or null after it has said what is wrong.
export function editArea(area, picture, camera) {
  const shapes = [
    ...Object.entries(area.zones).map(([name, { points }]) => ({ kind: "zone", name, points })),
    ...Object.entries(area.masks).map(([name, { points }]) => ({ kind: "mask", name, points })),
  ].map((one) => ({ ...one, points: one.points.map((point) => [...point]) }));
  let selected = shapes[0] ?? null;
  const canvas = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" })) {
    canvas.setAttribute(name, value);
  }
  const noPicture = h("p", { class: "no-picture", hidden: true }, camera.on ? "No picture from the camera." : "The camera is switched off.");
  const image = h("img", { alt: "Picture of the camera", src: picture(), onerror: () => { noPicture.hidden = false; }, onload: () => {
    noPicture.hidden = true;
  } });
  const handles = h("div", { class: "handles" });
  const stage = h("div", { class: "stage" }, image, noPicture, canvas, handles);
  if (camera.width) stage.style.aspectRatio = `${camera.width} / ${camera.height}`;
  const list = h("ul", { class: "rows" });
  const problem = h("p", { class: "bad", role: "alert" });
  const unsaved = h("p", { class: "faint", role: "status" });
  const share = h("output", { for: "min-face" });
  const smallest = h("input", { id: "min-face", type: "range", min: "0", max: "50", step: "0.5", value: String(area.min_face * 100), oninput: () => touched() });
  const hide = h("input", { type: "checkbox", checked: area.hide_masks, onchange: () => touched() });

  let chosen = null;
  const removeButton = h("button", { type: "button", class: "admin-only", disabled: true, onclick: () => removeCorner(chosen) }, "Remove the corner");

  function touched() {
    unsaved.textContent = "Not saved yet.";
    problem.textContent = "";
    drawPolygons();
  }

  function polygon(one) {
    const node = document.createElementNS(SVG, "polygon");
    node.setAttribute("points", one.points.map((point) => point.join(",")).join(" "));
    node.setAttribute("class", [one.kind, one === selected ? "selected" : "", crossing(one.points) ? "wrong" : ""].join(" "));
    node.addEventListener("click", () => select(one));
    return node;
  }

  function drawPolygons() {
    const percent = Number(smallest.value);
    const box = document.createElementNS(SVG, "rect");
    const high = percent / 100, wide = high * 0.75 * ((camera.height || 9) / (camera.width || 16));
    for (const [name, value] of Object.entries({ x: 0.5 - wide / 2, y: 0.5 - high / 2, width: wide, height: high, class: "smallest" })) {
      box.setAttribute(name, value);
    }
    canvas.replaceChildren(...shapes.filter((one) => one !== selected).map(polygon), ...(selected ? [polygon(selected)] : []), ...(percent ? [box] : []));
    share.textContent = percent ? `${percent} % of the picture's height${camera.height ? `, ${Math.round(high * camera.height)} of ${camera.height} pixels` : ""}` : "no face is too small";
  }

  // The buttons of the corners, and of the places between them where a corner can be added. Without `rebuild`, they only
  // move: the one that is dragged must stay.
  function drawHandles() {
    chooseCorner(null);
    if (!selected) return handles.replaceChildren();
    const { points } = selected;
    handles.replaceChildren(...points.flatMap((_, place) => [cornerButton(place), ...(points.length < MOST ? [addButton(place)] : [])]));
    placeHandles();
  }

  function placeHandles() {
    const { points, name } = selected;
    for (const node of handles.children) {
      const place = Number(node.dataset.place), next = (place + 1) % points.length;
      const at = node.className === "corner" ? points[place] : points[place].map((value, axis) => (value + points[next][axis]) / 2);
      [node.style.left, node.style.top] = at.map((value) => `${value * 100}%`);
      node.setAttribute("aria-label", node.className === "corner"
        ? `Corner ${place + 1} of ${name}: ${inPercent(at[0])} from the left, ${inPercent(at[1])} from the top`
        : `Add a corner between ${place + 1} and ${next + 1} of ${name}`);
    }
  }

  function move(place, point) {
    selected.points[place] = point.map((value) => Math.round(Math.min(1, Math.max(0, value)) * 1e4) / 1e4);
    placeHandles();
    touched();
  }

  function cornerButton(place) {
    const node = h("button", { type: "button", class: "corner", "aria-describedby": "corner-help", onfocus: () => chooseCorner(place), onkeydown: (event) => {
      const step = event.shiftKey ? FINE : STEP;
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (by) move(place, selected.points[place].map((value, axis) => value + by[axis]));
      else if (event.key === "Delete" || event.key === "Backspace") removeCorner(place);
      else return;
      event.preventDefault();
    } });
    node.dataset.place = place;
    node.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();  // no scrolling, no selection
      node.focus();
      node.setPointerCapture(event.pointerId);
    });
    node.addEventListener("pointermove", (event) => {
      if (!node.hasPointerCapture(event.pointerId)) return;
      const frame = stage.getBoundingClientRect();
      move(place, [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height]);
    });
    return node;
  }

  // The corner that the button below the picture removes: where there is no Delete key.
  function chooseCorner(place) {
    chosen = place;
    removeButton.disabled = place === null;
    for (const node of handles.querySelectorAll(".corner")) node.toggleAttribute("data-chosen", Number(node.dataset.place) === place);
  }

  function addButton(place) {
    const node = h("button", { type: "button", class: "add", onclick: () => {
      const { points } = selected, next = points[(place + 1) % points.length];
      points.splice(place + 1, 0, points[place].map((value, axis) => (value + next[axis]) / 2));
      drawHandles();
      touched();
      handles.querySelector(`.corner[data-place="${place + 1}"]`).focus();
    } }, "+");
    node.dataset.place = place;
    return node;
  }

  function removeCorner(place) {
    if (selected.points.length <= 3) {
      problem.textContent = "A polygon needs three corners.";
      return;
    }
    selected.points.splice(place, 1);
    drawHandles();
    touched();
    handles.querySelector(`.corner[data-place="${Math.min(place, selected.points.length - 1)}"]`).focus();
  }

  function select(one) {
    selected = one;
    drawList();
    drawHandles();
    drawPolygons();
  }

  function add(kind) {
    const names = new Set(shapes.map((one) => one.name));
    let number = 1;
    while (names.has(`${kind} ${number}`)) number += 1;
    const one = { kind, name: `${kind} ${number}`, points: NEW.map((point) => [...point]) };
    shapes.push(one);
    select(one);
    touched();
    list.lastChild.querySelector("input").select();
  }

  function remove(one) {
    shapes.splice(shapes.indexOf(one), 1);
    select(shapes[0] ?? null);
    touched();
    buttons.querySelector("button").focus();
  }

  function drawList() {
    list.replaceChildren(...shapes.map((one) => h("li", { class: one === selected ? "chosen" : "" },
      h("span", { class: `kind ${one.kind}` }, KINDS[one.kind]),
      h("input", { class: "grow", "aria-label": `Name of the ${one.kind}`, value: one.name, maxLength: 100, onfocus: () => {
        if (one !== selected) {
          selected = one;
          for (const [place, row] of [...list.children].entries()) row.className = shapes[place] === one ? "chosen" : "";
          drawHandles();
          drawPolygons();
        }
      }, oninput: (event) => { one.name = event.target.value; placeHandles(); touched(); } }),
      h("button", { type: "button", class: "admin-only", "aria-label": `Delete ${one.name}`, onclick: () => remove(one) }, "Delete"))));
  }

  function read() {
    const wrong = shapes.find((one) => crossing(one.points)) ?? shapes.find((one) => !one.name.trim())
      ?? shapes.find((one) => shapes.some((other) => other !== one && other.kind === one.kind && other.name === one.name));
    if (wrong) {
      select(wrong);
      problem.textContent = crossing(wrong.points) ? `The edges of ${wrong.name} cross: move a corner.`
        : wrong.name.trim() ? `Two ${wrong.kind}s are named ${wrong.name}: give one another name.` : `Give each ${wrong.kind} a name.`;
      return null;
    }
    const of = (kind) => Object.fromEntries(shapes.filter((one) => one.kind === kind).map(({ name, points }) => [name, { points }]));
    return { min_face: Number(smallest.value) / 100, hide_masks: hide.checked, zones: of("zone"), masks: of("mask") };
  }

  const buttons = h("p", { class: "row admin-only" },
    h("button", { type: "button", onclick: () => add("zone") }, "Add a zone"),
    h("button", { type: "button", onclick: () => add("mask") }, "Add a mask"));
  const node = h("div", { class: "columns" },
    h("section", { "aria-label": "Picture" }, stage,
      h("p", { class: "faint", id: "corner-help" }, "Drag the corners, or move them with the arrow keys (with Shift: finer). + adds a corner, Delete removes it."),
      h("div", { class: "row" }, removeButton, h("button", { type: "button", onclick: () => { image.src = picture(); } }, "Take a new picture"))),
    h("div", {},
      h("section", { class: "card" }, h("h2", {}, "Zones and masks"), list, buttons,
        h("label", { class: "choice" }, hide, "Show masks black, here and in alerts")),
      h("section", { class: "card" }, h("h2", {}, "Small faces"),
        h("p", {}, h("label", { for: "min-face" }, "Ignore faces lower than"), smallest, share)),
      problem, unsaved, h("button", { class: "main admin-only" }, "Save")));
  select(selected);
  return { node, read };
}

const inPercent = (value) => `${Math.round(value * 1000) / 10} %`;

// Whether two edges of the polygon cross or touch, other than at a common corner. The service decides exactly.
function crossing(points) {
  const count = points.length;
  const side = ([ax, ay], [bx, by], [cx, cy]) => Math.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax));
  for (let one = 0; one < count; one += 1) {
    for (let other = one + 1; other < count; other += 1) {
      if (other === one + 1 || (other + 1) % count === one) continue;
      const [a, b, c, d] = [points[one], points[(one + 1) % count], points[other], points[(other + 1) % count]];
      if (side(a, b, c) !== side(a, b, d) && side(c, d, a) !== side(c, d, b)) return true;
    }
  }
  return false;
}
