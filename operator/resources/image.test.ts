import { expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { imageOf } from "./image.ts";

const digest = `sha256:${"a".repeat(64)}`;
const fallback = "registry:5000/stowhouse/stowhouse:0.1.0";

test.each<[title: string, defaultImage: string, image: object | undefined, reference: string, version: string]>([
  ["the operator's default", fallback, undefined, fallback, "0.1.0"],
  ["another tag", fallback, { tag: "0.2.0-rc.1" }, "registry:5000/stowhouse/stowhouse:0.2.0-rc.1", "0.2.0-rc.1"],
  ["a mirror of the same version", fallback, { repository: "mirror.example.com/s" }, "mirror.example.com/s:0.1.0", "0.1.0"],
  ["a digest, which says no version", fallback, { digest }, `registry:5000/stowhouse/stowhouse@${digest}`, ""],
  ["tag and digest", fallback, { tag: "1", digest }, `registry:5000/stowhouse/stowhouse:1@${digest}`, "1"],
  ["a default that is pinned", `s:1@${digest}`, undefined, `s:1@${digest}`, "1"],
  ["a default's pin is not another tag's", `s:1@${digest}`, { tag: "2" }, "s:2", "2"],
  ["a default without a tag", "s", undefined, "s", "0.1.0"],
  ["a tag that is no label", fallback, { tag: "_x-" }, "registry:5000/stowhouse/stowhouse:_x-", "x"],
])("%s", (_, defaultImage, image, reference, version) => {
  expect(imageOf(cacheServer(image && { image }), { defaultImage, version: "0.1.0" })).toEqual({ reference, version });
});
