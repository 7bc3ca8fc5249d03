import { expect, it } from "vitest";
import { needsText, queueHref, queueText } from "./queue";
import type { Queue, QueueItem } from "./types";

const ITEM: QueueItem = {
  position: 1,
  id: "6b04d4787d852fb9eb7f7a4e",
  name: "",
  user: 7,
  priority: 0,
  job: null,
  created_at: "2026-11-27T14:02:11Z",
  waited_s: 3,
  needs: {},
  image: "",
  placement: { require: {}, avoid: {}, prefer: {} },
};
const QUEUE: Queue = {
  queued: 0,
  held: 0,
  oldest_queued_s: null,
  items: [],
  users: [],
  more: false,
  queued_is_exact: true,
  held_is_exact: true,
  users_are_exact: true,
};

it("needs are said in their units", () => {
  expect(needsText(ITEM)).toBe("");
  const needs = { cpus: 1, memory: 4 * 1024 ** 3, gpu: 2 };
  const placement = { require: { zone: "north" }, avoid: { spot: "yes" }, prefer: { a: "b" } };
  expect(needsText({ ...ITEM, needs, placement, image: "py" })).toBe(
    "1 processor, 4 GiB memory, 2 gpu, image py, zone=north, spot≠yes",
  );
});

it("how much waits is a sentence", () => {
  expect(queueText(QUEUE)).toBe("No task waits for an executor.");
  expect(queueText({ ...QUEUE, queued: 1, oldest_queued_s: 61.6 })).toBe(
    "1 task waits for an executor, the oldest for 1 min 1 s.",
  );
  expect(queueText({ ...QUEUE, queued: 10_000, queued_is_exact: false, held: 1 })).toBe(
    "over 10,000 tasks wait for an executor. 1 more is held: for a date, for other tasks, or by somebody.",
  );
  expect(queueText({ ...QUEUE, held: 3 })).toBe(
    "No task waits for an executor. 3 are held: for a date, for other tasks, or by somebody.",
  );
});

it("the queue of a user has an address", () => {
  expect(queueHref("")).toBe("/queue");
  expect(queueHref(0)).toBe("/queue?user=0");
});
