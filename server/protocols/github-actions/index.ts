import Type from "typebox";
import type { Protocol } from "../protocol.ts";
import { registerBlobs } from "./blobs.ts";
import { CacheService, GHA } from "./service.ts";
import { refusals } from "./status.ts";
import { registerTwirp } from "./twirp.ts";
import { registerV1 } from "./v1.ts";

/** The cache service of GitHub Actions, v2 and v1, for unmodified clients: `@actions/cache`, BuildKit, sccache. */
export const githubActions = {
  name: "github-actions",
  options: Type.Object({}, { description: "The GitHub Actions cache: actions/cache, docker buildx type=gha, sccache." }),
  keyspaces: [GHA],
  refusals,
  plugin: (app, context) => {
    const service = new CacheService(context);
    registerTwirp(app, context, service);
    registerBlobs(app, context);
    registerV1(app, context, service);
  },
} satisfies Protocol;
