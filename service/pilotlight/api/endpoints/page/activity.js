/** Polling that lets an instance scale to zero: it stops with the tab hidden, or its user away. */

const IDLE_MS = 60_000;

export class Poller {
  /**
   * Call *poll* every *milliseconds* while the page is in use. *onPause* learns that it is not.
   * @param {() => Promise<void>} poll
   * @param {number} milliseconds
   * @param {(paused: boolean) => void} onPause
   */
  constructor(poll, milliseconds, onPause) {
    this.#poll = poll;
    this.#milliseconds = milliseconds;
    this.#onPause = onPause;
    for (const event of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
      document.addEventListener(event, () => this.#used(), { passive: true });
    }
    document.addEventListener("visibilitychange", () => this.#used());
  }

  #poll;
  #milliseconds;
  #onPause;
  #lastUse = performance.now();
  #running = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  start() {
    this.#running = true;
    this.#lastUse = performance.now();
    this.#again(0);
  }

  stop() {
    this.#running = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #used() {
    if (document.hidden) return;
    this.#lastUse = performance.now();
    if (this.#running && this.#timer === undefined) this.#again(0);
  }

  /** @param {number} milliseconds */
  #again(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), milliseconds);
  }

  async #run() {
    const idle = document.hidden || performance.now() - this.#lastUse > IDLE_MS;
    this.#onPause(idle);
    if (idle) {
      this.#timer = undefined;
      return;
    }
    await this.#poll();
    if (this.#running) this.#again(this.#milliseconds);
  }
}
