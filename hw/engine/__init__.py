"""The frame that every datapath shares: buffers, sequencer, accumulators, requantiser."""
