import { describe, expect, it } from "vitest";
import { SseParser } from "./sse";

const STREAM =
  'event: hello\r\ndata: {"version":"1"}\r\n\r\n: heartbeat\n\nevent: task\ndata: a\ndata: b\n\ndata:c\n\n';
const EVENTS = [
  { event: "hello", data: '{"version":"1"}' },
  { event: "task", data: "a\nb" },
  { event: "message", data: "c" },
];

describe("SseParser", () => {
  it("reads the same events however the stream is cut", () => {
    for (let size = 1; size <= STREAM.length; size += 1) {
      const parser = new SseParser();
      const events = [];
      for (let at = 0; at < STREAM.length; at += size)
        events.push(...parser.push(STREAM.slice(at, at + size)));
      expect(events, `pieces of ${size}`).toEqual(EVENTS);
    }
  });
  it("gives nothing for comments, unknown fields and an unfinished event", () => {
    const parser = new SseParser();
    expect(parser.push(": hb\n\nid: 7\nretry: 5\n\nevent: task\ndata: half\n")).toEqual([]);
    expect(parser.push("\n")).toEqual([{ event: "task", data: "half" }]);
  });
  it("forgets the name of an event without data", () => {
    expect(new SseParser().push("event: task\n\ndata: x\n\n")).toEqual([
      { event: "message", data: "x" },
    ]);
  });
});
