// Work that takes long in slices, between which the page answers and draws.

const SLICE = 24; // milliseconds

/** The value of a generator that is run to its end at once. */
function finished(parts) {
  let part = parts.next();
  while (!part.done) part = parts.next();
  return part.value;
}

/** Runs a generator that yields after each small part of its work; it yields "whole" where it may also be ended. */
class SlicedWork {
  constructor() {
    this.parts = null;
  }

  get isRunning() {
    return this.parts !== null;
  }

  /** Begin, and do the first slice at once; `between` is called after every other slice, and `done` with the value. */
  start(parts, done, between = () => {}) {
    Object.assign(this, { parts, done, between });
    this.slice();
  }

  slice() {
    const { parts } = this;
    const end = performance.now() + SLICE;
    do {
      if (this.part().done) return;
    } while (performance.now() < end);
    this.between();
    setTimeout(() => {
      if (this.parts === parts) this.slice(); // unless it was stopped
    }, 0);
  }

  part() {
    const part = this.parts.next();
    if (part.done) {
      this.parts = null;
      this.done(part.value);
    }
    return part;
  }

  /** Do what is left of a part of the work that must not be interrupted. */
  complete() {
    while (this.isRunning) {
      const { done, value } = this.part();
      if (done || value === "whole") return;
    }
  }

  stop() {
    this.parts = null;
  }
}
