/** Images for models that see: chosen, dropped, pasted or taken, and scaled down. */

const LONGEST_SIDE = 1568;
/** Vision encoders scale larger images down themselves; the server limits a body to 10 MB. */

/**
 * Return an image file as a data URL of a JPEG or PNG.
 * @param {Blob} file
 * @returns {Promise<string>}
 */
export async function imageUrl(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return file.type === "image/png"
    ? canvas.toDataURL("image/png")
    : canvas.toDataURL("image/jpeg", 0.9);
}

/**
 * Return the images of a drop or a paste.
 * @param {DataTransfer | null} data
 * @returns {File[]}
 */
export function imageFiles(data) {
  return [...(data?.files ?? [])].filter((file) => file.type.startsWith("image/"));
}

/** @param {import("./api.js").Model | undefined} model */
export function sees(model) {
  return model?.input_modalities?.includes("image") ?? false;
}
