"""Shapes of documents that go in and out: pydantic models, and the JSON Schemas generated from them."""
