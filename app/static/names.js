// @ts-check
// Names of images and of the files that are made of them.

const LONGEST_SUFFIX = 20; // signs, as in app/upload.py

/** The name of an image without its ending, as the service writes it. */
export function stemOf({ name }) {
  return name.replace(/_(mask|probability)\.\w+$/, "");
}

/** The name of an image file as the service writes it. */
export function imageNameOf({ file, result }) {
  const [, suffix = ""] = file.name.match(/[^](\.[^.]+)$/) ?? [];
  const signs = [...suffix.normalize("NFC")].map((sign) => (/[\p{L}\p{M}\p{N}._\- ]/u.test(sign) ? sign : "_"));
  return stemOf(result) + signs.slice(0, LONGEST_SUFFIX).join("");
}

/**
 * Stems that differ, also where upper and lower case are the same: a stem that others have too gets "-2", "-3", ...
 *
 * @param {string[]} stems
 */
export function distinctStems(stems) {
  const used = new Set();
  return stems.map((stem) => {
    let distinct = stem;
    for (let number = 2; used.has(distinct.toLowerCase()); number++) distinct = `${stem}-${number}`;
    used.add(distinct.toLowerCase());
    return distinct;
  });
}
