"""Models for others to run: graphs of ONNX and TorchScript, with what their runtimes read."""
