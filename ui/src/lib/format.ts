/** Numbers, sizes and times as people read them. Pure: the current time is always a parameter. */

const KIB = 1024;

/** `1.5 MiB`; bytes below 1 KiB are exact. */
export function bytes(size: number): string {
  if (size < KIB) return `${size} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = size / KIB;
  let unit = 0;
  while (value >= KIB && unit < units.length - 1) {
    value /= KIB;
    unit += 1;
  }
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${trimZeros(value.toFixed(digits))} ${units[unit]}`;
}

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** `840 ms`, `1.92 s`, `2 min 5 s`, `1 h 2 min`, `3 d 4 h`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${trimZeros(seconds.toFixed(seconds < 10 ? 2 : 1))} s`;
  const whole = Math.floor(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return pair(minutes, "min", whole % 60, "s");
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return pair(hours, "h", minutes % 60, "min");
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** KV2 writes naive times and means UTC; everything else carries its own offset. */
export function parseTime(text: string): number {
  const zoned = /(?:Z|[+-]\d\d:?\d\d)$/i.test(text) ? text : `${text}Z`;
  return Date.parse(zoned);
}

/** `just now`, `2 min ago`, `in 5 s`. Clocks differ a little, so the near future is `just now`. */
export function ago(then: number, now: number): string {
  const seconds = Math.round((now - then) / 1000);
  if (seconds < -10) return `in ${duration(-seconds * 1000)}`;
  if (seconds < 3) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ago`;
  const days = Math.floor(hours / 24);
  return days === 1 ? "yesterday" : `${days} d ago`;
}

/** `2026-11-24 01:04:08`, in the reader's own time zone. */
export function stamp(then: number): string {
  const date = new Date(then);
  const two = (value: number) => `${value}`.padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `24 Nov 01:04`, in the reader's own time zone: of days around now. */
export function dayStamp(then: number): string {
  const date = new Date(then);
  const month = date.toLocaleString("en", { month: "short" });
  return `${date.getDate()} ${month} ${stamp(then).slice(11, 16)}`;
}

/** `2026-11-24 00:04:08 UTC`, as logs and the interface have it. */
export function utcStamp(then: number): string {
  return `${new Date(then).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** `Europe/Berlin, UTC+01:00`: the reader's own time zone, at that time. */
export function zoneText(at: number): string {
  const ahead = -new Date(at).getTimezoneOffset();
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (ahead === 0 && /^(Etc\/)?(UTC|GMT)$/.test(name)) return "UTC";
  const two = (value: number) => `${Math.floor(value)}`.padStart(2, "0");
  const [sign, minutes] = [ahead < 0 ? "-" : "+", Math.abs(ahead)];
  return `${name}, UTC${sign}${two(minutes / 60)}:${two(minutes % 60)}`;
}

const SIGNALS: Record<number, string> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  4: "SIGILL",
  5: "SIGTRAP",
  6: "SIGABRT",
  7: "SIGBUS",
  8: "SIGFPE",
  9: "SIGKILL",
  11: "SIGSEGV",
  13: "SIGPIPE",
  14: "SIGALRM",
  15: "SIGTERM",
  24: "SIGXCPU",
  25: "SIGXFSZ",
  31: "SIGSYS",
};

export function signalName(signal: number): string {
  return SIGNALS[signal] ?? `signal ${signal}`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/**
 * A program's output with its control characters made visible, as `cat -v` does it (^[ for
 * escape): a terminal would obey them, and a page must not. Tabs and line ends stay; a carriage
 * return before a line end is dropped. Marks that reorder text could make a line read as another.
 */
export function visibleText(text: string): string {
  return text
    .replace(/\r\n/g, "\n")
    .replace(
      /[\u0000-\u0008\u000b-\u001f\u007f]/g,
      (char) => `^${String.fromCharCode(char.charCodeAt(0) ^ 0x40)}`,
    )
    .replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}
