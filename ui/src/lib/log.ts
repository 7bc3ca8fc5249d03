/**
 * What is shown of the output of a task that still runs, made of the records of `/logs`.
 *
 * A program may write for hours. What a page holds of it is bounded: the newest text of each
 * stream, and a count of what is above. Records may come twice (two requests that overlap), so
 * every chunk is measured against the offset that was read up to.
 */

import type { StageName, State } from "./types";

export type StreamName = "stdout" | "stderr";

interface Place {
  /** Given back as `after`, it leads to what follows this record. */
  id: string;
  attempt: number;
}

interface OfStream extends Place {
  stage: StageName;
  stream: StreamName;
  case?: number;
}

export type LogRecord =
  | (OfStream & { event: "chunk"; offset: number; text?: string; b64?: string })
  | (OfStream & { event: "gap"; from: number; to: number })
  | (Place & { event: "attempt" })
  | (Place & { event: "end"; state: State });

/** A stretch of text, or of bytes that were not kept. Never changed, only replaced. */
export interface Block {
  id: number;
  /** As it was written: `visibleText` makes it fit to be shown. No line end is cut in two. */
  text: string;
  /** Bytes of the output that it stands for. */
  size: number;
  missing: boolean;
}

export interface StreamView {
  attempt: number;
  blocks: readonly Block[];
  /** Bytes before the first block. */
  above: number;
  /** Bytes written so far. */
  end: number;
  /** Bytes that are new since the view before this one. */
  added: number;
}

export type LogViews = Record<StageName, Record<StreamName, StreamView>>;

/** Bytes of each stream that a page keeps. */
export const KEPT_BYTES = 256 * 1024;
/** Blocks are small, so that a new line changes little of the page; and few, so that it is light. */
const BLOCK_BYTES = 8 * 1024;

const encoder = new TextEncoder();

/** The newest text of one stream. */
export class StreamText {
  private blocks: Block[] = [];
  private above = 0;
  private end = 0;
  private kept = 0;
  private seen = 0;
  private nextId = 0;
  /** A carriage return at the end of a chunk may be the first half of a line end. */
  private held = "";

  write(offset: number, data: Uint8Array): void {
    const fresh = data.subarray(Math.max(0, this.end - offset));
    if (fresh.length === 0) return;
    this.startAt(Math.max(offset, this.end));
    const text = this.held + new TextDecoder("utf-8", { ignoreBOM: true }).decode(fresh);
    this.held = text.endsWith("\r") ? "\r" : "";
    this.end += fresh.length;
    this.append(text.slice(0, text.length - this.held.length), fresh.length);
    this.trim();
  }

  miss(from: number, to: number): void {
    this.startAt(from);
    if (to <= this.end) return;
    this.push({ text: "", size: to - this.end, missing: true });
    this.end = to;
  }

  view(attempt: number): StreamView {
    const added = this.end - this.seen;
    this.seen = this.end;
    return { attempt, blocks: [...this.blocks], above: this.above, end: this.end, added };
  }

  /** Reading need not begin with the first byte that was written. What is no continuation of the
   * text so far takes its place: the bytes between them were kept, only not read. */
  private startAt(offset: number): void {
    if (offset <= this.end) return;
    this.blocks = [];
    this.kept = 0;
    this.above = offset;
    this.end = offset;
    this.seen = offset;
  }

  private append(text: string, size: number): void {
    const last = this.blocks.at(-1);
    if (last && !last.missing && last.size + size <= BLOCK_BYTES) {
      this.blocks[this.blocks.length - 1] = {
        ...last,
        text: last.text + text,
        size: last.size + size,
      };
      this.kept += size;
    } else {
      this.push({ text, size, missing: false });
    }
  }

  private push(block: Omit<Block, "id">): void {
    this.blocks.push({ id: this.nextId++, ...block });
    if (!block.missing) this.kept += block.size;
  }

  /** Drops whole blocks from the front; what is left begins with a line if it has any. */
  private trim(): void {
    if (this.kept <= KEPT_BYTES) return;
    while (this.kept > KEPT_BYTES) {
      const first = this.blocks.shift();
      if (!first) return;
      this.above += first.size;
      if (!first.missing) this.kept -= first.size;
    }
    const first = this.blocks[0];
    const line = first && !first.missing ? first.text.indexOf("\n") + 1 : 0;
    if (!first || line === 0) return;
    // What is no UTF-8 is longer as text than it was.
    const cut = Math.min(first.size, encoder.encode(first.text.slice(0, line)).length);
    this.blocks[0] = { ...first, text: first.text.slice(line), size: first.size - cut };
    this.above += cut;
    this.kept -= cut;
  }
}

/** The log of one task: both streams of both stages, of its newest attempt. */
export class TaskLog {
  attempt = 0;
  ended = false;
  private streams = emptyStreams();

  take(record: LogRecord): void {
    // Of an attempt that is lost, and known to be.
    if (record.attempt < this.attempt) return;
    if (record.attempt > this.attempt) {
      this.attempt = record.attempt;
      this.streams = emptyStreams();
    }
    switch (record.event) {
      case "chunk":
        if (!record.case)
          this.streams[record.stage][record.stream].write(record.offset, bytesOf(record));
        return;
      case "gap":
        if (!record.case) this.streams[record.stage][record.stream].miss(record.from, record.to);
        return;
      case "end":
        this.ended = true;
    }
  }

  views(): LogViews {
    const of = (stage: StageName) => ({
      stdout: this.streams[stage].stdout.view(this.attempt),
      stderr: this.streams[stage].stderr.view(this.attempt),
    });
    return { compile: of("compile"), execute: of("execute") };
  }
}

function emptyStreams(): Record<StageName, Record<StreamName, StreamText>> {
  const pair = () => ({ stdout: new StreamText(), stderr: new StreamText() });
  return { compile: pair(), execute: pair() };
}

function bytesOf(chunk: { text?: string; b64?: string }): Uint8Array {
  if (chunk.text !== undefined) return encoder.encode(chunk.text);
  return Uint8Array.from(atob(chunk.b64 ?? ""), (char) => char.charCodeAt(0));
}
