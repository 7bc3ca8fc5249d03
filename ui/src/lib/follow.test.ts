import { describe, expect, it } from "vitest";
import { ApiError } from "./api";
import { follow, type Source } from "./follow";
import { TaskLog, type LogRecord, type StreamView } from "./log";

const textOf = (view: StreamView) => view.blocks.map((block) => block.text).join("");
const chunk = (offset: number, text: string, stage: "compile" | "execute" = "execute") =>
  ({
    event: "chunk",
    id: `1.${stage}.${offset + text.length}.0`,
    attempt: 1,
    stage,
    stream: "stdout",
    offset,
    text,
  }) satisfies LogRecord;
const END = {
  event: "end",
  id: "1.execute.8.0.end",
  attempt: 1,
  state: "succeeded",
} satisfies LogRecord;

type Answer = LogRecord[] | Error;

/** Gives one answer after the other; a list of records is a connection that closes after them. */
class Gateway implements Source {
  readonly asked: string[] = [];
  readonly pauses: [number, number | null][] = [];
  private readonly answers: Answer[];

  constructor(...answers: Answer[]) {
    this.answers = answers;
  }

  open(query: URLSearchParams): Promise<Response> {
    this.asked.push(query.toString());
    const answer = this.answers.shift();
    if (answer === undefined) throw new Error("nothing more is expected to be asked");
    if (answer instanceof Error) return Promise.reject(answer);
    const events = answer.map((record) => `event: x\ndata: ${JSON.stringify(record)}\n\n`);
    return Promise.resolve(new Response(["retry: 2000\n\n: alive\n\n", ...events].join("")));
  }

  pause(failures: number, retryAfterS: number | null): Promise<void> {
    this.pauses.push([failures, retryAfterS]);
    return Promise.resolve();
  }
}

async function read(gateway: Gateway, signal = new AbortController().signal) {
  const log = new TaskLog();
  const connections: boolean[] = [];
  const watcher = { onRecords: () => {}, onConnection: (up: boolean) => connections.push(up) };
  await follow(gateway, log, watcher, signal);
  return { log, connections };
}

const UNREACHABLE = new ApiError(0, "unreachable", "", "");

describe("follow", () => {
  it("goes on behind the last record after a lost connection, and stops at the end", async () => {
    const gateway = new Gateway(
      [],
      [chunk(0, "one\n")],
      UNREACHABLE,
      new ApiError(503, "unavailable", "", "", 7),
      [chunk(4, "two\n"), END],
    );
    const { log, connections } = await read(gateway);
    expect(gateway.asked).toEqual([
      "stage=compile&tail=10000",
      "follow=true&tail=10000",
      "follow=true&after=1.execute.4.0",
      "follow=true&after=1.execute.4.0",
      "follow=true&after=1.execute.4.0",
    ]);
    expect(gateway.pauses).toEqual([
      [1, null],
      [2, null],
      [3, 7],
    ]);
    expect(textOf(log.views().execute.stdout)).toBe("one\ntwo\n");
    expect(connections.at(-1)).toBe(true);
  });
  it("shows what compile wrote once, though both requests may bring it", async () => {
    const made = chunk(0, "made\n", "compile");
    const gateway = new Gateway([made, END], [made, chunk(0, "one\n"), END]);
    const { log } = await read(gateway);
    expect(gateway.asked).toHaveLength(2);
    expect(textOf(log.views().compile.stdout)).toBe("made\n");
    expect(textOf(log.views().execute.stdout)).toBe("one\n");
  });
  it("gives up where asking again changes nothing", async () => {
    const gateway = new Gateway(new ApiError(404, "not_found", "", "It is gone."));
    await expect(read(gateway)).rejects.toThrow("It is gone.");
    expect(gateway.pauses).toEqual([]);
  });
  it("says nothing more once it is stopped", async () => {
    const abort = new AbortController();
    const gateway = new Gateway([], [chunk(0, "one\n")]);
    gateway.pause = () => {
      abort.abort();
      return Promise.resolve();
    };
    const { log } = await read(gateway, abort.signal);
    expect(log.ended).toBe(false);
    expect(gateway.asked).toHaveLength(2);
  });
});
