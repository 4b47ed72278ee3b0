import type { Static } from "typebox";
import { kind, map, optional, section, text } from "../../config/fields.ts";
import { HTTP_URL } from "../../config/kinds.ts";

export const options = section("Go's build cache: our own helper, cacheprog and go-cacher.", {
  metricsProxy: section("Where metrics go that clients push to /go/metricsproxy.", {
    endpoint: optional(kind(HTTP_URL, { description: "URL that takes them, grouping labels included, like http://pushgateway:9091/metrics/job/go. Default: none is taken." })),
    headers: optional(map(text({ format: "password", description: "Value of the header." }), { description: "Headers added to each push, by name." })),
  }),
});

export type GoOptions = Static<typeof options>;
