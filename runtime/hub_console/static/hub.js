// The page of the hub: its views.

import { startPage } from "./frame.js";
import * as boards from "./boards.js";

startPage({ boards });
