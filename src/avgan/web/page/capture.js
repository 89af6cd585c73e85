// Runs beside the page, in the audio thread: hands the microphone's samples over, a tenth of a second at a time.

class Capture extends AudioWorkletProcessor {
  #block = new Float32Array(Math.round(sampleRate / 10));
  #filled = 0;

  process([channels]) {
    const samples = channels[0];
    if (!samples) return true;
    for (let start = 0; start < samples.length; ) {
      const part = samples.subarray(start, start + this.#block.length - this.#filled);
      this.#block.set(part, this.#filled);
      this.#filled += part.length;
      start += part.length;
      if (this.#filled === this.#block.length) {
        this.port.postMessage(this.#block.slice());
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
