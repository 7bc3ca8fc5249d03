import { expect, it } from "vitest";
import { actsOn } from "./nodes";

const CORDON = { reason: "", since: "2026-01-01T00:00:00Z", deadline: null };

it("offers of an executor what can come of it as it is", () => {
  expect(actsOn({ state: "online", cordon: null })).toEqual(["cordon", "drain"]);
  expect(actsOn({ state: "draining", cordon: null })).toEqual(["cordon", "drain"]);
  expect(actsOn({ state: "online", cordon: CORDON })).toEqual(["uncordon", "drain"]);
  expect(actsOn({ state: "lost", cordon: null })).toEqual(["forget"]);
  // The cordon would still hold, should it come back.
  expect(actsOn({ state: "lost", cordon: CORDON })).toEqual(["uncordon", "forget"]);
});
