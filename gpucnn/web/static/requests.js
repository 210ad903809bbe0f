/** One request at a time: while one is under way, only the latest of each kind waits. */

import { Refused, Unavailable } from "./api.js";

/**
 * Runs jobs one after the other. A job that waits is replaced by a later one of its kind; kinds
 * take precedence in the order in which they are given.
 */
export class Requests {
  #waiting = new Map();
  #order;
  #running = false;
  #onTrouble;
  #onBusy;

  /**
   * @param {string[]} kinds
   * @param {(message: string | null) => void} onTrouble called with what is wrong, and with null
   *     when a request succeeds
   * @param {(busy: boolean) => void} onBusy called when the first request begins, and when none is
   *     left
   */
  constructor(kinds, onTrouble, onBusy) {
    this.#order = kinds;
    this.#onTrouble = onTrouble;
    this.#onBusy = onBusy;
  }

  /**
   * Run `job` as soon as no other request is under way.
   *
   * @param {string} kind
   * @param {() => Promise<void>} job
   */
  ask(kind, job) {
    this.#waiting.set(kind, job);
    if (!this.#running) this.#run();
  }

  /**
   * Forget the waiting job of a kind.
   *
   * @param {string} kind
   */
  drop(kind) {
    this.#waiting.delete(kind);
  }

  async #run() {
    this.#running = true;
    this.#onBusy(true);
    let delay = 0;
    for (;;) {
      const kind = this.#order.find((each) => this.#waiting.has(each));
      if (kind === undefined) break;
      const job = this.#waiting.get(kind);
      this.#waiting.delete(kind);
      try {
        await job();
        delay = 0;
        this.#onTrouble(null);
      } catch (error) {
        this.#onTrouble(sentence(error));
        if (error instanceof Unavailable) {
          if (!this.#waiting.has(kind)) this.#waiting.set(kind, job);
          delay = Math.min(10, Math.max(error.seconds, delay * 1.5));
          await new Promise((resolve) => setTimeout(resolve, 1000 * delay));
        } else if (!(error instanceof Refused)) {
          console.error(error);
        }
      }
    }
    this.#running = false;
    this.#onBusy(false);
  }
}

function sentence(error) {
  if (error instanceof Unavailable) return `${error.message} Trying again …`;
  if (error instanceof Refused) return error.message;
  return "Something in this page failed. Reload it.";
}
