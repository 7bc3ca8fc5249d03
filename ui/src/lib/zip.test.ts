import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { onlyTextFile } from "./zip";

/** Archives made by another program than the one under test. */
function python(script: string): Uint8Array<ArrayBuffer> {
  const code = `import io, sys, zipfile\nb = io.BytesIO()\nz = zipfile.ZipFile(b, "w", %s)\n${script}\nz.close()\nsys.stdout.buffer.write(b.getvalue())`;
  return new Uint8Array(
    execFileSync("python3", ["-c", code.replace("%s", "zipfile.ZIP_DEFLATED")]),
  );
}

describe("onlyTextFile", () => {
  it("reads a compressed file", async () => {
    const zip = python('z.writestr("src/main.py", "print(1)\\n" * 500)');
    expect(await onlyTextFile(zip)).toEqual({
      name: "src/main.py",
      text: "print(1)\n".repeat(500),
    });
  });
  it("reads an uncompressed file, with any script and a comment behind it", async () => {
    const zip = python(
      'z.comment = b"c" * 300\nz.writestr("a.txt", "größe 你好\\n", zipfile.ZIP_STORED)',
    );
    expect(await onlyTextFile(zip)).toEqual({ name: "a.txt", text: "größe 你好\n" });
  });
  it.each([
    ["two files", 'z.writestr("a", "1"); z.writestr("b", "2")'],
    ["no file", ""],
    ["an empty file", 'z.writestr("a", "")'],
    ["bytes that are no text", 'z.writestr("a", b"\\xff\\xfe")'],
    ["a NUL", 'z.writestr("a", b"a\\0b")'],
    ["line ends that a form would change", 'z.writestr("a", "1\\r\\n")'],
    ["a file too large to edit", 'z.writestr("a", "x" * 600000)'],
  ])("leaves %s an archive", async (_, script) => {
    expect(await onlyTextFile(python(script))).toBeNull();
  });
  it("survives broken archives", async () => {
    const zip = python('z.writestr("a.txt", "hello " * 50)');
    for (let length = 0; length < zip.length; length += 1)
      expect(await onlyTextFile(zip.slice(0, length))).toBeNull();
    expect(await onlyTextFile(zip)).not.toBeNull();
    const lying = zip.slice();
    // The size in the central directory: smaller than what the data unpacks to.
    const view = new DataView(lying.buffer);
    // Where that is stands at the end; its first letters may be those of a date as well.
    const central = view.getUint32(lying.length - 6, true);
    expect(view.getUint32(central, true)).toBe(0x02014b50);
    view.setUint32(central + 24, 10, true);
    expect(await onlyTextFile(lying)).toBeNull();
  });
});
