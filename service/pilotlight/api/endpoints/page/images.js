/** Images for models that see: chosen, dropped, pasted or taken, and scaled down. */

/** Vision encoders scale larger images down themselves; the server limits a body to 10 MB. */
const LONGEST_SIDE = 1568;
/** Above so many characters a PNG is sent as JPEG: a photo takes ten times as much as PNG. */
const LONGEST_PNG = 2_000_000;

/**
 * Return an image file as a data URL of a JPEG or PNG, on white like the server's own decoder.
 * @param {Blob} file
 * @returns {Promise<string>}
 */
export async function imageUrl(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  if (!context) throw new Error("the browser has no memory for the image");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const png = file.type === "image/png" ? canvas.toDataURL("image/png") : null;
  return png && png.length <= LONGEST_PNG ? png : canvas.toDataURL("image/jpeg", 0.9);
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
