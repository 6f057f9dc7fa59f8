'use strict'
// The longest time the event loop stood still, by a tick every millisecond.
//
// Not perf_hooks.monitorEventLoopDelay: its reset() also forgets when the last tick was, so a pause
// that begins right after a reset - and a capture does - is never counted.

class Pauses {
  #last = performance.now()
  #longest = 0
  #timer

  constructor(interval = 1) {
    this.#timer = setInterval(() => this.#tick(), interval)
    this.#timer.unref()
  }

  #tick() {
    const now = performance.now()
    this.#longest = Math.max(this.#longest, now - this.#last)
    this.#last = now
  }

  // Longest gap between two ticks since the last reset, in ms; the one that is open counts too.
  get longest() {
    return Math.max(this.#longest, performance.now() - this.#last)
  }

  reset() {
    this.#tick()
    this.#longest = 0
  }

  stop() {
    clearInterval(this.#timer)
  }
}

module.exports = { Pauses }
