import { expect, test } from "vitest";
import { table } from "./table.ts";

test("columns are aligned under their names, without blanks at the end", () => {
  expect(table(["A", "LONG NAME"], [["long value", "x"], ["y", ""]]).text).toBe("A           LONG NAME\nlong value  x\ny\n");
});

test("a table goes on without its names, and as wide", () => {
  const first = table(["A", "B"], [["123", "x"]]);
  expect(table(["A", "B"], [["1", "y"]], first.widths).text).toBe("1    y\n");
});

test("nothing a key holds moves the cursor of a terminal", () => {
  expect(table(["A"], [["evil\u001b[2J\n\u202ekey"]]).text).toBe("A\nevil·[2J··key\n");
});

test("without rows there are the names alone", () => {
  expect(table(["A", "B"], []).text).toBe("A  B\n");
});
