import { describe, expect, it, vi } from "vitest";
import {
  ago,
  bytes,
  dayStamp,
  duration,
  parseTime,
  plural,
  signalName,
  utcStamp,
  visibleText,
  zoneText,
} from "./format";

describe("bytes", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [256 * 1024 ** 2, "256 MiB"],
    [16_252_928, "15.5 MiB"],
    [5 * 1024 ** 4, "5 TiB"],
  ])("%d is %s", (size, text) => expect(bytes(size)).toBe(text));
});

describe("duration", () => {
  it.each([
    [-5, "0 ms"],
    [43, "43 ms"],
    [1004, "1 s"],
    [1920, "1.92 s"],
    [12_340, "12.3 s"],
    [125_000, "2 min 5 s"],
    [3_600_000, "1 h"],
    [3_720_000, "1 h 2 min"],
    [100 * 3_600_000, "4 d 4 h"],
  ])("%d ms is %s", (ms, text) => expect(duration(ms)).toBe(text));
});

describe("parseTime", () => {
  it("reads KV2's naive times as UTC", () => {
    expect(parseTime("2026-11-24T00:04:08.615000")).toBe(Date.UTC(2026, 10, 24, 0, 4, 8, 615));
    expect(parseTime("2026-11-24T00:04:08")).toBe(Date.UTC(2026, 10, 24, 0, 4, 8));
  });
  it("keeps an offset that is there", () => {
    expect(parseTime("2026-11-24T00:04:08Z")).toBe(Date.UTC(2026, 10, 24, 0, 4, 8));
    expect(parseTime("2026-11-24T02:04:08+02:00")).toBe(Date.UTC(2026, 10, 24, 0, 4, 8));
  });
});

describe("ago", () => {
  const now = Date.UTC(2026, 10, 24);
  it.each([
    [-60_000, "in 1 min"],
    [-4000, "just now"],
    [2000, "just now"],
    [47_000, "47 s ago"],
    [61_000, "1 min ago"],
    [7_200_000, "2 h ago"],
    [25 * 3_600_000, "yesterday"],
    [72 * 3_600_000, "3 d ago"],
  ])("%d ms back is %s", (back, text) => expect(ago(now - back, now)).toBe(text));
});

describe("visibleText", () => {
  it("shows terminal escapes instead of obeying them", () => {
    expect(visibleText("\u001b[31mred\u001b[0m")).toBe("^[[31mred^[[0m");
    expect(visibleText("a\u0007b\u007fc\u0000")).toBe("a^Gb^?c^@");
  });
  it("keeps lines and tabs, and drops only the carriage returns of line ends", () => {
    expect(visibleText("a\tb\r\nc\rd\n")).toBe("a\tb\nc^Md\n");
  });
  it("disarms marks that reorder text", () => {
    expect(visibleText("x\u202ey\u2066z")).toBe("x\ufffdy\ufffdz");
  });
});

it("names signals, known or not", () => {
  expect(signalName(11)).toBe("SIGSEGV");
  expect(signalName(64)).toBe("signal 64");
});

it("counts in words", () => {
  expect(plural(1, "process", "processes")).toBe("1 process");
  expect(plural(1234, "executor")).toBe("1,234 executors");
});

describe("time zones", () => {
  const at = Date.parse("2026-11-24T00:04:08.500Z");
  it("are said once, and a time can be read in UTC as well", () => {
    expect(utcStamp(at)).toBe("2026-11-24 00:04:08 UTC");
    expect(dayStamp(at)).toMatch(/^2[345] Nov \d\d:\d\d$/);
    expect(zoneText(at)).toMatch(/^UTC$|^[\w/+-]+, UTC[+-]\d\d:\d\d$/);
  });
  it("are named with their distance, halves of hours included", () => {
    const { resolvedOptions } = Intl.DateTimeFormat.prototype;
    const zone = (timeZone: string, minutes: number) => {
      vi.spyOn(Intl.DateTimeFormat.prototype, "resolvedOptions").mockImplementation(function (
        this: Intl.DateTimeFormat,
      ) {
        return { ...resolvedOptions.call(this), timeZone };
      });
      vi.spyOn(Date.prototype, "getTimezoneOffset").mockReturnValue(-minutes);
      const text = zoneText(at);
      vi.restoreAllMocks();
      return text;
    };
    expect(zone("Asia/Kolkata", 330)).toBe("Asia/Kolkata, UTC+05:30");
    expect(zone("America/St_Johns", -210)).toBe("America/St_Johns, UTC-03:30");
    expect(zone("Europe/London", 0)).toBe("Europe/London, UTC+00:00");
    expect(zone("UTC", 0)).toBe("UTC");
  });
});
