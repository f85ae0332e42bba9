"""pgolf turns a language-model recipe into a result that can be trusted."""
