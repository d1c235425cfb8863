/** The field for a message, and the images that go with it. */

import { byId, fill, h, icon, iconButton } from "./dom.js";
import { imageFiles, imageUrl } from "./images.js";

export class Composer {
  /**
   * @param {(text: string, images: string[]) => void} send
   * @param {() => void} stop
   */
  constructor(send, stop) {
    this.#send = send;
    byId("composer", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#stopButton.addEventListener("click", () => {
      stop();
      this.focus();
    });
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#field.addEventListener("input", () => this.#grow());
    this.#listenForImages();
  }

  #send;
  #field = byId("message", HTMLTextAreaElement);
  #sendButton = byId("send", HTMLButtonElement);
  #stopButton = byId("stop", HTMLButtonElement);
  #attached = byId("attached", HTMLUListElement);
  #controls = byId("image-controls", HTMLElement);
  /** @type {string[]} */
  #images = [];
  #busy = false;

  get draft() {
    return this.#field.value;
  }

  focus() {
    this.#field.focus();
  }

  /** @param {string} text */
  set(text) {
    this.#field.value = text;
    this.#grow();
    this.focus();
  }

  /** @param {boolean} busy */
  setBusy(busy) {
    const hadFocus =
      document.activeElement === this.#sendButton || document.activeElement === this.#stopButton;
    this.#busy = busy;
    this.#sendButton.hidden = busy;
    this.#stopButton.hidden = !busy;
    if (hadFocus) (busy ? this.#stopButton : this.#sendButton).focus();
  }

  /** @param {boolean} sees */
  setSees(sees) {
    this.#controls.hidden = !sees;
    if (!sees) this.#setImages([]);
  }

  /** @param {string} model */
  setModel(model) {
    this.#field.placeholder = model ? `Message ${model}` : "Write a message";
  }

  #submit() {
    const text = this.#field.value;
    if (this.#busy || (text.trim() === "" && !this.#images.length)) return;
    const images = this.#images;
    this.#field.value = "";
    this.#grow();
    this.#setImages([]);
    this.#send(text, images);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    // On a touch screen Enter is the only way to a new line.
    const isTouch = matchMedia("(pointer: coarse)").matches;
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || isTouch) return;
    event.preventDefault();
    this.#submit();
  }

  #grow() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${Math.min(this.#field.scrollHeight, innerHeight * 0.4)}px`;
  }

  #listenForImages() {
    const choose = byId("choose-image", HTMLButtonElement);
    choose.append(icon("image"));
    for (const [button, file] of [
      ["choose-image", "image-file"],
      ["take-image", "camera-file"],
    ]) {
      const input = byId(file, HTMLInputElement);
      byId(button, HTMLButtonElement).addEventListener("click", () => input.click());
      input.addEventListener("change", () => {
        void this.#attach([...(input.files ?? [])]);
        input.value = "";
      });
    }
    this.#field.addEventListener("paste", (event) => {
      const files = imageFiles(event.clipboardData);
      if (!files.length || this.#controls.hidden) return;
      event.preventDefault();
      void this.#attach(files);
    });
    const view = byId("chat-view", HTMLElement);
    view.addEventListener("dragover", (event) => event.preventDefault());
    view.addEventListener("drop", (event) => {
      event.preventDefault(); // or the browser would open the file
      if (!this.#controls.hidden) void this.#attach(imageFiles(event.dataTransfer));
    });
  }

  /** @param {File[]} files */
  async #attach(files) {
    const urls = await Promise.all(files.map((file) => imageUrl(file).catch(() => null)));
    const unread = files.filter((_, index) => urls[index] === null).map((file) => file.name);
    this.#setImages([...this.#images, ...urls.filter((url) => url !== null)], unread);
    this.focus();
  }

  /**
   * @param {string[]} images
   * @param {string[]} [unread] names of files that are no images
   */
  #setImages(images, unread = []) {
    this.#images = images;
    this.#attached.hidden = !images.length && !unread.length;
    fill(
      this.#attached,
      ...images.map((url, index) =>
        h(
          "li",
          {},
          h("img", { src: url, alt: `Image ${index + 1}` }),
          iconButton(`Remove image ${index + 1}`, "close", () =>
            this.#setImages(images.filter((_, at) => at !== index)),
          ),
        ),
      ),
      ...unread.map((name) =>
        h("li", {}, h("span", { role: "alert" }, `${name} cannot be read as an image.`)),
      ),
    );
  }
}
