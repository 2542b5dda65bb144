"""TensorFlow Lite files, read without TensorFlow: float networks, sparse weights included."""
