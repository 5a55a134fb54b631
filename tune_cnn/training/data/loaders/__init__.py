"""Three ways to deliver the same batches: `device`, `batched` and `stream`."""
