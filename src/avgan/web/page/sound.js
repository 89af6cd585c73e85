// A recording as this browser decodes it, for the eye only: the answer comes from the service.

const RATE_HZ = 16000;
const LONGEST_S = 1800; // decoded, this takes 115 MB a channel
const LARGEST_BYTES = 300e6;

/** The samples (Float32Array, mono, 16 kHz) of a file, or null where this browser cannot or should not decode it. */
export async function decode(file, duration_s) {
  if (file.size > LARGEST_BYTES || duration_s > LONGEST_S) return null;
  try {
    const context = new OfflineAudioContext(1, 1, RATE_HZ);
    const buffer = await context.decodeAudioData(await file.arrayBuffer());
    if (buffer.duration > LONGEST_S) return null;
    return { samples: mixed(buffer), rate_hz: RATE_HZ, duration_s: buffer.duration };
  } catch {
    return null;
  }
}

function mixed(buffer) {
  const samples = buffer.getChannelData(0);
  for (let channel = 1; channel < buffer.numberOfChannels; channel++) {
    const other = buffer.getChannelData(channel);
    for (let n = 0; n < samples.length; n++) samples[n] += (other[n] - samples[n]) / (channel + 1);
  }
  return samples;
}

/** Lowest and highest sample of each column: two arrays (num_columns,). */
export function extent(samples, num_columns) {
  const low = new Float32Array(num_columns);
  const high = new Float32Array(num_columns);
  for (let column = 0; column < num_columns; column++) {
    const start = Math.floor((column * samples.length) / num_columns);
    const end = Math.max(start + 1, Math.floor(((column + 1) * samples.length) / num_columns));
    for (let n = start; n < end && n < samples.length; n++) {
      if (samples[n] < low[column]) low[column] = samples[n];
      if (samples[n] > high[column]) high[column] = samples[n];
    }
  }
  return { low, high };
}
