import { describe, expect, it } from "vitest";
import { KEPT_BYTES, StreamText, TaskLog, type LogRecord, type StreamView } from "./log";

const bytes = (text: string) => new TextEncoder().encode(text);
const textOf = (view: StreamView) => view.blocks.map((block) => block.text).join("");
const chunk = (attempt: number, offset: number, text: string): LogRecord => ({
  event: "chunk",
  id: `${attempt}.execute.${offset + text.length}.0`,
  attempt,
  stage: "execute",
  stream: "stdout",
  offset,
  text,
});

describe("StreamText", () => {
  it("holds the newest lines of a flood and counts what is above them", () => {
    const stream = new StreamText();
    let offset = 0;
    for (let line = 0; line < 100_000; line += 1) {
      const data = bytes(`line ${line} ü\n`);
      stream.write(offset, data);
      offset += data.length;
    }
    const view = stream.view(1);
    const kept = bytes(textOf(view)).length;
    expect(kept).toBeLessThanOrEqual(KEPT_BYTES);
    expect(kept).toBeGreaterThan(KEPT_BYTES * 0.9);
    expect(view.end).toBe(offset);
    expect(view.above + kept).toBe(offset);
    expect(textOf(view)).toMatch(/^line \d+ ü\n/);
    expect(textOf(view).endsWith("line 99999 ü\n")).toBe(true);
    expect(view.blocks.length).toBeLessThan(100);
  });
  it("bounds a line that has no end", () => {
    const stream = new StreamText();
    for (let at = 0; at < 40; at += 1) stream.write(at * 65_536, bytes("x".repeat(65_536)));
    const view = stream.view(1);
    expect(textOf(view).length).toBe(KEPT_BYTES);
    expect(view.above).toBe(40 * 65_536 - KEPT_BYTES);
  });
  it("takes bytes that come twice once", () => {
    const stream = new StreamText();
    stream.write(0, bytes("one\ntwo\n"));
    stream.write(0, bytes("one\n"));
    stream.write(4, bytes("two\nthree\n"));
    expect(textOf(stream.view(1))).toBe("one\ntwo\nthree\n");
  });
  it("begins anew behind what it was not given", () => {
    const stream = new StreamText();
    stream.write(0, bytes("long ago\n"));
    stream.write(5000, bytes("now\n"));
    const view = stream.view(1);
    expect(textOf(view)).toBe("now\n");
    expect([view.above, view.end]).toEqual([5000, 5004]);
  });
  it("shows bytes that were not kept where they are missing", () => {
    const stream = new StreamText();
    stream.write(0, bytes("first\n"));
    stream.miss(6, 1006);
    stream.miss(6, 1006);
    stream.write(1006, bytes("last\n"));
    expect(stream.view(1).blocks).toEqual([
      { id: 0, text: "first\n", size: 6, missing: false },
      { id: 1, text: "", size: 1000, missing: true },
      { id: 2, text: "last\n", size: 5, missing: false },
    ]);
  });
  it("cuts no line end in two", () => {
    const stream = new StreamText();
    stream.write(0, bytes("a\r"));
    expect(textOf(stream.view(1))).toBe("a");
    stream.write(2, bytes("\nb\r"));
    stream.write(5, bytes("c"));
    expect(textOf(stream.view(1))).toBe("a\r\nb\rc");
  });
  it("does not change a view that was taken", () => {
    const stream = new StreamText();
    stream.write(0, bytes("one\n"));
    const before = stream.view(1);
    stream.write(4, bytes("two\n"));
    expect(textOf(before)).toBe("one\n");
    expect(stream.view(1).added).toBe(4);
  });
});

describe("TaskLog", () => {
  it("forgets a lost attempt and does not take it back", () => {
    const log = new TaskLog();
    log.take(chunk(1, 0, "first try\n"));
    log.take({ event: "attempt", id: "2.compile.0.0", attempt: 2 });
    expect(log.views().execute.stdout).toMatchObject({ attempt: 2, blocks: [], end: 0 });
    log.take(chunk(2, 0, "second try\n"));
    log.take(chunk(1, 10, "late\n"));
    expect(textOf(log.views().execute.stdout)).toBe("second try\n");
  });
  it("is told apart by stage and stream, and decodes what is no text", () => {
    const log = new TaskLog();
    log.take(chunk(1, 0, "out\n"));
    log.take({
      event: "chunk",
      id: "1.compile.0.2",
      attempt: 1,
      stage: "compile",
      stream: "stderr",
      offset: 0,
      b64: btoa("\xff!"),
    });
    const views = log.views();
    expect(textOf(views.execute.stdout)).toBe("out\n");
    expect(textOf(views.compile.stderr)).toBe("\ufffd!");
    expect(views.compile.stderr.end).toBe(2);
    expect(views.compile.stdout.end + views.execute.stderr.end).toBe(0);
  });
  it("ends", () => {
    const log = new TaskLog();
    log.take({ event: "end", id: "1.execute.0.0.end", attempt: 1, state: "succeeded" });
    expect(log.ended).toBe(true);
  });
});
