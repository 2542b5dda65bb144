"""The output stage: finished sums to results, on the stream or back in the buffer."""
