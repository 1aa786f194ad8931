"""Exported models under onnxruntime and tokenizers, without torch and transformers."""
