/** States that can be undone and redone. */

/** @template State */
export class History {
  #past = [];
  #future = [];

  /** @param {State} state */
  constructor(state) {
    /** @type {State} */
    this.state = state;
  }

  /**
   * Move on to a new state.
   *
   * @param {State} state
   */
  push(state) {
    this.#past.push(this.state);
    this.#future = [];
    this.state = state;
  }

  /**
   * Return to the state before; return false if there is none.
   *
   * @returns {boolean}
   */
  undo() {
    return this.#move(this.#past, this.#future);
  }

  /**
   * Return to the state that was undone last; return false if there is none.
   *
   * @returns {boolean}
   */
  redo() {
    return this.#move(this.#future, this.#past);
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  #move(from, to) {
    if (!from.length) return false;
    to.push(this.state);
    this.state = from.pop();
    return true;
  }
}
