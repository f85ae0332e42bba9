"""The packed artifact under its byte budget."""
