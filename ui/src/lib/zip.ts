/**
 * Just enough of the zip format to open a task's sources in the editor again: an archive of one
 * text file, which is what the gateway makes of a name and a text. Anything else stays an archive.
 */

const END_RECORD = 0x06054b50;
const CENTRAL_ENTRY = 0x02014b50;
const END_RECORD_BYTES = 22;
/** The editor is for sources, not for data. */
const TEXT_BYTES_MAX = 512 * 1024;

export interface TextFile {
  name: string;
  text: string;
}

/** The archive's only file as text; null when there are more, or when it is not plain text. */
export async function onlyTextFile(zip: Uint8Array<ArrayBuffer>): Promise<TextFile | null> {
  const entry = onlyEntry(zip);
  if (!entry || entry.size > TEXT_BYTES_MAX) return null;
  try {
    const bytes = entry.method === 8 ? await inflate(entry.data, entry.size) : entry.data;
    if (bytes.length !== entry.size) return null;
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    // A text field would lose NULs and carriage returns, and the rerun would differ unseen.
    return /[\0\r]/.test(text) || text === "" ? null : { name: entry.name, text };
  } catch {
    return null;
  }
}

interface Entry {
  name: string;
  method: number;
  size: number;
  data: Uint8Array<ArrayBuffer>;
}

function onlyEntry(zip: Uint8Array<ArrayBuffer>): Entry | null {
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  const end = findEnd(view);
  if (end < 0 || view.getUint16(end + 10, true) !== 1) return null;
  const central = view.getUint32(end + 16, true);
  if (central + 46 > view.byteLength || view.getUint32(central, true) !== CENTRAL_ENTRY)
    return null;
  const flags = view.getUint16(central + 8, true);
  const method = view.getUint16(central + 10, true);
  const packed = view.getUint32(central + 20, true);
  const size = view.getUint32(central + 24, true);
  const nameLength = view.getUint16(central + 28, true);
  const local = view.getUint32(central + 42, true);
  const encrypted = (flags & 1) !== 0;
  if (encrypted || (method !== 0 && method !== 8) || local + 30 > view.byteLength) return null;
  const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
  if (start + packed > view.byteLength) return null;
  const name = new TextDecoder().decode(zip.subarray(central + 46, central + 46 + nameLength));
  return { name, method, size, data: zip.subarray(start, start + packed) };
}

/** The end record is the last thing in the file, before a comment of up to 64 KiB. */
function findEnd(view: DataView): number {
  const last = view.byteLength - END_RECORD_BYTES;
  for (let at = last; at >= Math.max(0, last - 0xffff); at -= 1)
    if (view.getUint32(at, true) === END_RECORD) return at;
  return -1;
}

async function inflate(
  data: Uint8Array<ArrayBuffer>,
  size: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const reader = stream.getReader();
  const out = new Uint8Array(size);
  let at = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return at === size ? out : out.subarray(0, at);
    // A small archive may unpack to gigabytes; the header's size is the bound.
    if (at + value.length > size) throw new Error("the file is larger than its header says");
    out.set(value, at);
    at += value.length;
  }
}
