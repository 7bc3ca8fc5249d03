/**
 * Server-sent events out of a byte stream.
 *
 * `EventSource` would do the parsing, but it hides what this page has to show: the status and the
 * message of a refusal, and the heartbeats, without which a dead connection looks like a quiet one.
 */

export interface ServerEvent {
  event: string;
  data: string;
}

/** Feed it decoded text in any pieces; it returns the events completed by each piece. */
export class SseParser {
  private rest = "";
  private event = "";
  private data: string[] = [];

  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    const buffer = this.rest + text;
    // A lone CR at the very end may be the first half of CRLF.
    const end = buffer.endsWith("\r") ? buffer.length - 1 : buffer.length;
    const lines = buffer.slice(0, end).split(/\r\n|\r|\n/);
    this.rest = (lines.pop() ?? "") + buffer.slice(end);
    for (const line of lines) {
      const event = this.line(line);
      if (event) events.push(event);
    }
    return events;
  }

  private line(line: string): ServerEvent | null {
    if (line === "") {
      const complete =
        this.data.length > 0
          ? { event: this.event || "message", data: this.data.join("\n") }
          : null;
      this.event = "";
      this.data = [];
      return complete;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.event = value;
    else if (field === "data") this.data.push(value);
    return null;
  }
}
