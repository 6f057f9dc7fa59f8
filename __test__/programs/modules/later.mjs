// What a module exports by default, without a name of its own.
export default class {
  async open() {
    await new Promise((resolve) => setImmediate(resolve));
    return this.#opened();
  }

  #opened() { return globalThis.leave(); }
}
