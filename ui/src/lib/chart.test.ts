import { describe, expect, it } from "vitest";
import {
  barsIn,
  countTicks,
  durationTicks,
  linePath,
  spanText,
  stackedPaths,
  tickText,
  timeTicks,
} from "./chart";
import { duration } from "./format";

describe("ticks of numbers", () => {
  it.each([
    [0, [0, 1]],
    [1, [0, 1]],
    [3, [0, 1, 2, 3]],
    [7, [0, 2, 4, 6, 8]],
    [40, [0, 10, 20, 30, 40]],
    [41, [0, 20, 40, 60]],
    [1_000_000, [0, 500_000, 1_000_000]],
  ])("of counts up to %d are whole and round", (most, ticks) => {
    expect(countTicks(most)).toEqual(ticks);
  });
  it.each([
    [0, ["0 ms", "1 ms"]],
    [0.03, ["0 ms", "10 ms", "20 ms", "30 ms"]],
    [0.9, ["0 ms", "500 ms", "1 s"]],
    [95, ["0 ms", "30 s", "1 min", "1 min 30 s", "2 min"]],
    [3 * 3600, ["0 ms", "1 h", "2 h", "3 h"]],
    [30 * 86_400, ["0 ms", "10 d", "20 d", "30 d"]],
  ])("of %d seconds are said in few words", (mostS, words) => {
    expect(durationTicks(mostS).map((each) => duration(each * 1000))).toEqual(words);
  });
});

describe("ticks of time", () => {
  const at = (hour: number, minute = 0, day = 27) =>
    new Date(2026, 10, day, hour, minute).getTime();
  it("stand at round times of the reader's day", () => {
    const hours = timeTicks(at(9, 41), at(15, 41), 8).map(tickText);
    expect(hours).toEqual(["10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]);
    expect(timeTicks(at(20, 0, 26), at(8), 4).map(tickText)).toEqual([
      "21:00",
      "27 Nov",
      "03:00",
      "06:00",
    ]);
  });
  it("are days where the range is long, and few where there is little room", () => {
    expect(timeTicks(at(13, 0, 20), at(13), 8).map(tickText)).toHaveLength(7);
    expect(timeTicks(at(13, 0, 20), at(13), 4).length).toBeLessThanOrEqual(4);
  });
});

it("a bar says of which time it is", () => {
  const at = (hour: number, day = 27) => new Date(2026, 10, day, hour).getTime();
  expect(spanText(at(14), at(15))).toBe("27 Nov 14:00 to 15:00");
  expect(spanText(at(0), at(0, 28))).toBe("27 Nov");
  expect(spanText(at(1), at(1, 28))).toBe("a day from 27 Nov 01:00");
});

describe("bars", () => {
  it("fill the width, and have gaps where there is room", () => {
    expect(barsIn(100, 10)[1]).toEqual({ x: 11, width: 8 });
    expect(barsIn(100, 400)[1]).toEqual({ x: 0.25, width: 0.25 });
    expect(barsIn(100, 0)).toEqual([]);
  });
  it("stand on one another", () => {
    const bars = [
      { x: 0, width: 8 },
      { x: 10, width: 8 },
    ];
    const paths = stackedPaths(
      [
        [1, 0],
        [2, 3],
      ],
      bars,
      (value) => value * 10,
      50,
    );
    expect(paths).toEqual(["M0 50V40h8V50z", "M0 40V20h8V40zM10 50V20h8V50z"]);
  });
});

it("a line is broken where nothing is known, and what stands alone is a dash", () => {
  const path = linePath([1, 2, null, 4], barsIn(40, 4), (value) => value, 10);
  expect(path).toBe("M5 9L15 8M32 6h6");
});
