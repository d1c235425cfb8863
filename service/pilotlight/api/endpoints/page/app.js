/** The page: its parts, put together. */

import { Api, ApiError } from "./api.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { byId, fill, h, icon } from "./dom.js";
import { sees } from "./images.js";
import { Keys } from "./keys.js";
import { codeBlock } from "./markdown.js";
import { changedOptions, OptionsDialog } from "./options.js";
import { ModelPicker } from "./picker.js";
import { defaultOptions, newConversation, requestOf } from "./request.js";
import { ServerView } from "./server.js";
import { Sidebar } from "./sidebar.js";
import { asCurl, asPython, asTypeScript } from "./snippets.js";
import { Store } from "./store.js";

/** @typedef {import("./request.js").Conversation} Conversation */

/** @type {Record<string, (body: any, target: import("./snippets.js").Target) => string>} */
const SNIPPETS = { bash: asCurl, python: asPython, typescript: asTypeScript };
const SUGGESTIONS = ["What is 2+2?", "Write a haiku about fire.", "What can you do?"];

const chatPath = document.documentElement.dataset.chatPath ?? "";
const keys = new Keys();
const api = new Api(chatPath, () => keys.current);
const store = new Store();
const picker = new ModelPicker(chooseModel);
const options = new OptionsDialog(() => changed());
const composer = new Composer(
  (text, images) => void chat.send(text, images),
  () => chat.stop(),
);
const sidebar = new Sidebar(store, { open, create, deleted });
const server = new ServerView(api, refreshModels);
const chat = new Chat(newConversation("", defaultOptions()), {
  api,
  askForKey,
  onChange: (conversation) => changed(conversation),
  onBusy: (busy) => {
    composer.setBusy(busy);
    if (!busy) void refreshModels().catch(() => {});
  },
  onCode: showCode,
  onState: (model, state) => picker.note(model, state),
});

/** The language of the code dialog. */
let language = "bash";
/** @type {Conversation} */
let shownAsCode = chat.conversation;

/** @param {string} model */
function chooseModel(model) {
  chat.conversation.model = model;
  composer.setSees(sees(picker.current));
  composer.setModel(model);
  showWelcome();
  changed();
}

/** @param {string} fault */
async function askForKey(fault) {
  const had = keys.current !== null;
  keys.forget();
  const given = await keys.ask(had ? fault : "");
  byId("forget-key", HTMLButtonElement).hidden = keys.current === null;
  return given;
}

async function refreshModels() {
  for (;;) {
    try {
      const models = await api.models();
      const chosen = picker.show(models, chat.conversation.model);
      chat.conversation.model = chosen;
      composer.setSees(sees(picker.current));
      composer.setModel(chosen);
      showWelcome();
      return models;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401 || !(await askForKey(error.message)))
        throw error;
    }
  }
}

/**
 * Save a conversation, and show what depends on it.
 * @param {Conversation} [saved] another one than the open one, whose answer was stopped
 */
function changed(saved = chat.conversation) {
  if (saved !== chat.conversation)
    return void store.put(saved).then(() => sidebar.show(chat.conversation.id));
  const conversation = saved;
  const count = changedOptions(conversation.options);
  const badge = byId("options-count", HTMLElement);
  badge.hidden = count === 0;
  badge.textContent = String(count);
  showWelcome();
  if (!conversation.messages.length) return;
  if (location.hash !== `#${conversation.id}`)
    history.replaceState(null, "", `#${conversation.id}`);
  void store.put(conversation).then(() => sidebar.show(chat.conversation.id));
}

/** @param {Conversation} conversation */
function open(conversation) {
  showChat();
  const model = conversation.model || chat.conversation.model;
  chat.open({ ...conversation, model });
  history.replaceState(null, "", `#${conversation.id}`);
  void refreshModels().catch(() => {});
  changed();
  void sidebar.show(conversation.id);
}

function create() {
  showChat();
  const { model, options: given } = chat.conversation;
  chat.open(newConversation(model, given));
  history.replaceState(null, "", location.pathname + location.search);
  changed();
  void sidebar.show("");
  composer.focus();
}

/** @param {string} id */
function deleted(id) {
  if (id === chat.conversation.id) create();
  else void sidebar.show(chat.conversation.id);
}

