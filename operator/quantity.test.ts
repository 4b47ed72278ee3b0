import { expect, test } from "vitest";
import { humanSize, parseQuantity } from "./quantity.ts";

test.each([["50Gi", 50 * 2 ** 30], ["1.5Gi", 1.5 * 2 ** 30], ["100G", 1e11], ["1024", 1024], ["1e3", 1000], ["", undefined], ["50GiB", undefined], [undefined, undefined]])("%s is %s bytes", (text, bytes) => expect(parseQuantity(text)).toBe(bytes));

test.each([[0, "0 B"], [1023, "1023 B"], [1536, "1.5 KiB"], [3 * 2 ** 30, "3 GiB"], [1.44 * 2 ** 40, "1.4 TiB"], [500 * 2 ** 20, "500 MiB"]])("%s bytes are %s", (bytes, text) => expect(humanSize(bytes)).toBe(text));
