"""The ONNX Runtime GenAI backend: folders with a `genai_config.json`, a generator a slot."""
