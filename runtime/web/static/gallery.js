// The health of the gallery: samples that are probably wrong, people who look alike, and what cameras and users measured.

import { addressOf } from "./address.js";
import { call, get } from "./api.js";
import { confirm, count, dateTime, h, percent, showMessage } from "./dom.js";
import { portrait } from "./person_choice.js";
import { outcomes, withdraw } from "./review.js";

const SHOWN = 20;  // people and answers

export async function show(main) {
  const body = h("div", {}, h("p", { class: "card", role: "status" }, "Comparing all samples…"));
  const load = async () => {
    const [health, reviews] = await Promise.all([get("/gallery/health"), get(`/reviews?limit=${SHOWN}`)]);
    body.replaceChildren(...sections(health, reviews.items, load));
  };
  main.replaceChildren(h("h1", {}, "Health of the gallery"), body);
  load().catch((error) => body.replaceChildren(h("p", { class: "problem" }, error.message)));
}

// A button that does `work`, and shows the page again.
const action = (label, load, work, kind = "") => h("button", { type: "button", class: `enroll-only ${kind}`, onclick: async () => {
  try { if (await work() !== false) await load(); } catch (error) { showMessage(error.message); }
} }, label);

function sections({ quality, cameras, reviews, replay, created }, answers, load) {
  const similar = quality.similar.filter((one) => one.confused);
  const fell = cameras.flatMap((one) => one.shifts.filter((shift) => shift.fell).map((shift) => [one.camera, shift]));
  const names = new Map(quality.people.map((one) => [one.person, one.name]));
  return [
    h("section", { class: "card", "aria-label": "Summary" },
      quality.findings.length || similar.length || fell.length
        ? h("p", { class: "bad" }, [count(quality.findings.length, "sample", "samples"), " to look at, ", count(similar.length, "pair of people", "pairs of people"), " who look alike"].join(""))
        : h("p", { class: "known" }, quality.samples ? "No problems." : "Nobody is enrolled yet."),
      fell.map(([camera, shift]) => h("p", { class: "bad" }, `${camera}: ${shift.measure === "cosine" ? "people are recognized with lower cosines" : "faces have a lower quality"} `
        + `than in the weeks before (${shift.shift.toFixed(2)}, 99 % interval ${shift.low.toFixed(2)} to ${shift.high.toFixed(2)}). Look at its picture: dirt, focus, light, position.`)),
      h("dl", {}, Object.entries({
        Samples: `${quality.recognized} of ${count(quality.checked, "sample", "samples")} recognized by the person's other samples`,
        "One sample": `${count(quality.single, "person", "people")}: nothing to compare with`,
        "Most alike": quality.impostor === null ? "–" : `cosine ${quality.impostor.toFixed(2)}, of samples of two people`,
        Threshold: `${quality.threshold.toFixed(2)}, of the service`,
        Checked: dateTime(created),
      }).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))),
    list("Samples to look at", quality.findings.map((one) => finding(one, load))),
    list("People who look alike", similar.map((one) => pair(one, load))),
    table("People nearest to others", ["Person", "Samples", "Own, lowest", "Others, highest", "Own threshold"], quality.people.slice(0, SHOWN).map((one) => [
      h("a", { href: addressOf("people", one.person) }, one.name), one.samples, cosine(one.lowest),
      one.impostor === null ? "–" : `${cosine(one.impostor)} ${names.get(one.impostor_person) ?? ""}`, one.threshold === null ? "–" : cosine(one.threshold)])),
    table("Scores of the cameras by week", ["Camera", "Week of", "Appearances", "Recognized", "Cosine: median (10 to 90 %)", "Quality: median (10 to 90 %)"],
      cameras.flatMap((one) => one.weeks.map((week) => [one.camera, week.week, week.appearances, week.recognized,
        week.cosine ? spread(week.cosine, cosine) : "–", week.quality ? spread(week.quality, percent) : "–"]))),
    table("Measured by your answers", ["Camera", "Threshold", "Answers", "Right", "False", "Missed", "Highest false", "Lowest right"],
      reviews.map((one) => [one.camera, cosine(one.threshold), `${one.reviewed} (log: ${one.appearances})`, one.right, one.false_matches, one.missed_matches, cosine(one.highest_false), cosine(one.lowest_right)]),
      replay.faces ? `With the gallery of today, ${replay.right} of ${count(replay.faces, "answered face", "answered faces")} would be recognized rightly.` : null),
    list("Your last answers", answers.map(({ review, outcome }) => h("li", {},
      h("span", { class: "grow" }, `${outcomes[outcome]}, ${review.source}`, h("br"), h("span", { class: "faint" }, dateTime(review.started))),
      action("Take back", load, () => withdraw(review.appearance), "quiet")))),
  ].filter(Boolean);
}

const cosine = (value) => (value === null ? "–" : value.toFixed(2));
const spread = ([low, median, high], text) => `${text(median)} (${text(low)} to ${text(high)})`;

const list = (title, entries) => (entries.length ? h("section", { class: "card" }, h("h2", {}, title), h("ul", { class: "rows", "aria-label": title }, entries)) : null);

const table = (title, heads, rows, note = null) => (rows.length ? h("section", { class: "card" }, h("h2", {}, title), note ? h("p", {}, note) : null,
  h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {},
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell instanceof Node ? cell : String(cell))))))))) : null);

// The picture of a sample, or its number if the gallery keeps no picture.
const picture = (sample) => h("figure", {},
  sample.crop ? portrait(sample.person, { sample: sample.sample, large: true }) : h("span", { class: "face large" }),
  h("figcaption", { class: "faint" }, h("a", { href: addressOf("people", sample.person) }, sample.name), ` sample ${sample.sample}`));

function finding(one, load) {
  const clash = one.problem === "contradictory";
  return h("li", {}, picture(one.sample), picture(one.near),
    h("span", { class: "grow" }, clash
      ? `This sample of ${one.sample.name} looks more like ${one.near.name} (cosine ${cosine(one.cosine)}) than like the other samples of ${one.sample.name} (${cosine(one.own)}).`
      : `This sample of ${one.sample.name} is unlike the others (highest cosine ${cosine(one.cosine)}).`),
    clash ? action(`Move to ${one.near.name}`, load, () => call("POST", `/people/${one.sample.person}/split`, { name: one.near.name, samples: [one.sample.sample] })) : null,
    action("Remove…", load, async () => {
      if (!await confirm("Remove this sample?", "Existing backups still contain it.", "Remove")) return false;
      return call("DELETE", `/people/${one.sample.person}/samples/${one.sample.sample}`);
    }, "danger"));
}

function pair(one, load) {
  return h("li", {}, picture(one.first), picture(one.second),
    h("span", { class: "grow" }, `${one.first.name} and ${one.second.name}: cosine ${cosine(one.cosine)}.`,
      one.maybe_same ? " As alike as samples of one person: perhaps somebody was enrolled twice. Then merge them on the page of the person." : ""),
    action(`Recognize both only from ${cosine(one.suggested)}`, load, async () => {
      for (const { person } of [one.first, one.second]) await call("PUT", `/people/${person}/threshold`, { threshold: one.suggested });
      showMessage("Both have a threshold of their own now");
    }));
}
