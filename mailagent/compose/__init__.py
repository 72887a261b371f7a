"""The interactive client: draft, prompt, submit."""
