// node post.mjs URL IMAGE MASK: posts an image in a form, and writes the mask.
import { readFile, writeFile } from "node:fs/promises";

const [address, image, mask] = process.argv.slice(2);
const form = new FormData();
form.append("file", new Blob([await readFile(image)]), "a.png");
const response = await fetch(address, { method: "POST", body: form });
if (!response.ok) {
  throw new Error(`${response.status} ${await response.text()}`);
}
await writeFile(mask, Buffer.from(await response.arrayBuffer()));