function showWelcome() {
  const welcome = byId("welcome", HTMLElement);
  const { conversation } = chat;
  welcome.hidden = conversation.messages.length > 0;
  if (welcome.hidden) return;
  if (!chatPath)
    return fill(
      welcome,
      h("h1", {}, "Pilotlight"),
      h("p", {}, "The chat endpoint of this server is turned off."),
    );
  const model = picker.current;
  if (!model)
    return fill(
      welcome,
      h("h1", {}, "Pilotlight"),
      h("p", {}, "This server has no model that it can serve."),
    );
  const state =
    model.state === "ready"
      ? `${model.id} is loaded and ready.`
      : `${model.id} is not loaded. Your first message loads it, and you see how far it is.`;
  const code = h("div", { class: "prose" });
  const show = () =>
    code.replaceChildren(codeBlock(asCurl(requestOf(example(model.id)), target()), "bash", show));
  show();
  const suggestions = SUGGESTIONS.map((text) =>
    h("button", { type: "button", class: "quiet", onclick: () => composer.set(text) }, text),
  );
  fill(
    welcome,
    h("h1", {}, "Talk to ", h("em", {}, model.id)),
    h("p", {}, state),
    h("div", { class: "suggestions" }, ...suggestions),
    h("p", { class: "hint" }, "The same from a terminal:"),
    code,
  );
}

/**
 * A conversation with one question.
 * @param {string} model
 * @returns {Conversation}
 */
function example(model) {
  const conversation = newConversation(model, defaultOptions());
  conversation.messages.push({
    role: "user",
    content: composer.draft.trim() || SUGGESTIONS[0],
    images: [],
  });
  return conversation;
}

/** @returns {import("./snippets.js").Target} */
function target() {
  const origin = new URL(".", document.baseURI).href;
  return { origin, chatPath, needsKey: keys.current !== null };
}

/** @param {Conversation} conversation */
function showCode(conversation) {
  shownAsCode = conversation;
  const code = byId("snippet", HTMLElement);
  let text;
  try {
    text = SNIPPETS[language](requestOf(conversation), target());
  } catch {
    text = "# The tools or the schema in the options are not valid JSON.";
  }
  const show = () => code.replaceChildren(codeBlock(text, language, show));
  show();
  const dialog = byId("code-dialog", HTMLDialogElement);
  for (const button of dialog.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.getAttribute("data-language") === language));
  }
  if (!dialog.open) dialog.showModal();
}

/** The conversation as far as the last message that is no answer. */
function requested() {
  const { messages } = chat.conversation;
  const end = messages.findLastIndex((message) => message.role !== "assistant") + 1;
  return end
    ? { ...chat.conversation, messages: messages.slice(0, end) }
    : { ...example(chat.conversation.model), options: chat.conversation.options };
}

function showChat() {
  if (location.hash === "#server")
    history.replaceState(null, "", location.pathname + location.search);
  route();
}

/** Show the view that the address names. */
function route() {
  const atServer = location.hash === "#server";
  byId("chat-view", HTMLElement).hidden = atServer;
  byId("server-link", HTMLAnchorElement).toggleAttribute("aria-current", atServer);
  if (atServer) server.start();
  else server.stop();
}

function listen() {
  addEventListener("hashchange", route);
  byId("open-options", HTMLButtonElement).addEventListener("click", () =>
    options.open(chat.conversation.options),
  );
  byId("open-code", HTMLButtonElement).addEventListener("click", () => showCode(requested()));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void refreshModels().catch(() => {});
  });
  byId("forget-key", HTMLButtonElement).addEventListener("click", (event) => {
    keys.forget();
    /** @type {HTMLElement} */ (event.currentTarget).hidden = true;
  });
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      language = button.getAttribute("data-language") ?? "bash";
      showCode(shownAsCode);
    });
  }
  for (const button of document.querySelectorAll("button[data-close]")) {
    if (button.classList.contains("square")) button.append(icon("close"));
    button.addEventListener("click", () => button.closest("dialog")?.close());
  }
  for (const dialog of document.querySelectorAll("dialog")) {
    // A click on the backdrop has the dialog itself as its target.
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
  byId("key-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    byId("key-dialog", HTMLDialogElement).close("use");
  });
}

async function start() {
  listen();
  route();
  byId("composer", HTMLFormElement).hidden = chatPath === "";
  await store.open();
  const wanted = location.hash.slice(1);
  const found = (await store.all()).find((one) => one.id === wanted);
  if (found) chat.open(found);
  await sidebar.show(chat.conversation.id);
  byId("forget-key", HTMLButtonElement).hidden = keys.current === null;
  try {
    await refreshModels();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    fill(
      byId("welcome", HTMLElement),
      h("h1", {}, "Pilotlight"),
      h("p", { class: "fault", role: "alert" }, message),
    );
  }
  changed();
  if (!matchMedia("(pointer: coarse)").matches) composer.focus();
}

void start();
