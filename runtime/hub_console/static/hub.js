// The page of the hub: its views.

import { startPage } from "./frame.js";
import * as boards from "./boards.js";
import * as journeys from "./hub_journeys.js";
import * as people from "./people.js";

startPage({ boards, journeys, people });
