// The console: its views.

import { get, getAll } from "./api.js";
import { startPage } from "./frame.js";
import * as access from "./access.js";
import * as appearances from "./appearances.js";
import * as gallery from "./gallery.js";
import * as cameras from "./cameras.js";
import * as health from "./health.js";
import { journeysView } from "./journeys.js";
import * as live from "./live.js";
import * as people from "./people.js";
import * as rules from "./rules.js";
import * as settings from "./settings.js";
import * as strangers from "./strangers.js";

const journeys = journeysView("source", "Camera", async () => (await getAll("/cameras")).map((one) => one.name));

startPage({ live, people, appearances, journeys, strangers, gallery, rules, cameras, health, settings, access }, async () => {
  document.getElementById("synthetic").hidden = !(await get("/health")).synthetic;
});
