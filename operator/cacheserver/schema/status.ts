import Type from "typebox";
import { integer, list, oneOf, optional, section } from "../../../server/config/fields.ts";
import { int64, string, time } from "../../fields.ts";

const condition = section("One aspect of the resource's state, as of one generation.", {
  type: string({ maxLength: 316, description: "The aspect." }),
  status: oneOf(["True", "False", "Unknown"], { description: "Whether it holds." }),
  reason: string({ maxLength: 1024, description: "Why, in one word for machines." }),
  message: Type.Unsafe<string>({ type: "string", maxLength: 32_768, description: "Why, for people." }),
  lastTransitionTime: time({ description: "When status changed last." }),
  observedGeneration: int64({ description: "The generation this was found out for." }),
});

export const Conditions = Object.assign(list(condition, { maxItems: 20, description: "State of the resource; the reasons are listed in the operator's documentation." }), {
  "x-kubernetes-list-type": "map",
  "x-kubernetes-list-map-keys": ["type"],
});

export const Status = section("What the operator found out.", {
  observedGeneration: optional(int64({ description: "The generation of the spec this status is about." })),
  replicas: optional(integer(0, 100_000, { description: "Pods there are." })),
  readyReplicas: optional(integer(0, 100_000, { description: "Pods that serve." })),
  selector: optional(Type.Unsafe<string>({ type: "string", maxLength: 1000, description: "Labels of the pods, for autoscalers." })),
  endpoint: optional(Type.Unsafe<string>({ type: "string", maxLength: 1000, description: "URL for clients." })),
  version: optional(Type.Unsafe<string>({ type: "string", maxLength: 200, description: "Version of the server that runs." })),
  storage: optional(Type.Unsafe<string>({ type: "string", maxLength: 300, description: "Size of the volume, or the bucket." })),
  keysSecret: optional(Type.Unsafe<string>({ type: "string", maxLength: 253, description: "Secret with the admin, write and read key." })),
  usage: optional(section("What the server holds, read now and then.", {
    bytes: int64({ description: "Bytes of all entries." }),
    size: optional(Type.Unsafe<string>({ type: "string", maxLength: 40, description: "The same, for people." })),
    entries: int64({ description: "Number of entries." }),
    hitRate: optional(Type.Unsafe<string>({ type: "string", maxLength: 10, description: "Share of lookups that were hits, over the last day." })),
    asOf: time({ description: "When this was read." }),
  })),
  conditions: optional(Conditions),
});
