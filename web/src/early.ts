// Before the page is drawn: its colours, so that it does not flash.

import { apply, chosen } from "./theme";

apply(chosen());
