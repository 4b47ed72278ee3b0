import type { Protocol } from "../protocol.ts";
import { Actions, ACTIONS, OUTPUTS } from "./actions.ts";
import { registerCacheprog } from "./cacheprog.ts";
import { registerGoCacher } from "./go-cacher.ts";
import { MANIFESTS } from "./manifests.ts";
import { registerMetricsProxy } from "./metrics-proxy.ts";
import { registerNative } from "./native.ts";
import { options, type GoOptions } from "./options.ts";
import { refusals } from "./refusals.ts";

/** Go's build cache (README.md), under /go: three wires over the same entries. */
export const go = {
  name: "go",
  options,
  keyspaces: [ACTIONS, OUTPUTS, MANIFESTS],
  refusals,
  plugin(app, context) {
    const actions = new Actions(context.core);
    registerNative(app, context, actions);
    registerCacheprog(app, context, actions);
    registerMetricsProxy(app, context);
    registerGoCacher(app, context, actions);
  },
} satisfies Protocol<GoOptions>;
