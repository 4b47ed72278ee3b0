import type { CacheServer } from "../cacheserver/schema.ts";
import type { Inputs } from "./inputs.ts";

interface Image {
  readonly reference: string;
  /** As a label's value; empty when nothing tells it. */
  readonly version: string;
}

const REFERENCE = /^(?<repository>[^@]+?)(?::(?<tag>[^:/@]+))?(?:@(?<digest>.+))?$/;

/** The image of a server: what its resource says, the rest as the operator's default has it. */
export function imageOf(server: CacheServer, { defaultImage, version }: Pick<Inputs, "defaultImage" | "version">): Image {
  const fallback = REFERENCE.exec(defaultImage)?.groups ?? { repository: defaultImage };
  const { repository = fallback["repository"]!, tag, digest } = server.spec.image ?? {};
  // A digest pins one image of one repository: it says nothing of another tag, nor of another registry's copy.
  const own = tag === undefined && server.spec.image?.repository === undefined;
  const chosenTag = tag ?? (digest === undefined ? fallback["tag"] : undefined);
  const chosenDigest = digest ?? (own ? fallback["digest"] : undefined);
  return {
    reference: `${repository}${chosenTag === undefined ? "" : `:${chosenTag}`}${chosenDigest === undefined ? "" : `@${chosenDigest}`}`,
    version: labelValue(tag ?? (digest === undefined ? (fallback["tag"] ?? version) : "")),
  };
}

function labelValue(text: string): string {
  return text.slice(0, 63).replace(/^[^0-9A-Za-z]+|[^0-9A-Za-z]+$/g, "");
}
