/** The list of conversations; on a narrow screen it slides over the page. */

import { byId, download, fill, h, icon, iconButton, say } from "./dom.js";
import { exported, imported } from "./store.js";

/** @typedef {import("./request.js").Conversation} Conversation */

export class Sidebar {
  /**
   * @param {import("./store.js").Store} store
   * @param {{open: (conversation: Conversation) => void, create: () => void,
   *   deleted: (id: string) => void}} actions
   */
  constructor(store, actions) {
    this.#store = store;
    this.#actions = actions;
    byId("close-sidebar", HTMLButtonElement).append(icon("close"));
    byId("new-chat", HTMLButtonElement).addEventListener("click", () => {
      this.close();
      actions.create();
    });
    byId("export", HTMLButtonElement).addEventListener("click", () => this.#export());
    const file = byId("import-file", HTMLInputElement);
    byId("import", HTMLButtonElement).addEventListener("click", () => file.click());
    file.addEventListener("change", () => this.#import(file));
    this.#opener.addEventListener("click", () => this.#toggle(true));
    byId("close-sidebar", HTMLButtonElement).addEventListener("click", () => this.close());
    byId("server-link", HTMLAnchorElement).addEventListener("click", () => this.close());
    this.#backdrop.addEventListener("click", () => this.close());
    this.#element.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  #store;
  #actions;
  #element = byId("sidebar", HTMLElement);
  #opener = byId("open-sidebar", HTMLButtonElement);
  #backdrop = byId("backdrop", HTMLElement);
  #list = byId("conversations", HTMLUListElement);

  /** @param {string} current id of the open conversation */
  async show(current) {
    const conversations = await this.#store.all();
    fill(this.#list, ...conversations.map((one) => this.#row(one, one.id === current)));
  }

  close() {
    if (this.#element.classList.contains("open")) this.#toggle(false);
  }

  /** @param {boolean} open */
  #toggle(open) {
    this.#element.classList.toggle("open", open);
    this.#backdrop.hidden = !open;
    this.#opener.setAttribute("aria-expanded", String(open));
    byId("main", HTMLElement).inert = open;
    if (open) byId("close-sidebar", HTMLButtonElement).focus();
    else this.#opener.focus();
  }

  /**
   * @param {Conversation} conversation
   * @param {boolean} isCurrent
   */
  #row(conversation, isCurrent) {
    const title = conversation.title || "New chat";
    const open = () => {
      this.close();
      this.#actions.open(conversation);
    };
    const remove = async () => {
      if (!confirm(`Delete “${title}”?`)) return;
      await this.#store.delete(conversation.id);
      this.#actions.deleted(conversation.id);
    };
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: "conversation",
          title,
          "aria-current": isCurrent && "true",
          onclick: open,
        },
        title,
      ),
      iconButton(`Delete ${title}`, "trash", remove),
    );
  }

  async #export() {
    download("pilotlight-conversations.json", exported(await this.#store.all()));
  }

  /** @param {HTMLInputElement} input */
  async #import(input) {
    const file = input.files?.[0];
    input.value = "";
    if (!file) return;
    try {
      const conversations = imported(await file.text());
      for (const conversation of conversations) await this.#store.put(conversation);
      say(`${conversations.length} conversations imported.`);
      const [latest] = await this.#store.all();
      if (latest) this.#actions.open(latest);
    } catch (error) {
      alert(error instanceof Error ? error.message : String(error));
    }
  }
}
